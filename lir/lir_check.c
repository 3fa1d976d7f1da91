/* lir/lir_check.c: holds a memory plan against the tape, by running it in thought.
 *
 * Every activation of a function makes its buffers anew, at their absolute places. A map of the
 * arena says which buffer wrote each byte last. A buffer that is read, or written again, must still
 * own all its bytes: so whatever overlaps while both matter is found, and so is a read before the
 * first write. Launches of one phase run at once: what one writes, no other may touch under another
 * name, nor read. None of the planner's code is used. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lir/lir.h"
#include "lir/ops/ops.h"

/* One buffer of one activation, or one that the caller of the program owns. */
typedef struct instance {
    int id;
    const rlx_ir_value *value; /* where it was made: a temp, or an argument of the entry */
    bool external;             /* not in the arena */
    int64_t lo, hi;            /* bytes of the arena */
    bool written;
} instance;

/* Bytes lo..hi belong to buffer `owner`. Ranges of the map ascend and do not overlap. */
typedef struct range {
    int64_t lo, hi;
    int owner;
} range;

enum { READS = 1, WRITES = 2 };

/* What a kernel does with each of its arguments. */
typedef struct kernel_access {
    const rlx_ir_func *kernel;
    unsigned char *flags;
} kernel_access;

typedef struct sim {
    const rlx_ir_module *m;
    const int64_t *upper;
    rlx_arena *arena;
    kernel_access *kernels;
    int nkernels;
    range *ranges;
    int nranges, cap_ranges;
    instance **instances; /* by id */
    int ninstances, cap_instances;
} sim;

/* A function's buffers in one activation. */
typedef struct frame {
    const rlx_ir_func *f;
    int64_t base, bytes;
    instance **args;
    const rlx_ir_value **temp_values;
    instance **temps;
    int ntemps;
} frame;

/* ---- the map of the arena -----------------------------------------------------------------------
 */

static const char *name_of(sim *s, const instance *b)
{
    rlx_text text = {0};
    if (b->value->def)
        rlx_ir_print_node(s->m, b->value->def, &text);
    else
        rlx_text_putf(&text, "argument %u of @%s", b->value->index, b->value->block->func->name);
    const char *copy = text.data ? rlx_arena_strdup(s->arena, text.data) : NULL;
    rlx_text_deinit(&text);
    return copy ? copy : "?";
}

static bool grow(void **list, int *cap, int need, size_t size)
{
    if (need <= *cap)
        return true;
    int more = need * 2 + 16;
    void *bigger = realloc(*list, size * (size_t)more);
    if (!bigger)
        return false;
    *list = bigger;
    *cap = more;
    return true;
}

/* Gives b's bytes to b, cutting what lay there. */
static rlx_status own(sim *s, const instance *b)
{
    if (b->external || b->lo == b->hi)
        return RLX_OK;
    range *old = malloc(sizeof *old * (size_t)(s->nranges + 1));
    if (!old || !grow((void **)&s->ranges, &s->cap_ranges, s->nranges + 2, sizeof *s->ranges)) {
        free(old);
        return RLX_OOM();
    }
    int n = s->nranges, at = 0;
    memcpy(old, s->ranges, sizeof *old * (size_t)n);
    s->nranges = 0;
    for (; at < n && old[at].lo < b->lo; at++)
        s->ranges[s->nranges++] =
            (range){old[at].lo, old[at].hi < b->lo ? old[at].hi : b->lo, old[at].owner};
    s->ranges[s->nranges++] = (range){b->lo, b->hi, b->id};
    for (at = 0; at < n; at++) {
        if (old[at].hi > b->hi)
            s->ranges[s->nranges++] =
                (range){old[at].lo > b->hi ? old[at].lo : b->hi, old[at].hi, old[at].owner};
    }
    free(old);
    return RLX_OK;
}

