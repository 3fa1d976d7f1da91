/* frontend/flow.h: flows inside the library: recorded stages, and their way to HIR.
 *
 *   rlx_flow_* (rlx.h)  --record-->  stages (data)  --rlx_flow_build + weights-->  HIR module
 *
 * The module: one function per distinct layer, then @main. @main takes the flow's input and the
 * weights outside layers, calls the layers, and returns the outputs and probes. Layer functions
 * take the tensor that passes through; cos, sin, positions, pages and weights bind by name.
 */
#ifndef RLX_FRONTEND_FLOW_H
#define RLX_FRONTEND_FLOW_H

#include "frontend/rlx.h"
#include "hir/hir.h"
#include "runtime/runtime.h"

/* What a flow must be, beside the numbered constraints of the HIR that its stages build. Errors
 * name the constraint, what was expected and what came, and the stage. */
/* F1   the first stage is the input. */
/* F2   no input or output has the name of another. */
/* F3   every weight that a stage asks for is there. */
/* F4   a weight has the shape and the kind of elements that its stage takes. */
/* F5   so has the tensor that comes to a stage. */
/* F6   every residual_add has its residual_save, in the same layer; layers leave none open. */
/* F7   what a stream holds was stored before it is loaded. */
/* F8   inputs that stages name are declared, of one type; those declared are used. */
/* F9   "{}" stands in layers; layers do not nest, and have no inputs. */
/* F10  a flow has an output. */

typedef enum rlx_stage_kind {
#define BLOCK(NAME, name, keys, numbers, reals, inside, meaning) RLX_STAGE_##NAME,
#include "frontend/blocks/blocks.def"
#undef BLOCK
    RLX_STAGE_COUNT
} rlx_stage_kind;

enum { RLX_STAGE_KEYS = 13, RLX_STAGE_NUMBERS = 13, RLX_STAGE_REALS = 3, RLX_FLOW_MAX_SAVES = 16 };

/* What was recorded, with the names that blocks.def gives to keys, numbers and reals. */
typedef struct rlx_stage {
    rlx_stage_kind kind;
    int repeat;        /* which rlx_flow_repeat_layers it was recorded in; -1: in none */
    int64_t layer;     /* the layer's index there; -1 */
    const char *scope; /* "attn/heads": the scopes it was recorded in; NULL: none */
    const char *name;  /* of an input, output, probe point or custom stage */
    const char *key[RLX_STAGE_KEYS]; /* NULL: none */
    int64_t number[RLX_STAGE_NUMBERS];
    double real[RLX_STAGE_REALS];
    rlx_format format; /* inputs */
    int rank;
    int64_t dim[RLX_MAX_RANK]; /* >= 0, or -1 - i for the flow's symbol i */
    rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user);               /* custom stages */
    void (*build_two)(rlx_builder *b, rlx_value **x, rlx_value **y, void *user); /* dual_stream */
    void *user;
} rlx_stage;

struct rlx_flow {
    rlx_arena *arena;
    const char *name;
    rlx_stage *stages; /* heap */
    int nstages, cap;
    const char *symbols[RLX_MAX_SYMBOLS];
    int nsymbols;
    int repeats; /* recorded so far */
    /* where recording stands */
    int repeat;
    int64_t layer;
    const char *scope;        /* NULL: none */
    bool is_stack;            /* recorded to be put into others: its layer is any */
    int saves, saves_outside; /* open residual_saves; those from before the running layer */
    rlx_status error;         /* the first; later calls record nothing */
};

/* Keeps the first error of a recording; takes `s` over. */
void rlx_flow_fail(rlx_flow *f, rlx_status s);
/* Whether an input or an output before stage `s` has its name, "{}" being the layer's index. */
bool rlx_flow_is_named_before(const rlx_flow *f, const rlx_stage *s);
/* A new stage of that kind at the recording's place; NULL once the flow has an error. */
rlx_stage *rlx_flow_record(rlx_flow *f, rlx_stage_kind kind);
/* The flow's own copy of a weight's key; `what` names it in the error when it is NULL or misplaced.
 */
const char *rlx_flow_copy_key(rlx_flow *f, const char *key, const char *what);

/* A SwiGLU whose three linear maps may have biases (NULL: none). The public rlx_flow_swiglu has
 * none. */
typedef struct rlx_swiglu_spec {
    const char *gate_key, *up_key, *down_key;
    const char *gate_bias_key, *up_bias_key, *down_bias_key;
} rlx_swiglu_spec;
void rlx_flow_swiglu_biased(rlx_flow *f, const rlx_swiglu_spec *spec);

/* What a probe point is about: 0: the tensor that passes through, else 1 + the slot of a value
 * inside the stage before it. */
enum { RLX_PROBE_INSIDE };
bool rlx_flow_is_probe(const rlx_stage *s); /* has a path that probes can name */
bool rlx_flow_is_port(const rlx_stage *s);  /* only names a value: a probe point, an output .. */
bool rlx_flow_is_built_by_caller(
    const rlx_stage *s); /* a function of the caller's says what it is */
/* Whether a slot's key is a weight's, and not the name of a stream or an input. */
bool rlx_flow_is_weight(const rlx_stage *s, int slot);
/* The stage that a port belongs to: the one before it and its like. */
const rlx_stage *rlx_flow_get_probed(const rlx_flow *f, const rlx_stage *probe_point);

