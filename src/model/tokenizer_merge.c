#include "common/memory.h"
#include "model/tokenizer_vocabulary.h"

#include <string.h>

#define SPACE "\xe2\x96\x81"
enum { SPACE_BYTES = 3 };

/* Tell one character from the next. */
/* Bytes of the well-formed character at `s`, or 0. */
static size_t character(const unsigned char *s, size_t left)
{
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;
    if (length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

/* Cut text into characters. */
static void add_run(merger *m, const char *bytes, uint32_t length)
{
    int32_t i = m->run_count++;
    m->runs[i] = (run){(uint32_t)m->size, length, i - 1, i + 1, -1};
    memcpy(m->text + m->size, bytes, length);
    m->size += length;
}

static void cut(merger *m, const char *text, size_t bytes)
{
    m->size = 0;
    m->run_count = 0;
    m->heap_count = 0;
    if (m->tokenizer->adds_space)
        add_run(m, SPACE, SPACE_BYTES);
    for (size_t i = 0; i < bytes;) {
        size_t length = character((const unsigned char *)text + i, bytes - i);
        if (length == 0)
            length = 1;
        if (text[i] == ' ')
            add_run(m, SPACE, SPACE_BYTES);
        else
            add_run(m, text + i, (uint32_t)length);
        i += length;
    }
    m->runs[m->run_count - 1].next = -1;
}

/* Keep the best candidate on top. */
static bool better(const candidate *a, const candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void push(merger *m, candidate new)
{
    size_t i = m->heap_count++;
    for (; i > 0 && better(&new, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = new;
}

static candidate pop(merger *m)
{
    candidate top = m->heap[0], last = m->heap[--m->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->heap_count)
            break;
        if (child + 1 < m->heap_count &&
            better(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!better(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* Enter a pair of neighbours. */
static bool can_be_text(const fo_tokenizer *t, int32_t id)
{
    return id >= 0 && (t->tokens[id].type == FO_TOKEN_NORMAL ||
                       t->tokens[id].type == FO_TOKEN_UNUSED);
}

static void consider(merger *m, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return;
    const run *a = &m->runs[left], *b = &m->runs[right];
    size_t length = (size_t)a->length + b->length;
    if (length > m->tokenizer->longest)
        return;
    int32_t id =
        fo_name_table_find(&m->tokenizer->ids, m->text + a->at, length);
    if (!can_be_text(m->tokenizer, id))
        return;
    push(m, (candidate){m->tokenizer->tokens[id].score, left, right,
                        (uint32_t)length, id});
    if (m->splits != NULL)
        m->splits[id] = a->length;
}

/* Join until nothing can be joined. */
static void join(merger *m)
{
    for (int32_t i = 1; i < m->run_count; i++)
        consider(m, i - 1, i);
    while (m->heap_count > 0) {
        candidate best = pop(m);
        run *left = &m->runs[best.left], *right = &m->runs[best.right];
        if (left->length == 0 || right->length == 0 ||
            left->length + right->length != best.length)
            continue;
        left->length = best.length;
        left->id = best.id;
        left->next = right->next;
        right->length = 0;
        if (left->next >= 0)
            m->runs[left->next].previous = best.left;
        consider(m, left->previous, best.left);
        consider(m, best.left, left->next);
    }
}

/* Take unused pieces apart again. */
/* The run of `m` that holds the byte at `at`; runs keep their first byte. */
static int32_t run_at(const merger *m, int32_t from, uint32_t at)
{
    while (m->runs[from].at != at)
        from++;
    return from;
}

/* The id under which a run may go out as it is, or -1. */
static int32_t own_id(const merger *m, const run *r)
{
    int32_t id =
        fo_name_table_find(&m->tokenizer->ids, m->text + r->at, r->length);
    return can_be_text(m->tokenizer, id) ? id : -1;
}

static void take_apart(merger *m, int32_t i)
{
    run *left = &m->runs[i];
    while (left->id >= 0 && m->splits != NULL &&
           m->tokenizer->tokens[left->id].type == FO_TOKEN_UNUSED &&
           m->splits[left->id] != 0) {
        uint32_t split = m->splits[left->id];
        int32_t r = run_at(m, i, left->at + split);
        run *right = &m->runs[r];
        right->length = left->length - split;
        right->id = own_id(m, right);
        right->next = left->next;
        left->next = r;
        left->length = split;
        left->id = own_id(m, left);
    }
}

/* Write out the ids. */
static size_t write_run(const merger *m, const run *r, int32_t *ids)
{
    const fo_tokenizer *t = m->tokenizer;
    const char *text = m->text + r->at;
    int32_t id = r->id >= 0 ? r->id : own_id(m, r);
    if (id >= 0) {
        ids[0] = id;
        return 1;
    }
    bool is_space =
        r->length == SPACE_BYTES && memcmp(text, SPACE, SPACE_BYTES) == 0;
    if (is_space)
        text = " ";
    size_t count = is_space ? 1 : r->length;
    for (size_t i = 0; i < count; i++) {
        ids[i] = t->byte_ids[(unsigned char)text[i]];
        if (ids[i] == t->unknown)
            return i + 1;
    }
    return count;
}

size_t fo_merger_encode(merger *m, const char *text, size_t bytes, int32_t *ids)
{
    size_t count = 0;
    cut(m, text, bytes);
    join(m);
    for (int32_t i = 0; i >= 0; i = m->runs[i].next) {
        take_apart(m, i);
        count += write_run(m, &m->runs[i], ids + count);
    }
    return count;
}

/* Make and free room for merging. */
fo_status fo_merger_open(merger *m, const fo_tokenizer *tokenizer, size_t bytes,
                         fo_error *error)
{
    size_t runs = bytes + 1;
    *m = (merger){.tokenizer = tokenizer};
    m->text = fo_memory_alloc(runs, SPACE_BYTES, error);
    if (m->text != NULL)
        m->runs = fo_memory_alloc(runs, sizeof *m->runs, error);
    if (m->runs != NULL)
        m->heap = fo_memory_alloc(runs, 2 * sizeof *m->heap, error);
    if (m->heap != NULL && tokenizer->has_unused)
        m->splits =
            fo_memory_alloc((size_t)tokenizer->V, sizeof *m->splits, error);
    if (m->heap != NULL && (m->splits != NULL || !tokenizer->has_unused))
        return FO_OK;
    fo_merger_close(m);
    return FO_NOMEM;
}

void fo_merger_close(merger *m)
{
    fo_memory_free(m->text);
    fo_memory_free(m->runs);
    fo_memory_free(m->heap);
    fo_memory_free(m->splits);
    *m = (merger){0};
}
