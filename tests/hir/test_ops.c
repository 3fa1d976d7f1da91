/* tests/hir/test_ops.c: what every op computes, against loops in f64 written here; the evaluator
 * and the lowered module (by the MIR evaluator) both; and every constraint's error. */
#include <math.h>

#include "tests/base/suite.h"
#include "tests/hir/env.h"

enum { T = 5, POOL_PAGES = 5, SEQS = 2, SLOTS = 2 };

/* ---- references: the first result, in f64 --------------------------------------------------- */

static double *new_result(int64_t n)
{
    double *y = calloc((size_t)n, sizeof(*y));
    ck_assert_ptr_nonnull(y);
    return y;
}

static double *embed(test_env *e)
{
    const rlx_eval_tensor *ids = env_get(e, "ids"), *w = env_get(e, "w");
    const int64_t width = w->dim[1];
    double *y = new_result(T * width);
    for (int64_t i = 0; i < T * width; i++)
        y[i] = env_at(w, (int64_t)env_at(ids, i / width) * width + i % width);
    return y;
}

static double *select_rows(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *rows = env_get(e, "rows");
    const int64_t width = x->dim[1];
    double *y = new_result(rows->dim[0] * width);
    for (int64_t i = 0; i < rows->dim[0] * width; i++)
        y[i] = env_at(x, (int64_t)env_at(rows, i / width) * width + i % width);
    return y;
}

static double *rms_norm(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *w = env_get(e, "w");
    const int64_t width = w->dim[0];
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++) {
        const int64_t row = i - i % width;
        double squares = 0;
        for (int64_t k = 0; k < width; k++)
            squares += env_at(x, row + k) * env_at(x, row + k);
        y[i] = env_at(x, i) / sqrt(squares / (double)width + 0.01) * env_at(w, i % width);
    }
    return y;
}

static double *linear(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *w = env_get(e, "w");
    const rlx_eval_tensor *b = e->eval.find(e, RLX_ROLE_WEIGHT, "b");
    const int64_t width = w->dim[0], depth = w->dim[1], rows = env_elems(x) / depth;
    double *y = new_result(rows * width);
    for (int64_t i = 0; i < rows * width; i++) {
        for (int64_t k = 0; k < depth; k++)
            y[i] += env_at(x, i / width * depth + k) * env_at(w, i % width * depth + k);
        y[i] += b ? env_at(b, i % width) : 0;
    }
    return y;
}

static double *add(test_env *e)
{
    const rlx_eval_tensor *a = env_get(e, "a"), *b = env_get(e, "b");
    double *y = new_result(env_elems(a));
    for (int64_t i = 0; i < env_elems(a); i++)
        y[i] = env_at(a, i) + env_at(b, i);
    return y;
}

static double at_last(const rlx_eval_tensor *t, int64_t i) /* a vector or number, repeated */
{
    return env_at(t, i % env_elems(t));
}

static double *map_exp(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++)
        y[i] = exp(env_at(x, i));
    return y;
}

static double *map_fma(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *w = env_get(e, "w"), *b = env_get(e, "b");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++)
        y[i] = at_last(w, i) * env_at(x, i) + at_last(b, i);
    return y;
}

static double *map_max(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++)
        y[i] = fmax(0.25, env_at(x, i));
    return y;
}

static double *map_one_plus(test_env *e)
{
    const rlx_eval_tensor *w = env_get(e, "w");
    double *y = new_result(env_elems(w));
    for (int64_t i = 0; i < env_elems(w); i++)
        y[i] = 1 + env_at(w, i);
    return y;
}

static double *swiglu(test_env *e)
{
    const rlx_eval_tensor *g = env_get(e, "g"), *u = env_get(e, "u");
    double *y = new_result(env_elems(g));
    for (int64_t i = 0; i < env_elems(g); i++)
        y[i] = env_at(g, i) * (1 / (1 + exp(-env_at(g, i)))) * env_at(u, i);
    return y;
}

static double *concat(test_env *e)
{
    const rlx_eval_tensor *a = env_get(e, "a"), *b = env_get(e, "b");
    double *y = new_result(env_elems(a) + env_elems(b));
    for (int64_t i = 0; i < T * 8; i++)
        y[i] = i % 8 < 3 ? env_at(a, i / 8 * 3 + i % 8) : env_at(b, i / 8 * 5 + i % 8 - 3);
    return y;
}

static double *halve_pairs(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++)
        y[i] = env_at(x, i - i % 6 + (i % 6 < 3 ? i % 6 * 2 : (i % 6 - 3) * 2 + 1));
    return y;
}