/* Fails when some byte of b is not b's any more. */
static rlx_status check_owned(sim *s, const instance *b, const rlx_ir_node *by, const char *does)
{
    int64_t at = b->lo;
    if (b->external)
        return RLX_OK;
    for (int i = 0; i < s->nranges && at < b->hi; i++) {
        if (s->ranges[i].hi <= at)
            continue;
        if (s->ranges[i].lo > at)
            break;
        RLX_IR_REQUIRE(s->m, by, "P1", s->ranges[i].owner == b->id,
                       "%s a buffer of which byte %" PRId64 " was overwritten: `%s` by `%s`", does,
                       at - b->lo, name_of(s, b), name_of(s, s->instances[s->ranges[i].owner]));
        at = s->ranges[i].hi;
    }
    RLX_IR_REQUIRE(s->m, by, "P1", at >= b->hi, "%s bytes that nobody wrote: `%s`", does,
                   name_of(s, b));
    return RLX_OK;
}

/* ---- reading and writing
 * -------------------------------------------------------------------------- */

static rlx_status read_buffer(sim *s, const instance *b, const rlx_ir_node *by)
{
    RLX_IR_REQUIRE(s->m, by, "P2", b->written, "reads `%s`, which nothing has written",
                   name_of(s, b));
    return check_owned(s, b, by, "reads");
}

static rlx_status write_buffer(sim *s, instance *b, const rlx_ir_node *by)
{
    if (b->written) /* what is there already must have stayed: it may be written in parts */
        return check_owned(s, b, by, "writes again");
    b->written = true;
    return own(s, b);
}

static bool overlap(const instance *a, const instance *b)
{
    return !a->external && !b->external && a->lo < b->hi && b->lo < a->hi;
}

/* Two operands that are used at the same time, `a` by launch x and `b` by launch y. */
static rlx_status check_pair(sim *s, const rlx_ir_node *x, const instance *a, int a_flags,
                             const rlx_ir_node *y, const instance *b, int b_flags)
{
    if (!((a_flags | b_flags) & WRITES))
        return RLX_OK;
    if (a != b) {
        RLX_IR_REQUIRE(s->m, y, "P3", !overlap(a, b), "`%s` shares memory with `%s` in one phase",
                       name_of(s, b), name_of(s, a));
        return RLX_OK;
    }
    bool mixed = x != y && ((a_flags | b_flags) & READS);
    RLX_IR_REQUIRE(s->m, y, "P4", !mixed,
                   "one launch writes `%s`, another of the same phase reads it", name_of(s, b));
    return RLX_OK;
}

/* ---- kernels
 * --------------------------------------------------------------------------------------- */

static rlx_status note_access(void *user, rlx_ir_node *n)
{
    kernel_access *k = user;
    if (n->op != RLX_LIR_LOAD && n->op != RLX_LIR_STORE)
        return RLX_OK;
    for (int i = 0; i < k->kernel->body->nargs; i++) {
        if (n->in[0] == k->kernel->body->args[i])
            k->flags[i] |= n->op == RLX_LIR_LOAD ? READS : WRITES;
    }
    return RLX_OK;
}

static rlx_status collect_kernels(sim *s)
{
    int count = 0;
    for (const rlx_ir_func *f = s->m->first; f; f = f->next)
        count += f->is_kernel;
    s->kernels = RLX_NEW_ARRAY(s->arena, kernel_access, count);
    for (const rlx_ir_func *f = s->m->first; f && s->kernels; f = f->next) {
        if (!f->is_kernel)
            continue;
        kernel_access *k = &s->kernels[s->nkernels++];
        *k = (kernel_access){f, RLX_NEW_ARRAY(s->arena, unsigned char, f->body->nargs)};
        if (!k->flags)
            return RLX_OOM();
        RLX_TRY(rlx_ir_walk(f->body, note_access, k));
    }
    return s->kernels || count == 0 ? RLX_OK : RLX_OOM();
}

static const unsigned char *flags_of(const sim *s, const rlx_ir_func *kernel)
{
    const kernel_access *k = s->kernels;
    while (k->kernel != kernel)
        k++;
    return k->flags;
}

/* ---- activations
 * ----------------------------------------------------------------------------------- */

static instance *make_instance(sim *s, const rlx_ir_value *v)
{
    instance *b = RLX_NEW(s->arena, instance);
    if (!b ||
        !grow((void **)&s->instances, &s->cap_instances, s->ninstances + 1, sizeof *s->instances))
        return NULL;
    *b = (instance){.id = s->ninstances, .value = v};
    s->instances[s->ninstances++] = b;
    return b;
}

