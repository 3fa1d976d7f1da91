/* tests/tool/test_tool.c: the program's command line: what it takes, what it refuses and how it
 * says so. */
#include <check.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

/* The exit code, and a word on stderr. */
static void complains(process *p, int code, const char *word)
{
    ck_assert_msg(!p->out_bytes, "stdout has \"%s\"", p->out);
    process_complains(p, code, word);
}

static void says(process *p, const char *word)
{
    ck_assert_msg(p->code == 0, "exit code %d: %s", p->code, p->err);
    ck_assert_msg(strstr(p->out, word), "\"%s\" does not say %s", p->out, word);
    process_free(p);
}

START_TEST(help_and_version)
{
    process p;
    RUN(&p, RLX_TOOL, "--version");
    ck_assert_str_eq(p.out, "rlx 0.1.0\n");
    says(&p, "rlx");
    RUN(&p, RLX_TOOL, "--help");
    says(&p, "rlx run");
    static const char *const options[][2] = {{"run", "--temp T"},
                                             {"eval", "--decode-from P"},
                                             {"inspect", "--fusion"},
                                             {"devices", "--help"}};
    for (int i = 0; i < 4; i++) {
        RUN(&p, RLX_TOOL, options[i][0], "--help");
        ck_assert_str_eq(p.err, "");
        says(&p, options[i][1]);
    }
    RUN(&p, RLX_TOOL, "help");
    says(&p, "rlx run");
    RUN(&p, RLX_TOOL);
    complains(&p, 2, "rlx run");
}
END_TEST

START_TEST(mistakes_name_the_nearest)
{
    process p;
    RUN(&p, RLX_TOOL, "rnu");
    complains(&p, 2, "run?");
    RUN(&p, RLX_TOOL, "inspcet", "x");
    complains(&p, 2, "inspect?");
    RUN(&p, RLX_TOOL, "photograph");
    complains(&p, 2, "--help");
    RUN(&p, RLX_TOOL, "run", "--tmep", "0", "x");
    complains(&p, 2, "--temp?");
    RUN(&p, RLX_TOOL, "eval", "--outputz=x", "x");
    complains(&p, 2, "--outputs?");
    RUN(&p, RLX_TOOL, "run", "-z", "x");
    complains(&p, 2, "-z; see");
    RUN(&p, RLX_TOOL, "run", "-see", "1", "x");
    complains(&p, 2, "--seed?");
}
END_TEST

START_TEST(wrong_command_lines)
{
    process p;
    RUN(&p, RLX_TOOL, "run");
    complains(&p, 2, "MODEL");
    RUN(&p, RLX_TOOL, "run", "");
    complains(&p, 2, "MODEL");
    RUN(&p, RLX_TOOL, "run", "a", "-n", "0");
    complains(&p, 2, "--tokens 0");
    RUN(&p, RLX_TOOL, "run", "a", "b");
    complains(&p, 2, "\"b\"");
    RUN(&p, RLX_TOOL, "run", "a", "-n");
    complains(&p, 2, "--tokens");
    RUN(&p, RLX_TOOL, "run", "a", "-n", "many");
    complains(&p, 2, "many");
    RUN(&p, RLX_TOOL, "run", "a", "-t", "-3");
    complains(&p, 2, "-3");
    RUN(&p, RLX_TOOL, "run", "a", "-n-3");
    complains(&p, 2, "--tokens -3");
    RUN(&p, RLX_TOOL, "run", "a", "--temp", "nan");
    complains(&p, 2, "nan");
    RUN(&p, RLX_TOOL, "run", "a", "--ignore-eos=1");
    complains(&p, 2, "no value");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-ctk", "q8");
    complains(&p, 2, "rlx: run: --cache-type-k is f32, f16, bf16 or q8_0 and not \"q8\"; did you");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-ctv", "q4_0");
    complains(&p, 2, "rlx: bench: --cache-type-v");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--precision", "medium");
    complains(&p, 2, "rlx: run: no precision \"medium\"");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--device", "ref:mri");
    complains(&p, 2, "rlx: run: no device \"ref:mri\"; did you mean \"ref:mir\"?");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--fusion", "--device", "cpu:x86-64-v33");
    complains(&p, 2, "x86-64-v3");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-t", "5000");
    complains(&p, 2, "rlx: run: a team of 5000 threads: expected 1 to 1024");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-c", "-3");
    complains(&p, 2, "--ctx -3 is out of range: 0 to 9223372036854775807");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-n", "9223372036854775808");
    complains(&p, 2, "--tokens 9223372036854775808 is out of range");
    RUN(&p, RLX_TOOL, "devices", "x");
    complains(&p, 2, "\"x\"");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "mirr");
    complains(&p, 2, "inspect: no level \"mirr\"; did you mean mir?");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "mir", "--bucket", "both");
    complains(&p, 2, "inspect: no bucket \"both\"");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "lir", "--target", "hip:gfx94");
    complains(&p, 1, "did you mean \"gfx942\"?");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "lir", "--target", "znver4", "--device",
        "cpu");
    complains(&p, 2, "inspect: --target and --device: one of them");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "-b", "prefill");
    complains(&p, 2, "inspect: --bucket is for --level, --fusion and --memory");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--json", "--device", "ref:lir");
    complains(&p, 2, "inspect: --device is for --level");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--json", "--memory");
    complains(&p, 2, "inspect: --json is for the list");
    RUN(&p, RLX_TOOL, "eval", "x");
    complains(&p, 2, "--inputs");
    RUN(&p, RLX_TOOL, "eval", "x", "--probe", "lm_head", "--probe", "lm_head");
    complains(&p, 2, "twice");
}
END_TEST

