#include "cuda/device.cuh"

extern "C" {
#include "common/draw.h"
}

namespace FO_SIDE
{

/* Lay out the memory of a draw. */
enum { BINS = 16, BIN_BITS = 4 };

template <int WARPS> struct draw_memory {
    uint64_t bins[WARPS][BINS][WARP]; /* a column for each lane         */
    uint64_t totals[BINS];            /* the columns of a bin, summed   */
    uint64_t best[WARPS];             /* the largest logit a warp saw   */
    uint64_t part[WARPS];             /* of a warp's stretch of the row */
    int ties[WARPS];                  /* logits there at the cut's key  */
};

/* Say what a cut keeps. */
/* A row of logits and how likely each is. */
struct draw_row {
    const float *logits; /* (V) */
    int V;
    float best, temperature;
};

static __device__ uint64_t mass_of(const draw_row &row, float logit)
{
    return fo_draw_mass((logit - row.best) / row.temperature);
}

/* A cut: all tokens with a greater key are kept, and of those with this key the
 * first `count` by id. */
struct draw_cut {
    uint32_t key;
    int count;
};

/* The mass of a token with this key: they have equal logits. */
static __device__ uint64_t mass_at(const draw_row &row, uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    return mass_of(row, __uint_as_float(bits));
}

/* Reduce whole numbers over a warp. */
static __device__ uint64_t warp_total(uint64_t value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(FO_ALL_LANES, value, step);
    return value;
}

static __device__ uint64_t warp_most(uint64_t value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value = max(value, __shfl_xor_sync(FO_ALL_LANES, value, step));
    return value;
}

/* Find the largest logit of a row. */
/* Its key in the upper half, above all others for a NaN; in the lower half its
 * lowest id, from the top down. */
template <int WARPS>
static __device__ uint64_t largest(const float *logits /* (V) */, int V,
                                   draw_memory<WARPS> &shared)
{
    uint64_t best = 0;
    for (int i = (int)threadIdx.x; i < V; i += WARP * WARPS) {
        float z = logits[i];
        uint32_t key = z == z ? fo_draw_key(z) : 0xffffffffu;
        best = max(best, (uint64_t)key << 32 | ~(uint32_t)i);
    }
    best = warp_most(best);
    if (lane() == 0)
        shared.best[warp()] = best;
    __syncthreads();
    return warp_most(lane() < WARPS ? shared.best[lane()] : 0);
}

/* Fill the bins of one digit. */
template <bool BY_MASS, int WARPS>
static __device__ void fill(const draw_row &row, draw_cut before, uint32_t key,
                            int shift, draw_memory<WARPS> &shared)
{
    auto &bins = shared.bins[warp()];
    for (int bin = 0; bin < BINS; bin++)
        bins[bin][lane()] = 0;
    for (int i = (int)threadIdx.x; i < row.V; i += WARP * WARPS) {
        float z = row.logits[i];
        uint32_t own = fo_draw_key(z);
        if ((uint64_t)(own ^ key) >> (shift + BIN_BITS) != 0)
            continue;
        if (!BY_MASS)
            bins[own >> shift & (BINS - 1)][lane()] += 1;
        else if (own > before.key)
            bins[own >> shift & (BINS - 1)][lane()] += mass_of(row, z);
    }
    if (BY_MASS && threadIdx.x == 0 && before.count > 0 &&
        (uint64_t)(before.key ^ key) >> (shift + BIN_BITS) == 0)
        bins[before.key >> shift & (BINS - 1)][0] +=
            (uint64_t)before.count * mass_at(row, before.key);
}

/* Add up the columns of the bins. */
template <int WARPS>
static __device__ void add_columns(draw_memory<WARPS> &shared)
{
    __syncthreads();
    for (int bin = warp(); bin < BINS; bin += WARPS) {
        uint64_t total = 0;
        for (int w = 0; w < WARPS; w++)
            total += shared.bins[w][bin][lane()];
        total = warp_total(total);
        if (lane() == 0)
            shared.totals[bin] = total;
    }
    __syncthreads();
}

/* Find where the likeliest tokens reach a goal on the device. */
template <bool BY_MASS, int WARPS>
static __device__ draw_cut find_cut(const draw_row &row, draw_cut before,
                                    uint64_t goal, draw_memory<WARPS> &shared)
{
    uint32_t key = 0;
    for (int shift = 32 - BIN_BITS; shift >= 0; shift -= BIN_BITS) {
        fill<BY_MASS>(row, before, key, shift, shared);
        add_columns(shared);
        uint32_t bin = BINS - 1;
        while (shared.totals[bin] < goal)
            goal -= shared.totals[bin--];
        key |= bin << shift;
    }
    if (!BY_MASS)
        return {key, (int)goal};
    uint64_t each = mass_at(row, key);
    return {key, (int)((goal + each - 1) / each)};
}

/* Weigh the stretch of each warp. */
/* Ids of a warp's stretch of the row: whole groups of 32, but for the last. */
template <int WARPS> static __device__ int stretch(int V)
{
    return (V + WARP * WARPS - 1) / (WARP * WARPS) * WARP;
}

/* The mass of what a cut keeps; that of each stretch without the ties, and
 * their number, stay in shared memory. */
template <int WARPS>
static __device__ uint64_t weigh(const draw_row &row, draw_cut cut,
                                 draw_memory<WARPS> &shared)
{
    int first = warp() * stretch<WARPS>(row.V);
    int end = min(first + stretch<WARPS>(row.V), row.V);
    uint64_t mass = 0, ties = 0;
    for (int i = first + lane(); i < end; i += WARP) {
        float z = row.logits[i];
        uint32_t key = fo_draw_key(z);
        mass += key > cut.key ? mass_of(row, z) : 0;
        ties += key == cut.key;
    }
    mass = warp_total(mass);
    ties = warp_total(ties);
    if (lane() == 0) {
        shared.part[warp()] = mass;
        shared.ties[warp()] = (int)ties;
    }
    __syncthreads();
    uint64_t total = (uint64_t)cut.count * mass_at(row, cut.key);
    for (int w = 0; w < WARPS; w++)
        total += shared.part[w];
    return total;
}

/* Walk one stretch to the drawn token. */
/* The first id from `first` on at which the masses, with `passed` before them,
 * exceed the threshold. The warp works as one. */
static __device__ int walk(const draw_row &row, draw_cut cut, int first,
                           uint64_t passed, uint64_t threshold)
{
    uint64_t each = mass_at(row, cut.key);
    for (;; first += WARP) {
        int i = first + lane();
        float z = i < row.V ? row.logits[i] : -INFINITY;
        uint32_t key = fo_draw_key(z);
        unsigned tied = __ballot_sync(FO_ALL_LANES, key == cut.key);
        int before = __popc(tied & ((1u << lane()) - 1));
        uint64_t sum = key > cut.key ? mass_of(row, z) : 0;
        if (key == cut.key && before < cut.count)
            sum = each;
        for (int step = 1; step < WARP; step *= 2) {
            uint64_t other = __shfl_up_sync(FO_ALL_LANES, sum, step);
            sum += lane() >= step ? other : 0;
        }
        unsigned beyond = __ballot_sync(FO_ALL_LANES, passed + sum > threshold);
        if (beyond)
            return first + __ffs((int)beyond) - 1;
        passed += __shfl_sync(FO_ALL_LANES, sum, WARP - 1);
        cut.count = max(cut.count - __popc(tied), 0);
    }
}

/* Find the stretch of the drawn token. */
template <int WARPS>
static __device__ void choose(int32_t *token, const draw_row &row, draw_cut cut,
                              uint64_t threshold,
                              const draw_memory<WARPS> &shared)
{
    uint64_t each = mass_at(row, cut.key), passed = 0;
    for (int w = 0; w < WARPS; w++) {
        int tied = min(shared.ties[w], cut.count);
        uint64_t own = shared.part[w] + (uint64_t)tied * each;
        if (passed + own > threshold) {
            if (warp() != w)
                return;
            int first = w * stretch<WARPS>(row.V);
            int id = walk(row, cut, first, passed, threshold);
            if (lane() == 0)
                *token = id;
            return;
        }
        passed += own;
        cut.count -= tied;
    }
}

/* Draw a token for each row on the device. */
static __device__ fo_sampling settings_of(const fo_sampling *from)
{
    fo_sampling own;
    own.temperature = from->temperature;
    own.top_p = from->top_p;
    own.top_k = from->top_k;
    own.seed = from->seed;
    own.position = from->position;
    return own;
}

template <int WARPS>
__global__ void __launch_bounds__(WARP *WARPS)
    sample_row(int32_t *tokens /* (N) */, const float *logits /* (N, V) */,
               const fo_sampling *sampling /* (N) */, int V)
{
    auto &shared = shared_memory<draw_memory<WARPS>>();
    fo_sampling own = settings_of(sampling + blockIdx.x);
    const float *values = logits + (int64_t)blockIdx.x * V;
    int32_t *token = tokens + blockIdx.x;
    uint64_t best = largest(values, V, shared);
    uint32_t key = (uint32_t)(best >> 32);
    int id = (int)~(uint32_t)best;
    bool finite = key > fo_draw_key(-INFINITY) && key < fo_draw_key(INFINITY);
    /* Answer without a draw where none is needed. */
    if (!finite || !fo_draw_in_range(&own) || own.temperature == 0) {
        if (threadIdx.x == 0)
            *token = finite && fo_draw_in_range(&own) ? id : -1;
        return;
    }
    draw_row row = {values, V, values[id], own.temperature};
    draw_cut cut = {0, 0};
    if (own.top_k > 0 && own.top_k < V)
        cut = find_cut<false>(row, cut, (uint64_t)own.top_k, shared);
    uint64_t total = weigh(row, cut, shared);
    if (own.top_p < 1) {
        cut = find_cut<true>(row, cut, fo_draw_goal(total, own.top_p), shared);
        total = weigh(row, cut, shared);
    }
    choose(token, row, cut, fo_draw_threshold(total, &own), shared);
}

/* Launch the draws. */
template <int WARPS>
static void sample_rows(cuda_device *cuda, int32_t *tokens, const float *logits,
                        const fo_sampling *sampling, int N, int V)
{
    FO_LAUNCH(sample_row<WARPS>, dim3((unsigned)N), dim3(WARP * WARPS),
              sizeof(draw_memory<WARPS>), cuda->stream, tokens, logits,
              sampling, V);
}

fo_status cuda_sample(fo_device *device, int32_t *tokens /* (N) */,
                      const float *logits /* (N, V) */,
                      const fo_sampling *sampling /* (N) */, int N, int V,
                      fo_workspace, fo_error *error)
{
    if (V < 1 || V > FO_DRAW_MOST_TOKENS)
        return fo_fail(error, FO_ARG, "cannot sample from %d tokens", V);
    if (N == 0)
        return FO_OK;
    if (V <= 4096)
        sample_rows<4>(of(device), tokens, logits, sampling, N, V);
    else
        sample_rows<16>(of(device), tokens, logits, sampling, N, V);
    return check_launch("sample_row", error);
}

} // namespace FO_SIDE
