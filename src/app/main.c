#include "app/app.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct command {
    const char *name;
    const char *help; /* one line, no full stop */
    int (*run)(int argc, char **argv);
} command;

static int help(int argc, char **argv);

static const command commands[] = {
    /* List the commands. */
    {"run", "continue a text", app_run},
    {"batch", "answer many prompts at once", app_batch},
    {"tokenize", "show the tokens of a text", app_tokenize},
    {"logits", "write the logits of every token of a sequence", app_logits},
    {"inspect", "show what a model file holds, and what its cache takes",
     app_inspect},
    {"make-model", "write a model of a known shape with random weights",
     app_make_model},
    {"report", "measure what the memory of a model grows to", app_report_run},
    {"blocks", "draw the block table at work", app_blocks},
    {"golden", "write goldens, or check a device against them", app_golden},
#ifndef FO_NO_CPU
    {"bench", "measure models against the machine's limits", app_bench},
#endif
    {"help", "show this list, or what one command takes", help},
    {"simulate", "run an op on the simulated GPU and watch its memory",
     app_simulate},
    {"serve", "serve a model over HTTP", app_serve},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

/* Find a command by its name. */
static const command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* Show the list of commands. */
static void list(FILE *stream)
{
    fprintf(stream, "Usage: folio COMMAND [OPTION...]\n"
                    "Folio, a paged attention engine that can be read.\n\n"
                    "Commands:\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(stream, "\nfolio COMMAND --help shows what a command takes.\n");
}

/* Show the help of one command. */
static int unknown(const char *name)
{
    fprintf(stderr, "folio: no command '%s'; 'folio help' lists them\n", name);
    return APP_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        list(stdout);
        return APP_OK;
    }
    const command *named = find(argv[1]);
    if (!named)
        return unknown(argv[1]);
    if (named->run == help)
        return help(1, argv);
    char title[64];
    snprintf(title, sizeof title, "folio %s", named->name);
    char *arguments[] = {title, "--help", NULL};
    return named->run(2, arguments);
}

int main(int argc, char **argv)
{
    argp_err_exit_status = APP_USAGE;
    /* Answer a call that names no command. */
    if (argc < 2) {
        list(stderr);
        return APP_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    /* Run the command that was named. */
    const command *named = find(name);
    if (!named)
        return unknown(name);
    char title[64];
    snprintf(title, sizeof title, "folio %s", named->name);
    argv[1] = title;
    int code = named->run(argc - 1, argv + 1);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == APP_OK) {
        fprintf(stderr, "folio: standard output: %s\n", strerror(errno));
        return APP_FAILED;
    }
    return code;
}
