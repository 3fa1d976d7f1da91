/* lir/schedule/schedule.h: how regions are cut, by construction from the target's description.
 *
 * A schedule is plain data; every schedule of a region gives the same bits, so anything may be read
 * here that the target and the bucket's upper bounds hold.
 */
#ifndef RLX_LIR_SCHEDULE_H
#define RLX_LIR_SCHEDULE_H

#include "lir/lir.h"

/* What a contraction region looks like to its schedule: y[m, n] for one or more weights of one
 * shape. */
typedef struct rlx_lir_contract_shape {
    int64_t m;        /* tokens at the bucket's upper bound */
    int64_t n, k;     /* weight rows, contracted extent */
    int64_t batch;    /* that there are so many of, of the axes in front of tokens */
    int64_t unit;     /* columns that the epilogue needs together (a head); 0: none */
    int contracts;    /* that run in one loop: 2 for gate and up */
    int lanes;        /* the region's numerics */
    int width;        /* products of f16 or bf16 that are summed together; 0: of f32, or of bytes */
    bool quantized;   /* integer products with blocks */
    int widths;       /* of groups of those: a plane of turned codes each */
    int group;        /* elements of the smallest */
    int64_t minima;   /* of a column: of all contractions that have them */
    int64_t sums;     /* of a row: of groups that meet signed codes, once for each width */
    bool whole;       /* a CPU: K is a constant and all rows have one matrix */
    int64_t prologue; /* rows that a row normalisation makes first; 0: none */
} rlx_lir_contract_shape;

void rlx_lir_schedule_contract(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                               rlx_lir_schedule *out);

/* Whether team memory has room for the smallest tile of the target's byte_matrix, whose sums are stored. */
bool rlx_lir_schedule_stores(const rlx_lir_target *t);

/* The team memory that turned rows take: their codes and sums, and for a block of columns sums, minima, and
 * results that a unit's epilogue reads. */
int64_t rlx_lir_schedule_turned_bytes(const rlx_lir_contract_shape *shape,
                                      const rlx_lir_schedule *s);

/* Columns whose totals are made together: a divisor of a block's. */
enum { RLX_LIR_TURN_TOTALS = 8 };

/* The same for lanes = 1 on a CPU, where weights go by panels (schedule_panel.c). */
void rlx_lir_schedule_panels(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                             rlx_lir_schedule *out);

/* What an attention region looks like to its schedule. */
typedef struct rlx_lir_attention_shape {
    int64_t heads;     /* query heads that share a kv head */
    int64_t width;     /* elements of a head */
    int64_t positions; /* of a page */
    int64_t lanes;     /* over tensors: scores of a row that are read at once */
    int64_t d, e;      /* over tensors: elements of a key and of a value */
    int64_t kv_heads;
    int64_t tokens, sequences;   /* at the bucket's upper bound */
    int block;                   /* by a matrix unit: positions that go together; 0: by none */
    bool key_codes, value_codes; /* the same, where they are codes */
} rlx_lir_attention_shape;

/* Token by token: query heads per tile, keys per tile, head elements per tile. By blocks: tokens
 * per instance, whose query heads are the rows, and the register tile. On a GPU, over pages: tokens
 * and query heads (rows) of an instance, together m; elements of a key in one product (keys), of a
 * query and a result that are copied together (width). By a matrix unit (block) the same, n elements of values in a tile, of which an
 * instance has a share. */
typedef struct rlx_lir_attention_schedule {
    int rows, keys, width;
    int tokens; /* 0: token by token */
    int m, n;   /* rows; keys, or elements of values */
    int part;   /* by blocks: rows whose scores are kept */
    int share;  /* by a team, over tensors: elements of values to an instance, so many keys in one
                   product; `width` elements of keys and queries are in team memory at a time */
    int block; /* by a matrix unit: positions of keys and values in one product of each; 0: by none */
} rlx_lir_attention_schedule;
void rlx_lir_schedule_attention(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                rlx_lir_attention_schedule *out);
/* The same by a matrix unit; false: it has none, heads are no whole fragments, or a tile of rows does not fit into team memory, which no
 * bucket decides. */
bool rlx_lir_schedule_attention_unit(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                     rlx_lir_attention_schedule *out);
/* Attention over tensors: by blocks, on a GPU by tiles of queries (m = tokens); heads is 1, width that of keys or of values, whichever is
 * more, positions the keys of a chunk, kv_heads > 0 how many instances a block of tokens has. */
void rlx_lir_schedule_dense_attention(const rlx_lir_target *t, const rlx_lir_attention_shape *shape,
                                      rlx_lir_attention_schedule *out);
void rlx_lir_schedule_attention_print(const rlx_lir_attention_schedule *s, rlx_text *out);

/* What the gated delta rule by chunks looks like to its schedule: states of d x e, steps and
 * sequences at the bucket's upper bound. */
typedef struct rlx_lir_delta_shape {
    int64_t d, e, chunk, steps, sequences;
} rlx_lir_delta_shape;

/* Steps of a chunk that go together, a power of two; the register tile, of two rows per step (m is
 * even) and columns of e, n dividing it; rows of the state in its tiles, dividing d; whether columns
 * of the state are copied to where all rows read them. */
typedef struct rlx_lir_delta_schedule {
    int steps, m, n, state_m;
    bool panels;
} rlx_lir_delta_schedule;
void rlx_lir_schedule_delta(const rlx_lir_target *t, const rlx_lir_delta_shape *shape,
                            rlx_lir_delta_schedule *out);
/* The team memory that it takes. */
int64_t rlx_lir_schedule_delta_bytes(const rlx_lir_delta_shape *shape,
                                     const rlx_lir_delta_schedule *s);
void rlx_lir_schedule_delta_print(const rlx_lir_delta_schedule *s, rlx_text *out);

/* Elements of the last axis per tile of an elementwise or row region: a power of two. */
int rlx_lir_schedule_width(const rlx_lir_target *t, int64_t extent);

#endif
