/* jit/spirv_emit.h: LIR to SPIR-V, in our own words: no LLVM.
 *
 *   spirv_emit.c    walks a kernel: interface, dims, structure (grid, for, if, once)
 *   spirv_values.c  maps, casts, constants: on one element
 *   spirv_team.c    elements of a tile: iota, broadcast
 *   spirv_reduce.c  sums and maxima of rows
 *   spirv_contract.c  products of tiles
 *   spirv_dot.c     products of codes
 *   spirv_matrix.c  the same by cooperative matrices
 *   spirv_memory.c  loads and stores
 *   spirv_blocks.c  elements of block formats, as block_decode.c decodes them
 *   spirv_module.c  words, types and constants
 *   spirv_check.c   the validator and the disassembler of SPIRV-Tools, which librlx-spirv.so holds (spirv_tools.c)
 *
 * The kernel as Vulkan 1.1 sees it (SPIR-V 1.3): a compute entry point of the kernel's name and one
 * workgroup size, the target's team; set 0 has a storage buffer per kernel argument at binding
 * 0, 1, .. and then one of int64 symbols. An argument that may be larger than a range has no
 * binding: its address is the next of the push constants. A dispatch of any number of workgroups along x is right:
 * they are the resident teams, and team i runs the instances i, i + teams, ...
 *
 * Tiles lie as in llvm_team.c: element e in part e / team of invocation e mod team, scalars in
 * every invocation. Where rows are combined in subgroups these must be full (the pipeline's flag),
 * and may be larger than the options say: an invocation's number is made of its subgroup's and its own there.
 *
 * Integers: i64 scalars are 64-bit integers (capability Int64), so that an index means the same
 * here as on every other engine and no limit depends on the bucket. Places in a buffer are computed
 * modulo 2^32: one has less than 2^32 elements (bytes of blocks), so that is exact for what lies inside.
 * f16, bf16, i8, i16 and u8 are 32-bit integers in registers, their bits in memory alone (8- and
 * 16-bit storage, no arithmetic capability); floats are converted by integer instructions, so that
 * they round alike on every driver and subnormals survive.
 */
#ifndef RLX_JIT_SPIRV_EMIT_H
#define RLX_JIT_SPIRV_EMIT_H

#include "jit/block_decode.h"
#include "jit/spirv_module.h"
#include "lir/lir.h"
#include "runtime/base/arena.h"
#include "runtime/base/ir/ir_map.h"
#include "runtime/vulkan_features.h"

enum {
    RLX_SPIRV_VERSION = 0x00010300,
    RLX_SPIRV_MAX_RANK = 3,          /* of tiles */
    RLX_SPIRV_MAX_TABLES = 32,       /* that a kernel's block formats look values up in */
    RLX_SPIRV_TEAM_BYTES = 32 << 10, /* of team memory that kernels are made for, at most */
};

/* What a kernel is made for. */
typedef struct rlx_spirv_options {
    int team;                 /* invocations */
    uint64_t features;        /* of runtime/vulkan_features.h */
    int subgroup;             /* invocations of a subgroup, or a divisor; 0: not to be used */
    rlx_vulkan_matrix matrix; /* that a subgroup multiplies, of just so many invocations */
    int64_t team_bytes;       /* of team memory that a kernel may take, exchange included */
    int64_t range_bytes;      /* arguments that may be larger go by their addresses */
    const int64_t *upper;     /* of symbols, which tells how large; NULL: none is larger */
} rlx_spirv_options;

typedef struct rlx_spirv_buffer {
    const rlx_ir_type *type;
    rlx_spirv_id variable;
    rlx_spirv_id pointer; /* to a unit, in the variable's storage class */
    int unit_bytes;       /* global memory: what it is an array of; blocks: bytes, or words */
    bool far;             /* global memory that is reached by its address */
    bool met;             /* what one invocation writes another reads */
    rlx_spirv_id stride[RLX_MAX_RANK]; /* elements, u32, made in the entry block; 0: one */
} rlx_spirv_buffer;

