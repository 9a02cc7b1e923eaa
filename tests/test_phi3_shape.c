#include "engine/session.h"

#include "app/shape.h"
#include "common/memory.h"
#include "cpu/cpu.h"
#include "engine/usage.h"
#include "verso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONTEXT = 4096, WINDOW = 2047, CHUNK = 512, B = 16, PROMPT = 4090 };

/* Have three models to test. */
/* Make the models once. */
typedef struct models {
    char folder[32];
    char one[64];   /* one layer with the heads of Phi-3-mini        */
    char whole[64]; /* all 32 layers, its weights a hole            */
    char tiny[64];
} models;

static models made;

static int make(const char *like, int layers, fo_dtype type, bool zeros,
                const char *name, char path[64])
{
    uint64_t bytes;
    fo_error error;
    app_make asked = {.shape = *app_shape_find(like),
                      .type = type,
                      .seed = 1,
                      .zeros = zeros,
                      .quiet = true};
    asked.shape.L = layers;
    /* Nothing of these is kept from token to token. */
    if (layers == 1) {
        asked.shape.F = 512;
        asked.shape.V = 2048;
    }
    snprintf(path, 64, "%s/%s.gguf", made.folder, name);
    if (app_model_make(&asked, path, &bytes, &error) == FO_OK)
        return 0;
    print_error("%s\n", error.message);
    return -1;
}

/* Make three of them. */
static int make_models(void **state)
{
    (void)state;
    strcpy(made.folder, "/tmp/folio-phi3-XXXXXX");
    if (!mkdtemp(made.folder))
        return -1;
    return make("phi3-mini", 1, FO_Q8_0, false, "one", made.one) ||
           make("phi3-mini", 32, FO_F16, true, "whole", made.whole) ||
           make("tiny", 2, FO_F16, false, "tiny", made.tiny);
}

static int remove_models(void **state)
{
    (void)state;
    unlink(made.one);
    unlink(made.whole);
    unlink(made.tiny);
    return rmdir(made.folder);
}

/* Load a model for a test. */
static const fo_session_options narrow = {.chunk = CHUNK, .kv_dtype = FO_F16};

static fo_session *load(fo_device *device, const char *path)
{
    fo_session *session;
    fo_error error;
    if (fo_session_load(device, path, &narrow, &session, &error) != FO_OK)
        fail_msg("%s", error.message);
    return session;
}

static const int32_t *prompt_of(int count)
{
    static int32_t prompt[CONTEXT + 1];
    assert_true(count <= CONTEXT + 1);
    for (int i = 0; i < count; i++)
        prompt[i] = 259 + i * 7919 % 1600;
    return prompt;
}

static fo_usage usage_of(fo_device *device, const fo_session *session)
{
    fo_usage usage;
    const fo_block_manager *blocks =
        session ? fo_session_blocks(session) : NULL;
    assert_int_equal(fo_usage_get(device, blocks, &usage, NULL), FO_OK);
    return usage;
}

/* Check what the window has left. */
static void check_the_window(const fo_session *s)
{
    fo_block_stats stats;
    assert_int_equal(fo_block_manager_stats(fo_session_blocks(s), &stats, NULL),
                     FO_OK);
    assert_true(stats.pool.peak <= (WINDOW + CHUNK) / B + 2);
    assert_true(stats.pool.held <= WINDOW / B + 2);
    print_message("4096 tokens: %d blocks at most, of %d\n", stats.pool.peak,
                  CONTEXT / B);
}

/* Run a context to its end, true heads. */
/* The same run shows that the window keeps the cache bounded. */
static void d2_b6_context_4096_is_reached_and_4097_refused(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    int32_t token;
    const fo_sampling greedy = {0};
    if (getenv("FOLIO_QUICK")) {
        print_message("SKIP: 4096 tokens are not for a quick run\n");
        skip();
    }
    fo_backend_cpu.open(NULL, &device, NULL);
    fo_session *s = load(device, made.one);
    assert_int_equal(
        fo_session_prefill(s, prompt_of(PROMPT), PROMPT, NULL, &error), FO_OK);
    for (int i = PROMPT; i < CONTEXT; i++)
        assert_int_equal(fo_session_decode(s, &greedy, &token, &error), FO_OK);
    assert_int_equal(fo_session_length(s), CONTEXT);
    uint64_t before = fo_memory_usage_get(FO_MEMORY_DEVICE).requests;
    for (int again = 0; again < 2; again++) {
        assert_int_equal(fo_session_decode(s, &greedy, &token, &error),
                         FO_LIMIT);
        assert_int_equal(error.required, CONTEXT + 1);
        assert_int_equal(error.available, CONTEXT);
        assert_int_equal(fo_session_prefill(s, &token, 1, NULL, &error),
                         FO_LIMIT);
        assert_int_equal(fo_session_length(s), CONTEXT);
    }
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests, before);
    check_the_window(s);
    fo_session_unload(&s);
    fo_backend_cpu.close(&device);
}