START_TEST(failures_have_a_story)
{
    process p;
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "caf\xe9");
    complains(&p, 1, "reading the prompt");
    RUN(&p, RLX_TOOL, "eval", BUNDLED, "-i", "/no/such/file", "-o", "/tmp/never");
    complains(&p, 1, "/no/such/file");
    process_run(&p, "/dev/full", (const char *const[]){RLX_TOOL, "devices", NULL});
    complains(&p, 1, "stdout");
}
END_TEST

/* What lists Vulkan's devices loads their drivers, and a software driver leaks when it goes; a test's process is its own. */
static void forget_leaks_of_drivers(void)
{
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

START_TEST(devices)
{
    process p;
    forget_leaks_of_drivers();
    RUN(&p, RLX_TOOL, "devices");
    ck_assert_ptr_nonnull(strstr(p.out, "x86-64-v"));
    ck_assert_ptr_nonnull(strstr(p.out, "ref:lir"));
    ck_assert_ptr_nonnull(strstr(p.out, "avx2"));
    ck_assert_ptr_nonnull(strstr(p.out, "multiplies by f32 fma "));
    ck_assert_ptr_nonnull(strstr(p.out, "weights in blocks by int8 "));
    ck_assert_ptr_nonnull(strstr(p.out, "cuda"));
    says(&p, "cpu");
    RUN(&p, RLX_TOOL, "devices", "--device", "ref:lir");
    ck_assert_msg(p.code == 0 && !strncmp(p.out, "ref:lir", 7) && !strstr(p.out, "ref:mir"), "%s%s",
                  p.err, p.out);
    process_free(&p);
    RUN(&p, RLX_TOOL, "devices", "--json", "--device", "cpu:none");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "no device \"cpu:none\"") && !p.out[0], "%s%s", p.err, p.out);
    process_free(&p);
}
END_TEST

