/* lir/lir_plan.c: gives every temp and every callee's frame its place.
 *
 *   %3 = temp : global f32[TOKENS,64]   ->   %3 = temp {offset=4096, bytes=2048} : ...
 *
 * Time is counted in steps: launches of one phase make one, so what they use is live together; a
 * call makes one, in which the callee's frame is live too. A temp lives from its first use to its
 * last. Functions are planned in module order, callees first. Within one, the largest item is
 * placed first, in the smallest gap that fits among what is already placed and live at the same
 * time; when that takes more than what lives at one step, other orders are tried. lir_check.c holds
 * the result against the tape, with code of its own. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lir/lir.h"
#include "lir/ops/ops.h"

/* A temp or a call. */
typedef struct item {
    rlx_ir_node *node;
    int first, last; /* steps; first > last: never used */
    int64_t bytes, offset;
    int order; /* in the text: decides between equals */
} item;

typedef struct plan {
    const rlx_ir_module *m;
    const int64_t *upper;
    rlx_arena *arena;
    item *items;
    int n, steps;
} plan;

/* Of a buffer at the bucket's upper bounds: as of tensors of programs. */
#define MAX_BYTES ((int64_t)1 << 48)

static int64_t align_up(int64_t bytes)
{
    return (bytes + RLX_LIR_ALIGN - 1) / RLX_LIR_ALIGN * RLX_LIR_ALIGN;
}

bool rlx_lir_upper_bytes(const rlx_dims *dims, const rlx_ir_type *t, const int64_t *upper,
                         int64_t *out)
{
    const rlx_format_info *f = rlx_format_get(t->format);
    int64_t elems = 1;
    bool over = false;
    for (int i = 0; i < t->rank; i++)
        over |= __builtin_mul_overflow(elems, rlx_dim_upper(dims, t->dim[i], upper), &elems);
    over |= __builtin_mul_overflow(elems / f->block_elems, f->block_bytes, out);
    return !over && *out <= MAX_BYTES;
}

/* What a buffer occupies at the bucket's upper bounds, in whole units of the alignment. */
static rlx_status buffer_bytes(const plan *p, const rlx_ir_node *n, int64_t *out)
{
    int64_t bytes;
    bool fits = rlx_lir_upper_bytes(p->m->dims, &n->out[0]->type, p->upper, &bytes);
    RLX_IR_REQUIRE(p->m, n, "P5", fits, "is too large for the bucket");
    *out = align_up(bytes);
    return RLX_OK;
}

int64_t rlx_lir_frame_bytes(const rlx_ir_func *f)
{
    int64_t frame = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        int64_t end =
            rlx_ir_attr_int(n, RLX_ATTR_OFFSET, 0) + rlx_ir_attr_int(n, RLX_ATTR_BYTES, 0);
        frame = end > frame ? end : frame;
    }
    return align_up(frame);
}

/* ---- lifetimes ----------------------------------------------------------------------------------
 */

static void use(const rlx_ir_node *n, int step)
{
    for (int i = 0; i < n->nin; i++) {
        item *it = n->in[i]->def ? n->in[i]->scratch : NULL;
        if (!it)
            continue;
        if (it->first > it->last)
            it->first = step;
        it->last = step;
    }
}

/* Collects temps and calls with their lifetimes and sizes. */
static rlx_status collect(plan *p, const rlx_ir_func *f)
{
    int count = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        count++;
    p->n = p->steps = 0;
    p->items = RLX_NEW_ARRAY(p->arena, item, count);
    if (!p->items)
        return RLX_OOM();
    rlx_ir_clear_scratch(f->body);
    int64_t phase = -1; /* of the launch before; -1: none, a new step begins */
    for (rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op == RLX_LIR_TEMP) {
            item *it = &p->items[p->n];
            *it = (item){.node = n, .first = 0, .last = -1, .order = p->n++};
            RLX_TRY(buffer_bytes(p, n, &it->bytes));
            n->out[0]->scratch = it;
        } else if (n->op == RLX_LIR_LAUNCH) {
            int64_t own = rlx_ir_attr_int(n, RLX_ATTR_PHASE, 0);
            p->steps += own != phase;
            phase = own;
            use(n, p->steps - 1);
        } else if (n->op == RLX_LIR_CALL) {
            phase = -1;
            use(n, p->steps++);
            p->items[p->n] = (item){.node = n,
                                    .first = p->steps - 1,
                                    .last = p->steps - 1,
                                    .bytes = rlx_lir_frame_bytes(rlx_lir_callee(p->m, n)),
                                    .order = p->n};
            p->n++;
        }
    }
    return RLX_OK;
}

