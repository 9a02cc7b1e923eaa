#include "planted.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int planted_failures_of(const struct CMUnitTest *tests, size_t count)
{
    int ends[2], failures = -1;
    fflush(NULL);
    if (pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) ||
            !freopen("/dev/null", "w", stderr))
            _exit(255);
        failures = _cmocka_run_group_tests("planted", tests, count, NULL, NULL);
        _exit(write(ends[1], &failures, sizeof failures) < 0);
    }
    close(ends[1]);
    if (child > 0 && read(ends[0], &failures, sizeof failures) <= 0)
        failures = -1;
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    return failures;
}
