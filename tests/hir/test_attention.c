/* tests/hir/test_attention.c: dense attention and rotations: the evaluator against the lowered
 * module for every option, at two sets of extents; and every constraint's error. What it means in
 * numbers is held against torch in tests/torch. */
#include <math.h>

#include "tests/base/suite.h"
#include "tests/hir/env.h"

#define OP(args, y, op) \
    "hir module @t {\n  func @f(" args ") -> (" y ") {\n    " op "\n    return %y\n  }\n}\n"
/* B 2 (a symbol), N 6, G 2, D 5, E 3 */
#define QKV "%q: f32[B,S,6,5], %k: f32[B,K,2,5], %v: f32[B,K,2,3]"
#define Y "f32[B,S,6,3]"
#define CASE(more, operands, attrs) \
    OP(QKV more, Y, "%y = dense_attention %q, %k, %v" operands " {scale=0.6" attrs "} : " Y)

static const char *const cases[] = {
    CASE("", "", ""),
    CASE("", "", ", after=0"),
    CASE("", "", ", before=1, after=0, softcap=0.4"),
    CASE("", "", ", before=2, after=2"),
    CASE("", "", ", after=0, aligned=1"),
    CASE("", "", ", after=0, at=2, chunk=3"),
    CASE("", "", ", block=2"),
    CASE(", %m: i32[B,K] input \"valid\"", ", %m", ", with=\"valid\""),
    CASE(", %m: i32[B] input \"lengths\"", ", %m", ", after=0, with=\"lengths\""),
    CASE(", %o: i32 input \"one\", %m: i32[B] input \"lengths\"", ", %o, %m",
         ", after=0, with=\"offset lengths\""),
    CASE(", %o: i32[B] input \"offsets\", %b: f32[6,1,K]", ", %o, %b",
         ", after=1, before=3, with=\"offset bias\""),
    CASE(", %b: f32[B,1,S,K], %s: f16[6]", ", %b, %s", ", with=\"bias sinks\""),
    CASE(", %b: f32[1,6,S,1], %s: f32[6], %r: bf16[4,5]", ", %r, %b, %s",
         ", left=2, softcap=2, with=\"relative bias sinks\""),
    /* no batch, one head per kv head; two batch axes; one key, one head */
    OP("%q: f32[S,2,5], %k: f32[K,2,5], %v: f32[K,2,5], %b: f32[2,S,K]", "f32[S,2,5]",
       "%y = dense_attention %q, %k, %v, %b {scale=1, with=\"bias\"} : f32[S,2,5]"),
    OP("%q: f32[B,3,S,4,2], %k: f32[B,3,K,2,2], %v: f32[B,3,K,2,2]", "f32[B,3,S,4,2]",
       "%y = dense_attention %q, %k, %v {scale=1, after=0} : f32[B,3,S,4,2]"),
    OP("%q: f32[B,S,1,5], %k: f32[B,1,1,5], %v: f32[B,1,1,5]", "f32[B,S,1,5]",
       "%y = dense_attention %q, %k, %v {scale=1, after=0} : f32[B,S,1,5]"),
    /* rotations: leading axes, tables of fewer, an entry for each element */
    OP("%x: f32[B,S,2,14], %c: f32[S,2,3], %s: f32[S,2,3]", "f32[B,S,2,14]",
       "%y = rope %x, %c, %s {heads=2, head_dim=7} : f32[B,S,2,14]"),
    OP("%x: f32[B,S,14], %c: f32[4], %s: f32[4]", "f32[B,S,14]",
       "%y = rope %x, %c, %s {heads=2, head_dim=7, each=1} : f32[B,S,14]"),
    OP("%x: f32[B,S,16], %c: f32[B,S,8], %s: f32[B,S,8]", "f32[B,S,16]",
       "%y = rope %x, %c, %s {heads=2, head_dim=8, interleaved=1, each=1} : f32[B,S,16]"),
};
enum { NCASES = sizeof cases / sizeof *cases };
static const struct {
    int64_t b, s, k;
} extents[] = {{2, 4, 7}, {1, 5, 3}, {2, 1, 1}, {2, 3, 0}, {0, 2, 2}};
enum { NEXTENTS = sizeof extents / sizeof *extents };

