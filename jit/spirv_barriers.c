#include "jit/spirv_barriers.h"

#include <stdlib.h>
#include <string.h>

/* Emitters put a barrier wherever one may be needed: on both sides of what goes through team memory or to a buffer. On a software
 * device each costs more than the instructions around it.
 *
 *   store, barrier, load, barrier, store, barrier    ->    store, barrier, load, barrier, store
 *
 * The body is cut at labels and barriers into segments. A barrier parts what may have run since the barriers before it from what may
 * run until those after it; where nothing in one conflicts with anything in the other, it goes.
 *
 * Arguments may share memory: buffers, and what lies behind addresses, count as one variable; team memory by its variables. */

enum { MAX_VARIABLES = 64, MAX_SUCCESSORS = 2 };
enum { NO_MEMORY, VARIABLE, ANYWHERE }; /* one of its variables; buffers, and what has addresses */

typedef struct segment {
    uint64_t loads, stores;             /* a bit for each variable */
    rlx_spirv_id label[MAX_SUCCESSORS]; /* of the blocks that follow; 0: none */
    size_t to[MAX_SUCCESSORS], nto;     /* segments */
    bool at_barrier;                    /* ends there: the next one follows */
    bool dropped;                       /* it is needed no more */
    int depth;                          /* loops around it */
    bool before, after;                 /* of the barrier that is looked at */
} segment;

typedef struct body {
    const uint32_t *words;
    size_t nwords;
    rlx_spirv_id bound; /* ids are below it */
    rlx_spirv_id *root; /* by id: the variable that a pointer points into; 0: itself */
    uint8_t *memory;    /* by id: of a pointer type, what it leads to; NO_MEMORY: it is none */
    int *number;        /* by variable: from 1, of one that is written; 0: nobody writes it */
    size_t *first;      /* by label: its segment */
    segment *segments;
    size_t n;
    int nwritten;
} body;

static SpvOp op_of(const uint32_t *w)
{
    return (SpvOp)(*w & SpvOpCodeMask);
}

static size_t length_of(const uint32_t *w)
{
    return *w >> SpvWordCountShift;
}

#define FOR_EACH_WORDS(words, n, w) \
    for (const uint32_t *w = (words); w < (words) + (n); w += length_of(w))
#define FOR_EACH_INSTRUCTION(b, w) FOR_EACH_WORDS((b)->words, (b)->nwords, w)

/* ---- accesses ---- */

/* The root of what lies anywhere: no id. */
static rlx_spirv_id anywhere(const body *b)
{
    return b->bound;
}

/* What the pointer that an instruction makes leads to. */
static int memory_of(const body *b, const uint32_t *w)
{
    return length_of(w) > 2 && w[1] < b->bound ? b->memory[w[1]] : NO_MEMORY;
}

/* The variable behind a pointer. */
static rlx_spirv_id root_of(const body *b, rlx_spirv_id pointer)
{
    return pointer < b->bound && b->root[pointer] ? b->root[pointer] : pointer;
}

static bool is_atomic(SpvOp op)
{
    return op >= SpvOpAtomicLoad && op <= SpvOpAtomicXor;
}

/* The pointer through which an instruction goes; 0: it does not. */
static rlx_spirv_id pointer_of(const uint32_t *w)
{
    const SpvOp op = op_of(w);
    if (op == SpvOpStore || op == SpvOpAtomicStore || op == (SpvOp)RLX_SPIRV_MATRIX_STORE)
        return w[1];
    return op == SpvOpLoad || op == (SpvOp)RLX_SPIRV_MATRIX_LOAD || is_atomic(op) ? w[3] : 0;
}

/* Whether an access only reads, or only writes. */
static bool only_loads(const uint32_t *w)
{
    return op_of(w) == SpvOpLoad || op_of(w) == (SpvOp)RLX_SPIRV_MATRIX_LOAD;
}

static bool only_stores(const uint32_t *w)
{
    return op_of(w) == SpvOpStore || op_of(w) == (SpvOp)RLX_SPIRV_MATRIX_STORE;
}

