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

#include "mir/mir_compose.h"
#include "mir/mir_image.h"

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

/* ---- expressions: those of mir/mir_compose.h, and -----------------------------------------------
 */

int64_t ox_dim(val v, int axis); /* a negative axis counts from the end */
int ox_axis(val v, int64_t axis);
int64_t ox_elems(val v);

#define ADD(p, q) rlx_mir_map2(x->b, RLX_FN_ADD, p, q)
#define SUB(p, q) rlx_mir_map2(x->b, RLX_FN_SUB, p, q)
#define MUL(p, q) rlx_mir_map2(x->b, RLX_FN_MUL, p, q)
#define DIV(p, q) rlx_mir_map2(x->b, RLX_FN_DIV, p, q)
#define LT(p, q) rlx_mir_map2(x->b, RLX_FN_LT, p, q)
#define LE(p, q) rlx_mir_map2(x->b, RLX_FN_LE, p, q)
#define EQ(p, q) rlx_mir_map2(x->b, RLX_FN_EQ, p, q)
#define AND(p, q) rlx_mir_map2(x->b, RLX_FN_AND, p, q)
#define MAX(p, q) rlx_mir_map2(x->b, RLX_FN_MAX, p, q)
#define MIN(p, q) rlx_mir_map2(x->b, RLX_FN_MIN, p, q)
#define NEG(p) rlx_mir_map1(x->b, RLX_FN_NEG, p)
#define EXP(p) rlx_mir_map1(x->b, RLX_FN_EXP, p)
#define LOG(p) rlx_mir_map1(x->b, RLX_FN_LOG, p)
#define SQRT(p) rlx_mir_map1(x->b, RLX_FN_SQRT, p)
#define ABS(p) rlx_mir_map1(x->b, RLX_FN_ABS, p)
#define FLOOR(p) rlx_mir_map1(x->b, RLX_FN_FLOOR, p)
#define LIKE(p, v) rlx_mir_like(x->b, p, v)
#define PICK(c, p, q) rlx_mir_pick(x->b, c, p, q)

#endif
