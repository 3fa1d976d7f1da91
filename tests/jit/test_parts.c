/* Loops that kernels of a program have in common are parts, compiled once: what their names tell. */
#include <string.h>

#include "jit/module.h"
#include "jit/parts.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

/* A kernel whose loop packs, and is its only part. */
typedef struct packing {
    const char *x, *bound,
        *rows; /* type of what is read, rounds, rows from one panel to the next */
    const char *step;
} packing;

static void packing_parse(const packing *p, subject *s)
{
    rlx_text t = {0};
    rlx_text_putf(&t,
                  "lir module @m {\n kernel @k(%%x: global %s, %%y: global f32[64,8]) {\n"
                  "  %%one = const {ivalue=1} : i64\n  grid %%one (%%g: i64) {\n"
                  "   %%z = const {ivalue=0} : i64\n   %%n = const {ivalue=%s} : i64\n"
                  "   %%size = const {ivalue=8} : i64\n   %%rows = const {ivalue=%s} : i64\n"
                  "   for %%z, %%n {step=%s} (%%i: i64) {\n"
                  "    %%r = map %%i, %%size {fn=mul} : i64\n"
                  "    %%v = load %%x, %%r, %%z {axes=[0,1]} : f32<8x16>\n"
                  "    %%p = pack %%v {width=1} : f32<16x8>\n"
                  "    %%q = map %%i, %%rows {fn=mul} : i64\n"
                  "    store %%y, %%p, %%q, %%z {axes=[0,1]}\n    yield\n   }\n"
                  "   yield\n  }\n  return\n }\n}\n",
                  p->x, p->bound, p->rows, p->step);
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, "packs", t.data));
    rlx_text_deinit(&t);
}

static const packing packings[] = {{"f32[32,16]", "4", "16", "1"}, {"f32[40,24]", "4", "16", "1"},
                                   {"f32[32,16]", "3", "16", "1"}, {"f16[32,16]", "4", "16", "1"},
                                   {"f32[32,16]", "4", "15", "1"}, {"f32[32,16]", "4", "16", "2"}};
enum { ALIKE = 3, PACKINGS = sizeof packings / sizeof *packings };

/* A loop that packs is a part of its kernel; what claims its name has to be it. */
START_TEST(parts_have_their_names)
{
    const rlx_llvm_module *m;
    const rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_llvm *worker;
    rlx_llvm_parts parts;
    rlx_text out = {0};
    subject s;
    packing_parse(&packings[0], &s);
    const rlx_ir_func *k = s.module->first;
    EXPECT_OK(rlx_jit_module_open(&m));
    EXPECT_OK(rlx_jit_worker_create(m, &t, &worker));
    EXPECT_OK(m->emit(worker, k, RLX_LLVM_CODE, &parts, RLX_LLVM_KERNEL, &out));
    ck_assert_int_eq(parts.n, 1);
    EXPECT_OK(rlx_jit_emit_part(m, worker, k, RLX_LLVM_CODE, 0, &parts.name[0], &out));
    EXPECT_ERROR(rlx_jit_emit_part(m, worker, k, RLX_LLVM_CODE, 1, &parts.name[0], &out),
                 RLX_INTERNAL, "kernel @k has 1 parts, and no number 1");
    parts.name[0].text[5] ^= 1;
    EXPECT_ERROR(rlx_jit_emit_part(m, worker, k, RLX_LLVM_CODE, 0, &parts.name[0], &out),
                 RLX_INTERNAL, "part 0 of kernel @k is part_");
    subject_check_all(&s, &t, 3);
    m->destroy(worker);
    rlx_text_deinit(&out);
    subject_destroy(&s);
}
END_TEST

/* How many rounds and how long rows are is the kernel's; formats, numbers and steps are the part's. */
START_TEST(parts_are_told_apart)
{
    const rlx_llvm_module *m;
    const rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_llvm *worker;
    rlx_llvm_parts parts[PACKINGS];
    EXPECT_OK(rlx_jit_module_open(&m));
    EXPECT_OK(rlx_jit_worker_create(m, &t, &worker));
    for (int i = 0; i < PACKINGS; i++) {
        subject s;
        rlx_text out = {0};
        packing_parse(&packings[i], &s);
        EXPECT_OK(
            m->emit(worker, s.module->first, RLX_LLVM_CODE, &parts[i], RLX_LLVM_KERNEL, &out));
        ck_assert_int_eq(parts[i].n, 1);
        for (int k = 0; k < i; k++)
            ck_assert_int_eq(strcmp(parts[i].name[0].text, parts[k].name[0].text) == 0, i < ALIKE);
        rlx_text_deinit(&out);
        subject_destroy(&s);
    }
    m->destroy(worker);
}
END_TEST

/* A nest that packs codes of columns from a multiple of `step` on. */
static void stepping_parse(const char *step, subject *s)
{
    rlx_text t = {0};
    rlx_text_putf(&t,
                  "lir module @m {\n kernel @k(%%x: global q4_k[32,512], %%y: global f32[64,8]) {\n"
                  "  %%one = const {ivalue=1} : i64\n  %%step = const {ivalue=%s} : i64\n"
                  "  grid %%one (%%g: i64) {\n   %%k = map %%g, %%step {fn=mul} : i64\n"
                  "   %%z = const {ivalue=0} : i64\n   %%n = const {ivalue=4} : i64\n"
                  "   %%size = const {ivalue=8} : i64\n   %%rows = const {ivalue=16} : i64\n"
                  "   for %%z, %%n {step=1} (%%i: i64) {\n"
                  "    %%r = map %%i, %%size {fn=mul} : i64\n"
                  "    %%v = load %%x, %%r, %%k {axes=[0,1]} : f32<8x16>\n"
                  "    %%p = pack %%v {width=1} : f32<16x8>\n"
                  "    %%q = map %%i, %%rows {fn=mul} : i64\n"
                  "    store %%y, %%p, %%q, %%z {axes=[0,1]}\n    yield\n   }\n"
                  "   yield\n  }\n  return\n }\n}\n",
                  step);
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, "steps", t.data));
    rlx_text_deinit(&t);
}

/* The nests are the same text: where codes begin is known of what is around. */
START_TEST(parts_know_where_codes_begin)
{
    static const char *const steps[] = {"256", "256", "32"};
    const rlx_llvm_module *m;
    const rlx_jit_target t = cpu_named("x86-64-v3");
    rlx_llvm *worker;
    rlx_llvm_parts parts[3];
    EXPECT_OK(rlx_jit_module_open(&m));
    EXPECT_OK(rlx_jit_worker_create(m, &t, &worker));
    for (int i = 0; i < 3; i++) {
        subject s;
        rlx_text out = {0};
        stepping_parse(steps[i], &s);
        EXPECT_OK(
            m->emit(worker, s.module->first, RLX_LLVM_CODE, &parts[i], RLX_LLVM_KERNEL, &out));
        ck_assert_int_eq(parts[i].n, 1);
        rlx_text_deinit(&out);
        subject_destroy(&s);
    }
    ck_assert_str_eq(parts[0].name[0].text, parts[1].name[0].text);
    ck_assert_str_ne(parts[0].name[0].text, parts[2].name[0].text);
    m->destroy(worker);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit parts");
    SUITE_TEST(s, "they have their names", parts_have_their_names);
    SUITE_TEST(s, "they are told apart", parts_are_told_apart);
    SUITE_TEST(s, "they know where codes begin", parts_know_where_codes_begin);
    return suite_run(s, 3);
}
