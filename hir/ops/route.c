/* hir/ops/route.c: which experts a token goes to, and with what weights
 *   in   logits f32[..,E];  bias f32[E], or none       out  weights f32[..,k];  experts i32[..,k]
 *   s = softmax(logits) or sigmoid(logits); c = s + bias. With groups G, c is -inf outside of the
 *   `chosen` groups of E/G experts whose mark is best: the largest c of a group (softmax), or the
 *   sum of its two largest (sigmoid). The k largest c are chosen, in order, equal ones by index.
 *   weights = s of those, with normalize / (their sum + 1e-20), times scale.
 *   DeepSeek-V3 (arXiv 2412.19437, 2.1.2), of which Mixtral's and Qwen's softmax is the simple
 *   case.
 *   C1  logits are f32[..,E] of rank 1 to 6 with a constant E.
 *   C2  bias is f32[E].
 *   C3  kind is "softmax" or "sigmoid".
 *   C4  k, `count`, is in 1..E, or in 1..E/G*chosen.
 *   C5  groups G divides E (into two each at least for sigmoid), and chosen is in 1..G.
 */
#include <math.h>
#include <string.h>

#include "hir/ops/ops.h"

typedef struct router {
    bool sigmoid, normalize;
    int64_t experts, k, groups, chosen;
    double scale;
} router;

static router router_of(const rlx_ir_node *n)
{
    return (router){
        .sigmoid = strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "sigmoid") == 0,
        .normalize = rlx_ir_attr_int(n, RLX_ATTR_NORMALIZE, 0) != 0,
        .experts = rlx_hir_last_dim(n->in[0]),
        .k = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 0),
        .groups = rlx_ir_attr_int(n, RLX_ATTR_GROUPS, 1),
        .chosen = rlx_ir_attr_int(n, RLX_ATTR_CHOSEN, 1),
        .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
    };
}

rlx_status rlx_hir_route_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int rank = n->in[0]->type.rank;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         rank >= 1 && rank <= 6 && rlx_hir_is(n->in[0], RLX_F32, rank) &&
                             rlx_hir_last_dim(n->in[0]) > 0,
                         0, "logits are f32[..,E] with a constant E");
    const router r = router_of(n);
    RLX_IR_REQUIRE(m, n, "C2", n->nin <= 2, "%d operands", n->nin);
    if (n->nin == 2)
        RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                             rlx_hir_is(n->in[1], RLX_F32, 1) && n->in[1]->type.dim[0] == r.experts,
                             1, "bias is f32[E] with the E of the logits");
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_IR_REQUIRE(m, n, "C3", r.sigmoid || strcmp(kind, "softmax") == 0, "kind is \"%s\"", kind);
    RLX_IR_REQUIRE(m, n, "C5",
                   r.groups > 0 && r.experts % r.groups == 0 && r.chosen > 0 &&
                       r.chosen <= r.groups &&
                       (!r.sigmoid || r.groups == 1 || r.experts / r.groups > 1),
                   "%lld of %lld groups of %lld experts", (long long)r.chosen, (long long)r.groups,
                   (long long)r.experts);
    RLX_IR_REQUIRE(m, n, "C4", r.k >= 1 && r.k <= r.experts / r.groups * r.chosen,
                   "count=%lld of %lld experts", (long long)r.k,
                   (long long)(r.experts / r.groups * r.chosen));
    return RLX_OK;
}

rlx_status rlx_hir_route_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_route_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 0);
    results[1] = results[0];
    results[1].format = RLX_I32;
    return RLX_OK;
}

/* ---- evaluating -------------------------------------------------------------------------------
 */

/* The first largest of n marks that is not taken yet, even if it is -inf; now it is. */
static int64_t take_best(const double *marks, bool *taken, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || marks[i] > marks[best]))
            best = i;
    taken[best] = true;
    return best;
}

static double group_mark(const router *r, const double *choice)
{
    double first = -INFINITY, second = -INFINITY;
    for (int64_t e = 0; e < r->experts / r->groups; e++) {
        const double c = choice[e];
        second = c > first ? first : c > second ? c : second;
        first = c > first ? c : first;
    }
    return r->sigmoid ? first + second : first;
}

/* Leaves -inf in groups that are not chosen; `marks` and `taken` have room for each. */
static void keep_groups(const router *r, double *choice, double *marks, bool *taken)
{
    const int64_t size = r->experts / r->groups;
    memset(taken, 0, (size_t)r->groups);
    for (int64_t g = 0; g < r->groups; g++)
        marks[g] = group_mark(r, choice + g * size);
    for (int64_t i = 0; i < r->chosen; i++)
        take_best(marks, taken, r->groups);
    for (int64_t e = 0; e < r->experts; e++)
        if (!taken[e / size])
            choice[e] = -INFINITY;
}