/* The recorded stages as text; equal layers are printed once. */
void rlx_flow_print(const rlx_flow *f, rlx_text *out);
/* Whether two stages were recorded alike, but for the names of inputs, outputs and probe points. */
bool rlx_flow_same_stage(const rlx_stage *a, const rlx_stage *b);
/* "stage 4 (rms_norm) of layer 3": for errors. */
void rlx_flow_put_stage(const rlx_flow *f, const rlx_stage *s, rlx_text *out);
/* A key or path with the stage's layer index for "{}", appended. */
void rlx_flow_put_resolved(const rlx_stage *s, const char *key, rlx_text *out);

/* A recording's error, as a status of its own. */
rlx_status rlx_flow_check(const rlx_flow *f);
/* Whether it has a select_rows, which makes the symbol ROWS when the flow is built (execution.c). */
bool rlx_flow_selects_rows(const rlx_flow *f);

/* What a build gives beside its module. The names of @main's results are in order: the flow's
 * outputs, then "probe:PATH" for each probe. */
typedef struct rlx_flow_outputs {
    int n;
    char **name;         /* one allocation */
    rlx_weights *tables; /* made by stages from data, laid over the build's weights; NULL: none */
} rlx_flow_outputs;
void rlx_flow_outputs_deinit(rlx_flow_outputs *o);

/* Builds and verifies the HIR module of a flow; formats and shapes of weight arguments are those of
 * `w`. `dims` is borrowed by the module and gets the symbols. Equal layers (same stages, formats,
 * shapes and probes) share a function; consecutive ones share a call.
 *   o->probes   paths of probe points ("model.layers.3"), each an extra result; a path twice
 *               counts once
 *   o->kv_*     formats of the KV pools
 * The buckets are not read. Errors: the recording's; RLX_NOT_FOUND listing every missing weight, or
 * naming an unknown probe and the nearest known; RLX_INVALID_ARGUMENT naming stage, key, shape
 * wanted and shape found, or a format that pools cannot have. */
rlx_status rlx_flow_build(const rlx_flow *f, const rlx_weights *w, const rlx_compile_options *o,
                          rlx_dims *dims, rlx_ir_module **hir, rlx_flow_outputs *outputs);

/* The same with one more result, RLX_FLOW_LIKELIEST i32[R..], behind all others: which element of each row of the output
 * `likeliest`, f32[R..,V], is the largest, the first of equals; -1 of a row with a NaN. Extensions see nothing of it. NULL, or no such
 * output: none. */
#define RLX_FLOW_LIKELIEST ":likeliest" /* as no flow may call an output */
rlx_status rlx_flow_build_likeliest(const rlx_flow *f, const rlx_weights *w,
                                    const rlx_compile_options *o, const char *likeliest,
                                    rlx_dims *dims, rlx_ir_module **hir, rlx_flow_outputs *outputs);

/* Cuts a module between two layers (flow_cut.c): what is before the last `behind` of them, of which there are so many, or
 * (not `front`) those and all that follows. *whole: there is nothing before them, and the module stays as it is. Names of
 * outputs follow; what is live between is called: */
#define RLX_FLOW_CUT "cut:"
rlx_status rlx_flow_cut(rlx_ir_module *hir, rlx_flow_outputs *outputs, int64_t behind, bool front,
                        bool *whole);
/* How many layers its main function calls. */
int64_t rlx_flow_count_layers(const rlx_ir_module *hir);

/* The weight of stage i, slot k as found[i * RLX_STAGE_KEYS + k] (NULL for an empty slot).
 * RLX_NOT_FOUND lists every missing one. */
rlx_status rlx_flow_find_weights(const rlx_flow *f, const rlx_weights *w, const rlx_tensor **found);
/* For families: that `w` holds what the flow uses, and nothing else (RLX_INVALID_FILE with the
 * names) except names that end with one of `ignore` (NULL-ended). Also a recording's error. */
rlx_status rlx_flow_check_weights(const rlx_flow *f, const rlx_weights *w,
                                  const char *const *ignore);

/* The same of a flow that was built, its custom stages included: RLX_INVALID_FILE with the names of
 * tensors that no function uses. `ignore` may be NULL. */
rlx_status rlx_flow_check_unused(const rlx_ir_func *entry, const rlx_ir_module *hir,
                                 const rlx_weights *w, const char *const *ignore);

/* How a flow is made of layers, derived from its HIR. */
typedef struct rlx_layer_run {
    const rlx_ir_func *func; /* the module's */
    rlx_hash fingerprint;    /* of its canonical text */
    int64_t first, count;
} rlx_layer_run;

typedef struct rlx_layer_composition {
    rlx_composition_kind kind;
    int n;
    rlx_layer_run *runs; /* heap */
} rlx_layer_composition;
rlx_status rlx_flow_get_composition(const rlx_ir_module *hir, rlx_layer_composition *out);
void rlx_layer_composition_deinit(rlx_layer_composition *c);
/* "homogeneous { layer @layer_0 x5 1f0c.. }" and the fingerprint of @main. */
rlx_status rlx_flow_print_composition(const rlx_ir_module *hir, rlx_text *out);

#endif
