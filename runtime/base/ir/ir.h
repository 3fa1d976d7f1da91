/* runtime/base/ir/ir.h: the one IR core under HIR, MIR and LIR.
 *
 * A module holds functions; a function has arguments and one block; a block holds nodes; a node has
 * operands, results, attributes and perhaps nested blocks. What the ops are is a level's table
 * (hir_ops.def, mir_ops.def, lir_ops.def); building, printing, parsing, verifying's frame, cloning
 * and running passes are here, once.
 *
 * Names: letters, digits, `_`, `.`, `-`, `$`; a value's name does not begin with a digit.
 *
 * Text (every level; whatever is printed parses back to an equal module):
 *
 *   mir module @llama {
 *     func @layer(%x: f32[TOKENS,64], %w: f32[64,64] weight "model.layers.{}.q_proj.weight")
 *         -> (f32[TOKENS,64]) {
 *       %1 = contract %x, %w {lanes=16} : f32[TOKENS,64]                     // self_attn.q_proj
 *       %2 = region %x, %1 {root="map"} : f32[TOKENS,64] (%a: f32[TOKENS,64], %b: f32[TOKENS,64]) {
 *         %3 = map %a, %b {fn=add} : f32[TOKENS,64]
 *         yield %3
 *       }
 *       return %2
 *     }
 *   }
 *
 * Types: tensors `f32[TOKENS,64]`; tiles `f32<4x16>`; scalars of any level `f32`, `i64`, `bool`
 * (a tensor or tile of rank 0); buffers `global f32[TOKENS,64]`, `team f32[4,2048]`. Several
 * results: `%1, %2 = op ... : (t1, t2)`. The place in the model follows `//` and is part of the
 * module, not of its hash.
 *
 * Memory: a module owns an arena; all its nodes, types and names die with it. Dims are those of a
 * table that the module borrows. Threads: one module, one thread.
 */
#ifndef RLX_BASE_IR_H
#define RLX_BASE_IR_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/arena.h"
#include "runtime/base/dim.h"
#include "runtime/base/format.h"
#include "runtime/base/hash.h"
#include "runtime/base/status.h"
#include "runtime/base/text.h"

enum { RLX_MAX_RANK = 8 };

/* ---- types ---------------------------------------------------------------------------------- */

typedef enum rlx_ir_type_kind {
    RLX_TYPE_NONE = 0,
    RLX_TYPE_TENSOR, /* HIR, MIR values */
    RLX_TYPE_TILE,   /* LIR values: dims are constants, rank 0 to 3 */
    RLX_TYPE_BUFFER  /* LIR memory */
} rlx_ir_type_kind;

typedef enum rlx_space { RLX_SPACE_GLOBAL, RLX_SPACE_TEAM } rlx_space;

typedef struct rlx_ir_type {
    rlx_ir_type_kind kind;
    rlx_format format;
    rlx_space space; /* buffers only */
    int rank;
    rlx_dim dim[RLX_MAX_RANK]; /* row-major, innermost last */
} rlx_ir_type;

rlx_ir_type rlx_ir_tensor(rlx_format f, int rank, const rlx_dim *dims);
rlx_ir_type rlx_ir_tile(rlx_format f, int rank, const rlx_dim *dims);
rlx_ir_type rlx_ir_buffer(rlx_space s, rlx_format f, int rank, const rlx_dim *dims);
bool rlx_ir_type_equal(const rlx_ir_type *a, const rlx_ir_type *b);
bool rlx_ir_shape_equal(const rlx_ir_type *a, const rlx_ir_type *b);
/* Product of the dims; RLX_DIM_INVALID when two symbolic dims meet (not quasi-affine). */
rlx_dim rlx_ir_type_elems(rlx_dims *t, const rlx_ir_type *type);
/* Whether two shapes have as many elements, as far as expressions can tell. */
bool rlx_ir_same_elems(rlx_dims *t, const rlx_ir_type *a, const rlx_ir_type *b);
void rlx_ir_type_print(const rlx_dims *t, const rlx_ir_type *type, rlx_text *out);

/* ---- attributes ----------------------------------------------------------------------------- */

typedef enum rlx_map_fn {
#define MAP_FN(NAME, text, arity, result, meaning) RLX_FN_##NAME,
#include "runtime/base/ir/map_fns.def"
#undef MAP_FN
    RLX_FN_COUNT
} rlx_map_fn;