/* A place in a tile: u32, along each axis. */
typedef struct rlx_spirv_place {
    rlx_decode_number at[RLX_SPIRV_MAX_RANK];
} rlx_spirv_place;

/* Where the elements of a load or store lie. */
typedef struct rlx_spirv_access {
    const rlx_ir_node *node;
    const rlx_spirv_buffer *buffer;
    const rlx_ir_type *tile;
    rlx_lir_part part;
    bool blocks;
    rlx_spirv_id base;  /* u32: element at the indices; of blocks: byte of the row, or of the block
                           that the innermost index begins */
    rlx_spirv_id inner; /* blocks: the innermost index, u32; 0: a block begins there */
    rlx_spirv_id stride[RLX_SPIRV_MAX_RANK]; /* along each tile axis: elements, bytes; 0: one */
    rlx_spirv_id room[RLX_SPIRV_MAX_RANK];   /* limit - index, u32; 0 for an axis without limit */
} rlx_spirv_access;

/* A LIR value: its parts, one element each in every invocation. */
typedef struct rlx_spirv_tile {
    const rlx_ir_value *value;
    rlx_spirv_buffer *buffer; /* buffers only */
    int n;
    rlx_spirv_id *part;
} rlx_spirv_tile;

typedef struct rlx_spirv_emit {
    rlx_spirv_module m;
    const rlx_ir_func *kernel;
    rlx_spirv_options options;
    int team;
    int subgroup; /* invocations that may change elements without the exchange; 0: none */
    rlx_arena *arena;
    rlx_ir_map tiles; /* LIR value -> rlx_spirv_tile */

    rlx_spirv_id bool_, u32, i64, f32; /* the usual types */
    rlx_spirv_id thread;               /* u32, 0..team-1 */
    rlx_spirv_id own;               /* u32: number of the invocation's subgroup; 0: none are used */
    rlx_spirv_id team_index, teams; /* i64 */
    rlx_spirv_id symbols;           /* the buffer of symbols */
    rlx_spirv_id addresses;         /* push constants */
    rlx_spirv_id symbol[RLX_MAX_SYMBOLS];
    rlx_spirv_id zero[RLX_FORMAT_COUNT]; /* of floats, unknown to drivers: spirv_values.c; 0: not
                                            yet needed */
    rlx_spirv_id exchange;               /* u32[]: where tiles change hands */
    int64_t team_bytes;                  /* given out so far */
    struct {
        const char *name;
        rlx_spirv_id variable;
    } table[RLX_SPIRV_MAX_TABLES];
    int ntables;
    uint32_t node_number; /* in the order of the text, from 1 */
    const char *place;    /* of the last OpLine in this block, and its string */
    rlx_spirv_id place_string, place_block;
} rlx_spirv_emit;

/* Emits `kernel` and validates it; appends words to `out`. What the options' features have not is
 * done without, or RLX_UNSUPPORTED names it. */
rlx_status rlx_spirv_emit_kernel(const rlx_ir_func *kernel, const rlx_spirv_options *options,
                                 rlx_text *out);

/* ---- spirv_check.c: SPIRV-Tools ---- */

/* RLX_INTERNAL with the validator's words when the module breaks a rule of Vulkan 1.1. */
rlx_status rlx_spirv_validate(const uint32_t *words, size_t nwords);
/* Whether the tools know cooperative matrices: older ones can neither validate nor print modules that have them. */
rlx_status rlx_spirv_knows_matrices(bool *out);
rlx_status rlx_spirv_disassemble(const uint32_t *words, size_t nwords, rlx_text *out);

/* ---- values ---- */

const rlx_spirv_tile *rlx_spirv_get(const rlx_spirv_emit *e, const rlx_ir_value *v);
rlx_spirv_id rlx_spirv_scalar(const rlx_spirv_emit *e, const rlx_ir_value *v); /* rank 0 */
/* A new tile for `v`, its parts unset. */
rlx_status rlx_spirv_define(rlx_spirv_emit *e, const rlx_ir_value *v, rlx_spirv_tile **out);
/* `how` says all but the type and the strides. */
rlx_status rlx_spirv_define_buffer(rlx_spirv_emit *e, const rlx_ir_value *v,
                                   const rlx_spirv_buffer *how);
