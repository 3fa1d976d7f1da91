/* tests/tool/test_profiles.c: the program with --profile: what the file says is done, the command
 * line wins, and mistakes in the file are told with their line before any work. */
#include <ftw.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"
#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

static char dir[32], profile[64], in[64], out[64], again[64];

static void set_up(void)
{
    strcpy(dir, "/tmp/rlx-profiles-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(profile, sizeof profile, "%s/p.rlx.toml", dir);
    snprintf(in, sizeof in, "%s/in.safetensors", dir);
    snprintf(out, sizeof out, "%s/out.safetensors", dir);
    snprintf(again, sizeof again, "%s/again.safetensors", dir);
}

static void tear_down(void)
{
    unlink(profile);
    unlink(in);
    unlink(out);
    unlink(again);
    rmdir(dir);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void write_profile(const char *text)
{
    FILE *f = fopen(profile, "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void succeeds(process *p, const char *word)
{
    ck_assert_msg(p->code == 0, "%s", p->err);
    ck_assert_msg(strstr(p->err, word), "\"%s\" does not say %s", p->err, word);
}

START_TEST(run)
{
    process plain, p;
    RUN(&plain, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "9");
    write_profile("[device]\nname = \"cpu:x86-64-v3\"\nthreads = 1\n[model]\nprefill = 3\n");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "9", "--profile", profile);
    succeeds(&p, "cpu:x86-64-v3, 1 thread,");
    ck_assert_str_eq(p.out, plain.out); /* neither is numerics */
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-n", "2", "--profile", profile, "-t", "2", "--device",
        "ref:mir");
    succeeds(&p, "ref:mir, 2 threads,");
    process_free(&p);
    process_free(&plain);
    write_profile("precision.mode = \"fast\"");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-n", "2", "--profile", profile);
    succeeds(&p, "precision fast");
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-n", "2", "--profile", profile, "--precision", "exact");
    succeeds(&p, "precision exact");
    process_free(&p);
    write_profile("model.max_positions = 6");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "9", "--profile", profile);
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "the context is full"), "%s", p.err);
    process_free(&p);
    write_profile("model.max_positions = 513");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "--profile", profile);
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "513 positions: the model was made for 512"), "%s", p.err);
    process_free(&p);
}
END_TEST

static char *read_bytes(const char *path, size_t *n)
{
    char *bytes;
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*n + 1);
    ck_assert_uint_eq(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

/* A bucket smaller than what --probe needs to see at once gives way. */
START_TEST(eval)
{
    static const char *const small[] = {"[model]\nprefill = 3\n[device]\nthreads = 1\n",
                                        "buckets.seq = [1, 4]"};
    static const int64_t ids[] = {1, 7, 5, 9, 3, 2, 4};
    const rlx_tensor t = {"input_ids", RLX_I64, 2, {1, 7}, ids, sizeof ids};
    process p;
    size_t n[2];
    assert_ok(rlx_safetensors_write(in, &t, 1, NULL));
    write_profile(small[_i]);
    RUN(&p, RLX_TOOL, "eval", BUNDLED, "--inputs", in, "--outputs", out, "--probe",
        "model.layers.0");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "eval", BUNDLED, "--inputs", in, "--outputs", again, "--probe",
        "model.layers.0", "--profile", profile);
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    char *want = read_bytes(out, &n[0]), *got = read_bytes(again, &n[1]);
    ck_assert(n[0] == n[1] && !memcmp(want, got, n[0]));
    free(want);
    free(got);
}
END_TEST

/* Buckets that are larger serve: the two that the cache gets are those of the profile. */
START_TEST(eval_takes_the_ladder)
{
    static int64_t ids[37];
    char cache[64];
    const rlx_tensor t = {"input_ids", RLX_I64, 2, {1, 37}, ids, sizeof ids};
    process p;
    assert_ok(rlx_safetensors_write(in, &t, 1, NULL));
    write_profile("[buckets]\nseq = [512]\n");
    snprintf(cache, sizeof cache, "%s/cache", dir);
    RUN(&p, RLX_TOOL, "eval", BUNDLED, "--inputs", in, "--outputs", out, "--profile", profile,
        "--cache-dir", cache);
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "explain", BUNDLED, "--profile", profile, "--precision", "exact",
        "--cache-dir", cache);
    ck_assert_msg(p.code == 0, "%s%s", p.out, p.err);
    ck_assert_msg(strstr(p.out, "prefill of 512 tokens, cpu"), "%s", p.out);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "clear", "--cache-dir", cache);
    process_complains(&p, 0, "2 entries removed");
    nftw(cache, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
END_TEST

START_TEST(bench)
{
    process p;
    write_profile("model.prefill = 24\ndevice.threads = 1\n");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "9", "-n", "0", "-r", "1", "--profile", profile);
    succeeds(&p, "prefill 24 tokens at a time");
    ck_assert_msg(strstr(p.err, "buckets  SEQ 1, 24; BATCH 1, 16\n"), "%s", p.err);
    ck_assert_msg(strstr(p.out, "| 1 | pp9"), "%s", p.out);
    process_free(&p);
    write_profile("device.name = 'ref:mir'\n");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "--profile", profile);
    ck_assert_int_eq(p.code, 2);
    ck_assert_msg(strstr(p.err, "machine code"), "%s", p.err);
    process_free(&p);
}
END_TEST

