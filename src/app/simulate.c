/* folio simulate: one op on the simulated GPU, with its checkers and traffic.
 */
#include "app/app.h"

#ifdef FO_NO_SIM
/* Simulate nothing. */
int app_simulate(int argc, char **argv)
{
    fo_error error;
    (void)argc;
    (void)argv;
    fo_fail(&error, FO_UNSUPPORTED, "this build has no simulated GPU");
    return app_fail(&error);
}
#else
#include "app/golden_replay.h"
#include "app/simulate.h"
#include "common/compare.h"
#include "cpu/cpu.h"
#include "sim/arena.h"
#include "sim/report.h"
#include "sim/traffic.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Run an op and tell about it. */
/* Say what folio simulate takes. */
enum {
    KEY_LENGTH = 256,
    KEY_WINDOW,
    KEY_INPUTS,
    KEY_UNCHECKED,
    KEY_UNCOUNTED,
    KEY_TIMES,
    KEY_JSON
};

static const struct argp_option flags[] = {
    {"heads", 'H', "N", 0, "Query heads (8)", 0},
    {"kv-heads", 'K', "N", 0, "Heads of the cache (as many)", 0},
    {"head-dim", 'D', "N", 0, "Numbers of a head, at most 256 (64)", 0},
    {"block-size", 'B', "N", 0, "Tokens of a block (16)", 0},
    {"length", KEY_LENGTH, "N", 0, "Tokens of the longest sequence (128)", 0},
    {"window", KEY_WINDOW, "N", 0, "Sliding window, 0 for none (0)", 0},
    {"tokens", 'T', "N", 0, "Tokens, or rows, of a layer's op (32)", 0},
    {"columns", 'C', "N", 0, "Columns, at most 256 (256)", 0},
    {"rows", 'R', "N", 0, "Rows of a weight, or words (128)", 0},
    {"type", 't', "TYPE", 0, "Of the cache, or of a weight (f32)", 0},
    {"inputs", KEY_INPUTS, "SEED", 0, "Draw the inputs from SEED (1)", 0},
    {"seed", 's', "SEED", 0, "Draw the schedule from SEED (0: in order)", 0},
    {"memory", 'm', "MIB", 0, "Memory of the device (4096)", 0},
    {"unchecked", KEY_UNCHECKED, NULL, 0, "Look for no mistakes", 0},
    {"uncounted", KEY_UNCOUNTED, NULL, 0, "Count no traffic", 0},
    {"times", KEY_TIMES, "N", 0, "Run it N times, and time the fastest (1)", 0},
    {"json", KEY_JSON, NULL, 0, "Print all that was counted as JSON", 0},
    {0},
};

/* Take a kernel's name apart. */
static void read_kernel(simulate_options *o, const char *name,
                        const struct argp_state *state)
{
    const char *rung = strstr(name, "_v");
    o->kernel = name;
    snprintf(o->op, sizeof o->op, "%s", name);
    if (!rung || !isdigit((unsigned char)rung[2]))
        return;
    int number = (int)app_integer(state, "the rung", rung + 2, 1, 99);
    o->op[rung - name] = '\0';
    o->rungs.decode_rung = o->rungs.prefill_rung = number;
}

/* Complete what was asked for. */
static void complete(simulate_options *o, const struct argp_state *state)
{
    golden_spec *s = &o->spec;
    if (!o->kernel)
        argp_error(state, "name an op, such as attention_decode");
    s->op = s->name = o->op;
    s->K = s->K ? s->K : s->H;
    s->V = s->R;
    s->rotary = s->D;
    bool attention = strncmp(s->op, "attention", 9) == 0;
    int blocks = (s->longest + s->B - 1) / s->B + 6;
    int64_t keys = (int64_t)(s->longest + 2 * s->B + 1) * s->K * s->D;
    if (s->H % s->K)
        argp_error(state, "%d query heads cannot share %d", s->H, s->K);
    if (attention && s->dtype > FO_BF16)
        argp_error(state, "--type: a cache is f32, f16 or bf16");
    if (attention && (blocks > GOLDEN_BLOCKS || keys > GOLDEN_KEYS))
        argp_error(state,
                   "the cache is too large to be simulated: %d blocks "
                   "of %d, %lld numbers of %d",
                   blocks, GOLDEN_BLOCKS, (long long)keys, GOLDEN_KEYS);
    if (s->longest < 2 * s->B)
        argp_error(state, "--length: two blocks, %d tokens, at least",
                   2 * s->B);
    if (s->dtype > FO_BF16 && s->C % 32)
        argp_error(state, "--columns: blocks of %s hold 32 numbers",
                   fo_dtype_info_get(s->dtype)->name);
    if (strcmp(s->op, "attention_contiguous") == 0)
        s->B = 0;
}