static double *same(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++)
        y[i] = env_at(x, i);
    return y;
}

/* Three heads of 7, of which 4 elements turn. */
static double *rope_in_part(test_env *e, bool interleaved)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *c = env_get(e, "cos"), *s = env_get(e, "sin");
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++) {
        const int64_t t = i / 21, d = i % 7, pair = interleaved ? d / 2 : d % 2;
        const bool second = interleaved ? d % 2 : d / 2;
        const int64_t step = interleaved ? 1 : 2;
        y[i] = env_at(x, i);
        if (d < 4)
            y[i] = y[i] * env_at(c, t * 2 + pair) +
                   (second ? env_at(x, i - step) : -env_at(x, i + step)) * env_at(s, t * 2 + pair);
    }
    return y;
}

static double *rope_partial(test_env *e)
{
    return rope_in_part(e, false);
}

static double *rope_partial_interleaved(test_env *e)
{
    return rope_in_part(e, true);
}

static double *rope(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *c = env_get(e, "cos"), *s = env_get(e, "sin");
    const int64_t half = c->dim[1], heads = x->dim[1] / (2 * half);
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++) {
        const int64_t t = i / (heads * 2 * half), d = i % (2 * half), at = t * half + d % half;
        const double other = d < half ? -env_at(x, i + half) : env_at(x, i - half);
        y[i] = env_at(x, i) * env_at(c, at) + other * env_at(s, at);
    }
    return y;
}

static double *rope_interleaved(test_env *e)
{
    const rlx_eval_tensor *x = env_get(e, "x"), *c = env_get(e, "cos"), *s = env_get(e, "sin");
    const int64_t half = c->dim[1], heads = x->dim[1] / (2 * half);
    double *y = new_result(env_elems(x));
    for (int64_t i = 0; i < env_elems(x); i++) {
        const int64_t at = i / (heads * 2 * half) * half + i % (2 * half) / 2;
        const double other = i % 2 ? env_at(x, i - 1) : -env_at(x, i + 1);
        y[i] = env_at(x, i) * env_at(c, at) + other * env_at(s, at);
    }
    return y;
}

/* N 4, G 2, D 6. Keys and values of a (sequence, position): this step's tokens, else the old pools.
 */
static double kv_at(test_env *e, const char *pool, const char *fresh, int64_t seq, int64_t pos,
                    int64_t g, int64_t d)
{
    const rlx_eval_tensor *p = env_get(e, pool), *table = env_get(e, "table");
    for (int64_t t = 0; t < T && strcmp(pool, fresh); t++)
        if (env_at(env_get(e, "seq"), t) == (double)seq &&
            env_at(env_get(e, "pos"), t) == (double)pos)
            return env_at(env_get(e, fresh), (t * 2 + g) * 6 + d);
    const int64_t page = (int64_t)env_at(table, seq * SLOTS + pos / 256);
    const int64_t at[] = {page, g, pool[0] == 'k' ? d : pos % 256, pool[0] == 'k' ? pos % 256 : d};
    return env_at(p, ((at[0] * p->dim[1] + at[1]) * p->dim[2] + at[2]) * p->dim[3] + at[3]);
}

/* What a query sees and what becomes of scores; 0: nothing of it. */
typedef struct seeing {
    int64_t window, chunk, block;
    double softcap;
    bool sinks, shared;
} seeing;

/* A block ends where it does, or with the last position that its sequence has in the step. */
static int64_t end_of_block(test_env *e, int64_t t, int64_t block)
{
    const rlx_eval_tensor *pos = env_get(e, "pos"), *seq = env_get(e, "seq");
    const int64_t whole = ((int64_t)env_at(pos, t) / block + 1) * block;
    int64_t length = 0;
    for (int64_t i = 0; i < T; i++)
        if (env_at(seq, i) == env_at(seq, t) && env_at(pos, i) >= (double)length)
            length = (int64_t)env_at(pos, i) + 1;
    return whole < length ? whole : length;
}

