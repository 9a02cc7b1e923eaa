#include "common/safetensors.h"

#include "common/memory.h"
#include "common/rng.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* A scratch file of this process, and what is written before its renaming. */
static char path[64], partial[80];

/* Make a file in memory. */
/* A file's bytes in memory, aligned as the parser wants them. */
typedef struct image {
    uint64_t words[512];
    size_t bytes;
} image;

static image image_of(const char *header, const void *data, size_t data_bytes)
{
    image file = {.bytes = 8 + strlen(header) + data_bytes};
    assert_true(file.bytes <= sizeof file.words);
    file.words[0] = strlen(header);
    memcpy((char *)file.words + 8, header, strlen(header));
    memcpy((char *)file.words + 8 + strlen(header), data, data_bytes);
    return file;
}

static fo_status parse_header(const char *header, fo_error *error)
{
    static const float data[4];
    image file = image_of(header, data, sizeof data);
    fo_safetensors *read;
    fo_status status =
        fo_safetensors_parse(file.words, file.bytes, &read, error);
    assert_true(status == FO_OK ? !!read : !read);
    fo_safetensors_close(&read);
    return status;
}

#define TENSOR(name, dtype, shape, offsets)                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape                   \
    ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{" TENSOR("x", dtype, shape, offsets) "}"
#define TWO(first, second)         "{" first "," second "}"

/* Headers of files with 16 bytes of data. */
static const struct {
    fo_status status;
    const char *header;
} headers[] = {
    /* List headers that load. */
    {FO_OK, ONE("F32", "[2,2]", "[0,16]") "   "},
    {FO_OK, ONE("F16", "[8]", "[0,16]")},
    {FO_OK, TWO("\"__metadata__\":{\"a\":\"b\"}",
                TENSOR("x", "U8", "[16]", "[0,16]"))},
    {FO_OK, TWO(TENSOR("x", "I64", "[2]", "[0,16]"),
                TENSOR("e", "U8", "[9223372036854775807,2,0]", "[16,16]"))},
    /* List headers that lie about numbers. */
    {FO_FORMAT, ONE("F32", "[2,2]", "[0,17]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[8,24]")},
    {FO_FORMAT, ONE("F32", "[2,1]", "[0,16]")},
    {FO_FORMAT, ONE("F32", "[2,1]", "[0,8]")},
    {FO_FORMAT, ONE("F32", "[2,1]", "[8,16]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[16,0]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[0]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[0,16,16]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[-16,0]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[0,16.0]")},
    {FO_FORMAT, ONE("F32", "[2,2]", "[0,18446744073709551632]")},
    {FO_FORMAT, ONE("F32", "[-2,-2]", "[0,16]")},
    {FO_FORMAT, ONE("F32", "[2,2.0]", "[0,16]")},
    {FO_FORMAT, ONE("F32", "4", "[0,16]")},
    {FO_FORMAT, ONE("F32", "[4294967296,4294967296,4]", "[0,0]")},
    {FO_FORMAT, ONE("F32", "[4611686018427387904,4]", "[0,16]")},
    {FO_FORMAT, ONE("F32", "[9223372036854775807,2]", "[0,16]")},
    {FO_FORMAT, TWO(TENSOR("x", "F32", "[3]", "[0,12]"),
                    TENSOR("y", "F32", "[2]", "[8,16]"))},
    {FO_FORMAT, TWO(TENSOR("x", "F32", "[1]", "[0,4]"),
                    TENSOR("y", "F32", "[2]", "[8,16]"))},
    /* List headers that are no headers. */
    {FO_FORMAT, ""},
    {FO_FORMAT, "{"},
    {FO_FORMAT, "[]"},
    {FO_FORMAT, " {}"},
    {FO_FORMAT, "{}"},
    {FO_FORMAT, ONE("F32", "[2,2]", "[0,16]") "!"},
    {FO_FORMAT, "{\"x\":7}"},
    {FO_FORMAT, "{\"x\":{}}"},
    {FO_FORMAT, "{\"x\":{\"shape\":[4],\"data_offsets\":[0,16]}}"},
    {FO_FORMAT, "{\"x\":{\"dtype\":5,\"shape\":[4],\"data_offsets\":[0,16]}}"},
    {FO_FORMAT,
     TWO("\"__metadata__\":[]", TENSOR("x", "F32", "[4]", "[0,16]"))},
    {FO_FORMAT,
     TWO("\"__metadata__\":{\"a\":1}", TENSOR("x", "F32", "[4]", "[0,16]"))},
    {FO_FORMAT, TWO(TENSOR("x", "F32", "[4]", "[0,16]"),
                    TENSOR("x", "F32", "[4]", "[0,16]"))},
    {FO_FORMAT, "{" TENSOR("\xff", "F32", "[4]", "[0,16]") "}"},
    {FO_FORMAT, "{" TENSOR("a\\u0000b", "F32", "[4]", "[0,16]") "}"},
    /* List headers that are beyond us. */
    {FO_UNSUPPORTED, ONE("F64", "[2]", "[0,16]")},
    {FO_UNSUPPORTED, ONE("Q8_0", "[16]", "[0,16]")},
    {FO_UNSUPPORTED, ONE("U8", "[1,1,1,1,1,1,1,1,16]", "[0,16]")},
    {FO_UNSUPPORTED, TWO(TENSOR("x", "U8", "[1]", "[0,1]"),
                         TENSOR("y", "F16", "[7]", "[1,15]"))},
};