/* Instructions that may touch memory in other ways, or go where nothing here follows. */
static bool is_unknown(SpvOp op)
{
    return op == SpvOpCopyMemory || op == SpvOpCopyMemorySized || op == SpvOpFunctionCall ||
           op == SpvOpSwitch || op == SpvOpPtrAccessChain || op == SpvOpInBoundsAccessChain ||
           (op > SpvOpSUDotAccSat &&
            (op < (SpvOp)RLX_SPIRV_MATRIX_LOAD || op > (SpvOp)RLX_SPIRV_MATRIX_MULADD));
}

static void put_pointer(body *b, const uint32_t *w)
{
    if (memory_of(b, w) == ANYWHERE)
        b->root[w[2]] = anywhere(b);
    else if (op_of(w) == SpvOpAccessChain)
        b->root[w[2]] = root_of(b, w[3]);
}

/* Pointers' types, variables, and pointers that are made before the body. */
static void find_pointers(body *b, const rlx_text *section)
{
    const uint32_t *words = (const uint32_t *)(const void *)section->data;
    FOR_EACH_WORDS(words, section->len / sizeof *words, w)
    {
        if (op_of(w) == SpvOpTypePointer) {
            const bool far = w[2] == SpvStorageClassPhysicalStorageBuffer;
            b->memory[w[1]] = far || w[2] == SpvStorageClassStorageBuffer ? ANYWHERE : VARIABLE;
        } else {
            put_pointer(b, w);
        }
    }
}

/* The variables that are written; false: the body has what is not known here, pointers that are no
 * chain's among it. */
static bool find_variables(body *b)
{
    FOR_EACH_INSTRUCTION(b, w)
    {
        const SpvOp op = op_of(w);
        if (is_unknown(op) || (memory_of(b, w) && op != SpvOpAccessChain))
            return false;
        put_pointer(b, w);
        if (only_loads(w) || !pointer_of(w))
            continue;
        int *number = &b->number[root_of(b, pointer_of(w))];
        if (!*number)
            *number = ++b->nwritten;
    }
    return b->nwritten <= MAX_VARIABLES;
}

static void add_access(const body *b, const uint32_t *w, segment *s)
{
    const rlx_spirv_id pointer = pointer_of(w);
    const int number = pointer ? b->number[root_of(b, pointer)] : 0;
    if (number && !only_stores(w))
        s->loads |= (uint64_t)1 << (number - 1);
    if (number && !only_loads(w))
        s->stores |= (uint64_t)1 << (number - 1);
}

/* ---- segments ---- */

static size_t count_segments(const body *b)
{
    size_t n = 1;
    FOR_EACH_INSTRUCTION(b, w)
    n += op_of(w) == SpvOpLabel || op_of(w) == SpvOpControlBarrier;
    return n;
}

static void cut(body *b)
{
    segment *s = b->segments;
    rlx_spirv_id merge[64]; /* of the loops around */
    int depth = 0;
    FOR_EACH_INSTRUCTION(b, w)
    {
        const SpvOp op = op_of(w);
        if (op == SpvOpLabel || op == SpvOpControlBarrier) {
            s->at_barrier = op == SpvOpControlBarrier;
            s++;
        }
        if (op == SpvOpLabel) {
            b->first[w[1]] = (size_t)(s - b->segments);
            depth -= depth && depth <= 64 && merge[depth - 1] == w[1];
        }
        if (op == SpvOpLoopMerge && depth++ < 64)
            merge[depth - 1] = w[1];
        s->depth = depth;
        if (op == SpvOpBranch)
            s->label[0] = w[1];
        if (op == SpvOpBranchConditional)
            memcpy(s->label, w + 2, sizeof s->label);
        add_access(b, w, s);
    }
}

static void link_segments(body *b)
{
    for (size_t i = 0; i < b->n; i++)
        for (int k = 0; k < MAX_SUCCESSORS && b->segments[i].label[k]; k++)
            b->segments[i].to[b->segments[i].nto++] = b->first[b->segments[i].label[k]];
}

/* ---- barriers ---- */

/* The segment that follows without a barrier, beside those of `to`; the segment itself: none. */
static size_t beyond(const body *b, size_t i)
{
    return b->segments[i].at_barrier && b->segments[i].dropped ? i + 1 : i;
}

