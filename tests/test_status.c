#include "common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Carry the numbers and the place of a failure. */
static fo_status refuse(fo_error *error)
{
    return fo_fail_short(error, FO_LIMIT, 4097, 4096,
                         "%d tokens, but the context holds %d", 4097, 4096);
}

static void an_error_carries_its_numbers(void **state)
{
    (void)state;
    fo_error error = {0};
    assert_int_equal(refuse(&error), FO_LIMIT);
    assert_int_equal(error.status, FO_LIMIT);
    assert_int_equal(error.required, 4097);
    assert_int_equal(error.available, 4096);
    assert_string_equal(error.message,
                        "4097 tokens, but the context holds 4096");
    assert_non_null(strstr(error.file, "test_status.c"));
    assert_true(error.line > 0);
}

/* Say every message in one line, and name every status. */
static void nobody_need_listen(void **state)
{
    (void)state;
    assert_int_equal(refuse(NULL), FO_LIMIT);
}

/* Quote a message within itself, and tame strange bytes. */
static void a_message_may_quote_itself(void **state)
{
    (void)state;
    fo_error error = {.message = "no such file"};
    fo_fail(&error, FO_IO, "model.gguf: %s", error.message);
    assert_string_equal(error.message, "model.gguf: no such file");
    assert_int_equal(error.required, 0);
}

static void a_file_is_named_and_nothing_else_changes(void **state)
{
    (void)state;
    fo_error error, before;
    refuse(&error);
    before = error;
    fo_error_in_file(&error, "model.gguf");
    assert_string_equal(error.message,
                        "model.gguf: 4097 tokens, but the context holds 4096");
    assert_int_equal(error.status, before.status);
    assert_int_equal(error.required, before.required);
    assert_int_equal(error.available, before.available);
    assert_ptr_equal(error.file, before.file);
    assert_int_equal(error.line, before.line);
    fo_error_in_file(NULL, "nobody listens");
}

static void a_message_is_one_short_line(void **state)
{
    (void)state;
    fo_error error;
    fo_fail(&error, FO_FORMAT, "tensor \n\x1b[31m%s", "red");
    assert_string_equal(error.message, "tensor ??[31mred");
    char longer[2 * sizeof error.message];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    fo_fail(&error, FO_FORMAT, "%s", longer);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

/* Give every status a name of its own. */
static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = FO_OK; i <= FO_GONE; i++) {
        const char *name = fo_status_name((fo_status)i);
        assert_true(strlen(name) > 0);
        assert_string_not_equal(name, fo_status_name((fo_status)-1));
        for (int j = FO_OK; j < i; j++)
            assert_string_not_equal(name, fo_status_name((fo_status)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_carries_its_numbers),
        cmocka_unit_test(nobody_need_listen),
        cmocka_unit_test(a_message_may_quote_itself),
        cmocka_unit_test(a_file_is_named_and_nothing_else_changes),
        cmocka_unit_test(a_message_is_one_short_line),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
