/* frontend/tool/ceiling_units.c: instructions that multiply and add, each in a loop of twelve
 * independent chains out of registers: enough for a latency of five on two ports. The instructions
 * are written out, so that no compiler merges or drops them; a loop runs only where the device has
 * its feature. */
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "frontend/tool/ceilings.h"

enum { STEPS = 1 << 19, CHAINS = 12, TILE_STEPS = 1 << 15, TILE_CHAINS = 4 };

/* A chain's instructions, on register %CHAIN. %12: scratch; %13, %14: operands of bytes 0x3f, which
 * are 0.75 as f32 and as bf16. */
#define FMA(CHAIN) "vfmadd231ps %13, %14, %" CHAIN "\n\t"
#define VNNI(CHAIN) "vpdpbusd %13, %14, %" CHAIN "\n\t"
#define VNNI_VEX(CHAIN) "%{vex%} " VNNI(CHAIN)
#define BF16(CHAIN) "vdpbf16ps %13, %14, %" CHAIN "\n\t"
/* Without dot products of four bytes: of two, of two of those, and a sum. */
#define MADD(CHAIN) \
    "vpmaddubsw %13, %14, %12\n\tvpmaddwd %12, %14, %12\n\tvpaddd %12, %" CHAIN ", %" CHAIN "\n\t"

#define CHAIN_LOOP(VEC, I)                                                                       \
    VEC scratch, x, y, zero;                                                                     \
    memset(&x, 0x3f, sizeof x);                                                                  \
    memset(&y, 0x3f, sizeof y);                                                                  \
    memset(&zero, 0, sizeof zero);                                                               \
    VEC a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero,  \
        a8 = zero, a9 = zero, a10 = zero, a11 = zero;                                            \
    for (int step = 0; step < STEPS; step++)                                                     \
        __asm__ volatile(I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8") I("9")   \
                             I("10") I("11")                                                     \
                         : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5), "+v"(a6), \
                           "+v"(a7), "+v"(a8), "+v"(a9), "+v"(a10), "+v"(a11), "=&v"(scratch)    \
                         : "v"(x), "v"(y));                                                      \
    uint64_t low;                                                                                \
    memcpy(&low, &a0, sizeof low);                                                               \
    return low

__attribute__((target("avx2,fma"))) static uint64_t fma_256(void)
{
    CHAIN_LOOP(__m256, FMA);
}

__attribute__((target("avx512f"))) static uint64_t fma_512(void)
{
    CHAIN_LOOP(__m512, FMA);
}

__attribute__((target("avx2"))) static uint64_t madd_256(void)
{
    CHAIN_LOOP(__m256i, MADD);
}

__attribute__((target("avx512bw"))) static uint64_t madd_512(void)
{
    CHAIN_LOOP(__m512i, MADD);
}

__attribute__((target("avx2"))) static uint64_t vnni_256(void)
{
    CHAIN_LOOP(__m256i, VNNI_VEX);
}

__attribute__((target("avx512f"))) static uint64_t vnni_512(void)
{
    CHAIN_LOOP(__m512i, VNNI);
}

__attribute__((target("avx512f"))) static uint64_t bf16_512(void)
{
    CHAIN_LOOP(__m512i, BF16);
}

/* ---- AMX: tiles of sixteen rows of 64 bytes; four sums, two tiles of either operand */

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static void configure_tiles(void)
{
    tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7"
                     :
                     : "m"(c));
}

#define TILE_LOOP(DOT)                                                                     \
    configure_tiles();                                                                     \
    for (int step = 0; step < TILE_STEPS; step++)                                          \
        __asm__ volatile(DOT " %tmm6, %tmm4, %tmm0\n\t" DOT " %tmm7, %tmm4, %tmm1\n\t" DOT \
                             " %tmm6, %tmm5, %tmm2\n\t" DOT " %tmm7, %tmm5, %tmm3");       \
    __asm__ volatile("tilerelease");                                                       \
    return 0

static uint64_t amx_bf16(void)
{
    TILE_LOOP("tdpbf16ps");
}

static uint64_t amx_int8(void)
{
    TILE_LOOP("tdpbssd");
}

/* ---- the list */

#define CHAIN_WORK(elements) (2.0 * (elements)*CHAINS * STEPS) /* multiply-adds per instruction */
#define TILE_WORK(depth) (2.0 * 16 * 16 * (depth)*TILE_CHAINS * TILE_STEPS)

static const ceiling_unit units[] = {
    {"f32 fma 256", "x86-64-v3", true, fma_256, CHAIN_WORK(8)},
    {"f32 fma 512", "avx512f", true, fma_512, CHAIN_WORK(16)},
    {"int8 madd 256", "x86-64-v3", false, madd_256, CHAIN_WORK(32)},
    {"int8 madd 512", "avx512bw", false, madd_512, CHAIN_WORK(64)},
    {"int8 vnni 256", "avxvnni", false, vnni_256, CHAIN_WORK(32)},
    {"int8 vnni 512", "avx512vnni", false, vnni_512, CHAIN_WORK(64)},
    {"bf16 dot 512", "avx512bf16", false, bf16_512, CHAIN_WORK(32)},
    {"bf16 amx", "amx-bf16", false, amx_bf16, TILE_WORK(32)},
    {"int8 amx", "amx-int8", false, amx_int8, TILE_WORK(64)},
};
enum { NUNITS = sizeof units / sizeof *units };
_Static_assert(NUNITS <= (int)CEILING_MAX_UNITS, "callers have room");

/* Devices are named by a level and what they have beyond it. */
static bool has(const char *device, const char *feature)
{
    bool v4 = strstr(device, "x86-64-v4") != NULL;
    if (!strcmp(feature, "x86-64-v3"))
        return v4 || strstr(device, feature);
    return strstr(device, feature) ||
           (v4 && (!strcmp(feature, "avx512f") || !strcmp(feature, "avx512bw")));
}

static bool tiles_allowed(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) == 0;
}

size_t ceiling_units(const char *device, const ceiling_unit *out[CEILING_MAX_UNITS])
{
    size_t n = 0;
    for (size_t i = 0; i < NUNITS; i++)
        if (has(device, units[i].feature) &&
            (strncmp(units[i].feature, "amx", 3) || tiles_allowed()))
            out[n++] = &units[i];
    return n;
}

size_t ceiling_all_units(const ceiling_unit **out)
{
    *out = units;
    return NUNITS;
}
