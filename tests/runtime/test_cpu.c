/* CPU features: what is detected, how sets are written and read; cores under quotas. */
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cgroup.h"
#include "runtime/cpu.h"
#include "tests/runtime/suite.h"

#define BIT(NAME) (1ull << RLX_CPU_##NAME)
#define V3 ((BIT(F16C) << 1) - 1)
#define V4 ((BIT(AVX512VL) << 1) - 1)

START_TEST(host_is_plausible)
{
    const rlx_cpu *cpu = rlx_cpu_host();
    ck_assert_ptr_eq(cpu, rlx_cpu_host());
    ck_assert_int_ge(cpu->cores, 1);
    ck_assert_int_le(cpu->cores, (int)sysconf(_SC_NPROCESSORS_CONF));
    ck_assert_int_ge(cpu->l1_bytes, 8 << 10);
    ck_assert_int_le(cpu->l1_bytes, 1 << 20);
    ck_assert_int_gt(cpu->l2_bytes, cpu->l1_bytes);
    ck_assert_int_eq(strlen(cpu->vendor), 12);
    __builtin_cpu_init();
#define SAME(NAME, text) \
    ck_assert_int_eq(!!(cpu->features & BIT(NAME)), !!__builtin_cpu_supports(text))
    SAME(SSE3, "sse3");
    SAME(SSE42, "sse4.2");
    SAME(POPCNT, "popcnt");
    SAME(AVX, "avx");
    SAME(AVX2, "avx2");
    SAME(FMA, "fma");
    SAME(BMI, "bmi");
    SAME(BMI2, "bmi2");
    SAME(LZCNT, "lzcnt");
    SAME(MOVBE, "movbe");
    SAME(F16C, "f16c");
    SAME(AVX512F, "avx512f");
    SAME(AVX512BW, "avx512bw");
    SAME(AVX512CD, "avx512cd");
    SAME(AVX512DQ, "avx512dq");
    SAME(AVX512VL, "avx512vl");
    SAME(AVX512VNNI, "avx512vnni");
    SAME(AVX512VBMI, "avx512vbmi");
#undef SAME
}
END_TEST

static uint64_t parse(const char *text)
{
    uint64_t features = 0;
    EXPECT_OK(rlx_cpu_parse(text, false, &features));
    return features;
}

START_TEST(sets_are_read)
{
    ck_assert_uint_eq(parse("x86-64-v3"), V3);
    ck_assert_uint_eq(parse("x86-64-v4"), V4);
    ck_assert_uint_eq(parse("x86-64-v4,+avx512vnni"), V4 | BIT(AVX512VNNI));
    ck_assert_uint_eq(parse("x86-64-v4+avx512vnni+avx512bf16"),
                      V4 | BIT(AVX512VNNI) | BIT(AVX512BF16));
    /* A feature brings what it needs, */
    ck_assert_uint_eq(parse("x86-64-v3,+avx512bf16"),
                      V3 | BIT(AVX512F) | BIT(AVX512BW) | BIT(AVX512BF16));
    ck_assert_uint_eq(parse("x86-64-v3,+amx-int8"), V3 | BIT(AMXTILE) | BIT(AMXINT8));
    /* and takes along what needs it. */
    ck_assert_uint_eq(parse("x86-64-v4,+avx512vnni,-avx512f"), V3);
    ck_assert_uint_eq(parse("x86-64-v3,+amx-int8,+amx-bf16,-amx-tile"), V3);
    ck_assert_uint_eq(parse("x86-64-v4,-avx512dq"), V4 & ~BIT(AVX512DQ));
    if ((rlx_cpu_host()->features & V3) == V3)
        ck_assert_uint_eq(parse("native"), rlx_cpu_host()->native);
}
END_TEST

/* Every measurement decides alike; where the silicon is known, as it is: beside those of f32 the rate of
 * products by pairs is half on Sapphire Rapids' cores, twice on Zen 4's. */
