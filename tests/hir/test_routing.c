/* tests/hir/test_routing.c: the constraints of orders, routers and experts. What they compute is
 * held against torch in tests/torch/test_routing.c. */
#include "tests/base/suite.h"
#include "tests/hir/env.h"

#define TOP_K(x, attrs, y)                                                                     \
    "hir module @t { func @f(%x: " x ") { %y, %i = top_k %x " attrs " : (f32" y ", i32" y ") " \
    "return } }"
#define ROUTE(x, attrs)                                                              \
    "hir module @t { func @f(%x: " x ", %b: f32[6]) { %y, %i = route %x, %b {" attrs \
    "} : (f32[T,2], i32[T,2]) return } }"
#define EXPERTS(x, w, ids)                                                               \
    "hir module @t { func @f(%x: " x ", %w: " w ", %i: " ids ") { %y = experts %x, %w, " \
    "%i : f32[T,4] return } }"

static const struct {
    const char *text, *error;
} wrong[] = {
    {TOP_K("bool[T,3]", "{count=2}", "[T,2]"), "top_k C1: x is T[..,N] of numbers, got bool[T,3]"},
    {TOP_K("f32", "", ""), "top_k C1"},
    {TOP_K("f32[T,3]", "{count=4}", "[T,4]"), "top_k C2: count=4, which is not in 1..3"},
    {TOP_K("f32[T,3]", "{count=0}", "[T,0]"), "top_k C2"},
    {TOP_K("f32[3,T]", "{count=1}", "[3,1]"), "top_k C2: count=1, which is not in 1..T"},
    {TOP_K("f32[T,3]", "{kind=\"best\", count=2}", "[T,2]"), "top_k C3: kind is \"best\""},
    {ROUTE("f16[T,6]", "kind=\"softmax\", count=2"),
     "route C1: logits are f32[..,E] with a constant E, got f16[T,6]"},
    {ROUTE("f32[6,T]", "kind=\"softmax\", count=2"), "route C1"},
    {ROUTE("f32[T,8]", "kind=\"softmax\", count=2"),
     "route C2: bias is f32[E] with the E of the logits, got f32[6]"},
    {ROUTE("f32[T,6]", "count=2"), "route C3: kind is \"\""},
    {ROUTE("f32[T,6]", "kind=\"softmax\", count=7"), "route C4: count=7 of 6 experts"},
    {ROUTE("f32[T,6]", "kind=\"softmax\", count=2, groups=6, chosen=1"),
     "route C4: count=2 of 1 experts"},
    {ROUTE("f32[T,6]", "kind=\"softmax\", count=2, groups=4, chosen=1"),
     "route C5: 1 of 4 groups of 6 experts"},
    {ROUTE("f32[T,6]", "kind=\"softmax\", count=2, groups=3, chosen=4"), "route C5"},
    {ROUTE("f32[T,6]", "kind=\"sigmoid\", count=2, groups=6, chosen=3"), "route C5"},
    {EXPERTS("f16[T,3]", "f32[5,4,3]", "i32[T]"), "experts C1: x is f32[..,K], got f16[T,3]"},
    {EXPERTS("f32[T,3]", "f32[5,4,2]", "i32[T]"),
     "experts C2: w is a weight [E,N,K] with the K of x, got f32[5,4,2]"},
    {EXPERTS("f32[T,32]", "q8_0[4,32]", "i32[T]"), "experts C2"},
    {EXPERTS("f32[T,32]", "q8_0[0,4,32]", "i32[T]"), "experts C2"},
    {EXPERTS("f32[T,3]", "f32[5,4,3]", "i64[T]"), "experts C3"},
    {EXPERTS("f32[T,3]", "f32[5,4,3]", "i32[R]"),
     "experts C3: ids are i32[..] or i32[..,S] with the leading extents of x, got i32[R]"},
    {EXPERTS("f32[T,3]", "f32[5,4,3]", "i32[T,2,2]"), "experts C3"},
};
enum { NWRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(refuses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(&rlx_hir_level, dims, "wrong", wrong[_i].text, &m);
    assert_error(st, RLX_INVALID_IR, wrong[_i].error);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

/* An expert that is not there, by the evaluator; code reads another, which a caller must prevent.
 */
START_TEST(refuses_data)
{
    test_env e;
    rlx_ir_module *m;
    rlx_eval_tensor y = {0};
    env_init(&e, 3);
    env_set(&e, "T", 2);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case",
                           "hir module @t { func @f(%x: f32[T,3], %w: f32[5,4,3] weight \"w\", %i: "
                           "i32[T]) -> (f32[T,4]) { %y = experts %x, %w, %i : f32[T,4] return %y } "
                           "}",
                           &m));
    env_add_ints(&e, "i", 2, (int32_t[]){4, 5});
    env_bind(&e, m, "f", 1);
    assert_error(rlx_hir_eval(m, "f", &e.eval, &y, 1), RLX_INVALID_ARGUMENT,
                 "experts: id 5 of row 1 is not in 0..4");
    rlx_ir_module_destroy(m);
    env_deinit(&e);
}
END_TEST

/* Marks and choices of -inf are taken once each, by index, as lowered code does. */
START_TEST(takes_each_once)
{
    static const char *const kinds[] = {"softmax", "sigmoid"};
    static const float bias[][6] = {
        {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
        {-INFINITY, -INFINITY, 0, 0, -INFINITY, -INFINITY},
        {0, 0, -INFINITY, -INFINITY, -INFINITY, 0}};
    for (int i = 0; i < 6; i++) {
        char text[512];
        test_env e;
        rlx_ir_module *hir, *mir;
        rlx_eval_tensor y[2] = {0}, z[2] = {0};
        env_init(&e, 7);
        snprintf(
            text, sizeof text,
            "hir module @t { func @f(%%x: f32[2,6], %%b: f32[6] input \"b\") -> (f32[2,4], "
            "i32[2,4]) { %%y, %%i = route %%x, %%b {kind=\"%s\", count=4, groups=3, chosen=2} : "
            "(f32[2,4], i32[2,4]) return %%y, %%i } }",
            kinds[i % 2]);
        assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "case", text, &hir));
        memcpy(env_add(&e, "b", RLX_F32, 1, (int64_t[]){6})->data, bias[i / 2], sizeof *bias);
        env_bind(&e, hir, "f", 1);
        assert_ok(rlx_hir_eval(hir, "f", &e.eval, y, 2));
        assert_ok(rlx_hir_lower(hir, &mir));
        assert_ok(rlx_mir_eval(mir, "f", &e.eval, z, 2));
        ck_assert(env_distance(&y[0], &z[0]) <= 1e-6);
        ck_assert(env_distance(&y[1], &z[1]) == 0);
        for (int j = 0; j < 2; j++) {
            free(y[j].data);
            free(z[j].data);
        }
        rlx_ir_module_destroy(mir);
        rlx_ir_module_destroy(hir);
        env_deinit(&e);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hir routing");
    TCase *c = tcase_create("routing");
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    tcase_add_test(c, refuses_data);
    tcase_add_test(c, takes_each_once);
    suite_add_tcase(s, c);
    return run_suite(s, NWRONG + 2);
}
