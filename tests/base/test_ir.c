/* Building, printing, parsing, changing. */
#include <string.h>

#include "tests/base/suite.h"
#include "tests/base/test_level.h"

static rlx_dims *dims;
static rlx_ir_module *m;

static void setup(void)
{
    dims = rlx_dims_create();
    assert_ok(rlx_ir_module_create(&test_level, dims, "net", &m));
}

static void teardown(void)
{
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    m = NULL;
}

static rlx_ir_module *parse(const rlx_ir_level *level, const char *text)
{
    rlx_ir_module *out;
    assert_ok(rlx_ir_parse(level, dims, "t.rlx", text, &out));
    assert_ok(rlx_ir_verify(out));
    return out;
}

static void assert_prints(const rlx_ir_module *module, unsigned flags, const char *want)
{
    rlx_text t = {0};
    rlx_ir_print(module, flags, &t);
    ck_assert(!t.oom);
    ck_assert_str_eq(t.data, want);
    rlx_text_deinit(&t);
}

static rlx_ir_value *map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    rlx_attr attr = rlx_attr_int(RLX_ATTR_FN, fn);
    return rlx_ir_build(b, TEST_MAP, 2, (rlx_ir_value *[]){x, y}, 1, &attr, NULL);
}

static rlx_ir_type matrix(rlx_dim rows, rlx_dim cols)
{
    return rlx_ir_tensor(RLX_F32, 2, (rlx_dim[]){rows, cols});
}

/* ---- building and printing
 * --------------------------------------------------------------------------- */

/* y = region(x + x w) + 1, with names, places, roles and a nested block. */
static rlx_ir_func *build_layer(void)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_dim t = rlx_dim_symbol(dims, "TOKENS");
    rlx_ir_type xt = matrix(t, 64), wt = matrix(64, 64), scalar = rlx_ir_tensor(RLX_F32, 0, NULL);
    rlx_ir_func *f = rlx_ir_build_func(&b, "layer", 1, &xt);
    rlx_ir_value *x = rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x", xt);
    rlx_ir_value *w = rlx_ir_build_arg(&b, f, RLX_ROLE_WEIGHT, "layers.{}.q", "w", wt);
    b.place = "self_attn.q_proj";
    rlx_attr lanes = rlx_attr_int(RLX_ATTR_LANES, 16);
    rlx_ir_value *y = rlx_ir_build(&b, TEST_CONTRACT, 2, (rlx_ir_value *[]){x, w}, 1, &lanes, NULL);
    b.place = "add\n";
    rlx_attr root = rlx_attr_text(RLX_ATTR_ROOT, "map \"1\"");
    rlx_ir_node *region =
        rlx_ir_build_node(&b, TEST_REGION, 2, (rlx_ir_value *[]){x, y}, 1, &root, 1, &xt);
    rlx_ir_builder in;
    rlx_ir_builder_init(&in, m);
    in.block = region->blocks[0];
    rlx_ir_value *a = rlx_ir_build_block_arg(&in, in.block, "a", xt);
    rlx_ir_value *c = rlx_ir_build_block_arg(&in, in.block, NULL, xt);
    rlx_ir_value *sum = map2(&in, RLX_FN_ADD, a, c);
    rlx_ir_build_yield(&in, 1, &sum);
    assert_ok(rlx_ir_builder_finish(&in));
    b.place = NULL;
    rlx_attr value = rlx_attr_float(RLX_ATTR_VALUE, 1e-5);
    rlx_ir_value *one = rlx_ir_build(&b, TEST_CONST, 0, NULL, 1, &value, &scalar);
    rlx_ir_value *z = map2(&b, RLX_FN_ADD, region->out[0], one);
    rlx_ir_build_return(&b, 1, &z);
    assert_ok(rlx_ir_builder_finish(&b));
    return f;
}

static const char layer_text[] =
    "test module @net {\n"
    "  func @layer(%x: f32[TOKENS,64], %w: f32[64,64] weight \"layers.{}.q\") "
    "-> (f32[TOKENS,64]) {\n"
    "    %0 = contract %x, %w {lanes=16} : f32[TOKENS,64]                        "
    "// self_attn.q_proj\n"
    "    %1 = region %x, %0 {root=\"map \\\"1\\\"\"} : f32[TOKENS,64] (%a: f32[TOKENS,64], "
    "%2: f32[TOKENS,64]) {  // add\n"
    "      %3 = map %a, %2 {fn=add} : f32[TOKENS,64]\n"
    "      yield %3\n"
    "    }\n"
    "    %4 = const {value=1e-05} : f32\n"
    "    %5 = map %1, %4 {fn=add} : f32[TOKENS,64]\n"
    "    return %5\n"
    "  }\n"
    "}\n";

