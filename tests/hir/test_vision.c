/* tests/hir/test_vision.c: what norms, activations and operators of images refuse, and that they
 * print what they parse. What they compute is held to torch (tests/torch). */
#include "hir/hir.h"
#include "tests/base/suite.h"

#define MODULE(args, result, op)                                                   \
    "hir module @t {\n  func @f(" args ") -> (" result ") {\n    " op " : " result \
    "\n    return %y\n  }\n}\n"
#define NORM(args, op) MODULE("%x: f32[T,6], " args, "f32[T,6]", "%y = " op)
#define GROUPS(x, op) MODULE("%x: " x ", %w: f32[6]", x, "%y = group_norm " op)

#define PLACES(args, result, op) MODULE("%x: f32[N,4,5,6], " args, result, "%y = " op)
#define CONV(w, result, op) PLACES("%w: f32" w ", %b: f32[8]", "f32" result, op)

static const char *const right[] = {
    NORM("%w: f16[6]", "rms_norm %x, %w {eps=1e-06, shift=1}"),
    NORM("%w: f32[6]", "rms_norm %x {eps=1, heads=2}"),
    NORM("%w: bf16[6]", "layer_norm %x, %w, %w {eps=0}"),
    NORM("%w: f32[6]", "layer_norm %x {eps=1}"),
    GROUPS("f32[N,6,4]", "%x, %w, %w {eps=1, groups=3}"),
    CONV("[8,2,3,3]", "[N,8,3,2]",
         "conv %x, %w, %b {groups=2, strides=[1,2], dilations=[1,2], pads=[0,1,0,0]}"),
    MODULE("%x: i32[N,4,5], %w: i32[8,4,3], %b: i32[8]", "i32[N,8,3]", "%y = conv %x, %w, %b"),
    CONV("[4,4,3,3]", "[N,8,12,8]",
         "conv_transpose %x, %w, %b {groups=2, strides=[2,1], more=[1,0]}"),
    PLACES("%w: f32[6]", "f32[N,4,2,3]",
           "pool %x {strides=[2,2], sizes=[2,2], count_pad=1, kind=\"mean\"}"),
    PLACES("%w: f32[6]", "f32[N,4,3,1]", "adaptive_pool %x {sizes=[3,1], kind=\"max\"}"),
    PLACES("%w: f32[6]", "f32[N,4,7,9]",
           "resize %x {sizes=[7,9], mode=\"cubic\", align=\"half_pixel\", antialias=1}"),
    NORM("%w: f32[6]", "activation %x {alpha=-2, beta=0.5, kind=\"clamp\"}"),
};
enum { NRIGHT = sizeof right / sizeof *right };

