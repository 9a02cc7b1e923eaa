#include "model/gguf_write.h"

#include "common/memory.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Work in a folder of its own. */
typedef struct folder {
    char name[32], path[64], beside[64];
} folder;

static int open_folder(void **state)
{
    folder *f = calloc(1, sizeof *f);
    strcpy(f->name, "/tmp/folio-write-XXXXXX");
    if (!f || !mkdtemp(f->name))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/model.gguf", f->name);
    snprintf(f->beside, sizeof f->beside, "%s/model.gguf.partial", f->name);
    *state = f;
    return 0;
}

static int close_folder(void **state)
{
    folder *f = *state;
    unlink(f->path);
    int left = rmdir(f->name); /* fails if a file was left behind */
    free(f);
    return left;
}

/* Write a file with one of everything. */
static const float scores[] = {0, -1.5f, 2};
static const int32_t kinds[] = {1, -2, 3};
static const char *const words[] = {"a", "", "a longer word"};
static const float vector[] = {1, 2, 3, 4, 5};
enum { ROWS = 3, COLUMNS = 64 };

static fo_status write_one(const folder *f, bool holes, fo_error *error)
{
    fo_gguf_writer *w;
    uint64_t bytes;
    unsigned char blocks[2 * 34 * ROWS];
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (unsigned char)(i * 7);
    fo_status status = fo_gguf_writer_open(f->path, &w, error);
    if (status != FO_OK)
        return status;
    fo_gguf_put_text(w, "name", "one of everything");
    fo_gguf_put_u32(w, "number", 4000000000u);
    fo_gguf_put_f32(w, "fraction", 0.25f);
    fo_gguf_put_bool(w, "yes", true);
    fo_gguf_put_strings(w, "words", words, 3);
    fo_gguf_put_numbers(w, "scores", FO_GGUF_F32, scores, 3);
    fo_gguf_put_numbers(w, "kinds", FO_GGUF_I32, kinds, 3);
    fo_gguf_put_tensor(w, "vector", FO_F32, 0, 5);
    fo_gguf_put_tensor(w, "never written", FO_F16, 1 << 10, 1 << 10);
    fo_gguf_put_tensor(w, "matrix", FO_Q8_0, ROWS, COLUMNS);
    /* Fill it backwards and in pieces. */
    status = fo_gguf_writer_begin(w, holes, &bytes, error);
    for (int row = ROWS - 1; row >= 0 && status == FO_OK; row--)
        status = fo_gguf_writer_data(w, 2, (uint64_t)row * 68,
                                     blocks + row * 68, 68, error);
    if (status == FO_OK)
        status = fo_gguf_writer_data(w, 0, 0, vector, sizeof vector, error);
    if (status == FO_OK)
        status = fo_gguf_writer_finish(w, error);
    fo_gguf_writer_close(&w);
    assert_null(w);
    return status;
}

/* Read the written values back. */
static void check_values(const fo_gguf *gguf)
{
    uint32_t number;
    float fraction;
    bool yes = false;
    fo_gguf_string name;
    fo_gguf_array array;
    assert_int_equal(fo_gguf_text(gguf, "name", &name, NULL), FO_OK);
    assert_true(fo_gguf_string_is(name, "one of everything"));
    assert_int_equal(fo_gguf_u32(gguf, "number", &number, NULL), FO_OK);
    assert_int_equal(number, 4000000000u);
    assert_int_equal(fo_gguf_f32(gguf, "fraction", &fraction, NULL), FO_OK);
    assert_true(fraction == 0.25f);
    assert_int_equal(fo_gguf_bool(gguf, "yes", &yes, NULL), FO_OK);
    assert_true(yes);
    assert_int_equal(fo_gguf_strings(gguf, "words", &array, NULL), FO_OK);
    assert_int_equal(array.count, 3);
    for (int i = 0; i < 3; i++)
        assert_true(fo_gguf_string_is(fo_gguf_array_take(&array), words[i]));
    assert_int_equal(fo_gguf_numbers(gguf, "scores", &array, NULL), FO_OK);
    assert_true(fo_gguf_array_number(&array, 1) == -1.5);
    assert_int_equal(fo_gguf_numbers(gguf, "kinds", &array, NULL), FO_OK);
    assert_true(fo_gguf_array_number(&array, 1) == -2);
}

