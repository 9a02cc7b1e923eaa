/* The steps that need no host: one thread a sequence. */
#include "cuda/device.cuh"

namespace FO_SIDE
{

/* Ask, place and append on the device. */
__device__ inline int sequence()
{
    return (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void request_tokens(fo_steps steps)
{
    int n = sequence();
    if (n >= steps.N)
        return;
    int32_t row = steps.row[n], length = steps.pool.length[row];
    length += steps.end[n] == FO_STEP_GOES_ON;
    steps.request[n].row = row;
    steps.request[n].length = length;
    steps.request[n].room = length;
}

__global__ void place_tokens(fo_steps steps)
{
    int n = sequence();
    if (n >= steps.N)
        return;
    int32_t row = steps.row[n], length = steps.pool.length[row], B = steps.B;
    if (steps.end[n] == FO_STEP_GOES_ON && steps.grant[n].granted < 0)
        steps.end[n] = FO_STEP_REFUSED;
    bool goes_on = steps.end[n] == FO_STEP_GOES_ON;
    int32_t position = goes_on ? length - 1 : 0;
    int64_t entry = (int64_t)row * steps.max_blocks + position / B;
    steps.position[n] = position;
    steps.slot[n] =
        goes_on ? (int64_t)steps.pool.table[entry] * B + position % B : -1;
    steps.length[n] = goes_on ? length : 0;
    steps.copy_from[n] = goes_on ? steps.grant[n].copy_from : -1;
    steps.copy_to[n] = goes_on ? steps.grant[n].copy_to : -1;
    if (steps.keep) {
        int32_t first = length - steps.window;
        steps.keep[n].row = row;
        steps.keep[n].first = first > 0 ? first : 0;
        steps.keep[n].length = length;
        steps.keep[n].room = steps.pool.blocks[row] * B;
    }
}

__global__ void append_tokens(fo_steps steps)
{
    int n = sequence();
    if (n >= steps.N || steps.end[n] != FO_STEP_GOES_ON)
        return;
    int32_t token = steps.drawn[n], count = steps.count[n];
    if (token < 0) {
        steps.end[n] = FO_STEP_UNDRAWN;
        return;
    }
    steps.tokens[(int64_t)count * steps.N + n] = token;
    steps.count[n] = count + 1;
    steps.token[n] = token;
    steps.sampling[n].position++;
    for (int i = 0; i < steps.stops; i++)
        if (token == steps.stop[i])
            steps.end[n] = FO_STEP_STOPPED;
}

/* Launch the three ops of a step. */
enum { STEP_THREADS = 128 };

static dim3 step_grid(const fo_steps *steps)
{
    return dim3((unsigned)((steps->N + STEP_THREADS - 1) / STEP_THREADS));
}

fo_status cuda_step_request(fo_device *device, const fo_steps *steps,
                            fo_error *error)
{
    if (steps->N == 0)
        return FO_OK;
    FO_LAUNCH(request_tokens, step_grid(steps), dim3(STEP_THREADS), 0,
              of(device)->stream, *steps);
    return check_launch("request_tokens", error);
}

fo_status cuda_step_place(fo_device *device, const fo_steps *steps,
                          fo_error *error)
{
    if (steps->N == 0)
        return FO_OK;
    FO_LAUNCH(place_tokens, step_grid(steps), dim3(STEP_THREADS), 0,
              of(device)->stream, *steps);
    return check_launch("place_tokens", error);
}

fo_status cuda_step_append(fo_device *device, const fo_steps *steps,
                           fo_error *error)
{
    if (steps->N == 0)
        return FO_OK;
    FO_LAUNCH(append_tokens, step_grid(steps), dim3(STEP_THREADS), 0,
              of(device)->stream, *steps);
    return check_launch("append_tokens", error);
}

} // namespace FO_SIDE