static const struct {
    const char *text, *error;
} wrong[] = {
    {NORM("%w: f32[5]", "rms_norm %x, %w {eps=1}"), "rms_norm C2: w is a float [H/heads]"},
    {NORM("%w: f32[6]", "rms_norm %x {eps=1, shift=1}"), "rms_norm C2: a shift without a weight"},
    {NORM("%w: f32[6]", "rms_norm %x, %w, %w {eps=1}"), "rms_norm C2: 3 operands, at most 2"},
    {NORM("%w: f32[6]", "rms_norm %x {eps=1, heads=4}"), "rms_norm C4: heads=4 of 6 elements"},
    {MODULE("%x: f32[6,T]", "f32[6,T]", "%y = layer_norm %x {eps=1}"), "layer_norm C1"},
    {MODULE("%x: f16[T,6]", "f16[T,6]", "%y = layer_norm %x {eps=1}"), "layer_norm C1"},
    {NORM("%w: f32[5]", "layer_norm %x, %w {eps=1}"),
     "layer_norm C2: w and b are floats [H] with the H of x, got f32[5]"},
    {NORM("%w: f32[6]", "layer_norm %x, %w, %w, %w {eps=1}"),
     "layer_norm C2: 4 operands, at most 3"},
    {NORM("%w: f32[6]", "layer_norm %x, %w"), "layer_norm C3: eps is missing"},
    {NORM("%w: f32[6]", "layer_norm %x, %w {eps=-1}"), "layer_norm C3: eps is negative"},
    {GROUPS("f32[N,6,S]", "%x, %w {eps=1, groups=3}"), "group_norm C1"},
    {GROUPS("f32[N,4,5]", "%x, %w {eps=1, groups=2}"), "group_norm C2"},
    {GROUPS("f32[N,6,5]", "%x, %w {groups=2}"), "group_norm C3: eps is missing"},
    {GROUPS("f32[N,6,5]", "%x, %w {eps=1, groups=4}"), "group_norm C4: groups=4 of 6 channels"},
    {GROUPS("f32[N,6,5]", "%x, %w {eps=1}"), "group_norm C4: groups=0 of 6 channels"},
    {MODULE("%x: i32[T]", "i32[T]", "%y = activation %x {kind=\"relu\"}"), "activation C1"},
    {NORM("%w: f32[6]", "activation %x {kind=\"swoosh\"}"),
     "activation C2: there is no activation \"swoosh\""},
    {NORM("%w: f32[6]", "activation %x"), "activation C2: there is no activation \"\""},
    {NORM("%w: f32[6]", "activation %x {kind=\"elu\", alpha=1e39}"), "activation C2: alpha 1e+39"},
    {NORM("%w: f32[6]", "activation %x {kind=\"softcap\", alpha=0}"),
     "activation C3: softcap with alpha 0"},
    {NORM("%w: f32[6]", "activation %x {kind=\"clamp\", alpha=2}"),
     "activation C3: clamp between 2 and 1"},
    {MODULE("%x: f32[N,4], %w: f32[8,4]", "f32[N,8]", "%y = conv %x, %w"), "conv C1"},
    {MODULE("%x: f32[N,C,5], %w: f32[8,4,3]", "f32[N,8,3]", "%y = conv %x, %w"), "conv C1"},
    {CONV("[8,4,3]", "[N,8,3,4]", "conv %x, %w"), "conv C2: w is a float of x's rank"},
    {MODULE("%x: i32[N,4,5], %w: f32[8,4,3]", "i32[N,8,3]", "%y = conv %x, %w"),
     "conv C2: w is an i32 of x's rank"},
    {MODULE("%x: f32[N,4,5], %w: i32[8,4,3]", "f32[N,8,3]", "%y = conv %x, %w"),
     "conv C2: w is a float of x's rank"},
    {MODULE("%x: i32[N,4,5], %w: i32[8,4,3], %b: f32[8]", "i32[N,8,3]", "%y = conv %x, %w, %b"),
     "conv C3: b is an i32 [M]"},
    {MODULE("%x: i32[N,4,5], %w: f32[4,8,3]", "i32[N,8,7]", "%y = conv_transpose %x, %w"),
     "conv_transpose C1: x is f32[N,C,S..]"},
    {CONV("[8,3,3,3]", "[N,8,3,4]", "conv %x, %w"),
     "conv C2: w takes 3 channels in 1 groups, x has 4"},
    {CONV("[7,2,3,3]", "[N,7,3,4]", "conv %x, %w {groups=2}"), "conv C2"},
    {CONV("[6,4,3,3]", "[N,6,3,4]", "conv %x, %w, %b"), "conv C3: b is a float [M]"},
    {CONV("[8,4,3,3]", "[N,8,3,4]", "conv %x, %w, %b, %b"), "conv C3: 4 operands, at most 3"},
    {CONV("[8,4,3,3]", "[N,8,3,4]", "conv %x, %w {groups=-1}"), "conv C4: groups=-1"},
    {CONV("[8,4,3,3]", "[N,8,3,4]", "conv %x, %w {strides=[1]}"), "conv C4: 1 strides for 2"},
    {CONV("[8,4,3,3]", "[N,8,3,4]", "conv %x, %w {dilations=[0, 1]}"), "conv C4: dilations: 0"},
    {CONV("[8,4,3,3]", "[N,8,3,4]", "conv %x, %w {pads=[0, 0, 0, -1]}"), "conv C4: pads: -1"},
    {CONV("[8,4,6,3]", "[N,8,1,4]", "conv %x, %w"),
     "conv C5: axis 2 holds no window of 6, 1 apart, with pads of 0 and 0"},
    {MODULE("%x: f32[N,4,S], %w: f32[8,4,3]", "f32[N,8,S]", "%y = conv %x, %w {pads=[1, 0]}"),
     "conv C5: axis 2 holds no window"},
    {MODULE("%x: f32[N,4,S], %w: f32[4,8,3]", "f32[N,8,S]", "%y = conv_transpose %x, %w"),
     "conv_transpose C1"},
    {CONV("[3,8,3,3]", "[N,8,7,8]", "conv_transpose %x, %w"), "conv_transpose C2"},
    {CONV("[4,8,3,3]", "[N,8,7,8]", "conv_transpose %x, %w {more=[1, 0]}"),
     "conv_transpose C4: 1 more"},
    {CONV("[4,8,1,1]", "[N,8,5,6]", "conv_transpose %x, %w {pads=[3, 0, 2, 0]}"),
     "conv_transpose C5: axis 2 would have 0 places"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "pool %x {kind=\"sum\", sizes=[2, 2]}"),
     "pool C2: kind \"sum\""},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "pool %x {kind=\"max\", sizes=[2]}"), "pool C3: 1 sizes"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "pool %x {kind=\"max\", sizes=[2, 0]}"),
     "pool C3: a size of 0"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]",
            "pool %x {kind=\"max\", sizes=[2, 2], pads=[2, 0, 0, 0]}"),
     "pool C4: pads of 2 and 0 around windows of 2"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "pool %x {kind=\"max\", sizes=[9, 2]}"), "pool C5"},
    {MODULE("%x: f32[N,4,S]", "f32[N,4,2]", "%y = adaptive_pool %x {kind=\"max\", sizes=[2]}"),
     "adaptive_pool C1"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "adaptive_pool %x {kind=\"max\"}"),
     "adaptive_pool C3: 0 sizes"},
    {MODULE("%x: f32[N,4,S]", "f32[N,4,2]", "%y = resize %x {mode=\"linear\", sizes=[2]}"),
     "resize C1"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "resize %x {sizes=[4, 5], mode=\"area\"}"),
     "resize C2: mode \"area\""},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]",
            "resize %x {sizes=[4, 5], mode=\"linear\", align=\"corners\"}"),
     "resize C2: align \"corners\""},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "resize %x {sizes=[4], mode=\"linear\"}"),
     "resize C3: 1 sizes"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]", "resize %x {sizes=[4, 0], mode=\"linear\"}"),
     "resize C3: a size of 0"},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]",
            "resize %x {sizes=[4, 5], mode=\"nearest\", antialias=1}"),
     "resize C4: antialias=1 with mode \"nearest\""},
    {PLACES("%w: f32[6]", "f32[N,4,4,5]",
            "resize %x {sizes=[4, 5], mode=\"linear\", align=\"align_corners\", antialias=1}"),
     "resize C4: antialias=1 with mode \"linear\", align \"align_corners\""},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

static rlx_status parse(const char *text, rlx_dims *dims, rlx_ir_module **m)
{
    rlx_status st = rlx_ir_parse(&rlx_hir_level, dims, "case", text, m);
    return st ? st : rlx_ir_verify(*m);
}

START_TEST(prints_what_it_parses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    rlx_text out = {0};
    assert_ok(parse(right[_i], dims, &m));
    rlx_ir_print(m, 0, &out);
    for (const char *line = strstr(right[_i], "%y ="); line; line = NULL) {
        const size_t len = strcspn(line, ":") - 1;
        char want[256];
        snprintf(want, sizeof want, "%.*s", (int)len, line);
        ck_assert_msg(strstr(out.data, want) != NULL, "'%s' is not in %s", want, out.data);
    }
    rlx_text_deinit(&out);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

START_TEST(refuses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    assert_error(parse(wrong[_i].text, dims, &m), RLX_INVALID_IR, wrong[_i].error);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hir vision");
    TCase *c = tcase_create("vision");
    tcase_add_loop_test(c, prints_what_it_parses, 0, NRIGHT);
    tcase_add_loop_test(c, refuses, 0, NWRONG);
    suite_add_tcase(s, c);
    return run_suite(s, NRIGHT + NWRONG);
}
