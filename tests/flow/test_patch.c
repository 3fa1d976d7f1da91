/* tests/flow/test_patch.c: patches of flows: what they change, what they are refused for, which layers
 * are alike behind them. */
#include "tests/flow/compose_world.h"

/* ---- patches
 * ------------------------------------------------------------------------------------- */

static void record_final(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_rms_norm(f, "norm.weight", 1e-6);
}

static const struct {
    const char *where;
    rlx_patch_edit edit;
    void (*record)(rlx_flow *f, void *user);
    const char *line[4]; /* of the first layer that was changed, in this order */
    int changed;         /* layers */
} patches[] = {
    {"layers/linear", RLX_PATCH_AFTER, record_scale, {"linear", "scale by=0.5", "residual_add"}, 4},
    {"layers.2/mlp/rms_norm",
     RLX_PATCH_BEFORE,
     record_scale,
     {"residual_save", "scale by=0.5", "rms_norm"},
     1},
    {"layers/rms_norm", RLX_PATCH_REMOVE, NULL, {"residual_save", "linear"}, 4},
    {"layers/mlp",
     RLX_PATCH_REPLACE,
     record_scale,
     {"residual_save", "scale by=0.5", "residual_add"},
     4},
    {"layers/residual_add",
     RLX_PATCH_REPLACE,
     record_add,
     {"linear", "scale by=0.25", "residual_add"},
     4},
    {"output", RLX_PATCH_BEFORE, record_final, {"}", "rms_norm key=\"norm.weight\"", "output"}, 0},
    {"y", RLX_PATCH_BEFORE, record_scale, {"}", "scale by=0.5", "output"}, 0},
    {"input", RLX_PATCH_AFTER, record_scale, {"input", "scale by=0.5", "layers"}, 0},
};
enum { NPATCHES = sizeof patches / sizeof *patches };

START_TEST(patches_change_what_they_name)
{
    world t;
    rlx_text text = {0};
    float y[TOKENS * H];
    open_world(&t);
    record_once(t.flow);
    rlx_flow_patch(t.flow, patches[_i].where, patches[_i].edit, patches[_i].record, NULL);
    if (t.flow->error)
        ck_abort_msg("%s", rlx_status_message(t.flow->error));
    rlx_flow_print(t.flow, &text);
    bool found = false;
    for (const char *at = text.data; (at = strstr(at, patches[_i].line[0])) && !found; at++) {
        const char *next = at;
        found = true;
        for (int l = 1; l < 4 && patches[_i].line[l] && found; l++) {
            next = strchr(next, '\n') + 1;
            next += strspn(next, " ");
            found = !strncmp(next, patches[_i].line[l], strlen(patches[_i].line[l]));
        }
    }
    ck_assert_msg(found, "not after the patch of %s:\n%s", patches[_i].where, text.data);
    ck_assert_int_eq(strstr(text.data, "layers 0..3") != NULL, patches[_i].changed != 1);
    const rlx_compile_options o = options_for(&t);
    assert_ok(run(&t, &o, y));
    rlx_text_deinit(&text);
    close_world(&t);
}
END_TEST

static const struct {
    const char *where;
    rlx_patch_edit edit;
    void (*record)(rlx_flow *f, void *user);
    rlx_code code;
    const char *error;
} bad_patches[] = {
    {"layers/liner", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND,
     "patch: no stage at \"layers/liner\"; did you mean linear?"},
    {"linear", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "patch: no stage at \"linear\""},
    {"layers.7/linear", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND,
     "patch: no stage at \"layers.7/linear\""},
    {"layers/linear#1", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "layers/linear#1"},
    {"layers/mlp/residual_add", RLX_PATCH_REMOVE, NULL, RLX_NOT_FOUND, "layers/mlp/residual_add"},
    {"", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "\"\" is no place"},
    {"layers.x/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.-1/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.+3/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers. 3/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers.99999999999999999999/linear", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "is no place"},
    {"layers/linear#+0", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"layers/linear#x", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT, "is no place"},
    {"input", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "\"input\" is the flow's input, which stays first"},
    {"layers/linear", RLX_PATCH_AFTER, NULL, RLX_INVALID_ARGUMENT, "no function that records"},
    {"layers/residual_save", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "stage 2 (residual_add) of layer 0: F6: a residual_add without a residual_save"},
    {"layers.1/residual_add", RLX_PATCH_REMOVE, NULL, RLX_INVALID_ARGUMENT,
     "of layer 1 in mlp: F6: the layer ends with a residual_save open"},
    {"layers.1/linear", RLX_PATCH_AFTER, record_unbalanced, RLX_INVALID_ARGUMENT,
     "the layer ends with a residual_save open"},
};
enum { NBAD_PATCHES = sizeof bad_patches / sizeof *bad_patches };

START_TEST(patches_are_refused)
{
    world t;
    open_world(&t);
    record_once(t.flow);
    rlx_flow_patch(t.flow, bad_patches[_i].where, bad_patches[_i].edit, bad_patches[_i].record,
                   NULL);
    assert_error(rlx_flow_check(t.flow), bad_patches[_i].code, bad_patches[_i].error);
    close_world(&t);
}
END_TEST

static void record_two(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 2);
    rlx_flow_scale(f, 3);
    rlx_flow_scale(f, 4);
}

START_TEST(patches_count_what_is_alike)
{
    world t;
    open_world(&t);
    record_two(t.flow, NULL);
    rlx_flow_patch(t.flow, "scale#1", RLX_PATCH_REMOVE, NULL, NULL);
    expect_text(t.flow,
                "flow @parts {\n  input \"x\" f32[TOKENS,6]\n  scale by=2\n  scale by=4\n}\n");
    rlx_flow_patch(t.flow, "scale", RLX_PATCH_REMOVE, NULL, NULL);
    assert_error(rlx_flow_check(t.flow), RLX_INVALID_ARGUMENT,
                 "\"scale\" is more than one stage: say which, \"scale#0\"");
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("patch");
    TCase *c = tcase_create("patch");
    tcase_add_loop_test(c, patches_change_what_they_name, 0, NPATCHES);
    tcase_add_loop_test(c, patches_are_refused, 0, NBAD_PATCHES);
    tcase_add_test(c, patches_count_what_is_alike);
    suite_add_tcase(s, c);
    return run_suite(s, 1 + NPATCHES + NBAD_PATCHES);
}
