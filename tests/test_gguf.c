#include "common/memory.h"
#include "model/gguf.h"
#include "model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Parse a file in the making. */
typedef struct parsed {
    unsigned char *data;
    size_t size;
    fo_gguf *gguf;
    fo_status status;
    fo_error error;
} parsed;

static parsed parse(model_file *file)
{
    parsed p = {0};
    p.data = model_file_finish(file, &p.size);
    p.status = fo_gguf_parse(p.data, p.size, &p.gguf, &p.error);
    return p;
}

static void drop(parsed *p)
{
    fo_gguf_close(&p->gguf);
    free(p->data);
}

/* Read back what was written. */
static model_file *honest_file(void)
{
    static const float values[64] = {1.5F};
    model_file *file = model_file_new();
    put_u32(file, "a.number", 7);
    put_f32(file, "a.float", 0.25F);
    put_bool(file, "a.bool", true);
    put_text(file, "a.text", "leaf");
    put_strings(file, "an.array", (const char *[]){"x", "", "yz"}, 3);
    put_numbers(file, "numbers", FO_GGUF_I16, (int16_t[]){-1, 2}, 2);
    put_tensor(file, "first", 0, 2, (uint64_t[]){8, 8}, values, 256);
    put_tensor(file, "second", 8, 1, (uint64_t[]){32}, values, 34);
    return file;
}

static void check_honest(parsed *p)
{
    uint32_t number = 0;
    float real = 0;
    bool yes = false;
    fo_gguf_string text;
    assert_int_equal(p->status, FO_OK);
    assert_int_equal(fo_gguf_u32(p->gguf, "a.number", &number, NULL), FO_OK);
    assert_int_equal(number, 7);
    assert_int_equal(fo_gguf_f32(p->gguf, "a.float", &real, NULL), FO_OK);
    assert_true(real == 0.25F);
    assert_int_equal(fo_gguf_bool(p->gguf, "a.bool", &yes, NULL), FO_OK);
    assert_true(yes);
    assert_int_equal(fo_gguf_text(p->gguf, "a.text", &text, NULL), FO_OK);
    assert_true(fo_gguf_string_is(text, "leaf"));
    /* Check the arrays and tensors of the honest file. */
    fo_gguf_array array;
    assert_int_equal(fo_gguf_strings(p->gguf, "an.array", &array, NULL), FO_OK);
    assert_int_equal(array.count, 3);
    assert_true(fo_gguf_string_is(fo_gguf_array_take(&array), "x"));
    assert_true(fo_gguf_string_is(fo_gguf_array_take(&array), ""));
    assert_true(fo_gguf_string_is(fo_gguf_array_take(&array), "yz"));
    assert_int_equal(array.count, 0);
    assert_int_equal(fo_gguf_numbers(p->gguf, "numbers", &array, NULL), FO_OK);
    assert_true(fo_gguf_array_number(&array, 0) == -1);
    assert_true(fo_gguf_array_number(&array, 1) == 2);

    const fo_gguf_tensor *first = fo_gguf_tensor_find(p->gguf, "first");
    const fo_gguf_tensor *second = fo_gguf_tensor_find(p->gguf, "second");
    assert_non_null(first);
    assert_non_null(second);
    assert_null(fo_gguf_tensor_find(p->gguf, "third"));
    assert_int_equal(first->dtype, FO_F32);
    assert_int_equal(first->dims[1], 8);
    assert_int_equal(first->dims[2], 1);
    assert_true(((const float *)first->data)[0] == 1.5F);
    assert_int_equal(second->dtype, FO_Q8_0);
    assert_int_equal(second->bytes, 34);
    assert_int_equal(second->offset - first->offset, 256);
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    parsed p = parse(honest_file());
    check_honest(&p);
    assert_int_equal(fo_gguf_version(p.gguf), 3);
    drop(&p);
}

static void reads_version_2(void **state)
{
    (void)state;
    model_file *file = honest_file();
    file->version = 2;
    parsed p = parse(file);
    check_honest(&p);
    drop(&p);
}

