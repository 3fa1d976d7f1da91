/* runtime/cpu.c: CPUID, XGETBV, affinity and quota; and the texts that name feature sets.
 *
 * A CPU's model number says little (a virtual machine may call itself anything), the kernel's flags
 * less: a feature is there when CPUID has its bit and XGETBV says that the operating system keeps
 * its registers.
 */
#include "runtime/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/cgroup.h"

#define BIT(NAME) (1ull << RLX_CPU_##NAME)
#define LEVEL_V2 ((BIT(POPCNT) << 1) - 1)
#define LEVEL_V3 ((BIT(F16C) << 1) - 1)
#define LEVEL_V4 ((BIT(AVX512VL) << 1) - 1)

static const char *const names[RLX_CPU_FEATURE_COUNT] = {
#define CPU_FEATURE(NAME, llvm) llvm,
#include "runtime/cpu_features.def"
#undef CPU_FEATURE
};

/* ---- detection ------------------------------------------------------------------------------ */

enum { EAX, EBX, ECX, EDX };
/* Register state that the operating system must keep (bits of XCR0). */
enum { STATE_NONE = 0, STATE_YMM = 0x6, STATE_ZMM = 0xe6, STATE_TILE = 0x60000 };

/* Leaves that are asked for; a virtual machine takes tens of microseconds for each, so none is asked
 * for twice. */
enum { LEAF_1, LEAF_7, LEAF_7_1, LEAF_EXTENDED, NLEAVES };
typedef struct leaves {
    uint32_t highest, highest_extended;
    uint32_t r[NLEAVES][4]; /* zeros: the CPU does not have it */
} leaves;

/* Registers of a leaf; zeros when the CPU does not have it. */
static void cpuid(const leaves *l, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    memset(r, 0, sizeof(uint32_t) * 4);
    if (leaf <= (leaf >> 31 ? l->highest_extended : l->highest))
        __cpuid_count(leaf, subleaf, r[EAX], r[EBX], r[ECX], r[EDX]);
}

static leaves read_leaves(rlx_cpu *cpu)
{
    leaves l = {0};
    uint32_t r[4];
    __cpuid(0, l.highest, r[EBX], r[ECX], r[EDX]);
    memcpy(cpu->vendor, &r[EBX], 4);
    memcpy(cpu->vendor + 4, &r[EDX], 4);
    memcpy(cpu->vendor + 8, &r[ECX], 4);
    __cpuid(0x80000000, l.highest_extended, r[EBX], r[ECX], r[EDX]);
    cpuid(&l, 1, 0, l.r[LEAF_1]);
    cpuid(&l, 7, 0, l.r[LEAF_7]);
    if (l.r[LEAF_7][EAX] > 0)
        cpuid(&l, 7, 1, l.r[LEAF_7_1]);
    cpuid(&l, 0x80000001, 0, l.r[LEAF_EXTENDED]);
    return l;
}

typedef struct cpuid_bit {
    rlx_cpu_feature feature;
    int leaf, reg, bit;
    uint64_t state;
} cpuid_bit;

