#include "model/weights.h"

#include "common/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keep track while loading. */
typedef struct loader {
    const fo_gguf *gguf;
    fo_weights *weights;
    bool *used;       /* (tensors of the file) */
    fo_status status; /* the first error, after which nothing is loaded */
    fo_error *error;
} loader;

/* Find a tensor and check its shape. */
/* The tensor of R rows and C columns, or null. */
static const fo_gguf_tensor *find(loader *from, const char *name, int R, int C)
{
    if (from->status != FO_OK)
        return NULL;
    const fo_gguf_tensor *tensor = fo_gguf_tensor_find(from->gguf, name);
    if (tensor == NULL)
        from->status =
            fo_fail(from->error, FO_UNKNOWN, "the file has no tensor %s", name);
    else if (tensor->dims[0] != C || tensor->dims[1] != R ||
             tensor->dims[2] != 1 || tensor->dims[3] != 1)
        from->status =
            fo_fail(from->error, FO_FORMAT,
                    "tensor %s, at byte %" PRIu64 ", is %" PRId64 " x %" PRId64
                    " x %" PRId64 " x %" PRId64 " (fastest first), not %d x %d",
                    name, tensor->offset, tensor->dims[0], tensor->dims[1],
                    tensor->dims[2], tensor->dims[3], C, R);
    if (from->status != FO_OK)
        return NULL;
    from->used[tensor - fo_gguf_tensor_at(from->gguf, 0)] = true;
    return tensor;
}

/* Map a tensor. */
static const void *map(loader *from, const fo_gguf_tensor *tensor)
{
    fo_weights *weights = from->weights;
    const void *data = NULL;
    from->status = weights->device->backend->map(
        weights->device, tensor->data, tensor->bytes, &data, from->error);
    if (from->status != FO_OK)
        return NULL;
    weights->mapped[weights->mapped_count++] = data;
    return data;
}

/* Load a matrix. */
static bool is_weight_type(fo_dtype dtype)
{
    return dtype == FO_F32 || dtype == FO_F16 || dtype == FO_BF16 ||
           dtype == FO_Q8_0 || dtype == FO_Q4_0;
}

static fo_weight matrix(loader *from, const char *name, int R, int C)
{
    const fo_gguf_tensor *tensor = find(from, name, R, C);
    if (tensor != NULL && !is_weight_type(tensor->dtype))
        from->status =
            fo_fail(from->error, FO_UNSUPPORTED,
                    "tensor %s has type %s (%" PRIu32
                    "); Folio computes f32, f16, bf16, q8_0 and q4_0",
                    name, tensor->type_name, tensor->type);
    if (from->status != FO_OK)
        return (fo_weight){0};
    return (fo_weight){map(from, tensor), tensor->dtype, R, C};
}

/* Load a norm. */
static const fo_gguf_tensor *find_f32(loader *from, const char *name, int n)
{
    const fo_gguf_tensor *tensor = find(from, name, 1, n);
    if (tensor != NULL && tensor->dtype != FO_F32) {
        from->status = fo_fail(from->error, FO_UNSUPPORTED,
                               "tensor %s has type %s; Folio wants f32 here",
                               name, tensor->type_name);
        return NULL;
    }
    return tensor;
}

static const float *norm(loader *from, const char *name, int n)
{
    const fo_gguf_tensor *tensor = find_f32(from, name, n);
    return tensor == NULL ? NULL : map(from, tensor);
}

/* Load the factors of RoPE. */
static const float *factors(loader *from, const char *name, int n)
{
    if (from->status != FO_OK || fo_gguf_tensor_find(from->gguf, name) == NULL)
        return NULL;
    const fo_gguf_tensor *tensor = find_f32(from, name, n);
    if (tensor == NULL)
        return NULL;
    const float *values = tensor->data;
    for (int i = 0; i < n; i++)
        if (!(values[i] > 0 && isfinite(values[i]))) {
            from->status =
                fo_fail(from->error, FO_FORMAT, "tensor %s: factor %d is %g",
                        name, i, (double)values[i]);
            return NULL;
        }
    return values;
}

/* Load one layer. */
static void load_layer(loader *from, const fo_config *c, int l)
{
    fo_layer_weights *layer = &from->weights->layers[l];
    int query = c->H * c->D, kv = c->K * c->D;
    char name[64];
#define NAME(part)                                                             \
    (snprintf(name, sizeof name, "blk.%d." part ".weight", l), name)
    layer->attn_norm = norm(from, NAME("attn_norm"), c->C);
    if (c->arch == FO_ARCH_PHI3) {
        layer->qkv = matrix(from, NAME("attn_qkv"), query + 2 * kv, c->C);
        layer->gate_up = matrix(from, NAME("ffn_up"), 2 * c->F, c->C);
    } else {
        layer->q = matrix(from, NAME("attn_q"), query, c->C);
        layer->k = matrix(from, NAME("attn_k"), kv, c->C);
        layer->v = matrix(from, NAME("attn_v"), kv, c->C);
        layer->gate = matrix(from, NAME("ffn_gate"), c->F, c->C);
        layer->up = matrix(from, NAME("ffn_up"), c->F, c->C);
    }
    layer->attn_out = matrix(from, NAME("attn_output"), c->C, query);
    layer->ffn_norm = norm(from, NAME("ffn_norm"), c->C);
    layer->down = matrix(from, NAME("ffn_down"), c->C, c->F);
#undef NAME
}