/* What JSON says of the CPU can be given to --device. */
START_TEST(devices_for_programs)
{
    process p;
    forget_leaks_of_drivers();
    RUN(&p, RLX_TOOL, "devices", "--json", "--measure");
    cJSON *list = cJSON_Parse(p.out);
    ck_assert_msg(p.code == 0 && cJSON_GetArraySize(list) >= 3, "%s%s", p.err, p.out);
    const cJSON *cpu = cJSON_GetArrayItem(list, 0), *level, *feature, *speeds;
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(cpu, "name")), "cpu");
    bool avx2 = false;
    cJSON_ArrayForEach(feature, cJSON_GetObjectItem(cpu, "features")) avx2 |=
        !strcmp(cJSON_GetStringValue(feature), "avx2");
    ck_assert(avx2);
    const cJSON *chosen = cJSON_GetObjectItem(cpu, "units");
    ck_assert_ptr_nonnull(
        strstr(cJSON_GetStringValue(cJSON_GetObjectItem(chosen, "exact")), "f32"));
    ck_assert_ptr_nonnull(
        strstr(cJSON_GetStringValue(cJSON_GetObjectItem(chosen, "fast_blocks")), "int8"));
    ck_assert_ptr_nonnull(cJSON_GetObjectItem(chosen, "fast_bf16_prefill"));
    cJSON_ArrayForEach(level, cJSON_GetObjectItem(cpu, "levels"))
    {
        char device[128];
        process q;
        snprintf(device, sizeof device, "cpu:%s", cJSON_GetStringValue(level));
        RUN(&q, RLX_TOOL, "run", BUNDLED, "-n", "1", "--device", device);
        ck_assert_msg(q.code == 0, "%s: %s", device, q.err);
        process_free(&q);
    }
    cJSON_ArrayForEach(speeds, cJSON_GetObjectItem(cpu, "measured"))
    {
        ck_assert(cJSON_GetObjectItem(speeds, "read_bytes_per_second")->valuedouble > 1e6);
        const cJSON *rate, *units = cJSON_GetObjectItem(speeds, "operations_per_second");
        ck_assert_int_ge(cJSON_GetArraySize(units), 2);
        cJSON_ArrayForEach(rate, units) ck_assert(rate->valuedouble > 1e6);
    }
    ck_assert_int_ge(cJSON_GetArraySize(cJSON_GetObjectItem(cpu, "measured")), 1);
    for (int i = 3; i < cJSON_GetArraySize(list); i++) {
        const cJSON *d = cJSON_GetArrayItem(list, i);
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(d, "name"));
        ck_assert_msg(strchr(name, ':') != NULL, "%s", name); /* a device, not why there is none */
        if (!cJSON_GetStringValue(cJSON_GetObjectItem(d, "target"))[0])
            continue;
        ck_assert(cJSON_GetObjectItem(d, "memory_bytes")->valuedouble > 1e6);
        speeds = cJSON_GetObjectItem(d, "measured");
        ck_assert(cJSON_GetObjectItem(speeds, "copy_bytes_per_second")->valuedouble > 1e6);
    }
    cJSON_Delete(list);
    process_free(&p);
}
END_TEST

/* ---- the bundled model */

START_TEST(runs_are_repeatable)
{
    static const char *const ways[][4] = {{"--temp", "0", "--seed", "1"},
                                          {"--temp", "1", "--seed", "7"},
                                          {"--temp", "1", "--seed", "8"}};
    process p[3], again;
    for (int i = 0; i < 3; i++) {
        RUN(&p[i], RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "40", ways[i][0],
            ways[i][1], ways[i][2], ways[i][3]);
        ck_assert_msg(p[i].code == 0, "%s", p[i].err);
        ck_assert_ptr_eq(strstr(p[i].out, "Once upon a time"), p[i].out);
        ck_assert_uint_gt(p[i].out_bytes, strlen("Once upon a time") + 20);
        ck_assert_ptr_nonnull(strstr(p[i].err, "tokens/s"));
        ck_assert_ptr_nonnull(strstr(p[i].err, "precision fast"));
        RUN(&again, RLX_TOOL, "run", "-m", BUNDLED, "-p", "Once upon a time", "-n", "40", "-t", "1",
            ways[i][0], ways[i][1], ways[i][2], ways[i][3]);
        ck_assert_str_eq(p[i].out, again.out);
        process_free(&again);
    }
    ck_assert_str_ne(p[0].out, p[1].out);
    ck_assert_str_ne(p[1].out, p[2].out);
    for (int i = 0; i < 3; i++)
        process_free(&p[i]);
}
END_TEST

/* A directory with links to files of the bundled model. */
typedef struct model_folder {
    char dir[32], *path[2];
    int n;
} model_folder;

