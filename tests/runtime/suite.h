/* tests/runtime/suite.h: running a check suite, and statuses in assertions. */
#ifndef RLX_TESTS_RUNTIME_SUITE_H
#define RLX_TESTS_RUNTIME_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/status.h"

/* Runs in this process, so that sanitizers see the end of it. Fails when fewer than `minimum` ran.
 */
static inline int suite_run(Suite *s, int minimum)
{
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int ran = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    if (ran < minimum)
        fprintf(stderr, "%d cases ran, expected at least %d\n", ran, minimum);
    return failed || ran < minimum ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define SUITE_TEST(suite, name, function) \
    do {                                  \
        TCase *tc_ = tcase_create(name);  \
        tcase_set_timeout(tc_, 0);        \
        tcase_add_test(tc_, function);    \
        suite_add_tcase(suite, tc_);      \
    } while (0)

static inline void expect_ok(rlx_status st, const char *file, int line)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    rlx_status_free(st);
    static char message[4096];
    snprintf(message, sizeof(message), "%s:%d: %s", file, line, text ? text : "out of memory");
    free(text);
    ck_abort_msg("%s", message);
}

static inline void expect_error(rlx_status st, rlx_code code, const char *part, const char *file,
                                int line)
{
    char *text = st ? rlx_status_text(st) : NULL;
    rlx_code got = rlx_status_code(st);
    static char message[4096];
    snprintf(message, sizeof(message), "%s:%d: expected %s with '%s', got %s", file, line,
             rlx_code_name(code), part, text ? text : "success");
    bool ok = got == code && text && strstr(text, part);
    free(text);
    rlx_status_free(st);
    if (!ok)
        ck_abort_msg("%s", message);
}

#define EXPECT_OK(expr) expect_ok((expr), __FILE__, __LINE__)
#define EXPECT_ERROR(expr, code, part) expect_error((expr), (code), (part), __FILE__, __LINE__)

#endif
