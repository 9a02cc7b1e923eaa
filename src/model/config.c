#include "model/config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Read keys of one architecture. */
typedef struct source {
    const fo_gguf *gguf;
    const char *prefix;
    fo_status status; /* the first error, after which nothing is read */
    fo_error *error;
} source;

enum { LARGEST = 1 << 24 };

static bool has(const source *from, const char *key)
{
    char full[96];
    if (from->status != FO_OK)
        return false;
    snprintf(full, sizeof full, "%s.%s", from->prefix, key);
    return fo_gguf_has(from->gguf, full);
}

/* A number between least and LARGEST. */
static int size_of(source *from, const char *key, uint32_t least)
{
    char full[96];
    uint32_t value = 0;
    if (from->status != FO_OK)
        return 0;
    snprintf(full, sizeof full, "%s.%s", from->prefix, key);
    from->status = fo_gguf_u32(from->gguf, full, &value, from->error);
    if (from->status == FO_OK && (value < least || value > LARGEST))
        from->status =
            fo_fail(from->error, FO_FORMAT, "%s is %u, not between %u and %d",
                    full, value, least, LARGEST);
    return from->status == FO_OK ? (int)value : 0;
}

/* Read a positive float. */
/* A float in (0, most]. */
static float float_of(source *from, const char *key, float most)
{
    char full[96];
    float value = 0;
    if (from->status != FO_OK)
        return 0;
    snprintf(full, sizeof full, "%s.%s", from->prefix, key);
    from->status = fo_gguf_f32(from->gguf, full, &value, from->error);
    if (from->status == FO_OK && !(value > 0 && value <= most))
        from->status = fo_fail(from->error, FO_FORMAT,
                               "%s is %g, not above 0 and at most %g", full,
                               (double)value, (double)most);
    return value;
}

/* Recognise the architecture. */
static const char *const arch_names[] = {
    [FO_ARCH_PHI3] = "phi3",
    [FO_ARCH_LLAMA] = "llama",
};

const char *fo_arch_name(fo_arch arch)
{
    return arch_names[arch];
}

static fo_status recognise(const fo_gguf *gguf, fo_config *config,
                           fo_error *error)
{
    fo_gguf_string name;
    char shown[64];
    fo_status status = fo_gguf_text(gguf, "general.architecture", &name, error);
    if (status != FO_OK)
        return status;
    for (int arch = FO_ARCH_PHI3; arch <= FO_ARCH_LLAMA; arch++)
        if (fo_gguf_string_is(name, arch_names[arch])) {
            config->arch = arch;
            config->rope_style =
                arch == FO_ARCH_PHI3 ? FO_ROPE_NEOX : FO_ROPE_NORMAL;
            return FO_OK;
        }
    return fo_fail(error, FO_UNSUPPORTED,
                   "the architecture %s; Folio computes phi3 and llama",
                   fo_gguf_string_show(name, shown, sizeof shown));
}

/* Find the head dimension. */
static void find_head(source *from, fo_config *config)
{
    if (has(from, "attention.key_length"))
        config->D = size_of(from, "attention.key_length", 1);
    else if (config->C % config->H == 0)
        config->D = config->C / config->H;
    else
        from->status = fo_fail(from->error, FO_FORMAT,
                               "%d heads do not divide a hidden size of %d",
                               config->H, config->C);
    if (has(from, "attention.value_length") &&
        size_of(from, "attention.value_length", 1) != config->D)
        from->status = fo_fail(from->error, FO_UNSUPPORTED,
                               "values and keys of different head dimensions");
}

/* Check that the sizes fit together. */
static void check_sizes(source *from, const fo_config *config)
{
    if (from->status != FO_OK)
        return;
    if (config->V < 1)
        from->status =
            fo_fail(from->error, FO_FORMAT,
                    "tokenizer.ggml.tokens has no tokens, or too many");
    else if (config->H % config->K != 0)
        from->status =
            fo_fail(from->error, FO_FORMAT,
                    "%d kv heads do not divide %d heads", config->K, config->H);
    else if (config->D % 2 != 0)
        from->status = fo_fail(from->error, FO_FORMAT,
                               "the head dimension %d is odd", config->D);
    else if ((config->H + 2 * (int64_t)config->K) * config->D > INT_MAX)
        from->status = fo_fail(from->error, FO_FORMAT,
                               "%d heads of dimension %d are too many",
                               config->H, config->D);
}

