#include "app/app.h"

#include "common/memory.h"
#include "cpu/cpu.h"
#include "cuda/cuda.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tell a typed error. */
int app_fail(const fo_error *error)
{
    fprintf(stderr, "folio: %s\n", error->message);
    return APP_FAILED;
}

/* Read a whole number. */
int64_t app_integer(const struct argp_state *state, const char *flag,
                    const char *text, int64_t low, int64_t high)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < low ||
        value > high)
        argp_error(state,
                   "%s: '%s' is not a whole number from %" PRId64
                   " to %" PRId64,
                   flag, text, low, high);
    return value;
}

/* Read a seed. */
uint64_t app_seed(const struct argp_state *state, const char *flag,
                  const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || strchr(text, '-'))
        argp_error(state, "%s: '%s' is not a whole number below 2^64", flag,
                   text);
    return value;
}

/* Read a number with a fraction. */
double app_number(const struct argp_state *state, const char *flag,
                  const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= low && value <= high))
        argp_error(state, "%s: '%s' is not a number from %g to %g", flag, text,
                   low, high);
    return value;
}

/* Read a size in bytes. */
uint64_t app_bytes(const struct argp_state *state, const char *flag,
                   const char *text)
{
    static const char units[] = "KMGT";
    char *end;
    double value = strtod(text, &end);
    const char *unit =
        *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit)
        value = ldexp(value, 10 * (int)(unit - units + 1));
    if (end == text || end[unit != NULL] != '\0' ||
        !(value >= 1 && value <= 1e18))
        argp_error(state, "%s: '%s' is not a size such as 4096, 512M or 1.5G",
                   flag, text);
    return (uint64_t)value;
}

/* Choose a device by its name. */
static const fo_backend *const backends[] = {
#ifndef FO_NO_CPU
    &fo_backend_cpu,
#endif
#ifndef FO_NO_SIM
    &fo_backend_sim,
#endif
#ifdef FO_HAVE_CUDA
    &fo_backend_cuda,
#endif
};

const fo_backend *app_backend(const struct argp_state *state, const char *name)
{
    size_t count = sizeof backends / sizeof *backends;
    if (!name)
        return backends[0];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    }
    char names[64] = "";
    for (size_t i = 0; i < count; i++) {
        strcat(names, " ");
        strcat(names, backends[i]->name);
    }
    argp_error(state, "--device: no device '%s' in this build; it has%s", name,
               names);
    return NULL;
}

/* Find the bundled model. */
static const char bundled[] = "golden/folio-tiny.gguf";
static const char *const places[] = {bundled, "share/folio/folio-tiny.gguf"};

const char *app_model(char *buffer, size_t size)
{
    assert(buffer);
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    if (access(bundled, R_OK) == 0)
        return bundled;
    for (char *slash = strrchr(program, '/'); slash;
         slash = strrchr(program, '/')) {
        *slash = '\0';
        for (int i = 0; i < 2; i++) {
            int written = snprintf(buffer, size, "%s/%s", program, places[i]);
            if (written > 0 && (size_t)written < size &&
                access(buffer, R_OK) == 0)
                return buffer;
        }
    }
    return bundled;
}

/* Read all of standard input. */
fo_status app_read_input(char **text, size_t *length, fo_error *error)
{
    size_t room = 0;
    *text = NULL;
    *length = 0;
    while (*length == room) {
        room = room ? 2 * room : 4096;
        char *grown = fo_memory_resize(*text, room, 1, error);
        if (!grown)
            return FO_NOMEM;
        *text = grown;
        *length += fread(*text + *length, 1, room - *length, stdin);
    }
    if (ferror(stdin))
        return fo_fail(error, FO_IO, "standard input cannot be read: %s",
                       strerror(errno));
    return FO_OK;
}

/* Show text within a line. */
static bool is_control(const unsigned char *text, size_t length, size_t i)
{
    bool lead = text[i] == 0xc2 && i + 1 < length;
    bool tail = i > 0 && text[i - 1] == 0xc2;
    return text[i] < 0x20 || text[i] == 0x7f ||
           (lead && (text[i + 1] & 0xe0) == 0x80) ||
           (tail && (text[i] & 0xe0) == 0x80);
}

void app_show_text(const char *text, size_t length, size_t room)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t i = 0;
    putchar('"');
    for (; i < length; i++) {
        bool within = (bytes[i] & 0xc0) == 0x80 && i < room + 3;
        if (i >= room && !within)
            break;
        if (bytes[i] == '\n')
            printf("\\n");
        else if (is_control(bytes, length, i))
            printf("\\x%02X", bytes[i]);
        else if (bytes[i] == '"' || bytes[i] == '\\')
            printf("\\%c", bytes[i]);
        else
            putchar(bytes[i]);
    }
    printf(i < length ? "\"..." : "\"");
}