/* Read the sizes of a case. */
static error_t read_size(int key, char *text, struct argp_state *state)
{
    golden_spec *spec = &((simulate_options *)state->input)->spec;
    static const struct {
        int key, most;
        const char *flag;
        size_t at;
    } sizes[] = {
        {'H', 64, "--heads", offsetof(golden_spec, H)},
        {'K', 64, "--kv-heads", offsetof(golden_spec, K)},
        {'D', GOLDEN_COLUMNS, "--head-dim", offsetof(golden_spec, D)},
        {'B', 256, "--block-size", offsetof(golden_spec, B)},
        {KEY_LENGTH, 4096, "--length", offsetof(golden_spec, longest)},
        {KEY_WINDOW, 4096, "--window", offsetof(golden_spec, window)},
        {'T', 512, "--tokens", offsetof(golden_spec, T)},
        {'C', GOLDEN_COLUMNS, "--columns", offsetof(golden_spec, C)},
        {'R', 4096, "--rows", offsetof(golden_spec, R)},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].key != key)
            continue;
        int low = key == KEY_WINDOW ? 0 : 1;
        *(int *)((char *)spec + sizes[i].at) =
            (int)app_integer(state, sizes[i].flag, text, low, sizes[i].most);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

/* Read the switches of folio simulate. */
/* The flags that only turn something on or off; false if this is none. */
static bool read_switch(simulate_options *o, int key)
{
    o->settings.checks &= key != KEY_UNCHECKED;
    o->settings.traffic &= key != KEY_UNCOUNTED;
    o->json |= key == KEY_JSON;
    return key == KEY_UNCHECKED || key == KEY_UNCOUNTED || key == KEY_JSON;
}

/* Read the flags of folio simulate. */
static error_t read_flag(int key, char *text, struct argp_state *state)
{
    simulate_options *o = state->input;
    switch (key) {
    case 't':
        o->spec.dtype = fo_dtype_parse(text);
        if (o->spec.dtype > FO_Q4_0)
            argp_error(state, "--type: '%s' is no type of a weight", text);
        break;
    case 's':
        o->settings.seed = app_seed(state, "--seed", text);
        break;
    case KEY_INPUTS:
        o->inputs = app_seed(state, "--inputs", text);
        break;
    case 'm':
        o->device.memory_limit =
            (uint64_t)app_integer(state, "--memory", text, 1, 1 << 20) << 20;
        break;
    case ARGP_KEY_ARG:
        if (o->kernel)
            argp_error(state, "'%s' is one word too many", text);
        read_kernel(o, text, state);
        break;
    case ARGP_KEY_END:
        complete(o, state);
        break;
    case KEY_TIMES:
        o->times = (int)app_integer(state, "--times", text, 1, 1000);
        break;
    default:
        return read_switch(o, key) ? 0 : read_size(key, text, state);
    }
    return 0;
}

/* Compare with the processor's answers. */
static void compare(const fo_safetensors *file, const golden_outputs *got,
                    simulate_result *r)
{
    for (int i = 0; i < got->count; i++) {
        const fo_safetensor *a = &got->tensors[i];
        const fo_safetensor *b = fo_safetensors_find(file, a->name);
        if (!b || b->bytes != a->bytes || b->dtype != a->dtype) {
            r->same_bits = false;
        } else if (a->dtype != FO_F32) {
            r->same_bits &= memcmp(a->data, b->data, a->bytes) == 0;
        } else {
            const float *x = a->data, *y = b->data;
            fo_comparison c = fo_comparison_begin((fo_tolerance){1e-3, 1e-3});
            for (uint64_t k = 0; k < a->bytes / sizeof *x; k++)
                fo_comparison_add(&c, x[k], y[k]);
            r->error = fmax(r->error, c.worst_error);
        }
    }
}