static rlx_status size_of(const sim *s, const rlx_ir_node *n, int64_t *out)
{
    const rlx_ir_type *t = &n->out[0]->type;
    int64_t bytes = rlx_format_get(t->format)->block_bytes;
    for (int i = 0; i < t->rank; i++) {
        bool over =
            __builtin_mul_overflow(bytes, rlx_dim_upper(s->m->dims, t->dim[i], s->upper), &bytes);
        RLX_IR_REQUIRE(s->m, n, "P5", !over, "is larger than can be counted");
    }
    *out = bytes;
    return RLX_OK;
}

static rlx_status make_temp(sim *s, frame *fr, const rlx_ir_node *n)
{
    const rlx_attr *offset = rlx_ir_attr(n, RLX_ATTR_OFFSET),
                   *bytes = rlx_ir_attr(n, RLX_ATTR_BYTES);
    RLX_IR_REQUIRE(s->m, n, "P5", offset && bytes, "has no place; plan_memory has not run");
    int64_t size;
    RLX_TRY(size_of(s, n, &size));
    RLX_IR_REQUIRE(s->m, n, "P5", size <= bytes->i, "has %" PRId64 " bytes, needs %" PRId64,
                   bytes->i, size);
    RLX_IR_REQUIRE(s->m, n, "P6",
                   offset->i >= 0 && offset->i <= fr->bytes && bytes->i <= fr->bytes - offset->i,
                   "bytes %" PRId64 "..%" PRId64
                   " lie outside the frame of @%s, which has %" PRId64,
                   offset->i, offset->i + bytes->i, fr->f->name, fr->bytes);
    instance *b = make_instance(s, n->out[0]);
    if (!b)
        return RLX_OOM();
    b->lo = fr->base + offset->i;
    b->hi = b->lo + bytes->i;
    fr->temp_values[fr->ntemps] = n->out[0];
    fr->temps[fr->ntemps++] = b;
    return RLX_OK;
}

static instance *find(const frame *fr, const rlx_ir_value *v)
{
    if (!v->def)
        return fr->args[v->index];
    int i = 0;
    while (fr->temp_values[i] != v)
        i++;
    return fr->temps[i];
}

static bool same_phase(const rlx_ir_node *a, const rlx_ir_node *b)
{
    return a->op == RLX_LIR_LAUNCH && b && b->op == RLX_LIR_LAUNCH &&
           rlx_ir_attr_int(a, RLX_ATTR_PHASE, 0) == rlx_ir_attr_int(b, RLX_ATTR_PHASE, 0);
}

/* The launch after n, past temps. */
static const rlx_ir_node *next_op(const rlx_ir_node *n)
{
    do
        n = n->next;
    while (n && n->op == RLX_LIR_TEMP);
    return n;
}

/* Launches first..last make one phase. */
static rlx_status check_phase(sim *s, const frame *fr, const rlx_ir_node *first,
                              const rlx_ir_node *last)
{
    for (const rlx_ir_node *x = first;; x = next_op(x)) {
        const unsigned char *flags = flags_of(s, rlx_lir_callee(s->m, x));
        for (int i = 0; i < x->nin; i++) {
            if (flags[i] & READS)
                RLX_TRY(read_buffer(s, find(fr, x->in[i]), x));
            for (const rlx_ir_node *y = first;; y = next_op(y)) {
                const unsigned char *others = flags_of(s, rlx_lir_callee(s->m, y));
                for (int j = 0; j < (y == x ? i : y->nin); j++)
                    RLX_TRY(check_pair(s, y, find(fr, y->in[j]), others[j], x, find(fr, x->in[i]),
                                       flags[i]));
                if (y == x)
                    break;
            }
        }
        if (x == last)
            break;
    }
    for (const rlx_ir_node *x = first;; x = next_op(x)) {
        const unsigned char *flags = flags_of(s, rlx_lir_callee(s->m, x));
        for (int i = 0; i < x->nin; i++) {
            if (flags[i] & WRITES)
                RLX_TRY(write_buffer(s, find(fr, x->in[i]), x));
        }
        if (x == last)
            return RLX_OK;
    }
}

static rlx_status run_func(sim *s, frame *fr);

