/* tests/lir/kernel.h: kernels from text, run on buffers of the test. */
#ifndef RLX_TESTS_KERNEL_H
#define RLX_TESTS_KERNEL_H

#include "lir/lir.h"
#include "tests/base/suite.h"

typedef struct test_module {
    rlx_dims *dims;
    rlx_ir_module *m;
    int64_t symbols[RLX_MAX_SYMBOLS];
} test_module;

/* Parses the functions of a module and verifies it. The first symbols that the text names get
 * `values`. */
static inline rlx_status test_parse(const char *functions, test_module *t)
{
    rlx_text text = {0};
    *t = (test_module){.dims = rlx_dims_create()};
    rlx_text_putf(&text, "lir module @test {\n%s\n}\n", functions);
    rlx_status st = rlx_ir_parse(&rlx_lir_level, t->dims, "test", text.data, &t->m);
    rlx_text_deinit(&text);
    return st ? st : rlx_ir_verify(t->m);
}

static inline void test_bind(test_module *t, const char *symbol, int64_t value)
{
    int i = rlx_dim_symbol_index(t->dims, symbol);
    ck_assert_int_ge(i, 0);
    t->symbols[i] = value;
}

static inline void test_destroy(test_module *t)
{
    rlx_ir_module_destroy(t->m);
    rlx_dims_destroy(t->dims);
}

#define BUFFER(array) {(array), sizeof(array)}

/* The last kernel of the module over `n` buffers. */
static inline rlx_status test_run(test_module *t, const rlx_lir_buffer *buffers, int n,
                                  const rlx_lir_eval_options *o)
{
    return rlx_lir_eval_kernel(t->m->last, buffers, n, t->symbols, o);
}

/* Parses and runs a kernel without symbols. */
static inline rlx_status test_kernel(const char *text, const rlx_lir_buffer *buffers, int n)
{
    test_module t;
    rlx_status st = test_parse(text, &t);
    if (!st)
        st = test_run(&t, buffers, n, NULL);
    test_destroy(&t);
    return st;
}

#endif
