/* frontend/blocks/blocks.h: what a block needs to turn its stage into HIR. Internal to the flow. */
#ifndef RLX_FRONTEND_BLOCKS_H
#define RLX_FRONTEND_BLOCKS_H

#include "frontend/flow.h"

enum { RLX_FLOW_MAX_INSIDE = 8 };

/* A named value: a stream. "{}" in its name is the layer's index. */
typedef struct rlx_flow_stream {
    const char *name;
    rlx_ir_value *value; /* now */
    rlx_ir_value *arg;   /* of a layer's function: what came in; NULL: nothing was asked for */
} rlx_flow_stream;
enum { RLX_FLOW_MAX_STREAMS = 64 };

/* The streams that a layer finds, by their resolved names; the tensor that passes through is one
 * of them, called "". */
typedef struct rlx_flow_env {
    int n;
    const char *name[RLX_FLOW_MAX_STREAMS + 1];
    rlx_ir_type type[RLX_FLOW_MAX_STREAMS + 1];
} rlx_flow_env;

/* A function while stages append to it: @main or a layer. */
typedef struct rlx_flow_func {
    rlx_ir_func *func;
    rlx_ir_builder b;
    rlx_ir_value *x; /* the tensor that passes through; NULL before the flow's input */
    rlx_ir_value *saved[RLX_FLOW_MAX_SAVES];
    int nsaved;
    bool is_layer;
    rlx_flow_stream stream[RLX_FLOW_MAX_STREAMS];
    int nstreams;
    const rlx_flow_env *env;                   /* of a layer's function */
    rlx_ir_value *inside[RLX_FLOW_MAX_INSIDE]; /* values of the latest stage, by slot; NULL: it has
                                                  none, or no probe asks */
    /* results: @main's outputs, or a layer's probed values, in order of their stages */
    rlx_ir_value **result;
    const char **result_name;
    int nresults;
} rlx_flow_func;

/* An input that functions ask for by name; the type is the same everywhere. */
typedef struct rlx_flow_input_type {
    const char *name;
    rlx_ir_type type;
} rlx_flow_input_type;
enum { RLX_FLOW_MAX_INPUTS = 32 };

/* One build of a flow. */
typedef struct rlx_flow_cx {
    const rlx_flow *flow;
    const rlx_weights *store;
    rlx_dims *dims;
    rlx_ir_module *m;
    rlx_arena *scratch;
    rlx_flow_func *fn;         /* where stages append to now */
    const rlx_tensor **weight; /* of stage i, slot k: weight[i * RLX_STAGE_KEYS + k] */
    const int *request;        /* of stage i: the probe that asked for it, or -1 */
    rlx_ir_value **probe;      /* by probe: its value in @main */
    int kv_repeat;             /* which repeat_layers owns the KV pages; -1: none yet */
    rlx_format kv_key_format, kv_value_format; /* of the pools; q8_0 is codes and scales */
    rlx_flow_input_type inputs[RLX_FLOW_MAX_INPUTS];
    int ninputs;
    const rlx_extension **extension; /* that apply, in order */
    int nextensions;
    const char *likeliest; /* an output whose largest element is told, too; NULL: none */
    bool rewritten;        /* by one of them: what is replaced is dead */
    rlx_weights *tables;   /* of rlx_build_table, over `store`; NULL: none so far */
} rlx_flow_cx;

/* Adds RLX_FLOW_LIKELIEST of an output f32[R..,V] of @main, where there is one of that name (flow_likeliest.c). */
rlx_status rlx_flow_add_likeliest(rlx_flow_cx *cx, const char *of);

/* What names of tables begin with; a hash of the content follows. */
#define RLX_FLOW_TABLE "table:"

typedef struct rlx_block_info {
    const char *name;
    const char *const *keys;    /* NULL-ended labels */
    const char *const *numbers; /* the same */
    const char *const *reals;
    const char *const *inside;
    const char *meaning;
    /* Appends the stage to cx->fn. Errors may also stay in the builder. */
    rlx_status (*build)(rlx_flow_cx *cx, const rlx_stage *s);
} rlx_block_info;
const rlx_block_info *rlx_block_get(rlx_stage_kind kind);

