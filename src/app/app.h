/* What the commands share: exit codes, messages, and the reading of flags.
 *
 * A command is `int app_NAME(int argc, char **argv)`; argv[0] is the name to be
 * shown in its help. It returns an exit code. */
#ifndef FOLIO_APP_APP_H
#define FOLIO_APP_APP_H

#include "common/backend.h"
#include "common/status.h"
#include "engine/session.h"

#include <argp.h>
#include <stdint.h>

/* Name the exit codes. */
enum {
    APP_OK,
    APP_FAILED, /* a typed error, told on standard error */
    APP_USAGE,  /* the command was called wrongly        */
};

/* Print "folio: MESSAGE" to standard error; returns APP_FAILED. */
int app_fail(const fo_error *error);

/* Declare the commands. */
int app_run(int argc, char **argv);
int app_batch(int argc, char **argv);
int app_tokenize(int argc, char **argv);
int app_logits(int argc, char **argv);
int app_inspect(int argc, char **argv);
int app_make_model(int argc, char **argv);
int app_report_run(int argc, char **argv);
int app_blocks(int argc, char **argv);
int app_golden(int argc, char **argv);
int app_bench(int argc, char **argv);
int app_simulate(int argc, char **argv);
int app_serve(int argc, char **argv);

/* Declare the reading of flags. */
/* `text` as a whole number from low to high; anything else is told as a mistake
 * in `flag` and ends the program with APP_USAGE. */
int64_t app_integer(const struct argp_state *state, const char *flag,
                    const char *text, int64_t low, int64_t high);

/* The same for an unsigned number of 64 bits, such as a seed. */
uint64_t app_seed(const struct argp_state *state, const char *flag,
                  const char *text);

/* The same for a finite number from low to high. */
double app_number(const struct argp_state *state, const char *flag,
                  const char *text, double low, double high);

/* The same for a size: bytes, or a number with K, M, G or T after it (2^10,
 * 2^20, 2^30, 2^40), of which it may be a fraction. Not 0. */
uint64_t app_bytes(const struct argp_state *state, const char *flag,
                   const char *text);

/* The type of a cache by its name, as --kv-type takes it. */
fo_dtype app_cache_type(const struct argp_state *state, const char *name);

/* Declare what commands read and show. */
/* All of standard input. `*text` is to be freed with fo_memory_free, whatever
 * is returned. FO_IO, FO_NOMEM. */
fo_status app_read_input(char **text, size_t *length, fo_error *error);

/* Print text in quotes and on one line: about `room` bytes of it, and then
 * "..." when there are more. Quotes, backslashes and control codes are escaped.
 */
void app_show_text(const char *text, size_t length, size_t room);

/* A number with a comma between thousands; bytes as "1.5 GiB". Both are written
 * into `out`, and return it. */
typedef char app_written[32];
const char *app_grouped(uint64_t value, app_written out);
const char *app_size_name(uint64_t bytes, app_written out);

/* Print what loading a model takes of a device, at growing contexts. */
fo_status app_plan_show(const fo_gguf *gguf, const fo_backend *backend,
                        int block_size, fo_error *error);

/* Declare the choice of a device and a model. */
/* The backend called `name`, or the first of this build for null; ends the
 * program with APP_USAGE when there is none of that name. */
const fo_backend *app_backend(const struct argp_state *state, const char *name);

/* The default model, golden/folio-tiny.gguf: below the current folder, or else
 * below a folder that the program lies in, where it may also be installed as
 * share/folio/folio-tiny.gguf. Returns the plain relative path when
 * there is none, so that opening it tells what is missing. `buffer` holds the
 * answer. */
const char *app_model(char *buffer, size_t size);

/* What the flags -m, -d, --memory, --ctx, --chunk, --block-size and --kv-type
 * say. --events opens the log. */
typedef struct app_source {
    const fo_backend *backend;
    fo_device_options device;
    const char *model;
    fo_session_options options;
    char buffer[4096]; /* may hold the path of the default model */
} app_source;

/* The defaults, to be changed by a parser that has app_source_argp as a child
 * and hands the source down as that child's input. */
void app_source_begin(app_source *source);
extern const struct argp app_source_argp;

/* Open the device and load a session on it; app_source_close takes both back,
 * opened or not. */
fo_status app_source_open(const app_source *source, fo_device **device,
                          fo_session **session, fo_error *error);
void app_source_close(fo_device **device, fo_session **session);

/* The flags --temp, --seed, --top-p and --top-k, for an fo_sampling that begins
 * with their defaults. */
extern const struct argp app_sampling_argp;
fo_sampling app_sampling_begin(void);

#endif
