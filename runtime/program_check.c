/* runtime/program_check.c: what running a program relies on.
 *
 *   P1  kernels have a name, at most 64 buffers, sane team memory; costs are by a symbol that is
 *       there, none is negative, and none is more at 1 than at the symbol's upper bound. No two
 *       kernels or parts of a program with parts have the same name; parts have nothing else but
 *       code, which is an ELF object.
 *   P2  functions' ops follow one another and fill their table; arguments lie inside theirs.
 *   P3  functions call only lower-numbered ones, at most 32 deep; the whole tape comes to at
 *       most 2^20 launches and calls.
 *   P4  a launch gives its kernel as many buffers as it takes.
 *   P5  a call gives its callee's VALUEs and OUTs, and spares when it repeats; a repeated function
 *       has at least as many VALUEs as OUTs.
 *   P6  a frame argument lies inside its function's frame, a parameter inside its function's list,
 *       a symbol inside the bound tensors. No symbol is an OUT or a spare.
 *   P7  frames, those of callees included, fit the arena; offsets and sizes are multiples of 64.
 *   P8  the last function is the entry: its parameters are the outputs, all OUT, in the arena, behind its frame, which
 *       includes those of callees, and one behind another: on a device each is memory of its own.
 *   P9  tensors: rank, format, size at the bucket's upper bounds; weights have constant dims; a
 *       state grows along its first dim only; "{}" once at most, where a layer index is known.
 */
#include "runtime/program_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 64, MAX_DEPTH = 32, MAX_STEPS = 1 << 20, MAX_PARAMS = 4096, ALIGN = 64 };

#define MAX_BYTES ((int64_t)1 << 48)
#define MAX_TEAM_BYTES ((int64_t)1 << 30)

typedef struct func_facts {
    int64_t extent; /* bytes from its frame base that it and its callees use */
    int64_t steps;  /* launches and calls, with repetitions */
    int depth;      /* functions on a path of calls */
} func_facts;

typedef struct checker {
    const rlx_program *p;
    const rlx_program_extent *sections;
    func_facts *facts;
} checker;

static const char *const section_names[] = {"symbol", "dim", "kernel",   "function", "bound tensor",
                                            "output", "op",  "argument", "string",   "code"};

static rlx_status bad(const checker *c, int line, rlx_program_section s, size_t i, const char *fmt,
                      ...) RLX_PRINTF(5, 6);

static rlx_status bad(const checker *c, int line, rlx_program_section s, size_t i, const char *fmt,
                      ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return rlx_status_make(RLX_INVALID_FILE, __FILE__, line, "%s %zu at byte %zu: %s",
                           section_names[s], i,
                           c->sections[s].start + i * c->sections[s].record_bytes, what);
}

#define BAD(section, i, ...) bad(c, __LINE__, RLX_SECTION_##section, (i), __VA_ARGS__)

/* ---- tensors -------------------------------------------------------------------------------- */

/* P9: bytes at the upper bounds. */
static rlx_status tensor_bytes(const checker *c, rlx_program_section s, size_t i,
                               const rlx_program_tensor *t, int64_t *bytes)
{
    const rlx_format_info *info = rlx_format_get(t->format);
    int64_t elems = 1;
    for (int d = 0; d < t->rank; d++) {
        int64_t extent = rlx_dim_upper(c->p->dims, t->dim[d], c->p->upper);
        if (extent < 0 || __builtin_mul_overflow(elems, extent, &elems) || elems > MAX_BYTES)
            return bad(c, __LINE__, s, i, "P9: '%s' is too large", t->name);
    }
    int64_t last = t->rank ? rlx_dim_upper(c->p->dims, t->dim[t->rank - 1], c->p->upper) : 1;
    if (last % info->block_elems)
        return bad(c, __LINE__, s, i, "P9: rows of '%s' are no whole blocks of %s", t->name,
                   info->name);
    if (__builtin_mul_overflow(elems / info->block_elems, info->block_bytes, bytes) ||
        *bytes > MAX_BYTES)
        return bad(c, __LINE__, s, i, "P9: '%s' is too large", t->name);
    return RLX_OK;
}

