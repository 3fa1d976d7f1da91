/* mir/mir_report.c: what fused, what did not, and why, read off a fused module.
 *
 *   @layer: 5 regions
 *     1  contract x3 (self_attn) + prologue rms_norm + epilogue rope x2, page_write x2
 *     ...
 *     through memory:
 *     3 -> 4  f32[TOKENS,64]: reduction over the producer's columns needs whole rows; used by 2
 * regions
 *
 * Nothing is kept from fusion for it: a region's block shows what it does, and how a region uses a
 * value shows why the two are apart. */
#include <stdlib.h>
#include <string.h>

#include "mir/mir.h"

/* ---- following values inside a block --------------------------------------------------------- */

/* scratch of a value inside the region at hand: what it is made of. */
enum { FROM_ROOT = 1, FROM_ARG = 2 };

static uintptr_t origin(const rlx_ir_value *v)
{
    return (uintptr_t)v->scratch;
}

static void set_origin(rlx_ir_value *v, uintptr_t o)
{
    v->scratch = (void *)o;
}

static bool is_root(const rlx_ir_node *n)
{
    return rlx_mir_is_contract(n) || rlx_mir_is_attention(n) || n->op == RLX_MIR_GATHER;
}

/* Marks every value of the block that depends on a root, and on argument `arg` (NULL: on none). */
static void mark_origins(const rlx_ir_block *b, const rlx_ir_value *arg)
{
    for (int i = 0; i < b->nargs; i++)
        set_origin(b->args[i], b->args[i] == arg ? FROM_ARG : 0);
    for (const rlx_ir_node *n = b->first; n; n = n->next) {
        uintptr_t o = is_root(n) ? FROM_ROOT : 0;
        for (int i = 0; i < n->nin; i++)
            o |= origin(n->in[i]);
        for (int i = 0; i < n->nout; i++)
            set_origin(n->out[i], o);
    }
}

/* The node behind views and casts; NULL for an argument. */
static const rlx_ir_node *behind_views(const rlx_ir_value *v)
{
    const rlx_ir_node *n = v->def;
    while (n && (n->op == RLX_MIR_RESHAPE || n->op == RLX_MIR_BROADCAST || n->op == RLX_MIR_SLICE ||
                 n->op == RLX_MIR_TRANSPOSE || n->op == RLX_MIR_CAST))
        n = n->in[0]->def;
    return n;
}

static bool is_fn(const rlx_ir_node *n, rlx_map_fn fn)
{
    return n && n->op == RLX_MIR_MAP && rlx_ir_attr_int(n, RLX_ATTR_FN, -1) == fn;
}

/* ---- what a region holds --------------------------------------------------------------------- */

/* Counts of what is recognised: before the root (or without one), and after it. */
typedef struct contents {
    int contracts, attentions, gathers, reduces, rsqrts;
    int maps, exps, ropes, writes, residuals, biases;
    rlx_format weights; /* that contracts read: NONE when they differ */
    bool exact_weights; /* all of one format */
} contents;

/* y1 = a cos - b sin and y2 = b cos + a sin, put together again. */
static bool is_rope(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_CONCAT && n->nin == 2 && is_fn(behind_views(n->in[0]), RLX_FN_SUB) &&
           is_fn(behind_views(n->in[1]), RLX_FN_ADD);
}

static void count_sum(contents *c, const rlx_ir_node *n)
{
    for (int i = 0; i < 2; i++) {
        const rlx_ir_value *other = n->in[!i];
        if (!(origin(n->in[i]) & FROM_ROOT) || origin(other) & FROM_ROOT || behind_views(other))
            continue;
        if (!other->def)
            c->residuals++;
        else if (other->def->op == RLX_MIR_BROADCAST)
            c->biases++;
        return;
    }
}

static void count_weights(contents *c, const rlx_ir_node *contract)
{
    const rlx_ir_value *b = contract->in[contract->op == RLX_MIR_CONTRACT ? 1 : 3];
    rlx_format f =
        b->def && b->def->op == RLX_MIR_CAST ? b->def->in[0]->type.format : b->type.format;
    c->exact_weights = c->contracts == 1 || (c->exact_weights && c->weights == f);
    c->weights = f;
}