/* One of a call's repetitions: VALUEs and OUTs as they stand, the rest made here. */
static rlx_status run_callee(sim *s, const rlx_ir_node *n, const frame *fr, instance **values,
                             instance **outs)
{
    const rlx_ir_func *f = rlx_lir_callee(s->m, n);
    frame inner = {.f = f,
                   .base = fr->base + rlx_ir_attr_int(n, RLX_ATTR_OFFSET, 0),
                   .bytes = rlx_ir_attr_int(n, RLX_ATTR_BYTES, 0)};
    inner.args = RLX_NEW_ARRAY(s->arena, instance *, f->body->nargs);
    for (int i = 0, v = 0, o = 0; i < f->body->nargs; i++) {
        if (!inner.args)
            return RLX_OOM();
        if (f->arg_info[i].role == RLX_ROLE_VALUE) {
            RLX_TRY(read_buffer(s, values[v], n));
            inner.args[i] = values[v++];
        } else if (f->arg_info[i].role == RLX_ROLE_OUT) {
            inner.args[i] = outs[o++];
            inner.args[i]->written = false; /* what an earlier repetition left is not this one's */
        } else {
            instance *b = inner.args[i] = make_instance(s, f->body->args[i]);
            if (!b)
                return RLX_OOM();
            b->external = b->written = true;
        }
    }
    RLX_TRY_NOTE(run_func(s, &inner), "in the call of @%s", f->name);
    return RLX_OK;
}

static int count_role(const rlx_ir_func *f, rlx_role role)
{
    int n = 0;
    for (int i = 0; i < f->body->nargs; i++)
        n += f->arg_info[i].role == role;
    return n;
}

static rlx_status run_call(sim *s, const frame *fr, const rlx_ir_node *n)
{
    const rlx_ir_func *f = rlx_lir_callee(s->m, n);
    const rlx_attr *offset = rlx_ir_attr(n, RLX_ATTR_OFFSET),
                   *bytes = rlx_ir_attr(n, RLX_ATTR_BYTES);
    RLX_IR_REQUIRE(s->m, n, "P5", offset && bytes, "has no place; plan_memory has not run");
    RLX_IR_REQUIRE(s->m, n, "P6",
                   offset->i >= 0 && offset->i <= fr->bytes && bytes->i <= fr->bytes - offset->i,
                   "the callee's frame lies outside that of @%s", fr->f->name);
    int nvalues = count_role(f, RLX_ROLE_VALUE), nouts = count_role(f, RLX_ROLE_OUT);
    instance **in = RLX_NEW_ARRAY(s->arena, instance *, n->nin + nvalues);
    if (!in)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        in[i] = find(fr, n->in[i]);
    for (int i = 0; i < n->nin; i++) {
        for (int j = nvalues; j < i; j++)
            RLX_TRY(check_pair(s, n, in[j], WRITES, n, in[i], WRITES));
        for (int j = 0; j < nvalues && i >= nvalues; j++)
            RLX_TRY(check_pair(s, n, in[j], READS, n, in[i], WRITES));
    }
    instance **values = in + n->nin;
    memcpy(values, in, sizeof *values * (size_t)nvalues);
    /* From the third repetition on every other one does the same: five show all there is. */
    int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    count = count <= 5 ? count : 4 + count % 2;
    for (int64_t k = 0; k < count; k++) {
        instance **outs = in + nvalues + ((count - 1 - k) % 2 ? nouts : 0);
        RLX_TRY(run_callee(s, n, fr, values, outs));
        for (int i = 0; k + 1 < count && i < nouts; i++)
            values[i] = outs[i];
    }
    return RLX_OK;
}

static rlx_status run_func(sim *s, frame *fr)
{
    int count = 0;
    for (const rlx_ir_node *n = fr->f->body->first; n; n = n->next)
        count += n->op == RLX_LIR_TEMP;
    fr->temps = RLX_NEW_ARRAY(s->arena, instance *, count);
    fr->temp_values = RLX_NEW_ARRAY(s->arena, const rlx_ir_value *, count);
    if (count && (!fr->temps || !fr->temp_values))
        return RLX_OOM();
    for (const rlx_ir_node *n = fr->f->body->first; n; n = n->next) {
        if (n->op == RLX_LIR_TEMP)
            RLX_TRY(make_temp(s, fr, n));
    }
    for (const rlx_ir_node *n = fr->f->body->first; n; n = n->next) {
        if (n->op == RLX_LIR_CALL)
            RLX_TRY(run_call(s, fr, n));
        if (n->op != RLX_LIR_LAUNCH)
            continue;
        const rlx_ir_node *last = n;
        while (same_phase(last, next_op(last)))
            last = next_op(last);
        RLX_TRY(check_phase(s, fr, n, last));
        n = last;
    }
    for (int i = 0; i < fr->f->body->nargs; i++) {
        if (fr->f->arg_info[i].role == RLX_ROLE_OUT && !fr->args[i]->written)
            return RLX_FAIL(RLX_INVALID_IR, "plan P7: @%s never writes its OUT argument %d",
                            fr->f->name, i);
    }
    return RLX_OK;
}