static const cpuid_bit cpuid_bits[] = {
    {RLX_CPU_SSE3, LEAF_1, ECX, 0, STATE_NONE},
    {RLX_CPU_SSSE3, LEAF_1, ECX, 9, STATE_NONE},
    {RLX_CPU_SSE41, LEAF_1, ECX, 19, STATE_NONE},
    {RLX_CPU_SSE42, LEAF_1, ECX, 20, STATE_NONE},
    {RLX_CPU_POPCNT, LEAF_1, ECX, 23, STATE_NONE},
    {RLX_CPU_AVX, LEAF_1, ECX, 28, STATE_YMM},
    {RLX_CPU_AVX2, LEAF_7, EBX, 5, STATE_YMM},
    {RLX_CPU_BMI, LEAF_7, EBX, 3, STATE_NONE},
    {RLX_CPU_BMI2, LEAF_7, EBX, 8, STATE_NONE},
    {RLX_CPU_FMA, LEAF_1, ECX, 12, STATE_YMM},
    {RLX_CPU_LZCNT, LEAF_EXTENDED, ECX, 5, STATE_NONE},
    {RLX_CPU_MOVBE, LEAF_1, ECX, 22, STATE_NONE},
    {RLX_CPU_F16C, LEAF_1, ECX, 29, STATE_YMM},
    {RLX_CPU_AVX512F, LEAF_7, EBX, 16, STATE_ZMM},
    {RLX_CPU_AVX512BW, LEAF_7, EBX, 30, STATE_ZMM},
    {RLX_CPU_AVX512CD, LEAF_7, EBX, 28, STATE_ZMM},
    {RLX_CPU_AVX512DQ, LEAF_7, EBX, 17, STATE_ZMM},
    {RLX_CPU_AVX512VL, LEAF_7, EBX, 31, STATE_ZMM},
    {RLX_CPU_AVX512VNNI, LEAF_7, ECX, 11, STATE_ZMM},
    {RLX_CPU_AVX512BF16, LEAF_7_1, EAX, 5, STATE_ZMM},
    {RLX_CPU_AVX512FP16, LEAF_7, EDX, 23, STATE_ZMM},
    {RLX_CPU_AVX512VBMI, LEAF_7, ECX, 1, STATE_ZMM},
    {RLX_CPU_AVXVNNI, LEAF_7_1, EAX, 4, STATE_YMM},
    {RLX_CPU_AMXTILE, LEAF_7, EDX, 24, STATE_TILE},
    {RLX_CPU_AMXINT8, LEAF_7, EDX, 25, STATE_TILE},
    {RLX_CPU_AMXBF16, LEAF_7, EDX, 22, STATE_TILE},
};
_Static_assert(sizeof(cpuid_bits) / sizeof(cpuid_bits[0]) == RLX_CPU_FEATURE_COUNT,
               "every feature has its CPUID bit");

static uint64_t kept_state(const leaves *l)
{
    if (!(l->r[LEAF_1][ECX] >> 27 & 1)) /* OSXSAVE */
        return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    uint64_t state = (uint64_t)high << 32 | low;
    /* Linux gives tile registers on request; may this process ask? */
    uint64_t allowed = 0;
    enum { ARCH_GET_XCOMP_SUPP = 0x1021 };
    if (syscall(SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &allowed) != 0)
        allowed = 0;
    if ((allowed & STATE_TILE) != STATE_TILE)
        state &= ~(uint64_t)STATE_TILE;
    return state;
}

static uint64_t detect_features(const leaves *l)
{
    uint64_t state = kept_state(l), features = 0;
    for (size_t i = 0; i < RLX_CPU_FEATURE_COUNT; i++) {
        const cpuid_bit *b = &cpuid_bits[i];
        if ((l->r[b->leaf][b->reg] >> b->bit & 1) && (state & b->state) == b->state)
            features |= 1ull << b->feature;
    }
    return features;
}

/* Leaf 4 (Intel) and leaf 0x8000001D (AMD) have the same layout. */
static void detect_caches(const leaves *l, uint32_t leaf, rlx_cpu *cpu)
{
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t r[4];
        cpuid(l, leaf, i, r);
        uint32_t type = r[EAX] & 31, level = r[EAX] >> 5 & 7;
        if (type == 0)
            return;
        int64_t bytes = (int64_t)((r[EBX] >> 22) + 1) * ((r[EBX] >> 12 & 0x3ff) + 1) *
                        ((r[EBX] & 0xfff) + 1) * ((int64_t)r[ECX] + 1);
        if (type == 2) /* instructions */
            continue;
        if (level == 1)
            cpu->l1_bytes = bytes;
        else if (level == 2)
            cpu->l2_bytes = bytes;
        else if (level == 3)
            cpu->l3_bytes = bytes;
    }
}

static void detect_brand(const leaves *l, rlx_cpu *cpu)
{
    uint32_t r[4];
    for (uint32_t i = 0; i < 3; i++) {
        cpuid(l, 0x80000002 + i, 0, r);
        memcpy(cpu->brand + 16 * i, r, 16);
    }
    size_t lead = strspn(cpu->brand, " ");
    memmove(cpu->brand, cpu->brand + lead, strlen(cpu->brand + lead) + 1);
}

