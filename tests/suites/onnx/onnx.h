/* tests/suites/onnx/onnx.h: one operator of the ONNX backend suite as a MIR function.
 *
 *   onnx.c        a case file: metadata, tensors; the table of operators
 *   build.c       tensor expressions: what the operators below are written in
 *   math.c        elementwise        move.c    shapes, indices      fold.c   reductions, norms,
 * losses conv.c        convolutions, pools                 image.c  resizing and sampling model.c
 * attention, recurrences, rotations   signal.c, quant.c
 *
 * Shapes are static, and what an operator needs to know of an input when it is built (axes, pads,
 * sizes) is read from the input's tensor: those inputs are constants of the graph. */
#ifndef RLX_TESTS_ONNX_H
#define RLX_TESTS_ONNX_H

#include <cjson/cJSON.h>

#include "mir/mir.h"

enum { ONNX_MAX_IO = 16, ONNX_MAX_INTS = 64 };

typedef rlx_ir_value *val;

typedef struct onnx_tensor {
    char name[64];
    rlx_format format;
    int rank;
    int64_t dim[RLX_MAX_RANK];
    int64_t elems;
    void *data; /* its own */
} onnx_tensor;

typedef struct onnx {
    char op[64];
    int opset;
    cJSON *meta, *attributes;
    int nin, nout;
    onnx_tensor in[ONNX_MAX_IO], out[ONNX_MAX_IO]; /* name "" (format NONE): left out */
    /* while it is built */
    rlx_ir_builder *b;
    rlx_ir_func *func;
    val arg[ONNX_MAX_IO], result[ONNX_MAX_IO];
    char why[256]; /* not empty: what is not offered */
} onnx;

typedef struct onnx_op {
    const char *name;
    void (*build)(onnx *x);
} onnx_op;

/* Lists that end with a NULL name. */
extern const onnx_op onnx_math[], onnx_move[], onnx_fold[], onnx_conv[], onnx_image[], onnx_model[],
    onnx_signal[], onnx_quant[];

/* Reads a case. Errors name the file. */
rlx_status onnx_read(const char *path, onnx *x);
void onnx_free(onnx *x);
/* Builds @main: inputs by name as flat tensors, results flat in order of outputs that have a name.
 * RLX_UNSUPPORTED, with the reason, for what is not offered. */
rlx_status onnx_build(onnx *x, rlx_ir_module *m);

/* ---- what operators read ----------------------------------------------------------------------
 */

/* Notes why the case is not offered. */
void ox_refuse(onnx *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool ox_has(const onnx *x, int i);
val ox_in(onnx *x, int i);          /* 16-bit floats widened to f32; refuses when it is left out */
val ox_raw(onnx *x, int i);         /* as it is */
void ox_out(onnx *x, int i, val v); /* nothing when that output is left out */
/* An input that is constant: its elements; returns how many (0 when it is left out). */
int ox_ints(onnx *x, int i, int64_t *out);
double ox_number(onnx *x, int i, double absent);

int64_t ox_int(const onnx *x, const char *name, int64_t absent);
double ox_float(const onnx *x, const char *name, double absent);
const char *ox_text(const onnx *x, const char *name, const char *absent);
int ox_list(const onnx *x, const char *name, int64_t *out); /* -1: absent */
rlx_format ox_dtype(onnx *x, int64_t code);                 /* of TensorProto */

/* ---- expressions -------------------------------------------------------------------------------
 */

int64_t ox_dim(val v, int axis); /* a negative axis counts from the end */
int ox_axis(val v, int64_t axis);
int64_t ox_elems(val v);
val ox_num(onnx *x, rlx_format f, double v);
val ox_like(onnx *x, val like, double v); /* of its format */
/* Operands are broadcast against one another. */
val ox_map1(onnx *x, rlx_map_fn fn, val a);
val ox_map2(onnx *x, rlx_map_fn fn, val a, val b);
val ox_pick(onnx *x, val c, val a, val b);
val ox_cast(onnx *x, val a, rlx_format f);     /* values that fit */
val ox_saturate(onnx *x, val a, rlx_format f); /* any float to an integer: held inside, NaN 0 */
val ox_not(onnx *x, val a);
val ox_clamp(onnx *x, val a, double lo, double hi);

val ox_reshape(onnx *x, val a, int rank, const int64_t *dims);
val ox_expand(onnx *x, val a, int rank, const int64_t *dims); /* as numpy broadcasts */
val ox_transpose(onnx *x, val a, const int64_t *perm);
val ox_move(onnx *x, val a, int from, int to);    /* an axis elsewhere */
val ox_insert(onnx *x, val a, int axis);          /* an axis of 1 */
val ox_flatten(onnx *x, val a, int from, int to); /* axes from..to-1 as one */
val ox_slice(onnx *x, val a, int axis, int64_t start, int64_t size, int64_t step);
val ox_pad(onnx *x, val a, int axis, int64_t low, int64_t high, val fill); /* negative: cut off */
val ox_iota(onnx *x, rlx_format f, int rank, const int64_t *dims, int axis);
/* Over the axes that are set; keep: they stay, as 1. */
val ox_fold(onnx *x, rlx_map_fn fn, val a, unsigned axes, bool keep);
val ox_mean(onnx *x, val a, unsigned axes);     /* keeps */
unsigned ox_last_axes(val a, int from);         /* from..rank-1 */
val ox_matmul(onnx *x, val a, val b);           /* as numpy */
val ox_take(onnx *x, val a, val ids, int axis); /* ids may be negative */
/* Where the elements at these indices of its first n axes lie, counted in row-major order. */
val ox_place(onnx *x, val a, int n, const val *at);
/* The elements themselves, by an index for every axis. */
val ox_at(onnx *x, val a, const val *at);
val ox_sigmoid(onnx *x, val a);
val ox_softmax(onnx *x, val a, int axis);
val ox_log_softmax(onnx *x, val a, int axis);
/* x^y of floats: by exp and log, signs as whole exponents give them. */
val ox_pow(onnx *x, val a, val b);
/* All elements along an axis less than the one they belong to (ties: by index): its rank. */
val ox_ranks(onnx *x, val a, bool largest); /* i64, along the last axis */

#define ADD(a, b) ox_map2(x, RLX_FN_ADD, a, b)
#define SUB(a, b) ox_map2(x, RLX_FN_SUB, a, b)
#define MUL(a, b) ox_map2(x, RLX_FN_MUL, a, b)
#define DIV(a, b) ox_map2(x, RLX_FN_DIV, a, b)
#define LT(a, b) ox_map2(x, RLX_FN_LT, a, b)
#define LE(a, b) ox_map2(x, RLX_FN_LE, a, b)
#define EQ(a, b) ox_map2(x, RLX_FN_EQ, a, b)
#define AND(a, b) ox_map2(x, RLX_FN_AND, a, b)
#define MAX(a, b) ox_map2(x, RLX_FN_MAX, a, b)
#define MIN(a, b) ox_map2(x, RLX_FN_MIN, a, b)
#define NEG(a) ox_map1(x, RLX_FN_NEG, a)
#define EXP(a) ox_map1(x, RLX_FN_EXP, a)
#define LOG(a) ox_map1(x, RLX_FN_LOG, a)
#define SQRT(a) ox_map1(x, RLX_FN_SQRT, a)
#define ABS(a) ox_map1(x, RLX_FN_ABS, a)
#define FLOOR(a) ox_map1(x, RLX_FN_FLOOR, a)
#define LIKE(a, v) ox_like(x, a, v)
#define PICK(c, a, b) ox_pick(x, c, a, b)

#endif