/* ---- placement ----------------------------------------------------------------------------------
 */

static int larger_first(const void *x, const void *y)
{
    const item *a = *(item *const *)x, *b = *(item *const *)y;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a->order - b->order;
}

static int lower_first(const void *x, const void *y)
{
    const item *a = *(item *const *)x, *b = *(item *const *)y;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->order - b->order;
}

static bool live_together(const item *a, const item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The smallest gap that holds `it` between the items of `live`, which ascend by offset. */
static int64_t best_gap(const item *it, item *const *live, int n)
{
    int64_t end = 0, best = -1, best_size = INT64_MAX;
    for (int i = 0; i < n; i++) {
        int64_t gap = live[i]->offset - end;
        if (gap >= it->bytes && gap < best_size) {
            best = end;
            best_size = gap;
        }
        int64_t item_end = live[i]->offset + live[i]->bytes;
        end = item_end > end ? item_end : end;
    }
    return best >= 0 ? best : end;
}

/* Bytes of the frame when items are placed in this order. `live`: room for as many. */
static int64_t place_in_order(const plan *p, item **order, item **live)
{
    int64_t frame = 0;
    for (int i = 0; i < p->n; i++) {
        int n = 0;
        for (int j = 0; j < i; j++) {
            if (live_together(order[i], order[j]))
                live[n++] = order[j];
        }
        qsort(live, (size_t)n, sizeof *live, lower_first);
        order[i]->offset = best_gap(order[i], live, n);
        int64_t end = order[i]->offset + order[i]->bytes;
        frame = end > frame ? end : frame;
    }
    return frame;
}

/* The most that lives at one step: no frame is smaller. */
static int64_t least_frame(const plan *p)
{
    int64_t least = 0;
    for (int step = 0; step < p->steps; step++) {
        int64_t bytes = 0;
        for (int i = 0; i < p->n; i++)
            if (p->items[i].first <= step && step <= p->items[i].last)
                bytes += p->items[i].bytes;
        least = bytes > least ? bytes : least;
    }
    return least;
}

/* What reaches to the frame's end goes to the front of the order. */
static void advance_highest(const plan *p, item **order)
{
    int high = 0;
    for (int i = 1; i < p->n; i++)
        if (order[i]->offset + order[i]->bytes > order[high]->offset + order[high]->bytes)
            high = i;
    item *it = order[high];
    memmove(order + 1, order, sizeof *order * (size_t)high);
    order[0] = it;
}

/* Larger ones first; as long as that leaves holes, again with what sticks out in front. */
static rlx_status place(plan *p)
{
    enum { TRIES = 32, PAIRS = 1 << 20 };
    item **order = RLX_NEW_ARRAY(p->arena, item *, p->n);
    item **live = RLX_NEW_ARRAY(p->arena, item *, p->n);
    int64_t *best = RLX_NEW_ARRAY(p->arena, int64_t, p->n);
    if (!order || !live || !best)
        return RLX_OOM();
    for (int i = 0; i < p->n; i++)
        order[i] = &p->items[i];
    qsort(order, (size_t)p->n, sizeof *order, larger_first);
    const int64_t least = least_frame(p), pairs = (int64_t)p->n * p->n + 1;
    int64_t frame = INT64_MAX;
    for (int i = 0; frame > least && i < TRIES && (i == 0 || i * pairs <= PAIRS); i++) {
        if (i > 0)
            advance_highest(p, order);
        int64_t bytes = place_in_order(p, order, live);
        for (int k = 0; bytes < frame && k < p->n; k++)
            best[k] = p->items[k].offset;
        frame = bytes < frame ? bytes : frame;
    }
    for (int i = 0; i < p->n; i++)
        p->items[i].offset = best[i];
    return RLX_OK;
}

static rlx_status set_attr(rlx_pass_cx *cx, rlx_ir_node *n, rlx_attr_key key, int64_t value)
{
    if (rlx_ir_attr_int(n, key, -1) == value)
        return RLX_OK;
    cx->changed = true;
    return rlx_ir_attr_set(cx->module, n, rlx_attr_int(key, value));
}

static rlx_status plan_memory(rlx_pass_cx *cx)
{
    const rlx_lir_plan_options *options = cx->options;
    if (!options || !options->upper)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "plan_memory needs the bucket's upper bounds");
    plan p = {.m = cx->module, .upper = options->upper, .arena = cx->scratch};
    for (rlx_ir_func *f = cx->module->first; f; f = f->next) {
        if (f->is_kernel)
            continue;
        RLX_TRY_NOTE(collect(&p, f), "planning @%s", f->name);
        RLX_TRY(place(&p));
        for (int i = 0; i < p.n; i++) {
            RLX_TRY(set_attr(cx, p.items[i].node, RLX_ATTR_OFFSET, p.items[i].offset));
            RLX_TRY(set_attr(cx, p.items[i].node, RLX_ATTR_BYTES, p.items[i].bytes));
        }
    }
    return RLX_OK;
}

