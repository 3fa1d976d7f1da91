/* lir/lir_compare.c: kernels before and after a pass, on the same inputs, bit by bit.
 *
 * Symbols are small and buffers filled with a fixed sequence: floats between -2 and 2. Integers
 * index other buffers, so they are 0; a kernel that has some runs with every extent 1, where
 * nothing else is in range (two tokens that both go to position 0 would conflict). */
#include <stdlib.h>
#include <string.h>

#include "lir/lir.h"
#include "lir/ops/ops.h"

enum { EXTENT = 3 };

typedef struct buffers {
    int n;
    rlx_lir_buffer *list;
} buffers;

static void destroy_buffers(buffers *b)
{
    for (int i = 0; i < b->n; i++)
        free(b->list[i].data);
    free(b->list);
}

static bool has_integers(const rlx_ir_func *kernel)
{
    bool any = false;
    for (int i = 0; i < kernel->body->nargs; i++)
        any = any || rlx_format_is_int(kernel->body->args[i]->type.format);
    return any;
}

static rlx_status make_buffers(const rlx_ir_func *kernel, const int64_t *symbols, buffers *b)
{
    b->list = calloc((size_t)kernel->body->nargs + 1, sizeof *b->list);
    if (!b->list)
        return RLX_OOM();
    uint32_t random = 1;
    for (b->n = 0; b->n < kernel->body->nargs; b->n++) {
        const rlx_ir_type *t = &kernel->body->args[b->n]->type;
        int64_t elems = 1;
        for (int a = 0; a < t->rank; a++)
            elems *= rlx_dim_eval(kernel->module->dims, t->dim[a], symbols);
        rlx_lir_buffer *one = &b->list[b->n];
        one->bytes = rlx_format_bytes(t->format, elems);
        one->data = calloc(one->bytes + 1, 1);
        if (!one->data)
            return RLX_OOM();
        if (rlx_format_get(t->format)->kind == RLX_KIND_BLOCK)
            rlx_format_make_blocks(t->format, one->data, elems, (uint64_t)b->n);
        for (int64_t k = 0; rlx_format_is_float(t->format) && k < elems; k++) {
            random = random * 1664525 + 1013904223;
            rlx_format_store(t->format, one->data, k, (double)(int32_t)random * 0x1p-30);
        }
    }
    return RLX_OK;
}

static rlx_status compare_results(const rlx_ir_func *kernel, const buffers *x, const buffers *y)
{
    for (int i = 0; i < x->n; i++) {
        size_t at = 0;
        const uint8_t *a = x->list[i].data, *b = y->list[i].data;
        while (at < x->list[i].bytes && a[at] == b[at])
            at++;
        if (at < x->list[i].bytes)
            return RLX_FAIL(RLX_INTERNAL, "kernel @%s gives another byte %zu of argument %d",
                            kernel->name, at, i);
    }
    return RLX_OK;
}

static rlx_status compare_kernel(const rlx_ir_func *before, const rlx_ir_func *after,
                                 const int64_t *upper)
{
    int64_t symbols[RLX_MAX_SYMBOLS];
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        symbols[i] = has_integers(before) || (upper && upper[i] < EXTENT) ? 1 : EXTENT;
    buffers x = {0}, y = {0};
    rlx_status st;
    RLX_TRY_TO(done, make_buffers(before, symbols, &x));
    RLX_TRY_TO(done, make_buffers(after, symbols, &y));
    RLX_TRY_TO(done, rlx_lir_eval_kernel(before, x.list, x.n, symbols, NULL));
    RLX_TRY_TO(done, rlx_lir_eval_kernel(after, y.list, y.n, symbols, NULL));
    st = compare_results(before, &x, &y);
done:
    destroy_buffers(&x);
    destroy_buffers(&y);
    return st;
}

rlx_status rlx_lir_compare(void *user, rlx_ir_module *before, rlx_ir_module *after)
{
    for (const rlx_ir_func *f = before->first; f; f = f->next) {
        const rlx_ir_func *g = rlx_ir_func_find(after, f->name);
        if (!f->is_kernel || !g)
            continue;
        if (g->body->nargs != f->body->nargs)
            return RLX_FAIL(RLX_INTERNAL, "kernel @%s has other arguments", f->name);
        RLX_TRY_NOTE(compare_kernel(f, g, user), "comparing kernel @%s", f->name);
    }
    return RLX_OK;
}
