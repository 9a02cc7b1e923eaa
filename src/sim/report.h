/* What the checkers of the simulated GPU have found.
 *
 * Reports of one fault in one kernel at the same lines are one report with a
 * count; each is printed once, to standard error unless told otherwise. */
#ifndef FOLIO_SIM_REPORT_H
#define FOLIO_SIM_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Say what a report holds. */
typedef enum sim_fault {
    SIM_RACE,           /* two accesses without order, one of them a write  */
    SIM_OUT_OF_BOUNDS,  /* outside of every allocation, or of shared memory */
    SIM_USE_AFTER_FREE, /*                                                  */
    SIM_UNINITIALISED,  /* read before anything was written                 */
    SIM_IN_FLIGHT,      /* touched while an asynchronous copy is under way  */
    SIM_MISALIGNED,     /* a vector access off its natural alignment        */
    SIM_HOST_POINTER,   /* a kernel follows a pointer of the host           */
    SIM_LEAK,           /* never freed                                      */
    SIM_BARRIER,        /* a barrier that not all threads reach alike       */
    SIM_WARP_MISUSE,    /* a warp function called against its rules         */
    SIM_DEADLOCK,       /* no thread can go on                              */
    SIM_CALL,           /* a call of the host that breaks its rules         */
} sim_fault;

/* Where one access happened. */
typedef struct sim_witness {
    uint32_t site;    /* of the code, 0: unknown                       */
    const char *file; /* found from the site when a report is added */
    int line;         /* the same                                   */
    int block[3];
    int thread[3];
} sim_witness;

typedef struct sim_report {
    sim_fault fault;
    char kernel[64]; /* empty: no kernel was running   */
    sim_witness at;
    bool has_other;
    sim_witness other; /* the earlier access, if has_other */
    char text[256];    /* for a person; no newline        */
    uint64_t times;    /* how often it was added          */
} sim_report;

/* Declare what is done with reports. */
/* Add a report: fault, kernel, witnesses as the caller fills them, and a text.
 */
__attribute__((format(printf, 2, 3))) void
sim_report_add(const sim_report *report, const char *format, ...);

/* Distinct reports since the last clear; at most SIM_MOST_REPORTS are kept. */
enum { SIM_MOST_REPORTS = 256 };
int sim_report_count(void);
const sim_report *sim_report_get(int i);
void sim_reports_clear(void);

/* How many times a report was ever added; no clear resets it. */
uint64_t sim_report_events(void);

/* Where reports are printed from now on; null prints none. */
void sim_report_stream(FILE *stream);

/* "race", "out of bounds" and so on. */
const char *sim_fault_name(sim_fault fault);

/* A kernel's name without the parentheses that a template's has as an argument
 * of a macro. */
void sim_kernel_name(char *to, size_t size, const char *name);

/* Print one report, as is done when it is added. */
void sim_report_print(FILE *stream, const sim_report *report);

#ifdef __cplusplus
}
#endif

#endif
