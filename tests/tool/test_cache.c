/* tests/tool/test_cache.c: rlx warm and rlx cache, and runs that find their code: what processes
 * say and leave. */
#include <check.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define TEXT "-p", "Once upon a time", "-n", "6", "--temp", "0", "-t", "1"

enum { CHARS = 256 };
static char dir[CHARS];

static void set_up(void)
{
    snprintf(dir, sizeof dir, "%s/rlx-tool-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("RLX_CACHE_DIR", dir, 1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tear_down(void)
{
    unsetenv("LD_DEBUG");
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void ends(const process *p, int code)
{
    ck_assert_msg(p->code == code, "exit code %d: %s%s", p->code, p->out, p->err);
}

static void has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part), "no \"%s\" in: %s", part, text);
}

/* The whole life of a warmed model. */
START_TEST(warm_then_run)
{
    process p, first;
    RUN(&p, RLX_TOOL, "warm", BUNDLED, "--dry-run");
    ends(&p, 1);
    has(p.out, "decode of 1 tokens is missing: there are no entries");
    has(p.err, "0 buckets compiled, 0 there, 3 missing");
    process_free(&p);

    RUN(&p, RLX_TOOL, "warm", BUNDLED);
    ends(&p, 0);
    has(p.err, "3 buckets compiled");
    ck_assert_ptr_null(strstr(p.err, "pack"));
    process_free(&p);
    RUN(&p, RLX_TOOL, "warm", BUNDLED, "--dry-run", "--json", "--pack");
    ends(&p, 0);
    has(p.err, "nothing to pack: every kernel of this build reads weights as their file has them");
    has(p.out, "\"bucket\": \"prefill\", \"tokens\": 512, \"there\": true");
    process_free(&p);

    RUN(&first, RLX_TOOL, "run", BUNDLED, "--no-cache", TEXT);
    ends(&first, 0);
    ck_assert_ptr_null(strstr(first.err, "from the cache"));
    setenv("LD_DEBUG", "files", 1); /* the loader tells what it opens */
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", TEXT);
    unsetenv("LD_DEBUG");
    ends(&p, 0);
    ck_assert_str_eq(p.out, first.out);
    has(p.err, "from the cache");
    has(p.err, "librlx.so");
    ck_assert_ptr_null(strstr(p.err, "librlx-llvm")); /* LLVM is not opened */
    process_free(&p);
    process_free(&first);

    /* A conversation whose answer is there, and which waits for the next line: its own map. */
    RUN(&p, "/bin/sh", "-c",
        "cd \"$0\" && mkfifo in out && echo '{% for m in messages %}{{ m.content }}{% endfor %}' > "
        "t\n"
        "\"$1\" run \"$2\" --chat-template t -n 3 < in > out 2> err & exec 3> in 4< out\n"
        "echo Once >&3; dd bs=1 count=1 <&4 2> /dev/null > first; cat /proc/$!/maps; exec 3>&-\n"
        "cat <&4 > rest; wait $!",
        dir, RLX_TOOL, BUNDLED);
    ends(&p, 0);
    has(p.out, "librlx.so");
    ck_assert_ptr_null(strstr(p.out, "librlx-"));
    ck_assert_ptr_null(strcasestr(p.out, "llvm"));
#ifndef __SANITIZE_ADDRESS__ /* the sanitizers' own libraries want it */
    ck_assert_ptr_null(strstr(p.out, "libstdc++"));
#endif
    process_free(&p);

    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", "--precision", "exact", TEXT);
    ends(&p, 1);
    has(p.err, "TOKENS 1, ROWS 1, exact is not in the compile cache");
    has(p.err, "precision: it has fast, decode, wanted exact");
    process_free(&p);
}
END_TEST

static int count_files(const char *folder)
{
    process p;
    RUN(&p, "/bin/sh", "-c", "find \"$0\" -type f 2> /dev/null | wc -l", folder);
    const int n = atoi(p.out);
    process_free(&p);
    return n;
}

