/* tests/examples/test_examples.c: the examples run, and do what they say: numbers of plain loops,
 * texts and tensors of the program. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"
#include "tests/tool/process.h"

#define MODEL RLX_SOURCE_DIR "/models/bundled"
#define EXAMPLES RLX_BINARY_DIR "/examples/"

/* ---- hand_flow, once more in double */

enum { LAYERS = 2, TOKENS = 3, HIDDEN = 24, INNER = 40, OUT = 5 };

static double value(int which, int i, double mean)
{
    return mean + 0.3f * sinf((float)(1 + which) + 0.7f * (float)i);
}

static double dot(int which, int row, const double *x, int n)
{
    double sum = 0;
    for (int k = 0; k < n; k++)
        sum += value(which, row * n + k, 0) * x[k];
    return sum;
}

static void one_token(int token, double *y)
{
    double x[HIDDEN], h[HIDDEN], g[INNER];
    for (int i = 0; i < HIDDEN; i++)
        x[i] = value(200, token * HIDDEN + i, 0);
    for (int l = 0; l < LAYERS; l++) {
        double squares = 0;
        for (int i = 0; i < HIDDEN; i++)
            squares += x[i] * x[i];
        for (int i = 0; i < HIDDEN; i++)
            h[i] = x[i] / sqrt(squares / HIDDEN + 1e-5) * value(4 * l, i, 1);
        for (int i = 0; i < INNER; i++) {
            double gate = dot(4 * l + 1, i, h, HIDDEN);
            g[i] = gate / (1 + exp(-gate)) * dot(4 * l + 2, i, h, HIDDEN);
        }
        for (int i = 0; i < HIDDEN; i++)
            x[i] += dot(4 * l + 3, i, g, INNER);
    }
    for (int o = 0; o < OUT; o++)
        y[o] = dot(100, o, x, HIDDEN) + value(101, o, 0);
}

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};

START_TEST(hand_flow)
{
    process p;
    RUN(&p, EXAMPLES "hand_flow", devices[_i]);
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *at = p.out;
    for (int t = 0; t < TOKENS; t++) {
        double want[OUT];
        one_token(t, want);
        for (int o = 0; o < OUT; o++) {
            double got = strtod(at, &at);
            ck_assert_msg(fabs(got - want[o]) <= 1e-5 * (1 + fabs(want[o])),
                          "token %d, output %d: %.9g, not %.9g", t, o, got, want[o]);
        }
    }
    ck_assert_str_eq(at, "\n");
    process_free(&p);
}
END_TEST

/* custom_stage, once more in double */
START_TEST(custom_stage)
{
    enum { WIDTH = 12, DEPTH = 20 };
    process p;
    RUN(&p, EXAMPLES "custom_stage", devices[_i]);
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_msg(strstr(p.err, "2 layers, 1 of them distinct"), "%s", p.err);
    char *at = p.out;
    for (int t = 0; t < TOKENS; t++) {
        double x[WIDTH], h[DEPTH];
        for (int i = 0; i < WIDTH; i++)
            x[i] = 0.4f * sinf(101.0f + 0.9f * (float)(t * WIDTH + i));
        for (int l = 0; l < LAYERS; l++) {
            for (int r = 0; r < DEPTH; r++) {
                double sum = 0;
                for (int k = 0; k < WIDTH; k++)
                    sum += 0.4f * sinf((float)(1 + 2 * l) + 0.9f * (float)(r * WIDTH + k)) * x[k];
                h[r] = sum > 0 ? sum * sum : 0;
            }
            for (int r = 0; r < WIDTH; r++)
                for (int k = 0; k < DEPTH; k++)
                    x[r] += 0.4f * sinf((float)(2 + 2 * l) + 0.9f * (float)(r * DEPTH + k)) * h[k];
        }
        for (int i = 0; i < WIDTH; i++) {
            double got = strtod(at, &at);
            x[i] /= 1 + i;
            ck_assert_msg(fabs(got - x[i]) <= 1e-5 * (1 + fabs(x[i])),
                          "token %d, element %d: %.9g, not %.9g", t, i, got, x[i]);
        }
    }
    ck_assert_str_eq(at, "\n");
    process_free(&p);
}
END_TEST