static rlx_status check_bound(const checker *c)
{
    for (uint32_t i = 0; i < c->p->nbound; i++) {
        const rlx_program_tensor *t = &c->p->bound[i];
        int64_t bytes;
        RLX_TRY(tensor_bytes(c, RLX_SECTION_BOUND, i, t, &bytes));
        for (int d = t->kind == RLX_BIND_STATE ? 1 : 0; d < t->rank; d++)
            if (t->kind != RLX_BIND_INPUT && !rlx_dim_is_const(t->dim[d]))
                return BAD(BOUND, i, "P9: axis %d of '%s' is not constant", d, t->name);
        if (t->kind == RLX_BIND_STATE && t->rank && !rlx_dim_is_const(t->dim[0]) &&
            rlx_dim_get(c->p->dims, t->dim[0]).op != RLX_DIM_SYMBOL)
            return BAD(BOUND, i, "P9: '%s' grows by an expression, not a symbol", t->name);
        const char *hole = strstr(t->name, "{}");
        if (hole && strstr(hole + 2, "{}"))
            return BAD(BOUND, i, "P9: '%s' has more than one {}", t->name);
        if (hole && t->kind == RLX_BIND_INPUT)
            return BAD(BOUND, i, "P9: input '%s' has a {}", t->name);
    }
    return RLX_OK;
}

static rlx_status check_outputs(const checker *c)
{
    for (uint32_t i = 0; i < c->p->noutputs; i++) {
        const rlx_program_tensor *t = &c->p->outputs[i];
        int64_t bytes;
        RLX_TRY(tensor_bytes(c, RLX_SECTION_OUTPUTS, i, t, &bytes));
        if (t->offset < 0 || t->offset % ALIGN || t->offset > c->p->arena_bytes ||
            bytes > c->p->arena_bytes - t->offset)
            return BAD(OUTPUTS, i, "P8: '%s', %lld bytes at %lld, in an arena of %lld", t->name,
                       (long long)bytes, (long long)t->offset, (long long)c->p->arena_bytes);
    }
    return RLX_OK;
}

/* ---- the tape ------------------------------------------------------------------------------- */

/* P6; `writes`: an OUT or a spare. */
static rlx_status check_arg(const checker *c, uint32_t func, uint32_t i, bool writes)
{
    const rlx_program_arg *a = &c->p->args[i];
    const rlx_program_func *f = &c->p->funcs[func];
    switch (a->kind) {
    case RLX_ARG_FRAME:
        if (a->offset < 0 || a->offset > f->frame_bytes || a->offset % ALIGN)
            return BAD(ARGS, i, "P6: frame offset %lld in a frame of %lld bytes",
                       (long long)a->offset, (long long)f->frame_bytes);
        return RLX_OK;
    case RLX_ARG_PARAM:
        if (a->index >= f->nparams)
            return BAD(ARGS, i, "P6: parameter %u of %u", a->index, f->nparams);
        return RLX_OK;
    case RLX_ARG_SYMBOL:
        if (a->index >= c->p->nbound)
            return BAD(ARGS, i, "P6: bound tensor %u of %u", a->index, c->p->nbound);
        if (writes)
            return BAD(ARGS, i, "P6: '%s' is where a call writes", c->p->bound[a->index].name);
        if (func + 1 == c->p->nfuncs && strstr(c->p->bound[a->index].name, "{}"))
            return BAD(ARGS, i, "P9: '%s' in the entry function, which has no layer index",
                       c->p->bound[a->index].name);
        return RLX_OK;
    }
    return BAD(ARGS, i, "P6: kind %d", (int)a->kind);
}

static rlx_status check_launch(const checker *c, uint32_t i)
{
    const rlx_program_op *op = &c->p->ops[i];
    if (op->target >= c->p->nkernels)
        return BAD(OPS, i, "P4: kernel %u of %u", op->target, c->p->nkernels);
    if (op->nargs != c->p->kernels[op->target].nbuffers)
        return BAD(OPS, i, "P4: kernel %s takes %u buffers, given %u",
                   c->p->kernels[op->target].name, c->p->kernels[op->target].nbuffers, op->nargs);
    return RLX_OK;
}