/* ---- the lower bound
 * ------------------------------------------------------------------------------- */

static bool uses(const rlx_ir_node *n, const rlx_ir_value *v)
{
    for (int i = 0; i < n->nin; i++) {
        if (n->in[i] == v)
            return true;
    }
    return false;
}

/* Whether some op in the phase of `at`, or on that side of it, uses v. */
static bool used_from(const rlx_ir_node *at, const rlx_ir_value *v, bool forward)
{
    const rlx_ir_node *n = at;
    for (const rlx_ir_node *k = forward ? at->prev : at->next; k; k = forward ? k->prev : k->next) {
        if (k->op == RLX_LIR_TEMP)
            continue;
        if (!same_phase(at, k))
            break;
        n = k; /* the phase's end on the other side */
    }
    for (; n; n = forward ? n->next : n->prev) {
        if (uses(n, v))
            return true;
    }
    return false;
}

/* Most bytes that must exist at once in a function: temps that were used and will be, in units of
 * the alignment, and what a callee needs. */
static rlx_status least_bytes(sim *s, const rlx_ir_func *f, int64_t *out)
{
    *out = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op != RLX_LIR_LAUNCH && n->op != RLX_LIR_CALL)
            continue;
        int64_t live = 0, size;
        if (n->op == RLX_LIR_CALL)
            RLX_TRY(least_bytes(s, rlx_lir_callee(s->m, n), &live));
        for (const rlx_ir_node *t = f->body->first; t; t = t->next) {
            if (t->op != RLX_LIR_TEMP || !used_from(n, t->out[0], true) ||
                !used_from(n, t->out[0], false))
                continue;
            RLX_TRY(size_of(s, t, &size));
            live += (size + RLX_LIR_ALIGN - 1) & ~(int64_t)(RLX_LIR_ALIGN - 1);
        }
        *out = live > *out ? live : *out;
    }
    return RLX_OK;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------- */

static rlx_status run_entry(sim *s, const rlx_ir_func *f, rlx_lir_plan_report *report)
{
    int64_t end = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        int64_t e = rlx_ir_attr_int(n, RLX_ATTR_OFFSET, 0) + rlx_ir_attr_int(n, RLX_ATTR_BYTES, 0);
        end = e > end ? e : end;
    }
    frame fr = {.f = f, .bytes = end};
    fr.args = RLX_NEW_ARRAY(s->arena, instance *, f->body->nargs);
    for (int i = 0; i < f->body->nargs; i++) {
        instance *b = fr.args ? make_instance(s, f->body->args[i]) : NULL;
        if (!b)
            return RLX_OOM();
        b->external = true;
        b->written = f->arg_info[i].role != RLX_ROLE_OUT;
        fr.args[i] = b;
    }
    RLX_TRY(collect_kernels(s));
    RLX_TRY(run_func(s, &fr));
    report->arena_bytes = end;
    return least_bytes(s, f, &report->lower_bound);
}

rlx_status rlx_lir_check_plan(const rlx_ir_module *m, const char *entry, const int64_t *upper,
                              rlx_lir_plan_report *report)
{
    *report = (rlx_lir_plan_report){0};
    const rlx_ir_func *f = rlx_ir_func_find(m, entry);
    if (!f || f->is_kernel)
        return RLX_FAIL(RLX_NOT_FOUND, "module @%s has no tape function @%s", m->name, entry);
    sim s = {.m = m, .upper = upper, .arena = rlx_arena_create()};
    if (!s.arena)
        return RLX_OOM();
    rlx_status st = run_entry(&s, f, report);
    free(s.ranges);
    free(s.instances);
    rlx_arena_destroy(s.arena);
    return rlx_status_note(st, __FILE__, __LINE__, "checking the memory plan of @%s", entry);
}