static double *attend(test_env *e, const seeing *how)
{
    double *y = new_result(T * 24), p[2 * 256];
    for (int64_t i = 0; i < T * 4; i++) {
        const int64_t t = i / 4, g = i % 4 / 2;
        const int64_t seq = (int64_t)env_at(env_get(e, "seq"), t);
        const int64_t last = (int64_t)env_at(env_get(e, "pos"), t);
        int64_t first = how->window && last >= how->window ? last - how->window + 1 : 0;
        first = how->chunk ? last / how->chunk * how->chunk : first;
        const int64_t end = how->block ? end_of_block(e, t, how->block) : last + 1;
        double sum = how->sinks ? exp(env_at(env_get(e, "sinks"), i % 4)) : 0;
        for (int64_t j = first; j < end; j++) {
            double score = 0;
            for (int64_t d = 0; d < 6; d++)
                score += env_at(env_get(e, "q"), i * 6 + d) *
                         kv_at(e, "kpool", how->shared ? "kpool" : "k", seq, j, g, d);
            score *= 0.75;
            sum += p[j] = exp(how->softcap ? how->softcap * tanh(score / how->softcap) : score);
        }
        for (int64_t j = first; j < end; j++)
            for (int64_t d = 0; d < 6; d++)
                y[i * 6 + d] +=
                    p[j] / sum * kv_at(e, "vpool", how->shared ? "vpool" : "v", seq, j, g, d);
    }
    return y;
}

static double *attention(test_env *e)
{
    return attend(e, &(seeing){0});
}

static double *attention_in_window(test_env *e)
{
    return attend(e, &(seeing){.window = 3});
}

static double *attention_in_chunk(test_env *e)
{
    return attend(e, &(seeing){.chunk = 255, .softcap = 0.3});
}

static double *attention_in_block(test_env *e)
{
    return attend(e, &(seeing){.block = 4, .sinks = true});
}

static double *attention_shared(test_env *e)
{
    return attend(e, &(seeing){.window = 200, .sinks = true, .softcap = 2, .shared = true});
}

/* ---- one op, three ways --------------------------------------------------------------------- */

#define MODULE(args, result, op) \
    "hir module @t {\n  func @f(" args ") -> (" result ") {\n    " op "\n    return %y\n  }\n}\n"

#define POOLED(args, op)                                                                 \
    MODULE("%q: f32[T,24], " args "%kpool: f32[PAGES,2,6,256] state \"kpool\", %vpool: " \
           "f32[PAGES,2,256,6] state \"vpool\", %pos: i32[T], %seq: i32[T], %table: "    \
           "i32[SEQS,SLOTS]",                                                            \
           "f32[T,24]", op)

