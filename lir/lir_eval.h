/* lir/lir_eval.h: inside the interpreter. Internal to lir/.
 *
 *   kernel text --lir_eval_prepare--> code over tiles in memory --lir_eval--> teams, instances
 *                                     ^ lir/ops/<op>.c _eval       ^ lir_eval_check: bounds, races
 *                                                                    lir_eval_team: subgroups
 *
 * Every SSA value has one place in memory for the whole run: teams and instances run one after
 * another. Everything lives in one arena and dies with the run.
 */
#ifndef RLX_LIR_EVAL_H
#define RLX_LIR_EVAL_H

#include <math.h>

#include "lir/lir.h"
#include "lir/ops/ops.h"

typedef struct rlx_lir_tile {
    void *data; /* row-major elements of the format's own C type */
    rlx_format format;
    int rank;
    int32_t dim[RLX_LIR_MAX_TILE_RANK];
    int32_t elems;
    size_t bytes;
} rlx_lir_tile;

/* Who touched each element of memory that several may touch: see lir_eval_check.c. */
typedef struct rlx_lir_shadow {
    uint32_t *writer, *reader;          /* instances, per unit */
    uint32_t *write_epoch, *read_epoch; /* team memory: barriers passed so far */
    uint32_t *group;                    /* and the group of async stores that wrote it last, or 0 */
    int64_t units;
} rlx_lir_shadow;

typedef struct rlx_lir_memory {
    const rlx_ir_value *value;
    rlx_format format;
    rlx_space space;
    int rank;
    int64_t extent[RLX_MAX_RANK], stride[RLX_MAX_RANK]; /* elements, live */
    uint8_t *data;
    size_t bytes;           /* that may be touched */
    int64_t block_elems;    /* 1 unless the format is of blocks */
    size_t elem_bytes;      /* of a block */
    bool loaded, stored;    /* by this kernel */
    rlx_lir_shadow *shadow; /* NULL: nothing to check */
    int64_t first_unit;     /* of the shadow, where this buffer begins */
    int scale;              /* units per element */
} rlx_lir_memory;

typedef struct rlx_lir_eval rlx_lir_eval;
typedef struct rlx_lir_instr rlx_lir_instr;
typedef struct rlx_lir_code rlx_lir_code;

struct rlx_lir_instr {
    rlx_status (*eval)(rlx_lir_eval *e, const rlx_lir_instr *i);
    const rlx_ir_node *node;
    int nin, nout;
    rlx_lir_tile **in, **out; /* NULL for operands that are buffers */
    rlx_lir_memory *memory;   /* load, store, alloc */
    rlx_lir_memory *source;   /* an async store: what its tile was loaded from */
    rlx_lir_code *code[2];    /* nested blocks */
    void *work[3];   /* map: scalar operand i spread over the result's shape, or NULL; reduce: x */
    bool fixed[3];   /* map: work[i] was filled once and for all, its scalar being a constant */
    int fn;          /* map, reduce */
    int part;        /* load: rlx_lir_part */
    int first_index; /* load, store: the operand that is the first index */
    int axis[RLX_LIR_MAX_TILE_RANK];  /* load, store, broadcast */
    int limit[RLX_LIR_MAX_TILE_RANK]; /* load, store: operand that limits the tile axis, or -1 */
};

struct rlx_lir_code {
    int nargs, ninstrs, nyields;
    rlx_lir_tile **args, **yields;
    rlx_lir_instr *instrs;
    void **stage; /* for: yields that another argument's copy would overwrite, or NULL each */
};

/* A grid's place in the numbering of instances. */
typedef struct rlx_lir_grid_range {
    const rlx_lir_instr *grid;
    uint32_t first; /* instance number of index 0 */
    int64_t extent[RLX_LIR_MAX_GRID];
    int64_t count;
} rlx_lir_grid_range;

enum { RLX_LIR_BY_ONCE = 1, RLX_LIR_FIRST_INSTANCE = 2, RLX_LIR_BY_MANY = -1 };