/* Count what a prompt sets in motion. */
static int embeds, extends;

static fo_status count_embed(fo_device *device, float *out,
                             const int32_t *tokens, const fo_weight *table,
                             int T, fo_error *error)
{
    embeds++;
    return cpu_embed(device, out, tokens, table, T, error);
}

static fo_status count_extend(fo_device *device, fo_pool *pool,
                              const fo_pool_request *requests,
                              fo_pool_grant *grants, int n, fo_error *error)
{
    extends++;
    return cpu_pool_extend(device, pool, requests, grants, n, error);
}

/* Refuse a prompt that is too long. */
static void d2_a_longer_prompt_is_refused_before_any_work(void **state)
{
    (void)state;
    fo_device *device;
    fo_error error;
    fo_backend counting = fo_backend_cpu;
    counting.embed = count_embed;
    counting.pool_extend = count_extend;
    fo_backend_cpu.open(NULL, &device, NULL);
    device->backend = &counting;
    fo_session *s = load(device, made.one);
    uint64_t before = fo_memory_usage_get(FO_MEMORY_HOST).requests;
    assert_int_equal(fo_session_prefill(s, prompt_of(CONTEXT + 1), CONTEXT + 1,
                                        NULL, &error),
                     FO_LIMIT);
    assert_int_equal(error.required, CONTEXT + 1);
    assert_int_equal(error.available, CONTEXT);
    assert_int_equal(embeds, 0);
    assert_int_equal(extends, 0);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).requests, before);
    assert_int_equal(usage_of(device, s).held, 0);
    /* The counters do count. */
    assert_int_equal(fo_session_prefill(s, prompt_of(3), 3, NULL, &error),
                     FO_OK);
    assert_true(embeds == 1 && extends == 1);
    fo_session_unload(&s);
    fo_backend_cpu.close(&device);
}

/* Refuse the whole model a gigabyte. */
static void refuse_a_gigabyte(const fo_backend *backend)
{
    fo_device *device;
    fo_session *s;
    fo_error error = {0};
    const fo_device_options options = {.memory_limit = 1 << 30};
    backend->open(&options, &device, NULL);
    fo_memory_usage host = fo_memory_usage_get(FO_MEMORY_HOST);
    fo_memory_usage there = fo_memory_usage_get(FO_MEMORY_DEVICE);
    uint64_t resident = usage_of(device, NULL).resident;
    assert_int_equal(fo_session_load(device, made.whole, &narrow, &s, &error),
                     FO_NOMEM);
    assert_null(s);
    assert_int_equal(error.status, FO_NOMEM);
    assert_int_equal(error.available, 1 << 30);
    /* Two bytes for each of 3,821,079,552 weights, and the cache. */
    assert_true(error.required >
                2 * UINT64_C(3821079552) + CONTEXT * UINT64_C(393216));
    assert_true(error.required < UINT64_C(10) << 30);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_DEVICE).requests,
                     there.requests);
    assert_int_equal(fo_memory_usage_get(FO_MEMORY_HOST).bytes, host.bytes);
    assert_true(usage_of(device, NULL).resident < resident + (32 << 20));
    print_message("%s: %llu bytes required, %llu available\n", backend->name,
                  (unsigned long long)error.required,
                  (unsigned long long)error.available);
    backend->close(&device);
}

/* Refuse it on each device with that limit. */
static void d3_a_gigabyte_refuses_the_whole_model(void **state)
{
    (void)state;
    refuse_a_gigabyte(&fo_backend_cpu);
    if (verso_backend())
        refuse_a_gigabyte(verso_backend());
}

/* Weigh caches. */
/* Grow a cache and weigh it. */
/* 64 blocks together are whole pages of any device, for one layer or more. */
enum { SLAB = 64 };

/* Own bytes that the device hands out for each of 1,024 tokens, by slabs. */
static uint64_t bytes_a_token(const fo_backend *backend, int layers)
{
    fo_device *device;
    fo_block_manager *blocks;
    fo_usage before, after;
    fo_error error;
    const fo_block_config shape = {.total_blocks = 4 * SLAB,
                                   .block_size = B,
                                   .num_layers = layers,
                                   .kv_heads = 32,
                                   .head_dim = 96,
                                   .dtype = FO_F16,
                                   .max_sequences = 1,
                                   .max_length = CONTEXT,
                                   .slab_blocks = SLAB};
    backend->open(NULL, &device, NULL);
    if (fo_block_manager_open(device, &shape, &blocks, &error) != FO_OK)
        fail_msg("%s", error.message);
    fo_usage_get(device, blocks, &before, NULL);
    assert_int_equal(before.committed, 0);
    for (int i = 0; i < SLAB * B; i++)
        assert_int_equal(fo_block_manager_extend(blocks, 0, 1, &error), FO_OK);
    fo_usage_get(device, blocks, &after, NULL);
    assert_int_equal(after.own - before.own, after.committed);
    assert_int_equal(after.held, after.committed);
    fo_block_manager_close(&blocks);
    backend->close(&device);
    return (after.own - before.own) / (SLAB * B);
}