START_TEST(builds_and_prints)
{
    build_layer();
    assert_ok(rlx_ir_verify(m));
    assert_prints(m, 0, layer_text);
    rlx_ir_module *back = parse(&test_level, layer_text);
    assert_prints(back, 0, layer_text);
    rlx_ir_node *region = back->first->body->first->next;
    ck_assert_str_eq(region->place, "add");
    ck_assert_str_eq(rlx_ir_attr_text(region, RLX_ATTR_ROOT, ""), "map \"1\"");
    rlx_ir_module_destroy(back);
}
END_TEST

START_TEST(prints_one_function_and_one_node)
{
    rlx_ir_func *f = build_layer();
    rlx_text t = {0};
    rlx_ir_print_func(f, RLX_PRINT_NO_PLACES, &t);
    ck_assert_ptr_nonnull(strstr(t.data, "func @layer("));
    ck_assert_ptr_null(strstr(t.data, "//"));
    rlx_text_clear(&t);
    rlx_ir_print_node(m, f->body->first->next, &t);
    ck_assert_str_eq(t.data, "%1 = region %x, %0 {root=\"map \\\"1\\\"\"} : f32[TOKENS,64] {...}");
    rlx_text_deinit(&t);
}
END_TEST

/* Texts that print as they are written: the second half of the round trip. */
static const struct {
    const rlx_ir_level *level;
    const char *text;
} same[] = {
    {&test_level, "test module @m {\n}\n"},
    {&test_level, "test module @m {\n"
                  "  func @f() {\n"
                  "    return\n"
                  "  }\n"
                  "}\n"},
    {&test_level,
     "test module @a.b-c$1 {\n"
     "  func @f(%0: f32[2], %n: i64 input \"n \\x0a\\\\\", %s: bf16[2] state \"kv.{}\",\n"
     "      %o: f64[2] out) -> (f32[2], f32[2]) {\n"
     "    %1, %2 = split %0 : (f32[2], f32[2])\n"
     "    sync                                                                    "
     "// here: // and there\n"
     "    sync\n"
     "    return %1, %2\n"
     "  }\n"
     "}\n"},
    {&test_level, "test module @m {\n"
                  "  func @f(%c: bool, %x: f32) -> (f32) {\n"
                  "    %0 = choose %c : f32 {                                                  "
                  "// if\n"
                  "      yield %x\n"
                  "    } {\n"
                  "      sync\n"
                  "      %1 = loop %c, %c, %x {step=-2} : f32 (%i: i64, %acc: f32) {\n"
                  "        %2 = map %acc, %x {fn=mul} : f32\n"
                  "        yield %2\n"
                  "      }\n"
                  "      yield %1\n"
                  "    }\n"
                  "    return %0\n"
                  "  }\n"
                  "  func @g(%c: bool, %x: f32) -> (f32) {\n"
                  "    %0 = call %c, %x {callee=@f} : f32\n"
                  "    return %0\n"
                  "  }\n"
                  "}\n"},
    {&test_level,
     "test module @m {\n"
     "  func @views(%x: f32[2,3]) {\n"
     "    %0 = view %x {perm=[1,0], root=\"\", extent=((TOKENS*2)+3), lanes=16} : f32[3,2]\n"
     "    %1 = view %0 {perm=[], extent=ceildiv(TOKENS,4), lanes=-9223372036854775808} : i8[6]\n"
     "    %2 = const {value=-inf} : f32\n"
     "    %3 = const {value=nan} : f64\n"
     "    %4 = const {value=0.1} : f16\n"
     "    return\n"
     "  }\n"
     "}\n"},
    {&test_lir_level,
     "lir module @m {\n"
     "  kernel @k(%x: global f32[TOKENS,64], %y: global bf16[(TOKENS+1),8]) {schedule=\"m1 n8\", "
     "team=128, numerics=\"f32\"} {\n"
     "    %0 = view %x {root=\"team\"} : team f32[4,2048]\n"
     "    %1 = const {value=0} : f32<4x16>\n"
     "    %2 = const {value=0} : f32\n"
     "    %3 = map %1, %2 {fn=max} : f32<4x16>\n"
     "    %4 = const {value=1} : i32<1x2x3>\n"
     "    return\n"
     "  }\n"
     "}\n"},
};
enum { NSAME = sizeof(same) / sizeof(same[0]) };

START_TEST(text_reads_back)
{
    rlx_ir_module *a = parse(same[_i].level, same[_i].text);
    assert_prints(a, 0, same[_i].text);
    rlx_ir_module *copy;
    assert_ok(rlx_ir_module_clone(a, &copy));
    rlx_ir_module_destroy(a);
    assert_ok(rlx_ir_verify(copy));
    assert_prints(copy, 0, same[_i].text);
    rlx_ir_module_destroy(copy);
}
END_TEST