/* One place decides about code and tokenizers' tables: what the command line says, else the environment; and nowhere is no
 * error. */
START_TEST(one_folder_for_all)
{
    process p;
    char there[CHARS], option[CHARS];
    snprintf(there, sizeof there, "%.200s/there", dir);
    snprintf(option, sizeof option, "--cache-dir=%.200s", there);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-cache", TEXT);
    ends(&p, 0);
    process_free(&p);
    ck_assert_int_eq(count_files(dir), 0);
    RUN(&p, RLX_TOOL, "run", BUNDLED, option, TEXT);
    ends(&p, 0);
    process_free(&p);
    strcat(there, "/tokenizers");
    ck_assert_int_ge(count_files(there), 1);
    ck_assert_int_eq(count_files(dir), count_files(there) + 2); /* two buckets, nothing elsewhere */

    unsetenv("RLX_CACHE_DIR");
    const char *home = getenv("HOME");
    char *kept = home ? strdup(home) : NULL;
    unsetenv("XDG_CACHE_HOME");
    for (int i = 0; i < 2; i++) { /* no HOME; one that nothing can be made in */
        if (i)
            setenv("HOME", "/proc/1", 1);
        else
            unsetenv("HOME");
        RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "Once", "--ids");
        ends(&p, 0);
        ck_assert_str_eq(p.err, "");
        process_free(&p);
    }
    if (kept)
        setenv("HOME", kept, 1);
    free(kept);
}
END_TEST

START_TEST(entries_are_listed_checked_and_removed)
{
    process p;
    RUN(&p, RLX_TOOL, "warm", BUNDLED, "--target", "znver4", "--target", "neoverse-v2", "--target",
        "hip:gfx942");
    ends(&p, 0);
    has(p.err, "9 buckets compiled");
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "ls");
    ends(&p, 0);
    has(p.out, "aarch64:neoverse-v2");
    has(p.out, "hip:gfx942");
    has(p.err, "9 entries");
    char key[17] = "";
    memcpy(key, p.out, 16);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "show", key);
    ends(&p, 0);
    has(p.out, "model.layers.{}.mlp.gate_proj.weight bf16[512,192]");
    process_free(&p);
    setenv("LC_ALL", "tr_TR.UTF-8", 1);
    RUN(&p, RLX_TOOL, "cache", "verify", "--recompile"); /* the same bytes in another process */
    unsetenv("LC_ALL");
    ends(&p, 0);
    has(p.err, "9 entries: 9 as they should be, 0 not compiled anew, 0 bad");
    process_free(&p);

    char path[CHARS];
    snprintf(path, sizeof path, "%.200s/code/", dir);
    RUN(&p, "/bin/sh", "-c",
        "for f in \"$0\"*.rlx; do printf x | dd of=\"$f\" bs=1 seek=999 conv=notrunc 2>&1; break; "
        "done",
        path);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "verify");
    ends(&p, 1);
    has(p.out, "BAD: byte");
    has(p.err, "1 bad");
    process_free(&p);
    snprintf(path, sizeof path, "%.200s/archive", dir);
    RUN(&p, RLX_TOOL, "cache", "export", path);
    ends(&p, 1);
    has(p.err, "left out: the entry");
    has(p.err, "8 entries written");
    has(p.err, "1 damaged entry is left out");
    process_free(&p);

    RUN(&p, RLX_TOOL, "cache", "gc", "--max-size", "60k");
    ends(&p, 0);
    process_free(&p);
    RUN(&p, "/bin/sh", "-c", "echo x > $RLX_CACHE_DIR/code/$(printf %064d-%016d 0 0).drv");
    ends(&p, 0); /* what a driver made of an entry that is gone */
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "clear");
    ends(&p, 0);
    process_free(&p);
    RUN(&p, "/bin/sh", "-c", "ls $RLX_CACHE_DIR/code");
    ends(&p, 0);
    ck_assert_str_eq(p.out, "");
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "ls", "--json");
    ends(&p, 0);
    ck_assert_str_eq(p.out, "");
    process_free(&p);
}
END_TEST

