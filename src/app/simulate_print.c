#ifndef FO_NO_SIM
#include "app/simulate.h"
#include "common/json.h"
#include "sim/report.h"
#include "sim/site.h"
#include "sim/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1024 };

/* Add up the lines of the source. */
typedef struct row {
    sim_site where;
    sim_traffic_line sum;
} row;

static bool one_line(const row *a, const row *b)
{
    return a->sum.kernel == b->sum.kernel && a->sum.shared == b->sum.shared &&
           a->sum.kind == b->sum.kind && a->where.line == b->where.line &&
           strcmp(a->where.file, b->where.file) == 0;
}

static void add(row *to, const row *from)
{
    const sim_traffic_sample *a = &to->sum.sample, *b = &from->sum.sample;
    to->sum.requests += from->sum.requests;
    to->sum.needed += from->sum.needed;
    to->sum.moved += from->sum.moved;
    if (b->moved * a->needed > a->moved * b->needed)
        to->sum.sample = *b;
}

/* Gather and sort the lines. */
/* Device memory before shared memory, then the most moved first. */
static int compare_rows(const void *a, const void *b)
{
    const sim_traffic_line *x = &((const row *)a)->sum;
    const sim_traffic_line *y = &((const row *)b)->sum;
    if (x->kernel != y->kernel)
        return x->kernel - y->kernel;
    if (x->shared != y->shared)
        return x->shared - y->shared;
    return (x->moved < y->moved) - (x->moved > y->moved);
}

static int gather(row *rows)
{
    int count = 0;
    for (int i = 0; i < sim_traffic_line_count(); i++) {
        const sim_traffic_line *line = sim_traffic_line_get(i);
        row new = {sim_site_find(line->site), *line};
        int at = 0;
        while (at < count && !one_line(&rows[at], &new))
            at++;
        if (at == count)
            rows[count++] = new;
        else
            add(&rows[at], &new);
    }
    qsort(rows, (size_t)count, sizeof *rows, compare_rows);
    return count;
}

/* Print the lines of a kernel. */
static const char *verb(enum sim_access_kind kind)
{
    return kind == SIM_READ ? "read" : kind == SIM_WRITE ? "write" : "atomic";
}

static double percent(const sim_traffic_line *l)
{
    return l->moved ? 100.0 * (double)l->needed / (double)l->moved : 100;
}

static void print_rows(int kernel, const row *rows, int count, bool shared)
{
    bool first = true;
    for (int i = 0; i < count; i++) {
        const sim_traffic_line *l = &rows[i].sum;
        if (l->kernel != kernel || l->shared != shared)
            continue;
        if (first)
            printf("\n  %-14s %10s %12s %12s %6s  line\n",
                   shared ? "shared memory" : "device memory", "requests",
                   shared ? "at best" : "needed",
                   shared ? "wavefronts" : "moved", "");
        first = false;
        printf("  %-14s %10llu %12llu %12llu %5.0f%%  %s:%d\n", verb(l->kind),
               (unsigned long long)l->requests, (unsigned long long)l->needed,
               (unsigned long long)l->moved, percent(l), rows[i].where.file,
               rows[i].where.line);
    }
}

/* Print what a kernel reads and writes in all. */
static void print_kernel(int kernel, const row *rows, int count)
{
    const sim_traffic_kernel *k = sim_traffic_kernel_get(kernel);
    uint64_t moved[2] = {0, 0};
    for (int i = 0; i < count; i++) {
        const sim_traffic_line *l = &rows[i].sum;
        if (l->kernel == kernel && !l->shared)
            moved[l->kind != SIM_READ] += l->moved;
    }
    printf("\n%s: %llu launch%s, %llu block%s\n", k->name,
           (unsigned long long)k->launches, k->launches == 1 ? "" : "es",
           (unsigned long long)k->blocks, k->blocks == 1 ? "" : "s");
    printf("  device memory: read %llu bytes for %llu unique ones, "
           "written %llu for %llu\n",
           (unsigned long long)moved[0], (unsigned long long)k->unique[0],
           (unsigned long long)moved[1], (unsigned long long)k->unique[1]);
    print_rows(kernel, rows, count, false);
    print_rows(kernel, rows, count, true);
}

