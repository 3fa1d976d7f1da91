/* tests/suites/onnx/onnx.h: one operator of the ONNX backend suite as a flow, through rlx.h alone: a
 * custom stage that builds it.
 *
 *   onnx.c         a case file: metadata, tensors; the flow
 *   build.c        what operators read of a case, and shorthands for rlx_build_*
 *   operators.def  the operators, and which file builds them
 *
 * Shapes are static, and what an operator needs to know of an input when it is built (axes, pads,
 * sizes) is read from the input's tensor: those inputs are constants of the graph. Parameters that
 * users keep as weights are the flow's weights; what is left are inputs of its runs. */
#ifndef RLX_TESTS_ONNX_H
#define RLX_TESTS_ONNX_H

#include <cjson/cJSON.h>

#include "frontend/rlx.h"

enum { ONNX_MAX_IO = 16, ONNX_MAX_INTS = 64, ONNX_MAX_RANK = 8, ONNX_MAX_DIMS = 6 /* of inputs */ };

typedef rlx_value *val;

typedef struct onnx_tensor {
    char name[64];
    rlx_format format;
    int rank;
    int64_t dim[ONNX_MAX_RANK];
    int64_t elems;
    void *data; /* its own */
} onnx_tensor;

typedef struct onnx {
    char op[64];
    int opset;
    cJSON *attributes;
    int nin, nout;
    onnx_tensor in[ONNX_MAX_IO], out[ONNX_MAX_IO]; /* name "" (format NONE): left out */
    rlx_weights *weights;                          /* of the floats among the inputs: "in1", .. */
    char why[256];                                 /* not empty: what is not offered */
    /* while it is built */
    rlx_builder *b;
    val entry;  /* the flow's own input: input 0 .. */
    bool makes; /* .. or, as there is none, a number that nothing reads */
    val result[ONNX_MAX_IO];
    bool given[ONNX_MAX_IO]; /* inputs that runs take */
} onnx;

/* An operator: its build function, which operators.def lists. */
#define OPERATOR(name) void op_##name(onnx *x)
#define OP(name) OPERATOR(name);
#define AS(name, other)
#define MAKES(name) OPERATOR(name);
#include "tests/suites/onnx/operators.def"
#undef OP
#undef AS
#undef MAKES

/* One that is an expression, of input 0, a, too. */
#define EXPRESSION(name, expr) \
    OPERATOR(name)             \
    {                          \
        ox_out(x, 0, expr);    \
    }
#define UNARY(name, expr)    \
    OPERATOR(name)           \
    {                        \
        val a = ox_in(x, 0); \
        ox_out(x, 0, expr);  \
    }

/* Reads a case. Errors name the file. */
rlx_status onnx_read(const char *path, onnx *x);
void onnx_free(onnx *x);
/* Records the flow of a case, which is lent to it: inputs "in0", "in1", ..; outputs by their names.
 * RLX_UNSUPPORTED, with the reason, for what is not offered, here or when the flow is compiled. */
rlx_status onnx_record(onnx *x, rlx_flow **out);
/* A tensor of a case as runs take and give it: of more axes than programs have, flat. */
rlx_tensor onnx_as_tensor(const onnx_tensor *t);

/* ---- what operators read ---------------------------------------------------------------------- */

/* Ends the build: why the case is not offered. */
void ox_refuse(onnx *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool ox_has(const onnx *x, int i);
val ox_in(onnx *x, int i);          /* 16-bit floats widened to f32; refuses when it is left out */
val ox_raw(onnx *x, int i);         /* as it is */
val ox_weight(onnx *x, int i);      /* a weight of the flow, in its own format; NULL: left out */
void ox_out(onnx *x, int i, val v); /* nothing when that output is left out */
/* An input that is constant: its elements; returns how many (0 when it is left out). */
int ox_ints(onnx *x, int i, int64_t *out);
double ox_number(onnx *x, int i, double absent);

int64_t ox_int(const onnx *x, const char *name, int64_t absent);
double ox_float(const onnx *x, const char *name, double absent);
const char *ox_text(const onnx *x, const char *name, const char *absent);
int ox_list(const onnx *x, const char *name, int64_t *out); /* -1: absent */
rlx_format ox_dtype(onnx *x, int64_t code);                 /* of TensorProto */

/* ---- shorthands ------------------------------------------------------------------------------- */

int64_t ox_dim(val v, int axis); /* a negative axis counts from the end */
int ox_axis(val v, int64_t axis);
int64_t ox_elems(val v);
void ox_dims(val v, int64_t dims[ONNX_MAX_RANK]);
val ox_number_of(onnx *x, val like, double value);
/* Indices along an axis of v, with axes of 1 for the others. */
val ox_iota(onnx *x, rlx_format f, val v, int axis);
/* Over the axes that are set; keep: they stay, as 1. */
val ox_fold(onnx *x, rlx_map fn, val v, unsigned axes, bool keep);
val ox_mean(onnx *x, val v, unsigned axes); /* keeps */
unsigned ox_axes(val v, int first);         /* first..rank-1 */
val ox_like(onnx *x, val v, val shape);     /* v with the other's shape: as many elements */
val ox_expand(onnx *x, val v, val shape);   /* v, repeated to it */

/* Where the elements at these indices of the first n axes of v lie, in row-major order, i64; the
 * elements of all axes themselves. */
val ox_place(onnx *x, val v, int n, const val *at);
val ox_at(onnx *x, val v, const val *at);

#define MAP1(fn, p) rlx_build_map1(x->b, RLX_MAP_##fn, p)
#define MAP2(fn, p, q) rlx_build_map2(x->b, RLX_MAP_##fn, p, q)
#define ADD(p, q) MAP2(ADD, p, q)
#define SUB(p, q) MAP2(SUB, p, q)
#define MUL(p, q) MAP2(MUL, p, q)
#define DIV(p, q) MAP2(DIV, p, q)
#define LT(p, q) MAP2(LT, p, q)
#define LE(p, q) MAP2(LE, p, q)
#define EQ(p, q) MAP2(EQ, p, q)
#define AND(p, q) MAP2(AND, p, q)
#define MAX(p, q) MAP2(MAX, p, q)
#define MIN(p, q) MAP2(MIN, p, q)
#define NEG(p) MAP1(NEG, p)
#define EXP(p) MAP1(EXP, p)
#define LOG(p) MAP1(LOG, p)
#define SQRT(p) MAP1(SQRT, p)
#define ABS(p) MAP1(ABS, p)
#define FLOOR(p) MAP1(FLOOR, p)
#define LIKE(p, v) ox_number_of(x, p, v)
#define PICK(c, p, q) rlx_build_map3(x->b, RLX_MAP_SELECT, c, p, q)

#endif