START_TEST(scalars_are_tiles_in_lir)
{
    rlx_ir_module *a = parse(same[NSAME - 1].level, same[NSAME - 1].text);
    ck_assert_int_eq(a->first->body->last->prev->prev->prev->out[0]->type.kind, RLX_TYPE_TILE);
    ck_assert(a->first->is_kernel);
    ck_assert_int_eq(rlx_ir_func_attr(a->first, RLX_ATTR_TEAM)->i, 128);
    assert_ok(rlx_ir_func_attr_set(a, a->first, rlx_attr_int(RLX_ATTR_TEAM, 64)));
    assert_ok(rlx_ir_func_attr_set(a, a->first, rlx_attr_text(RLX_ATTR_KIND, "x")));
    ck_assert_int_eq(rlx_ir_func_attr(a->first, RLX_ATTR_TEAM)->i, 64);
    ck_assert_int_eq(a->first->nattr, 4);
    rlx_ir_module_destroy(a);
    a = parse(same[3].level, same[3].text);
    ck_assert_int_eq(a->first->body->args[1]->type.kind, RLX_TYPE_TENSOR);
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(free_text_is_understood)
{
    rlx_ir_module *a = parse(&test_level, "// a file begins so\n"
                                          "test module @m { func @f(%x:f32[ TOKENS , 2*3 ])->(\n"
                                          "f32[TOKENS,6]) // where\n"
                                          "{ %9=map %x , %x{fn=add}\n"
                                          "// alone on its line: no place\n"
                                          "  call {callee=@later}\n"
                                          "  return %9 } func @later() { return } } // end");
    assert_prints(a, 0,
                  "test module @m {\n"
                  "  func @f(%x: f32[TOKENS,6]) -> (f32[TOKENS,6]) {\n"
                  "    %0 = map %x, %x {fn=add} : f32[TOKENS,6]\n"
                  "    call {callee=@later}\n"
                  "    return %0\n"
                  "  }\n"
                  "  func @later() {\n"
                  "    return\n"
                  "  }\n"
                  "}\n");
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(names_that_collide_get_suffixes)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_ir_type t = matrix(2, 2);
    rlx_ir_func *f = rlx_ir_build_func(&b, "f", 0, NULL);
    rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x", t);
    rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x.1", t);
    rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x", t);
    rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, NULL, t);
    rlx_ir_value *y = map2(&b, RLX_FN_ADD, f->body->args[0], f->body->args[2]);
    y->name = "x";
    rlx_ir_build_return(&b, 0, NULL);
    assert_ok(rlx_ir_builder_finish(&b));
    rlx_text t1 = {0};
    rlx_ir_print(m, 0, &t1);
    ck_assert_ptr_nonnull(strstr(t1.data, "%x: f32[2,2], %x.1: f32[2,2], %x.2: f32[2,2], %0: f32"));
    ck_assert_ptr_nonnull(strstr(t1.data, "%x.3 = map %x, %x.2 {fn=add}"));
    rlx_ir_module *back = parse(&test_level, t1.data);
    assert_prints(back, 0, t1.data);
    rlx_ir_module_destroy(back);
    rlx_text_deinit(&t1);
}
END_TEST

/* ---- errors of text
 * ---------------------------------------------------------------------------------- */

#define IN_FUNC(lines) "test module @m {\n  func @f(%x: f32[2,3], %y: f32[2,3]) {\n" lines "\n"
#define IN_BODY(lines) IN_FUNC("    " lines "\n    return\n  }\n}")