static int affinity_cores(void)
{
    for (int cpus = 1024; cpus <= 1 << 18; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        int n = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (n > 0)
            return n;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static int usable_cores(void)
{
    int cores = affinity_cores(), quota = 0;
    char *membership = NULL;
    size_t bytes;
    rlx_status st = rlx_file_read("/proc/self/cgroup", &membership, &bytes);
    if (!st)
        quota = rlx_cgroup_cores(membership, "/sys/fs/cgroup");
    rlx_status_free(st); /* no control groups: no quota */
    free(membership);
    return quota && quota < cores ? quota : cores;
}

static rlx_cpu host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void detect_host(void)
{
    /* Emulators hide caches; every CPU that runs our code has at least these. */
    host.l1_bytes = 32 << 10;
    host.l2_bytes = 256 << 10;
    const leaves l = read_leaves(&host);
    const bool topology = l.r[LEAF_EXTENDED][ECX] >> 22 & 1; /* AMD's */
    detect_caches(&l, topology ? 0x8000001d : 4, &host);
    detect_brand(&l, &host);
    host.features = host.native = detect_features(&l);
    if ((host.features & BIT(AVX512BF16)) && !rlx_cpu_pairs_pay())
        host.native &= ~BIT(AVX512BF16);
    host.cores = usable_cores();
}

const rlx_cpu *rlx_cpu_host(void)
{
    pthread_once(&host_once, detect_host);
    return &host;
}

static rlx_status check_host(uint64_t features)
{
    uint64_t missing = features & ~rlx_cpu_host()->features;
    if (!missing)
        return RLX_OK;
    rlx_text t = {0};
    for (int i = 0; i < RLX_CPU_FEATURE_COUNT; i++)
        if (missing >> i & 1)
            rlx_text_putf(&t, " %s", names[i]);
    if (missing >> RLX_CPU_FEATURE_COUNT)
        rlx_text_put(&t, " features that this build does not know");
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "this CPU (%s) lacks%s", rlx_cpu_host()->brand,
                             t.data ? t.data : " features");
    rlx_text_deinit(&t);
    return st;
}

rlx_status rlx_cpu_enable(uint64_t features)
{
    RLX_TRY(check_host(features));
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILEDATA = 18 };
    if ((features & BIT(AMXTILE)) &&
        syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) != 0)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "the operating system refuses AMX's tile registers (%s): perhaps a "
                        "thread's alternate signal stack has no room for them; \"-amx-tile\" in "
                        "the device's name (cpu:native,-amx-tile) does without",
                        strerror(errno));
    return RLX_OK;
}

/* ---- texts ---------------------------------------------------------------------------------- */

typedef struct requirement {
    uint64_t feature, needs; /* needs: direct ones */
} requirement;

/* In ascending order of features, so that one sweep downwards collects all that is needed and one
 * upwards drops all that lost its ground. */
static const requirement requirements[] = {
    {BIT(SSSE3), BIT(SSE3)},
    {BIT(SSE41), BIT(SSSE3)},
    {BIT(SSE42), BIT(SSE41)},
    {BIT(AVX), BIT(SSE42)},
    {BIT(AVX2), BIT(AVX)},
    {BIT(FMA), BIT(AVX)},
    {BIT(F16C), BIT(AVX)},
    {BIT(AVX512F), BIT(AVX2) | BIT(FMA) | BIT(F16C)},
    {BIT(AVX512BW), BIT(AVX512F)},
    {BIT(AVX512CD), BIT(AVX512F)},
    {BIT(AVX512DQ), BIT(AVX512F)},
    {BIT(AVX512VL), BIT(AVX512F)},
    {BIT(AVX512VNNI), BIT(AVX512F)},
    {BIT(AVX512BF16), BIT(AVX512BW)},
    {BIT(AVX512FP16), BIT(AVX512BW) | BIT(AVX512DQ) | BIT(AVX512VL)},
    {BIT(AVX512VBMI), BIT(AVX512BW)},
    {BIT(AVXVNNI), BIT(AVX2)},
    {BIT(AMXINT8), BIT(AMXTILE)},
    {BIT(AMXBF16), BIT(AMXTILE)},
};
enum { NREQUIREMENTS = sizeof(requirements) / sizeof(requirements[0]) };

static uint64_t with_needs(uint64_t features)
{
    for (int i = NREQUIREMENTS - 1; i >= 0; i--)
        if (features & requirements[i].feature)
            features |= requirements[i].needs;
    return features;
}

static uint64_t without_orphans(uint64_t features)
{
    for (int i = 0; i < NREQUIREMENTS; i++)
        if ((features & requirements[i].needs) != requirements[i].needs)
            features &= ~requirements[i].feature;
    return features;
}