const rlx_pass rlx_lir_pass_plan_memory = {.name = "plan_memory", .run = plan_memory};

/* ---- as text ------------------------------------------------------------------------------------
 */

enum { MAX_BAR = 64 }; /* steps that are drawn */

static void put_item(const plan *p, const item *it, rlx_text *out)
{
    rlx_text_putf(out, "  %10" PRId64 " %10" PRId64 "  ",
                  rlx_ir_attr_int(it->node, RLX_ATTR_OFFSET, 0),
                  rlx_ir_attr_int(it->node, RLX_ATTR_BYTES, 0));
    for (int s = 0; s < p->steps && p->steps <= MAX_BAR; s++)
        rlx_text_put(out, s < it->first || s > it->last ? "." : "#");
    if (p->steps > MAX_BAR)
        rlx_text_putf(out, "%d..%d", it->first, it->last);
    if (it->node->op == RLX_LIR_CALL) {
        rlx_text_putf(out, "  frame of @%s", rlx_ir_attr_text(it->node, RLX_ATTR_CALLEE, "?"));
    } else {
        rlx_text_put(out, "  ");
        rlx_ir_type_print(p->m->dims, &it->node->out[0]->type, out);
    }
    rlx_text_putf(out, "%s%s\n", it->node->place ? "  // " : "",
                  it->node->place ? it->node->place : "");
}

static int by_offset(const void *x, const void *y)
{
    const item *a = x, *b = y;
    int64_t oa = rlx_ir_attr_int(a->node, RLX_ATTR_OFFSET, 0);
    int64_t ob = rlx_ir_attr_int(b->node, RLX_ATTR_OFFSET, 0);
    return oa != ob ? (oa < ob ? -1 : 1) : a->order - b->order;
}

static rlx_status put_funcs(plan *p, const char *entry, rlx_text *out)
{
    rlx_lir_plan_report report;
    RLX_TRY(rlx_lir_check_plan(p->m, entry, p->upper, &report));
    rlx_text_putf(out, "arena %" PRId64 " bytes; %" PRId64 " live at once at most\n",
                  report.arena_bytes, report.lower_bound);
    for (const rlx_ir_func *f = p->m->first; f; f = f->next) {
        if (f->is_kernel)
            continue;
        RLX_TRY(collect(p, f));
        qsort(p->items, (size_t)p->n, sizeof *p->items, by_offset);
        rlx_text_putf(out, "@%s: frame %" PRId64 " bytes, %d steps\n", f->name,
                      rlx_lir_frame_bytes(f), p->steps);
        for (int i = 0; i < p->n; i++)
            put_item(p, &p->items[i], out);
    }
    return RLX_OK;
}

rlx_status rlx_lir_print_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_text *out)
{
    plan p = {.m = m, .upper = upper, .arena = rlx_arena_create()};
    if (!p.arena)
        return RLX_OOM();
    rlx_status st = put_funcs(&p, entry, out);
    rlx_arena_destroy(p.arena);
    return st;
}
