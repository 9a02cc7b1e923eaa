/* folio blocks: a block table drawn as it grows. */
#include "app/app.h"
#include "common/memory.h"
#include "engine/block_manager.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Say what folio blocks takes. */
enum { most_steps = 64, most_blocks = 4096, most_tokens = 99999 };

typedef struct options {
    const fo_backend *backend;
    const char *device;
    int block_size, blocks, sequences;
    int steps[most_steps], step_count;
    bool ascii;
} options;

static const struct argp_option flags[] = {
    {"block-size", 'b', "TOKENS", 0, "Tokens of a block (4)", 0},
    {"steps", 's', "LIST", 0, "Tokens that arrive at each step (5,3,1)", 0},
    {"sequences", 'n', "N", 0, "Sequences that grow side by side (1)", 0},
    {"blocks", 'p', "N", 0, "Blocks in the pool (8)", 0},
    {"device", 'd', "DEVICE", 0, "Where the pool lives: cpu, sim, cuda (cpu)",
     0},
    {"ascii", 'a', NULL, 0, "Draw with plain ASCII", 0},
    {0},
};

static void read_steps(options *o, char *list, const struct argp_state *state)
{
    o->step_count = 0;
    for (char *end; list; list = end) {
        end = strchr(list, ',');
        if (end)
            *end++ = '\0';
        if (o->step_count == most_steps)
            argp_error(state, "--steps: at most %d steps", most_steps);
        o->steps[o->step_count++] =
            (int)app_integer(state, "--steps", list, 1, most_tokens);
    }
}

