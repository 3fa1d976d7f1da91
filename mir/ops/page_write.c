/* mir/ops/page_write.c: new keys or values into the pages of their sequences
 *   in   pool, x [T,G,D], pos i32[T], seq i32[T], table i32[SEQS,SLOTS]
 *   out  the pool, updated in place
 *   kind k: pool [PAGES,G,D,P]; kind v: pool [PAGES,G,P,D]. Token t goes to page
 *   table[seq[t], pos[t] / P], at position pos[t] mod P.
 *   C1   pool has rank 4, x rank 3, pos and seq rank 1, table rank 2.
 *   C2   kind is k or v.
 *   C3   pool and x agree on G and D; P is a constant.
 *   C4   pool and x are of one format, which has no blocks; pos, seq and table are i32.
 *   C5   pos and seq have one entry per token.
 *   F1   (verify_func) the pool is session state that nobody else reads as it was before.
 *   Evaluating: indices lie within table and pool. */
#include <string.h>

#include "mir/ops/ops.h"

static bool is_k(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "k") == 0;
}

rlx_status rlx_mir_page_write_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_mir_page_write_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *pool = &n->in[0]->type, *x = &n->in[1]->type, *pos = &n->in[2]->type;
    const rlx_ir_type *seq = &n->in[3]->type, *table = &n->in[4]->type;
    RLX_IR_REQUIRE(
        m, n, "C1",
        pool->rank == 4 && x->rank == 3 && pos->rank == 1 && seq->rank == 1 && table->rank == 2,
        "ranks %d, %d, %d, %d, %d", pool->rank, x->rank, pos->rank, seq->rank, table->rank);
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_IR_REQUIRE(m, n, "C2", is_k(n) || strcmp(kind, "v") == 0, "kind \"%s\" is neither k nor v",
                   kind);
    rlx_dim d = pool->dim[is_k(n) ? 2 : 3], p = pool->dim[is_k(n) ? 3 : 2];
    RLX_IR_REQUIRE(m, n, "C3", pool->dim[1] == x->dim[1] && d == x->dim[2],
                   "writes %s heads of %s into %s of %s", RLX_MIR_DIM(m, x->dim[1]),
                   RLX_MIR_DIM(m, x->dim[2]), RLX_MIR_DIM(m, pool->dim[1]), RLX_MIR_DIM(m, d));
    RLX_IR_REQUIRE(m, n, "C3", rlx_dim_is_const(p) && p > 0, "a page of %s positions",
                   RLX_MIR_DIM(m, p));
    RLX_IR_REQUIRE(m, n, "C4",
                   pos->format == RLX_I32 && seq->format == RLX_I32 && table->format == RLX_I32,
                   "needs i32 pos, seq and table");
    RLX_IR_REQUIRE(m, n, "C4",
                   pool->format == x->format && rlx_format_get(x->format)->kind != RLX_KIND_BLOCK,
                   "writes %s into a pool of %s", rlx_format_get(x->format)->name,
                   rlx_format_get(pool->format)->name);
    RLX_IR_REQUIRE(m, n, "C5", pos->dim[0] == x->dim[0] && seq->dim[0] == x->dim[0],
                   "%s tokens, %s positions, %s sequences", RLX_MIR_DIM(m, x->dim[0]),
                   RLX_MIR_DIM(m, pos->dim[0]), RLX_MIR_DIM(m, seq->dim[0]));
    return RLX_OK;
}

rlx_status rlx_mir_page_find(const rlx_eval_tensor *table, int64_t pages, int64_t seq, int64_t slot,
                             int64_t *page)
{
    if (seq < 0 || seq >= table->dim[0] || slot < 0 || slot >= table->dim[1])
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "sequence %lld has no slot %lld in a table of %lldx%lld", (long long)seq,
                        (long long)slot, (long long)table->dim[0], (long long)table->dim[1]);
    *page = ((const int32_t *)table->data)[seq * table->dim[1] + slot];
    if (*page < 0 || *page >= pages)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "slot %lld of sequence %lld is page %lld of %lld",
                        (long long)slot, (long long)seq, (long long)*page, (long long)pages);
    return RLX_OK;
}

rlx_status rlx_mir_page_write_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *pool = rlx_mir_tensor(n->in[0]), *x = rlx_mir_tensor(n->in[1]);
    const rlx_eval_tensor *table = rlx_mir_tensor(n->in[4]);
    const int32_t *pos = rlx_mir_tensor(n->in[2])->data, *seq = rlx_mir_tensor(n->in[3])->data;
    int64_t heads = x->dim[1], d = x->dim[2], p = pool->dim[is_k(n) ? 3 : 2];
    int64_t along = is_k(n) ? p : 1;  /* from one element of a head to the next */
    int64_t across = is_k(n) ? 1 : d; /* from one position to the next */
    size_t bytes = rlx_format_bytes(x->format, 1);
    for (int64_t t = 0; t < x->dim[0]; t++) {
        int64_t page;
        RLX_TRY_NOTE(
            rlx_mir_page_find(table, pool->dim[0], seq[t], pos[t] < 0 ? -1 : pos[t] / p, &page),
            "page_write: token %lld at position %d", (long long)t, pos[t]);
        for (int64_t h = 0; h < heads; h++) {
            const char *from = (const char *)x->data + (size_t)((t * heads + h) * d) * bytes;
            int64_t to = (page * heads + h) * d * p + pos[t] % p * across;
            for (int64_t i = 0; i < d; i++)
                memcpy((char *)pool->data + (size_t)(to + i * along) * bytes,
                       from + (size_t)i * bytes, bytes);
        }
    }
    return rlx_mir_frame_alias(f, n->out[0], pool);
}