struct rlx_lir_eval {
    rlx_arena *arena;
    const rlx_ir_func *kernel;
    const int64_t *symbols;
    const rlx_lir_eval_options *options;
    bool has_fma; /* the processor's: the same bits as fmaf, faster */
    int team;
    uint64_t random;
    uint32_t instance; /* who runs: RLX_LIR_BY_ONCE or an instance's number */
    uint32_t epoch;    /* rises at every barrier */
    struct {           /* groups of async stores, numbered from 1 */
        uint32_t open; /* what the next one belongs to */
        uint32_t last; /* the latest that has any */
        uint32_t arrived, seen; /* the latest that was waited for, the same before the last barrier */
    } groups;
    rlx_lir_code *code;
    int nmemories;
    rlx_lir_memory *memories; /* the arguments, then the team buffers */
    int ngrids;
    rlx_lir_grid_range *grids;
    uint32_t ninstances;
    struct rlx_lir_registers *registers; /* of a team's invocations; NULL: there are no subgroups */
};

/* lir_eval_prepare.c: resolves e->kernel into e->code; evaluates what no instance changes. */
rlx_status rlx_lir_eval_prepare(rlx_lir_eval *e, const rlx_lir_buffer *buffers, int nbuffers);

/* lir_eval.c: runs a block's instructions. */
rlx_status rlx_lir_eval_code(rlx_lir_eval *e, const rlx_lir_code *code);
/* A status that names kernel, team, instance and node before the message. */
rlx_status rlx_lir_eval_fail(const rlx_lir_eval *e, const rlx_lir_instr *i, const char *file,
                             int line, const char *fmt, ...) RLX_PRINTF(5, 6);
#define RLX_LIR_EVAL_FAIL(e, i, ...) rlx_lir_eval_fail((e), (i), __FILE__, __LINE__, __VA_ARGS__)

/* One element of a tile as text in the arena. */
const char *rlx_lir_element_text(const rlx_lir_eval *e, const rlx_lir_tile *t, int64_t index);

/* a * b + sum, as the run's options have it. */
static inline float rlx_lir_fma(bool splits, float a, float b, float sum)
{
    if (!splits)
        return fmaf(a, b, sum);
    const float product = a * b; /* -ffp-contract=off: rounded */
    return product + sum;
}

static inline int64_t rlx_lir_index(const rlx_lir_tile *t)
{
    return *(const int64_t *)t->data;
}

/* lir_eval_convert.c: n elements of one format into another: equal formats, or floats. Strides in
 * elements. Rounds to nearest even. */
void rlx_lir_convert(void *to, rlx_format to_format, int64_t to_stride, const void *from,
                     rlx_format from_format, int64_t from_stride, int64_t n);
/* One element as rlx_map_fn_eval takes it. */
rlx_scalar rlx_lir_scalar_load(rlx_format f, const void *p, int64_t index);
void rlx_lir_scalar_store(rlx_format f, void *p, int64_t index, rlx_scalar v);

/* lir_eval_check.c */
rlx_status rlx_lir_shadow_create(rlx_lir_eval *e);
void rlx_lir_shadow_destroy(rlx_lir_eval *e);
void rlx_lir_shadow_begin_team(rlx_lir_eval *e); /* forgets what team buffers held */
/* Notes an access to n elements from `first` (in elements, `stride` apart) and reports conflicts.
 */
rlx_status rlx_lir_shadow_load(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first,
                               int64_t stride, int64_t n);
rlx_status rlx_lir_shadow_store(rlx_lir_eval *e, const rlx_lir_instr *i, int64_t first,
                                int64_t stride, int64_t n);
/* What a barrier does; and the end of an instance, or of once, whose node is `i`: nothing may be on its way. */
void rlx_lir_pass_barrier(rlx_lir_eval *e);
rlx_status rlx_lir_check_arrived(const rlx_lir_eval *e, const rlx_lir_instr *i);
/* lir_eval_team.c: makes e->registers where the options want subgroups; a reduce that was evaluated, again as
 * a team's invocations combine its rows: reports what they may not do, and other bits. */
rlx_status rlx_lir_registers_create(rlx_lir_eval *e);
rlx_status rlx_lir_check_reduce(const rlx_lir_eval *e, const rlx_lir_instr *i);

/* "(0,3)", "once": an instance's number as text in the arena. */
const char *rlx_lir_eval_instance_text(const rlx_lir_eval *e, uint32_t instance);

/* ops/map.c: spreads scalar operand k over its work space. */
void rlx_lir_map_splat(const rlx_lir_instr *i, int k);

/* ops/: what each kernel op does. */
#define LIR_PLAIN_OP(...)
#define LIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    rlx_status rlx_lir_##mnemonic##_eval(rlx_lir_eval *e, const rlx_lir_instr *i);
#include "lir/lir_ops.def"
#undef LIR_OP

#endif