/* Ask for what is not there. */
static void refuses_other_types_and_widths(void **state)
{
    (void)state;
    model_file *file = honest_file();
    put_raw(file, "wide", FO_GGUF_U64, &(uint64_t){1ULL << 32}, 8);
    put_raw(file, "fits", FO_GGUF_I64, &(int64_t){41}, 8);
    put_raw(file, "negative", FO_GGUF_I32, &(int32_t){-1}, 4);
    parsed p = parse(file);
    uint32_t number = 99;
    fo_gguf_array array;
    fo_error error;
    assert_int_equal(fo_gguf_u32(p.gguf, "none", &number, &error), FO_UNKNOWN);
    assert_string_equal(error.message, "the file has no none");
    assert_int_equal(fo_gguf_u32(p.gguf, "wide", &number, &error), FO_FORMAT);
    assert_int_equal(fo_gguf_u32(p.gguf, "negative", &number, &error),
                     FO_FORMAT);
    assert_int_equal(fo_gguf_u32(p.gguf, "a.text", &number, &error), FO_FORMAT);
    assert_int_equal(fo_gguf_u32(p.gguf, "numbers", &number, &error),
                     FO_FORMAT);
    assert_int_equal(fo_gguf_strings(p.gguf, "numbers", &array, &error),
                     FO_FORMAT);
    assert_int_equal(fo_gguf_numbers(p.gguf, "an.array", &array, &error),
                     FO_FORMAT);
    assert_int_equal(fo_gguf_numbers(p.gguf, "a.number", &array, &error),
                     FO_FORMAT);
    assert_int_equal(number, 99);
    assert_int_equal(fo_gguf_u32(p.gguf, "fits", &number, &error), FO_OK);
    assert_int_equal(number, 41);
    drop(&p);
}

/* Refuse every lie. */
static const uint64_t one[] = {32}, four[] = {1, 1, 1, 1, 1};
static const uint64_t huge[] = {1ULL << 40, 1ULL << 40};

/* Tell lies about the metadata. */
static void lie_version_1(model_file *file)
{
    file->version = 1;
}

static void lie_version_4(model_file *file)
{
    file->version = 4;
}

static void lie_big_endian(model_file *file)
{
    file->version = 0x03000000;
}

static void lie_tensor_count(model_file *file)
{
    file->tensors = 1ULL << 60;
}

static void lie_entry_count(model_file *file)
{
    file->entries = UINT64_MAX;
}

static void lie_one_more_entry(model_file *file)
{
    file->entries += 5;
}

static void lie_string_length(model_file *file)
{
    put_raw(file, "s", FO_GGUF_STRING, &(uint64_t){UINT64_MAX}, 8);
}

static void lie_array_count(model_file *file)
{
    static const unsigned char claim[12] = {FO_GGUF_STRING, [11] = 0x10};
    put_raw(file, "array", FO_GGUF_ARRAY, claim, sizeof claim);
}

static void lie_value_type(model_file *file)
{
    put_raw(file, "v", 13, "", 1);
}

static void lie_element_type(model_file *file)
{
    static const unsigned char claim[12] = {77, [4] = 1};
    put_raw(file, "array", FO_GGUF_ARRAY, claim, sizeof claim);
}

/* Twelve bytes a level: an array of one array of one array. */
static void lie_nesting(model_file *file)
{
    unsigned char claim[100 * 12] = {0};
    for (int i = 0; i < 100; i++) {
        claim[12 * i] = FO_GGUF_ARRAY;
        claim[12 * i + 4] = 1;
    }
    put_raw(file, "deep", FO_GGUF_ARRAY, claim, sizeof claim);
}

static void lie_key_twice(model_file *file)
{
    put_u32(file, "a.number", 8);
}

static void lie_alignment(model_file *file)
{
    put_u32(file, "general.alignment", 48);
}

/* Tell lies about tensors. */
static void lie_rank_5(model_file *file)
{
    describe_tensor(file, "t", 0, 5, four, 0);
}

static void lie_rank_0(model_file *file)
{
    describe_tensor(file, "a long name to fill the room of a dimension", 0, 0,
                    four, 0);
}

static void lie_dimension_0(model_file *file)
{
    describe_tensor(file, "t", 0, 1, (uint64_t[]){0}, 0);
}

static void lie_dimensions(model_file *file)
{
    describe_tensor(file, "t", 0, 2, huge, 0);
}

static void lie_half_a_block(model_file *file)
{
    describe_tensor(file, "t", 8, 1, (uint64_t[]){48}, 0);
}

static void lie_tensor_twice(model_file *file)
{
    describe_tensor(file, "first", 0, 1, one, 0);
}

static void lie_misaligned(model_file *file)
{
    describe_tensor(file, "t", 0, 1, one, 4);
}

static void lie_beyond_the_end(model_file *file)
{
    describe_tensor(file, "t", 0, 1, one, 256);
}

static void lie_offset_wraps(model_file *file)
{
    describe_tensor(file, "t", 0, 1, one, UINT64_MAX - 31);
}

static void lie_overlap(model_file *file)
{
    describe_tensor(file, "t", 0, 1, one, 32);
}

static void lie_long_name(model_file *file)
{
    describe_tensor(
        file,
        "01234567890123456789012345678901234567890123456789012345678901234", 0,
        1, one, 0);
}