typedef struct rlx_map_fn_info {
    const char *name;
    int arity;
    bool to_bool;
} rlx_map_fn_info;
const rlx_map_fn_info *rlx_map_fn_get(rlx_map_fn fn);
rlx_status rlx_map_fn_parse(const char *name, size_t len, rlx_map_fn *out);
/* Is the function defined on operands of format `f` (SELECT: on what it chooses between)? */
bool rlx_map_fn_takes(rlx_map_fn fn, rlx_format f);
/* The meaning of a function on one element of format `f`, in the format's own arithmetic (f32 in
 * float, f64 in double, 16-bit floats rounded after each operation, integers in int64 wrapped to
 * the format). `in` and the result are held in the union member that the format's kind says;
 * SELECT's first operand and results of comparisons are bools. EXP follows
 * runtime/base/ir/exp_poly.h exactly (f64: libm). Integers: division by 0 gives 0, as does a shift
 * by less than 0 or more than all bits. */
typedef union rlx_scalar {
    double f;  /* floats: the value, exactly representable in the format */
    int64_t i; /* integers and bools */
} rlx_scalar;
rlx_scalar rlx_map_fn_eval(rlx_map_fn fn, rlx_format f, const rlx_scalar *in);

typedef enum rlx_attr_key {
#define ATTR(NAME, text, kind, meaning) RLX_ATTR_##NAME,
#include "runtime/base/ir/attrs.def"
#undef ATTR
    RLX_ATTR_NONE /* how many keys there are; ends a list of keys */
} rlx_attr_key;

typedef enum rlx_attr_kind {
    RLX_ATTR_KIND_INT,
    RLX_ATTR_KIND_FLOAT,
    RLX_ATTR_KIND_INTS,
    RLX_ATTR_KIND_FORMAT,
    RLX_ATTR_KIND_DIM,
    RLX_ATTR_KIND_TEXT,
    RLX_ATTR_KIND_SYM,
    RLX_ATTR_KIND_FN
} rlx_attr_kind;

typedef struct rlx_attr {
    rlx_attr_key key;
    int n; /* INTS: how many */
    union {
        int64_t i; /* INT, FORMAT, DIM, FN */
        double f;
        const int64_t *ints;
        const char *text; /* TEXT, SYM */
    };
} rlx_attr;

/* ---- the graph ------------------------------------------------------------------------------ */

typedef struct rlx_ir_module rlx_ir_module;
typedef struct rlx_ir_func rlx_ir_func;
typedef struct rlx_ir_block rlx_ir_block;
typedef struct rlx_ir_node rlx_ir_node;
typedef struct rlx_ir_value rlx_ir_value;

struct rlx_ir_value {
    rlx_ir_type type;
    rlx_ir_node *def;    /* NULL for block arguments */
    rlx_ir_block *block; /* block arguments: whose */
    uint32_t index;      /* which result, or which argument */
    const char *name;    /* without %; NULL for a number given when printing */
    void *scratch;       /* a pass's own; no meaning between passes */
};

struct rlx_ir_node {
    int op; /* the level's enumerator */
    int nin, nout, nattr, nblock;
    rlx_ir_value **in;
    rlx_ir_value **out;
    rlx_attr *attr; /* ascending by key */
    rlx_ir_block **blocks;
    rlx_ir_block *parent;
    rlx_ir_node *prev, *next;
    const char *place; /* where in the model, or NULL */
};

struct rlx_ir_block {
    rlx_ir_node *first, *last;
    int nargs;
    int cap_args; /* room in `args` (and a function's `arg_info`): the builder's own */
    rlx_ir_value **args;
    rlx_ir_node *parent; /* NULL for a function's body */
    rlx_ir_func *func;
};

typedef enum rlx_role {
    RLX_ROLE_VALUE,  /* passed by the caller */
    RLX_ROLE_WEIGHT, /* bound by symbol; "{}" in it is the call's layer index */
    RLX_ROLE_INPUT,  /* the step's input of that name */
    RLX_ROLE_STATE,  /* session state that is updated in place: KV pools; "{}" as above */
    RLX_ROLE_OUT     /* LIR: a buffer that receives the function's result of that place */
} rlx_role;

typedef struct rlx_ir_arg_info {
    rlx_role role;
    const char *symbol; /* WEIGHT, INPUT, STATE */
} rlx_ir_arg_info;

