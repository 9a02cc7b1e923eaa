#include "engine/plan.h"

#include "common/memory.h"
#include "cpu/cpu.h"
#include "engine/decode_loop.h"
#include "engine/session.h"
#include "null_backend.h"
#include "toy_model.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Load and unload by hand. */
/* Open what was planned. */
typedef struct opened {
    fo_model *model;
    fo_block_manager *blocks;
    fo_decode_loop *loop;
} opened;

static uint64_t own(fo_device *device)
{
    fo_device_info info;
    device->backend->info(device, &info);
    return info.memory_own;
}

/* Load as a session does. */
static fo_status open_all(fo_device *device, const char *path,
                          const fo_plan_request *r, opened *o, fo_error *error)
{
    const fo_model_options bounds = {r->context, r->max_tokens,
                                     r->max_sequences, r->max_logits};
    *o = (opened){0};
    fo_status status = fo_model_open(device, path, &bounds, &o->model, error);
    if (status != FO_OK)
        return status;
    const fo_config *c = fo_model_config(o->model);
    int context = fo_model_bounds(o->model)->context;
    int B = r->block_size ? r->block_size : 16;
    fo_block_config shape = {
        .total_blocks = r->total_blocks ? r->total_blocks
                                        : (r->contexts ? r->contexts : 1) *
                                              ((context + B - 1) / B),
        .block_size = B,
        .num_layers = c->L,
        .kv_heads = c->K,
        .head_dim = c->D,
        .dtype = r->kv_dtype,
        .max_sequences =
            r->rows ? r->rows : fo_model_bounds(o->model)->max_sequences,
        .max_length = context,
    };
    status = fo_block_manager_open(device, &shape, &o->blocks, error);
    if (status == FO_OK && r->loop_tokens)
        status = fo_decode_loop_open(device, o->model, o->blocks,
                                     r->loop_tokens, &o->loop, error);
    return status;
}

/* Close what was opened. */
static void close_all(opened *o)
{
    fo_decode_loop_close(&o->loop);
    fo_block_manager_close(&o->blocks);
    fo_model_close(&o->model);
}

/* Choose models and options. */
static const toy_model toys[] = {
    {.arch = FO_ARCH_PHI3, .K = 2},
    {.arch = FO_ARCH_PHI3, .K = 4, .window = 20, .original = 64},
    {.arch = FO_ARCH_LLAMA, .K = 1, .tied = true},
};

static const fo_plan_request requests[] = {
    {0},
    {.context = 100, .max_tokens = 32, .block_size = 8, .loop_tokens = 100},
    {.max_tokens = 1,
     .max_logits = 7,
     .kv_dtype = FO_F16,
     .rows = 9,
     .contexts = 4},
    {.context = 64,
     .max_sequences = 5,
     .max_tokens = 3,
     .total_blocks = 77,
     .kv_dtype = FO_BF16,
     .loop_tokens = 40},
};

enum {
    TOYS = sizeof toys / sizeof *toys,
    REQUESTS = sizeof requests / sizeof *requests,
};

/* Hold the plan against what is taken. */
static void compare(fo_device *device, const char *path,
                    const fo_plan_request *request, bool copies)
{
    fo_error error;
    fo_plan plan;
    opened o;
    uint64_t before = own(device);
    if (fo_plan_make(device, path, request, &plan, &error) != FO_OK)
        fail_msg("%s", error.message);
    assert_int_equal(own(device), before);
    if (open_all(device, path, request, &o, &error) != FO_OK)
        fail_msg("%s", error.message);
    assert_int_equal(own(device) - before,
                     plan.required - (copies ? 0 : plan.weights));
    assert_int_equal(plan.kv, (uint64_t)plan.blocks * plan.block_bytes);
    assert_int_equal(plan.weights + plan.workspace + plan.kv + plan.tables,
                     plan.required);
    assert_true(plan.weights > 0 && plan.workspace > 0 && plan.tables > 0);
    assert_int_equal(plan.context, fo_model_bounds(o.model)->context);
    close_all(&o);
    assert_int_equal(own(device), before);
}

/* Hold many plans on each device. */
static void d3_a_plan_is_what_a_load_takes(void **state)
{
    (void)state;
    const fo_backend *sides[] = {&fo_backend_cpu, verso_backend()};
    for (int side = 0; side < 2 && sides[side]; side++) {
        fo_device *device;
        assert_int_equal(sides[side]->open(NULL, &device, NULL), FO_OK);
        for (int i = 0; i < TOYS * REQUESTS; i++) {
            char path[32];
            toy_model_write(&toys[i / REQUESTS], path);
            compare(device, path, &requests[i % REQUESTS], side == 1);
            unlink(path);
        }
        print_message("%s: %d plans held to the byte\n", sides[side]->name,
                      TOYS * REQUESTS);
        sides[side]->close(&device);
    }
}

/* Hold a session to its plan. */
static void d3_a_session_takes_what_was_planned(void **state)
{
    (void)state;
    const fo_session_options options = {
        .chunk = 24, .block_size = 8, .sequences = 3, .kv_dtype = FO_F16};
    const fo_plan_request request = {.max_tokens = 24,
                                     .max_logits = 24,
                                     .block_size = 8,
                                     .rows = 3,
                                     .contexts = 3,
                                     .loop_tokens = -1,
                                     .kv_dtype = FO_F16};
    const fo_backend *sides[] = {&fo_backend_cpu, verso_backend()};
    char path[32];
    toy_model_write(&toys[1], path);
    for (int side = 0; side < 2 && sides[side]; side++) {
        fo_plan plan;
        fo_device *device;
        fo_session *session;
        sides[side]->open(NULL, &device, NULL);
        assert_int_equal(fo_plan_make(device, path, &request, &plan, NULL),
                         FO_OK);
        assert_int_equal(
            fo_session_load(device, path, &options, &session, NULL), FO_OK);
        assert_int_equal(own(device),
                         plan.required - (side == 0 ? plan.weights : 0));
        fo_session_unload(&session);
        sides[side]->close(&device);
    }
    unlink(path);
}