#define BLOCK(NAME, name, keys, numbers, reals, inside, meaning) \
    rlx_status rlx_block_##name##_build(rlx_flow_cx *cx, const rlx_stage *s);
#include "frontend/blocks/blocks.def"
#undef BLOCK

/* ---- for the blocks ------------------------------------------------------------------------- */

/* Whether there is a spec; none is an error of the flow. */
bool rlx_flow_has_spec(rlx_flow *f, const void *spec, const char *stage);
/* The dim of a symbol; RLX_EXHAUSTED when there are too many. */
rlx_status rlx_flow_get_symbol(rlx_flow_cx *cx, const char *name, rlx_dim *out);
/* An extent as callers write it: a constant >= 0, a symbol of the flow (-1 - i), or an expression
 * that rlx_value_extent gave, at RLX_EXTENT_EXPRESSIONS and below. */
enum { RLX_EXTENT_EXPRESSIONS = -1000000 };
rlx_status rlx_flow_get_extent(rlx_flow_cx *cx, int64_t extent, rlx_dim *out);
/* The argument of a function that binds to `symbol`; NULL: none. */
rlx_ir_value *rlx_flow_find_arg(const rlx_ir_func *f, rlx_role role, const char *symbol);
/* The same of the running function; made when new. */
rlx_status rlx_flow_arg(rlx_flow_cx *cx, rlx_role role, const char *symbol, const char *name,
                        rlx_ir_type type, rlx_ir_value **out);
/* An input by name: an argument of the running function. */
rlx_status rlx_flow_need_input(rlx_flow_cx *cx, const char *name, rlx_ir_type type,
                               rlx_ir_value **out);
/* An input that the flow declares; RLX_NOT_FOUND names those that there are. */
rlx_status rlx_flow_need_declared(rlx_flow_cx *cx, const char *name, rlx_ir_value **out);
/* A stream of the running function, by its name as stage `s` has it: what was stored last. Layers
 * take those of before as arguments. RLX_NOT_FOUND names those that there are. */
rlx_status rlx_flow_get_stream(rlx_flow_cx *cx, const rlx_stage *s, const char *name,
                               rlx_ir_value **out);
rlx_status rlx_flow_set_stream(rlx_flow_cx *cx, const char *name, rlx_ir_value *value);
/* A name with the stage's layer for "{}", in scratch; NULL when memory is short. */
const char *rlx_flow_resolve(rlx_flow_cx *cx, const rlx_stage *s, const char *name);
/* The rotary table of cosines, or of sines: the input f32[TOKENS,R/2] that sessions' callers make.
 */
rlx_status rlx_flow_need_rotary(rlx_flow_cx *cx, int64_t rotary_dim, bool sine, rlx_ir_value **out);
/* The weight in a key slot of the stage as an argument, its shape checked; a dim of RLX_DIM_INVALID
 * takes any extent. NULL for an empty slot. */
rlx_status rlx_flow_need_weight(rlx_flow_cx *cx, const rlx_stage *s, int slot, int rank,
                                const rlx_dim *dims, rlx_ir_value **out);
/* A weight by key, resolved for the stage's layer, and an input with dims as rlx_flow_input takes
 * them: arguments of the running function. */
rlx_status rlx_flow_find_weight(rlx_flow_cx *cx, const rlx_stage *s, const char *key,
                                rlx_ir_value **out);
rlx_status rlx_flow_find_input(rlx_flow_cx *cx, const char *name, rlx_format format, int rank,
                               const int64_t *dims, rlx_ir_value **out);
/* A tensor that the flow carries, its data copied: a weight of the running function. */
rlx_status rlx_flow_make_table(rlx_flow_cx *cx, const rlx_tensor *t, rlx_ir_value **out);
/* Fails unless the tensor is f32[..,H] with a constant H, which goes to *width. */
rlx_status rlx_flow_need_features(rlx_flow_cx *cx, int64_t *width);
/* The same for f32[TOKENS,H]. */
rlx_status rlx_flow_need_tokens(rlx_flow_cx *cx, rlx_dim *tokens, int64_t *width);
/* linear(x) by the weight and bias in two key slots (`bias` -1: none); `rows` is the weight's
 * number of rows, or RLX_DIM_INVALID for any. */