static void count_node(contents *c, const rlx_ir_node *n)
{
    bool after = n->nout > 0 && origin(n->out[0]) & FROM_ROOT;
    switch (n->op) {
    case RLX_MIR_CONTRACT:
    case RLX_MIR_CONTRACT_Q:
        c->contracts++;
        count_weights(c, n);
        break;
    case RLX_MIR_ATTENTION:
    case RLX_MIR_DENSE_ATTENTION:
        c->attentions++;
        break;
    case RLX_MIR_GATHER:
        c->gathers++;
        break;
    case RLX_MIR_REDUCE:
        c->reduces++;
        break;
    case RLX_MIR_PAGE_WRITE:
        c->writes++;
        break;
    case RLX_MIR_CONCAT:
        c->ropes += is_rope(n);
        break;
    case RLX_MIR_MAP:
        c->maps++;
        c->rsqrts += !after && is_fn(n, RLX_FN_RSQRT);
        c->exps += after && is_fn(n, RLX_FN_EXP);
        if (after && is_fn(n, RLX_FN_ADD))
            count_sum(c, n);
        break;
    default:
        break;
    }
}

static contents count_contents(const rlx_ir_node *region)
{
    const rlx_ir_block *b = region->blocks[0];
    contents c = {0};
    mark_origins(b, NULL);
    for (const rlx_ir_node *n = b->first; n; n = n->next)
        count_node(&c, n);
    rlx_ir_clear_scratch(region->blocks[0]);
    return c;
}

/* "word" or "word x3", after a separator that the first of a list does not have. */
static void put_item(rlx_text *out, const char **separator, const char *word, int count)
{
    if (count == 0)
        return;
    rlx_text_putf(out, "%s%s", *separator, word);
    if (count > 1)
        rlx_text_putf(out, " x%d", count);
    *separator = ", ";
}

static void put_region(const rlx_ir_node *region, int number, rlx_text *out)
{
    contents c = count_contents(region);
    const char *root = rlx_ir_attr_text(region, RLX_ATTR_ROOT, "");
    const char *norm = c.rsqrts ? "rms_norm" : "row reduction";
    bool is_contract = c.contracts > 0;
    rlx_text_putf(out, "  %d  %s", number, c.gathers ? "gather" : root);
    if (is_contract)
        rlx_text_putf(out, " x%d", c.contracts);
    if (region->place)
        rlx_text_putf(out, " (%s)", region->place);
    if (is_contract && c.exact_weights)
        rlx_text_putf(out, " of %s weights", rlx_format_get(c.weights)->name);
    const char *separator = is_contract ? " + prologue " : ": ";
    put_item(out, &separator, norm, c.reduces);
    bool is_root = is_contract || c.attentions || c.gathers;
    separator = is_root ? " + epilogue " : separator;
    int known = c.ropes + c.exps + c.writes + c.residuals + c.biases;
    put_item(out, &separator, "rope", c.ropes);
    put_item(out, &separator, "bias", c.biases);
    put_item(out, &separator, c.contracts > 1 ? "swiglu" : "sigmoid", c.exps);
    put_item(out, &separator, "residual add", c.residuals);
    put_item(out, &separator, "page_write", c.writes);
    if (!known && !c.reduces)
        put_item(out, &separator, "map", c.maps);
    rlx_text_put(out, "\n");
}

/* ---- what crosses memory --------------------------------------------------------------------- */

/* Why region `user`, which takes a value as argument `arg`, is not one with the region that makes
 * it. */
static const char by_themselves[] = "both are grown around a root of their own";

static const char *why_apart(const rlx_ir_node *user, int arg)
{
    const rlx_ir_block *b = user->blocks[0];
    const char *why = by_themselves;
    mark_origins(b, b->args[arg]);
    bool reduced = false;
    for (const rlx_ir_node *n = b->first; n; n = n->next) {
        bool first = n->nin > 0 && origin(n->in[0]) & FROM_ARG;
        if (n->op == RLX_MIR_REDUCE && first) {
            reduced = true;
        } else if (n->op == RLX_MIR_ATTENTION) {
            why = first ? "attention starts from whole query heads"
                        : "attention reads pages that other tokens wrote";
        } else if (n->op == RLX_MIR_DENSE_ATTENTION) {
            why = "attention takes whole heads, of all keys";
        } else if (n->op == RLX_MIR_GATHER && first) {
            why = "a gather picks rows of the whole value";
        } else if (rlx_mir_is_delta_chunks(n)) {
            why = "chunks of steps go one after another";
        } else if (rlx_mir_is_recur(n)) {
            why = "the steps of a recurrence go one after another";
        } else if (n->op == RLX_MIR_QUANTIZE && first) {
            why = "a scale of 32 elements needs them all";
        } else if (rlx_mir_is_contract(n) && first) {
            why = "contraction over the producer's columns needs whole rows";
        }
    }
    rlx_ir_clear_scratch(user->blocks[0]);
    return reduced ? "reduction over the producer's columns needs whole rows" : why;
}

