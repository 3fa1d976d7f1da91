/* mir/ops/order.c: which elements come first
 *   in   x T[..,N], numbers
 *   out  i32[..,k]: along the last axis the indices of the k = count first elements in order, or
 *        (without a count) of all
 *   kind "smallest", or none: ascending; "largest": descending. Equal elements go by index, 0 and -0
 *   being equal; NaNs equal each other and are larger than all else, as torch and numpy have it.
 *   C1   x is of numbers and has rank 1 to 7.
 *   C2   count is in 1..N for a constant N, or absent.
 *   C3   kind is smallest, largest or absent. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_order_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->rank >= 1 && x->rank < RLX_MAX_RANK, "rank %d", x->rank);
    results[0] = *x;
    results[0].format = RLX_I32;
    results[0].dim[x->rank - 1] = rlx_ir_attr_int(n, RLX_ATTR_COUNT, x->dim[x->rank - 1]);
    return RLX_OK;
}

bool rlx_mir_order_is_largest(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, "smallest"), "largest") == 0;
}

rlx_status rlx_mir_order_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const rlx_dim all = x->dim[x->rank - 1];
    const rlx_attr *count = rlx_ir_attr(n, RLX_ATTR_COUNT);
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "smallest");
    RLX_IR_REQUIRE(m, n, "C1", rlx_format_is_float(x->format) || rlx_format_is_int(x->format),
                   "of %s", rlx_format_get(x->format)->name);
    RLX_IR_REQUIRE(m, n, "C2",
                   !count || (count->i >= 1 && rlx_dim_is_const(all) && count->i <= all),
                   "count=%lld of %s elements", (long long)count->i, RLX_MIR_DIM(m, all));
    RLX_IR_REQUIRE(m, n, "C3", rlx_mir_order_is_largest(n) || strcmp(kind, "smallest") == 0,
                   "kind is \"%s\"", kind);
    return RLX_OK;
}

bool rlx_mir_goes_before(rlx_format f, rlx_scalar a, rlx_scalar b, bool largest)
{
    const rlx_scalar pair[2] = {largest ? b : a, largest ? a : b};
    if (rlx_format_is_float(f) && isnan(pair[1].f))
        return !isnan(pair[0].f);
    return rlx_map_fn_eval(RLX_FN_LT, f, pair).i != 0;
}

/* A row being sorted. */
typedef struct row {
    const rlx_eval_tensor *x;
    int64_t first, n;
    bool largest;
} row;

/* Runs from..middle and middle..to of `in` to one. */
static void merge(const row *r, const int32_t *in, int64_t from, int64_t middle, int64_t to,
                  int32_t *out)
{
    int64_t left = from, right = middle;
    for (int64_t i = from; i < to; i++) {
        bool takes_right = left == middle;
        if (!takes_right && right < to)
            takes_right = rlx_mir_goes_before(
                r->x->format, rlx_mir_load(r->x->format, r->x->data, r->first + in[right]),
                rlx_mir_load(r->x->format, r->x->data, r->first + in[left]), r->largest);
        out[i] = takes_right ? in[right++] : in[left++];
    }
}

static void sort_row(const row *r, int32_t *at, int32_t *spare, int32_t **sorted)
{
    for (int64_t i = 0; i < r->n; i++)
        at[i] = (int32_t)i;
    for (int64_t width = 1; width < r->n; width *= 2) {
        for (int64_t from = 0; from < r->n; from += 2 * width) {
            const int64_t middle = from + width < r->n ? from + width : r->n;
            const int64_t to = from + 2 * width < r->n ? from + 2 * width : r->n;
            merge(r, at, from, middle, to, spare);
        }
        int32_t *last = at;
        at = spare;
        spare = last;
    }
    *sorted = at;
}

rlx_status rlx_mir_order_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    row r = {.x = x, .n = x->dim[x->rank - 1], .largest = rlx_mir_order_is_largest(n)};
    const int64_t k = y->dim[y->rank - 1], elems = rlx_mir_elems(x);
    int32_t *at = malloc(2 * sizeof *at * (size_t)r.n + 1), *sorted, *to = y->data;
    if (!at)
        return RLX_OOM();
    for (; r.first < elems; r.first += r.n, to += k) {
        sort_row(&r, at, at + r.n, &sorted);
        memcpy(to, sorted, sizeof *to * (size_t)k);
    }
    free(at);
    return RLX_OK;
}
