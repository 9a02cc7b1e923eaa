#include "cpu/cpu.h"

#include <stdbool.h>

/* Ask for one token more. */
fo_status cpu_step_request(fo_device *device, const fo_steps *steps,
                           fo_error *error)
{
    (void)device, (void)error;
    for (int n = 0; n < steps->N; n++) {
        int32_t row = steps->row[n], length = steps->pool.length[row];
        length += steps->end[n] == FO_STEP_GOES_ON;
        steps->request[n] = (fo_pool_request){row, length, length};
    }
    return FO_OK;
}

/* Place the token. */
static void place(const fo_steps *steps, int n)
{
    const fo_pool_grant *grant = &steps->grant[n];
    int32_t row = steps->row[n], length = steps->pool.length[row];
    if (steps->end[n] == FO_STEP_GOES_ON && grant->granted < 0)
        steps->end[n] = FO_STEP_REFUSED;
    bool goes_on = steps->end[n] == FO_STEP_GOES_ON;
    int32_t position = goes_on ? length - 1 : 0, B = steps->B;
    const int32_t *entries =
        steps->pool.table + (int64_t)row * steps->max_blocks;
    steps->position[n] = position;
    steps->slot[n] =
        goes_on ? (int64_t)entries[position / B] * B + position % B : -1;
    steps->length[n] = goes_on ? length : 0;
    steps->copy_from[n] = goes_on ? grant->copy_from : -1;
    steps->copy_to[n] = goes_on ? grant->copy_to : -1;
    if (steps->keep) {
        int32_t first = length - steps->window;
        steps->keep[n] = (fo_pool_keep){row, first > 0 ? first : 0, length,
                                        steps->pool.blocks[row] * B};
    }
}

fo_status cpu_step_place(fo_device *device, const fo_steps *steps,
                         fo_error *error)
{
    (void)device, (void)error;
    for (int n = 0; n < steps->N; n++)
        place(steps, n);
    return FO_OK;
}

/* Append the drawn token. */
static void append(const fo_steps *steps, int n)
{
    int32_t token = steps->drawn[n];
    if (steps->end[n] != FO_STEP_GOES_ON)
        return;
    if (token < 0) {
        steps->end[n] = FO_STEP_UNDRAWN;
        return;
    }
    steps->tokens[(int64_t)steps->count[n]++ * steps->N + n] = token;
    steps->token[n] = token;
    steps->sampling[n].position++;
    for (int i = 0; i < steps->stops; i++)
        if (token == steps->stop[i])
            steps->end[n] = FO_STEP_STOPPED;
}

fo_status cpu_step_append(fo_device *device, const fo_steps *steps,
                          fo_error *error)
{
    (void)device, (void)error;
    for (int n = 0; n < steps->N; n++)
        append(steps, n);
    return FO_OK;
}