/* Every stage of the reference, alike on every device. */
START_TEST(stages)
{
    process p, again;
    RUN(&p, EXAMPLES "stages");
    ck_assert_msg(p.code == 0, "%s", p.err);
    static const char *const lines[] = {"input 0.5\n", "scale 0.25\n", "load_input 1\n",
                                        "custom 0.25\n", "load_stream -0.5\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(p.out, lines[i]) != NULL, "no %s in %s", lines[i], p.out);
    RUN(&again, EXAMPLES "stages", "ref:mir");
    ck_assert_str_eq(p.out, again.out);
    process_free(&p);
    process_free(&again);
}
END_TEST

START_TEST(layers)
{
    process p, again;
    RUN(&p, EXAMPLES "layers");
    ck_assert_msg(p.code == 0, "%s", p.err);
    static const char *const lines[] = {"embed_scale 1.41421\n", "repeat_layers 0.0625\n",
                                        "logit_softcap 0.499954\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(p.out, lines[i]) != NULL, "no %s in %s", lines[i], p.out);
    RUN(&again, EXAMPLES "layers", "ref:mir");
    ck_assert_str_eq(p.out, again.out);
    process_free(&p);
    process_free(&again);
}
END_TEST

/* The numbers mean nothing; they are the same on an evaluator. */
START_TEST(tutorial)
{
    process p, again;
    RUN(&p, EXAMPLES "tutorial");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_msg(strstr(p.err, "2 functions,"), "%s", p.err); /* main and one layer */
    const char *second = strstr(p.out, "| hidden.1 is [1,16]\n");
    ck_assert_msg(second && strstr(second + 1, "| hidden.1 is [1,16]\n"), "%s", p.out);
    RUN(&again, EXAMPLES "tutorial", "ref:mir");
    ck_assert_str_eq(p.out, again.out);
    process_free(&p);
    process_free(&again);
}
END_TEST

START_TEST(run_model)
{
    process p;
    RUN(&p, EXAMPLES "run_model", MODEL, "Once upon a time", "32");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_ptr_eq(strstr(p.out, "Once upon a time"), p.out);
    ck_assert_msg(p.out_bytes > 60, "\"%s\"", p.out);
    process_free(&p);
    RUN(&p, EXAMPLES "run_model", "/no/such/model");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "/no/such/model"), "%s", p.err);
    process_free(&p);
}
END_TEST

/* The text behind "NAME:" in the output. */
static char *line_of(const process *p, const char *name)
{
    char *at = strstr(p->out, name);
    ck_assert_msg(at != NULL, "no \"%s\" in %s", name, p->out);
    at += strlen(name);
    return strndup(at, strcspn(at, "\n"));
}

START_TEST(chat)
{
    char path[] = "/tmp/rlx-example-XXXXXX";
    static const char text[] =
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    process p;
    int fd = mkstemp(path);
    ck_assert(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    RUN(&p, EXAMPLES "chat", MODEL, path);
    unlink(path);
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_str_eq(p.out, "<|begin|>[system]You are brief.[user]Hello!\n");
    process_free(&p);
    RUN(&p, EXAMPLES "chat", MODEL);
    ck_assert_int_eq(p.code, 1);
    ck_assert_ptr_nonnull(strstr(p.err, "comes without a chat template"));
    process_free(&p);
}
END_TEST

START_TEST(sessions)
{
    process p;
    RUN(&p, EXAMPLES "sessions", MODEL, "Once upon a time there was");
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *first = line_of(&p, "the likeliest:"), *other = line_of(&p, "another:");
    char *again = line_of(&p, "once more:"), *restored = line_of(&p, "restored:");
    ck_assert_int_gt(strlen(first), 10);
    ck_assert_str_eq(first, again);
    ck_assert_str_ne(first, other);
    ck_assert_int_ge(atoi(restored), 5);
    ck_assert_ptr_nonnull(strstr(p.out, "cancelled after 1 tokens"));
    free(first);
    free(other);
    free(again);
    free(restored);
    process_free(&p);
}
END_TEST

START_TEST(contexts)
{
    process p;
    setenv("ASAN_OPTIONS", "detect_leaks=0",
           1); /* it loads Vulkan's drivers, and a software driver leaks */
    RUN(&p, EXAMPLES "contexts");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_msg(strstr(p.out, "ref:mir is ref:mir with 2 threads"), "%s", p.out);
    process_free(&p);
    RUN(&p, EXAMPLES "contexts", "cpu:x86-64-v9");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "x86-64-v9"), "%s", p.err);
    process_free(&p);
}
END_TEST

