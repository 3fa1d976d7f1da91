/* mir/ops/region.c: what is computed together, in one kernel or a few
 *   in   anything                                  out  the yield's operands
 *   The block's arguments are the operands; it sees nothing else. Pure unless it holds page_write.
 *   C1   root is contract, quantize, attention, recur, delta_chunks, order, reduce, map or loops.
 *   C2   the block's arguments are the operands in number and type.
 *   C3   the yield's operands are the results in number and type.
 *   C4   a contract region holds contracts and no attention; a quantize region one quantize and no
 *        contract or attention; an attention region one attention, no contract and no reduce; a
 *        reduce region holds reduces and no contract or attention; a map region none of the three;
 *        a loops region no contract or attention; a recur region one recur or recur_tokens and no
 *        contract or attention; a delta_chunks region one of either kind and nothing but maps, casts
 *        and views; an order region one order alone. A quantize, a recur, a delta_chunks and an
 *        order are in no other region.
 *   C5   holds no region and no call.
 *   C6   C4 holds without what nobody uses, too.
 *   C2 to C6 are checked once the block is filled. */
#include <stdlib.h>
#include <string.h>

#include "mir/ops/ops.h"

typedef struct census {
    int contracts, quantizes, attentions, recurs, deltas, orders, reduces, nested;
} census;

/* `live`: counts only these; NULL: all. */
static census count_ops(const rlx_ir_block *b, const bool *live)
{
    census c = {0};
    int i = 0;
    for (const rlx_ir_node *n = b->first; n; n = n->next) {
        if (live && !live[i++])
            continue;
        c.contracts += rlx_mir_is_contract(n);
        c.quantizes += n->op == RLX_MIR_QUANTIZE;
        c.attentions += rlx_mir_is_attention(n);
        c.recurs += rlx_mir_is_recur(n);
        c.deltas += rlx_mir_is_delta_chunks(n);
        c.orders += n->op == RLX_MIR_ORDER;
        c.reduces += n->op == RLX_MIR_REDUCE;
        c.nested += n->op == RLX_MIR_REGION || n->op == RLX_MIR_CALL;
    }
    return c;
}

static bool fits_root(const char *root, const census *c)
{
    if (strcmp(root, "quantize") == 0)
        return c->quantizes == 1 && c->contracts == 0 && c->attentions == 0;
    if (strcmp(root, "recur") == 0)
        return c->recurs == 1 && c->quantizes == 0 && c->contracts == 0 && c->attentions == 0;
    if (c->quantizes > 0)
        return false;
    if (strcmp(root, "delta_chunks") == 0)
        return c->deltas == 1 && c->contracts == 0 && c->attentions == 0 && c->reduces == 0 &&
               c->orders == 0 && c->recurs == 0;
    if (c->deltas > 0)
        return false;
    if (strcmp(root, "order") == 0)
        return c->orders == 1 && c->contracts == 0 && c->attentions == 0 && c->reduces == 0;
    if (c->orders > 0)
        return false;
    if (strcmp(root, "contract") == 0)
        return c->contracts > 0 && c->attentions == 0;
    if (strcmp(root, "attention") == 0)
        return c->attentions == 1 && c->contracts == 0 && c->reduces == 0;
    if (strcmp(root, "loops") == 0)
        return c->contracts == 0 && c->attentions == 0;
    if (strcmp(root, "reduce") == 0)
        return c->reduces > 0 && c->contracts == 0 && c->attentions == 0;
    return c->contracts == 0 && c->attentions == 0 && c->reduces == 0;
}

static bool is_root(const char *root)
{
    static const char *const roots[] = {"contract", "quantize",     "attention",
                                        "recur",    "delta_chunks", "order",
                                        "reduce",   "map",          "loops"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (strcmp(root, roots[i]) == 0)
            return true;
    return false;
}

static rlx_status check_live(rlx_ir_module *m, const rlx_ir_node *n, const char *root)
{
    bool *live = rlx_ir_find_live(m, n->blocks[0]);
    if (!live)
        return RLX_OOM();
    census c = count_ops(n->blocks[0], live);
    free(live);
    RLX_IR_REQUIRE(m, n, "C6", fits_root(root, &c), "nobody uses what root \"%s\" is for", root);
    return RLX_OK;
}

rlx_status rlx_mir_region_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const char *root = rlx_ir_attr_text(n, RLX_ATTR_ROOT, "");
    RLX_IR_REQUIRE(m, n, "C1", is_root(root), "root \"%s\"", root);
    const rlx_ir_block *b = n->blocks[0];
    if (!b->last)
        return RLX_OK; /* still being built; a block that stays empty lacks its terminator */
    RLX_IR_REQUIRE(m, n, "C2", b->nargs == n->nin, "%d operands for %d arguments", n->nin,
                   b->nargs);
    for (int i = 0; i < n->nin; i++)
        RLX_IR_REQUIRE(m, n, "C2", rlx_ir_type_equal(&n->in[i]->type, &b->args[i]->type),
                       "operand %d has another type than its argument", i);
    if (b->last->op != RLX_MIR_YIELD)
        return RLX_OK; /* as above */
    RLX_IR_REQUIRE(m, n, "C3", b->last->nin == n->nout, "yields %d values for %d results",
                   b->last->nin, n->nout);
    for (int i = 0; i < n->nout; i++)
        RLX_IR_REQUIRE(m, n, "C3", rlx_ir_type_equal(&b->last->in[i]->type, &n->out[i]->type),
                       "yields another type than result %d", i);
    census c = count_ops(b, NULL);
    RLX_IR_REQUIRE(m, n, "C5", c.nested == 0, "holds a region or call");
    RLX_IR_REQUIRE(m, n, "C4", c.recurs == (strcmp(root, "recur") == 0),
                   "%d recurrences in root \"%s\"", c.recurs, root);
    RLX_IR_REQUIRE(m, n, "C4", fits_root(root, &c),
                   "%d contracts, %d quantizes, %d attentions, %d reduces in root \"%s\"",
                   c.contracts, c.quantizes, c.attentions, c.reduces, root);
    return check_live(m, n, root);
}

rlx_status rlx_mir_region_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_ir_block *b = n->blocks[0];
    for (int i = 0; i < n->nin; i++)
        b->args[i]->scratch = rlx_mir_tensor(n->in[i]);
    RLX_TRY(rlx_mir_eval_block(f, b));
    for (int i = 0; i < n->nout; i++)
        n->out[i]->scratch = rlx_mir_tensor(b->last->in[i]);
    return RLX_OK;
}
