#include "app/app.h"

#include "app/golden_case.h"
#include "app/golden_replay.h"
#include "common/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read the flags of golden. */
typedef struct flags {
    const fo_backend *backend;
    const char *write_to; /* a folder, or null to check        */
    double tolerance;     /* 0: what each file asks for itself */
    char **files;
    int count;
} flags;

static const struct argp_option options[] = {
    {"device", 'd', "DEVICE", 0, "Run the ops on DEVICE: cpu, sim, cuda (cpu)",
     0},
    {"write", 'w', "DIR", 0, "Make every golden anew in DIR", 0},
    {"tolerance", 't', "X", 0,
     "Allow X absolute and relative, not what each file asks for", 0},
    {0},
};

static error_t read_flag(int key, char *text, struct argp_state *state)
{
    flags *given = state->input;
    if (key == 'd')
        given->backend = app_backend(state, text);
    else if (key == 'w')
        given->write_to = text;
    else if (key == 't')
        given->tolerance = app_number(state, "--tolerance", text, 1e-12, 1e-3);
    else if (key == ARGP_KEY_ARGS) {
        given->files = state->argv + state->next;
        given->count = state->argc - state->next;
    } else if (key == ARGP_KEY_END && !given->write_to == !given->count)
        argp_error(state, "name goldens to check, or a folder to --write");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* Put the widest types first. */
static int width(const fo_safetensor *tensor)
{
    return fo_dtype_info_get(tensor->dtype)->block_bytes;
}

static void sort_by_width(fo_safetensor *tensors, int count)
{
    for (int i = 1; i < count; i++) {
        fo_safetensor moved = tensors[i];
        int j = i;
        for (; j > 0 && width(&tensors[j - 1]) < width(&moved); j--)
            tensors[j] = tensors[j - 1];
        tensors[j] = moved;
    }
}

/* Write one golden. */
fo_status golden_write(fo_device *device, const golden_case *made,
                       const char *path, fo_error *error)
{
    fo_safetensors *inputs = NULL;
    golden_outputs outputs = {0};
    fo_safetensor all[GOLDEN_TENSORS + GOLDEN_OUTPUTS];
    memcpy(all, made->tensors, sizeof *all * made->count);
    sort_by_width(all, made->count);
    fo_status status = fo_safetensors_write(path, all, made->count, made->words,
                                            made->word_count, error);
    if (status == FO_OK)
        status = fo_safetensors_open(path, &inputs, error);
    if (status == FO_OK)
        status = golden_replay(device, inputs, &outputs, error);
    fo_safetensors_close(&inputs);
    memcpy(all + made->count, outputs.tensors, sizeof *all * outputs.count);
    sort_by_width(all, made->count + outputs.count);
    if (status == FO_OK)
        status = fo_safetensors_write(path, all, made->count + outputs.count,
                                      made->words, made->word_count, error);
    golden_outputs_close(&outputs);
    return status;
}

/* Write the folder of goldens. */
static fo_status write_all(fo_device *device, const char *folder,
                           fo_error *error)
{
    golden_case made;
    fo_status status = FO_OK;
    for (int i = 0; status == FO_OK && golden_case_make(i, &made); i++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s.safetensors", folder,
                     made.name) >= (int)sizeof path)
            status = fo_fail(error, FO_ARG, "%s: the path is too long", folder);
        else
            status = golden_write(device, &made, path, error);
        if (status == FO_OK)
            printf("%s\n", made.name);
        golden_case_close(&made);
    }
    return status;
}

/* Compare one output with its file. */
static bool same(const char *path, const fo_safetensor *got,
                 const fo_safetensor *want, double allowed)
{
    char label[4200], report[4600];
    snprintf(label, sizeof label, "%s %s", path, got->name);
    if (!want || want->dtype != got->dtype || want->rank != got->rank ||
        memcmp(want->shape, got->shape, sizeof *got->shape * got->rank) != 0) {
        printf("%s: %s\n", label,
               want ? "the file's tensor has another type or shape"
                    : "the file has no such tensor");
        return false;
    }
    if (got->dtype != FO_F32) {
        bool equal = memcmp(got->data, want->data, got->bytes) == 0;
        printf("%s: %s\n", label, equal ? "same bits" : "other bits");
        return equal;
    }
    const float *a = got->data, *b = want->data;
    fo_comparison comparison =
        fo_comparison_begin((fo_tolerance){allowed, allowed});
    for (uint64_t i = 0; i < got->bytes / sizeof *a; i++)
        fo_comparison_add(&comparison, a[i], b[i]);
    bool equal =
        fo_comparison_verdict(&comparison, label, report, sizeof report);
    printf("%s\n", report);
    return equal;
}

/* Check one golden. */
static fo_status check_one(fo_device *device, const char *path,
                           double tolerance, bool *passed, fo_error *error)
{
    fo_safetensors *file = NULL;
    golden_outputs outputs = {0};
    fo_status status = fo_safetensors_open(path, &file, error);
    if (status == FO_OK) {
        status = golden_replay(device, file, &outputs, error);
        if (status != FO_OK)
            fo_error_in_file(error, path);
    }
    if (status == FO_OK) {
        const char *asked = fo_safetensors_metadata(file, "tolerance");
        if (tolerance == 0)
            tolerance = asked ? strtod(asked, NULL) : 1e-3;
        *passed = outputs.count > 0;
        for (int i = 0; i < outputs.count; i++) {
            const fo_safetensor *got = &outputs.tensors[i];
            *passed &= same(path, got, fo_safetensors_find(file, got->name),
                            tolerance);
        }
    }
    golden_outputs_close(&outputs);
    fo_safetensors_close(&file);
    return status;
}

/* Check the goldens that were named. */
static int check_all(fo_device *device, const flags *given)
{
    int wrong = 0;
    for (int i = 0; i < given->count; i++) {
        fo_error error;
        bool passed = false;
        if (check_one(device, given->files[i], given->tolerance, &passed,
                      &error) != FO_OK) {
            printf("%s\n", error.message);
            passed = false;
        }
        wrong += !passed;
    }
    printf("%d goldens checked, %d wrong\n", given->count, wrong);
    return wrong ? APP_FAILED : APP_OK;
}

/* Write goldens or check them. */
int app_golden(int argc, char **argv)
{
    static const struct argp argp = {
        options,     read_flag,
        "[FILE...]", "Write goldens, or check a device against them.",
        NULL,        NULL,
        NULL};
    flags given = {.backend = app_backend(NULL, NULL)};
    argp_parse(&argp, argc, argv, 0, NULL, &given);
    fo_device *device = NULL;
    fo_error error;
    if (given.backend->open(&(fo_device_options){0}, &device, &error) != FO_OK)
        return app_fail(&error);
    int code = APP_OK;
    if (!given.write_to)
        code = check_all(device, &given);
    else if (write_all(device, given.write_to, &error) != FO_OK)
        code = app_fail(&error);
    given.backend->close(&device);
    return code;
}