/* Each model is warmed as its own profile has it, as it will be run. */
START_TEST(profiles_beside_models)
{
    process p;
    char model[CHARS];
    snprintf(model, sizeof model, "%.200s/model", dir);
    RUN(&p, "/bin/sh", "-c",
        "mkdir \"$0\" && ln -s " BUNDLED
        "/* \"$0\" && printf '[model]\\nprefill = 64\\nkv_key_format = "
        "\"q8_0\"\\n[backend.cpu]\\nunfuse_regions = true\\n' > \"$0/llama.rlx.toml\"",
        model);
    ends(&p, 0);
    process_free(&p);
    RUN(&p, RLX_TOOL, "warm", BUNDLED, model);
    ends(&p, 0);
    has(p.err, "6 buckets compiled");
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "ls"); /* of the second one */
    ends(&p, 0);
    has(p.out, "; tuning: fusion 0, single maps 1");
    process_free(&p);
    RUN(&p, "/bin/sh", "-c",
        "printf '[model]\\nkv_key_format = \"q8_0\"\\n[backend.cpu]\\nunfuse_regions = true\\n"
        "[buckets]\\nseq = [1, 48, 64]\\n' > "
        "\"$0/llama.rlx.toml\"",
        model);
    process_free(&p);
    RUN(&p, RLX_TOOL, "warm", model, "--dry-run"); /* of the other ladder one is new */
    ends(&p, 1);
    has(p.out, "prefill of 48 tokens is missing");
    has(p.out, "wanted TOKENS 48");
    has(p.err, "3 there, 1 missing");
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", model, "--no-compile", TEXT);
    ends(&p, 1);
    has(p.err, "the bucket prefill of 48 tokens");
    process_free(&p);
    RUN(&p, RLX_TOOL, "warm", model);
    ends(&p, 0);
    has(p.err, "1 bucket compiled, 3 there before");
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", model, "--no-compile", TEXT);
    ends(&p, 0);
    process_free(&p);
}
END_TEST

/* What `rlx run` of a model says, and whether its code came out of the cache. */
static char *answer(const char *model, bool cached)
{
    process p;
    RUN(&p, RLX_TOOL, "run", model, TEXT);
    ends(&p, 0);
    ck_assert_int_eq(strstr(p.err, "from the cache") != NULL, cached);
    char *said = strdup(p.out);
    process_free(&p);
    return said;
}

static void shell(const char *script, const char *model)
{
    process p;
    RUN(&p, "/bin/sh", "-c", script, model);
    ends(&p, 0);
    process_free(&p);
}

/* Weights are not in the key: others run with the same code. What is in it, and the tokenizer, is noticed; and a process that
 * runs goes on with the files that it began with. */