struct rlx_ir_func {
    const char *name; /* without @ */
    rlx_ir_module *module;
    rlx_ir_block *body;        /* its args are the function's */
    rlx_ir_arg_info *arg_info; /* body->nargs of them */
    int nresults;
    rlx_ir_type *results;
    bool is_kernel; /* LIR: `kernel @name` instead of `func` */
    int nattr;
    rlx_attr *attr; /* LIR kernels: schedule, numerics, team; printed after the results */
    rlx_ir_func *next;
};

typedef struct rlx_ir_level rlx_ir_level;

struct rlx_ir_module {
    const rlx_ir_level *level;
    const char *name;
    rlx_arena *arena;
    rlx_dims *dims; /* borrowed */
    rlx_ir_func *first, *last;
    uint64_t next_id;
};

/* ---- a level: its table of ops -------------------------------------------------------------- */

enum {
    RLX_PURE = 1 << 0,       /* no effect but its results */
    RLX_VIEW = 1 << 1,       /* moves no data: layout only */
    RLX_TERMINATOR = 1 << 2, /* ends a block: return, yield */
    RLX_EFFECT = 1 << 3,     /* writes memory or synchronises: never removed, never reordered */
    RLX_ISOLATED = 1 << 4    /* nested blocks see only their own arguments */
};

typedef struct rlx_ir_opinfo {
    const char *mnemonic;
    int inputs;  /* exact count, or RLX_MANY(min) */
    int outputs; /* the same for results */
    int nblocks;
    unsigned traits;
    const rlx_attr_key *attrs; /* allowed keys, ended by RLX_ATTR_NONE */
    const char *meaning;
    /* Types of the results from operands and attributes; NULL: the text or builder must say. */
    rlx_status (*infer)(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results);
    /* The op's numbered constraints, beyond arity, attributes and inferred types. */
    rlx_status (*verify)(rlx_ir_module *m, const rlx_ir_node *n);
} rlx_ir_opinfo;

/* For a level's op table: RLX_ATTR_KEYS(AXIS, START) is a list of keys ended by RLX_ATTR_NONE;
 * RLX_ATTR_KEYS(NONE) an empty one. At most twelve keys. */