static const struct {
    const char *text;
    double *(*reference)(test_env *e);
    double
        tolerance; /* absolute: f32 rounding of results of size about 1, times the sums' length */
} cases[] = {
    {MODULE("%ids: i32[T], %w: f32[11,7]", "f32[T,7]", "%y = embed %ids, %w : f32[T,7]"), embed, 0},
    {MODULE("%ids: i32[T], %w: bf16[11,7]", "f32[T,7]", "%y = embed %ids, %w : f32[T,7]"), embed,
     0},
    {MODULE("%x: f32[T,9], %rows: i32[R]", "f32[R,9]", "%y = select_rows %x, %rows : f32[R,9]"),
     select_rows, 0},
    {MODULE("%x: f32[T,37], %w: f32[37]", "f32[T,37]",
            "%y = rms_norm %x, %w {eps=0.01} : f32[T,37]"),
     rms_norm, 2e-6},
    {MODULE("%x: f32[3,T,17], %w: f16[17]", "f32[3,T,17]",
            "%y = rms_norm %x, %w {eps=0.01} : f32[3,T,17]"),
     rms_norm, 2e-6},
    {MODULE("%x: f32[T,12], %w: f32[4]", "f32[T,12]",
            "%y = rms_norm %x, %w {eps=0.01, heads=3} : f32[T,12]"),
     rms_norm, 2e-6},
    {MODULE("%x: f32[T,33], %w: f32[19,33]", "f32[T,19]", "%y = linear %x, %w : f32[T,19]"), linear,
     5e-6},
    {MODULE("%x: f32[T,33], %w: bf16[19,33], %b: f16[19]", "f32[T,19]",
            "%y = linear %x, %w, %b : f32[T,19]"),
     linear, 5e-6},
    {MODULE("%x: f32[3,T,5], %w: f32[4,5], %b: f32[4]", "f32[3,T,4]",
            "%y = linear %x, %w, %b : f32[3,T,4]"),
     linear, 2e-6},
    {MODULE("%a: f32[T,3], %b: f32[T,3]", "f32[T,3]", "%y = map %a, %b {fn=add} : f32[T,3]"), add,
     3e-7},
    {MODULE("%g: f32[T,13], %u: f32[T,13]", "f32[T,13]", "%y = swiglu %g, %u : f32[T,13]"), swiglu,
     2e-6},
    {MODULE("%x: f32[T,30], %cos: f32[T,5], %sin: f32[T,5]", "f32[T,30]",
            "%y = rope %x, %cos, %sin {heads=3, head_dim=10} : f32[T,30]"),
     rope, 1e-6},
    {MODULE(
         "%q: f32[T,24], %k: f32[T,12], %v: f32[T,12], %kpool: f32[PAGES,2,6,256] state \"kpool\", "
         "%vpool: f32[PAGES,2,256,6] state \"vpool\", %pos: i32[T], %seq: i32[T], %table: "
         "i32[SEQS,SLOTS]",
         "f32[T,24]",
         "%y, %kp, %vp = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table "
         "{scale=0.75, heads=4, kv_heads=2, head_dim=6} : (f32[T,24], f32[PAGES,2,6,256], "
         "f32[PAGES,2,256,6])"),
     attention, 5e-6},
    {MODULE(
         "%q: f32[T,24], %k: f32[T,12], %v: f32[T,12], %kpool: f32[PAGES,2,6,256] state \"kpool\", "
         "%vpool: f32[PAGES,2,256,6] state \"vpool\", %pos: i32[T], %seq: i32[T], %table: "
         "i32[SEQS,SLOTS]",
         "f32[T,24]",
         "%y, %kp, %vp = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table "
         "{scale=0.75, window=3, heads=4, kv_heads=2, head_dim=6} : (f32[T,24], "
         "f32[PAGES,2,6,256], f32[PAGES,2,256,6])"),
     attention_in_window, 5e-6},
    {POOLED("%k: f32[T,12], %v: f32[T,12], %sinks: f32[4], ",
            "%y, %kp, %vp = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table {scale=0.75, "
            "chunk=255, softcap=0.3, heads=4, kv_heads=2, head_dim=6} : (f32[T,24], "
            "f32[PAGES,2,6,256], f32[PAGES,2,256,6])"),
     attention_in_chunk, 5e-6},
    {POOLED("%k: f32[T,12], %v: f32[T,12], %sinks: bf16[4], ",
            "%y, %kp, %vp = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table, %sinks "
            "{scale=0.75, block=4, sinks=1, heads=4, kv_heads=2, head_dim=6} : (f32[T,24], "
            "f32[PAGES,2,6,256], f32[PAGES,2,256,6])"),
     attention_in_block, 5e-6},
    {POOLED(
         "%sinks: f32[4], ",
         "%y = attention %q, %kpool, %vpool, %pos, %seq, %table, %sinks {scale=0.75, window=200, "
         "softcap=2, sinks=1, shared=1, heads=4, kv_heads=2, head_dim=6} : f32[T,24]"),
     attention_shared, 5e-6},
    {MODULE("%x: f32[T,30], %cos: f32[T,5], %sin: f32[T,5]", "f32[T,30]",
            "%y = rope %x, %cos, %sin {heads=3, head_dim=10, interleaved=1} : f32[T,30]"),
     rope_interleaved, 1e-6},
    {MODULE("%x: f32[3,T,7]", "f32[3,T,7]", "%y = map %x {fn=exp} : f32[3,T,7]"), map_exp, 2e-6},
    {MODULE("%x: f32[T,13], %w: bf16[13], %b: f16[13]", "f32[T,13]",
            "%v = cast %w : f32[13]\n    %u = broadcast %v {axes=[1]} : f32[T,13]\n    "
            "%a = cast %b : f32[13]\n    %c = broadcast %a {axes=[1]} : f32[T,13]\n    "
            "%y = map %u, %x, %c {fn=fma} : f32[T,13]"),
     map_fma, 5e-7},
    {MODULE("%x: f32[T,13]", "f32[T,13]",
            "%c = const {value=0.25} : f32\n    %y = map %c, %x {fn=max} : f32[T,13]"),
     map_max, 0},
    {MODULE("%w: bf16[13]", "f32[13]",
            "%c = const {value=1} : f32\n    %v = cast %w : f32[13]\n    "
            "%y = map %c, %v {fn=add} : f32[13]"),
     map_one_plus, 3e-7},
    {MODULE("%x: f32[T,21], %cos: f32[T,2], %sin: f32[T,2]", "f32[T,21]",
            "%y = rope %x, %cos, %sin {heads=3, head_dim=7} : f32[T,21]"),
     rope_partial, 1e-6},
    {MODULE("%x: f32[T,21], %cos: f32[T,2], %sin: f32[T,2]", "f32[T,21]",
            "%y = rope %x, %cos, %sin {heads=3, head_dim=7, interleaved=1} : f32[T,21]"),
     rope_partial_interleaved, 1e-6},
    {MODULE("%a: f32[T,3], %b: f32[T,5]", "f32[T,8]", "%y = concat %a, %b {axis=1} : f32[T,8]"),
     concat, 0},
    {MODULE("%x: f32[T,12]", "f32[T,3,4]", "%y = reshape %x : f32[T,3,4]"), same, 0},
    {MODULE("%x: f32[T,12]", "f32[T,12]",
            "%p = reshape %x : f32[T,2,3,2]\n    "
            "%q = transpose %p {perm=[0,1,3,2]} : f32[T,2,2,3]\n    %y = reshape %q : f32[T,12]"),
     halve_pairs, 0},
    /* of all the axes that there are */
    {MODULE("%x: f32[1,2,1,T,1,1,2,5], %w: f32[5]", "f32[1,2,1,T,1,1,2,5]",
            "%y = rms_norm %x, %w {eps=0.01} : f32[1,2,1,T,1,1,2,5]"),
     rms_norm, 2e-6},
    {MODULE("%x: f32[1,2,1,T,1,2,8], %w: f32[4]", "f32[1,2,1,T,1,2,8]",
            "%y = rms_norm %x, %w {eps=0.01, heads=2} : f32[1,2,1,T,1,2,8]"),
     rms_norm, 2e-6},
};
enum { NCASES = sizeof(cases) / sizeof(cases[0]) };

