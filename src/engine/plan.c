#include "engine/plan.h"

#include "common/log.h"
#include "engine/decode_loop.h"
#include "model/weights.h"

#include <inttypes.h>
#include <limits.h>

/* Judge a request. */
enum { MOST = 1 << 24 };

static fo_status judge(const fo_plan_request *r, fo_error *error)
{
    const struct {
        const char *name;
        int value, least;
    } numbers[] = {
        {"context", r->context, 0},
        {"max_tokens", r->max_tokens, 0},
        {"max_logits", r->max_logits, 0},
        {"max_sequences", r->max_sequences, 0},
        {"block_size", r->block_size, 0},
        {"total_blocks", r->total_blocks, 0},
        {"loop_tokens", r->loop_tokens, -1},
        {"rows", r->rows, 0},
        {"contexts", r->contexts, 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value < numbers[i].least || numbers[i].value > MOST)
            return fo_fail(error, FO_ARG, "%s is %d, not from %d to %d",
                           numbers[i].name, numbers[i].value, numbers[i].least,
                           MOST);
    if (r->kv_dtype != FO_F32 && r->kv_dtype != FO_F16 &&
        r->kv_dtype != FO_BF16)
        return fo_fail(error, FO_ARG, "a cache cannot be stored as %s",
                       fo_dtype_info_get(r->kv_dtype)->name);
    return FO_OK;
}

/* Plan the cache. */
static fo_block_config cache_of(const fo_config *c, const fo_plan_request *r,
                                const fo_model_options *bounds)
{
    int B = r->block_size > 0 ? r->block_size : 16;
    int64_t contexts = r->contexts > 0 ? r->contexts : 1;
    int64_t blocks = contexts * ((bounds->context - 1) / B + 1);
    return (fo_block_config){
        .total_blocks = r->total_blocks > 0 ? r->total_blocks
                        : blocks < INT_MAX  ? (int)blocks
                                            : INT_MAX,
        .block_size = B,
        .num_layers = c->L,
        .kv_heads = c->K,
        .head_dim = c->D,
        .dtype = r->kv_dtype,
        .max_sequences = r->rows > 0 ? r->rows : bounds->max_sequences,
        .max_length = bounds->context,
    };
}

/* Reckon the bytes of K and V. */
/* A file may claim any shape: too much for 64 bits is told as the most. */
static uint64_t cache_bytes(const fo_block_config *cache)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(fo_block_config_token_bytes(cache),
                               (uint64_t)cache->total_blocks *
                                   (uint64_t)cache->block_size,
                               &bytes))
        return UINT64_MAX / 2;
    return bytes;
}

/* Plan the decode loop. */
/* The tokens to stop at are the tokenizer's to know, so it is opened and
 * closed. */
static fo_status add_loop(const fo_gguf *gguf, const fo_plan_request *r,
                          int max_sequences, fo_plan *plan, fo_error *error)
{
    fo_tokenizer *tokenizer;
    int most = r->loop_tokens < 0 ? plan->context : r->loop_tokens;
    if (most == 0)
        return FO_OK;
    fo_status status = fo_tokenizer_open(gguf, &tokenizer, error);
    if (status != FO_OK)
        return status;
    plan->workspace += fo_decode_loop_bytes(tokenizer, max_sequences, most);
    fo_tokenizer_close(&tokenizer);
    return FO_OK;
}

/* Add the parts of a plan. */
fo_status fo_plan_of(fo_device *device, const fo_gguf *gguf,
                     const fo_plan_request *request, fo_plan *plan,
                     fo_error *error)
{
    fo_config config;
    fo_device_info info;
    fo_model_options bounds;
    const fo_model_options asked = {
        .context = request->context,
        .max_tokens = request->max_tokens,
        .max_sequences = request->max_sequences,
        .max_logits = request->max_logits,
    };
    *plan = (fo_plan){0};
    fo_status status = judge(request, error);
    if (status == FO_OK)
        status = fo_config_read(gguf, &config, error);
    if (status == FO_OK)
        status = fo_model_settle(&config, &asked, &bounds, error);
    if (status != FO_OK)
        return status;
    fo_block_config cache = cache_of(&config, request, &bounds);
    device->backend->info(device, &info);
    plan->context = bounds.context;
    plan->sequences = cache.max_sequences;
    plan->blocks = cache.total_blocks;
    plan->token_bytes = fo_block_config_token_bytes(&cache);
    plan->block_bytes = plan->token_bytes * (uint64_t)cache.block_size;
    plan->weights = fo_weights_bytes(gguf);
    plan->workspace = fo_model_bytes(device, &config, &bounds);
    plan->kv = cache_bytes(&cache);
    plan->tables = fo_block_config_table_bytes(device, &cache);
    status = add_loop(gguf, request, bounds.max_sequences, plan, error);
    plan->required = plan->weights + plan->workspace + plan->kv + plan->tables;
    plan->available = info.memory_free;
    return status;
}

/* Refuse what does not fit. */
fo_status fo_plan_make(fo_device *device, const char *path,
                       const fo_plan_request *request, fo_plan *plan,
                       fo_error *error)
{
    fo_gguf *gguf;
    *plan = (fo_plan){0};
    fo_status status = fo_gguf_open(path, &gguf, error);
    if (status != FO_OK)
        return status;
    status = fo_plan_of(device, gguf, request, plan, error);
    fo_gguf_close(&gguf);
    if (status != FO_OK || plan->required <= plan->available)
        return status;
    const fo_log_field fields[] = {{"required", plan->required},
                                   {"available", plan->available}};
    fo_log_write(FO_LOG_WARNING, "refused", fields, 2);
    return fo_fail_short(error, FO_NOMEM, plan->required, plan->available,
                         "loading takes %" PRIu64 " bytes (weights %" PRIu64
                         ", workspace %" PRIu64 ", cache %" PRIu64
                         ", tables %" PRIu64 "), %" PRIu64 " are available",
                         plan->required, plan->weights, plan->workspace,
                         plan->kv, plan->tables, plan->available);
}