#define RLX_ATTR_KEYS_(a, b, c, d, e, f, g, h, i, j, k, l, ...)                                   \
    ((const rlx_attr_key[]){RLX_ATTR_##a, RLX_ATTR_##b, RLX_ATTR_##c, RLX_ATTR_##d, RLX_ATTR_##e, \
                            RLX_ATTR_##f, RLX_ATTR_##g, RLX_ATTR_##h, RLX_ATTR_##i, RLX_ATTR_##j, \
                            RLX_ATTR_##k, RLX_ATTR_##l, RLX_ATTR_NONE})
#define RLX_ATTR_KEYS(...)                                                                        \
    RLX_ATTR_KEYS_(__VA_ARGS__, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, \
                   NONE)
#define RLX_MANY(min) (-1 - (min)) /* at least `min` */

struct rlx_ir_level {
    const char *name; /* "hir", "mir", "lir" */
    const rlx_ir_opinfo *ops;
    int nops;
    int op_return, op_yield;
    /* Rules about functions and modules; may be NULL. */
    rlx_status (*verify_func)(rlx_ir_module *m, const rlx_ir_func *f);
};

const char *rlx_attr_name(rlx_attr_key key);
rlx_attr_kind rlx_attr_kind_of(rlx_attr_key key);

/* ---- modules -------------------------------------------------------------------------------- */

rlx_status rlx_ir_module_create(const rlx_ir_level *level, rlx_dims *dims, const char *name,
                                rlx_ir_module **out);
void rlx_ir_module_destroy(rlx_ir_module *m);                            /* accepts NULL */
rlx_ir_func *rlx_ir_func_find(const rlx_ir_module *m, const char *name); /* NULL if none */
/* Takes a function out of the module's list. */
void rlx_ir_func_remove(rlx_ir_module *m, rlx_ir_func *f);

/* ---- building ---------------------------------------------------------------------------------
 * A builder appends to one block. The first error stays in `status` and makes every later call a
 * no-op that returns NULL, so that code which builds reads straight and checks once, with
 * rlx_ir_builder_finish. */

typedef struct rlx_ir_builder {
    rlx_ir_module *module;
    rlx_ir_block *block;
    rlx_ir_node *before; /* insert before this node; NULL: append */
    const char *place;   /* given to every node built; lent, copied into the module */
    rlx_status status;
} rlx_ir_builder;

void rlx_ir_builder_init(rlx_ir_builder *b, rlx_ir_module *m);
/* Hands the error over, if any, and clears it. */
rlx_status rlx_ir_builder_finish(rlx_ir_builder *b);
/* Notes an error (takes it over); later ones are dropped. */
void rlx_ir_builder_fail(rlx_ir_builder *b, rlx_status s);

/* A new function, appended to the module; the builder's block becomes its body. */
rlx_ir_func *rlx_ir_build_func(rlx_ir_builder *b, const char *name, int nresults,
                               const rlx_ir_type *results);
rlx_ir_value *rlx_ir_build_arg(rlx_ir_builder *b, rlx_ir_func *f, rlx_role role, const char *symbol,
                               const char *name, rlx_ir_type type);
/* Sets result types after the fact, when they become known. */
void rlx_ir_func_set_results(rlx_ir_builder *b, rlx_ir_func *f, int n, const rlx_ir_type *types);

/* A node at the builder's place. Operand NULLs are errors. `attrs` in any order. When the op
 * infers, `types` may be NULL; else `nout` types. Nested blocks are made empty; fill them through
 * builders of their own (rlx_ir_build_block_arg adds arguments). Checks arity, attributes,
 * inference and the op's verifier at once; an op with nested blocks is verified by rlx_ir_verify,
 * when they are filled. `nout` matters for ops with a variable number of results. */
rlx_ir_node *rlx_ir_build_node(rlx_ir_builder *b, int op, int nin, rlx_ir_value *const *in,
                               int nattr, const rlx_attr *attrs, int nout,
                               const rlx_ir_type *types);
/* The same for one result: returns it (NULL after an error). */
rlx_ir_value *rlx_ir_build(rlx_ir_builder *b, int op, int nin, rlx_ir_value *const *in, int nattr,
                           const rlx_attr *attrs, const rlx_ir_type *type);
rlx_ir_value *rlx_ir_build_block_arg(rlx_ir_builder *b, rlx_ir_block *block, const char *name,
                                     rlx_ir_type type);
void rlx_ir_build_return(rlx_ir_builder *b, int n, rlx_ir_value *const *values);
void rlx_ir_build_yield(rlx_ir_builder *b, int n, rlx_ir_value *const *values);

static inline rlx_attr rlx_attr_int(rlx_attr_key k, int64_t i)
{
    return (rlx_attr){.key = k, .i = i};
}
static inline rlx_attr rlx_attr_float(rlx_attr_key k, double f)
{
    return (rlx_attr){.key = k, .f = f};
}
static inline rlx_attr rlx_attr_text(rlx_attr_key k, const char *s)
{
    return (rlx_attr){.key = k, .text = s};
}
static inline rlx_attr rlx_attr_ints(rlx_attr_key k, int n, const int64_t *v)
{
    return (rlx_attr){.key = k, .n = n, .ints = v};
}

/* ---- reading and changing ------------------------------------------------------------------- */

const rlx_attr *rlx_ir_attr(const rlx_ir_node *n, rlx_attr_key key); /* NULL when absent */
/* INT, and FN, DIM, FORMAT too. */
int64_t rlx_ir_attr_int(const rlx_ir_node *n, rlx_attr_key key, int64_t absent);
double rlx_ir_attr_float(const rlx_ir_node *n, rlx_attr_key key, double absent);
const char *rlx_ir_attr_text(const rlx_ir_node *n, rlx_attr_key key, const char *absent);
rlx_status rlx_ir_attr_set(rlx_ir_module *m, rlx_ir_node *n, rlx_attr attr);
const rlx_ir_opinfo *rlx_ir_info(const rlx_ir_module *m, const rlx_ir_node *n);

/* The same for functions: a kernel's schedule, numerics, team. */
const rlx_attr *rlx_ir_func_attr(const rlx_ir_func *f, rlx_attr_key key); /* NULL when absent */
rlx_status rlx_ir_func_attr_set(rlx_ir_module *m, rlx_ir_func *f, rlx_attr attr);

void rlx_ir_node_remove(rlx_ir_node *n); /* unlinks; memory stays the arena's */
void rlx_ir_node_move_before(rlx_ir_node *n, rlx_ir_node *where);
/* Every use of `from` in `scope` and blocks nested in it becomes `to`. */
void rlx_ir_replace_uses(rlx_ir_block *scope, const rlx_ir_value *from, rlx_ir_value *to);
/* How often `v` is an operand in `scope` and blocks nested in it. */
int rlx_ir_count_uses(const rlx_ir_block *scope, const rlx_ir_value *v);
/* Calls `visit` for every node of a block and its nested blocks, outer before inner, in order. The
 * visitor may remove the node it is given, and build before and after it. A status ends it. */
rlx_status rlx_ir_walk(rlx_ir_block *block, rlx_status (*visit)(void *user, rlx_ir_node *n),
                       void *user);
/* Sets `scratch` of every value of a block and its nested blocks to NULL: before a pass uses it. */
void rlx_ir_clear_scratch(rlx_ir_block *block);
/* A copy of node `n`, which keeps its place in the model, where the builder stands, with operands
 * looked up in scratch: every value whose `scratch` is set stands for that value; others must be
 * visible as they are. Sets `scratch` of the old results to the new ones, recursively. */
rlx_ir_node *rlx_ir_clone_node(rlx_ir_builder *b, rlx_ir_node *n);
/* A deep copy of a module (same level, same dims table). */
rlx_status rlx_ir_module_clone(const rlx_ir_module *m, rlx_ir_module **out);
/* Has no effect but its results: by its trait, or, for an op with blocks and without RLX_EFFECT,
 * because that holds of all that is in them. */
bool rlx_ir_is_pure(const rlx_ir_module *m, const rlx_ir_node *n);
/* Which nodes of a block, in their order, are asked for: those that are not pure, and whatever these
 * use. On the heap; NULL when out of memory. */
bool *rlx_ir_find_live(const rlx_ir_module *m, const rlx_ir_block *block);
/* Removes pure nodes without uses, to a fixed point; returns how many. */
int rlx_ir_remove_dead(rlx_ir_module *m);

/* ---- text and verification ------------------------------------------------------------------ */

enum { RLX_PRINT_NO_PLACES = 1 };
void rlx_ir_print(const rlx_ir_module *m, unsigned flags, rlx_text *out);
void rlx_ir_print_func(const rlx_ir_func *f, unsigned flags, rlx_text *out);
void rlx_ir_print_node(const rlx_ir_module *m, const rlx_ir_node *n, rlx_text *out); /* one line */
/* Errors say "NAME:line:column: ..."; `name` is the file's. */
rlx_status rlx_ir_parse(const rlx_ir_level *level, rlx_dims *dims, const char *name,
                        const char *text, rlx_ir_module **out);
/* Structure (operands dominate, terminators, arity, attributes), inference, every op's verifier,
 * the level's function rules. The status names op, constraint, place and function. */
rlx_status rlx_ir_verify(rlx_ir_module *m);
/* Canonical text of one function, hashed: no places, every value numbered, no name of its own,
 * functions of the module that it calls by their fingerprints. All zero when memory is short, and
 * only then. */
rlx_hash rlx_ir_func_fingerprint(const rlx_ir_func *f);

/* In an op's verify or infer: RLX_IR_REQUIRE(m, n, "C2", a == b, "contracts %d with %d", a, b) */
#define RLX_IR_REQUIRE(m, n, id, cond, ...)                                           \
    do {                                                                              \
        if (!(cond))                                                                  \
            return rlx_ir_violation((m), (n), (id), __FILE__, __LINE__, __VA_ARGS__); \
    } while (0)
/* "contract C2: contracts 2048 with 1024 at layers.7.mlp.up" */
rlx_status rlx_ir_violation(const rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                            const char *file, int line, const char *fmt, ...) RLX_PRINTF(6, 7);

/* ---- passes --------------------------------------------------------------------------------- */

typedef struct rlx_pass_cx {
    rlx_ir_module *module;
    rlx_arena *scratch;  /* emptied when the pass returns */
    bool changed;        /* the pass sets it and nothing else */
    const void *options; /* what the pipeline was given (a level's own struct), may be NULL */
} rlx_pass_cx;

typedef struct rlx_pass {
    const char *name; /* "fuse_epilogue" */
    rlx_status (*run)(rlx_pass_cx *cx);
} rlx_pass;

/* Runs passes in order. After each: verifies (always); RLX_PRINT=PASS[,PASS]|all prints the module
 * to stderr when it changed; RLX_CHECK=text prints, parses and compares; RLX_CHECK=eval calls
 * `compare` (when given) with a clone from before the pass. A pass that breaks something is named
 * in the status. */
typedef struct rlx_pass_options {
    const void *options;
    rlx_status (*compare)(void *user, rlx_ir_module *before, rlx_ir_module *after);
    void *user;
} rlx_pass_options;
rlx_status rlx_ir_run_passes(rlx_ir_module *m, const rlx_pass *passes, int n,
                             const rlx_pass_options *options);

#endif