static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "t.rlx:1:1: expected 'test module'"},
    {"mir module @m {}", "t.rlx:1:1: expected 'test module'"},
    {"test @m {}", "t.rlx:1:6: expected 'module' after 'test'"},
    {"test module m {}", "t.rlx:1:13: expected a name that begins with '@', not 'm'"},
    {"test module @ {}", "t.rlx:1:13: there is no name after '@'"},
    {"test module @m {\n", "t.rlx:2:1: expected 'func', 'kernel' or '}'"},
    {"test module @m { }\n x", "t.rlx:2:2: expected nothing after the module"},
    {"test module @m {\n  fun @f() { return }\n}", "t.rlx:2:3: expected 'func', 'kernel' or '}'"},
    {"test module @m {\n  func @f(%x) { return }\n}",
     "t.rlx:2:13: expected ':' before an argument's type, not ')'"},
    {"test module @m {\n  func @f(%x: f33) { return }\n}",
     "t.rlx:2:15: expected a type; 'f33' is no format"},
    {"test module @m {\n  func @f(%x: f32, %x: f32) { return }\n}",
     "t.rlx:2:20: %x is defined twice in @f"},
    {"test module @m {\n  func @f(%x: f32 weight) { return }\n}",
     "t.rlx:2:25: expected a quoted text, not ')'"},
    {"test module @m {\n  func @f(%x: f32 weight \"a\n\") { return }\n}",
     "t.rlx:2:26: this text has no end on its line"},
    {"test module @m {\n  func @f(%x: f32 weight \"a\\q\") { return }\n}",
     "t.rlx:2:28: unknown escape"},
    {"test module @m {\n  func @f() { return }\n  func @f() { return }\n}",
     "t.rlx:3:8: there are two functions @f"},
    {"test module @m {\n  func @f() { return\n", "t.rlx:2:13: this '{' is never closed"},
    {"test module @m {\n  func @f() -> (f32[TOKENS*ROWS]) { return }\n}",
     "t.rlx:2:32: this extent is no quasi-affine expression"},
    {"test module @m {\n  func @f() -> (f32<4x0>) { return }\n}",
     "t.rlx:2:23: extents of a tile are > 0"},
    {"test module @m {\n  func @f() -> (f32<1x1x1x1>) { return }\n}",
     "t.rlx:2:17: a tile has rank 4, of 0 to 3"},
    {"test module @m {\n  func @f() -> (team f32[TOKENS]) { return }\n}",
     "t.rlx:2:17: extent 0 of a team buffer is no constant > 0"},
    {"test module @m {\n  func @f() -> (f32[1,1,1,1,1,1,1,1,1]) { return }\n}",
     "t.rlx:2:37: more than 8 extents"},
    {IN_BODY("%0 = mop %x {fn=neg}"), "t.rlx:3:10: test has no op 'mop'; did you mean 'map'?"},
    {IN_BODY("%0 = map %z {fn=neg}"), "t.rlx:3:14: %z is not defined before it is used"},
    {IN_BODY("%0 = map %0 {fn=neg}"), "t.rlx:3:14: %0 is not defined before it is used"},
    {IN_BODY("%x = map %x {fn=neg}"), "t.rlx:3:5: %x is defined twice in @f"},
    {IN_BODY("%0 = map %x {fn=ned}"), "t.rlx:3:21: unknown scalar function 'ned'"},
    {IN_BODY("%0 = map %x {fm=neg}"), "t.rlx:3:18: unknown attribute 'fm'"},
    {IN_BODY("%0 = map %x {fn=neg, fn=neg}"), "t.rlx:3:26: attribute fn is given twice"},
    {IN_BODY("%0 = map %x {fn=neg, step=1}"), "t.rlx:3:10: map IR4: takes no attribute step"},
    {IN_BODY("%0 = map %x {fn=neg"), "t.rlx:3:17: these attributes do not end on their line"},
    {IN_BODY("%0 = map %x"), "t.rlx:3:10: map M1: has no fn"},
    {IN_BODY("%0 = map %x {fn=add}  // mlp.up"),
     "t.rlx:3:10: map M2: has 1 operands for 2 at mlp.up"},
    {IN_BODY("%0 = map {fn=neg}"), "t.rlx:3:10: map IR1: takes at least 1 operands, has 0"},
    {IN_BODY("%0 = contract %x, %y, %y"), "t.rlx:3:10: contract IR1: takes 2 operands, has 3"},
    {IN_BODY("%0 = contract %x, %y : f32[2,9]"),
     "t.rlx:3:10: contract IR6: result 0 is f32[2,2] by its operands, and written as f32[2,9]"},
    {IN_BODY("%0 = contract %x, %y {lanes=1.5}"),
     "t.rlx:3:33: expected an integer, not a fraction"},
    {IN_BODY("%0 = contract %x, %y {lanes=99999999999999999999}"),
     "t.rlx:3:33: this integer does not fit 64 bits"},
    {IN_BODY("%0 = split %x"), "t.rlx:3:10: split gives 2 results, and 1 are named"},
    {IN_BODY("%0 = split %x : f32[2,3]"), "t.rlx:3:10: split IR2: gives 2 results, has 1"},
    {IN_BODY("%0, %1 = split %x : f32[2,3]"), "t.rlx:3:23: 1 types for 2 results"},
    {IN_BODY("%0 = const {value=x} : f32"), "t.rlx:3:23: expected a number, not 'x'"},
    {IN_BODY("%0 = const {value=1}"), "t.rlx:3:10: const IR7: the type of result 0 must be given"},
    {IN_BODY("%0 = view %x {perm=[1,} : f32"), "t.rlx:3:27: expected an integer, not '}'"},
    {IN_BODY("%0 = view %x {extent=()} : f32"), "t.rlx:3:27: expected an extent"},
    {IN_BODY("call {callee=@g}"), "t.rlx:3:5: call K1: there is no function @g"},
    {IN_BODY("%0 = region %x : f32 { yield %x }"),
     "t.rlx:3:34: %x is defined where it cannot be seen from here"},
    {IN_BODY("%0 = region %x : f32 { yield }"), "t.rlx:3:10: region R1: has 0 arguments for 1"},
    {IN_BODY("%0 = region %x : f32 (%x: f32) { yield }"), "t.rlx:3:27: %x is defined twice in @f"},
    {IN_BODY("loop %x, %x (%i: i64) { yield }\n    sync %i"),
     "t.rlx:4:10: %i is defined where it cannot be seen from here"},
    {IN_BODY("loop %x, %x"), "t.rlx:4:5: expected '{' before a block, not 'return'"},
    {IN_BODY("choose %x { yield }"), "t.rlx:4:5: expected '{' before a block, not 'return'"},
    {IN_BODY("sync }"), "t.rlx:4:5: expected 'func', 'kernel' or '}'"},
    {IN_BODY("+"), "t.rlx:3:5: expected an op of test"},
};
enum { NWRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(text_errors_say_where)
{
    rlx_ir_module *out = m;
    rlx_status st = rlx_ir_parse(&test_level, dims, "t.rlx", wrong[_i].text, &out);
    ck_assert_ptr_null(out);
    assert_error(st, RLX_INVALID_IR, wrong[_i].message);
}
END_TEST

START_TEST(nesting_is_bounded)
{
    rlx_text t = {0};
    rlx_text_put(&t, "test module @m {\n  func @f(%x: f32) {\n");
    for (int i = 0; i < 100000; i++)
        rlx_text_put(&t, "loop %x, %x {\n");
    for (int i = 0; i < 100000; i++)
        rlx_text_put(&t, "yield }\n");
    rlx_text_put(&t, "return } }");
    rlx_ir_module *out;
    assert_error(rlx_ir_parse(&test_level, dims, "t.rlx", t.data, &out), RLX_INVALID_IR,
                 "t.rlx:67:13: blocks nest deeper than 64");
    rlx_text_deinit(&t);
}
END_TEST

/* ---- the builder's errors
 * ----------------------------------------------------------------------------- */

START_TEST(builder_keeps_the_first_error)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    rlx_ir_type t = matrix(2, 3), s = matrix(2, 4);
    rlx_ir_func *f = rlx_ir_build_func(&b, "layer", 0, NULL);
    rlx_ir_value *x = rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "x", t);
    rlx_ir_value *y = rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "y", s);
    b.place = "layers.7.mlp.up";
    rlx_ir_value *z = rlx_ir_build(&b, TEST_CONTRACT, 2, (rlx_ir_value *[]){x, y}, 0, NULL, NULL);
    ck_assert_ptr_null(z);
    ck_assert_ptr_null(map2(&b, RLX_FN_ADD, z, z));
    ck_assert_ptr_null(rlx_ir_build_func(&b, "another", 0, NULL));
    rlx_ir_builder_fail(&b, RLX_FAIL(RLX_INTERNAL, "a later one"));
    rlx_status st = rlx_ir_builder_finish(&b);
    ck_assert_str_eq(rlx_status_message(st), "contract C2: contracts 3 with 4 at layers.7.mlp.up");
    assert_error(st, RLX_INVALID_IR, "building contract in @layer");
    ck_assert_ptr_null(f->body->first);
    ck_assert_ptr_nonnull(map2(&b, RLX_FN_ADD, x, x)); /* usable again */
    assert_ok(rlx_ir_builder_finish(&b));
}
END_TEST

