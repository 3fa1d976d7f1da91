/* runtime/quantize/encode.h: rows of f32 into blocks of any format that has blocks.
 *
 *   encode.c       scales: candidates, least squares, what the block can hold of them
 *   encode_codes.c codes for given scales: integers, tables of values, grids
 *   encode_pack.c  scales and codes into a block's bytes: the inverse of
 * runtime/base/format_block.c
 *
 * What is least is the sum of w * (x - decoded)^2, w being 1 or the importance that is given.
 */
#ifndef RLX_RUNTIME_ENCODE_H
#define RLX_RUNTIME_ENCODE_H

#include "runtime/base/format.h"
#include "runtime/base/status.h"

typedef struct rlx_encoder rlx_encoder;
/* For a block format. Immutable when it is there: any number of threads may use it. */
rlx_status rlx_encoder_create(rlx_format f, rlx_encoder **out);
void rlx_encoder_destroy(rlx_encoder *e); /* accepts NULL */
/* `n` finite elements, whole blocks; importance: n numbers that are not negative, or NULL. Bytes
 * depend on the input alone. */
void rlx_encoder_run(const rlx_encoder *e, const float *x, const float *importance, int64_t n,
                     void *blocks);

/* ---- internal ------------------------------------------------------------------------------- */

enum { RLX_ENCODE_BLOCK = 256, RLX_ENCODE_UNITS = 16 };

/* Nearest entries of a grid, for every point that its values span. */
typedef struct rlx_grid_search {
    int run, levels, entries, nearest;
    float level[8], middle[8]; /* of a value; between it and the next */
    float *entry;              /* entries * run */
    uint16_t *list;            /* points * nearest: entries by distance */
} rlx_grid_search;

struct rlx_encoder {
    rlx_format format;
    const rlx_format_info *info;
    const rlx_block_layout *layout;
    int unit, units;   /* elements that share a scale; of a block */
    float least, most; /* code */
    float step;        /* between the largest code and the next */
    int values;        /* of a table; 0: none */
    float value[16];   /* ascending */
    rlx_grid_search grid;
    float factor[256]; /* of E8M0 and E4M3: what a byte stands for */
    int nfactors;
};

/* A block's fit. Decoded element: v * scale of its unit - min. */
typedef struct rlx_block_fit {
    float d, m;
    int s[RLX_ENCODE_UNITS], t[RLX_ENCODE_UNITS]; /* of two-level scales; a factor's byte, too */
    float v[RLX_ENCODE_BLOCK];                    /* codes less the bias, or values */
} rlx_block_fit;

rlx_status rlx_encode_init_codes(rlx_encoder *e);
/* The codes of `n` elements, whole units, for x + add = v * scale. */
void rlx_encode_choose(const rlx_encoder *e, const float *x, const float *w, int n, float scale,
                       float add, float *v);
void rlx_encode_pack(const rlx_encoder *e, const rlx_block_fit *fit, uint8_t *block);

#endif