static void set_up(test_env *e, int i)
{
    const int64_t b = extents[i].b, s = extents[i].s, k = extents[i].k;
    env_init(e, 5);
    env_set(e, "B", b);
    env_set(e, "S", s);
    env_set(e, "K", k);
    env_add_ints(e, "one", 1, (int32_t[]){1})->rank = 0;
    env_add_ints(e, "offsets", b, (int32_t[]){1, -1});
    env_add_ints(e, "lengths", b, (int32_t[]){2, 0}); /* the second sequence sees nothing */
    rlx_eval_tensor *valid = env_add(e, "valid", RLX_I32, 2, (int64_t[]){b, k});
    for (int64_t j = 0; j < b * k; j++)
        ((int32_t *)valid->data)[j] = j % 3 != 1 ? -4 : 0;
}

START_TEST(lowers_to_what_it_is)
{
    test_env e;
    rlx_ir_module *hir, *mir;
    rlx_eval_tensor y = {0}, z = {0};
    set_up(&e, _i % NEXTENTS);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", cases[_i / NEXTENTS], &hir));
    assert_ok(rlx_ir_verify(hir));
    env_bind(&e, hir, "f", 1.5);
    assert_ok(rlx_hir_eval(hir, "f", &e.eval, &y, 1));
    assert_ok(rlx_hir_lower(hir, &mir));
    assert_ok(rlx_mir_eval(mir, "f", &e.eval, &z, 1));
    const double far = env_distance(&y, &z);
    ck_assert_msg(far <= 2e-6, "%.9g apart", far);
    for (int64_t i = 0; i < env_elems(&y); i++)
        ck_assert(isfinite(env_at(&y, i)));
    free(y.data);
    free(z.data);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    env_deinit(&e);
}
END_TEST

/* A row of scores that are all -inf is 0, unless there are hidden keys, which are above them. */
START_TEST(minus_infinity)
{
#define ROWS(attrs)                                                                                \
    OP("%q: f32[2,1,5], %k: f32[3,1,5], %v: f32[3,1,3], %b: f32[1,2,3] input \"b\"", "f32[2,1,3]", \
       "%y = dense_attention %q, %k, %v, %b {scale=1, with=\"bias\"" attrs "} "                    \
       ": f32[2,1,3]")
    static const char *const texts[] = {ROWS(""), ROWS(", before=0")};
    for (int i = 0; i < 2; i++) {
        test_env e;
        rlx_ir_module *hir, *mir;
        rlx_eval_tensor y = {0}, z = {0};
        env_init(&e, 5);
        assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", texts[i], &hir));
        float *bias = env_add(&e, "b", RLX_F32, 3, (int64_t[]){1, 2, 3})->data;
        /* of the first row one key, of the second all */
        bias[0] = bias[3] = bias[4] = bias[5] = -INFINITY;
        env_bind(&e, hir, "f", 1);
        assert_ok(rlx_hir_eval(hir, "f", &e.eval, &y, 1));
        assert_ok(rlx_hir_lower(hir, &mir));
        assert_ok(rlx_mir_eval(mir, "f", &e.eval, &z, 1));
        for (int64_t j = 0; j < 6; j++) {
            ck_assert(fabs(env_at(&y, j) - env_at(&z, j)) <= 2e-6);
            ck_assert_int_eq(fabs(env_at(&z, j)) > 1e-30, j < 3 || i);
        }
        free(y.data);
        free(z.data);
        rlx_ir_module_destroy(mir);
        rlx_ir_module_destroy(hir);
        env_deinit(&e);
    }
}
END_TEST

#define WRONG(q, k, v, more, operands, attrs)  \
    OP("%q: " q ", %k: " k ", %v: " v more, q, \
       "%y = dense_attention %q, %k, %v" operands " {" attrs "} : " q)
#define Q "f32[B,S,6,5]"
#define K "f32[B,K,2,5]"

