/* Building MIR in C: a module that verifies, and what becomes of a mistake. */
#include "tests/mir/world.h"

START_TEST(builds_a_module)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m;
    assert_ok(rlx_ir_module_create(&rlx_mir_level, dims, "built", &m));
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_dim t = rlx_dim_symbol(dims, "T");
    rlx_ir_type wide = rlx_ir_tensor(RLX_F32, 2, (rlx_dim[]){t, 8});
    rlx_ir_func *f = rlx_ir_build_func(&b, "main", 1, &wide);
    rlx_ir_value *x = rlx_ir_build_arg(&b, f, RLX_ROLE_INPUT, "x", "x", wide);
    rlx_ir_value *w = rlx_ir_build_arg(&b, f, RLX_ROLE_WEIGHT, "w", "w",
                                       rlx_ir_tensor(RLX_BF16, 2, (rlx_dim[]){4, 8}));
    rlx_ir_value *sum = rlx_mir_build_reduce(&b, RLX_FN_ADD, x);
    rlx_ir_value *rows = rlx_mir_build_broadcast(&b, sum, 2, wide.dim, (int64_t[]){0});
    rlx_ir_value *y = rlx_mir_build_map2(&b, RLX_FN_SUB, x, rows);
    y = rlx_mir_build_contract(&b, y, rlx_mir_build_cast(&b, w, RLX_F32));
    y = rlx_mir_build_concat(&b, 2, (rlx_ir_value *[]){y, rlx_mir_build_map1(&b, RLX_FN_NEG, y)},
                             1);
    y = rlx_mir_build_reshape(&b, y, 3, (rlx_dim[]){t, 2, 4});
    y = rlx_mir_build_transpose(&b, y, (int64_t[]){0, 2, 1});
    y = rlx_mir_build_slice(&b, y, 2, 0, 2);
    y = rlx_mir_build_reshape(&b, y, 2, wide.dim);
    y = rlx_mir_build_map3(&b, RLX_FN_FMA, y, rlx_mir_build_const(&b, RLX_F32, 2), x);
    ck_assert_ptr_eq(rlx_mir_build_cast(&b, y, RLX_F32), y);
    rlx_ir_build_return(&b, 1, &y);
    assert_ok(rlx_ir_builder_finish(&b));
    assert_ok(rlx_ir_verify(m));
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

START_TEST(keeps_the_first_error)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m;
    assert_ok(rlx_ir_module_create(&rlx_mir_level, dims, "built", &m));
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_ir_type t = rlx_ir_tensor(RLX_F32, 2, (rlx_dim[]){3, 8});
    rlx_ir_func *f = rlx_ir_build_func(&b, "main", 1, &t);
    rlx_ir_value *x = rlx_ir_build_arg(&b, f, RLX_ROLE_INPUT, "x", "x", t);
    b.place = "layers.7.mlp.up";
    rlx_ir_value *y = rlx_mir_build_slice(&b, x, 1, 4, 5);
    ck_assert_ptr_null(y);
    y = rlx_mir_build_reduce(&b, RLX_FN_ADD, y); /* nothing happens, nothing crashes */
    y = rlx_mir_build_transpose(&b, y, (int64_t[]){0});
    y = rlx_mir_build_cast(&b, rlx_mir_build_reshape(&b, y, 0, NULL), RLX_F16);
    ck_assert_ptr_null(rlx_mir_build_broadcast(&b, y, 0, NULL, NULL));
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR,
                 "slice C2: 5 from 4 by 1 of 8 at layers.7.mlp.up");
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mir_build");
    TCase *t = tcase_create("builders");
    tcase_add_test(t, builds_a_module);
    tcase_add_test(t, keeps_the_first_error);
    suite_add_tcase(s, t);
    return run_suite(s, 2);
}