static void set_up(test_env *e)
{
    env_init(e, 7);
    env_set(e, "T", T);
    env_set(e, "R", 3);
    env_set(e, "PAGES", POOL_PAGES);
    env_set(e, "SEQS", SEQS);
    env_set(e, "SLOTS", SLOTS);
    env_add_ints(e, "ids", T, (int32_t[]){10, 0, 3, 3, 7});
    env_add_ints(e, "rows", 3, (int32_t[]){4, 0, 4});
    /* two sequences; the first crosses into its second page in this step */
    env_add_ints(e, "pos", T, (int32_t[]){254, 255, 256, 0, 1});
    env_add_ints(e, "seq", T, (int32_t[]){0, 0, 0, 1, 1});
    memcpy(env_add(e, "table", RLX_I32, 2, (int64_t[]){SEQS, SLOTS})->data, (int32_t[]){3, 1, 0, 2},
           sizeof(int32_t) * SEQS * SLOTS);
}

static void check_result(const rlx_eval_tensor *got, const double *want, double tolerance,
                         const char *how)
{
    for (int64_t i = 0; i < env_elems(got); i++) {
        const double d = fabs(env_at(got, i) - want[i]);
        ck_assert_msg(d <= tolerance, "%s: element %lld is %.9g, not %.9g", how, (long long)i,
                      env_at(got, i), want[i]);
    }
}

START_TEST(computes)
{
    test_env e, again;
    rlx_ir_module *hir, *mir;
    rlx_eval_tensor y = {0}, z = {0};
    set_up(&e);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", cases[_i].text, &hir));
    assert_ok(rlx_ir_verify(hir));
    env_bind(&e, hir, "f", 2);
    env_copy(&again, &e);
    double *want = cases[_i].reference(&e);
    assert_ok(rlx_hir_eval(hir, "f", &e.eval, &y, 1));
    check_result(&y, want, cases[_i].tolerance, "evaluated");
    assert_ok(rlx_hir_lower(hir, &mir));
    assert_ok(rlx_mir_eval(mir, "f", &again.eval, &z, 1));
    check_result(&z, want, cases[_i].tolerance, "lowered");
    for (int i = 0; i < e.n; i++) /* pools were written alike, and nothing else was written */
        ck_assert(env_distance(&e.tensor[i], &again.tensor[i]) == 0);
    free(y.data);
    free(z.data);
    free(want);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    env_deinit(&e);
    env_deinit(&again);
}
END_TEST

START_TEST(prints_what_it_parses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *a, *b;
    rlx_text first = {0}, second = {0};
    assert_ok(rlx_ir_parse(&rlx_hir_level, dims, "case", cases[_i].text, &a));
    rlx_ir_print(a, 0, &first);
    assert_ok(rlx_ir_parse(&rlx_hir_level, dims, "again", first.data, &b));
    rlx_ir_print(b, 0, &second);
    ck_assert_str_eq(first.data, second.data);
    rlx_text_deinit(&first);
    rlx_text_deinit(&second);
    rlx_ir_module_destroy(a);
    rlx_ir_module_destroy(b);
    rlx_dims_destroy(dims);
}
END_TEST

/* ---- constraints ---------------------------------------------------------------------------- */

#define ATTENTION(q, k, kp, vp, pos, table, attrs)                                     \
    MODULE("%q: " q ", %k: " k ", %v: f32[T,12], %kp: " kp ", %vp: " vp ", %pos: " pos \
           ", %seq: i32[T], %table: " table,                                           \
           "f32[T,24]",                                                                \
           "%y, %a, %b = attention %q, %k, %v, %kp, %vp, %pos, %seq, %table {" attrs   \
           "} : (f32[T,24], " kp ", " vp ")")
