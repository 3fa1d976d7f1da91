/* tests/base/suite.h: one test program = one list of cases with a minimum count. */
#ifndef RLX_TESTS_SUITE_H
#define RLX_TESTS_SUITE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/status.h"

/* Fails with the whole story when the status is none of success; frees it. */
static inline void assert_ok(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    rlx_status_free(st);
    ck_abort_msg("unexpected: %s", text);
}

/* Fails unless `st` is an error whose story contains `part`; frees it. */
static inline void assert_error(rlx_status st, rlx_code code, const char *part)
{
    ck_assert_msg(st != NULL, "expected an error with '%s'", part);
    char *text = rlx_status_text(st);
    rlx_code got = rlx_status_code(st);
    rlx_status_free(st);
    ck_assert_msg(strstr(text, part) != NULL, "expected '%s' in: %s", part, text);
    ck_assert_msg(got == code, "expected code %d, got %d: %s", (int)code, (int)got, text);
    free(text);
}

/* Runs a suite that must hold at least `least` cases: an empty one is no success. */
static inline int run_suite(Suite *s, int least)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int run = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    if (run < least)
        fprintf(stderr, "only %d cases ran, of at least %d\n", run, least);
    return failed || run < least;
}

#endif