/* Weigh one layer, and all. */
static void d4_one_layer_takes_12288_bytes_a_token(void **state)
{
    (void)state;
    assert_int_equal(bytes_a_token(&fo_backend_cpu, 1), 12288);
    if (verso_backend())
        assert_int_equal(bytes_a_token(verso_backend(), 1), 12288);
}

static void d4_all_32_layers_take_393216_bytes_a_token(void **state)
{
    (void)state;
    assert_int_equal(bytes_a_token(&fo_backend_cpu, 32), 393216);
}

/* Weigh a session at some contexts. */
static void d4_a_session_holds_whole_blocks_of_196608_bytes(void **state)
{
    (void)state;
    fo_device *device;
    fo_backend_cpu.open(NULL, &device, NULL);
    fo_session *s = load(device, made.one);
    const int steps[] = {1, 15, 1, 47, 936};
    int tokens = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(fo_session_prefill(s, prompt_of(steps[i]),
                                            (size_t)steps[i], NULL, NULL),
                         FO_OK);
        tokens += steps[i];
        assert_int_equal(usage_of(device, s).held,
                         (uint64_t)((tokens + B - 1) / B) * B * 12288);
    }
    assert_int_equal(tokens, 1000);
    fo_session_unload(&s);
    fo_backend_cpu.close(&device);
}

/* Weigh ten rounds. */
/* Know whose the resident set is. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define RESIDENT_IS_OURS false
#elif defined __has_feature
#define RESIDENT_IS_OURS                                                       \
    (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) &&  \
     !getenv("FOLIO_QUICK"))
#else
#define RESIDENT_IS_OURS (!getenv("FOLIO_QUICK"))
#endif

/* Load, generate and unload ten times. */
static void cycle(fo_device *device, const char *path, int prompt)
{
    int32_t tokens[8];
    int count;
    const fo_sampling warm = {.temperature = 0.8f, .top_p = 0.9f, .seed = 5};
    fo_session *s = load(device, path);
    for (int i = 0; i < prompt; i++) {
        int32_t id = 3 + i % 256;
        assert_int_equal(fo_session_prefill(s, &id, 1, NULL, NULL), FO_OK);
    }
    assert_int_equal(
        fo_session_generate(s, &warm, 8, false, tokens, &count, NULL), FO_OK);
    assert_int_equal(count, 8);
    fo_session_unload(&s);
}

/* Weigh what is left after each round. */
static void ten_cycles(const fo_backend *backend, const char *path, int prompt)
{
    fo_device *device;
    backend->open(NULL, &device, NULL);
    fo_usage start = usage_of(device, NULL);
    uint64_t resident = 0;
    int rounds = getenv("FOLIO_QUICK") ? 2 : 10;
    for (int i = 0; i < rounds; i++) {
        cycle(device, path, prompt);
        fo_usage now = usage_of(device, NULL);
        assert_int_equal(now.own, start.own);
        assert_int_equal(now.host, start.host);
        /* The first round warms up libraries; after it nothing may grow. */
        if (i == 0)
            resident = now.resident;
        if (RESIDENT_IS_OURS)
            assert_true(now.resident <= resident + resident / 100);
    }
    print_message("%s: own bytes back %d times, resident %llu, then %llu\n",
                  backend->name, rounds, (unsigned long long)resident,
                  (unsigned long long)usage_of(device, NULL).resident);
    backend->close(&device);
}

static void d6_ten_cycles_give_back_every_byte(void **state)
{
    (void)state;
    ten_cycles(&fo_backend_cpu, made.one, 20);
    if (verso_backend())
        ten_cycles(verso_backend(), made.tiny, 3);
}

/* Run the tests of the true shape. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d2_b6_context_4096_is_reached_and_4097_refused),
        cmocka_unit_test(d2_a_longer_prompt_is_refused_before_any_work),
        cmocka_unit_test(d3_a_gigabyte_refuses_the_whole_model),
        cmocka_unit_test(d4_one_layer_takes_12288_bytes_a_token),
        cmocka_unit_test(d4_all_32_layers_take_393216_bytes_a_token),
        cmocka_unit_test(d4_a_session_holds_whole_blocks_of_196608_bytes),
        cmocka_unit_test(d6_ten_cycles_give_back_every_byte),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