/* Refuse a load that does not fit. */
static const fo_plan_request usual = {.max_tokens = 32, .loop_tokens = 256};

/* The limit is one byte short; then it is not. */
static void refuse_by_a_byte(const fo_backend *backend, const char *path)
{
    fo_plan plan;
    fo_error error = {0};
    fo_device *device;
    backend->open(NULL, &device, NULL);
    assert_int_equal(fo_plan_make(device, path, &usual, &plan, NULL), FO_OK);
    backend->close(&device);
    fo_device_options options = {.memory_limit = plan.required - 1};
    backend->open(&options, &device, NULL);
    fo_memory_usage host = fo_memory_usage_get(FO_MEMORY_HOST);
    fo_memory_usage there = fo_memory_usage_get(FO_MEMORY_DEVICE);
    fo_plan short_one;
    assert_int_equal(fo_plan_make(device, path, &usual, &short_one, &error),
                     FO_NOMEM);
    assert_int_equal(error.status, FO_NOMEM);
    assert_int_equal(error.required, plan.required);
    assert_int_equal(error.available, plan.required - 1);
    assert_int_equal(short_one.required, plan.required);
    assert_int_equal(short_one.kv, plan.kv);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests,
                     there.requests);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host.bytes);
    backend->close(&device);
    options.memory_limit++;
    backend->open(&options, &device, NULL);
    assert_int_equal(fo_plan_make(device, path, &usual, &plan, NULL), FO_OK);
    opened o;
    assert_int_equal(open_all(device, path, &usual, &o, &error), FO_OK);
    close_all(&o);
    backend->close(&device);
}

/* Refuse it on each device. */
static void
d3_one_byte_too_few_is_refused_before_anything_is_taken(void **state)
{
    (void)state;
    char path[32];
    toy_model_write(&toys[0], path);
    refuse_by_a_byte(&fo_backend_cpu, path);
    if (verso_backend())
        refuse_by_a_byte(verso_backend(), path);
    unlink(path);
}

/* Plan for a device without memory. */
static void d3_a_device_without_memory_is_told_the_whole_plan(void **state)
{
    (void)state;
    char path[32];
    fo_plan plan;
    fo_error error;
    fo_device *device;
    toy_model_write(&toys[0], path);
    null_backend.open(NULL, &device, NULL);
    assert_int_equal(fo_plan_make(device, path, &usual, &plan, &error),
                     FO_NOMEM);
    assert_int_equal(error.available, 0);
    assert_int_equal(error.required, plan.required);
    assert_int_equal(plan.token_bytes, 2 * 2 * 2 * 8 * 4);
    assert_int_equal(plan.kv, 256 * plan.token_bytes);
    assert_int_equal(plan.blocks, 16);
    null_backend.close(&device);
    unlink(path);
}

/* Plan by the file's own limits. */
static void d2_a_context_beyond_the_model_has_no_plan(void **state)
{
    (void)state;
    char path[32];
    fo_plan plan;
    fo_error error;
    fo_device *device;
    fo_plan_request request = {.context = TOY_CONTEXT + 1};
    toy_model_write(&toys[0], path);
    fo_backend_cpu.open(NULL, &device, NULL);
    assert_int_equal(fo_plan_make(device, path, &request, &plan, &error),
                     FO_LIMIT);
    assert_int_equal(error.required, TOY_CONTEXT + 1);
    assert_int_equal(error.available, TOY_CONTEXT);
    request = (fo_plan_request){.block_size = -1};
    assert_int_equal(fo_plan_make(device, path, &request, &plan, &error),
                     FO_ARG);
    assert_non_null(strstr(error.message, "block_size is -1"));
    request = (fo_plan_request){.kv_dtype = FO_Q8_0};
    assert_int_equal(fo_plan_make(device, path, &request, &plan, &error),
                     FO_ARG);
    assert_int_equal(fo_plan_make(device, "/nowhere", &request, &plan, &error),
                     FO_IO);
    fo_backend_cpu.close(&device);
    unlink(path);
}

/* Fail every request of a plan in turn. */
static void d5_a_plan_that_finds_no_memory_leaves_none_behind(void **state)
{
    (void)state;
    char path[32];
    fo_plan plan;
    fo_device *device;
    fo_status status = FO_NOMEM;
    uint64_t n = 0;
    toy_model_write(&toys[1], path);
    fo_backend_cpu.open(NULL, &device, NULL);
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).bytes;
    while (status != FO_OK) {
        fo_error error = {0};
        fo_memory_fail_at(++n);
        status = fo_plan_make(device, path, &usual, &plan, &error);
        fo_memory_fail_at(0);
        assert_true(status == FO_OK || status == FO_NOMEM);
        assert_int_equal(error.status, status);
        assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, before);
    }
    assert_true(n > 3);
    fo_backend_cpu.close(&device);
    unlink(path);
}

/* Run the tests of the plan. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d3_a_plan_is_what_a_load_takes),
        cmocka_unit_test(d3_a_session_takes_what_was_planned),
        cmocka_unit_test(
            d3_one_byte_too_few_is_refused_before_anything_is_taken),
        cmocka_unit_test(d3_a_device_without_memory_is_told_the_whole_plan),
        cmocka_unit_test(d2_a_context_beyond_the_model_has_no_plan),
        cmocka_unit_test(d5_a_plan_that_finds_no_memory_leaves_none_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