static void link_model(model_folder *f, const char *name, const char *as)
{
    char target[512];
    snprintf(target, sizeof target, BUNDLED "/%s", name);
    ck_assert_int_gt(asprintf(&f->path[f->n], "%s/%s", f->dir, as), 0);
    ck_assert_int_eq(symlink(target, f->path[f->n++]), 0);
}

static void open_model(model_folder *f)
{
    *f = (model_folder){.dir = "/tmp/rlx-tool-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
}

static void close_model(model_folder *f)
{
    while (f->n > 0) {
        unlink(f->path[--f->n]);
        free(f->path[f->n]);
    }
    rmdir(f->dir);
}

START_TEST(a_model_without_a_tokenizer)
{
    model_folder f;
    process p;
    open_model(&f);
    link_model(&f, "config.json", "config.json");
    link_model(&f, "model.safetensors", "model.safetensors");
    RUN(&p, RLX_TOOL, "run", f.dir, "-n", "3");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "tokenizer.json"), "%s", p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "inspect", f.dir, "--level", "flow");
    says(&p, "flow @");
    close_model(&f);
}
END_TEST

/* What MODEL can be, and what is said of what it cannot. */
START_TEST(models_are_named)
{
    model_folder f;
    process p;
    open_model(&f);
    RUN(&p, RLX_TOOL, "run", f.dir, "-p", "x");
    complains(&p, 1, "has neither model.safetensors nor model.safetensors.index.json (");
    link_model(&f, "model.safetensors", "model.gguf");
    RUN(&p, RLX_TOOL, "run", f.dir, "-p", "x");
    complains(&p, 1, "name one of its files as the model: model.gguf");
    RUN(&p, RLX_TOOL, "inspect", f.path[0]);
    complains(&p, 1, "G1: byte 0");
    link_model(&f, "model.safetensors", "part.safetensors");
    RUN(&p, RLX_TOOL, "inspect", f.dir);
    complains(&p, 1, "as the model: model.gguf, part.safetensors");
    RUN(&p, RLX_TOOL, "inspect", f.path[1]);
    says(&p, "model.norm.weight");
    RUN(&p, RLX_TOOL, "run", f.path[1], "-p", "x");
    complains(&p, 1, "config.json");
    RUN(&p, RLX_TOOL, "run", "/no/such/model", "-p", "x");
    complains(&p, 1, "there is no file or directory '/no/such/model'");
    RUN(&p, RLX_TOOL, "run", BUNDLED "/config.json", "-p", "x");
    complains(&p, 1, "config.json' is no model: a directory, a .gguf file");
    close_model(&f);
}
END_TEST

/* ---- eval */

typedef struct eval_file {
    char in[32], out[32];
} eval_file;

static void write_inputs(eval_file *f, const rlx_tensor *tensors, int n)
{
    strcpy(f->in, "/tmp/rlx-tool-XXXXXX");
    strcpy(f->out, "/tmp/rlx-tool-XXXXXX");
    close(mkstemp(f->in));
    close(mkstemp(f->out));
    ck_assert_ptr_null(rlx_safetensors_write(f->in, tensors, n, NULL));
}

static void eval_ends(int code, const rlx_tensor *tensors, int n, const char *option,
                      const char *value, const char *word)
{
    eval_file f;
    process p;
    write_inputs(&f, tensors, n);
    RUN(&p, RLX_TOOL, "eval", BUNDLED, "-i", f.in, "-o", f.out, option, value);
    complains(&p, code, word);
    unlink(f.in);
    unlink(f.out);
}

static void eval_complains(const rlx_tensor *tensors, int n, const char *option, const char *value,
                           const char *word)
{
    eval_ends(1, tensors, n, option, value, word);
}

