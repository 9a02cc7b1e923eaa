/* What `folio report` shares among its files: samples, tables, plots. */
#ifndef FOLIO_APP_REPORT_H
#define FOLIO_APP_REPORT_H

#include "app/app.h"
#include "app/shape.h"
#include "engine/plan.h"
#include "engine/usage.h"

/* Say what is to be measured. */
enum { APP_CONTEXTS = 16 };

typedef struct app_report {
    const fo_backend *backend;
    app_shape shape;
    fo_dtype kv_dtype;
    const char *model;          /* null: one layer of the shape is made  */
    const char *folder;         /* where the report goes                 */
    int contexts[APP_CONTEXTS]; /* rising                                */
    int count;
    bool session; /* run a model too */
} app_report;

/* Hold what was measured. */
typedef struct app_sample {
    int tokens, blocks;
    fo_usage usage; /* own, host and resident since the start */
} app_sample;

typedef struct app_samples {
    app_sample *at; /* (count), at rising tokens */
    int count;
    uint64_t token_bytes; /* of K and V, as configured    */
    fo_plan plan;         /* of a session                 */
} app_samples;

/* Grow a cache of all layers, without a model; or run a session. Both measure
 * every `step` tokens and at each context. `out` is to be freed with
 * fo_memory_free(out->at), whatever is returned. */
fo_status app_measure_cache(const app_report *report, int step,
                            app_samples *out, fo_error *error);
fo_status app_measure_session(const app_report *report, const char *model,
                              int step, app_samples *out, fo_error *error);

/* Draw lines over each other. */
typedef struct app_line {
    const char *name;
    char tint;   /* 'a' to 'd' */
    bool dashed; /* no measurement */
    bool stairs; /* holds its height until the next point */
    int count;
    const double *x, *y; /* (count) */
} app_line;

/* An SVG of GiB over tokens. FO_IO. */
fo_status app_plot_write(const char *path, const char *title,
                         const app_line *lines, int count, fo_error *error);

#endif
