/* tests/frontend/test_profile.c: TOML as profiles have it, held to what TOML 1.0 says; profiles,
 * their errors with file and line, and the page that lists their keys. */
#include <math.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "frontend/toml.h"
#include "runtime/base/text.h"
#include "tests/base/suite.h"

/* ---- TOML ------------------------------------------------------------------------------------ */

static rlx_status put_entry(void *user, const rlx_toml_entry *e)
{
    rlx_text *out = user;
    switch (e->kind) {
    case RLX_TOML_TABLE:
        rlx_text_putf(out, "%d [%s]\n", e->line, e->path);
        break;
    case RLX_TOML_TEXT:
        rlx_text_putf(out, "%d %s \"%s\"\n", e->line, e->path, e->text);
        break;
    case RLX_TOML_INT:
        rlx_text_putf(out, "%d %s %lld\n", e->line, e->path, (long long)e->integer);
        break;
    case RLX_TOML_REAL:
        rlx_text_putf(out, "%d %s real %.15g\n", e->line, e->path, e->real);
        break;
    case RLX_TOML_BOOL:
        rlx_text_putf(out, "%d %s %s\n", e->line, e->path, e->integer ? "true" : "false");
        break;
    case RLX_TOML_INTS:
        rlx_text_putf(out, "%d %s %s", e->line, e->path, e->text);
        for (int i = 0; i < e->nitems; i++)
            rlx_text_putf(out, " %lld", (long long)e->items[i]);
        rlx_text_put(out, "\n");
        break;
    }
    return RLX_OK;
}

static const struct {
    const char *toml, *entries;
} good[] = {
    {"", ""},
    {"\n  \t\r\n# comment \xc3\xa9", ""},
    {"a = 1", "1 a 1\n"},
    {"a=+1_000\nb = -0 # zero\r\nc = 0", "1 a 1000\n2 b 0\n3 c 0\n"},
    {"a = 9223372036854775807\nb = -9223372036854775808",
     "1 a 9223372036854775807\n2 b -9223372036854775808\n"},
    {"a = 1.5\nb = -2e3\nc = 6.02_2e+23", "1 a real 1.5\n2 b real -2000\n3 c real 6.022e+23\n"},
    {"a = true\nb = false", "1 a true\n2 b false\n"},
    {"[t]\na = 1\n[t.u] # deeper\na = 2\n[ v . w ]\nb.c = 3",
     "1 [t]\n2 t.a 1\n3 [t.u]\n4 t.u.a 2\n5 [v.w]\n6 v.w.b.c 3\n"},
    {"1-_x = ''", "1 1-_x \"\"\n"},
    {"a = \"x # y\" # z\nb = 'C:\\d\"'", "1 a \"x # y\"\n2 b \"C:\\d\"\"\n"},
    {"a = \"\\t\\\"\\\\\\u00e9\\U0001F600\"", "1 a \"\t\"\\\xc3\xa9\xf0\x9f\x98\x80\"\n"},
    {"[a]\n\n\n\nb = 'v'", "1 [a]\n5 a.b \"v\"\n"},
    {"a = []\nb=[1]\nc = [ +1 ,-2 , 3_0, ] # d", "1 a []\n2 b [1] 1\n3 c [1, -2, 30] 1 -2 30\n"},
    {"a = [ # one\n  1, # two\r\n\n  2\n]\nb = 3", "1 a [1, 2] 1 2\n6 b 3\n"},
};
enum { NGOOD = sizeof good / sizeof *good };

START_TEST(reads)
{
    rlx_text got = {0};
    assert_ok(rlx_toml_read("f", good[_i].toml, strlen(good[_i].toml), put_entry, &got));
    ck_assert_str_eq(got.data ? got.data : "", good[_i].entries);
    rlx_text_deinit(&got);
}
END_TEST