/* Print everything for a person. */
void simulate_print(const simulate_options *o, const simulate_result *r)
{
    static row rows[ROWS];
    int count = gather(rows);
    printf("%s on a simulated GPU, schedule %llu\n", o->kernel,
           (unsigned long long)o->settings.seed);
    if (r->status != FO_OK)
        printf("  the op failed: %s: %s\n", fo_status_name(r->status),
               r->why.message);
    else
        printf("  answers: %s, at most %.2g from the processor's\n",
               r->same_bits ? "as they should be" : "WRONG", r->error);
    if (!o->settings.checks)
        printf("  mistakes: not looked for\n");
    else
        printf("  mistakes: %d reported\n", sim_report_count());
    for (int i = 0; i < sim_traffic_kernel_count(); i++)
        print_kernel(i, rows, count);
    printf("\nCounted in sectors of 32 bytes and in wavefronts of 32 banks. "
           "This ranks traffic\nand predicts no time.\n");
}

/* Print everything as JSON. */
static json_t *line_json(const row *r)
{
    const sim_traffic_line *l = &r->sum;
    json_t *lanes = json_array();
    for (int i = 0; i < 32; i++)
        json_array_append_new(
            lanes, l->sample.lanes >> i & 1
                       ? json_integer((json_int_t)l->sample.address[i])
                       : json_null());
    return json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:{s:i, s:I, s:I, "
                     "s:o}}",
                     "file", r->where.file, "line", r->where.line, "memory",
                     l->shared ? "shared" : "device", "access", verb(l->kind),
                     "requests", (json_int_t)l->requests, "needed",
                     (json_int_t)l->needed, "moved", (json_int_t)l->moved,
                     "worst", "bytes", (int)l->sample.bytes, "needed",
                     (json_int_t)l->sample.needed, "moved",
                     (json_int_t)l->sample.moved, "addresses", lanes);
}

static json_t *kernel_json(int kernel, const row *rows, int count)
{
    const sim_traffic_kernel *k = sim_traffic_kernel_get(kernel);
    json_t *lines = json_array();
    for (int i = 0; i < count; i++) {
        if (rows[i].sum.kernel == kernel)
            json_array_append_new(lines, line_json(&rows[i]));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "name", k->name,
                     "launches", (json_int_t)k->launches, "blocks",
                     (json_int_t)k->blocks, "unique_read",
                     (json_int_t)k->unique[0], "unique_written",
                     (json_int_t)k->unique[1], "lines", lines);
}

static json_t *report_json(const sim_report *r)
{
    char printed[2048];
    FILE *text = fmemopen(printed, sizeof printed, "w");
    if (text) {
        sim_report_print(text, r);
        fclose(text);
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:s}", "fault",
                     sim_fault_name(r->fault), "kernel", r->kernel, "file",
                     r->at.file ? r->at.file : "", "line", r->at.line, "times",
                     (json_int_t)r->times, "text", text ? printed : "");
}

bool simulate_print_json(const simulate_options *o, const simulate_result *r)
{
    static row rows[ROWS];
    int count = gather(rows);
    json_t *kernels = json_array(), *reports = json_array();
    for (int i = 0; i < sim_traffic_kernel_count(); i++)
        json_array_append_new(kernels, kernel_json(i, rows, count));
    for (int i = 0; i < sim_report_count(); i++)
        json_array_append_new(reports, report_json(sim_report_get(i)));
    json_t *all = json_pack(
        "{s:s, s:I, s:s, s:f, s:f, s:b, s:o, s:o}", "kernel", o->kernel,
        "schedule", (json_int_t)o->settings.seed, "status",
        fo_status_name(r->status), "seconds", r->seconds, "error", r->error,
        "same_bits", (int)r->same_bits, "reports", reports, "kernels", kernels);
    int failed = all ? json_dumpf(all, stdout, JSON_INDENT(1)) : -1;
    json_decref(all);
    putchar('\n');
    return failed == 0;
}
#endif