#define Q "f32[T,24]"
#define K "f32[T,12]"
#define KP "f32[PAGES,2,6,256]"
#define VP "f32[PAGES,2,256,6]"
#define POS "i32[T]"
#define TABLE "i32[SEQS,SLOTS]"
#define ATTRS "scale=1, heads=4, kv_heads=2, head_dim=6"
/* with pools that are states, so that nothing but the window is wrong */
#define WINDOW(w)                                                                                  \
    MODULE("%q: " Q ", %k: " K ", %v: " K ", %kp: " KP " state \"k\", %vp: " VP                    \
           " state \"v\", %pos: " POS ", %seq: i32[T], %table: " TABLE,                            \
           "f32[T,24]",                                                                            \
           "%y, %a, %b = attention %q, %k, %v, %kp, %vp, %pos, %seq, %table {" ATTRS ", window=" w \
           "} : (f32[T,24], " KP ", " VP ")")
#define CALLS(callee, args, op)                                                   \
    "hir module @t {\n  " callee "\n  func @f(" args ") -> (f32[T,3]) {\n    " op \
    "\n    return %y\n  }\n}\n"
#define LAYER \
    "func @g(%x: f32[T,3]) -> (f32[T,3]) { %y = map %x, %x {fn=add} : f32[T,3] return %y }"

