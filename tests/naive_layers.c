#include "naive_layers.h"

#include <math.h>
#include <string.h>

/* Read one stored value by the book. */
static double naive_half(const unsigned char *p)
{
    int bits = p[0] | p[1] << 8;
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 0    ? ldexp(fraction, -24)
                       : exponent == 31 ? (fraction ? NAN : INFINITY)
                                        : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

static double naive_single(const unsigned char *p, size_t bytes)
{
    unsigned char all[4] = {0};
    float value;
    memcpy(all + 4 - bytes, p, bytes);
    memcpy(&value, all, sizeof value);
    return value;
}

double naive_weight(const fo_weight *weight, int r, int c)
{
    const unsigned char *p = weight->data;
    size_t i = (size_t)r * (size_t)weight->C + (size_t)c, k = i % 32;
    switch (weight->dtype) {
    case FO_F16:
        return naive_half(p + 2 * i);
    case FO_BF16:
        return naive_single(p + 2 * i, 2);
    case FO_Q8_0:
        p += i / 32 * 34;
        return naive_half(p) * (p[2 + k] < 128 ? p[2 + k] : p[2 + k] - 256);
    case FO_Q4_0:
        p += i / 32 * 18;
        return naive_half(p) *
               ((k < 16 ? p[2 + k] % 16 : p[2 + k - 16] / 16) - 8);
    default:
        return naive_single(p + 4 * i, 4);
    }
}

/* Judge the embedding and the norm. */
void naive_embed(double *out, const int32_t *tokens, const fo_weight *table,
                 int T)
{
    for (int t = 0; t < T; t++)
        for (int c = 0; c < table->C; c++)
            out[t * table->C + c] = naive_weight(table, tokens[t], c);
}

void naive_rmsnorm(double *out, const float *x, const float *weight, int T,
                   int C, double epsilon)
{
    for (int t = 0; t < T; t++) {
        double sum = 0;
        for (int c = 0; c < C; c++)
            sum += pow(x[t * C + c], 2);
        for (int c = 0; c < C; c++)
            out[t * C + c] = x[t * C + c] / sqrt(sum / C + epsilon) * weight[c];
    }
}

/* Judge the linear layer. */
void naive_linear(double *out, const float *x, const fo_weight *weight, int T)
{
    int R = weight->R, C = weight->C;
    memset(out, 0, (size_t)T * (size_t)R * sizeof *out);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            double w = naive_weight(weight, r, c);
            for (int t = 0; t < T; t++)
                out[t * R + r] += x[t * C + c] * w;
        }
}

/* Judge the elementwise ops. */
void naive_add(double *out, const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i] + y[i];
}

void naive_silu_mul(double *out, const float *gate, const float *up, int T,
                    int F, int stride)
{
    for (int t = 0; t < T; t++)
        for (int f = 0; f < F; f++) {
            double g = gate[t * stride + f];
            out[t * F + f] = g / (1 + exp(-g)) * up[t * stride + f];
        }
}

/* Judge the rotation. */
void naive_rope(double *out, const float *x, const fo_rope *rope)
{
    for (int i = 0; i < rope->T * rope->stride; i++)
        out[i] = x[i];
    for (int t = 0; t < rope->T; t++)
        for (int h = 0; h < rope->heads; h++)
            for (int i = 0; i < rope->rotary / 2; i++) {
                int head = t * rope->stride + h * rope->D;
                int neox = rope->style == FO_ROPE_NEOX;
                int a = head + (neox ? i : 2 * i);
                int b = head + (neox ? i + rope->rotary / 2 : 2 * i + 1);
                double angle = (double)rope->frequency[i] * rope->position[t];
                out[a] = rope->scale * (x[a] * cos(angle) - x[b] * sin(angle));
                out[b] = rope->scale * (x[a] * sin(angle) + x[b] * cos(angle));
            }
}
