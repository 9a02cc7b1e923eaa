#include "sim/site.h"

#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 64 }; /* sites in one command */

/* Keep the lines that were found. */
enum { MOST_SITES = 4096, MOST_FILES = 128 };

static sim_site known[MOST_SITES];
static size_t known_count; /* found so far; the newest replace the oldest */
static char files[MOST_FILES][256];

static const sim_site *recall(uint32_t site)
{
    for (size_t i = 0; i < known_count && i < MOST_SITES; i++) {
        if (known[i].site == site)
            return &known[i];
    }
    return NULL;
}

/* One copy of a file's name, without the "./" of the folder it was built in. */
static const char *keep_name(const char *name)
{
    if (strncmp(name, "./", 2) == 0)
        name += 2;
    for (int i = 0; i < MOST_FILES; i++) {
        if (!files[i][0])
            snprintf(files[i], sizeof files[i], "%.255s", name);
        if (strncmp(files[i], name, sizeof files[i] - 1) == 0)
            return files[i];
    }
    return "";
}

/* Judge a frame. */
static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Does this file hold kernels, rather than what they are wrapped in? */
static bool kernel_file(const char *file)
{
    return (ends_with(file, ".cu") || ends_with(file, ".cuh")) &&
           !ends_with(file, "/instructions.cuh") &&
           !ends_with(file, "/kernel.cuh");
}

/* Read the frames of addr2line. */
/* Read "FILE:LINE" or "FILE:LINE (discriminator N)"; false if neither. */
static bool read_frame(char *text, int *line)
{
    char *space = strchr(text, ' '), *colon;
    if (space)
        *space = '\0';
    colon = strrchr(text, ':');
    if (!colon || text[0] == '?')
        return false;
    *colon = '\0';
    *line = atoi(colon + 1);
    return *line > 0;
}

static void read_answers(FILE *answers, sim_site *found, size_t n)
{
    char text[4200];
    sim_site *s = found - 1;
    bool settled = false;
    while (fgets(text, sizeof text, answers)) {
        int line;
        text[strcspn(text, "\n")] = '\0';
        if (strncmp(text, "0x", 2) == 0) {
            if (++s == found + n)
                return;
            settled = false;
        } else if (s >= found && !settled && read_frame(text, &line)) {
            settled = kernel_file(text);
            if (settled || s->line == 0) {
                s->file = keep_name(text);
                s->line = line;
            }
        }
    }
}

/* Put the question. */
static void ask(sim_site *found, size_t n)
{
    char program[PATH_MAX], command[PATH_MAX + 64 + 12 * AT_ONCE];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return;
    int end = snprintf(command, sizeof command, "addr2line -a -i -e '%.*s'",
                       (int)length, program);
    for (size_t i = 0; i < n; i++)
        end += snprintf(command + end, sizeof command - (size_t)end, " 0x%x",
                        found[i].site);
    snprintf(command + end, sizeof command - (size_t)end, " 2>/dev/null");
    FILE *answers = popen(command, "r");
    if (!answers)
        return;
    read_answers(answers, found, n);
    pclose(answers);
}

/* Turn a return address into a site. */
static int load_address(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    *(uintptr_t *)out = info->dlpi_addr;
    return 1;
}

uintptr_t sim_code_start;

void sim_sites_open(void)
{
    dl_iterate_phdr(load_address, &sim_code_start);
}

/* Find sites. */
void sim_sites_find(const uint32_t *sites, size_t n, sim_site *found)
{
    size_t missing = 0, at[AT_ONCE];
    sim_site asked[AT_ONCE];
    for (size_t i = 0; i < n; i++) {
        const sim_site *old = recall(sites[i]);
        found[i] = old ? *old : (sim_site){.site = sites[i], .file = ""};
        if (!old) {
            at[missing] = i;
            asked[missing++] = found[i];
        }
        if (missing == AT_ONCE || (missing > 0 && i + 1 == n)) {
            ask(asked, missing);
            for (size_t k = 0; k < missing; k++) {
                found[at[k]] = asked[k];
                known[known_count++ % MOST_SITES] = asked[k];
            }
            missing = 0;
        }
    }
}

sim_site sim_site_find(uint32_t site)
{
    sim_site found;
    sim_sites_find(&site, 1, &found);
    return found;
}