static const struct {
    const char *toml, *error;
} bad[] = {
    {"a", "f:1: a should be followed by ="},
    {"a =", "f:1: a has no value"},
    {"a = # 1", "f:1: a has no value"},
    {"a = 1 b = 2", "f:1: the line should end before \"b\""},
    {"a = 1\n\na = 2", "f:3: key a is there twice"},
    {"[a]\nb = 1\n[a]", "f:3: table a is there twice"},
    {"[a]\nb.c = 1\n[a.b]\n[c]\n[a.b]", "f:5: table a.b is there twice"},
    {"[a", "f:1: the name of table a should end with ]"},
    {"[]", "f:1: a name of letters"},
    {"[a.]", "f:1: a name of letters"},
    {"[a] b = 1", "f:1: the line should end before \"b\""},
    {"= 1", "f:1: a name of letters"},
    {"\xc3\xa9 = 1", "f:1: a name of letters"},
    {"[[a]]", "f:1: arrays of tables are not read"},
    {"\"a\" = 1", "f:1: keys in quotes are not read"},
    {"a = ['x']", "f:1: a: arrays of anything but whole numbers are not read"},
    {"a = [1, 2.5]", "f:1: a: arrays of anything but whole numbers are not read"},
    {"a = [1,\n[2]]", "f:2: a: arrays of anything but whole numbers are not read"},
    {"a = [1 2]", "f:1: a should go on with , or ] behind an element"},
    {"a = [1", "f:1: a should go on with , or ]"},
    {"a = [,]", "f:1: a has no value"},
    {"a = [1,,2]", "f:1: a has no value"},
    {"a = [1] 2", "f:1: the line should end before \"2\""},
    {"a = [9223372036854775808]", "is beyond 64 bits"},
    {"a = {b = 1}", "f:1: inline tables are not read"},
    {"a = \"\"\"x\"\"\"", "f:1: strings of several lines are not read"},
    {"a = '''x'''", "f:1: strings of several lines are not read"},
    {"\na = \"x\nb = 1", "f:2: the string has no \" at its end"},
    {"a = 'x", "f:1: the string has no ' at its end"},
    {"a = \"\\q\"", "f:1: no escape \\q"},
    {"a = \"\\u12\"", "f:1: \\u takes 4 hexadecimal digits"},
    {"a = \"\\ud800\"", "f:1: U+D800 is no character"},
    {"a = \"\\u0000\"", "f:1: U+0000 is no character"},
    {"a = \"\\U00110000\"", "f:1: U+110000 is no character"},
    {"a = \"\x01\"", "f:1: a control character (byte 1)"},
    {"# \x7f", "f:1: a control character (byte 127)"},
    {"# \xff", "f:1: byte 255 is not UTF-8"},
    {"a = '\xc3'", "f:1: byte 195 is not UTF-8"},
    {"a = 01", "\"01\" is no value"},
    {"a = 1__0", "\"1__0\" is no value"},
    {"a = _1", "\"_1\" is no value"},
    {"a = 1_", "\"1_\" is no value"},
    {"a = 1.", "\"1.\" is no value"},
    {"a = .5", "\".5\" is no value"},
    {"a = 1e", "\"1e\" is no value"},
    {"a = +-1", "\"+-1\" is no value"},
    {"a = 0x10", "\"0x10\" is no value"},
    {"a = inf", "\"inf\" is no value"},
    {"a = True", "\"True\" is no value"},
    {"a = 2026-11-29", "\"2026-11-29\" is no value"},
    {"a = 9223372036854775808", "f:1: 9223372036854775808 is beyond 64 bits"},
    {"a = 1\rb = 2", "f:1: a control character (byte 13)"},
};
enum { NBAD = sizeof bad / sizeof *bad };

START_TEST(refuses)
{
    rlx_text got = {0};
    assert_error(rlx_toml_read("f", bad[_i].toml, strlen(bad[_i].toml), put_entry, &got),
                 RLX_INVALID_FILE, bad[_i].error);
    rlx_text_deinit(&got);
}
END_TEST

/* ---- profiles -------------------------------------------------------------------------------- */

