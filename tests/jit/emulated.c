#include "tests/jit/emulated.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "runtime/cpu.h"

/* ---- bytes and words */

static int32_t saturate_16(int32_t v)
{
    return v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v;
}

/* sum + u8 x i8 by fours. */
static void vpdpbusd(int lanes, void *result, const void *const *args)
{
    const uint8_t *u = args[1];
    const int8_t *s = args[2];
    memcpy(result, args[0], sizeof(int32_t) * (size_t)lanes);
    for (int i = 0; i < 4 * lanes; i++)
        ((int32_t *)result)[i / 4] += u[i] * s[i];
}

static void vpdpbusd_128(void *result, const void *const *args)
{
    vpdpbusd(4, result, args);
}

static void vpdpbusd_256(void *result, const void *const *args)
{
    vpdpbusd(8, result, args);
}

static void vpdpbusd_512(void *result, const void *const *args)
{
    vpdpbusd(16, result, args);
}

static void vpmaddubsw_512(void *result, const void *const *args)
{
    const uint8_t *u = args[0];
    const int8_t *s = args[1];
    for (int i = 0; i < 32; i++)
        ((int16_t *)result)[i] =
            (int16_t)saturate_16(u[2 * i] * s[2 * i] + u[2 * i + 1] * s[2 * i + 1]);
}

