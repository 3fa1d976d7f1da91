/* runtime/base/format.h: element formats (see formats.def). */
#ifndef RLX_BASE_FORMAT_H
#define RLX_BASE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef RLX_FORMAT_TYPES /* frontend/rlx.h spells the same out for users */
#define RLX_FORMAT_TYPES
typedef enum rlx_format {
    RLX_FORMAT_NONE = 0,
#define FORMAT(NAME, text, elems, bytes, kind) RLX_##NAME,
#include "runtime/base/formats.def"
#undef FORMAT
    RLX_FORMAT_COUNT
} rlx_format;
#endif

typedef enum rlx_format_kind {
    RLX_KIND_FLOAT,
    RLX_KIND_INT,
    RLX_KIND_UINT,
    RLX_KIND_BOOL,
    RLX_KIND_BLOCK
} rlx_format_kind;

typedef struct rlx_format_info {
    const char *name;
    int32_t block_elems, block_bytes;
    rlx_format_kind kind;
} rlx_format_info;

const rlx_format_info *rlx_format_get(rlx_format f); /* f must be valid */
/* By name ("bf16"), `len` bytes; RLX_FORMAT_NONE when unknown. */
rlx_format rlx_format_parse(const char *name, size_t len);
bool rlx_format_is_float(rlx_format f);
bool rlx_format_is_int(rlx_format f); /* signed, unsigned; not bool */
/* Bytes of `elems` consecutive elements (a multiple of the block's elements). */
size_t rlx_format_bytes(rlx_format f, int64_t elems);

/* One element to double (exact for every format but I64 and U64). Of a block format: element `index` of
 * consecutive blocks, as rlx_format_decode has it. */
double rlx_format_load(rlx_format f, const void *p, int64_t index);
/* The inverse for unblocked formats. Rounds to nearest even; integers saturate, and take NaN as 0.
 */
void rlx_format_store(rlx_format f, void *p, int64_t index, double v);
float rlx_f16_to_f32(uint16_t h);
uint16_t rlx_f32_to_f16(float f);
float rlx_bf16_to_f32(uint16_t h);
uint16_t rlx_f32_to_bf16(float f);

/* ---- block formats --------------------------------------------------------------------------- */

enum { RLX_BLOCK_NONE = -1, RLX_BLOCK_GROUP = 16 };

typedef enum rlx_block_factor {
    RLX_BLOCK_FACTOR_F16,
    RLX_BLOCK_FACTOR_F32,
    RLX_BLOCK_FACTOR_E8M0,
    RLX_BLOCK_FACTOR_E4M3,
    RLX_BLOCK_FACTOR_TOP4
} rlx_block_factor;

typedef enum rlx_block_codes {
    RLX_BLOCK_CODES_INT,
    RLX_BLOCK_CODES_FP4,
    RLX_BLOCK_CODES_NL4,
    RLX_BLOCK_CODES_PM1,
    RLX_BLOCK_CODES_TRITS,
    RLX_BLOCK_CODES_GRID
} rlx_block_codes;

typedef enum rlx_block_scale {
    RLX_BLOCK_SCALE_PLAIN,
    RLX_BLOCK_SCALE_K4,
    RLX_BLOCK_SCALE_S8,
    RLX_BLOCK_SCALE_BY16,
    RLX_BLOCK_SCALE_BY32
} rlx_block_scale;

typedef enum rlx_block_role {
    RLX_BLOCK_SCALE,
    RLX_BLOCK_SCALE_HIGH,
    RLX_BLOCK_MIN,
    RLX_BLOCK_INDEX,
    RLX_BLOCK_INDEX_HIGH,
    RLX_BLOCK_SIGNS,
    RLX_BLOCK_SHIFT,
    RLX_BLOCK_ROLES
} rlx_block_role;

/* Where numbers of a few bits lie. bits 0: there are none of that role. */
typedef struct rlx_block_field {
    int16_t at, word, per, next, step, lift, shift, bits;
} rlx_block_field;

/* How blocks decode, for the scalar decode and for emitters: see block_layouts.def. */
typedef struct rlx_block_layout {
    rlx_format format;
    rlx_block_factor factor;
    rlx_block_codes codes;
    rlx_block_scale scale;
    int16_t d, m, low, low_bits, span, high, high_bits, bias, scales;
} rlx_block_layout;

/* Scales from fields: d * (a * s + b) * c. */
typedef struct rlx_block_affine {
    int16_t a, b;
    float c;
} rlx_block_affine;

/* `entries` times `run` signed values. */
typedef struct rlx_block_grid {
    int entries, run;
    const int8_t *values;
} rlx_block_grid;

const rlx_block_layout *rlx_format_block(rlx_format f); /* f must be a block format */
const rlx_block_field *rlx_format_field(rlx_format f, rlx_block_role role);
const rlx_block_affine *rlx_format_affine(rlx_format f); /* of BY16 and BY32 */
rlx_block_grid rlx_format_grid(rlx_format f);            /* of GRID */
/* What the bits of codes of `kind` stand for: 16 values, 2 of PM1; NULL of the other kinds. */
const int8_t *rlx_block_values(rlx_block_codes kind);
/* Elements first..first+n-1 of consecutive blocks, in f32 and its roundings: what every engine
 * gives. */
void rlx_format_decode(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out);
/* A block as codes, scales and minima: element k is scale[k/G] * code[k] - min[k/G], G elements
 * sharing their scale. Codes are signed bytes where the format has such, a bias (which is off) or
 * bits that stand for values of a table; else bits, 0 <= code < 2^bits. */
int rlx_format_group(rlx_format f);     /* G: 16 or 32 */
int rlx_format_code_bits(rlx_format f); /* of bits: 2 to 6, before a bias; 8: bytes, or values */
bool rlx_format_signed_codes(rlx_format f);
bool rlx_format_has_min(rlx_format f);
/* Codes of elements first..first+n-1; scales (minima, 0 where the format has none) of groups
 * first..first+n-1, each product rounded to f32 once. */
void rlx_format_codes(rlx_format f, const void *blocks, int64_t first, int64_t n, uint8_t *out);
void rlx_format_scales(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out);
void rlx_format_mins(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out);
/* Blocks of `elems` arbitrary values, none beyond -1..1, from `seed`: what checks run on. */
void rlx_format_make_blocks(rlx_format f, void *blocks, int64_t elems, uint64_t seed);

#endif