/* Answer each header with its status. */
static void hostile_headers_get_typed_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        fo_error error = {.message = "accepted"};
        char header[512];
        snprintf(header, sizeof header, "%s", headers[i].header);
        while (strlen(header) % 8 != 0)
            strcat(header, " ");
        fo_status status = parse_header(header, &error);
        if (status != headers[i].status)
            fail_msg("%s: %s", headers[i].header, error.message);
        assert_true(status == FO_OK || error.status == status);
    }
}

/* Bound a header by its file. */
static void a_header_must_fit_its_file(void **state)
{
    (void)state;
    image file = image_of("{}", "", 0);
    fo_safetensors *read;
    assert_int_equal(fo_safetensors_parse(file.words, 10, &read, NULL), FO_OK);
    assert_int_equal(fo_safetensors_count(read), 0);
    fo_safetensors_close(&read);
    const uint64_t lengths[] = {0, 1, 3, 1u << 31, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        file.words[0] = lengths[i];
        assert_int_equal(fo_safetensors_parse(file.words, 10, &read, NULL),
                         FO_FORMAT);
        assert_null(read);
    }
    for (size_t bytes = 0; bytes < 10; bytes++)
        assert_int_equal(fo_safetensors_parse(file.words, bytes, &read, NULL),
                         FO_FORMAT);
}

/* Nest objects without end. */
static void nested_and_endless_json_is_refused(void **state)
{
    (void)state;
    size_t depth = 200000;
    char *file = fo_memory_alloc(8 + 6 * depth, 1, NULL);
    uint64_t length = 6 * depth;
    memcpy(file, &length, 8);
    for (size_t i = 0; i < depth; i++)
        memcpy(file + 8 + 5 * i, "{\"x\":", 5);
    memset(file + 8 + 5 * depth, '}', depth);
    fo_safetensors *read;
    assert_int_equal(fo_safetensors_parse(file, 8 + length, &read, NULL),
                     FO_FORMAT);
    fo_memory_free(file);
}