START_TEST(a_model_that_changes)
{
    process p;
    char model[CHARS];
    snprintf(model, sizeof model, "%.200s/model", dir);
    shell("cp -r " BUNDLED " \"$0\"; chmod -R u+w \"$0\"; touch -d '1 hour ago' \"$0\"/*", model);
    RUN(&p, RLX_TOOL, "warm", model);
    ends(&p, 0);
    process_free(&p);
    char *first = answer(model, true);

    /* Under a running process: another file of the name. */
    RUN(&p, "/bin/sh", "-c",
        "cd \"$0\" && mkfifo in out && echo '{% for m in messages %}{{ m.content }}{% endfor %}' > "
        "t\n"
        "\"$1\" run model --chat-template t -n 6 --temp 0 < in > out 2> err & exec 3> in 4< out\n"
        "echo Once upon a time >&3; read -r line <&4; echo \"$line\"\n"
        "cd model; { head -c 1000000 model.safetensors; head -c 4122808 /dev/zero; } > w\n"
        "mv w model.safetensors; cd ..; echo And then >&3; read -r line <&4; echo \"$line\"\n"
        "exec 3>&-; cat <&4 > rest; wait $!",
        dir, RLX_TOOL);
    ends(&p, 0);
    ck_assert_ptr_nonnull(strchr(p.out, '\n'));
    ck_assert_uint_gt(strlen(strchr(p.out, '\n')), 4); /* the second answer is text, not of zeros */
    process_free(&p);

    char *second = answer(model, true); /* the next one has the new weights, and the same code */
    ck_assert_str_ne(first, second);
    free(first);
    free(second);

    shell("sed -i 's/\"rms_norm_eps\": [^,]*/\"rms_norm_eps\": 0.01/' \"$0/config.json\"", model);
    RUN(&p, RLX_TOOL, "warm", model, "--dry-run");
    ends(&p, 1);
    has(p.out, "is missing");
    has(p.out, "function 0");
    process_free(&p);

    RUN(&p, RLX_TOOL, "tokenize", model, "-p", "Once", "--ids");
    ends(&p, 0);
    char *ids = strdup(p.out);
    process_free(&p);
    shell("sed -i 's/: 465,$/: x,/; s/: 464,$/: 465,/; s/: x,$/: 464,/' \"$0/tokenizer.json\"",
          model);
    RUN(&p, RLX_TOOL, "tokenize", model, "-p", "Once", "--ids");
    ends(&p, 0);
    ck_assert_str_ne(p.out, ids);
    process_free(&p);
    free(ids);
}
END_TEST

START_TEST(sealed)
{
    process p;
    RUN(&p, RLX_TOOL, "warm", BUNDLED, "--seal");
    ends(&p, 0);
    has(p.err, "the cache is sealed");
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, TEXT);
    ends(&p, 0);
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--cache-type-k", "f32", TEXT);
    ends(&p, 1);
    has(p.err, "the cache is sealed: the nearest entry");
    has(p.err, "state 0: it has kv.k.{} f16[PAGES,2,32,256], wanted kv.k.{} f32[PAGES,2,32,256]");
    process_free(&p);
    RUN(&p, RLX_TOOL, "warm", BUNDLED, "--precision", "exact");
    ends(&p, 1);
    has(p.err, "is sealed");
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "unseal");
    ends(&p, 0);
    process_free(&p);
}
END_TEST