static const struct {
    const char *text, *error;
} wrong[] = {
    {WRONG("f32[S,6]", K, K, "", "", "scale=1"), "dense_attention C1: q is f32[B..,S,N,D]"},
    {WRONG("f16[B,S,6,5]", K, K, "", "", "scale=1"), "dense_attention C1"},
    {WRONG("f32[B,S,N,5]", K, K, "", "", "scale=1"), "dense_attention C1"},
    {WRONG(Q, "f32[B,K,4,5]", K, "", "", "scale=1"), "dense_attention C2: k is f32[B..,K,G,D]"},
    {WRONG(Q, "f32[C,K,2,5]", K, "", "", "scale=1"), "dense_attention C2"},
    {WRONG(Q, K, "f32[B,S,2,5]", "", "", "scale=1"), "dense_attention C3: v is f32[B..,K,G,E]"},
    {WRONG(Q, K, "f32[B,K,2,0]", "", "", "scale=1"), "dense_attention C3"},
    {WRONG(Q, K, K, "", "", ""), "dense_attention C4: scale is missing"},
    {WRONG(Q, K, K, "", "", "scale=1, softcap=0"), "dense_attention C4: softcap=0"},
    {WRONG(Q, K, K, "", "", "scale=1, with=\"colour\""), "dense_attention C5: with=\"colour\""},
    {WRONG(Q, K, K, "", "", "scale=1, with=\"bias\""),
     "dense_attention C5: 3 operands with 1 options"},
    {WRONG(Q, K, K, ", %a: f32[S,K]", ", %a, %a", "scale=1, with=\"bias bias\""),
     "dense_attention C5: with="},
    {WRONG(Q, K, K, ", %a: f32[B,K]", ", %a", "scale=1, with=\"valid\""),
     "dense_attention C6: valid is bool or i32 [B..,K], got f32[B,K]"},
    {WRONG(Q, K, K, ", %a: i32[K]", ", %a", "scale=1, with=\"lengths\""),
     "dense_attention C6: lengths are i32 [B..]"},
    {WRONG(Q, K, K, ", %a: i32[S]", ", %a", "scale=1, with=\"offset\""),
     "dense_attention C6: offset is i32"},
    {WRONG(Q, K, K, ", %a: f32[S,K]", ", %a", "scale=1, with=\"mask\""),
     "dense_attention C6: a mask is bool"},
    {WRONG(Q, K, K, ", %a: f32[2,S,K]", ", %a", "scale=1, with=\"bias\""),
     "dense_attention C6: a bias is a float"},
    {WRONG(Q, K, K, ", %a: f32[2]", ", %a", "scale=1, with=\"sinks\""),
     "dense_attention C6: sinks are a float [N]"},
    {WRONG(Q, K, K, ", %a: f32[4,5]", ", %a", "scale=1, left=4, with=\"relative\""),
     "dense_attention C6: relative is a float [L,D]"},
    {OP("%x: f32[B,S,8], %c: f32[B,2], %s: f32[B,2]", "f32[B,S,8]",
        "%y = rope %x, %c, %s {heads=2, head_dim=4} : f32[B,S,8]"),
     "rope C3: cos is f32[M..,R/2]"},
    {OP("%x: f32[B,S,8], %c: f32[S,3], %s: f32[S,3]", "f32[B,S,8]",
        "%y = rope %x, %c, %s {heads=2, head_dim=4, each=1} : f32[B,S,8]"),
     "rope C3: cos is f32[M..,R], R even"},
    {OP("%x: f32[B,S,8], %c: f32[S,2], %s: f32[S,2]", "f32[B,S,8]",
        "%y = rope %x, %c, %s {heads=2, head_dim=4, each=2} : f32[B,S,8]"),
     "rope C4: each=2"},
    {WRONG(Q, K, K, "", "", "scale=1, before=-1"), "dense_attention C7: before=-1"},
    {WRONG(Q, K, K, "", "", "scale=1, chunk=0"), "dense_attention C7: chunk=0"},
    {WRONG(Q, K, K, "", "", "scale=1, before=1073741825"), "dense_attention C7: before=1073741825"},
    {WRONG(Q, K, K, "", "", "scale=1, after=1073741825"), "dense_attention C7: after="},
    {WRONG(Q, K, K, "", "", "scale=1, at=1073741825"), "dense_attention C7: at="},
    {WRONG(Q, K, K, "", "", "scale=1, left=1073741825"), "dense_attention C7: left="},
    {WRONG(Q, K, K, "", "", "scale=1, chunk=1073741825"), "dense_attention C7: chunk="},
    {WRONG(Q, K, K, "", "", "scale=1, block=1073741825"), "dense_attention C7: block="},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

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

int main(void)
{
    Suite *s = suite_create("hir attention");
    TCase *c = tcase_create("attention");
    tcase_add_loop_test(c, lowers_to_what_it_is, 0, NCASES * NEXTENTS);
    tcase_add_test(c, minus_infinity);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    suite_add_tcase(s, c);
    return run_suite(s, NCASES * NEXTENTS + 1 + NWRONG);
}