/* Read the sizes. */
static void read_sizes(source *from, fo_config *config)
{
    config->context = size_of(from, "context_length", 1);
    config->C = size_of(from, "embedding_length", 1);
    config->F = size_of(from, "feed_forward_length", 1);
    config->L = size_of(from, "block_count", 1);
    config->H = size_of(from, "attention.head_count", 1);
    config->K = has(from, "attention.head_count_kv")
                    ? size_of(from, "attention.head_count_kv", 1)
                    : config->H;
    config->epsilon = float_of(from, "attention.layer_norm_rms_epsilon", 1.0F);
    fo_gguf_array tokens;
    if (fo_gguf_has(from->gguf, "tokenizer.ggml.tokens")) {
        if (from->status == FO_OK)
            from->status = fo_gguf_strings(from->gguf, "tokenizer.ggml.tokens",
                                           &tokens, from->error);
        if (from->status == FO_OK)
            config->V = tokens.count <= LARGEST ? (int)tokens.count : 0;
    } else {
        config->V = size_of(from, "vocab_size", 1);
    }
    if (from->status == FO_OK)
        find_head(from, config);
    check_sizes(from, config);
}

/* Read what RoPE needs. */
static void read_rope(source *from, fo_config *config)
{
    config->rope_base = has(from, "rope.freq_base")
                            ? float_of(from, "rope.freq_base", 1e12F)
                            : 10000;
    config->rotary = has(from, "rope.dimension_count")
                         ? size_of(from, "rope.dimension_count", 2)
                         : config->D;
    const char *original = "rope.scaling.original_context_length";
    config->original_context =
        has(from, original) ? size_of(from, original, 1) : config->context;
    config->rope_attn_factor = 1;
    if (has(from, "rope.scaling.attn_factor"))
        config->rope_attn_factor =
            float_of(from, "rope.scaling.attn_factor", 1000);
    else if (config->arch == FO_ARCH_PHI3 && config->original_context > 1 &&
             config->context > config->original_context)
        config->rope_attn_factor = (float)sqrt(
            1 + log((double)config->context / config->original_context) /
                    log(config->original_context));
    if (from->status == FO_OK &&
        (config->rotary % 2 != 0 || config->rotary > config->D))
        from->status = fo_fail(from->error, FO_FORMAT,
                               "RoPE turns %d of %d dimensions: not an even "
                               "number of them",
                               config->rotary, config->D);
}

/* Refuse what Folio does not compute. */
static void refuse(source *from)
{
    char key[96];
    fo_gguf_string type;
    if (has(from, "expert_count") && size_of(from, "expert_count", 0) > 0 &&
        from->status == FO_OK)
        from->status =
            fo_fail(from->error, FO_UNSUPPORTED, "a mixture of experts");
    if (!has(from, "rope.scaling.type"))
        return;
    snprintf(key, sizeof key, "%s.rope.scaling.type", from->prefix);
    from->status = fo_gguf_text(from->gguf, key, &type, from->error);
    char shown[64];
    if (from->status == FO_OK && !fo_gguf_string_is(type, "none") &&
        !fo_gguf_string_is(type, "longrope"))
        from->status =
            fo_fail(from->error, FO_UNSUPPORTED, "RoPE scaling of type %s",
                    fo_gguf_string_show(type, shown, sizeof shown));
}

/* Find the window. */
static void read_window(source *from, fo_config *config)
{
    if (has(from, "attention.sliding_window"))
        config->window = size_of(from, "attention.sliding_window", 0);
    else if (config->arch == FO_ARCH_PHI3 && config->context == 4096 &&
             (config->L == 32 || config->L == 40))
        config->window = 2047;
}

fo_status fo_config_read(const fo_gguf *gguf, fo_config *config,
                         fo_error *error)
{
    *config = (fo_config){0};
    fo_status status = recognise(gguf, config, error);
    if (status != FO_OK)
        return status;
    source from = {gguf, fo_arch_name(config->arch), FO_OK, error};
    refuse(&from);
    read_sizes(&from, config);
    read_rope(&from, config);
    read_window(&from, config);
    return from.status;
}

/* Count the bytes a token's keys and values take. */
uint64_t fo_config_kv_bytes(const fo_config *config, fo_dtype dtype)
{
    return 2 * (uint64_t)config->L *
           fo_dtype_bytes(dtype, (int64_t)config->K * config->D);
}