START_TEST(mistakes)
{
    static const char *const commands[] = {"run", "bench"};
    process p;
    write_profile("[model]\nprefil = 3\n");
    for (int i = 0; i < 2; i++) {
        RUN(&p, RLX_TOOL, commands[i], BUNDLED, "--profile", profile);
        ck_assert_int_eq(p.code, 1);
        ck_assert_msg(
            strstr(p.err, "p.rlx.toml:2: no key model.prefil; did you mean model.prefill?"), "%s",
            p.err);
        ck_assert_uint_eq(p.out_bytes, 0);
        process_free(&p);
    }
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--profile", "/no/such.rlx.toml");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "/no/such.rlx.toml"), "%s", p.err);
    process_free(&p);
}
END_TEST

/* ---- rlx profile -------------------------------------------------------------------------------
 */

START_TEST(show)
{
    process p;
    RUN(&p, RLX_TOOL, "profile", "show", "--preset", "llama32_decode");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_msg(
        strstr(p.out, "execution.phase                decode           preset llama32_decode\n"),
        "%s", p.out);
    ck_assert_ptr_nonnull(
        strstr(p.out, "fusion.policy                  fusable          preset llama32_decode\n"));
    process_free(&p);
    write_profile("[model]\nprefill = 33\n[buckets]\nFRAMES = 8\n");
    RUN(&p, RLX_TOOL, "profile", "show", "--profile", profile, "--json");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_msg(strstr(p.out, "\"model.prefill\": {\"value\": \"33\", \"origin\": \"/tmp/"), "%s",
                  p.out);
    ck_assert_msg(strstr(p.out, "\"buckets.FRAMES\": {\"value\": \"8\", \"origin\": \"/tmp/"), "%s",
                  p.out);
    process_free(&p);
    RUN(&p, RLX_TOOL, "profile", "check", profile);
    process_says(&p, "");
    write_profile("fusion.polcy = 'direct'");
    RUN(&p, RLX_TOOL, "profile", "check", profile);
    process_complains(&p, 1, ":1: no key fusion.polcy; did you mean fusion.policy?");
    RUN(&p, RLX_TOOL, "profile", "shwo");
    process_complains(&p, 2, "profile: no \"shwo\"; did you mean show?: show, check or diff");
    RUN(&p, RLX_TOOL, "profile", "show", "/nowhere");
    process_complains(&p, 1, "profile show: there is no file or directory '/nowhere'");
    RUN(&p, RLX_TOOL, "profile", "diff", profile);
    process_complains(&p, 2, "takes two FILEs");
}
END_TEST

START_TEST(diff)
{
    process p;
    char other[64], want[512];
    snprintf(other, sizeof other, "%s/in.safetensors", dir); /* of another name, removed as that */
    write_profile("[model]\nprefill = 33\n");
    rename(profile, other);
    write_profile("model.prefill = 34\nbuckets.FRAMES = 8");
    RUN(&p, RLX_TOOL, "profile", "diff", other, profile);
    snprintf(want, sizeof want,
             "model.prefill: 33 (%s:2) -> 34 (%s:1)\nbuckets.FRAMES: - (default) -> 8 (%s:2)\n",
             other, profile, profile);
    process_says(&p, want);
    RUN(&p, RLX_TOOL, "profile", "diff", other, profile, "--json");
    process_says(
        &p, "{\n  \"model.prefill\": [\"33\", \"34\"],\n  \"buckets.FRAMES\": [\"\", \"8\"]\n}\n");
}
END_TEST

/* llama.rlx.toml beside the weights is taken, unless --profile names another. */
START_TEST(beside_the_model)
{
    process p;
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "generation_config.json"};
    char path[96], from[256];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(from, sizeof from, "%s/%s", BUNDLED, files[i]);
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        if (!access(from, R_OK))
            ck_assert_int_eq(symlink(from, path), 0);
    }
    snprintf(path, sizeof path, "%s/llama.rlx.toml", dir);
    write_profile("device.threads = 1\nmodel.prefill = 3");
    ck_assert_int_eq(rename(profile, path), 0);
    RUN(&p, RLX_TOOL, "run", dir, "-n", "2");
    succeeds(&p, "llama.rlx.toml\n");
    ck_assert_msg(strstr(p.err, ", 1 thread,"), "%s", p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "profile", "show", dir);
    ck_assert_msg(strstr(p.out, "model.prefill                  3                /tmp/"), "%s",
                  p.out);
    process_free(&p);
    write_profile("device.threads = 2");
    RUN(&p, RLX_TOOL, "run", dir, "-n", "2", "--profile", profile);
    succeeds(&p, ", 2 threads,");
    ck_assert_ptr_null(strstr(p.err, "llama.rlx.toml"));
    process_free(&p);
    unlink(path);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("profiles");
    TCase *c = tcase_create("profiles");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, run);
    tcase_add_loop_test(c, eval, 0, 2);
    tcase_add_test(c, eval_takes_the_ladder);
    tcase_add_test(c, bench);
    tcase_add_test(c, mistakes);
    tcase_add_test(c, show);
    tcase_add_test(c, diff);
    tcase_add_test(c, beside_the_model);
    suite_add_tcase(s, c);
    return run_suite(s, 9);
}