START_TEST(eval_refuses)
{
    static const int64_t ids[] = {0, 5, 6, 7}, far[] = {0, 5, 1024, 7}, mask[] = {1, 0, 1, 1};
    static const int64_t none[] = {0, 0, 0, 0}, twos[] = {1, 1, 2, 1};
    static const float real[] = {0, 1, 2, 3};
    rlx_tensor t[2] = {{"input_ids", RLX_I64, 2, {1, 4}, ids, sizeof ids},
                       {"attention_mask", RLX_I64, 2, {1, 4}, mask, sizeof mask}};
    eval_complains(t + 1, 1, "-t", "1", "input_ids");
    t[1].data = none;
    eval_complains(t, 2, "-t", "1", "attention_mask hides every position");
    t[1].data = twos;
    eval_complains(t, 2, "-t", "1", "attention_mask has a 2");
    t[1].data = mask;
    t[1].dim[1] = 3;
    t[1].bytes = 3 * sizeof *mask;
    eval_complains(t, 2, "-t", "1", "attention_mask has not the shape");
    eval_complains(t, 1, "--decode-from", "5", "decode-from");
    eval_complains(t, 1, "--probe", "model.layer.3", "model.layers.3");
    eval_complains(t, 1, "--generate", "9223372036854775807", "--generate 9223372036854775807");
    eval_ends(2, t, 1, "--threads", "99999999999", "rlx: eval: a team of 1048576 threads");
    t[1] = (rlx_tensor){"attention_mask", RLX_I64, 2, {4, 1}, mask, sizeof mask};
    eval_complains(t, 2, "-t", "1", "attention_mask has not the shape of input_ids");
    t[1] = (rlx_tensor){"attention_mask", RLX_F32, 2, {1, 4}, real, sizeof real};
    eval_complains(t, 2, "-t", "1", "attention_mask is F32 and not I64 or I32");
    t[0].data = far;
    eval_complains(t, 1, "-t", "1", "1024");
    t[0] = (rlx_tensor){"input_ids", RLX_F32, 2, {1, 4}, real, sizeof real};
    eval_complains(t, 1, "-t", "1", "I64");
    t[0] = (rlx_tensor){"input_ids", RLX_I64, 2, {0, 4}, ids, 0};
    eval_complains(t, 1, "-t", "1", "empty");
}
END_TEST

/* Padding behind changes nothing for a row's own tokens, padding in front their rotation only; a
 * batch is its rows; I32 ids are ids. */
START_TEST(eval_pads_and_batches)
{
    static const int32_t alone[] = {0, 300, 301}, both[] = {0, 300, 301, 9, 9, 9, 0, 300, 301, 7};
    static const int32_t mask[] = {1, 1, 1, 0, 0, 0, 1, 1, 1, 1};
    rlx_tensor one = {"input_ids", RLX_I32, 1, {3}, alone, sizeof alone};
    rlx_tensor two[] = {{"input_ids", RLX_I32, 2, {2, 5}, both, sizeof both},
                        {"attention_mask", RLX_I32, 2, {2, 5}, mask, sizeof mask}};
    const rlx_tensor *inputs[] = {&one, two};
    rlx_weights *w[2];
    for (int i = 0; i < 2; i++) {
        eval_file f;
        process p;
        write_inputs(&f, inputs[i], i + 1);
        RUN(&p, RLX_TOOL, "eval", BUNDLED, "-i", f.in, "-o", f.out, "--probe", "model.layers.2");
        says(&p, "");
        ck_assert_ptr_null(rlx_weights_create(&w[i]));
        ck_assert_ptr_null(rlx_weights_add_safetensors(w[i], f.out));
        unlink(f.in);
        unlink(f.out);
    }
    static const char *const names[] = {"logits", "probe:model.layers.2"};
    for (int i = 0; i < 2; i++) {
        const rlx_tensor *a = rlx_weights_find(w[0], names[i]),
                         *b = rlx_weights_find(w[1], names[i]);
        ck_assert(a && b && a->rank == 3 && b->rank == 3 && a->dim[1] == 3 && b->dim[0] == 2);
        size_t row = (size_t)a->dim[2] * sizeof(float);
        ck_assert_int_eq(memcmp(a->data, b->data, 3 * row), 0);
        const float *x = a->data, *shifted = (const float *)b->data + 6 * a->dim[2];
        for (int64_t k = 0; k < 3 * a->dim[2]; k++)
            ck_assert_float_eq_tol(x[k], shifted[k], 1e-3f);
        ck_assert_double_eq(((const float *)b->data)[5 * a->dim[2]], 0); /* padding */
    }
    rlx_weights_destroy(w[0]);
    rlx_weights_destroy(w[1]);
}
END_TEST