int rlx_spirv_parts(const rlx_spirv_emit *e, const rlx_ir_type *tile);
int64_t rlx_spirv_elems(const rlx_ir_type *t); /* of a type with constant dims */
/* "the SPIR-V emitter cannot emit `map` in kernel @k at PLACE: WHY" */
rlx_status rlx_spirv_unsupported(const rlx_spirv_emit *e, const rlx_ir_node *n, const char *fmt,
                                 ...) RLX_PRINTF(3, 4);

/* ---- loops ---- */

/* for (index = lo; index < hi; index += step), i64:
 *
 *   before -> header: phis, test -> body .. -> latch -> header
 *                                \-> exit
 *
 * Values that the loop carries are phis of the header, and its results are those phis too. */
typedef struct rlx_spirv_loop {
    rlx_spirv_id header, body, latch, exit;
    rlx_spirv_id before, index, next, hi;
} rlx_spirv_loop;
void rlx_spirv_loop_begin(rlx_spirv_emit *e, rlx_spirv_id lo, rlx_spirv_id hi, rlx_spirv_loop *l);
/* `n` values that it carries, with their first: behind its beginning. Returns where the phis stand. */
size_t rlx_spirv_carry(rlx_spirv_emit *e, const rlx_spirv_loop *l, rlx_spirv_id type, int n,
                       const rlx_spirv_id *first, rlx_spirv_id *out);
void rlx_spirv_loop_enter(rlx_spirv_emit *e, const rlx_spirv_loop *l); /* behind the phis */
/* What follows on the values of the phis that stand there, when it is known; returns where those behind them stand. */
size_t rlx_spirv_carry_on(rlx_spirv_emit *e, size_t at, int n, const rlx_spirv_id *next);
void rlx_spirv_loop_end(rlx_spirv_emit *e, const rlx_spirv_loop *l, rlx_spirv_id step);

/* ---- spirv_values.c: one element ---- */

rlx_spirv_id rlx_spirv_value_type(rlx_spirv_emit *e, rlx_format f); /* in registers */
rlx_spirv_id rlx_spirv_zero(rlx_spirv_emit *e, rlx_format f);
rlx_spirv_id rlx_spirv_constant(rlx_spirv_emit *e, const rlx_ir_node *n); /* a const op's value */
/* `f` is the operands' format (of the last operand of a select). */
rlx_status rlx_spirv_map(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                         const rlx_spirv_id *in, rlx_spirv_id *out);
rlx_spirv_id rlx_spirv_cast(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x);
rlx_spirv_id rlx_spirv_bitcast(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x);
/* a*b + c on f32, rounded once where the driver has such an instruction. */
rlx_spirv_id rlx_spirv_fma(rlx_spirv_emit *e, rlx_spirv_id type, rlx_spirv_id a, rlx_spirv_id b,
                           rlx_spirv_id c);
/* In memory: the type of an element in a storage buffer, and to and from the type in registers. */
rlx_spirv_id rlx_spirv_storage_type(rlx_spirv_emit *e, rlx_format f);
rlx_spirv_id rlx_spirv_from_storage(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x);
/* `x` of a narrow format in registers; a bool as 0 or 1. */
rlx_spirv_id rlx_spirv_to_storage(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x);
/* A narrow format's bits, above which are zeros, as registers have it. */
rlx_spirv_id rlx_spirv_from_bits(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x);
/* The same in team memory, where 8 and 16 bits take 32. */
rlx_spirv_id rlx_spirv_team_type(rlx_spirv_emit *e, rlx_format f);
int rlx_spirv_team_elem_bytes(rlx_format f);

/* ---- u32 ---- */