/* Spreads from the segment that is marked to all that come before it, or after it. */
static void spread_before(const body *b)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = b->n; i-- > 0;) {
            segment *s = &b->segments[i];
            bool reached = b->segments[beyond(b, i)].before;
            for (size_t k = 0; k < s->nto; k++)
                reached |= b->segments[s->to[k]].before;
            more |= reached && !s->before;
            s->before |= reached;
        }
    }
}

static void spread_after(const body *b)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < b->n; i++) {
            segment *s = &b->segments[i];
            if (!s->after)
                continue;
            for (size_t k = 0; k <= s->nto; k++) {
                segment *next = &b->segments[k < s->nto ? s->to[k] : beyond(b, i)];
                more |= !next->after;
                next->after = true;
            }
        }
    }
}

static bool is_needed(const body *b, size_t barrier)
{
    uint64_t loads[2] = {0}, stores[2] = {0};
    for (size_t i = 0; i < b->n; i++)
        b->segments[i].before = b->segments[i].after = false;
    b->segments[barrier].before = b->segments[barrier + 1].after = true;
    spread_before(b);
    spread_after(b);
    for (size_t i = 0; i < b->n; i++) {
        const segment *s = &b->segments[i];
        loads[0] |= s->before ? s->loads : 0;
        stores[0] |= s->before ? s->stores : 0;
        loads[1] |= s->after ? s->loads : 0;
        stores[1] |= s->after ? s->stores : 0;
    }
    return (stores[0] & (loads[1] | stores[1])) || (loads[0] & stores[1]);
}

static void drop(body *b)
{
    int deepest = 0;
    for (size_t i = 0; i < b->n; i++)
        deepest = b->segments[i].depth > deepest ? b->segments[i].depth : deepest;
    for (int depth = deepest; depth >= 0; depth--)
        for (size_t i = 0; i < b->n; i++) {
            segment *s = &b->segments[i];
            if (s->at_barrier && s->depth == depth)
                s->dropped = !is_needed(b, i);
        }
}

static void write_body(const body *b, rlx_text *out)
{
    const segment *s = b->segments;
    FOR_EACH_INSTRUCTION(b, w)
    {
        const SpvOp op = op_of(w);
        if (op != SpvOpControlBarrier || !s->dropped)
            rlx_text_put_bytes(out, w, length_of(w) * sizeof *w);
        s += op == SpvOpLabel || op == SpvOpControlBarrier;
    }
}

static void drop_from(body *b, rlx_spirv_module *m)
{
    rlx_text kept = {0};
    cut(b);
    link_segments(b);
    drop(b);
    write_body(b, &kept);
    rlx_text_deinit(&m->section[RLX_SPIRV_BODY]);
    m->section[RLX_SPIRV_BODY] = kept;
}

void rlx_spirv_drop_barriers(rlx_spirv_module *m)
{
    const rlx_text *text = &m->section[RLX_SPIRV_BODY];
    if (text->oom || !text->len || m->section[RLX_SPIRV_GLOBALS].oom ||
        m->section[RLX_SPIRV_ENTRY].oom)
        return;
    body b = {.words = (const uint32_t *)(const void *)text->data,
              .nwords = text->len / sizeof(uint32_t),
              .bound = m->last + 1};
    b.n = count_segments(&b);
    b.root = calloc(b.bound, sizeof *b.root);
    b.memory = calloc(b.bound, sizeof *b.memory);
    b.number = calloc((size_t)b.bound + 1, sizeof *b.number);
    b.first = calloc(b.bound, sizeof *b.first);
    b.segments = calloc(b.n, sizeof *b.segments);
    if (!b.root || !b.memory || !b.number || !b.first || !b.segments) {
        m->oom = true;
    } else {
        find_pointers(&b, &m->section[RLX_SPIRV_GLOBALS]);
        find_pointers(&b, &m->section[RLX_SPIRV_ENTRY]);
        if (find_variables(&b))
            drop_from(&b, m);
    }
    free(b.root);
    free(b.memory);
    free(b.number);
    free(b.first);
    free(b.segments);
}