/* Positions that restart make sequences of their own; given positions shift nothing else, because
 * rotations tell distances. */
START_TEST(eval_takes_positions)
{
    static const int64_t ids[] = {0, 300, 301, 0, 300, 301, 7}, places[] = {0, 1, 2, 0, 1, 2, 3};
    static const int64_t far[] = {5, 6, 7, 8, 9, 10, 11}, wrong[] = {0, 1, 2, -1, 4, 5, 6};
    rlx_tensor t[2] = {{"input_ids", RLX_I64, 2, {1, 7}, ids, sizeof ids},
                       {"position_ids", RLX_I64, 2, {1, 7}, places, sizeof places}};
    rlx_weights *w[3];
    for (int i = 0; i < 3; i++) {
        eval_file f;
        process p;
        t[1].data = i == 1 ? far : places;
        write_inputs(&f, t, i < 2 ? 2 : 1);
        RUN(&p, RLX_TOOL, "eval", BUNDLED, "-i", f.in, "-o", f.out, "--decode-from", "2");
        says(&p, "");
        ck_assert_ptr_null(rlx_weights_create(&w[i]));
        ck_assert_ptr_null(rlx_weights_add_safetensors(w[i], f.out));
        unlink(f.in);
        unlink(f.out);
    }
    const rlx_tensor *packed = rlx_weights_find(w[0], "logits");
    const float *x = packed->data, *shifted = rlx_weights_find(w[1], "logits")->data;
    const float *plain = rlx_weights_find(w[2], "logits")->data;
    const int64_t V = packed->dim[2];
    ck_assert_int_eq(memcmp(x, x + 3 * V, (size_t)(3 * V) * sizeof *x), 0);
    ck_assert_int_eq(memcmp(x, plain, (size_t)(3 * V) * sizeof *x), 0);
    for (int64_t i = 0; i < 7 * V; i++)
        ck_assert_float_eq_tol(shifted[i], plain[i], 1e-3f);
    ck_assert_float_gt(fabsf(x[3 * V] - plain[3 * V]), 1e-3f);
    t[1].data = wrong;
    eval_complains(t, 2, "-t", "1", "position_ids has a -1");
    t[1].dim[1] = 6;
    t[1].bytes = 6 * sizeof *wrong;
    eval_complains(t, 2, "-t", "1", "position_ids has not the shape");
    for (int i = 0; i < 3; i++)
        rlx_weights_destroy(w[i]);
}
END_TEST

START_TEST(the_context_ends_with_an_error)
{
    process p;
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-n", "100000", "--ignore-eos");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "context is full"), "%s", p.err);
    process_free(&p);
}
END_TEST

START_TEST(inspects_every_level)
{
    static const char *const levels[][2] = {{"flow", "rms_norm"}, {"hir", "hir module"},
                                            {"mir", "region"},    {"lir", "kernel @"},
                                            {"llvm", "define"},   {"asm", "ret"}};
    static const char *const buckets[] = {"decode", "prefill"};
    process p;
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 6; i++) {
            RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", levels[i][0], "--bucket", buckets[b]);
            says(&p, levels[i][1]);
        }
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "mir", "-ctk", "q8_0");
    says(&p, "i8[");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--fusion");
    says(&p, "contract");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--memory");
    says(&p, "live at once");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "buckets", "--precision", "fast");
    says(&p, "decode  decode, up to 1 token\nprefill:512  prefill, up to 512 tokens\n"
             "decode:16  decode of several, up to 16 tokens\n");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "flow", "--bucket", "prefill:128");
    says(&p, "rms_norm");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "flow", "--bucket", "prefill:17");
    complains(&p, 1, "no bucket \"prefill:17\"; there are\ndecode  decode");
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--level", "flow", "--bucket", "prefill:128x");
    complains(&p, 1, "no bucket \"prefill:128x\"");
}
END_TEST

static double number(const cJSON *o, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItem(o, key));
}