static rlx_status check_call(const checker *c, uint32_t func, uint32_t i)
{
    const rlx_program_op *op = &c->p->ops[i];
    if (op->target >= func)
        return BAD(OPS, i, "P3: function %u calls %u", func, op->target);
    const rlx_program_func *f = &c->p->funcs[op->target];
    if (op->count < 1 || op->first < 0 || op->first > INT32_MAX || op->count > INT32_MAX)
        return BAD(OPS, i, "P5: %lld layers from %lld", (long long)op->count, (long long)op->first);
    uint64_t spares = op->count > 1 ? f->nout : 0;
    if (op->nout != f->nout || op->nargs != f->nparams + spares)
        return BAD(OPS, i, "P5: %s has %u parameters, %u of them OUT; called with %u, %u", f->name,
                   f->nparams, f->nout, op->nargs, op->nout);
    if (op->count > 1 && f->nparams - f->nout < f->nout)
        return BAD(OPS, i, "P5: %s repeats with %u OUTs and %u VALUEs", f->name, f->nout,
                   f->nparams - f->nout);
    if (op->frame < 0 || op->frame % ALIGN || op->frame > c->p->arena_bytes)
        return BAD(OPS, i, "P7: frame at %lld", (long long)op->frame);
    return RLX_OK;
}

static rlx_status check_op(const checker *c, uint32_t func, uint32_t i)
{
    const rlx_program_op *op = &c->p->ops[i];
    if (op->kind != RLX_OP_LAUNCH && op->kind != RLX_OP_CALL)
        return BAD(OPS, i, "P2: kind %d", (int)op->kind);
    if (op->first_arg > c->p->nargs || op->nargs > c->p->nargs - op->first_arg)
        return BAD(OPS, i, "P2: %u arguments from %u, of %u", op->nargs, op->first_arg,
                   c->p->nargs);
    bool call = op->kind == RLX_OP_CALL;
    RLX_TRY(call ? check_call(c, func, i) : check_launch(c, i));
    uint32_t values = call ? c->p->funcs[op->target].nparams - op->nout : op->nargs;
    for (uint32_t a = 0; a < op->nargs; a++)
        RLX_TRY(check_arg(c, func, op->first_arg + a, a >= values));
    return RLX_OK;
}

/* P3, P7: what a function comes to, callees known. */
static rlx_status simulate(const checker *c, uint32_t func)
{
    const rlx_program_func *f = &c->p->funcs[func];
    func_facts facts = {.extent = f->frame_bytes, .depth = 1};
    for (uint32_t i = f->first_op; i < f->first_op + f->nops; i++) {
        const rlx_program_op *op = &c->p->ops[i];
        if (op->kind == RLX_OP_LAUNCH) {
            facts.steps++;
        } else {
            const func_facts *callee = &c->facts[op->target];
            facts.steps += (callee->steps + 1) * op->count;
            if (op->frame + callee->extent > facts.extent)
                facts.extent = op->frame + callee->extent;
            if (callee->depth + 1 > facts.depth)
                facts.depth = callee->depth + 1;
        }
        if (facts.steps > MAX_STEPS)
            return BAD(OPS, i, "P3: more than %d launches and calls", MAX_STEPS);
    }
    if (facts.depth > MAX_DEPTH)
        return BAD(FUNCS, func, "P3: calls %d deep", facts.depth);
    if (facts.extent > c->p->arena_bytes)
        return BAD(FUNCS, func, "P7: frames of %lld bytes in an arena of %lld",
                   (long long)facts.extent, (long long)c->p->arena_bytes);
    c->facts[func] = facts;
    return RLX_OK;
}

static rlx_status check_func(const checker *c, uint32_t func)
{
    const rlx_program *p = c->p;
    const rlx_program_func *f = &p->funcs[func];
    uint32_t next = func ? p->funcs[func - 1].first_op + p->funcs[func - 1].nops : 0;
    bool last = func + 1 == p->nfuncs;
    if (f->first_op != next || f->nops > p->nops - next || (last && f->nops != p->nops - next))
        return BAD(FUNCS, func, "P2: %u ops from %u, expected from %u of %u", f->nops, f->first_op,
                   next, p->nops);
    if (f->nout > f->nparams || f->nparams > MAX_PARAMS)
        return BAD(FUNCS, func, "P2: %u parameters, %u of them OUT", f->nparams, f->nout);
    if (f->frame_bytes < 0 || f->frame_bytes % ALIGN || f->frame_bytes > p->arena_bytes)
        return BAD(FUNCS, func, "P7: a frame of %lld bytes in an arena of %lld",
                   (long long)f->frame_bytes, (long long)p->arena_bytes);
    for (uint32_t i = 0; i < f->nops; i++)
        RLX_TRY(check_op(c, func, f->first_op + i));
    return simulate(c, func);
}