static rlx_ir_builder fresh(rlx_ir_func **f, rlx_ir_value **x)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    *f = rlx_ir_build_func(&b, "f", 0, NULL);
    *x = rlx_ir_build_arg(&b, *f, RLX_ROLE_VALUE, NULL, "x", matrix(2, 3));
    return b;
}

START_TEST(builder_refuses)
{
    rlx_ir_func *f;
    rlx_ir_value *x;
    rlx_ir_builder b = fresh(&f, &x);
    rlx_ir_type t = matrix(2, 3), bad = rlx_ir_tensor(RLX_F32, 1, (rlx_dim[]){RLX_DIM_INVALID});
    rlx_ir_build_func(&b, "f", 0, NULL);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "there are two functions @f");
    rlx_ir_build_func(&b, "a b", 0, NULL);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "'a b' is no name");
    rlx_ir_build_func(&b, "g", 1, &bad);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "result 0 of @g");
    rlx_ir_build_arg(&b, f, RLX_ROLE_VALUE, NULL, "1x", t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "'1x' is no name");
    rlx_ir_build_arg(&b, f, RLX_ROLE_WEIGHT, NULL, "w", t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "binds by name and has none");
    rlx_ir_build_arg(&b, f, RLX_ROLE_OUT, "w", "w", t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "has a symbol and does not bind");
    rlx_ir_build(&b, TEST_VIEW, 1, (rlx_ir_value *[]){NULL}, 0, NULL, &t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "operand 0 of view is missing");
    rlx_ir_build(&b, TEST_VIEW, 1, &x, 0, NULL, &bad);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "extent 0 of a type is invalid");
    rlx_ir_build(&b, TEST_OP_COUNT, 1, &x, 0, NULL, &t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "test has no op 12");
    rlx_attr none = rlx_attr_text(RLX_ATTR_ROOT, NULL);
    rlx_ir_build(&b, TEST_VIEW, 1, &x, 1, &none, &t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "attribute root has no text");
    rlx_attr fn = rlx_attr_int(RLX_ATTR_FN, RLX_FN_COUNT);
    rlx_ir_build(&b, TEST_MAP, 1, &x, 1, &fn, &t);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "attribute fn is no scalar function");
    rlx_attr callee = rlx_attr_text(RLX_ATTR_CALLEE, "a b");
    rlx_ir_build_node(&b, TEST_CALL, 0, NULL, 1, &callee, 0, NULL);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "attribute callee: 'a b' is no name");
    rlx_ir_build(&b, TEST_SPLIT, 1, &x, 0, NULL, NULL);
    assert_error(rlx_ir_builder_finish(&b), RLX_INVALID_IR, "split gives 2 results, not one");
}
END_TEST