/* Load what is outside the layers. */
static void load_ends(loader *from, const fo_config *c)
{
    fo_weights *weights = from->weights;
    weights->embedding = matrix(from, "token_embd.weight", c->V, c->C);
    weights->output_norm = norm(from, "output_norm.weight", c->C);
    weights->output = weights->embedding;
    if (fo_gguf_tensor_find(from->gguf, "output.weight") != NULL)
        weights->output = matrix(from, "output.weight", c->V, c->C);
    int n = c->rotary / 2;
    if (c->arch == FO_ARCH_PHI3) {
        weights->rope_long = factors(from, "rope_factors_long.weight", n);
        weights->rope_short = factors(from, "rope_factors_short.weight", n);
        if (from->status == FO_OK &&
            (weights->rope_long == NULL) != (weights->rope_short == NULL))
            from->status = fo_fail(from->error, FO_FORMAT,
                                   "long and short RoPE factors come together");
    } else {
        weights->rope_long = factors(from, "rope_freqs.weight", n);
        weights->rope_short = weights->rope_long;
    }
}

/* Refuse tensors that nobody reads. */
static void refuse_unused(loader *from)
{
    char shown[64];
    for (int i = 0;
         i < fo_gguf_tensor_count(from->gguf) && from->status == FO_OK; i++)
        if (!from->used[i])
            from->status = fo_fail(
                from->error, FO_UNSUPPORTED,
                "the tensor %s is not part of the model as Folio knows it",
                fo_gguf_string_show(fo_gguf_tensor_at(from->gguf, i)->name,
                                    shown, sizeof shown));
}

/* Open and close weights. */
fo_status fo_weights_open(fo_device *device, const fo_gguf *gguf,
                          const fo_config *config, fo_weights **out,
                          fo_error *error)
{
    *out = NULL;
    int count = fo_gguf_tensor_count(gguf);
    if (config->L > count / 6)
        return fo_fail(error, FO_FORMAT,
                       "%d tensors cannot make %d layers of 6 or more", count,
                       config->L);
    fo_weights *weights = fo_memory_alloc(1, sizeof *weights, error);
    if (weights == NULL)
        return FO_NOMEM;
    weights->device = device;
    weights->L = config->L;
    size_t layers = (size_t)config->L, tensors = (size_t)count;
    weights->layers = fo_memory_alloc(layers, sizeof *weights->layers, error);
    weights->mapped = fo_memory_alloc(tensors, sizeof *weights->mapped, error);
    bool *used = fo_memory_alloc(tensors, sizeof *used, error);
    loader from = {gguf, weights, used, FO_OK, error};
    if (weights->layers == NULL || weights->mapped == NULL || used == NULL)
        from.status = FO_NOMEM;
    else
        load_ends(&from, config);
    for (int l = 0; l < config->L && from.status == FO_OK; l++)
        load_layer(&from, config, l);
    refuse_unused(&from);
    fo_memory_free(used);
    if (from.status == FO_OK)
        *out = weights;
    else
        fo_weights_close(&weights);
    return from.status;
}

/* Close weights and count their bytes. */
void fo_weights_close(fo_weights **weights)
{
    if (*weights == NULL)
        return;
    fo_device *device = (*weights)->device;
    for (int i = (*weights)->mapped_count; i-- > 0;)
        device->backend->unmap(device, (*weights)->mapped[i]);
    fo_memory_free((*weights)->layers);
    fo_memory_free((*weights)->mapped);
    fo_memory_free(*weights);
    *weights = NULL;
}

/* The factors of RoPE, which no device maps. */
static bool read_on_the_host(fo_gguf_string name)
{
    static const char *const names[] = {"rope_factors_long.weight",
                                        "rope_factors_short.weight",
                                        "rope_freqs.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fo_gguf_string_is(name, names[i]))
            return true;
    return false;
}

uint64_t fo_weights_bytes(const fo_gguf *gguf)
{
    uint64_t bytes = 0;
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        const fo_gguf_tensor *tensor = fo_gguf_tensor_at(gguf, i);
        if (!read_on_the_host(tensor->name))
            bytes += tensor->bytes;
    }
    return bytes;
}