static void score(const router *r, const float *logits, double *scores)
{
    double most = -INFINITY, sum = 0;
    for (int64_t e = 0; e < r->experts; e++)
        most = fmax(most, logits[e]);
    for (int64_t e = 0; e < r->experts; e++)
        sum += scores[e] = r->sigmoid ? 1 / (1 + exp(-(double)logits[e])) : exp(logits[e] - most);
    for (int64_t e = 0; e < r->experts && !r->sigmoid; e++)
        scores[e] /= sum;
}

rlx_status rlx_hir_route_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    const router r = router_of(n);
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[1]));
    double *scores = RLX_NEW_ARRAY(cx->arena, double, 3 * r.experts);
    bool *taken = RLX_NEW_ARRAY(cx->arena, bool, r.experts);
    if (!scores || !taken)
        return RLX_OOM();
    double *choice = scores + r.experts, *marks = choice + r.experts;
    const int64_t rows = rlx_hir_eval_elems(in[0]) / r.experts;
    for (int64_t t = 0; t < rows; t++) {
        float *weights = (float *)out[0].data + t * r.k;
        int32_t *experts = (int32_t *)out[1].data + t * r.k;
        double sum = 1e-20;
        score(&r, (const float *)in[0]->data + t * r.experts, scores);
        for (int64_t e = 0; e < r.experts; e++)
            choice[e] = scores[e] + (n->nin == 2 ? (double)((const float *)in[1]->data)[e] : 0);
        if (r.groups > 1)
            keep_groups(&r, choice, marks, taken);
        memset(taken, 0, (size_t)r.experts);
        for (int64_t i = 0; i < r.k; i++)
            sum += scores[experts[i] = (int32_t)take_best(choice, taken, r.experts)];
        for (int64_t i = 0; i < r.k; i++)
            weights[i] = (float)(scores[experts[i]] / (r.normalize ? sum : 1) * r.scale);
    }
    return RLX_OK;
}

/* ---- lowering ---------------------------------------------------------------------------------
 */

/* choice [..,E], -inf outside of the chosen groups. */
static rlx_ir_value *lower_groups(rlx_ir_builder *b, const router *r, rlx_ir_value *choice)
{
    if (!choice || r->groups == 1)
        return choice;
    const int last = choice->type.rank - 1;
    rlx_ir_type parts = choice->type;
    parts.dim[last] = r->groups;
    parts.dim[parts.rank++] = r->experts / r->groups;
    rlx_ir_value *grouped = rlx_mir_reshape(b, choice, parts.rank, parts.dim);
    rlx_ir_value *marks;
    if (r->sigmoid) {
        rlx_mir_first(b, grouped, 2, true, &marks);
        marks = rlx_mir_fold(b, RLX_FN_ADD, marks, 1u << (last + 1), false);
    } else {
        marks = rlx_mir_fold(b, RLX_FN_MAX, grouped, 1u << (last + 1), false);
    }
    rlx_ir_value *kept =
        rlx_mir_map_num(b, RLX_FN_LT, rlx_mir_ranks(b, marks, true), (double)r->chosen);
    kept = rlx_mir_insert(b, kept, last + 1);
    rlx_ir_value *never = rlx_mir_build_const(b, RLX_F32, -INFINITY);
    rlx_ir_value *y = rlx_mir_pick(b, kept, grouped, never);
    return rlx_mir_reshape(b, y, choice->type.rank, choice->type.dim);
}

void rlx_hir_route_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    const router r = router_of(n);
    const int last = n->in[0]->type.rank - 1;
    rlx_ir_value *scores = r.sigmoid ? rlx_mir_sigmoid(b, in[0]) : rlx_mir_softmax(b, in[0], last);
    rlx_ir_value *choice = n->nin == 2 ? rlx_mir_map2(b, RLX_FN_ADD, scores, in[1]) : scores;
    out[1] = rlx_mir_first(b, lower_groups(b, &r, choice), r.k, true, NULL);
    out[0] = rlx_mir_take_along(b, scores, out[1], last);
    if (r.normalize) {
        rlx_ir_value *sum = rlx_mir_fold(b, RLX_FN_ADD, out[0], 1u << last, true);
        sum = rlx_mir_map_num(b, RLX_FN_ADD, sum, 1e-20);
        out[0] = rlx_mir_map2(b, RLX_FN_DIV, out[0], sum);
    }
    if (r.scale != 1)
        out[0] = rlx_mir_map_num(b, RLX_FN_MUL, out[0], r.scale);
}