rlx_status rlx_flow_apply_linear(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *x, int slot,
                                 int bias, rlx_dim rows, rlx_ir_value **out);
/* HIR's activation of an rlx_activation; RLX_INVALID_ARGUMENT when there is none. */
rlx_status rlx_flow_get_activation(int64_t fn, rlx_hir_activation *out);
/* The name of a cell's; NULL: what is customary. */
rlx_status rlx_flow_get_cell_activation(int64_t fn, const char **out);
/* Nodes built next belong to the module that owns `key`: the path without its last `up` parts. */
void rlx_flow_set_place(rlx_flow_cx *cx, const char *key, int up);
/* A state of the session, f32[SEQS,dims..], by name: an argument of the running function; whether a
 * value is one; where the step's tokens stand. */
rlx_status rlx_flow_need_state(rlx_flow_cx *cx, const rlx_stage *s, const char *name, int rank,
                               const rlx_dim *dims, rlx_ir_value **out);
bool rlx_flow_is_state(const rlx_flow_cx *cx, const rlx_ir_value *v);
rlx_status rlx_flow_need_places(rlx_flow_cx *cx, rlx_ir_value **pos, rlx_ir_value **seq);
/* What a delta rule multiplies with; 0 is 1/sqrt of q's last extent. */
double rlx_flow_delta_scale(const rlx_ir_value *q, double scale);
/* A delta rule's chunk is none or one of those that there are; of tokens, with its session's states
 * of a chunk, named after its state. */
rlx_status rlx_flow_delta_chunk(rlx_flow_cx *cx, const rlx_stage *s, rlx_hir_delta_rule *d);
/* Adds a value to the running function's results. */
rlx_status rlx_flow_add_result(rlx_flow_cx *cx, rlx_ir_value *x, const char *name);
/* Whether a probe asks for the value in a slot of `inside` of a stage: what the computation itself
 * does not need is built then only. */
bool rlx_flow_is_asked(const rlx_flow_cx *cx, const rlx_stage *s, int slot);
/* Whether the stage, a probe point or an output, and what follows it in its layer are only that:
 * what they name is then known outside. */
bool rlx_flow_ends_layer(const rlx_flow *f, const rlx_stage *s);
/* Adds an output's value in @main. */
rlx_status rlx_flow_add_output(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *x);

/* What an extension makes of a node; built before it. NULL: nothing. */
rlx_ir_value *rlx_builder_rewrite(rlx_flow_cx *cx, const rlx_stage *s, const rlx_extension *e,
                                  rlx_ir_node *n);

/* ---- within the build: flow_build.c, flow_args.c, flow_funcs.c, flow_layers.c, flow_extend.c ---- */

/* Opens a function in the module and makes it the running one. */
rlx_status rlx_flow_begin_func(rlx_flow_cx *cx, rlx_flow_func *fn, const char *name, bool is_layer);
/* Appends one stage to the running function; errors name the stage. */
rlx_status rlx_flow_build_stage(rlx_flow_cx *cx, const rlx_stage *s);
/* Ends the running function: returns n values and then the results that stages added. */
rlx_status rlx_flow_end_func(rlx_flow_cx *cx, int n, rlx_ir_value *const *values);
/* The extensions of the options, or all that are registered; what they make of the running function
 * once it is whole, whose layer is that of stage `s`. */
rlx_status rlx_flow_choose_extensions(rlx_flow_cx *cx, const rlx_compile_options *o);
rlx_status rlx_flow_extend(rlx_flow_cx *cx, const rlx_stage *s);
/* An argument of the running function, named like `name`. */
rlx_status rlx_flow_add_arg(rlx_flow_cx *cx, rlx_role role, const char *symbol, const char *name,
                            rlx_ir_type type, rlx_ir_value **out);
/* Builds the layer functions of the repeat_layers that stage `at` begins, and their calls in the
 * running function, @main; *end is the first stage behind. */
rlx_status rlx_flow_build_layers(rlx_flow_cx *cx, int at, int *end);

#endif
