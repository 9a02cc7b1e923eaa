#include "engine_trace.h"

#include "common/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Turn bytes into operations. */
/* Of 32 operations, so many of each kind. */
static const uint8_t often[TRACE_KINDS] = {16, 6, 2, 2, 1, 1, 1, 3};

trace_op trace_op_of(const uint8_t bytes[4])
{
    int left = bytes[0] % 32;
    uint8_t kind = 0;
    while (left >= often[kind])
        left -= often[kind++];
    return (trace_op){kind, bytes[1], bytes[2], bytes[3]};
}

void trace_draw(trace *t, uint64_t seed)
{
    uint32_t words[4];
    fo_rng_block(seed, 0, 0, words);
    memcpy(t->setup, words, TRACE_SETUP);
    for (size_t i = 0; i < t->count; i++) {
        fo_rng_block(seed, 1, i, words);
        t->ops[i] = trace_op_of((const uint8_t *)words);
    }
}

/* Try a trace without some operations. */
typedef struct search {
    trace_world *world;
    int runs; /* left */
} search;

static bool fails(search *s, const trace *t)
{
    char text[256];
    return s->runs-- > 0 && !trace_run(s->world, t, text, NULL);
}

/* Whether what is left still fails; then it is kept. */
static bool cut(search *s, trace *t, size_t from, size_t count)
{
    trace shorter = *t;
    shorter.ops = malloc((t->count + 1) * sizeof *t->ops);
    if (!shorter.ops)
        return false;
    memcpy(shorter.ops, t->ops, from * sizeof *t->ops);
    memcpy(shorter.ops + from, t->ops + from + count,
           (t->count - from - count) * sizeof *t->ops);
    shorter.count = t->count - count;
    bool kept = fails(s, &shorter);
    if (kept) {
        memcpy(t->ops, shorter.ops, shorter.count * sizeof *t->ops);
        t->count = shorter.count;
    }
    free(shorter.ops);
    return kept;
}

/* Cut chunks of a trace. */
/* Chunks of half the trace, of a quarter, and so on down to one. */
static bool cut_chunks(search *s, trace *t)
{
    bool any = false;
    for (size_t size = t->count / 2 + 1; size > 0; size /= 2)
        for (size_t from = t->count; from > 0;) {
            size_t first = from > size ? from - size : 0;
            size_t count = from - first;
            if (first + count <= t->count && cut(s, t, first, count))
                any = true;
            from = first < t->count ? first : t->count;
        }
    return any;
}

/* Try simpler arguments. */
/* Zero, else half, else one less. */
static bool simplify(search *s, trace *t, uint8_t *value)
{
    uint8_t old = *value;
    const uint8_t tries[] = {0, old / 2, (uint8_t)(old - 1)};
    for (size_t i = 0; i < sizeof tries && old > 0; i++) {
        *value = tries[i];
        if (fails(s, t))
            return true;
    }
    *value = old;
    return false;
}

static bool simplify_all(search *s, trace *t)
{
    bool any = false;
    for (int i = 0; i < TRACE_SETUP; i++)
        any |= simplify(s, t, &t->setup[i]);
    for (size_t i = 0; i < t->count; i++) {
        any |= simplify(s, t, &t->ops[i].a);
        any |= simplify(s, t, &t->ops[i].b);
        any |= simplify(s, t, &t->ops[i].c);
    }
    return any;
}

void trace_shrink(trace_world *world, trace *t, int runs)
{
    search s = {world, runs};
    bool any = true;
    while (any && s.runs > 0) {
        any = cut_chunks(&s, t);
        any |= simplify_all(&s, t);
    }
}

/* Write a trace as text. */
static const char *const names[TRACE_KINDS] = {
    "step", "submit", "fork", "abort", "preempt", "evict", "shrink", "fail"};
static const int arguments[TRACE_KINDS] = {0, 3, 3, 1, 1, 1, 0, 1};

void trace_print(const trace *t, char *text, size_t size)
{
    int n = snprintf(text, size, "setup %d %d %d %d", t->setup[0], t->setup[1],
                     t->setup[2], t->setup[3]);
    for (size_t i = 0; i < t->count && (size_t)n < size; i++) {
        const trace_op *op = &t->ops[i];
        const int values[] = {op->a, op->b, op->c};
        n += snprintf(text + n, size - (size_t)n, "; %s", names[op->kind]);
        for (int k = 0; k < arguments[op->kind] && (size_t)n < size; k++)
            n += snprintf(text + n, size - (size_t)n, " %d", values[k]);
    }
}

/* Read a trace from text. */
/* One operation; false if it is none. */
static bool parse_op(const char *text, trace *t)
{
    char name[16];
    int v[4] = {0};
    int found =
        sscanf(text, " %15[a-z] %d %d %d %d", name, &v[0], &v[1], &v[2], &v[3]);
    if (found >= 1 && strcmp(name, "setup") == 0) {
        for (int i = 0; i < TRACE_SETUP; i++)
            t->setup[i] = (uint8_t)v[i];
        return found == 5;
    }
    for (uint8_t kind = 0; found >= 1 && kind < TRACE_KINDS; kind++)
        if (strcmp(name, names[kind]) == 0) {
            t->ops[t->count++] =
                (trace_op){kind, (uint8_t)v[0], (uint8_t)v[1], (uint8_t)v[2]};
            return found == 1 + arguments[kind];
        }
    return false;
}

bool trace_parse(const char *text, trace *t)
{
    *t = (trace){.ops = malloc((strlen(text) + 1) * sizeof *t->ops)};
    while (t->ops && text) {
        if (!parse_op(text, t))
            return false;
        text = strchr(text, ';');
        text += text ? 1 : 0;
    }
    return t->ops != NULL;
}