static const struct {
    const char *word;
    void (*tell)(model_file *file);
    fo_status status;
} lies[] = {
    {"version 1", lie_version_1, FO_UNSUPPORTED},
    {"version 4", lie_version_4, FO_UNSUPPORTED},
    {"big-endian", lie_big_endian, FO_UNSUPPORTED},
    {"tensors cannot fit", lie_tensor_count, FO_FORMAT},
    {"entries cannot fit", lie_entry_count, FO_FORMAT},
    {"ends inside a key", lie_one_more_entry, FO_FORMAT},
    {"string value", lie_string_length, FO_FORMAT},
    {"cannot fit", lie_array_count, FO_FORMAT},
    {"value type", lie_value_type, FO_FORMAT},
    {"value type", lie_element_type, FO_FORMAT},
    {"nested", lie_nesting, FO_UNSUPPORTED},
    {"a.number", lie_key_twice, FO_FORMAT},
    {"alignment", lie_alignment, FO_FORMAT},
    {"rank 5", lie_rank_5, FO_FORMAT},
    {"rank 0", lie_rank_0, FO_FORMAT},
    {"dimension of 0", lie_dimension_0, FO_FORMAT},
    {"overflow", lie_dimensions, FO_FORMAT},
    {"whole blocks", lie_half_a_block, FO_FORMAT},
    {"comes twice", lie_tensor_twice, FO_FORMAT},
    {"multiple of the alignment", lie_misaligned, FO_FORMAT},
    {"reach beyond", lie_beyond_the_end, FO_FORMAT},
    {"reach beyond", lie_offset_wraps, FO_FORMAT},
    {"overlap", lie_overlap, FO_FORMAT},
    {"64 bytes", lie_long_name, FO_FORMAT},
};

/* Check each lie. */
static void refuses_every_lie(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t held = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
        model_file *file = honest_file();
        lies[i].tell(file);
        parsed p = parse(file);
        if (p.status != lies[i].status ||
            strstr(p.error.message, lies[i].word) == NULL)
            fail_msg("lie %zu (%s): status %d, %s", i, lies[i].word, p.status,
                     p.error.message);
        assert_null(p.gguf);
        drop(&p);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, held);
    }
}

/* Allocate in proportion to the file. */
static void allocates_in_proportion(void **state)
{
    (void)state;
    static char text[100000];
    memset(text, 'x', sizeof text - 1);
    for (uint64_t count = 1000; count <= 1ULL << 40; count *= 8) {
        model_file *file = honest_file();
        put_text(file, "padding", text);
        file->entries = count;
        fo_memory_usage before = fo_memory_usage_get(FO_MEMORY_HOST);
        parsed p = parse(file);
        fo_memory_usage after = fo_memory_usage_get(FO_MEMORY_HOST);
        assert_int_equal(p.status, FO_FORMAT);
        assert_int_equal(after.bytes, before.bytes);
        assert_true(after.peak < before.bytes + 40 * p.size);
        drop(&p);
    }
}

static void lists_types_it_does_not_compute(void **state)
{
    (void)state;
    model_file *file = honest_file();
    static const unsigned char data[144];
    put_tensor(file, "k", 12, 1, (uint64_t[]){256}, data, sizeof data);
    put_tensor(file, "future", 1000, 1, (uint64_t[]){256}, data, 32);
    parsed p = parse(file);
    assert_int_equal(p.status, FO_OK);
    const fo_gguf_tensor *k = fo_gguf_tensor_find(p.gguf, "k");
    assert_string_equal(k->type_name, "q4_K");
    assert_int_equal(k->bytes, 144);
    assert_int_equal(k->dtype, FO_DTYPE_COUNT);
    assert_string_equal(fo_gguf_tensor_find(p.gguf, "future")->type_name, "?");
    drop(&p);
}

/* Open what is no file. */
static void opens_only_files(void **state)
{
    (void)state;
    fo_gguf *gguf;
    fo_error error;
    assert_int_equal(fo_gguf_open("/nonexistent", &gguf, &error), FO_IO);
    assert_int_equal(fo_gguf_open("/", &gguf, &error), FO_IO);
    char path[] = "/tmp/folio-gguf-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(fo_gguf_open(path, &gguf, &error), FO_FORMAT);

    size_t size;
    unsigned char *data = model_file_finish(honest_file(), &size);
    assert_int_equal(write(file, data, size), (ssize_t)size);
    assert_int_equal(fo_gguf_open(path, &gguf, &error), FO_OK);
    assert_int_equal(fo_gguf_bytes(gguf), size);
    fo_gguf_close(&gguf);
    assert_null(gguf);
    close(file);
    unlink(path);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(reads_version_2),
        cmocka_unit_test(refuses_other_types_and_widths),
        cmocka_unit_test(refuses_every_lie),
        cmocka_unit_test(allocates_in_proportion),
        cmocka_unit_test(lists_types_it_does_not_compute),
        cmocka_unit_test(opens_only_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