static inline bool rlx_spirv_has(const rlx_spirv_emit *e, rlx_vulkan_feature f)
{
    return e->options.features >> f & 1;
}
static inline rlx_spirv_id rlx_spirv_u32(rlx_spirv_emit *e, int64_t v)
{
    return rlx_spirv_const_u32(&e->m, (uint32_t)v);
}
static inline rlx_spirv_id rlx_spirv_add(rlx_spirv_emit *e, rlx_spirv_id a, rlx_spirv_id b)
{
    return rlx_spirv_op(&e->m, SpvOpIAdd, e->u32, a, b);
}
static inline rlx_spirv_id rlx_spirv_mul(rlx_spirv_emit *e, rlx_spirv_id a, rlx_spirv_id b)
{
    return rlx_spirv_op(&e->m, SpvOpIMul, e->u32, a, b);
}
static inline rlx_spirv_id rlx_spirv_number(rlx_spirv_emit *e, rlx_decode_number x)
{
    if (!x.v)
        return rlx_spirv_u32(e, x.plus);
    return x.plus ? rlx_spirv_add(e, (rlx_spirv_id)x.v, rlx_spirv_u32(e, x.plus))
                  : (rlx_spirv_id)x.v;
}

/* ---- spirv_team.c: tiles ---- */

/* Words of team memory that the kernel's exchange takes. */
int64_t rlx_spirv_exchange_words(const rlx_spirv_emit *e, const rlx_ir_block *block);
/* iota, broadcast, products, load, store. */
rlx_status rlx_spirv_team_node(rlx_spirv_emit *e, const rlx_ir_node *n);
/* Where this invocation's element of a part is; *valid: 0 when it always is one. */
rlx_spirv_place rlx_spirv_own_place(rlx_spirv_emit *e, const rlx_ir_type *tile, int part,
                                    rlx_spirv_id *valid);

/* The same of some element of the tile for parts beyond its end: its number, its place. */
rlx_spirv_id rlx_spirv_some_element(rlx_spirv_emit *e, const rlx_ir_type *tile, int part);
rlx_spirv_place rlx_spirv_place_of(rlx_spirv_emit *e, const rlx_ir_type *tile, rlx_spirv_id n);
/* The exchange: words that a tile takes, padding included; writing a tile from word `base` on, and
 * reading one of its elements. A barrier goes between, and one behind. */
int64_t rlx_spirv_tile_words(const rlx_spirv_emit *e, const rlx_ir_type *t);
void rlx_spirv_put_tile(rlx_spirv_emit *e, const rlx_ir_value *v, int64_t base);
void rlx_spirv_put_parts(rlx_spirv_emit *e, rlx_format f, int n, const rlx_spirv_id *part,
                         int64_t base);
rlx_spirv_id rlx_spirv_get_element(rlx_spirv_emit *e, int64_t base, rlx_format f,
                                   rlx_spirv_id index);
rlx_spirv_id rlx_spirv_exchange_at(rlx_spirv_emit *e, rlx_spirv_id index); /* to a word */
void rlx_spirv_put_word(rlx_spirv_emit *e, rlx_spirv_id index, rlx_spirv_id word);
rlx_spirv_id rlx_spirv_get_word(rlx_spirv_emit *e, rlx_spirv_id index);

/* ---- spirv_reduce.c ---- */

rlx_status rlx_spirv_reduce(rlx_spirv_emit *e, const rlx_ir_node *n);
/* Whether nodes of the block change elements in subgroups. */
bool rlx_spirv_uses_subgroups(const rlx_spirv_emit *e, const rlx_ir_block *block);

/* ---- spirv_contract.c ---- */

/* An operand of products: read from memory, or through the exchange. */
typedef struct rlx_spirv_operand {
    rlx_spirv_access access; /* of a load that is not made */
    bool deferred;
    rlx_format format;
    int64_t base, k; /* in the exchange: its first word, elements of a row */
} rlx_spirv_operand;
/* Tiles that come through the exchange are put there, behind *words. */
void rlx_spirv_operand_init(rlx_spirv_emit *e, const rlx_ir_value *v, int64_t *words,
                            rlx_spirv_operand *o);