static void vpmaddwd_512(void *result, const void *const *args)
{
    const int16_t *a = args[0], *b = args[1];
    for (int i = 0; i < 16; i++)
        ((int32_t *)result)[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
}

/* Bytes of every 16 by an index; 0 where it has its upper bit. */
static void vpshufb_512(void *result, const void *const *args)
{
    const uint8_t *x = args[0], *index = args[1];
    for (int i = 0; i < 64; i++)
        ((uint8_t *)result)[i] = index[i] & 0x80 ? 0 : x[i / 16 * 16 + index[i] % 16];
}

/* ---- bf16 */

static float daz(float x)
{
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

static float from_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return daz(x);
}

/* The double next to x + y that has an odd last bit, unless x + y is one: rounding it to fewer bits
 * rounds the true sum. */
static double add_to_odd(double x, double y)
{
    double s = x + y, z = s - x, rest = (x - (s - z)) + (y - z);
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    if (!isfinite(s) || rest == 0 || bits & 1)
        return s;
    return nextafter(s, rest > 0 ? INFINITY : -INFINITY);
}

/* To f32, ties to even; what is denormal after rounding becomes a zero. */
static float round_and_flush(double x)
{
    float r = (float)x;
    if (fabs(x) < 2 * (double)FLT_MIN && fabsf((float)(x * 0x1p64)) < FLT_MIN * 0x1p64f)
        return copysignf(0, r);
    return r;
}

static float fma_once(float a, float b, float c)
{
    return round_and_flush(add_to_odd((double)a * b, daz(c)));
}

static float add_once(float a, float b)
{
    return round_and_flush((double)daz(a) + daz(b));
}

static void vdpbf16ps(int lanes, void *result, const void *const *args)
{
    const float *acc = args[0];
    const uint16_t *a = args[1], *b = args[2];
    for (int i = 0; i < lanes; i++) {
        float sum = fma_once(from_bf16(a[2 * i + 1]), from_bf16(b[2 * i + 1]), acc[i]);
        ((float *)result)[i] = fma_once(from_bf16(a[2 * i]), from_bf16(b[2 * i]), sum);
    }
}

static void vdpbf16ps_128(void *result, const void *const *args)
{
    vdpbf16ps(4, result, args);
}

static void vdpbf16ps_256(void *result, const void *const *args)
{
    vdpbf16ps(8, result, args);
}

static void vdpbf16ps_512(void *result, const void *const *args)
{
    vdpbf16ps(16, result, args);
}

/* ---- AMX */

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static struct {
    bool configured;
    tile_config config;
    union {
        uint8_t u8[ROW_BYTES];
        int8_t i8[ROW_BYTES];
        int32_t i32[ROW_BYTES / 4];
        uint16_t bf16[ROW_BYTES / 2];
        float f32[ROW_BYTES / 4];
    } tile[TILES][ROWS];
} amx;

bool emulated_tiles_are_free(void)
{
    return !amx.configured;
}

static void *address(const void *arg)
{
    void *p;
    memcpy(&p, arg, sizeof p);
    return p;
}

static void ldtilecfg(void *result, const void *const *args)
{
    (void)result;
    tile_config *c = &amx.config;
    ck_assert_int_eq(sizeof *c, 64);
    memcpy(c, address(args[0]), sizeof *c);
    ck_assert(c->palette == 1 && c->start_row == 0);
    for (size_t i = 0; i < sizeof c->reserved; i++)
        ck_assert_int_eq(c->reserved[i], 0);
    for (int i = 0; i < 16; i++) {
        ck_assert(c->rows[i] <= ROWS && c->row_bytes[i] <= ROW_BYTES);
        ck_assert((c->rows[i] == 0) == (c->row_bytes[i] == 0));
        ck_assert(i < TILES || c->rows[i] == 0);
    }
    memset(amx.tile, 0, sizeof amx.tile);
    amx.configured = true;
}

static void tilerelease(void *result, const void *const *args)
{
    (void)result;
    (void)args;
    amx.configured = false;
}

static int tile_of(const void *arg)
{
    int i = *(const uint8_t *)arg;
    ck_assert_msg(amx.configured && i < TILES && amx.config.rows[i], "tile %d has no shape", i);
    return i;
}

static void tilezero(void *result, const void *const *args)
{
    (void)result;
    memset(amx.tile[tile_of(args[0])], 0, sizeof amx.tile[0]);
}

static void tileloadd(void *result, const void *const *args)
{
    int64_t stride = *(const int64_t *)args[2];
    int i = tile_of(args[0]);
    (void)result;
    memset(amx.tile[i], 0, sizeof amx.tile[i]);
    for (int r = 0; r < amx.config.rows[i]; r++)
        memcpy(&amx.tile[i][r], (const uint8_t *)address(args[1]) + r * stride,
               amx.config.row_bytes[i]);
}

static void tilestored(void *result, const void *const *args)
{
    int64_t stride = *(const int64_t *)args[2];
    int i = tile_of(args[0]);
    (void)result;
    for (int r = 0; r < amx.config.rows[i]; r++)
        memcpy((uint8_t *)address(args[1]) + r * stride, &amx.tile[i][r], amx.config.row_bytes[i]);
}

/* Destination and sources, whose shapes fit. */
typedef struct product {
    int to, a, b, rows, columns, steps;
} product;

static product product_of(const void *const *args)
{
    const tile_config *c = &amx.config;
    product p = {.to = tile_of(args[0]), .a = tile_of(args[1]), .b = tile_of(args[2])};
    ck_assert(p.to != p.a && p.to != p.b && p.a != p.b);
    ck_assert(c->row_bytes[p.to] % 4 == 0 && c->row_bytes[p.a] % 4 == 0);
    ck_assert_int_eq(c->rows[p.to], c->rows[p.a]);
    ck_assert_int_eq(c->row_bytes[p.a] / 4, c->rows[p.b]);
    ck_assert_int_eq(c->row_bytes[p.to], c->row_bytes[p.b]);
    p.rows = c->rows[p.to];
    p.columns = c->row_bytes[p.to] / 4;
    p.steps = c->rows[p.b];
    return p;
}

static void tdpb(const void *const *args, bool b_signed)
{
    product p = product_of(args);
    for (int m = 0; m < p.rows; m++)
        for (int n = 0; n < p.columns; n++)
            for (int k = 0; k < 4 * p.steps; k++) {
                int at = 4 * n + k % 4, a = amx.tile[p.a][m].i8[k];
                int b = b_signed ? amx.tile[p.b][k / 4].i8[at] : amx.tile[p.b][k / 4].u8[at];
                amx.tile[p.to][m].i32[n] += a * b;
            }
}

static void tdpbssd(void *result, const void *const *args)
{
    (void)result;
    tdpb(args, true);
}

static void tdpbsud(void *result, const void *const *args)
{
    (void)result;
    tdpb(args, false);
}

static void tdpbf16ps(void *result, const void *const *args)
{
    product p = product_of(args);
    (void)result;
    for (int m = 0; m < p.rows; m++)
        for (int n = 0; n < p.columns; n++) {
            float part[2] = {0, 0}, *to = &amx.tile[p.to][m].f32[n];
            for (int k = 0; k < 2 * p.steps; k++)
                part[k % 2] =
                    fma_once(from_bf16(amx.tile[p.a][m].bf16[k]),
                             from_bf16(amx.tile[p.b][k / 2].bf16[2 * n + k % 2]), part[k % 2]);
            *to = add_once(*to, add_once(part[0], part[1]));
        }
}

/* ---- the table */

static const rlx_emulated_instruction instructions[] = {
    {"llvm.x86.avx512.pshuf.b.512", vpshufb_512},
    {"llvm.x86.avx512.vpdpbusd.128", vpdpbusd_128},
    {"llvm.x86.avx512.vpdpbusd.256", vpdpbusd_256},
    {"llvm.x86.avx512.vpdpbusd.512", vpdpbusd_512},
    {"llvm.x86.avx512.pmaddubs.w.512", vpmaddubsw_512},
    {"llvm.x86.avx512.pmaddw.d.512", vpmaddwd_512},
    {"llvm.x86.avx512bf16.dpbf16ps.128", vdpbf16ps_128},
    {"llvm.x86.avx512bf16.dpbf16ps.256", vdpbf16ps_256},
    {"llvm.x86.avx512bf16.dpbf16ps.512", vdpbf16ps_512},
    {"llvm.x86.ldtilecfg", ldtilecfg},
    {"llvm.x86.tilerelease", tilerelease},
    {"llvm.x86.tilezero", tilezero},
    {"llvm.x86.tileloadd64", tileloadd},
    {"llvm.x86.tilestored64", tilestored},
    {"llvm.x86.tdpbssd", tdpbssd},
    {"llvm.x86.tdpbsud", tdpbsud},
    {"llvm.x86.tdpbf16ps", tdpbf16ps},
};

const rlx_jit_emulation emulated_cpu = {instructions, sizeof instructions / sizeof *instructions};

rlx_jit_target emulated_target(const char *features)
{
    rlx_jit_target t = {.kind = RLX_JIT_CPU, .emulation = &emulated_cpu};
    rlx_status st = rlx_cpu_parse(features, false, &t.features);
    ck_assert_msg(st == NULL, "%s", features);
    return t;
}