/* P8: what the entry's frame is and what is output lie apart. */
static rlx_status check_entry_frame(const checker *c)
{
    const uint32_t last = c->p->nfuncs - 1;
    const int64_t frame = c->p->funcs[last].frame_bytes;
    if (c->facts[last].extent != frame)
        return BAD(FUNCS, last, "P8: the entry's frame has %lld bytes, with its callees' %lld",
                   (long long)frame, (long long)c->facts[last].extent);
    int64_t end = frame, bytes;
    for (uint32_t i = 0; i < c->p->noutputs; i++) {
        const rlx_program_tensor *t = &c->p->outputs[i];
        RLX_TRY(tensor_bytes(c, RLX_SECTION_OUTPUTS, i, t, &bytes));
        if (t->offset >= frame && t->offset < end)
            return BAD(OUTPUTS, i, "P8: '%s' at %lld begins before the one before it ends, at %lld",
                       t->name, (long long)t->offset, (long long)end);
        end = t->offset + bytes;
        if (t->offset < frame)
            return BAD(OUTPUTS, i, "P8: '%s' at %lld, inside the entry's frame of %lld bytes",
                       t->name, (long long)t->offset, (long long)frame);
    }
    return RLX_OK;
}

static rlx_status check_tape(const checker *c)
{
    const rlx_program *p = c->p;
    if (p->nfuncs == 0)
        return BAD(FUNCS, 0, "P8: no entry function");
    const rlx_program_func *entry = &p->funcs[p->nfuncs - 1];
    if (entry->nparams != p->noutputs || entry->nout != p->noutputs)
        return BAD(FUNCS, p->nfuncs - 1, "P8: the entry has %u parameters, %u OUT, for %u outputs",
                   entry->nparams, entry->nout, p->noutputs);
    for (uint32_t i = 0; i < p->nfuncs; i++)
        RLX_TRY(check_func(c, i));
    return check_entry_frame(c);
}

/* P1 */
static rlx_status check_cost(const checker *c, uint32_t i)
{
    const rlx_program_kernel *k = &c->p->kernels[i];
    const bool constant = k->cost.symbol == RLX_NO_SYMBOL;
    if (!constant && k->cost.symbol >= (uint32_t)rlx_dim_symbol_count(c->p->dims))
        return BAD(KERNELS, i, "P1: %s costs by symbol %u", k->name, k->cost.symbol);
    const struct {
        const char *what;
        const int64_t *ends;
    } costs[] = {{"bytes", k->cost.bytes}, {"operations", k->cost.operations}};
    for (int n = 0; n < 2; n++) {
        const int64_t *ends = costs[n].ends;
        if (ends[0] < 0 || ends[1] < 0 || (!constant && ends[0] > ends[1]))
            return BAD(KERNELS, i, "P1: %s costs %lld to %lld %s", k->name, (long long)ends[0],
                       (long long)ends[1], costs[n].what);
    }
    return RLX_OK;
}

/* As cuTensorMapEncodeTiled wants them; coordinates of boxes are i32. */
static rlx_status check_maps(const checker *c, uint32_t i)
{
    enum { STRIDE = 16, WIDEST = 128, LEAST = 32, BOX = 256 };
    static const int64_t most = (int64_t)1 << 31;
    const rlx_program_kernel *k = &c->p->kernels[i];
    if (k->nmaps > (c->p->code_kind == RLX_CODE_PTX ? RLX_PROGRAM_MAPS : 0))
        return BAD(KERNELS, i, "P1: %s has tensor maps", k->name);
    for (uint32_t j = 0; j < k->nmaps; j++) {
        const rlx_program_map *m = &k->maps[j];
        const bool fits = m->buffer < k->nbuffers && (m->bytes == 1 || m->bytes == 2) &&
                          m->columns > 0 && m->columns < most && m->rows >= 0 && m->rows < most &&
                          m->columns * m->bytes % STRIDE == 0 && m->box_rows > 0 &&
                          m->box_rows <= BOX && m->box_columns <= WIDEST;
        const uint32_t row = fits ? m->box_columns * m->bytes : 0;
        if (!fits || row < LEAST || row > WIDEST || (row & (row - 1)))
            return BAD(KERNELS, i, "P1: %s has a tensor map that is none", k->name);
    }
    return RLX_OK;
}