rlx_spirv_id rlx_spirv_operand_at(rlx_spirv_emit *e, const rlx_spirv_operand *o,
                                  rlx_decode_number row, rlx_decode_number column);
static inline rlx_decode_number rlx_spirv_plus(rlx_decode_number x, int64_t by)
{
    x.plus += (uint32_t)by;
    return x;
}

rlx_status rlx_spirv_contract(rlx_spirv_emit *e, const rlx_ir_node *n);
/* spirv_dot.c; whether the block's products of codes read the buffer, four codes at a time. */
rlx_status rlx_spirv_dot(rlx_spirv_emit *e, const rlx_ir_node *n);
bool rlx_spirv_reads_fours(const rlx_ir_block *block, const rlx_ir_value *buffer);
/* Whether the operand's codes lie in words of memory, begin at multiples of four, and there are always four. */
bool rlx_spirv_by_fours(const rlx_spirv_operand *o);
/* Four codes from `column` on as the bytes of a word; limits are looked at where it is not by fours. */
rlx_spirv_id rlx_spirv_four_at(rlx_spirv_emit *e, const rlx_spirv_operand *o, rlx_decode_number row,
                               rlx_decode_number column);

/* ---- spirv_matrix.c ---- */

rlx_status rlx_spirv_dot_rows(rlx_spirv_emit *e, const rlx_ir_node *n);
/* Words of the exchange that the node takes. */
int64_t rlx_spirv_matrix_words(const rlx_spirv_emit *e, const rlx_ir_node *n);
/* Whether nodes of the block multiply matrices. */
bool rlx_spirv_uses_matrices(const rlx_ir_block *block);
rlx_status rlx_spirv_outer(rlx_spirv_emit *e, const rlx_ir_node *n);
rlx_status rlx_spirv_pack(rlx_spirv_emit *e, const rlx_ir_node *n);
/* Whether contractions alone take what the node (NULL: none) loads, and read it from memory
 * themselves: such a load is not made. */
bool rlx_spirv_defers(const rlx_ir_node *load);

/* ---- spirv_memory.c ---- */

rlx_status rlx_spirv_load(rlx_spirv_emit *e, const rlx_ir_node *n);
rlx_status rlx_spirv_store(rlx_spirv_emit *e, const rlx_ir_node *n);
void rlx_spirv_access_init(rlx_spirv_emit *e, const rlx_ir_node *n, const rlx_ir_type *tile,
                           rlx_spirv_access *a);
/* The element at a place of a load's tile, 0 beyond limits and where `live` (0: true) is false. */
rlx_spirv_id rlx_spirv_load_place(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                  const rlx_spirv_place *p, rlx_spirv_id live);
/* Four codes from the place on, which is a multiple of 4 along the last axis, as the bytes of a word; limits are not looked at. */
rlx_spirv_id rlx_spirv_load_codes(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                  const rlx_spirv_place *p);
/* Whether an element may be touched; 0: always. `live` (0: true) is what is known of it so far. */
rlx_spirv_id rlx_spirv_inside(rlx_spirv_emit *e, const rlx_spirv_access *a,
                              const rlx_spirv_place *p, rlx_spirv_id live);
/* The little-endian word of 1, 2 or 4 bytes at byte `at`, a multiple of `align`, as u32. */
rlx_spirv_id rlx_spirv_load_bytes(rlx_spirv_emit *e, const rlx_spirv_buffer *b, rlx_spirv_id at,
                                  int bytes, int align);

/* ---- spirv_blocks.c ---- */

/* What a load takes of element (group) `along` of the row at byte `base`. */
rlx_spirv_id rlx_spirv_load_block(rlx_spirv_emit *e, const rlx_spirv_access *a, rlx_spirv_id base,
                                  rlx_decode_number along);
/* Four codes from element `along` on, as the bytes of a word. */
rlx_spirv_id rlx_spirv_load_block_codes(rlx_spirv_emit *e, const rlx_spirv_access *a,
                                        rlx_spirv_id base, rlx_decode_number along);

#endif
