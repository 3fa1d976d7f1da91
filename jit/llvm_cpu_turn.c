#include "jit/llvm_cpu.h"

/* Turn: of eight groups the same four elements of each side by side (lir.h: rlx_lir_turned).
 *
 * A group is one or two runs of 16 bytes. A run of group g and one of group g + 4 go together, 32
 * bytes; four of those are turned by 32 bits inside of every 16 bytes, which is two shuffles for
 * each result, of one row or of two side by side. */

enum { GROUPS = RLX_LIR_TURN_GROUPS, QUAD = RLX_LIR_TURN_QUAD, RUN = 16, PAIR = 2 * RUN };

/* Of vectors of 32-bit units: units index[0..3] of every four, where 4 and more are b's. */
static LLVMValueRef in_fours(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, const int *index)
{
    const int n = (int)LLVMGetVectorSize(LLVMTypeOf(a));
    LLVMValueRef mask[2 * GROUPS];
    for (int i = 0; i < n; i++) {
        const int from = index[i % QUAD], at = i / QUAD * QUAD + from % QUAD;
        mask[i] = rlx_emit_int(e->i32, from < QUAD ? at : n + at);
    }
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, (unsigned)n), "");
}

/* Four vectors: in four h of out[q] stand their units q of that four. */
static void turn_four(rlx_emit *e, const LLVMValueRef *x, LLVMValueRef *out)
{
    static const int low[QUAD] = {0, 4, 1, 5}, high[QUAD] = {2, 6, 3, 7};
    static const int first[QUAD] = {0, 1, 4, 5}, second[QUAD] = {2, 3, 6, 7};
    const LLVMValueRef l01 = in_fours(e, x[0], x[1], low), h01 = in_fours(e, x[0], x[1], high);
    const LLVMValueRef l23 = in_fours(e, x[2], x[3], low), h23 = in_fours(e, x[2], x[3], high);
    out[0] = in_fours(e, l01, l23, first);
    out[1] = in_fours(e, l01, l23, second);
    out[2] = in_fours(e, h01, h23, first);
    out[3] = in_fours(e, h01, h23, second);
}

/* 16 bytes from element `at` on, and as many `apart` elements later. */
static rlx_status pair_runs(rlx_emit *e, const rlx_emit_tile *x, int part, int at, int apart,
                            LLVMValueRef *out)
{
    LLVMValueRef run[2];
    for (int i = 0; i < 2; i++)
        RLX_TRY(rlx_emit_bytes_at(e, x, part, at + i * apart, RUN, &run[i]));
    *out = rlx_emit_join(e, run, 2);
    return RLX_OK;
}

/* Eight groups from element `at` on: width / 4 vectors; of two rows if pieces are. */
static rlx_status turn_groups(rlx_emit *e, const rlx_emit_tile *x, int part, int at, int width,
                              LLVMValueRef *out)
{
    const int rows = x->two ? 2 : 1;
    const LLVMTypeRef bytes = rlx_emit_vector(e->i8, (int64_t)rows * PAIR),
                      words = rlx_emit_vector(e->i32, (int64_t)rows * GROUPS);
    for (int run = 0; run < width / RUN; run++) {
        LLVMValueRef four[QUAD], *turned = out + run * QUAD;
        for (int g = 0; g < QUAD; g++) {
            if (x->paired)
                four[g] = x->piece[part * x->npieces + at / PAIR + run * QUAD + g];
            else
                RLX_TRY(pair_runs(e, x, part, at + g * width + run * RUN, QUAD * width, &four[g]));
            four[g] = LLVMBuildBitCast(e->b, four[g], words, "");
        }
        turn_four(e, four, turned);
        for (int q = 0; q < QUAD; q++)
            turned[q] = LLVMBuildBitCast(e->b, turned[q], bytes, "");
    }
    return RLX_OK;
}

/* Whether everyone who takes the value reads it piece by piece. */
static bool is_read_by_pieces(const rlx_ir_value *v, const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == v && (n->op != RLX_LIR_DOT || i != 3))
                return false;
        for (int i = 0; i < n->nblock; i++)
            if (!is_read_by_pieces(v, n->blocks[i]))
                return false;
    }
    return true;
}

bool rlx_emit_turns_two(const rlx_emit *e, const rlx_ir_node *turn)
{
    return rlx_emit_register_lanes(e) == 2 * GROUPS && turn->out[0]->type.dim[0] % 2 == 0 &&
           is_read_by_pieces(turn->out[0], turn->parent);
}

/* A dot that takes the value; or NULL. */
static const rlx_ir_node *find_dot(const rlx_ir_value *v, const rlx_ir_block *block)
{
    const rlx_ir_node *dot = NULL;
    for (const rlx_ir_node *n = block->first; n && !dot; n = n->next) {
        if (n->op == RLX_LIR_DOT && n->in[3] == v)
            return n;
        for (int i = 0; i < n->nblock && !dot; i++)
            dot = find_dot(v, n->blocks[i]);
    }
    return dot;
}

int rlx_emit_turn_raises(const rlx_emit *e, const rlx_ir_node *turn)
{
    const rlx_ir_node *dot = find_dot(turn->out[0], turn->parent);
    return dot ? rlx_emit_raised_by(e, dot) : 0;
}

rlx_status rlx_emit_cpu_turn(rlx_emit *e, const rlx_ir_node *n)
{
    const rlx_emit_tile *x = rlx_emit_get(e, n->in[0]);
    const int width = (int)rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0), each = GROUPS * width;
    const int64_t k = n->in[0]->type.dim[1];
    const bool joined = !is_read_by_pieces(n->out[0], n->parent);
    rlx_emit_tile *out;
    RLX_TRY(rlx_emit_define(e, n->out[0], &out));
    out->two = x->two;
    out->raised = x->raised;
    out->npieces = (int)k / PAIR;
    out->piece = RLX_NEW_ARRAY(e->arena, LLVMValueRef, out->npieces * out->n);
    if (!out->piece)
        return RLX_OOM();
    for (int p = 0; p < out->n; p += x->two ? 2 : 1) {
        LLVMValueRef *piece = out->piece + p * out->npieces;
        for (int at = 0; at < k; at += each)
            RLX_TRY(turn_groups(e, x, p, at, width, piece + at / PAIR));
        out->part[p] = joined ? rlx_emit_join(e, piece, out->npieces) : NULL;
    }
    return RLX_OK;
}