START_TEST(own_sampling)
{
    process p[3];
    for (int i = 0; i < 3; i++) {
        RUN(&p[i], EXAMPLES "own_sampling", MODEL, "Once upon a time", "24", i < 2 ? "5" : "6");
        ck_assert_msg(p[i].code == 0, "%s", p[i].err);
        ck_assert_ptr_eq(strstr(p[i].out, "Once upon a time"), p[i].out);
    }
    ck_assert_str_eq(p[0].out, p[1].out); /* a seed is a text */
    ck_assert_str_ne(p[0].out, p[2].out);
    for (int i = 0; i < 3; i++)
        process_free(&p[i]);
}
END_TEST

/* Texts of a batch are those that each prompt has alone. */
START_TEST(batch)
{
    static const char *const prompt[] = {"Once upon a time", "The", "A little dog named Max went"};
    process together, alone;
    RUN(&together, EXAMPLES "batch", MODEL, "16", prompt[0], prompt[1], prompt[2]);
    ck_assert_msg(together.code == 0, "%s", together.err);
    const char *at = together.out;
    for (int i = 0; i < 3; i++) {
        RUN(&alone, EXAMPLES "run_model", MODEL, prompt[i], "16");
        ck_assert_msg(alone.code == 0, "%s", alone.err);
        ck_assert_msg(!strncmp(at, alone.out, alone.out_bytes), "text %d of\n%sis not\n%s", i,
                      together.out, alone.out);
        at += alone.out_bytes;
        ck_assert_msg(!strncmp(at, "---\n", 4), "%s", at);
        at += 4;
        process_free(&alone);
    }
    ck_assert_str_eq(at, "");
    process_free(&together);
}
END_TEST

static void write_ids(const char *path)
{
    static const int64_t ids[] = {1, 7, 5, 9, 3};
    rlx_tensor t = {.name = "input_ids",
                    .format = RLX_I64,
                    .rank = 2,
                    .dim = {1, 5},
                    .data = ids,
                    .bytes = sizeof ids};
    assert_ok(rlx_safetensors_write(path, &t, 1, NULL));
}

static void same_tensor(const rlx_weights *a, const rlx_weights *b, const char *name)
{
    const rlx_tensor *x = rlx_weights_find(a, name), *y = rlx_weights_find(b, name);
    ck_assert_msg(x && y, "no %s", name);
    ck_assert_uint_eq(x->bytes, y->bytes);
    ck_assert_msg(!memcmp(x->data, y->data, x->bytes), "%s differs", name);
}

/* What the example writes is what the program writes. */
START_TEST(eval_tensors)
{
    char dir[] = "/tmp/rlx-examples-XXXXXX", in[64], out[64], want[64];
    process p;
    rlx_weights *a, *b;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(in, sizeof in, "%s/in.safetensors", dir);
    snprintf(out, sizeof out, "%s/out.safetensors", dir);
    snprintf(want, sizeof want, "%s/want.safetensors", dir);
    write_ids(in);
    RUN(&p, EXAMPLES "eval_tensors", MODEL, in, out, "model.layers.1");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "eval", MODEL, "--inputs", in, "--outputs", want, "--probe",
        "model.layers.1");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    assert_ok(rlx_weights_create(&a));
    assert_ok(rlx_weights_create(&b));
    assert_ok(rlx_weights_add_safetensors(a, out));
    assert_ok(rlx_weights_add_safetensors(b, want));
    same_tensor(a, b, "logits");
    same_tensor(a, b, "probe:model.layers.1");
    rlx_weights_destroy(a);
    rlx_weights_destroy(b);
    unlink(in);
    unlink(out);
    unlink(want);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("examples");
    TCase *c = tcase_create("examples");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, hand_flow, 0, sizeof devices / sizeof *devices);
    tcase_add_loop_test(c, custom_stage, 0, sizeof devices / sizeof *devices);
    tcase_add_test(c, stages);
    tcase_add_test(c, layers);
    tcase_add_test(c, tutorial);
    tcase_add_test(c, run_model);
    tcase_add_test(c, sessions);
    tcase_add_test(c, chat);
    tcase_add_test(c, contexts);
    tcase_add_test(c, own_sampling);
    tcase_add_test(c, batch);
    tcase_add_test(c, eval_tensors);
    suite_add_tcase(s, c);
    return run_suite(s, 18);
}