/* Run a case on the simulated device. */
static void run_once(fo_device *device, const fo_safetensors *file,
                     simulate_result *r)
{
    golden_outputs outputs = {0};
    struct timespec begin, end;
    sim_traffic_clear();
    sim_reports_clear();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    r->status = golden_replay(device, file, &outputs, &r->why);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) +
                     1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    if (r->seconds == 0 || seconds < r->seconds)
        r->seconds = seconds;
    r->same_bits = true;
    if (r->status == FO_OK)
        compare(file, &outputs, r);
    golden_outputs_close(&outputs);
}

/* Open the device and run the case. */
static fo_status run_file(const simulate_options *o, const char *path,
                          simulate_result *r, fo_error *error)
{
    fo_safetensors *file = NULL;
    fo_device *device = NULL;
    fo_status status = fo_safetensors_open(path, &file, error);
    if (status == FO_OK)
        status = fo_backend_sim.open(&o->device, &device, error);
    if (status == FO_OK) {
        fo_cuda_settings *rungs = (fo_cuda_settings *)device;
        rungs->decode_rung = o->rungs.decode_rung;
        rungs->prefill_rung = o->rungs.prefill_rung;
        for (int i = 0; i < o->times; i++)
            run_once(device, file, r);
        fo_backend_sim.close(&device);
        if (o->settings.checks)
            sim_arena_check_leaks();
    }
    fo_safetensors_close(&file);
    return status;
}

/* Write the case to a file. */
static fo_status run_case(const simulate_options *o, simulate_result *r,
                          fo_error *error)
{
    char path[] = "/tmp/folio-simulate-XXXXXX";
    fo_device *cpu = NULL;
    golden_case made;
    if (access(o->kernel, R_OK) == 0)
        return run_file(o, o->kernel, r, error);
    if (!golden_case_of(&o->spec, o->inputs, &made))
        return fo_fail(error, FO_UNKNOWN, "no op '%s', and no such file",
                       o->op);
    int file = mkstemp(path);
    fo_status status = FO_OK;
    if (file < 0)
        status = fo_fail(error, FO_IO, "%s: %s", path, strerror(errno));
    else
        close(file);
    if (status == FO_OK)
        status = fo_backend_cpu.open(&(fo_device_options){0}, &cpu, error);
    if (status == FO_OK)
        status = golden_write(cpu, &made, path, error);
    if (status == FO_OK)
        status = run_file(o, path, r, error);
    if (cpu)
        fo_backend_cpu.close(&cpu);
    if (file >= 0)
        unlink(path);
    golden_case_close(&made);
    return status;
}

/* Describe folio simulate. */
static const struct argp parser = {
    .options = flags,
    .parser = read_flag,
    .args_doc = "OP[_vN] | GOLDEN",
    .doc = "Run one op on the simulated GPU, look for mistakes in its use of "
           "memory, and count its traffic.",
};

/* Simulate. */
int app_simulate(int argc, char **argv)
{
    simulate_options o = {.settings = sim_settings_get(),
                          .inputs = 1,
                          .times = 1,
                          .spec = {.H = 8,
                                   .D = 64,
                                   .B = 16,
                                   .longest = 128,
                                   .T = 32,
                                   .C = 256,
                                   .R = 128}};
    simulate_result r = {0};
    fo_error error;
    o.settings.traffic = true;
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    sim_settings_set(o.settings);
    if (run_case(&o, &r, &error) != FO_OK)
        return app_fail(&error);
    bool failed = false;
    if (o.json)
        failed = !simulate_print_json(&o, &r);
    else
        simulate_print(&o, &r);
    bool right = r.status == FO_OK && r.same_bits && r.error <= 1e-3 &&
                 sim_report_count() == 0;
    return right && !failed ? APP_OK : APP_FAILED;
}
#endif
