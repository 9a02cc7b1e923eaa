#include "planted.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int planted_failures_of(const struct CMUnitTest *tests, size_t count)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) ||
            !freopen("/dev/null", "w", stderr))
            _exit(255);
        _exit(_cmocka_run_group_tests("planted", tests, count, NULL, NULL));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child ||
        !WIFEXITED(status) || WEXITSTATUS(status) > (int)count)
        return -1;
    return WEXITSTATUS(status);
}