/* Write a sample and read it back. */
static const float weights[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t halves[3] = {0x3c00, 0x7e00, 0xfc00};
static const uint8_t scalar[1] = {7};

static const fo_safetensor written[] = {
    {"w", FO_F32, 2, {2, 3}, weights, sizeof weights},
    {"none", FO_I32, 3, {4, 0, 2}, NULL, 0},
    {"h \"\\ \xc3\xa9", FO_F16, 1, {3}, halves, sizeof halves},
    {"s", FO_U8, 0, {0}, scalar, sizeof scalar},
};
static const fo_metadata facts[] = {{"op", "norm"}, {"seed", "9"}};

static fo_status write_sample(const char *to, fo_error *error)
{
    return fo_safetensors_write(to, written, 4, facts, 2, error);
}

static size_t read_back(const char *from, char *buffer, size_t size)
{
    FILE *stream = fopen(from, "rb");
    assert_non_null(stream);
    size_t bytes = fread(buffer, 1, size, stream);
    fclose(stream);
    return bytes;
}

/* Compare what was read with what was written. */
static void what_is_written_is_read(void **state)
{
    (void)state;
    fo_error error;
    assert_int_equal(write_sample(path, &error), FO_OK);
    fo_safetensors *file;
    assert_int_equal(fo_safetensors_open(path, &file, &error), FO_OK);
    assert_int_equal(fo_safetensors_count(file), 4);
    for (int i = 0; i < 4; i++) {
        const fo_safetensor *got = fo_safetensors_at(file, i);
        assert_string_equal(got->name, written[i].name);
        assert_ptr_equal(got, fo_safetensors_find(file, written[i].name));
        assert_int_equal(got->dtype, written[i].dtype);
        assert_int_equal(got->rank, written[i].rank);
        assert_memory_equal(got->shape, written[i].shape, sizeof got->shape);
        assert_int_equal(got->bytes, written[i].bytes);
        if (got->bytes > 0)
            assert_memory_equal(got->data, written[i].data, got->bytes);
    }
    assert_string_equal(fo_safetensors_metadata(file, "op"), "norm");
    assert_string_equal(fo_safetensors_metadata(file, "seed"), "9");
    assert_null(fo_safetensors_metadata(file, "tolerance"));
    fo_metadata fact;
    for (int i = 0; i < 2; i++) {
        assert_true(fo_safetensors_metadata_at(file, i, &fact));
        assert_string_equal(fact.key, facts[i].key);
        assert_string_equal(fact.value, facts[i].value);
    }
    assert_false(fo_safetensors_metadata_at(file, 2, &fact));
    assert_null(fo_safetensors_find(file, "__metadata__"));
    fo_safetensors_close(&file);
    assert_null(file);
    fo_safetensors_close(&file);
}

/* Pin the bytes of a file. */
static void the_bytes_of_a_file_are_known(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"op\":\"add\"},\"x\":{\"dtype\":\"F32\","
        "\"shape\":[1],\"data_offsets\":[0,4]}}";
    const float one = 1;
    fo_safetensor x = {"x", FO_F32, 1, {1}, &one, 4};
    fo_metadata op = {"op", "add"};
    assert_int_equal(fo_safetensors_write(path, &x, 1, &op, 1, NULL), FO_OK);
    char got[256];
    size_t bytes = read_back(path, got, sizeof got);
    size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    assert_int_equal(bytes, 8 + padded + 4);
    assert_int_equal((unsigned char)got[0], padded);
    assert_memory_equal(got + 1, "\0\0\0\0\0\0\0", 7);
    assert_memory_equal(got + 8, header, sizeof header - 1);
    for (size_t i = 8 + sizeof header - 1; i < 8 + padded; i++)
        assert_int_equal(got[i], ' ');
    assert_memory_equal(got + 8 + padded, "\0\0\x80\x3f", 4);
}

/* Give the same bytes on writing again. */
static void writing_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    char first[2048], second[2048];
    assert_int_equal(write_sample(path, NULL), FO_OK);
    size_t bytes = read_back(path, first, sizeof first);
    assert_int_equal(write_sample(path, NULL), FO_OK);
    assert_int_equal(read_back(path, second, sizeof second), bytes);
    assert_memory_equal(first, second, bytes);
}

/* Refuse to write a wrong tensor. */
static void a_wrong_tensor_is_not_written(void **state)
{
    (void)state;
    const fo_safetensor faults[][2] = {
        {{"a", FO_F32, 1, {2}, weights, 4}},
        {{"a", FO_F32, 2, {INT64_MAX, INT64_MAX}, weights, 4}},
        {{"a", FO_Q8_0, 1, {32}, weights, 34}},
        {{"a", FO_F32, 1, {1}, weights, 4}, {"a", FO_F32, 1, {1}, weights, 4}},
        {{"a", FO_U8, 1, {1}, scalar, 1}, {"b", FO_F32, 1, {1}, weights, 4}},
        {{"__metadata__", FO_U8, 1, {1}, scalar, 1}},
        {{"\xff", FO_U8, 1, {1}, scalar, 1}},
    };
    unlink(path);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        fo_error error;
        int count = faults[i][1].name ? 2 : 1;
        assert_int_equal(
            fo_safetensors_write(path, faults[i], count, NULL, 0, &error),
            FO_ARG);
        assert_int_equal(error.status, FO_ARG);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    fo_metadata broken = {"key", "\xc3"};
    assert_int_equal(fo_safetensors_write(path, NULL, 0, &broken, 1, NULL),
                     FO_ARG);
}

/* Keep the old file when writing fails. */
static void failing_io_leaves_the_old_file(void **state)
{
    (void)state;
    fo_error error;
    fo_safetensors *file;
    assert_int_equal(write_sample("/absent/x", &error), FO_IO);
    assert_int_equal(fo_safetensors_open("/absent", &file, &error), FO_IO);
    assert_int_equal(fo_safetensors_open("/", &file, &error), FO_IO);
    assert_int_equal(fo_safetensors_open("/dev/null", &file, &error), FO_IO);
    char before[2048], after[2048];
    assert_int_equal(write_sample(path, &error), FO_OK);
    size_t bytes = read_back(path, before, sizeof before);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){64, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    fo_status status = write_sample(path, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, FO_IO);
    assert_int_equal(read_back(path, after, sizeof after), bytes);
    assert_memory_equal(before, after, bytes);
    assert_int_not_equal(access(partial, F_OK), 0);
}