START_TEST(what_does_not_pay_is_left_out)
{
    enum { TIMES = 20 };
    const rlx_cpu *cpu = rlx_cpu_host();
    const bool taken = cpu->native & BIT(AVX512BF16);
    ck_assert_uint_eq(cpu->native | BIT(AVX512BF16), cpu->features | BIT(AVX512BF16));
    if (!(cpu->features & BIT(AVX512BF16))) {
        ck_assert(!taken);
        return;
    }
    for (int i = 0; i < TIMES; i++)
        ck_assert_int_eq(rlx_cpu_pairs_pay(), taken);
    if (!strcmp(cpu->vendor, "AuthenticAMD"))
        ck_assert(taken);
    if (!strcmp(cpu->vendor, "GenuineIntel") && (cpu->features & BIT(AVX512FP16)))
        ck_assert(!taken);
    ck_assert(parse("native,+avx512bf16") & BIT(AVX512BF16));
    ck_assert(!(parse("native,-avx512bf16") & BIT(AVX512BF16)));
    uint64_t f;
    EXPECT_OK(rlx_cpu_parse("native,+avx512bf16", true, &f));
}
END_TEST

START_TEST(wrong_texts_are_refused)
{
    uint64_t f = 77;
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v5", false, &f), RLX_INVALID_ARGUMENT,
                 "did you mean 'x86-64-v");
    EXPECT_ERROR(rlx_cpu_parse("nativ", false, &f), RLX_INVALID_ARGUMENT, "did you mean 'native'?");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v3,+avx512vnnni", false, &f), RLX_INVALID_ARGUMENT,
                 "did you mean 'avx512vnni'?");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v3,avx512f", false, &f), RLX_INVALID_ARGUMENT, "+feature");
    EXPECT_ERROR(rlx_cpu_parse("", false, &f), RLX_INVALID_ARGUMENT, "expected a word at byte 0");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v3,", false, &f), RLX_INVALID_ARGUMENT, "at byte 10");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v3,,+fma", false, &f), RLX_INVALID_ARGUMENT, "at byte 10");
    EXPECT_ERROR(rlx_cpu_parse("a-name-that-is-longer-than-any-word-we-have", false, &f),
                 RLX_INVALID_ARGUMENT, "expected a word");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v3,-avx2", false, &f), RLX_UNSUPPORTED, "is without avx2");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v4,-movbe", false, &f), RLX_UNSUPPORTED, "is without movbe");
    EXPECT_ERROR(rlx_cpu_parse("x86-64", false, &f), RLX_UNSUPPORTED,
                 "'x86-64' is without sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 ");
    EXPECT_ERROR(rlx_cpu_parse("x86-64-v2", false, &f), RLX_UNSUPPORTED,
                 "'x86-64-v2' is without avx avx2 bmi bmi2 fma lzcnt movbe f16c: x86-64-v3 is");
    ck_assert_uint_eq(f, 77);
}
END_TEST

START_TEST(the_host_must_have_them)
{
    uint64_t all = (1ull << RLX_CPU_FEATURE_COUNT) - 1, host = rlx_cpu_host()->features, f;
    if (host == all) {
        EXPECT_OK(rlx_cpu_parse("x86-64-v4", true, &f));
        EXPECT_ERROR(rlx_cpu_enable(all + 1), RLX_UNSUPPORTED, "does not know");
        return;
    }
    int lacking = 0;
    while (host >> lacking & 1)
        lacking++;
    static const char *const names[] = {
#define CPU_FEATURE(NAME, llvm) llvm,
#include "runtime/cpu_features.def"
#undef CPU_FEATURE
    };
    char text[64];
    snprintf(text, sizeof(text), "x86-64-v3,+%s", names[lacking]);
    EXPECT_OK(rlx_cpu_parse(text, false, &f));
    EXPECT_ERROR(rlx_cpu_parse(text, true, &f), RLX_UNSUPPORTED, names[lacking]);
    EXPECT_ERROR(rlx_cpu_enable(1ull << lacking), RLX_UNSUPPORTED, names[lacking]);
}
END_TEST

START_TEST(sets_are_written)
{
    static const char *const texts[] = {"x86-64-v3",
                                        "x86-64-v4",
                                        "x86-64-v3+avxvnni",
                                        "x86-64-v3+avx512f",
                                        "x86-64-v4+avx512vnni+avx512bf16",
                                        "x86-64-v4+amx-tile+amx-int8"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        rlx_text t = {0};
        rlx_cpu_describe(parse(texts[i]), &t);
        ck_assert_str_eq(t.data, texts[i]);
        rlx_text_deinit(&t);
    }
    rlx_text t = {0};
    rlx_cpu_llvm_features(V3, &t);
    ck_assert_ptr_nonnull(strstr(t.data, "+sse3,+ssse3,+sse4.1,"));
    ck_assert_ptr_nonnull(strstr(t.data, ",+f16c,-avx512f,-avx512bw"));
    ck_assert_ptr_nonnull(strstr(t.data, ",-amx-bf16"));
    rlx_text_deinit(&t);
}
END_TEST