/* The list agrees with the file: offsets and bytes fill it, the metadata is config.json's. */
START_TEST(lists_tensors_and_metadata)
{
    process p;
    RUN(&p, RLX_TOOL, "inspect", BUNDLED, "--json");
    cJSON *list = cJSON_Parse(p.out);
    ck_assert_msg(p.code == 0 && list, "%s%s", p.err, p.out);
    const cJSON *files = cJSON_GetObjectItem(list, "files"), *t, *m;
    const cJSON *tensors = cJSON_GetObjectItem(list, "tensors");
    ck_assert_int_eq(cJSON_GetArraySize(files), 2);
    ck_assert_int_eq(cJSON_GetArraySize(tensors), 56);
    double end = number(cJSON_GetArrayItem(tensors, 0), "offset");
    cJSON_ArrayForEach(t, tensors)
    {
        ck_assert_double_eq(number(t, "offset"), end);
        ck_assert_double_eq(number(t, "file"), 1);
        double elements = 1;
        const cJSON *extent;
        cJSON_ArrayForEach(extent, cJSON_GetObjectItem(t, "shape")) elements *= extent->valuedouble;
        ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(t, "type")), "BF16");
        ck_assert_double_eq(number(t, "bytes"), 2 * elements);
        end += number(t, "bytes");
    }
    ck_assert_double_eq(end, number(cJSON_GetArrayItem(files, 1), "bytes"));
    bool heads = false, format = false;
    cJSON_ArrayForEach(m, cJSON_GetObjectItem(list, "metadata"))
    {
        const char *key = cJSON_GetStringValue(cJSON_GetObjectItem(m, "key"));
        heads |= !strcmp(key, "num_attention_heads") && number(m, "value") == 6;
        format |= !strcmp(key, "format") && number(m, "file") == 1;
    }
    ck_assert(heads && format);
    cJSON_Delete(list);
    process_free(&p);
    RUN(&p, RLX_TOOL, "inspect", BUNDLED);
    ck_assert_ptr_nonnull(strstr(p.out, "model.safetensors: 5122808 bytes, 56 tensors"));
    ck_assert_ptr_nonnull(strstr(p.out, "  num_attention_heads = 6\n"));
    says(&p, "model.embed_tokens.weight                      BF16    [1024,192]");
    RUN(&p, RLX_TOOL, "inspect", RLX_SOURCE_DIR "/tests/fuzz/corpus/safetensors/names.safetensors");
    says(&p, "\n  \"aA\\n\\\"\\\\\" I8  ");
}
END_TEST

/* Names of a file that would write over the message; they must not reach the terminal. */
START_TEST(messages_do_not_steer_the_terminal)
{
    static const char file[] =
        "\x2f\0\0\0\0\0\0\0{\"\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":\"none\"   }}";
    char path[] = "/tmp/rlx-XXXXXX.safetensors";
    process p;
    int fd = mkstemps(path, 12);
    ck_assert(fd >= 0 && write(fd, file, sizeof file - 1) == (ssize_t)sizeof file - 1);
    close(fd);
    RUN(&p, RLX_TOOL, "inspect", path);
    complains(&p, 1, "tensor '?[2J'");
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tool");
    TCase *c = tcase_create("tool");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, help_and_version);
    tcase_add_test(c, mistakes_name_the_nearest);
    tcase_add_test(c, wrong_command_lines);
    tcase_add_test(c, failures_have_a_story);
    tcase_add_test(c, devices);
    tcase_add_test(c, devices_for_programs);
    tcase_add_test(c, runs_are_repeatable);
    tcase_add_test(c, a_model_without_a_tokenizer);
    tcase_add_test(c, models_are_named);
    tcase_add_test(c, lists_tensors_and_metadata);
    tcase_add_test(c, messages_do_not_steer_the_terminal);
    tcase_add_test(c, eval_refuses);
    tcase_add_test(c, eval_pads_and_batches);
    tcase_add_test(c, eval_takes_positions);
    tcase_add_test(c, the_context_ends_with_an_error);
    tcase_add_test(c, inspects_every_level);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 11;
    srunner_free(r);
    return bad;
}