static void write_file(char path[32], const char *text)
{
    strcpy(path, "/tmp/rlx-profile-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static rlx_status load(const char *text, rlx_profile **out)
{
    char path[32];
    write_file(path, text);
    rlx_status st = rlx_profile_load(path, out);
    unlink(path);
    return st;
}

START_TEST(applies)
{
    rlx_profile *p;
    rlx_context_options c = {.device = "cpu", .threads = 7};
    rlx_model_options m = {.prefill = 99, .length = 5};
    assert_ok(load("", &p));
    rlx_profile_apply_context(p, &c);
    rlx_profile_apply_model(p, &m);
    ck_assert_str_eq(c.device, "cpu");
    ck_assert_int_eq(c.threads, 7);
    ck_assert_int_eq(m.prefill, 99);
    rlx_profile_destroy(p);
    assert_ok(
        load("[device]\nname = \"ref:mir\"\nthreads = 2\n[model]\nmax_positions = 4096\n", &p));
    rlx_profile_apply_context(p, &c);
    rlx_profile_apply_model(p, &m);
    ck_assert_str_eq(c.device, "ref:mir");
    ck_assert_int_eq(c.threads, 2);
    ck_assert_int_eq(m.prefill, 99); /* what the file does not say stays */
    ck_assert_int_eq(m.max_positions, 4096);
    ck_assert_int_eq(m.length, 5);
    rlx_profile_destroy(p);
    assert_ok(load("[precision]\nmode = \"fast\"", &p));
    rlx_profile_apply_model(p, &m);
    ck_assert_int_eq(m.precision, RLX_FAST);
    rlx_profile_destroy(p);
    assert_ok(load("precision.mode = 'exact'", &p));
    rlx_profile_apply_model(p, &m);
    ck_assert_int_eq(m.precision, RLX_EXACT); /* also a value that is zero */
    rlx_profile_destroy(p);
    assert_ok(load("[model]\nkv_key_format = 'q8_0'\nkv_value_format = \"bf16\"", &p));
    rlx_profile_apply_model(p, &m);
    ck_assert_int_eq(m.kv_key_format, RLX_Q8_0);
    ck_assert_int_eq(m.kv_value_format, RLX_BF16);
    rlx_profile_destroy(p);
    assert_ok(load("device.threads = 3\nmodel.prefill = 1_024\n", &p));
    rlx_profile_apply_context(p, &c);
    rlx_profile_apply_model(p, &m);
    ck_assert_int_eq(c.threads, 3);
    ck_assert_int_eq(m.prefill, 1024);
    rlx_profile_destroy(p);
    rlx_profile_destroy(NULL);
}
END_TEST

/* Fusion, schedules, and what flows of one's own run as. */
START_TEST(applies_to_compiling)
{
    rlx_profile *p;
    rlx_compile_options c = {.precision = RLX_FAST, .kv_key_format = RLX_F16};
    rlx_model_options m = {.prefill = 7};
    rlx_execution e = {.batch = 3};
    int n;
    assert_ok(load("preset = \"qwen3_decode\"\nexecution.past = 9\n"
                   "[fusion]\npolicy = 'direct'\nassert_clean = true\ntarget = 'cpu'\n"
                   "[passes]\ndce = true\nconstant_folding = true\nverbose = true\n"
                   "[precision]\ncompute = 'f32'\nmixed = 'none'\n"
                   "[backend.cpu]\nunfuse_regions = true\n[backend.metal]\nskip_fusion = false\n"
                   "[schedule]\nl1_bytes = 32768\nl2_bytes = 65536\nteams = 5\n"
                   "[buckets]\nFRAMES = 64\nTOKENS = 12",
                   &p));
    rlx_profile_apply_compile(p, &c);
    rlx_profile_apply_model(p, &m);
    rlx_profile_apply_execution(p, &e);
    ck_assert_int_eq(c.precision, RLX_FAST); /* what no key says stays */
    ck_assert_int_eq(c.kv_key_format, RLX_F16);
    ck_assert_int_eq(c.tuning.fusion, RLX_FUSION_BLOCKS);
    ck_assert(c.tuning.assert_clean && c.tuning.verbose && c.tuning.unfuse_maps);
    ck_assert_int_eq(c.tuning.l1_bytes, 32768);
    ck_assert_int_eq(c.tuning.l2_bytes, 65536);
    ck_assert_int_eq(c.tuning.teams, 5);
    ck_assert_int_eq(m.tuning.fusion, RLX_FUSION_BLOCKS);
    ck_assert_int_eq(m.prefill, 7);
    ck_assert_int_eq(e.phase, RLX_RUN_DECODE); /* of the preset */
    ck_assert_int_eq(e.seq, 1);
    ck_assert_int_eq(e.batch, 3);
    ck_assert_int_eq(e.past, 9);
    const rlx_bucket *b = rlx_profile_buckets(p, &n);
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(b[0].symbol, "FRAMES");
    ck_assert_int_eq(b[1].upper, 12);
    const rlx_ladder *l = rlx_profile_ladders(p, &n);
    ck_assert_int_eq(n, 3);
    ck_assert_str_eq(l[2].symbol, "SEQ"); /* of the preset; behind those of the file, */
    ck_assert_int_eq(l[2].upper[0], 1);
    ck_assert_int_eq(m.nladders, 2); /* which alone are a model's */
    rlx_profile_destroy(p);
    assert_ok(load("fusion.policy = 'direct'\nfusion.skip = true", &p));
    rlx_profile_apply_compile(p, &c);
    ck_assert_int_eq(c.tuning.fusion, RLX_FUSION_NONE);
    rlx_profile_destroy(p);
    assert_ok(load("fusion.policy = 'direct'\nfusion.skip = false", &p));
    rlx_profile_apply_compile(p, &c);
    ck_assert_int_eq(c.tuning.fusion, RLX_FUSION_BLOCKS);
    rlx_profile_destroy(p);
}
END_TEST

static void expect_ladder(const rlx_ladder *l, const char *symbol, int n, const int64_t *upper)
{
    ck_assert_str_eq(l->symbol, symbol);
    ck_assert_int_eq(l->n, n);
    ck_assert_mem_eq(l->upper, upper, sizeof *upper * (size_t)n);
}

/* [buckets], and what presets have in its place: up to execution.seq. */
START_TEST(has_ladders)
{
    rlx_profile *p;
    rlx_model_options m = {.nladders = 0};
    int n;
    assert_ok(load("[buckets]\nseq = [1, 16,\n 128]\nbatch = 4\nFRAMES = [8]", &p));
    const rlx_ladder *l = rlx_profile_ladders(p, &n);
    ck_assert_int_eq(n, 3);
    expect_ladder(&l[0], "seq", 3, (const int64_t[]){1, 16, 128});
    expect_ladder(&l[1], "batch", 1, (const int64_t[]){4});
    expect_ladder(&l[2], "FRAMES", 1, (const int64_t[]){8});
    ck_assert_int_eq(rlx_profile_buckets(p, &n)[0].upper, 128);
    rlx_profile_apply_model(p, &m);
    ck_assert_int_eq(m.nladders, 3);
    ck_assert_ptr_eq(m.ladders, l);
    rlx_profile_destroy(p);
    assert_ok(rlx_profile_preset("llama32_prefill", &p));
    expect_ladder(rlx_profile_ladders(p, &n), "SEQ", 2, (const int64_t[]){1, 128});
    ck_assert_int_eq(n, 1);
    rlx_profile_destroy(p);
    assert_ok(load("preset = 'llama32_prefill'\nexecution.seq = 40", &p));
    expect_ladder(rlx_profile_ladders(p, &n), "SEQ", 2, (const int64_t[]){1, 40});
    rlx_profile_destroy(p);
    assert_ok(load("preset = 'llama32_prefill'\nbuckets.seq = [2, 3]", &p));
    expect_ladder(rlx_profile_ladders(p, &n), "seq", 2, (const int64_t[]){2, 3});
    ck_assert_int_eq(n, 1);
    rlx_profile_destroy(p);
}
END_TEST

static void expect(const rlx_profile *p, const char *key, const char *value, const char *origin)
{
    rlx_profile_setting s = {0};
    for (int i = 0; i < rlx_profile_count(p) && strcmp(s.key, key); i++)
        rlx_profile_at(p, i, &s);
    ck_assert_str_eq(s.key, key);
    ck_assert_str_eq(s.value, value);
    ck_assert_msg(strstr(s.origin, origin) != NULL, "%s is from %s", key, s.origin);
}

/* What a preset is of each key that it sets, and that a file wins. */
START_TEST(presets_say_how_kernels_are_cut)
{
    static const struct {
        const char *text;
        rlx_fusion fusion;
    } cases[] = {{"preset = 'llama32_prefill'", RLX_FUSION_BLOCKS},
                 {"preset = 'gemma_decode'", RLX_FUSION_FULL},
                 {"preset = 'encoder'", RLX_FUSION_BLOCKS},
                 {"preset = 'llada2_diffusion'", RLX_FUSION_NONE},
                 {"fusion.policy = 'fusable'\npreset = 'sam3'", RLX_FUSION_FULL},
                 {"preset = 'sam2_memory_attention'\nfusion.skip = false", RLX_FUSION_BLOCKS},
                 {"preset = 'qwen35_decode'\nfusion.skip = true", RLX_FUSION_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rlx_profile *p;
        rlx_compile_options c = {0};
        rlx_model_options m = {0};
        assert_ok(load(cases[i].text, &p));
        rlx_profile_apply_compile(p, &c);
        rlx_profile_apply_model(p, &m);
        ck_assert_msg(c.tuning.fusion == cases[i].fusion && m.tuning.fusion == cases[i].fusion,
                      "%s: %d", cases[i].text, (int)c.tuning.fusion);
        rlx_profile_destroy(p);
    }
    rlx_profile *p;
    assert_ok(rlx_profile_preset("llada2_diffusion", &p));
    expect(p, "fusion.skip", "true", "preset llada2_diffusion");
    expect(p, "fusion.policy", "direct", "preset llada2_diffusion");
    rlx_profile_destroy(p);
}
END_TEST

START_TEST(says_where_values_come_from)
{
    rlx_profile *p;
    assert_ok(load("preset = 'encoder'\nmodel.prefill = 9\n[buckets]\nBATCH = 2", &p));
    expect(p, "model.prefill", "9", ":2");
    expect(p, "execution.phase", "encode", "preset encoder");
    expect(p, "execution.seq", "512", "preset encoder");
    expect(p, "device.threads", "all", "default");
    expect(p, "buckets.BATCH", "2", ":4");
    expect(p, "buckets.SEQ", "512", "preset encoder");
    rlx_profile_destroy(p);
    expect(NULL, "fusion.policy", "fusable", "default");
    assert_ok(rlx_profile_preset("llama32_decode", &p));
    expect(p, "execution.seq", "1", "preset llama32_decode");
    rlx_profile_destroy(p);
    assert_error(rlx_profile_preset("lama32_decode", &p), RLX_INVALID_FILE,
                 "no preset lama32_decode; did you mean llama32_decode?");
}
END_TEST

static const struct {
    const char *toml, *error;
} wrong[] = {
    {"\n[model]\nprefil = 3\n", ":3: no key model.prefil; did you mean model.prefill?"},
    {"[model]\nthreads = 3\n", ":2: no key model.threads; did you mean device.threads?"},
    {"what.ever.it.is = 3\n", ":1: no key what.ever.it.is; there are preset, device.name"},
    {"[modle]\n", ":1: no table [modle]; did you mean [model]?"},
    {"[model.prefill]\n", ":1: no table [model.prefill]"},
    {"[mod]\n", ":1: no table [mod]"},
    {"model.prefill = 0", ":1: model.prefill takes a whole number from 1 to 1048576, not 0"},
    {"model.prefill = -3", "not -3"},
    {"model.prefill = 1.5", "model.prefill takes a whole number from 1 to 1048576, not 1.5"},
    {"model.prefill = \"many\"", "not \"many\""},
    {"model.prefill = true", "not true"},
    {"device.threads = 1025", "device.threads takes a whole number from 1 to 1024, not 1025"},
    {"[device]\nname = 3", ":2: device.name takes the name of a device, not 3"},
    {"[device]\nname = \"cpx\"", ":2: device.name: no device \"cpx\"; did you mean \"cpu\"?"},
    {"[device]\nname = \"cpu:x86-64-v9\"", ":2: device.name: unknown CPU level 'x86-64-v9'"},
    {"precision.mode = \"fats\"", "precision.mode takes \"exact\" or \"fast\", not \"fats\""},
    {"model.kv_key_format = \"q4_0\"",
     "model.kv_key_format takes \"f32\" or \"f16\" or \"bf16\" or \"q8_0\", not \"q4_0\""},
    {"precision.mode = 1", "precision.mode takes \"exact\" or \"fast\", not 1"},
    {"precision.compute = \"bf16\"",
     ":1: precision.compute is always \"f32\", not \"bf16\": activations are f32"},
    {"precision.mixed = 'auto'", "precision.mixed is always \"none\", not \"auto\""},
    {"[passes]\ndce = false", ":2: passes.dce is always true, not false: kernels are made of"},
    {"[passes]\ndce = 'true'", ":2: passes.dce is always true, not \"true\""},
    {"[backend.metal]\nskip_fusion = true", ":2: backend.metal.skip_fusion is always false"},
    {"[backend.cuda]", ":1: no table [backend.cuda]; did you mean [backend.cpu]?"},
    {"fusion.target = 'mlx'", ":1: fusion.target: no code is made for \"mlx\""},
    {"fusion.target = 'tpu'", ":1: fusion.target: no code is made for \"tpu\""},
    {"fusion.target = 'rocm'",
     ":1: fusion.target: code is made for the device: \"auto\", and device.name = \"hip\""},
    {"fusion.target = 'wgpu'", "\"auto\", and device.name = \"vulkan\""},
    {"fusion.target = 'gpu'", "fusion.target takes \"auto\" or \"cpu\" or"},
    {"fusion.policy = 'fused'", "fusion.policy takes \"fusable\" or \"direct\", not \"fused\""},
    {"fusion.skip = 1", "fusion.skip takes true or false, not 1"},
    {"preset = 'llama32'", "no preset llama32"},
    {"[buckets]\nTOKENS = 0", ":2: buckets.TOKENS takes a whole number from 1 to"},
    {"[model]\n[buckets]\na.b = 4", ":3: buckets.a.b: a symbol has no dots"},
    {"buckets.seq = []", ":1: buckets.seq: the ladder of seq has 0 buckets: 1 to 16"},
    {"buckets.seq = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "has 17 buckets: 1 to 16"},
    {"buckets.seq = [1, 16, 16]", "buckets.seq: the ladder of seq: 16 after 16 does not ascend"},
    {"buckets.seq = [0, 16]", "the ladder of seq: 0 after 0 does not ascend"},
    {"buckets.seq = [16, 2147483648]", "the ladder of seq: 2147483648 is above 2147483647"},
    {"buckets.seq = ['x']", "arrays of anything but whole numbers are not read"},
    {"buckets.seq = 'x'", "buckets.seq takes a whole number from 1 to 2147483647, not \"x\""},
    {"[buckets]\nseq = 1\nSEQ = 2", ":3: buckets.SEQ: the ladder of SEQ is there twice"},
    {"model.prefill = [3]", "model.prefill takes a whole number from 1 to 1048576, not [3]"},
    {"schedule.teams = 0", "schedule.teams takes a whole number from 1 to 1024, not 0"},
    {"model.prefill = 3\nmodel.prefill = 3\n", ":2: key model.prefill is there twice"},
};
enum { NWRONG = sizeof wrong / sizeof *wrong };

START_TEST(names_what_is_wrong)
{
    rlx_profile *p;
    rlx_status st = load(wrong[_i].toml, &p);
    ck_assert_ptr_null(p);
    ck_assert_msg(st && strstr(rlx_status_message(st), "/tmp/rlx-profile-"), "no file in \"%s\"",
                  st ? rlx_status_message(st) : "");
    assert_error(st, RLX_INVALID_FILE, wrong[_i].error);
}
END_TEST

START_TEST(missing_file)
{
    rlx_profile *p;
    assert_error(rlx_profile_load("/no/such.rlx.toml", &p), RLX_NOT_FOUND, "/no/such.rlx.toml");
    ck_assert_ptr_null(p);
}
END_TEST

/* docs/profiles.md has a line for every key: | `device.threads` | ... */
START_TEST(documented)
{
    static const struct {
        const char *key, *meaning;
    } keys[] = {
#define PROFILE_KEY(key, options, field, rule, fallback, meaning) {"| `" key "` |", meaning},
#include "frontend/profile_keys.def"
#undef PROFILE_KEY
    };
    char *page;
    size_t bytes;
    assert_ok(rlx_file_read(RLX_SOURCE_DIR "/docs/profiles.md", &page, &bytes));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *line = strstr(page, keys[i].key);
        ck_assert_msg(line && strstr(line, keys[i].meaning),
                      "docs/profiles.md does not say %s %s |", keys[i].key, keys[i].meaning);
    }
    free(page);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("profile");
    TCase *c = tcase_create("profile");
    tcase_add_loop_test(c, reads, 0, NGOOD);
    tcase_add_loop_test(c, refuses, 0, NBAD);
    tcase_add_test(c, applies);
    tcase_add_test(c, applies_to_compiling);
    tcase_add_test(c, has_ladders);
    tcase_add_test(c, presets_say_how_kernels_are_cut);
    tcase_add_test(c, says_where_values_come_from);
    tcase_add_loop_test(c, names_what_is_wrong, 0, NWRONG);
    tcase_add_test(c, missing_file);
    tcase_add_test(c, documented);
    suite_add_tcase(s, c);
    return run_suite(s, NGOOD + NBAD + NWRONG + 7);
}