static rlx_status unknown_word(const char *kind, const char *word, const char *const *known,
                               size_t n)
{
    const char *near = rlx_text_nearest(word, known, n);
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "unknown CPU %s '%s'%s%s%s", kind, word,
                    near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static rlx_status parse_level(const char *word, uint64_t *features)
{
    static const char *const levels[] = {"x86-64-v3", "x86-64-v4", "native", "x86-64", "x86-64-v2"};
    enum { LEVELS = sizeof levels / sizeof *levels };
    const uint64_t sets[LEVELS] = {LEVEL_V3, LEVEL_V4, rlx_cpu_host()->native, 0, LEVEL_V2};
    for (int i = 0; i < LEVELS; i++) {
        if (strcmp(word, levels[i]) == 0) {
            *features = sets[i];
            return RLX_OK;
        }
    }
    return unknown_word("level", word, levels, LEVELS);
}

static rlx_status parse_feature(const char *word, uint64_t *features)
{
    if (word[0] != '+' && word[0] != '-')
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "expected +feature or -feature after the CPU's level, got '%s'", word);
    for (int i = 0; i < RLX_CPU_FEATURE_COUNT; i++) {
        if (strcmp(word + 1, names[i]) != 0)
            continue;
        uint64_t bit = 1ull << i;
        *features =
            word[0] == '+' ? with_needs(*features | bit) : without_orphans(*features & ~bit);
        return RLX_OK;
    }
    return unknown_word("feature", word + 1, names, RLX_CPU_FEATURE_COUNT);
}

static rlx_status check_set(const char *text, bool must_run, uint64_t features)
{
    if (must_run)
        RLX_TRY_NOTE(check_host(features), "CPU '%s'", text);
    const uint64_t missing = LEVEL_V3 & ~features;
    if (!missing)
        return RLX_OK;
    rlx_text list = {0};
    rlx_cpu_list(missing, &list);
    rlx_status st =
        RLX_FAIL(RLX_UNSUPPORTED, "CPU '%s' is without %s: x86-64-v3 is the least rlx compiles for",
                 text, list.data ? list.data : "features of x86-64-v3");
    rlx_text_deinit(&list);
    return st;
}

rlx_status rlx_cpu_parse(const char *text, bool must_run, uint64_t *features)
{
    uint64_t set = 0;
    bool first = true;
    for (const char *s = text;; first = false) {
        char word[32];
        bool sign = *s == '+' || *s == '-';
        size_t n = sign + strcspn(s + sign, ",+"); /* "-" is part of names */
        if (n == 0 || n >= sizeof(word))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "CPU '%s': expected a word at byte %td", text,
                            s - text);
        memcpy(word, s, n);
        word[n] = 0;
        RLX_TRY_NOTE(first ? parse_level(word, &set) : parse_feature(word, &set), "CPU '%s'", text);
        s += n;
        if (*s == 0)
            break;
        s += *s == ',';
    }
    RLX_TRY(check_set(text, must_run, set));
    *features = set;
    return RLX_OK;
}

void rlx_cpu_llvm_features(uint64_t features, rlx_text *out)
{
    for (int i = 0; i < RLX_CPU_FEATURE_COUNT; i++)
        rlx_text_putf(out, "%s%c%s", i ? "," : "", features >> i & 1 ? '+' : '-', names[i]);
}

void rlx_cpu_describe(uint64_t features, rlx_text *out)
{
    bool v4 = (features & LEVEL_V4) == LEVEL_V4;
    uint64_t level = v4 ? LEVEL_V4 : LEVEL_V3;
    rlx_text_put(out, v4 ? "x86-64-v4" : "x86-64-v3");
    for (int i = 0; i < RLX_CPU_FEATURE_COUNT; i++) {
        uint64_t bit = 1ull << i;
        if (features & ~level & bit)
            rlx_text_putf(out, "+%s", names[i]);
        else if (level & ~features & bit)
            rlx_text_putf(out, ",-%s", names[i]);
    }
}

void rlx_cpu_list(uint64_t features, rlx_text *out)
{
    for (int i = 0; i < RLX_CPU_FEATURE_COUNT; i++)
        if (features >> i & 1)
            rlx_text_putf(out, "%s%s", out->len ? " " : "", names[i]);
}
