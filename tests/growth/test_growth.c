/* tests/growth/test_growth.c: a decode loop from one token to the context limit compiles nothing,
 * and its last step asks for no more memory than its third: nothing grows, nothing is copied
 * elsewhere. It gives the bits that one prefill gives. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "frontend/rlx.h"
#include "jit/jit.h"

enum { POSITIONS = 512, SETTLED = 3 };

static int compiles;
static _Atomic int64_t asked; /* bytes, by anyone */

rlx_status __real_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats);
rlx_status __wrap_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats);
rlx_status __wrap_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats)
{
    compiles++;
    return __real_rlx_jit_compile(m, t, o, entry, stats);
}

#define COUNTED(type, name, params, args, size) \
    type __real_##name params;                  \
    type __wrap_##name params;                  \
    type __wrap_##name params                   \
    {                                           \
        asked += (int64_t)(size);               \
        return __real_##name args;              \
    }
COUNTED(void *, malloc, (size_t n), (n), n)
COUNTED(void *, calloc, (size_t n, size_t each), (n, each), n *each)
COUNTED(void *, realloc, (void *p, size_t n), (p, n), n)
COUNTED(void *, aligned_alloc, (size_t align, size_t n), (align, n), n)
COUNTED(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off),
        (at, n, prot, flags, fd, off), n)

static void must(rlx_status s)
{
    if (s)
        ck_abort_msg("%s", rlx_status_text(s));
}

START_TEST(decoding_to_the_limit)
{
    rlx_context *cx;
    rlx_model *m;
    rlx_session *s, *whole;
    const rlx_session_options options = {.max_positions = POSITIONS};
    must(rlx_context_create(NULL, &cx));
    must(rlx_model_load(cx, RLX_SOURCE_DIR "/models/bundled", NULL, &m));
    must(rlx_session_create(cx, &options, &s));
    must(rlx_session_create(cx, &options, &whole));
    rlx_model_info info;
    rlx_model_get_info(m, &info);
    float *logits = calloc((size_t)info.vocab, sizeof *logits);
    float *expected = calloc((size_t)info.vocab, sizeof *expected);
    int32_t ids[POSITIONS];
    int after_load = compiles;
    ck_assert_int_ge(after_load, 1);
    int64_t third = 0;
    ids[0] = 0;
    for (int i = 0; i < POSITIONS; i++) {
        int64_t before = asked;
        must(rlx_model_step(m, s, 0, &ids[i], 1, 1, logits));
        if (i == SETTLED)
            third = asked - before;
        if (i > SETTLED)
            ck_assert_int_eq(asked - before, third);
        int best = 0;
        for (int v = 1; v < info.vocab; v++)
            best = logits[v] > logits[best] ? v : best;
        if (i + 1 < POSITIONS)
            ids[i + 1] = best;
    }
    ck_assert_int_eq(compiles, after_load);
    ck_assert_int_le(third, 4096);
    must(rlx_model_step(m, whole, 0, ids, POSITIONS, 1, expected));
    ck_assert_mem_eq(logits, expected, sizeof *logits * (size_t)info.vocab);
    rlx_status full = rlx_model_step(m, s, 0, ids, 1, 1, logits);
    ck_assert_int_eq(rlx_status_code(full), RLX_EXHAUSTED);
    rlx_status_free(full);
    free(logits);
    free(expected);
    rlx_session_destroy(s);
    rlx_session_destroy(whole);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("growth");
    TCase *c = tcase_create("decode");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, decoding_to_the_limit);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int ran = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0 || ran < 1;
}
