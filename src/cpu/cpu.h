/* The CPU device: the recto, written to be read and believed. */
#ifndef FOLIO_CPU_CPU_H
#define FOLIO_CPU_CPU_H

#include "common/backend.h"

#include <stdatomic.h>

typedef struct cpu_reservation cpu_reservation; /* reserve.c */

typedef struct cpu_device {
    fo_device base;
    uint64_t limit;       /* bytes that may be handed out, 0: no limit */
    _Atomic uint64_t own; /* bytes handed out now                      */
    cpu_reservation *reservations;
} cpu_device;

extern const fo_backend fo_backend_cpu;

/* Declare the CPU ops. */
fo_status cpu_open(const fo_device_options *options, fo_device **out,
                   fo_error *error);
void cpu_close(fo_device **device);
void cpu_info(fo_device *device, fo_device_info *info);

/* Memory comes aligned to 64 bytes; `free` takes null. */
fo_status cpu_alloc(fo_device *device, size_t bytes, void **out,
                    fo_error *error);
void cpu_free(fo_device *device, void *data);
fo_status cpu_map(fo_device *device, const void *host, size_t bytes,
                  const void **out, fo_error *error);
void cpu_unmap(fo_device *device, const void *data);
fo_status cpu_upload(fo_device *device, void *to, const void *from_host,
                     size_t bytes, fo_error *error);
fo_status cpu_download(fo_device *device, void *to_host, const void *from,
                       size_t bytes, fo_error *error);
fo_status cpu_copy(fo_device *device, void *to, const void *from, size_t bytes,
                   fo_error *error);
fo_status cpu_fill(fo_device *device, void *to, uint8_t byte, size_t bytes,
                   fo_error *error);
fo_status cpu_sync(fo_device *device, fo_error *error);

/* Bytes one workspace must have to serve every op within `workload`. */
size_t cpu_workspace_bytes(fo_device *device, const fo_workload *workload);
size_t cpu_linear_workspace(const fo_workload *workload);

/* FO_ARG: a token outside the table, or rows that are no whole blocks. */
fo_status cpu_embed(fo_device *device, float *out /* (T, C) */,
                    const int32_t *tokens /* (T) */,
                    const fo_weight *table /* (V, C) */, int T,
                    fo_error *error);
fo_status cpu_rmsnorm(fo_device *device, float *out /* (T, C) */,
                      const float *x /* (T, C) */,
                      const float *weight /* (C) */, int T, int C,
                      float epsilon, fo_error *error);
fo_status cpu_add(fo_device *device, float *out /* (n), may be x or y */,
                  const float *x /* (n) */, const float *y /* (n) */, int64_t n,
                  fo_error *error);
fo_status cpu_silu_mul(fo_device *device, float *out /* (T, F) */,
                       const float *gate /* (T, F), stride */,
                       const float *up /* (T, F), stride */, int T, int F,
                       int stride, fo_error *error);
fo_status cpu_gather_rows(fo_device *device, float *out /* (n, C) */,
                          const float *x /* (T, C) */,
                          const int32_t *rows /* (n) */, int n, int C,
                          fo_error *error);
/* FO_ARG: rotary odd or beyond D, a stride shorter than a token. */
fo_status cpu_rope(fo_device *device, float *x /* (T, heads, D) */,
                   const fo_rope *rope, fo_error *error);

/* Up to cpu_linear_streamed tokens the weights stream once, and an output has
 * the same bits for any T; beyond, tiles of weights go through sgemm.
 * FO_ARG: quantised rows that are no whole blocks, a workspace too small. */
enum { cpu_linear_streamed = 32 };
fo_status cpu_linear(fo_device *device, float *out /* (T, R) */,
                     const float *x /* (T, C) */, const fo_weight *weight,
                     int T, fo_workspace workspace, fo_error *error);

/* The same by the way named, whatever T is: to test and measure both. */
typedef enum cpu_linear_way {
    CPU_LINEAR_STREAM,
    CPU_LINEAR_TILES,
} cpu_linear_way;
fo_status cpu_linear_by(cpu_linear_way way, fo_device *device,
                        float *out /* (T, R) */, const float *x /* (T, C) */,
                        const fo_weight *weight, int T, fo_workspace workspace,
                        fo_error *error);

