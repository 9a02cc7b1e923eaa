#include "sim/report.h"

#include "sim/site.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* Keep reports. */
static sim_report reports[SIM_MOST_REPORTS];
static int count;
static uint64_t events;

static bool same_line(const sim_witness *a, const sim_witness *b)
{
    return a->line == b->line &&
           (a->line > 0 ? strcmp(a->file, b->file) == 0 : a->site == b->site);
}

static sim_report *find(const sim_report *wanted)
{
    for (int i = 0; i < count; i++) {
        sim_report *r = &reports[i];
        bool located = r->at.site || r->at.line;
        if (r->fault == wanted->fault && same_line(&r->at, &wanted->at) &&
            same_line(&r->other, &wanted->other) &&
            strcmp(r->kernel, wanted->kernel) == 0 &&
            (located || strcmp(r->text, wanted->text) == 0))
            return r;
    }
    return NULL;
}

/* Count reports. */
int sim_report_count(void)
{
    return count;
}

const sim_report *sim_report_get(int i)
{
    assert(i >= 0 && i < count);
    return &reports[i];
}

void sim_reports_clear(void)
{
    count = 0;
}

uint64_t sim_report_events(void)
{
    return events;
}

/* Choose where reports are printed. */
static FILE *stream; /* if chosen; null: silence */
static bool chosen;

void sim_report_stream(FILE *to)
{
    stream = to;
    chosen = true;
}

const char *sim_fault_name(sim_fault fault)
{
    static const char *const names[] = {
        "race",      "out of bounds", "use after free", "uninitialised",
        "in flight", "misaligned",    "host pointer",   "leak",
        "barrier",   "warp function", "deadlock",       "call",
    };
    return names[fault];
}

/* Print a report. */
static void print_witness(FILE *to, const char *word, const sim_witness *p)
{
    fprintf(to, "  %s ", word);
    if (p->line > 0)
        fprintf(to, "%s:%d", p->file, p->line);
    else
        fprintf(to, "code 0x%x", p->site);
    fprintf(to, ", block (%d, %d, %d), thread (%d, %d, %d)\n", p->block[0],
            p->block[1], p->block[2], p->thread[0], p->thread[1], p->thread[2]);
}

void sim_report_print(FILE *to, const sim_report *r)
{
    fprintf(to, "folio sim: %s", sim_fault_name(r->fault));
    if (r->kernel[0])
        fprintf(to, " in %s", r->kernel);
    fprintf(to, ": %s\n", r->text);
    if (r->at.site || r->at.line)
        print_witness(to, "at", &r->at);
    if (r->has_other)
        print_witness(to, "and", &r->other);
    fflush(to);
}

/* Add a report. */
void sim_kernel_name(char *to, size_t size, const char *name)
{
    int length = (int)strlen(name);
    bool wrapped = length > 1 && name[0] == '(' && name[length - 1] == ')';
    snprintf(to, size, "%.*s", wrapped ? length - 2 : length, name + wrapped);
}

static void locate(sim_witness *place)
{
    if (place->site && place->line == 0) {
        sim_site where = sim_site_find(place->site);
        place->file = where.file;
        place->line = where.line;
    }
}

void sim_report_add(const sim_report *report, const char *format, ...)
{
    sim_report r = *report;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r.text, sizeof r.text, format, arguments);
    va_end(arguments);
    locate(&r.at);
    locate(&r.other);
    sim_kernel_name(r.kernel, sizeof r.kernel, report->kernel);
    events++;
    sim_report *known = find(&r);
    if (known) {
        known->times++;
        return;
    }
    if (count == SIM_MOST_REPORTS)
        return;
    r.times = 1;
    reports[count++] = r;
    if (!chosen || stream)
        sim_report_print(chosen ? stream : stderr, &r);
}