/* Entries go elsewhere: signed, and taken by whoever has the other half of the key. */
START_TEST(carried_elsewhere)
{
    process p;
    char archive[CHARS], key[CHARS], public[CHARS], other[CHARS], there[CHARS], path[CHARS];
    snprintf(archive, sizeof archive, "%.200s/entries", dir);
    snprintf(key, sizeof key, "%.200s/key", dir);
    snprintf(public, sizeof public, "%.200s/key.pub", dir);
    snprintf(other, sizeof other, "%.200s/other", dir);
    snprintf(there, sizeof there, "--cache-dir=%.200s/there", dir);
    RUN(&p, RLX_TOOL, "warm", BUNDLED);
    ends(&p, 0);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "keygen", key);
    ends(&p, 0);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "keygen", key);
    process_complains(&p, 1, "File exists");
    RUN(&p, RLX_TOOL, "cache", "keygen", other);
    ends(&p, 0);
    process_free(&p);
    RUN(&p, RLX_TOOL, "cache", "export", archive, "--key", key);
    ends(&p, 0);
    has(p.err, "3 entries written, signed");
    process_free(&p);
    strcat(other, ".pub");
    RUN(&p, RLX_TOOL, "cache", "import", archive, there, "--key", other);
    process_complains(&p, 1, "is not signed with the key that is trusted");
    RUN(&p, RLX_TOOL, "cache", "import", archive, there, "--key", key);
    process_complains(&p, 1, "is no \"rlx public key 1 ...\"");
    RUN(&p, RLX_TOOL, "cache", "import", archive, there, "--key", public);
    ends(&p, 0);
    has(p.err, "3 entries taken");
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", there, TEXT);
    ends(&p, 0);
    process_free(&p);

    /* The same as a folder below: what is signed is taken, whoever can write there. */
    RUN(&p, RLX_TOOL, "cache", "sign", there, "--key", key);
    ends(&p, 0);
    process_free(&p);
    snprintf(path, sizeof path, "%.200s/there", dir);
    RUN(&p, "/bin/chmod", "-R", "go+rwX", path);
    process_free(&p);
    setenv("RLX_CACHE_SYSTEM_DIR", path, 1);
    snprintf(path, sizeof path, "--cache-dir=%.200s/empty", dir);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", path, TEXT);
    process_complains(&p, 2, "can be written to by others");
    setenv("RLX_CACHE_KEY", public, 1);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", path, TEXT);
    ends(&p, 0);
    process_free(&p);
    setenv("RLX_CACHE_KEY", other, 1);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "--no-compile", path, TEXT);
    process_complains(&p, 1, "is not in the compile cache");
    unsetenv("RLX_CACHE_KEY");
    unsetenv("RLX_CACHE_SYSTEM_DIR");

    /* An archive that is cut off is refused by byte. */
    RUN(&p, "/bin/sh", "-c", "head -c 60000 \"$0\" > \"$0.cut\"", archive);
    process_free(&p);
    strcat(archive, ".cut");
    RUN(&p, RLX_TOOL, "cache", "import", archive, "--unsigned");
    process_complains(&p, 1, "are left");
}
END_TEST

START_TEST(mistakes)
{
    process p;
    static const char *const lines[][5] = {
        {"warm", "no MODEL given"},
        {"warm", "did you mean \"znver4\"?", BUNDLED, "--target", "znver44"},
        {"warm", "one of them", BUNDLED, "--seal", "--dry-run"},
        {"cache", "no ACTION given"},
        {"cache", "did you mean verify?", "verfy"},
        {"cache", "no KEY, as rlx cache ls prints it given", "show"},
        {"cache", "--unsigned trusts", "import", "x"},
        {"cache", "--key FILE is the secret key", "sign"},
        {"cache", "one argument too many", "ls", "x"},
        {"cache", "--max-size SIZE", "gc"},
        {"cache", "is no size", "gc", "--max-size", "many"},
        {"cache", "gc: --json is of no use there", "gc", "--json"},
        {"cache", "ls: --recompile is of no use there", "ls", "--recompile"},
        {"cache", "verify: --key is of no use there", "verify", "--key=x"},
        {"cache", "keygen: --cache-dir is of no use there", "keygen", "x", "--cache-dir=x"},
        {"run", "one of them", BUNDLED, "--no-cache", "--cache-dir=x"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        RUN(&p, RLX_TOOL, lines[i][0], lines[i][2], lines[i][3], lines[i][4]);
        process_complains(&p, 2, lines[i][1]);
    }
    RUN(&p, RLX_TOOL, "cache", "show", "0123");
    process_complains(&p, 1, "no entry 0123");
    setenv("RLX_CACHE_DIR", "", 1);
    RUN(&p, RLX_TOOL, "cache", "clear");
    process_complains(&p, 1, "there is no cache folder");
    RUN(&p, RLX_TOOL, "warm", BUNDLED);
    process_complains(&p, 2, "there is no cache to put code into");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tool cache");
    TCase *t = tcase_create("cache");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 0);
    tcase_add_test(t, warm_then_run);
    tcase_add_test(t, one_folder_for_all);
    tcase_add_test(t, entries_are_listed_checked_and_removed);
    tcase_add_test(t, profiles_beside_models);
    tcase_add_test(t, a_model_that_changes);
    tcase_add_test(t, sealed);
    tcase_add_test(t, carried_elsewhere);
    tcase_add_test(t, mistakes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