fo_status cpu_attention_contiguous(fo_device *device,
                                   float *out /* (T, H, D) */,
                                   const float *q /* (T, H, D), q_stride */,
                                   const fo_kv *kv,
                                   const fo_attention *attention,
                                   fo_workspace workspace, fo_error *error);
size_t cpu_attention_workspace(const fo_workload *workload);

/* reserve.c: memory that comes and goes. */
fo_status cpu_reserve(fo_device *device, size_t bytes, void **out,
                      fo_error *error);
fo_status cpu_commit(fo_device *device, void *reserved, size_t bytes,
                     fo_error *error);
void cpu_unreserve(fo_device *device, void *reserved);

/* Count bytes as handed out: FO_NOMEM beyond the limit. */
fo_status cpu_book(cpu_device *cpu, uint64_t bytes, fo_error *error);
void cpu_unbook(cpu_device *cpu, uint64_t bytes);

/* Bytes the machine has left, 0 if it does not say. */
uint64_t cpu_available_memory(void);

size_t cpu_pool_bytes(fo_device *device, const fo_pool_shape *shape);
fo_status cpu_pool_open(fo_device *device, const fo_pool_shape *shape,
                        fo_pool **out, fo_error *error);
void cpu_pool_close(fo_device *device, fo_pool **pool);
fo_pool_view cpu_pool_view(fo_device *device, const fo_pool *pool);
fo_status cpu_pool_extend(fo_device *device, fo_pool *pool,
                          const fo_pool_request *requests /* (n) */,
                          fo_pool_grant *grants /* (n) */, int n,
                          fo_error *error);
fo_status cpu_pool_release(fo_device *device, fo_pool *pool,
                           const fo_pool_keep *keeps /* (n) */, int n,
                           fo_error *error);
fo_status cpu_pool_share(fo_device *device, fo_pool *pool,
                         const fo_pool_fork *forks /* (n) */, int n,
                         fo_error *error);
fo_status cpu_pool_resize(fo_device *device, fo_pool *pool, int blocks,
                          fo_error *error);
fo_status cpu_pool_stats(fo_device *device, const fo_pool *pool,
                         fo_pool_stats *stats, fo_error *error);
fo_status cpu_pool_check(fo_device *device, const fo_pool *pool,
                         fo_error *error);

fo_status cpu_kv_write(fo_device *device, const fo_kv *kv,
                       const float *k /* (T, K, D), stride */,
                       const float *v /* (T, K, D), stride */, int stride,
                       const int64_t *slots /* (T) */, int T, fo_error *error);
fo_status cpu_kv_copy(fo_device *device, const fo_kv *kv,
                      const int32_t *from /* (n) */,
                      const int32_t *to /* (n) */, int n, fo_error *error);
fo_status cpu_attention_prefill(fo_device *device, float *out /* (T, H, D) */,
                                const float *q /* (T, H, D), q_stride */,
                                const fo_kv *kv, const fo_block_tables *tables,
                                const fo_attention *attention,
                                fo_workspace workspace, fo_error *error);
fo_status cpu_attention_decode(fo_device *device, float *out /* (N, H, D) */,
                               const float *q /* (N, H, D), q_stride */,
                               const fo_kv *kv, const fo_block_tables *tables,
                               const fo_attention *attention,
                               fo_workspace workspace, fo_error *error);

/* A token that cannot be drawn is -1: the row holds a NaN, its largest logit is
 * infinite, or its settings are out of range (temperature negative or not
 * finite, top_p outside [0, 1], top_k negative). FO_ARG unless V is from 1 to
 * 2^23. */
fo_status cpu_sample(fo_device *device, int32_t *tokens, const float *logits,
                     const fo_sampling *sampling, int N, int V,
                     fo_workspace workspace, fo_error *error);
size_t cpu_sample_workspace(const fo_workload *workload);

fo_status cpu_step_request(fo_device *device, const fo_steps *steps,
                           fo_error *error);
fo_status cpu_step_place(fo_device *device, const fo_steps *steps,
                         fo_error *error);
fo_status cpu_step_append(fo_device *device, const fo_steps *steps,
                          fo_error *error);

#endif