/* ---- changing
 * ---------------------------------------------------------------------------------------- */

static const char chain_text[] = "test module @m {\n"
                                 "  func @f(%x: f32[2]) -> (f32[2]) {\n"
                                 "    %0 = map %x {fn=neg} : f32[2]\n"
                                 "    %1 = map %0 {fn=abs} : f32[2]\n"
                                 "    %2 = choose %x : f32[2] {\n"
                                 "      %3 = map %0, %0 {fn=add} : f32[2]\n"
                                 "      yield %3\n"
                                 "    } {\n"
                                 "      yield %x\n"
                                 "    }\n"
                                 "    return %2\n"
                                 "  }\n"
                                 "}\n";

static rlx_status count_op(void *user, rlx_ir_node *n)
{
    ((int *)user)[n->op]++;
    return RLX_OK;
}

static rlx_status remove_maps(void *user, rlx_ir_node *n)
{
    (void)user;
    if (n->op == TEST_MAP)
        rlx_ir_node_remove(n);
    return RLX_OK;
}

static rlx_status stop_at_yield(void *user, rlx_ir_node *n)
{
    ++*(int *)user;
    return n->op == TEST_YIELD ? RLX_FAIL(RLX_CANCELLED, "stop") : RLX_OK;
}

START_TEST(walks)
{
    rlx_ir_module *a = parse(&test_level, chain_text);
    int ops[TEST_OP_COUNT] = {0};
    assert_ok(rlx_ir_walk(a->first->body, count_op, ops));
    ck_assert_int_eq(ops[TEST_MAP], 3);
    ck_assert_int_eq(ops[TEST_YIELD], 2);
    ck_assert_int_eq(ops[TEST_RETURN], 1);
    int visited = 0;
    assert_error(rlx_ir_walk(a->first->body, stop_at_yield, &visited), RLX_CANCELLED, "stop");
    ck_assert_int_eq(visited, 5);
    assert_ok(rlx_ir_walk(a->first->body, remove_maps, NULL));
    memset(ops, 0, sizeof(ops));
    assert_ok(rlx_ir_walk(a->first->body, count_op, ops));
    ck_assert_int_eq(ops[TEST_MAP], 0);
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(replaces_moves_and_counts)
{
    rlx_ir_module *a = parse(&test_level, chain_text);
    rlx_ir_block *body = a->first->body;
    rlx_ir_value *x = body->args[0];
    rlx_ir_node *neg = body->first, *abs = neg->next, *choose = abs->next;
    ck_assert_int_eq(rlx_ir_count_uses(body, neg->out[0]), 3);
    ck_assert_int_eq(rlx_ir_count_uses(choose->blocks[0], neg->out[0]), 2);
    rlx_ir_replace_uses(choose->blocks[0], neg->out[0], abs->out[0]);
    ck_assert_int_eq(rlx_ir_count_uses(body, neg->out[0]), 1);
    ck_assert_int_eq(rlx_ir_count_uses(body, abs->out[0]), 2);
    ck_assert_int_eq(rlx_ir_count_uses(body, x), 3);
    assert_ok(rlx_ir_verify(a));
    rlx_ir_node_move_before(abs, neg);
    assert_error(rlx_ir_verify(a), RLX_INVALID_IR, "map IR8: operand 0 is not defined before it");
    rlx_ir_node_move_before(neg, abs);
    assert_ok(rlx_ir_verify(a));
    rlx_ir_node_move_before(abs, choose->blocks[0]->first); /* into a nested block */
    assert_ok(rlx_ir_verify(a));
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(attributes_are_set_in_order)
{
    rlx_ir_module *a = parse(&test_level, same[4].text);
    rlx_ir_node *n = a->first->body->first;
    assert_ok(rlx_ir_attr_set(a, n, rlx_attr_text(RLX_ATTR_ROOT, "new")));
    assert_ok(rlx_ir_attr_set(a, n->next, rlx_attr_text(RLX_ATTR_ROOT, "added")));
    ck_assert_str_eq(rlx_ir_attr_text(n, RLX_ATTR_ROOT, ""), "new");
    ck_assert_str_eq(rlx_ir_attr_text(n->next, RLX_ATTR_ROOT, ""), "added");
    ck_assert_int_eq(rlx_ir_attr_int(n, RLX_ATTR_LANES, 0), 16);
    ck_assert_int_eq(rlx_ir_attr_int(n, RLX_ATTR_AXIS, -7), -7);
    ck_assert(rlx_ir_attr_float(n, RLX_ATTR_EPS, 0.5) == 0.5);
    ck_assert_ptr_null(rlx_ir_attr(n, RLX_ATTR_FN));
    assert_ok(rlx_ir_verify(a));
    assert_error(rlx_ir_attr_set(a, n, rlx_attr_int(RLX_ATTR_EXTENT, RLX_DIM_INVALID)),
                 RLX_INVALID_IR, "attribute extent is an invalid extent");
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(clones_nodes)
{
    rlx_ir_module *a = parse(&test_level, chain_text);
    rlx_ir_block *body = a->first->body;
    rlx_ir_node *neg = body->first, *choose = neg->next->next;
    rlx_ir_clear_scratch(body);
    neg->out[0]->scratch = body->args[0]; /* in the copy, x stands for -x */
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, a);
    b.block = body;
    b.before = body->last;
    rlx_ir_node *copy = rlx_ir_clone_node(&b, choose);
    assert_ok(rlx_ir_builder_finish(&b));
    ck_assert_ptr_eq(choose->out[0]->scratch, copy->out[0]);
    ck_assert_ptr_eq(copy->next, body->last);
    body->last->in[0] = copy->out[0];
    assert_ok(rlx_ir_verify(a));
    rlx_text t = {0};
    rlx_ir_print(a, 0, &t);
    ck_assert_ptr_nonnull(strstr(t.data, "    %4 = choose %x : f32[2] {\n"
                                         "      %5 = map %x, %x {fn=add} : f32[2]\n"
                                         "      yield %5\n"));
    rlx_text_deinit(&t);
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(removes_dead_nodes)
{
    rlx_ir_module *a = parse(&test_level, "test module @m {\n"
                                          "  func @f(%x: f32[2]) -> (f32[2]) {\n"
                                          "    %0 = map %x {fn=neg}\n"
                                          "    %1 = map %0 {fn=abs}\n"
                                          "    %2 = choose %x : f32[2] {\n"
                                          "      %3 = map %1, %0 {fn=add}\n"
                                          "      yield %3\n"
                                          "    } {\n"
                                          "      yield %x\n"
                                          "    }\n"
                                          "    choose %x {\n"
                                          "      %5 = map %x {fn=abs}\n"
                                          "      sync\n"
                                          "      yield\n"
                                          "    } {\n"
                                          "      yield\n"
                                          "    }\n"
                                          "    call {callee=@f}\n"
                                          "    return %x\n"
                                          "  }\n"
                                          "}\n");
    ck_assert_int_eq(rlx_ir_remove_dead(a), 4);
    assert_prints(a, 0,
                  "test module @m {\n"
                  "  func @f(%x: f32[2]) -> (f32[2]) {\n"
                  "    choose %x {\n"
                  "      sync\n"
                  "      yield\n"
                  "    } {\n"
                  "      yield\n"
                  "    }\n"
                  "    call {callee=@f}\n"
                  "    return %x\n"
                  "  }\n"
                  "}\n");
    ck_assert_int_eq(rlx_ir_remove_dead(a), 0);
    rlx_ir_module_destroy(a);
}
END_TEST

START_TEST(functions_are_found_and_removed)
{
    rlx_ir_module *a = parse(&test_level, same[3].text);
    rlx_ir_func *f = rlx_ir_func_find(a, "f"), *g = rlx_ir_func_find(a, "g");
    ck_assert(f && g && !rlx_ir_func_find(a, "h"));
    rlx_ir_func_remove(a, g);
    ck_assert_ptr_eq(a->last, f);
    rlx_ir_func_remove(a, f);
    ck_assert(!a->first && !a->last);
    rlx_ir_module_destroy(a);
}
END_TEST

/* ---- fingerprints
 * -------------------------------------------------------------------------------------- */

static rlx_hash fingerprint(const char *text, const char *func)
{
    rlx_ir_module *a = parse(&test_level, text);
    rlx_hash h = rlx_ir_func_fingerprint(rlx_ir_func_find(a, func));
    rlx_ir_module_destroy(a);
    return h;
}

START_TEST(fingerprints_see_content_only)
{
    static const char base[] =
        "test module @m { func @f(%x: f32[T]) { %y = map %x {fn=neg}\n return } "
        "func @main() { call {callee=@f}\n return } }";
    static const char renamed[] =
        "test module @z { func @main() { call {callee=@g} // place\n return } "
        "func @g(%a: f32[T]) { %0 = map %a {fn=neg} // elsewhere\n return } }";
    static const char other[] =
        "test module @m { func @f(%x: f32[T]) { %y = map %x {fn=abs}\n return } "
        "func @main() { call {callee=@f}\n return } }";
    rlx_hash f = fingerprint(base, "f"), g = fingerprint(renamed, "g"), h = fingerprint(other, "f");
    ck_assert_mem_eq(&f, &g, sizeof(f));
    ck_assert_mem_ne(&f, &h, sizeof(f));
    f = fingerprint(base, "main");
    g = fingerprint(renamed, "main");
    h = fingerprint(other, "main"); /* differs only in what it calls */
    ck_assert_mem_eq(&f, &g, sizeof(f));
    ck_assert_mem_ne(&f, &h, sizeof(f));
    f = fingerprint("test module @m { func @f() { call {callee=@f}\n return } }", "f");
    ck_assert_mem_ne(&f, &(rlx_hash){{0}}, sizeof(f));
}
END_TEST

START_TEST(element_counts)
{
    rlx_dim t = rlx_dim_symbol(dims, "TOKENS"), r = rlx_dim_symbol(dims, "ROWS");
    rlx_ir_type a = matrix(t, 64), b = matrix(t, r), c = rlx_ir_tensor(RLX_F32, 0, NULL);
    ck_assert(rlx_ir_type_elems(dims, &a) == rlx_dim_make(dims, RLX_DIM_MUL, t, 64));
    ck_assert(rlx_ir_type_elems(dims, &b) == RLX_DIM_INVALID);
    ck_assert_int_eq(rlx_ir_type_elems(dims, &c), 1);
    rlx_ir_type d = rlx_ir_buffer(RLX_SPACE_TEAM, RLX_F32, 1, (rlx_dim[]){4}), e = d;
    ck_assert(rlx_ir_type_equal(&d, &e));
    e.space = RLX_SPACE_GLOBAL;
    ck_assert(!rlx_ir_type_equal(&d, &e) && rlx_ir_shape_equal(&d, &e));
}
END_TEST

static void add_cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, builds_and_prints);
    tcase_add_test(c, prints_one_function_and_one_node);
    tcase_add_loop_test(c, text_reads_back, 0, NSAME);
    tcase_add_test(c, scalars_are_tiles_in_lir);
    tcase_add_test(c, free_text_is_understood);
    tcase_add_test(c, names_that_collide_get_suffixes);
    tcase_add_loop_test(c, text_errors_say_where, 0, NWRONG);
    tcase_add_test(c, nesting_is_bounded);
    tcase_add_test(c, builder_keeps_the_first_error);
    tcase_add_test(c, builder_refuses);
    tcase_add_test(c, walks);
    tcase_add_test(c, replaces_moves_and_counts);
    tcase_add_test(c, attributes_are_set_in_order);
    tcase_add_test(c, clones_nodes);
    tcase_add_test(c, removes_dead_nodes);
    tcase_add_test(c, functions_are_found_and_removed);
    tcase_add_test(c, fingerprints_see_content_only);
    tcase_add_test(c, element_counts);
}

int main(void)
{
    Suite *s = suite_create("ir");
    TCase *c = tcase_create("ir");
    add_cases(c);
    suite_add_tcase(s, c);
    return run_suite(s, NSAME + NWRONG + 16);
}