static rlx_status check_part(const checker *c, uint32_t i)
{
    const rlx_program_kernel *k = &c->p->kernels[i];
    const rlx_program_cost *cost = &k->cost;
    const bool elf =
        c->p->code_kind == RLX_CODE_X86_64_ELF || c->p->code_kind == RLX_CODE_AARCH64_ELF;
    const bool step = c->p->code_kind == RLX_CODE_PTX && !strcmp(k->name, RLX_PROGRAM_STEP);
    bool empty = !k->nbuffers && !k->team_bytes && !k->nmaps && cost->symbol == RLX_NO_SYMBOL;
    for (int at = 0; at < 2; at++)
        empty &= !cost->bytes[at] && !cost->operations[at];
    for (int axis = 0; axis < RLX_PROGRAM_GRID; axis++)
        empty &= !k->grid[axis];
    if (!elf && !step)
        return BAD(KERNELS, i, "P1: the part %s in code of kind %d", k->name, (int)c->p->code_kind);
    if (!empty || !k->code_bytes)
        return BAD(KERNELS, i, "P1: the part %s has more than a name and code, or none", k->name);
    return RLX_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const rlx_program_kernel *const *)a)->name,
                  (*(const rlx_program_kernel *const *)b)->name);
}

/* The loader tells them apart by their names. */
static rlx_status check_names(const checker *c)
{
    const uint32_t n = c->p->nparts ? c->p->nkernels + c->p->nparts : 0;
    const rlx_program_kernel **sorted = malloc(sizeof(*sorted) * (n + 1));
    rlx_status st = RLX_OK;
    if (!sorted)
        return RLX_OOM();
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &c->p->kernels[i];
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (uint32_t i = 1; i < n && !st; i++)
        if (!by_name(&sorted[i - 1], &sorted[i]))
            st = BAD(KERNELS, (size_t)(sorted[i] - c->p->kernels), "P1: two are named %s",
                     sorted[i]->name);
    free(sorted);
    return st;
}

static rlx_status check_kernels(const checker *c)
{
    for (uint32_t i = 0; i < c->p->nkernels + c->p->nparts; i++) {
        const rlx_program_kernel *k = &c->p->kernels[i];
        if (!k->name[0])
            return BAD(KERNELS, i, "P1: no name");
        if (i >= c->p->nkernels)
            RLX_TRY(check_part(c, i));
        if (k->nbuffers > MAX_BUFFERS)
            return BAD(KERNELS, i, "P1: %s takes %u buffers", k->name, k->nbuffers);
        if (k->team_bytes < 0 || k->team_bytes > MAX_TEAM_BYTES)
            return BAD(KERNELS, i, "P1: %s wants %lld bytes of team memory", k->name,
                       (long long)k->team_bytes);
        RLX_TRY(check_maps(c, i));
        RLX_TRY(check_cost(c, i));
    }
    return check_names(c);
}

rlx_status rlx_program_check(const rlx_program *p, const rlx_program_extent *sections)
{
    checker c = {.p = p, .sections = sections};
    if (p->arena_bytes < 0 || p->arena_bytes > MAX_BYTES)
        return RLX_FAIL(RLX_INVALID_FILE, "header: an arena of %lld bytes",
                        (long long)p->arena_bytes);
    RLX_TRY(check_kernels(&c));
    RLX_TRY(check_bound(&c));
    RLX_TRY(check_outputs(&c));
    c.facts = calloc(p->nfuncs ? p->nfuncs : 1, sizeof(*c.facts));
    if (!c.facts)
        return RLX_OOM();
    rlx_status st = check_tape(&c);
    free(c.facts);
    return st;
}
