#include "compare.h"

#include "common/safetensors.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDENS "golden/*.safetensors"

/* Judge every file of the folder. */
static void test_judge_agrees_with_every_golden(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(GOLDENS, 0, NULL, &found), 0);
    int judged = 0;
    double worst = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (!is_op_case(found.gl_pathv[i]))
            continue;
        double error = judge_file(found.gl_pathv[i]);
        worst = error > worst ? error : worst;
        judged++;
    }
    globfree(&found);
    print_message("%d goldens judged, worst error %.2e\n", judged, worst);
    assert_true(judged >= 30);
}