static int region_number(const rlx_ir_node *region)
{
    int number = 0;
    for (const rlx_ir_node *n = region; n; n = n->prev)
        number += n->op == RLX_MIR_REGION;
    return number;
}

static void put_crossing(const rlx_ir_module *m, const rlx_ir_value *v, rlx_text *out)
{
    int users = 0;
    for (const rlx_ir_node *n = v->def->next; n; n = n->next)
        for (int i = 0; i < n->nin; i++)
            users += n->op == RLX_MIR_REGION && n->in[i] == v;
    for (const rlx_ir_node *n = v->def->next; n; n = n->next)
        for (int i = 0; i < n->nin; i++) {
            if (n->op != RLX_MIR_REGION || n->in[i] != v)
                continue;
            rlx_text_putf(out, "  %d -> %d  ", region_number(v->def), region_number(n));
            rlx_ir_type_print(m->dims, &v->type, out);
            rlx_text_putf(out, ": %s", why_apart(n, i));
            if (users > 1)
                rlx_text_putf(out, "; used by %d regions", users);
            rlx_text_put(out, "\n");
        }
}

static void put_func(const rlx_ir_module *m, const rlx_ir_func *f, rlx_text *out)
{
    int regions = 0, calls = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        regions += n->op == RLX_MIR_REGION;
        calls += n->op == RLX_MIR_CALL;
    }
    rlx_text_putf(out, "@%s: %d region%s", f->name, regions, regions == 1 ? "" : "s");
    if (calls)
        rlx_text_putf(out, ", %d call%s", calls, calls == 1 ? "" : "s");
    rlx_text_put(out, "\n");
    int number = 0;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        if (n->op == RLX_MIR_REGION)
            put_region(n, ++number, out);
    rlx_text through = {0};
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        for (int i = 0; n->op == RLX_MIR_REGION && i < n->nout; i++)
            put_crossing(m, n->out[i], &through);
    if (through.len)
        rlx_text_putf(out, "  through memory:\n%s", through.data);
    out->oom = out->oom || through.oom;
    rlx_text_deinit(&through);
}

rlx_status rlx_mir_fusion_report(const rlx_ir_module *m, rlx_text *out)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next) {
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            if (n->op != RLX_MIR_REGION && n->op != RLX_MIR_CALL && n->op != RLX_MIR_RETURN)
                return RLX_FAIL(RLX_INVALID_ARGUMENT, "@%s is not fused: it holds %s", f->name,
                                rlx_ir_info(m, n)->mnemonic);
        put_func(m, f, out);
    }
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* Whether a user's computation asks for the value in memory; the last one that does not goes to
 * *user. */
static bool is_asked_for(const rlx_ir_value *v, const rlx_ir_node **user)
{
    bool asked = v->def->op != RLX_MIR_REGION;
    *user = NULL;
    for (const rlx_ir_node *n = v->def->next; n; n = n->next)
        for (int i = 0; i < n->nin; i++) {
            if (n->in[i] != v)
                continue;
            if (n->op != RLX_MIR_REGION || why_apart(n, i) != by_themselves)
                asked = true; /* a call's, a result, or whole rows of it */
            else
                *user = n;
        }
    return asked || !*user;
}

rlx_status rlx_mir_check_fusion(const rlx_ir_module *m)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            for (int i = 0; i < n->nout; i++) {
                const rlx_ir_node *user;
                if (is_asked_for(n->out[i], &user))
                    continue;
                rlx_text type = {0};
                rlx_ir_type_print(m->dims, &n->out[i]->type, &type);
                rlx_status st = RLX_FAIL(
                    RLX_UNSUPPORTED,
                    "fusion missed: %s goes through memory from region %d (%s, %s) to region %d "
                    "(%s, %s) of @%s: %s",
                    type.data ? type.data : "a value", region_number(n),
                    rlx_ir_attr_text(n, RLX_ATTR_ROOT, "?"), n->place ? n->place : "nowhere",
                    region_number(user), rlx_ir_attr_text(user, RLX_ATTR_ROOT, "?"),
                    user->place ? user->place : "nowhere", f->name, by_themselves);
                rlx_text_deinit(&type);
                return st;
            }
    return RLX_OK;
}