/* Parse an exact copy and read all it admits. */
/* Every tensor that a parse admits can be read to its last byte. */
static uint64_t sum_of_bytes(const fo_safetensors *file)
{
    uint64_t sum = 0;
    for (int i = 0; i < fo_safetensors_count(file); i++) {
        const fo_safetensor *tensor = fo_safetensors_at(file, i);
        const uint8_t *data = tensor->data;
        sum += strlen(tensor->name);
        for (uint64_t j = 0; j < tensor->bytes; j++)
            sum += data[j];
    }
    return sum;
}

/* Parse a copy of exactly `bytes` bytes, so that a sanitizer sees one too far.
 * True if it loads; otherwise the error must be of a legal kind. */
static bool survives(const void *data, size_t bytes)
{
    void *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, data, bytes);
    fo_safetensors *file;
    fo_error error = {0};
    fo_status status = fo_safetensors_parse(exact, bytes, &file, &error);
    if (status == FO_OK)
        assert_true(sum_of_bytes(file) < UINT64_MAX);
    else
        assert_true((status == FO_FORMAT || status == FO_UNSUPPORTED) &&
                    error.status == status && error.message[0]);
    fo_safetensors_close(&file);
    free(exact);
    return status == FO_OK;
}

static size_t sample_image(image *file)
{
    assert_int_equal(write_sample(path, NULL), FO_OK);
    file->bytes = read_back(path, (char *)file->words, sizeof file->words);
    assert_true(survives(file->words, file->bytes));
    return file->bytes;
}

/* Cut a file after each of its bytes. */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    image file;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    size_t bytes = sample_image(&file);
    for (size_t kept = 0; kept < bytes; kept++)
        assert_false(survives(file.words, kept));
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
}

/* Change bytes at random. */
enum { MUTATIONS = 10000 };

static void mutations_never_crash(void **state)
{
    (void)state;
    image file, mutant;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    size_t bytes = sample_image(&file);
    int loaded = 0;
    for (uint64_t i = 0; i < MUTATIONS; i++) {
        mutant = file;
        uint32_t words[4];
        fo_rng_block(1, 0, i, words);
        for (uint32_t change = 0; change <= words[0] % 4; change++) {
            uint32_t where[4];
            fo_rng_block(1, 1 + change, i, where);
            uint8_t *byte = (uint8_t *)mutant.words + where[0] % bytes;
            *byte = where[1] % 2 == 0
                        ? (uint8_t)(*byte ^ 1u << where[2] % 8)
                        : (uint8_t) "0129[]{}\",:-\\ \xff"[where[2] % 15];
        }
        loaded += survives(mutant.words, bytes);
    }
    print_message("%d mutations, %d of them still load\n", MUTATIONS, loaded);
    assert_true(loaded > 0 && loaded < MUTATIONS);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
}

/* Let every allocation fail in turn. */
/* Fail the n-th allocation, for every n, until one run needs fewer than n. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    int n = 0;
    for (fo_status status = FO_NOMEM; status != FO_OK;) {
        fo_safetensors *file = NULL;
        fo_error error = {0};
        fo_memory_fail_at((uint64_t)++n);
        status = write_sample(path, &error);
        if (status == FO_OK)
            status = fo_safetensors_open(path, &file, &error);
        if (status != FO_OK) {
            assert_int_equal(status, FO_NOMEM);
            assert_int_equal(error.status, FO_NOMEM);
            assert_null(file);
        }
        fo_safetensors_close(&file);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
    }
    fo_memory_fail_at(0);
    print_message("%d allocations failed in turn\n", n - 1);
    assert_true(n > 20);
}

/* Name the scratch files and remove them. */
static int name_files(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/folio-safetensors-%d", (int)getpid());
    snprintf(partial, sizeof partial, "%s.partial", path);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_headers_get_typed_errors),
        cmocka_unit_test(a_header_must_fit_its_file),
        cmocka_unit_test(nested_and_endless_json_is_refused),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_bytes_of_a_file_are_known),
        cmocka_unit_test(writing_twice_gives_the_same_bytes),
        cmocka_unit_test(a_wrong_tensor_is_not_written),
        cmocka_unit_test(failing_io_leaves_the_old_file),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(mutations_never_crash),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, name_files, remove_files);
}