static error_t read_flag(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'b':
        o->block_size = (int)app_integer(state, "--block-size", text, 1, 256);
        break;
    case 's':
        read_steps(o, text, state);
        break;
    case 'n':
        o->sequences = (int)app_integer(state, "--sequences", text, 1, 36);
        break;
    case 'p':
        o->blocks = (int)app_integer(state, "--blocks", text, 1, most_blocks);
        break;
    case 'd':
        o->device = text;
        break;
    case 'a':
        o->ascii = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one word too many", text);
        break;
    case ARGP_KEY_END:
        o->backend = app_backend(state, o->device);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp parser = {
    .options = flags,
    .parser = read_flag,
    .doc = "Draw a block table as tokens arrive: which block each position "
           "falls into, and which slot was written.",
};

/* Hold what a walk needs. */
enum { width = 4 }; /* values of a row of K or V */

typedef struct strokes {
    const char *bar, *dash, *arrow, *empty;
    const char *top[3], *bottom[3]; /* left, between, right */
} strokes;

typedef struct walk {
    const options *o;
    const strokes *s;
    int longest; /* tokens of a sequence at the end   */
    int cell;    /* columns of one position           */
    int across;  /* positions on one line             */
    fo_device *device;
    fo_block_manager *m;
    float *nines;  /* (width), device memory            */
    int64_t *slot; /* (1), device memory                */
    float *rows;   /* (blocks * B, width), host memory  */
} walk;

/* Choose the strokes of the drawing. */
static const strokes lines = {.bar = "│",
                              .dash = "─",
                              .arrow = "──▶",
                              .empty = "·",
                              .top = {"┌", "┬", "┐"},
                              .bottom = {"└", "┴", "┘"}};

static const strokes ascii = {.bar = "|",
                              .dash = "-",
                              .arrow = "-->",
                              .empty = ".",
                              .top = {"+", "+", "+"},
                              .bottom = {"+", "+", "+"}};

/* A horizontal edge over n cells of some columns. */
static void edge(const strokes *s, const char *const corners[3], int n,
                 int columns)
{
    printf("%s", corners[0]);
    for (int i = 0; i < n * (columns + 1) - 1; i++)
        printf("%s", i % (columns + 1) == columns ? corners[1] : s->dash);
    printf("%s", corners[2]);
}

/* Draw one sequence. */
/* The edge over or under the table and the blocks it points to. */
static void edges(const walk *w, const char *const corners[3])
{
    printf("  ");
    edge(w->s, corners, 3, 6);
    printf("     ");
    edge(w->s, corners, w->across, w->cell);
    printf("\n");
}

/* What the table says of one entry; nothing on the further lines of a block. */
static void draw_entry(const walk *w, int32_t entry, int32_t block, bool more)
{
    const char *bar = w->s->bar;
    if (more)
        printf("  %s      %s      %s      %s     ", bar, bar, bar, bar);
    else
        printf("  %s%5d %s%5d %s%5d %s %s ", bar, entry, bar, block, bar,
               block * w->o->block_size, bar, w->s->arrow);
}

/* At most n positions of a block from `begin` on; the last stored is marked. */
static void draw_cells(const walk *w, int32_t begin, int n, int32_t length)
{
    for (int i = 0; i < w->across; i++) {
        int32_t position = begin + i;
        printf("%s", w->s->bar);
        if (i >= n)
            printf("%*s", w->cell, "");
        else if (position == length - 1)
            printf("[%*d]", w->cell - 2, position);
        else if (position < length)
            printf("%*d ", w->cell - 1, position);
        else
            printf("%*s%s ", w->cell - 2, "", w->s->empty);
    }
    printf("%s\n", w->s->bar);
}

static void draw_sequence(const walk *w, const fo_block_row *row)
{
    int B = w->o->block_size;
    printf("\n    entry  block   slot         positions in the block\n");
    edges(w, w->s->top);
    for (int32_t i = row->first; i < row->blocks; i++) {
        for (int at = 0; at < B; at += w->across) {
            draw_entry(w, i, row->entries[i], at > 0);
            draw_cells(w, i * B + at, B - at, row->length);
        }
    }
    edges(w, w->s->bottom);
    printf("\n");
}

/* Draw the pool. */
static char mark_of(int sequence)
{
    return "0123456789abcdefghijklmnopqrstuvwxyz"[sequence];
}

/* One mark a block, in the order of memory: its sequence, or free. */
static void draw_pool(const walk *w)
{
    const fo_block_table *table = fo_block_manager_table(w->m);
    char marks[most_blocks] = {0};
    int held = 0;
    for (int s = 0; s < w->o->sequences; s++) {
        fo_block_row row;
        if (!fo_block_table_sequence(table, s, &row))
            continue;
        for (int32_t i = row.first; i < row.blocks; i++, held++)
            marks[row.entries[i]] = mark_of(s);
    }
    printf("  pool, %d of %d blocks free\n", w->o->blocks - held, w->o->blocks);
    for (int i = 0; i < w->o->blocks; i++) {
        printf(i % 36 ? " " : i ? "\n  " : "  ");
        if (marks[i])
            putchar(marks[i]);
        else
            printf("%s", w->s->empty);
    }
    printf("\n");
}

/* Write a row of nines and look for it. */
/* Rows of `memory` that are not all zero; the last of them goes to `found`. */
static fo_status look(const walk *w, const void *memory, int *count,
                      int64_t *found, fo_error *error)
{
    int64_t slots = (int64_t)w->o->blocks * w->o->block_size;
    fo_status status = w->device->backend->download(
        w->device, w->rows, memory, (size_t)slots * width * sizeof(float),
        error);
    for (int64_t s = 0; s < slots && status == FO_OK; s++) {
        bool nines = true, zeros = true;
        for (int i = 0; i < width; i++) {
            nines &= w->rows[s * width + i] == 9;
            zeros &= w->rows[s * width + i] == 0;
        }
        *count += !zeros;
        if (nines)
            *found = s;
    }
    return status;
}

static fo_status prove(const walk *w, int64_t slot, fo_error *error)
{
    const fo_backend *op = w->device->backend;
    const fo_kv *kv = fo_block_manager_layer(w->m, 0);
    int64_t slots = (int64_t)w->o->blocks * w->o->block_size,
            found[2] = {-1, -1};
    size_t bytes = (size_t)slots * width * sizeof(float);
    int count = 0;
    fo_status status = op->fill(w->device, kv->k, 0, bytes, error);
    if (status == FO_OK)
        status = op->fill(w->device, kv->v, 0, bytes, error);
    if (status == FO_OK)
        status = op->upload(w->device, w->slot, &slot, sizeof slot, error);
    if (status == FO_OK)
        status = op->kv_write(w->device, kv, w->nines, w->nines, width, w->slot,
                              1, error);
    if (status == FO_OK)
        status = look(w, kv->k, &count, &found[0], error);
    if (status == FO_OK)
        status = look(w, kv->v, &count, &found[1], error);
    if (status == FO_OK && (count != 2 || found[0] != slot || found[1] != slot))
        return fo_fail(error, FO_DEVICE,
                       "the row for slot %" PRId64 " did not land there alone",
                       slot);
    if (status == FO_OK)
        printf("  nines written there, found there, and in none of the "
               "other %" PRId64 " slots\n",
               slots - 1);
    return status;
}

/* Walk. */
static fo_status walk_one(const walk *w, int step, int sequence,
                          fo_error *error)
{
    const fo_block_table *table = fo_block_manager_table(w->m);
    int tokens = w->o->steps[step], B = w->o->block_size;
    fo_block_row row;
    fo_status status = fo_block_manager_extend(w->m, sequence, tokens, error);
    if (status != FO_OK)
        return status;
    fo_block_table_sequence(table, sequence, &row);
    int32_t last = row.length - 1;
    int64_t slot = fo_block_table_slot(table, sequence, last);
    printf("%sStep %d: %d%s token%s for sequence %d, %d stored in %d block%s\n",
           step + sequence ? "\n" : "", step + 1, tokens, step ? " more" : "",
           tokens == 1 ? "" : "s", sequence, row.length, row.blocks,
           row.blocks == 1 ? "" : "s");
    draw_sequence(w, &row);
    draw_pool(w);
    int32_t block = row.entries[last / B];
    printf("\n  position %d: entry %d / %d = %d, offset %d %% %d = %d\n", last,
           last, B, last / B, last, B, last % B);
    printf("  block %d: slot %d * %d + %d = %" PRId64 "\n", block, block, B,
           last % B, slot);
    return prove(w, slot, error);
}

static fo_status walk_all(const walk *w, fo_error *error)
{
    fo_status status = FO_OK;
    for (int step = 0; step < w->o->step_count; step++)
        for (int s = 0; s < w->o->sequences && status == FO_OK; s++)
            status = walk_one(w, step, s, error);
    return status;
}

/* Open all that a walk needs. */
/* A drawing fits 80 columns: up to 999 positions eight stand on a line. */
static walk plan(const options *o)
{
    walk w = {.o = o, .s = o->ascii ? &ascii : &lines};
    for (int i = 0; i < o->step_count; i++)
        w.longest += o->steps[i];
    w.cell = w.longest <= 100 ? 4 : w.longest <= 1000 ? 5 : 9;
    w.across = w.cell == 9 ? 4 : 8;
    if (w.across > o->block_size)
        w.across = o->block_size;
    return w;
}

static fo_status walk_open(walk *w, fo_error *error)
{
    const options *o = w->o;
    const float nines[width] = {9, 9, 9, 9};
    fo_block_config config = {.total_blocks = o->blocks,
                              .block_size = o->block_size,
                              .num_layers = 1,
                              .kv_heads = 1,
                              .head_dim = width,
                              .dtype = FO_F32,
                              .max_sequences = o->sequences,
                              .max_length = w->longest};
    fo_status status = o->backend->open(NULL, &w->device, error);
    if (status == FO_OK)
        status = fo_block_manager_open(w->device, &config, &w->m, error);
    if (status == FO_OK)
        status = o->backend->alloc(w->device, sizeof nines, (void **)&w->nines,
                                   error);
    if (status == FO_OK)
        status = o->backend->alloc(w->device, sizeof *w->slot,
                                   (void **)&w->slot, error);
    if (status == FO_OK)
        status =
            o->backend->upload(w->device, w->nines, nines, sizeof nines, error);
    w->rows = fo_memory_alloc((size_t)o->blocks * (size_t)o->block_size,
                              sizeof nines, status == FO_OK ? error : NULL);
    return status == FO_OK && !w->rows ? FO_NOMEM : status;
}

static void walk_close(walk *w)
{
    fo_memory_free(w->rows);
    if (!w->device)
        return;
    w->o->backend->free(w->device, w->slot);
    w->o->backend->free(w->device, w->nines);
    fo_block_manager_close(&w->m);
    w->o->backend->close(&w->device);
}

/* Run the command. */
int app_blocks(int argc, char **argv)
{
    options o = {.steps = {5, 3, 1},
                 .step_count = 3,
                 .backend = NULL,
                 .device = "cpu",
                 .block_size = 4,
                 .blocks = 8,
                 .sequences = 1};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    walk w = plan(&o);
    fo_error error;
    fo_status status = walk_open(&w, &error);
    if (status == FO_OK)
        status = walk_all(&w, &error);
    walk_close(&w);
    fflush(stdout);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
