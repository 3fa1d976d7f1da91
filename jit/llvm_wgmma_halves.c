#include "jit/llvm_wgmma.h"

/* contract_rows by wgmma (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"; sm_90a alone).
 *
 *   m64nNk16: 64 columns (weights: A) x N rows (tokens: B), both from team memory, sums in registers
 *
 * Rows lie in team memory as the unit's swizzled layouts have them, which are those of rings (rlx_matrix_swizzle): so stages are multiplied where
 * copies put them, with no instruction but the unit's. What does not come through a ring goes to the exchange, the same way; of rows of more than 64
 * elements so many of all rows lie behind each other. Nothing is done to sums between multiplications: all of an op are begun together, and one wait ends them.
 *
 *   { rows -> exchange; fence.proxy.async; barrier }   unless they are in rings, shown to the unit by the wait for them
 *   for sides of 64 columns, for chunks of K { wgmma }; wait */

enum { HALF = 2, PANEL = RLX_EMIT_PANEL, OCTET = 8, SUMS = 4, ALIGN = 1024, MOST_N = 256 };

typedef struct operand {
    bool kept;               /* in a ring */
    int64_t rows, pitch;     /* bytes of one */
    int64_t base;            /* in the exchange */
    LLVMValueRef descriptor; /* of this invocation's first row, i64 */
} operand;

typedef struct halves {
    const rlx_ir_node *node;
    rlx_emit_fragments own;
    operand of[2]; /* tokens; weights */
    int64_t chunks;
    int n, sums; /* of a multiplication: tokens; all of an invocation */
    rlx_text code, constraints;
} halves;

/* Of short rows, if there is a swizzle of so many. */
static int64_t pitch_of(const rlx_ir_type *t)
{
    enum { SHORT = 32, TWICE = 64 };
    const int64_t bytes = t->dim[1] * HALF;
    return bytes == SHORT || bytes == TWICE ? bytes : PANEL;
}

static int64_t panels_bytes(const rlx_ir_type *t)
{
    const int64_t pitch = pitch_of(t);
    return (t->dim[1] * HALF + pitch - 1) / pitch * pitch * t->dim[0];
}

static void place(const rlx_emit *e, const rlx_ir_node *n, operand *of, int64_t *bytes)
{
    *bytes = 0;
    for (int i = 0; i < 2; i++) {
        const rlx_ir_type *t = &n->in[1 + i]->type;
        of[i] = (operand){.kept = rlx_emit_matrix_kept(e, n->in[1 + i]) != NULL,
                          .rows = t->dim[0],
                          .pitch = pitch_of(t),
                          .base = *bytes};
        if (of[i].kept)
            of[i].pitch = t->dim[1] * HALF;
        else
            *bytes += (panels_bytes(t) + ALIGN - 1) / ALIGN * ALIGN;
    }
}

int64_t rlx_emit_wgmma_halves_bytes(const rlx_emit *e, const rlx_ir_node *n)
{
    operand of[2];
    int64_t bytes;
    place(e, n, of, &bytes);
    return bytes;
}

/* Both operands where the unit reads them. */
static void put_operands(rlx_emit *e, halves *x)
{
    bool all_kept = true, copies = false;
    for (int i = 0; i < 2; i++) {
        const rlx_ir_value *v = x->node->in[1 + i];
        operand *o = &x->of[i];
        LLVMValueRef at, first = i ? x->own.column : x->own.row;
        all_kept &= o->kept;
        copies |= !o->kept && rlx_emit_matrix_is_copied(e, v);
        if (o->kept) {
            at = rlx_emit_rows_of(e, rlx_emit_matrix_kept(e, v), &v->type).at;
        } else {
            at = rlx_emit_offset(e, e->i8, e->exchange, rlx_emit_int(e->i64, o->base));
            rlx_emit_matrix_put_panels(e, v, at, o->pitch);
        }
        first = rlx_emit_mul(e->b, first, rlx_emit_int(e->i32, o->pitch));
        at = rlx_emit_offset(e, e->i8, at, LLVMBuildZExt(e->b, first, e->i64, ""));
        o->descriptor = rlx_emit_wgmma_rows(e, at, o->pitch);
    }
    if (all_kept)
        return;
    if (copies)
        e->engine->copies_end(e);
    rlx_emit_show_to_unit(e);
    e->engine->barrier(e);
}

/* The descriptor of chunk c, of rows so many further on. */
static LLVMValueRef descriptor_of(rlx_emit *e, const operand *o, int64_t c, int64_t rows,
                                  int64_t width)
{
    enum { UNIT = 16 };
    const int64_t byte = c * width * HALF, panel = o->pitch;
    const int64_t on = byte / panel * panel * o->rows + byte % panel + rows * o->pitch;
    return LLVMBuildAdd(e->b, o->descriptor, rlx_emit_int(e->i64, on / UNIT), "");
}

