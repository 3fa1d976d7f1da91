/* tests/lower/engines.h: a random MIR module on every engine: MIR's evaluator, LIR's and machine code
 * shall give the same bits. */
#ifndef RLX_TEST_ENGINES_H
#define RLX_TEST_ENGINES_H

#include "jit/jit.h"
#include "mir/mir.h"
#include "runtime/base/text.h"

enum { ENGINES_MAX_ARGS = 16, ENGINES_MAX_RESULTS = 4 };

typedef struct engines {
    uint64_t seed;
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_eval_tensor tensor[ENGINES_MAX_ARGS];
    int n;
    rlx_text text; /* the module's */
    rlx_jit_target code;
    bool uncut;         /* machine code all in one object */
    int parts;          /* that kernels called so far */
    int team, subgroup; /* on the interpreter; subgroup 0: rows are looked at alone */
} engines;

uint64_t engines_pick(engines *w, uint64_t n); /* below n */
void engines_must(rlx_status s, const engines *w);
/* Makes a tensor of random numbers, or blocks, for every argument of @main that has none yet. */
void engines_make_tensors(engines *w, const rlx_ir_module *m);
rlx_eval_tensor *engines_find(void *w, rlx_role role, const char *symbol);
/* The lowered module on the interpreter, or as machine code on two teams, gives `want`; one NaN is
 * like another. */
void engines_compare(engines *w, const rlx_ir_module *lir, const rlx_eval_tensor *want, int n,
                     bool code);
/* The module lowered for a GPU gives `want` on the interpreter, with teams and subgroups of several sizes; its kernels
 * become SPIR-V for devices of many and of few features. */
void engines_compare_gpu(engines *w, const rlx_ir_module *mir, const int64_t *upper,
                         const rlx_eval_tensor *want, int n);
/* A CPU with caches so small that everything goes by blocks. */
rlx_lir_target engines_target(engines *w, bool wide);
void engines_deinit(engines *w);

#endif