static const struct {
    const char *text, *error;
} wrong[] = {
    {MODULE("%i: i64[T], %w: f32[3,3]", "f32[T,3]", "%y = embed %i, %w : f32[T,3]"), "embed C1"},
    {MODULE("%i: i32[T], %w: i8[3,3]", "f32[T,3]", "%y = embed %i, %w : f32[T,3]"), "embed C2"},
    {MODULE("%x: f16[T,3], %r: i32[R]", "f32[R,3]", "%y = select_rows %x, %r : f32[R,3]"),
     "select_rows C1"},
    {MODULE("%x: f32[T,3], %r: i32[R,1]", "f32[R,3]", "%y = select_rows %x, %r : f32[R,3]"),
     "select_rows C2"},
    {MODULE("%x: f32[3,T], %w: f32[T]", "f32[3,T]", "%y = rms_norm %x, %w {eps=1} : f32[3,T]"),
     "rms_norm C1"},
    {MODULE("%x: f32[T,3], %w: f32[4]", "f32[T,3]", "%y = rms_norm %x, %w {eps=1} : f32[T,3]"),
     "rms_norm C2"},
    {MODULE("%x: f32[T,3], %w: f32[3]", "f32[T,3]", "%y = rms_norm %x, %w : f32[T,3]"),
     "rms_norm C3"},
    {MODULE("%x: f32[T,3], %w: f32[3]", "f32[T,3]", "%y = rms_norm %x, %w {eps=-1} : f32[T,3]"),
     "rms_norm C3"},
    {MODULE("%x: f32[T,6], %w: f32[6]", "f32[T,6]",
            "%y = rms_norm %x, %w {eps=1, heads=2} : f32[T,6]"),
     "rms_norm C2"},
    {MODULE("%x: f32[T,6], %w: f32[6]", "f32[T,6]",
            "%y = rms_norm %x, %w {eps=1, heads=0} : f32[T,6]"),
     "rms_norm C4"},
    {MODULE("%x: f16[T,3], %w: f32[4,3]", "f32[T,4]", "%y = linear %x, %w : f32[T,4]"),
     "linear C1"},
    {MODULE("%x: f32[T,3], %w: f32[4,5]", "f32[T,4]", "%y = linear %x, %w : f32[T,4]"),
     "linear C2"},
    {MODULE("%x: f32[T,3], %w: f32[4,3], %b: f32[3]", "f32[T,4]",
            "%y = linear %x, %w, %b : f32[T,4]"),
     "linear C3"},
    {MODULE("%x: f32[T,3], %w: f32[4,3], %b: f32[4]", "f32[T,4]",
            "%y = linear %x, %w, %b, %b : f32[T,4]"),
     "linear C3"},
    {MODULE("%a: f32[T,3], %b: f32[R,3]", "f32[T,3]", "%y = swiglu %a, %b : f32[T,3]"),
     "swiglu C1"},
    /* tensor ops: as MIR (tests/golden/mir/verify_*.rlx); here that HIR asks it */
    {MODULE("%x: f32[T,3]", "f32[T,3]", "%y = map %x : f32[T,3]"), "map C1"},
    {MODULE("%x: f32[T,3]", "f32[T,3]", "%y = map %x, %x {fn=mod} : f32[T,3]"), "map C4"},
    {MODULE("%x: f32[T,3], %w: f32[R,3]", "f32[R,3]", "%y = map %x, %w {fn=mul} : f32[R,3]"),
     "map C3"},
    {MODULE("", "f32", "%y = const : f32"), "const C2"},
    {MODULE("%a: f32[T,3], %b: f32[R,4]", "f32[T,7]", "%y = concat %a, %b {axis=1} : f32[T,7]"),
     "concat C2"},
    {MODULE("%x: f32[T,6]", "f32[T,7]", "%y = reshape %x : f32[T,7]"), "reshape C2"},
    {MODULE("%x: q8_0[4,32]", "q8_0[2,32]", "%y = slice %x {axis=0, start=0, size=2} : q8_0[2,32]"),
     "F4"},
    {MODULE("%x: f32[T,6], %c: f32[T,1], %s: f32[T,1]", "f32[T,6]",
            "%y = rope %x, %c, %s {heads=0, head_dim=3} : f32[T,6]"),
     "rope C1"},
    {MODULE("%x: f32[T,6], %c: f32[T,2], %s: f32[T,2]", "f32[T,6]",
            "%y = rope %x, %c, %s {heads=2, head_dim=4} : f32[T,6]"),
     "rope C2"},
    {MODULE("%x: f32[T,8], %c: f32[T,2], %s: f32[T,4]", "f32[T,8]",
            "%y = rope %x, %c, %s {heads=2, head_dim=4} : f32[T,8]"),
     "rope C3"},
    {MODULE("%x: f32[T,6], %c: f32[T,2], %s: f32[T,2]", "f32[T,6]",
            "%y = rope %x, %c, %s {heads=2, head_dim=3} : f32[T,6]"),
     "rope C3"},
    {MODULE("%x: f32[T,6], %c: f32[T,0], %s: f32[T,0]", "f32[T,6]",
            "%y = rope %x, %c, %s {heads=2, head_dim=3} : f32[T,6]"),
     "rope C3"},
    {ATTENTION(Q, K, KP, VP, POS, TABLE, "scale=1, heads=4, kv_heads=3, head_dim=6"),
     "attention C1"},
    {ATTENTION(Q, K, KP, VP, POS, TABLE, "heads=4, kv_heads=2, head_dim=6"), "attention C1"},
    {ATTENTION("f32[T,20]", K, KP, VP, POS, TABLE, ATTRS), "attention C2"},
    {ATTENTION(Q, "f32[R,12]", KP, VP, POS, TABLE, ATTRS), "attention C3"},
    {ATTENTION(Q, K, "f32[PAGES,2,256,6]", VP, POS, TABLE, ATTRS), "attention C4"},
    {ATTENTION(Q, K, KP, "f32[MORE,2,256,6]", POS, TABLE, ATTRS), "attention C4"},
    {ATTENTION(Q, K, KP, VP, "i32[R]", TABLE, ATTRS), "attention C5"},
    {ATTENTION(Q, K, KP, VP, POS, "i64[SEQS,SLOTS]", ATTRS), "attention C5"},
    {ATTENTION(Q, K, KP, VP, POS, TABLE, ATTRS), "attention C6"},
    {WINDOW("4, chunk=4"), "attention C7: 2 of window, chunk and block"},
    {WINDOW("4, softcap=-1"), "attention C7: softcap=-1"},
    {POOLED("%k: f32[T,12], %v: f32[T,12], ",
            "%y, %a, %b = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table {" ATTRS
            ", block=48} : (" Q ", " KP ", " VP ")"),
     "attention C7: block=48 does not divide"},
    {POOLED("%k: f32[T,12], %v: f32[T,12], ",
            "%y, %a, %b = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table {" ATTRS
            ", sinks=1} : (" Q ", " KP ", " VP ")"),
     "attention C8"},
    {POOLED("%k: f32[T,12], %v: f32[T,12], %s: f32[3], ",
            "%y, %a, %b = attention %q, %k, %v, %kpool, %vpool, %pos, %seq, %table, %s {" ATTRS
            ", sinks=1} : (" Q ", " KP ", " VP ")"),
     "attention C9"},
    {POOLED("", "%y, %a, %b = attention %q, %kpool, %vpool, %pos, %seq, %table {" ATTRS
                ", shared=1} : (" Q ", " KP ", " VP ")"),
     "attention C8: 6 operands and 3 results"},
    {WINDOW("0"), "attention C7"},
    {WINDOW("-4"), "attention C7"},
    {CALLS("", "%x: f32[T,3]", "%y = call %x {callee=@f, first=0, count=1} : f32[T,3]"), "call C1"},
    {CALLS("", "%x: f32[T,3]", "%y = call %x {callee=@h, first=0, count=1} : f32[T,3]"), "call C1"},
    {CALLS(LAYER, "%x: f32[T,4]", "%y = call %x {callee=@g, first=0, count=1} : f32[T,3]"),
     "call C2"},
    {CALLS(LAYER, "%x: f32[T,3]", "%y = call %x, %x {callee=@g, first=0, count=1} : f32[T,3]"),
     "call C2"},
    {CALLS(LAYER, "%x: f32[T,3]",
           "%y, %z = call %x {callee=@g, first=0, count=1} : (f32[T,3], f32[T])"),
     "call C3"},
    {CALLS(LAYER, "%x: f32[T,3]", "%y = call %x {callee=@g, first=0, count=0} : f32[T,3]"),
     "call C4"},
    {CALLS(LAYER, "%x: f32[T,3]", "%y = call %x {callee=@g, first=-1, count=1} : f32[T,3]"),
     "call C4"},
    {CALLS("func @g(%x: f32[T,3]) -> (f32[T,3], f32[T,3]) { return %x, %x }", "%x: f32[T,3]",
           "%y, %z = call %x {callee=@g, first=0, count=2} : (f32[T,3], f32[T,3])"),
     "call C5"},
    {"hir module @t { func @f(%a: f32[3] input \"a\", %b: f32[3] input \"a\") { return } }",
     "function F3"},
};
enum { NWRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(refuses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(&rlx_hir_level, dims, "wrong", wrong[_i].text, &m);
    if (!st)
        st = rlx_ir_verify(m);
    assert_error(st, RLX_INVALID_IR, wrong[_i].error);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

/* ---- data that cannot be -------------------------------------------------------------------- */

static const struct {
    int op;           /* index of `cases` */
    const char *name; /* the integer tensor that gets ... */
    int32_t value;    /* ... this as its element 1 */
    const char *error;
} bad_data[] = {
    {0, "ids", 11, "id 11 of token 1 is not in 0..10"},
    {0, "ids", -1, "id -1 of token 1"},
    {2, "rows", 5, "row 5 is not in 0..4"},
    {12, "pos", 512, "outside the table"},
    {12, "seq", 2, "outside the table"},
    {12, "table", 5, "the pool has 5"},
};
enum { NBAD = sizeof(bad_data) / sizeof(bad_data[0]) };

START_TEST(refuses_data)
{
    test_env e;
    rlx_ir_module *m;
    rlx_eval_tensor y = {0};
    set_up(&e);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", cases[bad_data[_i].op].text, &m));
    env_bind(&e, m, "f", 1);
    ((int32_t *)env_get(&e, bad_data[_i].name)->data)[1] = bad_data[_i].value;
    assert_error(rlx_hir_eval(m, "f", &e.eval, &y, 1), RLX_INVALID_ARGUMENT, bad_data[_i].error);
    rlx_ir_module_destroy(m);
    env_deinit(&e);
}
END_TEST

START_TEST(refuses_bindings)
{
    test_env e;
    rlx_ir_module *m;
    rlx_eval_tensor y = {0};
    set_up(&e);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", cases[9].text, &m));
    assert_error(rlx_hir_eval(m, "f", &e.eval, &y, 1), RLX_NOT_FOUND, "nothing given for \"a\"");
    env_add_random(&e, "a", RLX_F32, 2, (int64_t[]){T, 4}, 1);
    assert_error(rlx_hir_eval(m, "f", &e.eval, &y, 1), RLX_INVALID_ARGUMENT,
                 "\"a\" should be f32[5,3], got f32[5,4]");
    assert_error(rlx_hir_eval(m, "g", &e.eval, &y, 1), RLX_NOT_FOUND, "no function @g");
    assert_error(rlx_hir_eval(m, "f", &e.eval, &y, 2), RLX_INVALID_ARGUMENT, "1 results, 2 wanted");
    rlx_ir_module_destroy(m);
    env_deinit(&e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hir ops");
    TCase *c = tcase_create("ops");
    tcase_add_loop_test(c, computes, 0, NCASES);
    tcase_add_loop_test(c, prints_what_it_parses, 0, NCASES);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    tcase_add_loop_test(c, refuses_data, 0, NBAD);
    tcase_add_test(c, refuses_bindings);
    suite_add_tcase(s, c);
    return run_suite(s, 2 * NCASES + NWRONG + NBAD + 1);
}