/* ---- quotas
 * -------------------------------------------------------------------------------------- */

static char root[] = "/tmp/rlx-cgroup-XXXXXX";

static void put(const char *dir, const char *name, const char *contents)
{
    char path[512];
    snprintf(path, sizeof(path), "%s", root);
    for (const char *s = dir; *s;) { /* mkdir -p */
        size_t n = strcspn(s, "/");
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%.*s", (int)n, s);
        mkdir(path, 0700);
        s += n + (s[n] == '/');
    }
    snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(contents, f);
    fclose(f);
}

static int cores(const char *mount, const char *membership)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", root, mount);
    return rlx_cgroup_cores(membership, path);
}

START_TEST(quotas)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
    put("v2/a/b", "cpu.max", "250000 100000\n");
    put("v2/a", "cpu.max", "600000 100000\n");
    put("v2/open", "cpu.max", "max 100000\n");
    put("v2/little", "cpu.max", "20000 100000\n");
    ck_assert_int_eq(cores("v2", "0::/a/b\n"), 2);
    ck_assert_int_eq(cores("v2", "0::/a\n"), 6);
    ck_assert_int_eq(cores("v2", "0::/a/not/seen/here\n"), 6);
    ck_assert_int_eq(cores("v2", "0::/open\n"), 0);
    ck_assert_int_eq(cores("v2", "0::/little\n"), 1);
    ck_assert_int_eq(cores("v2", "0::/\n"), 0);
    put("v2", "cpu.max",
        "300000 100000\n"); /* in a container, the root is the container's own group */
    ck_assert_int_eq(cores("v2", "0::/\n"), 3);
    ck_assert_int_eq(cores("v2", "0::/host/path/of/the/container\n"), 3);

    put("v1/cpu,cpuacct/x", "cpu.cfs_quota_us", "400000\n");
    put("v1/cpu,cpuacct/x", "cpu.cfs_period_us", "100000\n");
    put("v1/cpu,cpuacct", "cpu.cfs_quota_us", "-1\n");
    put("v1/cpu,cpuacct", "cpu.cfs_period_us", "100000\n");
    put("v1/cpu/y", "cpu.cfs_quota_us", "150000\n");
    put("v1/cpu/y", "cpu.cfs_period_us", "50000\n");
    const char *lines = "9:memory:/m\n4:cpu,cpuacct:/x\n3:cpuset:/\n0::/\n";
    ck_assert_int_eq(cores("v1", lines), 4);
    ck_assert_int_eq(cores("v1", "4:cpu,cpuacct:/\n"), 0);
    ck_assert_int_eq(cores("v1", "1:cpu:/y\n"), 3);
    ck_assert_int_eq(cores("v1", "1:cpuset:/y\n"), 0);
    put("v1/unified/z", "cpu.max", "200000 100000\n");
    ck_assert_int_eq(cores("v1", "4:cpu,cpuacct:/x\n0::/z\n"), 2);

    ck_assert_int_eq(cores("v2", ""), 0);
    ck_assert_int_eq(cores("v2", "garbage\n::\n0:\n\n"), 3); /* "::" names the root of v2 */
    ck_assert_int_eq(cores("none", "0::/a\n1:cpu:/b\n"), 0);
    char command[256];
    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu");
    SUITE_TEST(s, "host is plausible", host_is_plausible);
    SUITE_TEST(s, "sets are read", sets_are_read);
    SUITE_TEST(s, "what does not pay is left out", what_does_not_pay_is_left_out);
    SUITE_TEST(s, "wrong texts are refused", wrong_texts_are_refused);
    SUITE_TEST(s, "the host must have them", the_host_must_have_them);
    SUITE_TEST(s, "sets are written", sets_are_written);
    SUITE_TEST(s, "quotas", quotas);
    return suite_run(s, 7);
}
