/* tests/suites/test_conformance.c: the conformance program sees what is wrong: a fixture made of
 * the bundled model's own outputs passes, and with changed numbers fails by the right name. */
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define CONFORMANCE RLX_BINARY_DIR "/tests/conformance"

enum { FILES = 7 };
static const char *const files[FILES] = {
    "config.json",          "model.safetensors",  "case.json",      "inputs.safetensors",
    "expected.safetensors", "golden.safetensors", "out.safetensors"};

typedef struct folder {
    char dir[32], path[FILES][64];
} folder;

static void must(rlx_status st)
{
    char *text = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(!st, "%s", text);
}

/* A folder with the bundled model, an input, and what the program makes of it. */
static void open_folder(folder *f)
{
    static const int64_t ids[] = {0, 300, 301, 7};
    const rlx_tensor input = {"input_ids", RLX_I64, 2, {1, 4}, ids, sizeof ids};
    process p;
    strcpy(f->dir, "/tmp/rlx-suite-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    for (int i = 0; i < FILES; i++)
        snprintf(f->path[i], sizeof f->path[i], "%s/%s", f->dir, files[i]);
    ck_assert_int_eq(symlink(BUNDLED "/config.json", f->path[0]), 0);
    ck_assert_int_eq(symlink(BUNDLED "/model.safetensors", f->path[1]), 0);
    must(rlx_safetensors_write(f->path[3], &input, 1, NULL));
    RUN(&p, RLX_TOOL, "eval", f->dir, "-i", f->path[3], "-o", f->path[6], "--probe",
        "model.layers.1", "--probe", "model.layers.3");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
}

static void close_folder(folder *f)
{
    for (int i = 0; i < FILES; i++)
        unlink(f->path[i]);
    rmdir(f->dir);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* The outputs as expected ones, 0.01 added to the last element of the tensors named in `wrong`. */
static void write_expected(const folder *f, const char *wrong)
{
    rlx_weights *w;
    rlx_tensor t[8];
    void *copy[8] = {0};
    must(rlx_weights_create(&w));
    must(rlx_weights_add_safetensors(w, f->path[6]));
    const int n = rlx_weights_count(w);
    ck_assert_int_eq(n, 3);
    for (int i = 0; i < n; i++) {
        t[i] = *rlx_weights_at(w, i);
        t[i].data = copy[i] = memcpy(malloc(t[i].bytes), t[i].data, t[i].bytes);
        if (strstr(wrong, t[i].name))
            ((float *)copy[i])[t[i].bytes / sizeof(float) - 1] += 0.01f;
    }
    must(rlx_safetensors_write(f->path[4], t, n, NULL));
    for (int i = 0; i < n; i++)
        free(copy[i]);
    rlx_weights_destroy(w);
}

static void expect(const folder *f, const char *suite, int code, const char *line, const char *last)
{
    process p;
    RUN(&p, CONFORMANCE, suite, f->dir);
    ck_assert_msg(p.code == code && strstr(p.out, line) && strstr(p.out, last),
                  "exit code %d, not %d, with %s and %s: %s%s", p.code, code, line, last, p.out,
                  p.err);
    process_free(&p);
}

START_TEST(fixtures_fail_by_name)
{
    folder f;
    open_folder(&f);
    write_text(f.path[2], "{\"noise\": {}, \"scale\": {\"logits\": 1}}");
    write_expected(&f, "");
    expect(&f, "fixtures", 0, "", "1 passed, 0 failed, 0 skipped");
    write_expected(&f, "logits");
    expect(&f, "fixtures", 1, ": logits [0,3,", "0 passed, 1 failed, 0 skipped");
    write_expected(&f, "logits probe:model.layers.3 probe:model.layers.1");
    expect(&f, "fixtures", 1, " (prefill, threads 1): probe:model.layers.1 [0,3,",
           "0 passed, 1 failed, 0 skipped");
    write_text(f.path[2], "{\"noise\": {\"logits\": 0.01}, \"scale\": {}}"); /* a wider bound */
    write_expected(&f, "logits");
    expect(&f, "fixtures", 0, "", "1 passed, 0 failed, 0 skipped");
    write_text(f.path[2], "{\"greedy\": [-1], \"greedy_cached_same\": true}");
    expect(&f, "fixtures", 1, ": logits", "1 failed");
    write_expected(&f, "");
    expect(&f, "fixtures", 1, ": greedy id 0 is ", "1 failed");
    unlink(f.path[0]);
    write_text(f.path[0], "{\"model_type\": \"none_such\"}");
    expect(&f, "fixtures", 1, "no family \"none_such\"", "0 passed, 0 failed, 1 skipped");
    write_text(f.path[0], "{\"model_type\": \"llama\"}");
    expect(&f, "fixtures", 1, "hidden_size is missing", "0 passed, 1 failed, 0 skipped");
    close_folder(&f);
}
END_TEST

START_TEST(goldens_fail_by_name)
{
    static const int64_t ids[] = {0, 300, 301, 7};
    folder f;
    rlx_weights *w;
    open_folder(&f);
    must(rlx_weights_create(&w));
    must(rlx_weights_add_safetensors(w, f.path[6]));
    const rlx_tensor *logits = rlx_weights_find(w, "logits");
    const int64_t V = logits->dim[2];
    double *wide = malloc((size_t)(4 * V) * sizeof *wide);
    for (int64_t i = 0; i < 4 * V; i++)
        wide[i] = ((const float *)logits->data)[i];
    const rlx_tensor t[] = {
        {"input_ids", RLX_I64, 1, {4}, ids, sizeof ids},
        {"logits_f64", RLX_F64, 2, {4, V}, wide, (size_t)(4 * V) * sizeof *wide}};
    must(rlx_safetensors_write(f.path[5], t, 2, NULL));
    expect(&f, "goldens", 0, "", "1 passed, 0 failed, 0 skipped");
    wide[2 * V + 5] += 3e-4;
    must(rlx_safetensors_write(f.path[5], t, 2, NULL));
    expect(&f, "goldens", 1, ": logits [2,5] is ", "0 passed, 1 failed, 0 skipped");
    free(wide);
    rlx_weights_destroy(w);
    close_folder(&f);
}
END_TEST

/* A good file, a bad one and one of neither, each under each name. */
START_TEST(malformed_files_fail_by_name)
{
    static const char *const names[] = {"bad-x.safetensors", "ok-x.safetensors",
                                        "either-x.safetensors", "x.safetensors"};
    static const char *const says[2][4] = {
        {": it was not refused", "1 passed, 0", "1 passed, 0", "0 passed, 0 failed, 1 skipped"},
        {"1 passed, 0", ": it was not listed", "1 passed, 0", "0 passed, 0 failed, 1 skipped"}};
    char dir[] = "/tmp/rlx-suite-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int bad = 0; bad < 2; bad++)
        for (int i = 0; i < 4; i++) {
            process p;
            snprintf(path, sizeof path, "%s/%s", dir, names[i]);
            if (bad)
                write_text(path, "no tensors at all");
            else
                ck_assert_int_eq(symlink(BUNDLED "/model.safetensors", path), 0);
            RUN(&p, CONFORMANCE, "malformed", dir);
            ck_assert_msg(strstr(p.out, says[bad][i]), "%s: %s%s", names[i], p.out, p.err);
            ck_assert_int_eq(p.code, strstr(p.out, "1 passed") == NULL);
            process_free(&p);
            unlink(path);
        }
    rmdir(dir);
}
END_TEST

/* Two bytes of bf16 are two floats, and a wrong one has its place. */
START_TEST(blocks_fail_by_element)
{
    static const uint8_t bytes[] = {0x80, 0x3f, 0x00, 0xc0};
    float want[] = {1, -2};
    const rlx_tensor t[] = {{"real.bytes", RLX_U8, 2, {1, 4}, bytes, sizeof bytes},
                            {"real.dequant", RLX_F32, 2, {1, 2}, want, sizeof want}};
    folder f = {.dir = "/tmp/rlx-suite-XXXXXX"};
    char path[64];
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    snprintf(path, sizeof path, "%s/bf16.safetensors", f.dir);
    must(rlx_safetensors_write(path, t, 2, NULL));
    expect(&f, "gguf-quant", 0, "", "1 passed, 0 failed, 0 skipped");
    want[1] = 2;
    must(rlx_safetensors_write(path, t, 2, NULL));
    expect(&f, "gguf-quant", 1, ": real.dequant [0,1] is -2, not 2", "1 failed");
    must(rlx_safetensors_write(path, t, 1, NULL));
    expect(&f, "gguf-quant", 1, ": no bytes with their values", "1 skipped");
    unlink(path);
    rmdir(f.dir);
}
END_TEST

/* One Add of [1, 2] and [10, 20], of which `sum` is said to be the result. */
static void write_add(const char *path, const char *op, const float *sum)
{
    static const float a[] = {1, 2}, b[] = {10, 20};
    const char *const meta[] = {"op",         op,          "opset",  "14",
                                "attributes", "{}",        "inputs", "[\"a\", \"b\"]",
                                "outputs",    "[\"sum\"]", NULL};
    const rlx_tensor t[] = {{"in.a", RLX_F32, 1, {2}, a, sizeof a},
                            {"in.b", RLX_F32, 1, {2}, b, sizeof b},
                            {"out.sum", RLX_F32, 1, {2}, sum, 2 * sizeof *sum}};
    must(rlx_safetensors_write(path, t, 3, meta));
}

START_TEST(operators_fail_by_name)
{
    static const float right[] = {11, 22}, wrong[] = {11, 22.1f};
    folder f;
    strcpy(f.dir, "/tmp/rlx-suite-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    for (int i = 0; i < FILES; i++)
        snprintf(f.path[i], sizeof f.path[i], "%s/%s", f.dir, files[i]);
    write_add(f.path[3], "Add", right);
    expect(&f, "opvectors", 0, "", "1 passed, 0 failed, 0 skipped");
    write_add(f.path[3], "Add", wrong);
    expect(&f, "opvectors", 1, ": sum[1] is 22, not 22.1", "0 passed, 1 failed, 0 skipped");
    write_add(f.path[3], "Sums", right);
    expect(&f, "opvectors", 1, ": no Sums in the importer", "0 passed, 0 failed, 1 skipped");
    write_text(f.path[3], "nothing");
    expect(&f, "opvectors", 1, "is no case of an operator", "0 passed, 1 failed, 0 skipped");
    close_folder(&f);
}
END_TEST

typedef struct bad_case {
    const char *outputs, *dtype, *shape, *offsets, *says;
} bad_case;

/* A file of one Abs of one f32, with what `b` says of its output. */
static void write_abs(const char *path, const bad_case *b)
{
    static const float data[] = {-1, 1};
    char header[600];
    const int n =
        snprintf(header, sizeof header,
                 "{\"__metadata__\": {\"op\": \"Abs\", \"opset\": \"13\", \"attributes\": \"{}\", "
                 "\"inputs\": \"[\\\"x\\\"]\", \"outputs\": \"%s\"}, "
                 "\"in.x\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}, "
                 "\"out.y\": {\"dtype\": %s, \"shape\": %s, \"data_offsets\": %s}}",
                 b->outputs, b->dtype, b->shape, b->offsets);
    const uint64_t bytes = (uint64_t)n;
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    fwrite(&bytes, sizeof bytes, 1, f);
    fwrite(header, 1, bytes, f);
    fwrite(data, 1, sizeof data, f);
    fclose(f);
}

/* Whatever a file says is checked before it is used; and a case without results does not pass. */
START_TEST(operators_distrust_files)
{
#define Y "[\\\"y\\\"]"
    static const bad_case bad[] = {
        {Y, "\"F32\"", "[1]", "[4, 8]", "1 passed, 0 failed, 0 skipped"},
        {"[]", "\"F32\"", "[1]", "[4, 8]", "it has no output"},
        {"[\\\"\\\"]", "\"F32\"", "[1]", "[4, 8]", "it has no output"},
        {"[\\\"z\\\"]", "\"F32\"", "[1]", "[4, 8]", "out.z: no tensor with a dtype"},
        {"[7]", "\"F32\"", "[1]", "[4, 8]", "outputs[0] is no name"},
        {"{}", "\"F32\"", "[1]", "[4, 8]", "outputs is no list of at most 16 names"},
        {Y, "7", "[1]", "[4, 8]", "out.y: no tensor with a dtype"},
        {Y, "\"F7\"", "[1]", "[4, 8]", "elements of type F7"},
        {Y, "\"F32\"", "1", "[4, 8]", "out.y: shape is no list of at most 8 extents"},
        {Y, "\"F32\"", "[-1]", "[4, 8]", "out.y: shape has what is no extent"},
        {Y, "\"F32\"", "[\"1\"]", "[4, 8]", "out.y: shape has what is no extent"},
        {Y, "\"F32\"", "[1e300]", "[4, 8]", "out.y: shape has what is no extent"},
        {Y, "\"F32\"", "[4294967296, 4294967296]", "[4, 8]", "more elements than can be counted"},
        {Y, "\"F32\"", "[2305843009213693952]", "[4, 8]", "out.y: shape has what is no extent"},
        {Y, "\"F32\"", "[9007199254740992, 512]", "[4, 8]", "bytes for 4611686018427387904"},
        {Y, "\"F32\"", "[2]", "[4, 8]", "out.y: 4 bytes for 2 elements of f32"},
        {Y, "\"F32\"", "[1]", "[-4, 0]", "out.y: data_offsets are no two ascending places"},
        {Y, "\"F32\"", "[1]", "[8, 4]", "out.y: data_offsets are no two ascending places"},
        {Y, "\"F32\"", "[1]", "[4, null]", "out.y: data_offsets are no two ascending places"},
        {Y, "\"F32\"", "[1]", "[4, 1e30]", "out.y: data_offsets are no two ascending places"},
        {Y, "\"F32\"", "[1]", "[8, 12]", "out.y: data_offsets end at 12 of 8 bytes"},
    };
#undef Y
    folder f;
    strcpy(f.dir, "/tmp/rlx-suite-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    for (int i = 0; i < FILES; i++)
        snprintf(f.path[i], sizeof f.path[i], "%s/%s", f.dir, files[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_abs(f.path[3], &bad[i]);
        expect(&f, "opvectors", i > 0, bad[i].says, "");
    }
    close_folder(&f);
}
END_TEST

static void make_folder(const char *dir, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void put(const folder *f, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", f->dir, file);
    write_text(path, text);
}

/* "Once upon" is 465 480, behind <|begin|>. */
START_TEST(ids_fail_by_place)
{
    static const struct {
        const char *list, *line, *last;
    } cases[] = {
        {"\"ids\": [0, 465, 480], \"special\": true, \"types\": [0, 0, 0]", "",
         "2 passed, 0 failed"},
        {"\"ids\": [465, 480], \"decoded\": \"Once upon\"", "", "2 passed, 0 failed"},
        {"\"ids\": [465, 481]", "/cases.json 2: id 1 is 480, not 481", "1 passed, 1 failed"},
        {"\"ids\": [465]", "/cases.json 2: 2 ids, not 1", "1 passed, 1 failed"},
        {"\"ids\": [465, 480], \"types\": [0, 1]", "/cases.json 2: id 1 is 0, not 1",
         "1 passed, 1 failed"},
        {"\"ids\": [465, 480], \"decoded\": \"Once\"", "decodes to \"Once upon\", not \"Once\"",
         "1 passed, 1 failed"},
    };
    folder f = {.dir = "/tmp/rlx-suite-XXXXXX"};
    char text[256];
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    snprintf(text, sizeof text, "%s/tokenizer.json", f.dir);
    ck_assert_int_eq(symlink(BUNDLED "/tokenizer.json", text), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "[{\"text\": \"Once\", \"ids\": [465]}, {\"text\": \"Once upon\", %s}]",
                 cases[i].list);
        put(&f, "cases.json", text);
        expect(&f, "tokenizers", i > 1, cases[i].line, cases[i].last);
    }
    put(&f, "cases.json", "[]");
    expect(&f, "tokenizers", 1, "no array of cases", "0 passed, 1 failed");
    nftw(f.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* Lines of ids, and a vocabulary that has none of its own: both vocabularies must load, too. */
START_TEST(vectors_fail_by_text)
{
    folder f = {.dir = "/tmp/rlx-suite-XXXXXX"};
    char path[64];
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    make_folder(f.dir, "vectors");
    make_folder(f.dir, "vectors/set");
    make_folder(f.dir, "small");
    snprintf(path, sizeof path, "%s/small/tokenizer.json", f.dir);
    ck_assert_int_eq(symlink(BUNDLED "/tokenizer.json", path), 0);
    put(&f, "vectors/set/ggml-vocab-small.gguf.inp",
        "Once\n__ggml_vocab_test__\nOnce upon\n__ggml_vocab_test__\n");
    put(&f, "vectors/set/ggml-vocab-small.gguf.out", " 465\n 465 480\n");
    expect(&f, "tokenizers", 0, "", "3 passed, 0 failed, 0 skipped");
    put(&f, "vectors/set/ggml-vocab-small.gguf.out", " 465\n 465 480 1\n");
    expect(&f, "tokenizers", 1, "text 2: 2 ids, not 3", "2 passed, 1 failed, 0 skipped");
    unlink(path); /* not through the link */
    put(&f, "small/tokenizer.json", "{}");
    expect(&f, "tokenizers", 1, "there is no \"model\"", "0 passed, 2 failed, 1 skipped");
    nftw(f.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

START_TEST(templates_fail_by_byte)
{
    folder f = {.dir = "/tmp/rlx-suite-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    make_folder(f.dir, "contexts");
    make_folder(f.dir, "goldens");
    put(&f, "contexts/two.json", "{\"messages\": [{\"content\": \"a\"}, {\"content\": \"b\"}]}");
    put(&f, "x.jinja", "{% for m in messages %}<{{ m.content }}>{% endfor %}");
    put(&f, "goldens/x-two.txt", "<a><b>");
    expect(&f, "templates", 0, "", "1 passed, 0 failed, 0 skipped");
    put(&f, "goldens/x-two.txt", "<a><c>");
    expect(&f, "templates", 1, "x.jinja, two: at byte 4: \"b>\", not \"c>\"", "0 passed, 1 failed");
    put(&f, "goldens/x-two.txt", "<a><b>\n");
    expect(&f, "templates", 1, "x.jinja, two: at byte 6", "0 passed, 1 failed");
    put(&f, "x.jinja", "{{ raise_exception('no') }}");
    expect(&f, "templates", 1, "x.jinja, two: ", "0 passed, 1 failed");
    nftw(f.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* The validation layer is heard: told to say whatever it knows, it fails a case. */
START_TEST(validation_is_heard)
{
    folder f = {.dir = "/tmp/rlx-suite-XXXXXX"};
    process p;
    ck_assert_ptr_nonnull(mkdtemp(f.dir));
    put(&f, "vk_layer_settings.txt",
        "khronos_validation.report_flags = error,warn,perf,info\n"
        "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\n"
        "khronos_validation.log_filename = stdout\n");
    setenv("VK_LAYER_SETTINGS_PATH", f.dir, 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the driver's are its own */
    RUN(&p, CONFORMANCE, "fixtures", RLX_SOURCE_DIR "/tests/parity/modules/mistral", "--device",
        "vulkan", "--decode-from", "2", "--optional");
    if (strstr(p.out, "under the validation layer"))
        ck_assert_msg(p.code == 1 && strstr(p.out, "): ") && strstr(p.out, "Validation Info"),
                      "%s%s", p.out, p.err);
    else
        printf("skipped: no Vulkan device under the validation layer\n");
    process_free(&p);
    nftw(f.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

START_TEST(no_case_is_no_success)
{
    process p;
    RUN(&p, CONFORMANCE, "fixtures", RLX_SOURCE_DIR "/docs");
    ck_assert_int_eq(p.code, 1);
    ck_assert_str_eq(p.out, "0 passed, 0 failed, 0 skipped\n");
    process_free(&p);
    RUN(&p, CONFORMANCE, "fixture", RLX_SOURCE_DIR "/docs");
    ck_assert_int_eq(p.code, 2);
    ck_assert_msg(strstr(p.err, "no suite \"fixture\"") &&
                      strstr(p.err, "suites: fixtures goldens malformed gguf-quant tokenizers "
                                    "templates opvectors"),
                  "%s", p.err);
    process_free(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance");
    TCase *c = tcase_create("conformance");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, fixtures_fail_by_name);
    tcase_add_test(c, goldens_fail_by_name);
    tcase_add_test(c, malformed_files_fail_by_name);
    tcase_add_test(c, blocks_fail_by_element);
    tcase_add_test(c, operators_fail_by_name);
    tcase_add_test(c, operators_distrust_files);
    tcase_add_test(c, ids_fail_by_place);
    tcase_add_test(c, vectors_fail_by_text);
    tcase_add_test(c, templates_fail_by_byte);
    tcase_add_test(c, validation_is_heard);
    tcase_add_test(c, no_case_is_no_success);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 11;
    srunner_free(r);
    return bad;
}
