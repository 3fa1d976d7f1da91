/* tests/suites/onnx/old.h: operators that are still written in the IR's own builders: to go. */
#ifndef RLX_TESTS_ONNX_OLD_H
#define RLX_TESTS_ONNX_OLD_H
#include "frontend/blocks/build.h"
#define val onnx_val
#include "tests/suites/onnx/onnx.h"
#undef val
#undef ADD
#undef SUB
#undef MUL
#undef DIV
#undef LT
#undef LE
#undef EQ
#undef AND
#undef MAX
#undef MIN
#undef NEG
#undef EXP
#undef LOG
#undef SQRT
#undef ABS
#undef FLOOR
#undef LIKE
#undef PICK
typedef rlx_ir_value *val;
#define IR rlx_builder_at(x->b, NULL)
#define ox_in(x, i) rlx_value_ir(ox_in(x, i))
#define ox_raw(x, i) rlx_value_ir(ox_raw(x, i))
#define ox_out(x, i, v) ox_out(x, i, rlx_value_of(v))
#define ox_dim(v, i) ox_dim(rlx_value_of(v), i)
#define ox_axis(v, i) ox_axis(rlx_value_of(v), i)
#define ox_elems(v) ox_elems(rlx_value_of(v))
#define ADD(p, q) rlx_mir_map2(IR, RLX_FN_ADD, p, q)
#define SUB(p, q) rlx_mir_map2(IR, RLX_FN_SUB, p, q)
#define MUL(p, q) rlx_mir_map2(IR, RLX_FN_MUL, p, q)
#define DIV(p, q) rlx_mir_map2(IR, RLX_FN_DIV, p, q)
#define LT(p, q) rlx_mir_map2(IR, RLX_FN_LT, p, q)
#define LE(p, q) rlx_mir_map2(IR, RLX_FN_LE, p, q)
#define EQ(p, q) rlx_mir_map2(IR, RLX_FN_EQ, p, q)
#define AND(p, q) rlx_mir_map2(IR, RLX_FN_AND, p, q)
#define MAX(p, q) rlx_mir_map2(IR, RLX_FN_MAX, p, q)
#define MIN(p, q) rlx_mir_map2(IR, RLX_FN_MIN, p, q)
#define NEG(p) rlx_mir_map1(IR, RLX_FN_NEG, p)
#define EXP(p) rlx_mir_map1(IR, RLX_FN_EXP, p)
#define LOG(p) rlx_mir_map1(IR, RLX_FN_LOG, p)
#define SQRT(p) rlx_mir_map1(IR, RLX_FN_SQRT, p)
#define ABS(p) rlx_mir_map1(IR, RLX_FN_ABS, p)
#define FLOOR(p) rlx_mir_map1(IR, RLX_FN_FLOOR, p)
#define LIKE(p, v) rlx_mir_like(IR, p, v)
#define PICK(c, p, q) rlx_mir_pick(IR, c, p, q)
#endif
