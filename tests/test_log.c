#include "common/log.h"

#include "common/json.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Read back what was logged. */
/* What the calls of `speak` leave in the log, line by line. */
static char *logged(fo_log_level level, void (*speak)(void))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    fo_log_open(stream, level);
    speak();
    fo_log_open(NULL, FO_LOG_DEBUG);
    fclose(stream);
    return text;
}

static void speak_once(void)
{
    fo_log_field fields[] = {{"blocks_free", 0}, {"bytes", UINT64_MAX}};
    fo_log_write(FO_LOG_WARNING, "pool.full", fields, 2);
}

/* Write one event as one JSON object. */
static void a_line_is_one_json_object(void **state)
{
    (void)state;
    char *text = logged(FO_LOG_INFO, speak_once);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_t *line = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")),
                        "warning");
    assert_string_equal(json_string_value(json_object_get(line, "event")),
                        "pool.full");
    assert_true(json_number_value(json_object_get(line, "time")) > 1.5e9);
    assert_non_null(strstr(text, "\"blocks_free\": 0, "
                                 "\"bytes\": 18446744073709551615}\n"));
    json_decref(line);
    free(text);
}

/* Speak at every level. */
static void speak_at_every_level(void)
{
    for (int level = FO_LOG_ERROR; level <= FO_LOG_DEBUG; level++)
        fo_log_write((fo_log_level)level, "level", NULL, 0);
}

static int lines(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

static void only_grave_enough_lines_are_written(void **state)
{
    (void)state;
    for (int level = FO_LOG_ERROR; level <= FO_LOG_DEBUG; level++) {
        char *text = logged((fo_log_level)level, speak_at_every_level);
        assert_int_equal(lines(text), level + 1);
        free(text);
    }
    speak_at_every_level();
}

/* Speak from several threads. */
static void *chatter(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < 200; i++) {
        fo_log_field field = {"i", i};
        fo_log_write(FO_LOG_INFO, "chatter", &field, 1);
    }
    return NULL;
}

static void speak_from_threads(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* Keep the lines of threads apart. */
static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    char *text = logged(FO_LOG_INFO, speak_from_threads), *rest = text;
    assert_int_equal(lines(text), 800);
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        json_decref(object);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(only_grave_enough_lines_are_written),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