/* Operands of the assembly: sums, out and in; then for each multiplication weights and tokens. */
static rlx_status write_texts(halves *x, rlx_format f)
{
    rlx_text *t = &x->code;
    const char *name = rlx_format_get(f)->name;
    int at = 2 * x->sums, of_one = x->sums / (int)x->own.across;
    rlx_text_put(t, "{\n\t.reg .pred adds;\n\tsetp.eq.b32 adds, 0, 0;\n\t"
                    "wgmma.fence.sync.aligned;\n\t");
    for (int64_t side = 0; side < x->own.across; side++)
        for (int64_t c = 0; c < x->chunks; c++, at += 2) {
            rlx_text_putf(t, "wgmma.mma_async.sync.aligned.m64n%dk16.f32.%s.%s ", x->n, name, name);
            rlx_emit_put_registers(t, (int)side * of_one, of_one);
            rlx_text_putf(t, ", $%d, $%d, adds, 1, 1, 0, 0;\n\t", at, at + 1);
        }
    rlx_text_put(t, "wgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;\n\t}");
    for (int i = 0; i < x->sums; i++)
        rlx_text_put(&x->constraints, "=f,");
    for (int i = 0; i < x->sums; i++)
        rlx_text_putf(&x->constraints, "%d,", i);
    for (at -= 2 * x->sums; at > 0; at--)
        rlx_text_put(&x->constraints, "l,");
    rlx_text_put(&x->constraints, "~{memory}");
    return t->oom || x->constraints.oom ? RLX_OOM() : RLX_OK;
}

/* Sums lie side by side here, by fragments in a tile: `across` of each octet of tokens. */
static int part_of(const halves *x, int i)
{
    const int of_one = x->sums / (int)x->own.across, side = i / of_one, in = i % of_one;
    return (in / SUMS * (int)x->own.across + side) * SUMS + in % SUMS;
}

static rlx_status multiply(rlx_emit *e, halves *x, const rlx_emit_tile *acc, rlx_emit_tile *out)
{
    enum { TOLD = 4 };
    const rlx_format f = x->node->in[1]->type.format;
    const int64_t width = e->matrix->floats->k;
    const int all = TOLD + x->sums + 2 * (int)(x->own.across * x->chunks);
    LLVMValueRef args[RLX_WGMMA_ARGUMENTS];
    LLVMTypeRef of[RLX_WGMMA_ARGUMENTS];
    int n = 0;
    if (all > RLX_WGMMA_ARGUMENTS || x->n > MOST_N)
        return rlx_emit_unsupported(e, x->node, "more sums than an invocation has registers");
    args[n++] = rlx_emit_int(e->i32, x->n);
    args[n++] = rlx_emit_int(e->i32, x->chunks);
    args[n++] = rlx_emit_int(e->i32, x->own.across);
    args[n++] = rlx_emit_int(e->i32, f);
    for (int i = 0; i < x->sums; i++) {
        args[n++] = acc->part[part_of(x, i)];
        of[i] = e->f32;
    }
    for (int64_t side = 0; side < x->own.across; side++)
        for (int64_t c = 0; c < x->chunks; c++) {
            args[n++] = descriptor_of(e, &x->of[1], c, side * e->matrix->n, width);
            args[n++] = descriptor_of(e, &x->of[0], c, 0, width);
        }
    RLX_TRY(write_texts(x, f));
    LLVMTypeRef type = LLVMStructTypeInContext(e->cx, of, (unsigned)x->sums, false);
    LLVMValueRef sums = rlx_emit_assemble(e, "wgmma.mma_async.halves", type, x->code.data,
                                          x->constraints.data, args, n, TOLD);
    for (int i = 0; i < x->sums; i++)
        out->part[part_of(x, i)] = LLVMBuildExtractValue(e->b, sums, (unsigned)i, "");
    return RLX_OK;
}

rlx_status rlx_emit_wgmma_contract_rows(rlx_emit *e, const rlx_ir_node *n)
{
    halves x = {.node = n, .chunks = n->in[1]->type.dim[1] / e->matrix->floats->k};
    rlx_emit_tile *out;
    int64_t bytes;
    if (!rlx_emit_matrix_fragments(e, &n->out[0]->type, &x.own))
        return rlx_emit_unsupported(e, n, "tiles that are no fragments");
    x.n = (int)x.own.down * OCTET;
    x.sums = (int)(x.own.down * x.own.across) * SUMS;
    place(e, n, x.of, &bytes);
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    put_operands(e, &x);
    rlx_status st = multiply(e, &x, rlx_emit_get(e, n->in[0]), out);
    rlx_text_deinit(&x.code);
    rlx_text_deinit(&x.constraints);
    if (!st && bytes)
        e->engine->barrier(e); /* the exchange is somebody else's */
    return st;
}