/* Read the written tensors back. */
static void check_tensors(const fo_gguf *gguf)
{
    assert_int_equal(fo_gguf_tensor_count(gguf), 3);
    const fo_gguf_tensor *t = fo_gguf_tensor_find(gguf, "vector");
    assert_int_equal(t->rank, 1);
    assert_int_equal(t->dims[0], 5);
    assert_memory_equal(t->data, vector, sizeof vector);
    t = fo_gguf_tensor_find(gguf, "never written");
    assert_int_equal(t->bytes, 2 << 20);
    const char *zeros = t->data;
    for (uint64_t i = 0; i < t->bytes; i += 997)
        assert_int_equal(zeros[i], 0);
    t = fo_gguf_tensor_find(gguf, "matrix");
    assert_int_equal(t->dtype, FO_Q8_0);
    assert_int_equal(t->dims[0], COLUMNS);
    assert_int_equal(t->dims[1], ROWS);
    assert_int_equal(t->offset % 32, 0);
    const unsigned char *bytes = t->data;
    for (size_t i = 0; i < 68 * ROWS; i++)
        assert_int_equal(bytes[i], (unsigned char)(i * 7));
}

/* Compare all of it, with holes and without. */
static void what_is_written_is_read_back(void **state)
{
    const folder *f = *state;
    for (int holes = 0; holes < 2; holes++) {
        fo_gguf *gguf;
        fo_error error;
        struct stat seen;
        if (write_one(f, holes, &error) != FO_OK ||
            fo_gguf_open(f->path, &gguf, &error) != FO_OK)
            fail_msg("%s", error.message);
        check_values(gguf);
        check_tensors(gguf);
        assert_int_equal(fo_gguf_version(gguf), 3);
        fo_gguf_close(&gguf);
        assert_int_equal(stat(f->path, &seen), 0);
        assert_true(seen.st_size > 2 << 20);
        /* A hole takes no room, data does. */
        if (holes)
            assert_true(seen.st_blocks * 512 < 1 << 20);
        else
            assert_true(seen.st_blocks * 512 >= 2 << 20);
    }
}

/* Remove a file that cannot be whole. */
static void a_full_disk_is_told_and_leaves_no_file(void **state)
{
    const folder *f = *state;
    struct rlimit before, small;
    fo_error error = {0};
    getrlimit(RLIMIT_FSIZE, &before);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    fo_status status = write_one(f, false, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, FO_IO);
    assert_non_null(strstr(error.message, f->path));
    assert_non_null(strstr(error.message, "File too large"));
    assert_int_not_equal(access(f->path, F_OK), 0);
    assert_int_not_equal(access(f->beside, F_OK), 0);
}

/* Leave an older file alone. */
static void a_write_that_fails_leaves_the_older_file(void **state)
{
    folder nowhere = {.path = "/nowhere/model.gguf"};
    const folder *f = *state;
    fo_error error = {0};
    FILE *old = fopen(f->path, "w");
    fputs("older", old);
    fclose(old);
    fo_gguf_writer *w;
    assert_int_equal(fo_gguf_writer_open(f->path, &w, NULL), FO_OK);
    assert_int_equal(access(f->beside, F_OK), 0);
    fo_gguf_writer_close(&w);
    assert_int_not_equal(access(f->beside, F_OK), 0);
    char text[8] = "";
    old = fopen(f->path, "r");
    assert_non_null(fgets(text, sizeof text, old));
    fclose(old);
    assert_string_equal(text, "older");
    assert_int_equal(write_one(&nowhere, true, &error), FO_IO);
    assert_non_null(strstr(error.message, "No such file"));
}

/* Fail every request of a writer in turn. */
static void d5_a_writer_survives_every_failed_allocation(void **state)
{
    const folder *f = *state;
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes, n = 0;
    fo_status status = FO_NOMEM;
    while (status != FO_OK) {
        fo_error error = {0};
        fo_memory_fail_at(++n);
        status = write_one(f, true, &error);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || status == FO_NOMEM);
        assert_int_equal(error.status, status);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
        assert_int_not_equal(access(f->beside, F_OK), 0);
    }
    assert_true(n > 5);
}

/* Run the tests of the writer. */
int main(void)
{
#define IN_A_FOLDER(test)                                                      \
    cmocka_unit_test_setup_teardown(test, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(what_is_written_is_read_back),
        IN_A_FOLDER(a_full_disk_is_told_and_leaves_no_file),
        IN_A_FOLDER(a_write_that_fails_leaves_the_older_file),
        IN_A_FOLDER(d5_a_writer_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
