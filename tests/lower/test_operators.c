/* tests/lower/test_operators.c: operators by loops: fused MIR against its LIR, bit for bit, with
 * symbols at several live values, none included. What they mean is held against outside numbers by
 * build/tests/conformance opvectors. */
#include <math.h>

#include "tests/lower/emit_spirv.h"
#include "tests/lower/tape_runner.h"
#include "tests/mir/world.h"

typedef struct operators {
    const char *name, *text; /* of @main's body and type; T is a symbol */
    int64_t below;           /* integer inputs lie in 0..below-1; 0: any */
    const char *schedule;    /* that some kernel must have */
} operators;

#define MAIN(args, results, body) \
    "mir module @m {\n  func @main(" args ") -> (" results ") {\n" body "  }\n}\n"

static const operators cases[] = {
    {"convolution",
     MAIN("%x: f32[T,4] input \"x\", %w: f32[5,4,3] input \"w\"", "f32[5,T]",
          "%0 = const {value=0} : f32\n"
          "%1 = transpose %x {perm=[1,0]} : f32[4,T]\n"
          "%2 = pad %1, %0 {axis=1, low=2, high=0} : f32[4,T + 2]\n"
          "%3 = window %2 {axis=1, size=3, step=1} : f32[4,T,3]\n"
          "%4 = transpose %3 {perm=[1,0,2]} : f32[T,4,3]\n"
          "%5 = broadcast %4 {axes=[1,2,3]} : f32[5,T,4,3]\n"
          "%6 = broadcast %w {axes=[0,2,3]} : f32[5,T,4,3]\n"
          "%7 = map %5, %6 {fn=mul} : f32[5,T,4,3]\n"
          "%8 = reduce %7 {fn=add, axis=3, lanes=1} : f32[5,T,4]\n"
          "%9 = reduce %8 {fn=add, axis=2, lanes=1} : f32[5,T]\n"
          "return %9\n"),
     0, "loops"},
    {"softmax of columns",
     MAIN("%x: f32[T,7] input \"x\"", "f32[T,7]",
          "%0 = transpose %x {perm=[1,0]} : f32[7,T]\n"
          "%1 = reduce %0 {fn=max, axis=1, lanes=1} : f32[7]\n"
          "%2 = broadcast %1 {axes=[1]} : f32[T,7]\n"
          "%3 = map %x, %2 {fn=sub} : f32[T,7]\n"
          "%4 = map %3 {fn=exp} : f32[T,7]\n"
          "%5 = transpose %4 {perm=[1,0]} : f32[7,T]\n"
          "%6 = reduce %5 {fn=add, axis=1, lanes=1} : f32[7]\n"
          "%7 = broadcast %6 {axes=[1]} : f32[T,7]\n"
          "%8 = map %4, %7 {fn=div} : f32[T,7]\n"
          "return %8\n"),
     0, "loops"},
    {"lanes that end within a row",
     MAIN("%x: f32[T,21] input \"x\"", "f32[T]",
          "%0 = const {value=0.5} : f32\n"
          "%1 = pad %x, %0 {axis=1, low=1, high=3} : f32[T,25]\n"
          "%2 = reduce %1 {fn=add, axis=1, lanes=16} : f32[T]\n"
          "return %2\n"),
     0, "loops"},
    {"pads of what may be empty",
     MAIN("%x: f32[T,3] input \"x\", %i: i32[T] input \"i\"",
          "f32[T + 3,3], f32[4], f32[2 * T + 2]",
          "%0 = const {value=0.5} : f32\n"
          "%1 = pad %x, %0 {axis=0, low=2, high=1} : f32[T + 3,3]\n"
          "%2 = reduce %x {fn=max, axis=1, lanes=1} : f32[T]\n"
          "%3 = gather %2, %i : f32[T]\n"
          "%4 = broadcast %3 {axes=[1]} : f32[4,T]\n"
          "%5 = pad %4, %0 {axis=1, low=0, high=2} : f32[4,T + 2]\n"
          "%6 = reduce %5 {fn=add, axis=1, lanes=1} : f32[4]\n"
          "%7 = broadcast %3 {axes=[0]} : f32[T,2]\n"
          "%8 = reshape %7 : f32[2 * T]\n"
          "%9 = pad %8, %0 {axis=0, low=1, high=1} : f32[2 * T + 2]\n"
          "return %1, %6, %9\n"),
     1, "loops"},
    {"gather of gathers, backwards",
     MAIN("%x: f32[9,3] input \"x\", %i: i64[T,2] input \"i\"", "f32[T,2,3]",
          "%0 = slice %x {axis=0, start=8, size=9, step=-1} : f32[9,3]\n"
          "%1 = concat %0, %x {axis=0} : f32[18,3]\n"
          "%2 = gather %1, %i : f32[T,2,3]\n"
          "%3 = map %2 {fn=neg} : f32[T,2,3]\n"
          "return %3\n"),
     18, "loops"},
    {"scatter of sums, then running products",
     MAIN("%x: f32[5,4] input \"x\", %i: i32[T] input \"i\", %u: f32[T,4] input \"u\"",
          "f32[5,4], f32[4,5]",
          "%0 = map %u {fn=abs} : f32[T,4]\n"
          "%1 = scatter %x, %i, %0 {fn=add} : f32[5,4]\n"
          "%2 = scan %1 {fn=mul, axis=1} : f32[5,4]\n"
          "%3 = transpose %1 {perm=[1,0]} : f32[4,5]\n"
          "return %2, %3\n"),
     7, "loops"}, /* 5 and 6 are left out */
    {"views that divide symbols",
     MAIN("%x: f32[T,6] input \"x\"", "f32[T,6], f32[6 * T]",
          "%0 = transpose %x {perm=[1,0]} : f32[6,T]\n"
          "%1 = reshape %0 : f32[6 * T]\n"
          "%2 = reshape %1 : f32[T,6]\n"
          "%3 = map %2, %x {fn=add} : f32[T,6]\n"
          "return %3, %1\n"),
     0, "loops"},
    {"unsigned integers",
     MAIN("%x: u64[T,3] input \"x\", %y: u64[T,3] input \"y\", %z: u16[T] input \"z\"",
          "u64[T,3], bool[T], u16[T]",
          "%0 = map %x, %y {fn=div} : u64[T,3]\n"
          "%1 = map %x, %y {fn=mod} : u64[T,3]\n"
          "%2 = map %0, %1 {fn=xor} : u64[T,3]\n"
          "%3 = map %2, %y {fn=min} : u64[T,3]\n"
          "%4 = map %x, %y {fn=lt} : bool[T,3]\n"
          "%5 = reduce %4 {fn=or, axis=1, lanes=1} : bool[T]\n"
          "%6 = const {value=3} : u16\n"
          "%7 = map %z, %6 {fn=shr} : u16[T]\n"
          "return %3, %5, %7\n"),
     0, "loops"},
    {"the largest integers",
     MAIN("%x: u64[T] input \"x\"", "f32[T], f64[T], u64[T], bool[T]",
          "%0 = const {value=9007199254740992} : u64\n" /* 2^53 */
          "%1 = const {value=2047} : u64\n"
          "%2 = map %0, %1 {fn=mul} : u64\n" /* near 2^64 */
          "%3 = map %x, %2 {fn=add} : u64[T]\n"
          "%4 = cast %3 : f32[T]\n"
          "%5 = cast %3 : f64[T]\n"
          "%6 = const {value=0.75} : f64\n"
          "%7 = map %5, %6 {fn=mul} : f64[T]\n"
          "%8 = cast %7 : u64[T]\n"
          "%9 = map %2, %3 {fn=le} : bool[T]\n"
          "return %4, %5, %8, %9\n"),
     0, NULL},
    {"integers by index",
     MAIN("%x: f32[T,5] input \"x\"", "i64[T], i32[T,5]",
          "%0 = reduce %x {fn=max, axis=1, lanes=16} : f32[T]\n"
          "%1 = broadcast %0 {axes=[0]} : f32[T,5]\n"
          "%2 = map %x, %1 {fn=eq} : bool[T,5]\n"
          "%3 = iota : i64[5]\n"
          "%4 = broadcast %3 {axes=[1]} : i64[T,5]\n"
          "%5 = const {value=5} : i64\n"
          "%6 = map %2, %4, %5 {fn=select} : i64[T,5]\n"
          "%7 = reduce %6 {fn=min, axis=1, lanes=1} : i64[T]\n"
          "%8 = bitcast %x : i32[T,5]\n"
          "return %7, %8\n"),
     0, "loops"},
    {"functions by steps",
     MAIN("%x: f32[T] input \"x\", %y: f64[T] input \"y\"", "f32[T], f64[T]",
          "%0 = map %x {fn=sin} : f32[T]\n"
          "%1 = map %0 {fn=erf} : f32[T]\n"
          "%2 = map %1 {fn=atan} : f32[T]\n"
          "%3 = map %2 {fn=tanh} : f32[T]\n"
          "%4 = map %y {fn=exp} : f64[T]\n"
          "%5 = map %4 {fn=cos} : f64[T]\n"
          "%6 = map %5, %5 {fn=mul} : f64[T]\n"
          "%7 = map %6 {fn=log} : f64[T]\n"
          "return %3, %7\n"),
     0, NULL},
    {"delta rule by columns",
     MAIN("%k: f32[T,2,5] input \"k\", %v: f32[T,42] input \"v\", %g: f32[T,2] input \"g\", %s: "
          "f32[2,5,21] input \"s\"",
          "f32[T,2,21], f32[2,5,21]",
          "%0 = reshape %v : f32[T,2,21]\n"
          "%o, %n = recur %k, %0, %g, %s {extent=T, counts=[3,1], parallel=2, has=[1,3,1,3], "
          "kind=\"columns\"} : (f32[T,2,21], f32[2,5,21]) (%a: f32[5], %b: f32, %c: f32, %d: "
          "f32[5]) {\n"
          "%1 = map %d, %c {fn=mul} : f32[5]\n"
          "%2 = map %1, %a {fn=mul} : f32[5]\n"
          "%3 = reduce %2 {fn=add, axis=0, lanes=1} : f32\n"
          "%4 = map %b, %3 {fn=sub} : f32\n"
          "%5 = map %a, %4, %1 {fn=fma} : f32[5]\n"
          "%6 = map %5, %a {fn=mul} : f32[5]\n"
          "%7 = reduce %6 {fn=add, axis=0, lanes=1} : f32\n"
          "yield %7, %5\n}\n"
          "return %o, %n\n"),
     0, "columns"},
    {"a cell with a hidden product",
     MAIN("%x: f32[3,T,20] input \"x\", %h: f32[3,20] input \"h\", %w: f16[20,32] input \"w\", %b: "
          "f32[20] input \"b\"",
          "f32[T,3,20], f32[T,3]",
          "%0 = transpose %x {perm=[1,0,2]} : f32[T,3,20]\n"
          "%1 = cast %w : f32[20,32]\n"
          "%o, %m, %n = recur %0, %h, %1, %b {extent=T, step=-1, counts=[1,1], parallel=1, "
          "has=[1,1,0,0], kind=\"rows\"} : (f32[T,3,20], f32[T,3], f32[3,20]) (%a: f32[20], %c: "
          "f32[20], %d: f32[20,32], %e: f32[20]) {\n"
          "%z = const {value=0.5} : f32\n"
          "%p = pad %c, %z {axis=0, low=4, high=8} : f32[32]\n"
          "%2 = contract %p, %d {lanes=16} : f32[20]\n"
          "%3 = map %2, %a {fn=add} : f32[20]\n"
          "%4 = map %3, %e {fn=add} : f32[20]\n"
          "%5 = map %4 {fn=tanh} : f32[20]\n"
          "%6 = map %5, %c {fn=mul} : f32[20]\n"
          "%7 = reduce %6 {fn=max, axis=0, lanes=16} : f32\n"
          "yield %5, %7, %5\n}\n"
          "return %o, %m\n"),
     0, "rows"},
    {"states that change places, odd products",
     MAIN("%x: f32[T] input \"x\", %p: f32[7] input \"p\", %q: f32[7] input \"q\", %w: f32[7,7] "
          "input \"w\", %n: i32 input \"n\"",
          "f32[T,7], f32[7], f32[7], i32",
          "%o, %1, %2, %3 = recur %x, %p, %q, %n, %w {extent=T, counts=[1,3], parallel=0, "
          "has=[0,0,0,0,0], "
          "kind=\"rows\"} : (f32[T,7], f32[7], f32[7], i32) (%a: f32, %b: f32[7], %c: f32[7], %i: "
          "i32, %d: f32[7,7]) {\n"
          "%4 = contract %c, %d {lanes=4} : f32[7]\n"
          "%5 = map %4, %a {fn=add} : f32[7]\n"
          "%one = const {value=1} : i32\n"
          "%6 = map %i, %one {fn=add} : i32\n"
          "yield %c, %5, %b, %6\n}\n"
          "return %o, %1, %2, %3\n"),
     0, "rows"},
    {"steps without sequences, columns of a symbol",
     MAIN("%s: f32[3,T] input \"s\", %w: f32[T] input \"w\"", "f32[2,T], f32[3,T]",
          "%o, %n = recur %s, %w {extent=2, counts=[0,1], parallel=1, has=[1,1], kind=\"columns\"} "
          ": (f32[2,T], f32[3,T]) (%a: f32[3], %b: f32) {\n"
          "%1 = slice %a {axis=0, start=1, size=2} : f32[2]\n"
          "%2 = reshape %b : f32[1]\n"
          "%3 = concat %1, %2 {axis=0} : f32[3]\n"
          "%4 = map %3, %b {fn=mul} : f32[3]\n"
          "%5 = reduce %a {fn=add, axis=0, lanes=1} : f32\n"
          "yield %5, %4\n}\n"
          "return %o, %n\n"),
     0, "columns"},
    {"a sum over a symbol, whose panels are no multiple of what is left by pieces",
     MAIN("%x: f32[7,T + 8] input \"x\", %w: f32[5,T + 8] input \"w\"", "f32[7,5]",
          "%0 = contract %x, %w {lanes=1} : f32[7,5]\n"
          "return %0\n"),
     0, NULL}, /* by panels of 24 on a CPU */
    {"a row beside itself and its halves swapped",
     MAIN("%x: f32[T,8] input \"x\", %w: f32[6,8] input \"w\"", "f32[T,12], f32[T,6], f32[T]",
          "%0 = contract %x, %w {lanes=16} : f32[T,6]\n"
          "%1 = concat %0, %0 {axis=1} : f32[T,12]\n"
          "%2 = slice %0 {axis=1, start=0, size=3} : f32[T,3]\n"
          "%3 = slice %0 {axis=1, start=3, size=3} : f32[T,3]\n"
          "%4 = concat %3, %2 {axis=1} : f32[T,6]\n"
          "%5 = map %4, %4 {fn=mul} : f32[T,6]\n"
          "%7 = slice %w {axis=0, start=2, size=1} : f32[1,8]\n"
          "%8 = contract %x, %7 {lanes=16} : f32[T,1]\n"
          "%9 = reshape %8 : f32[T]\n"
          "%10 = map %9 {fn=neg} : f32[T]\n"
          "return %1, %5, %10\n"),
     0, NULL},
    {"columns in two ways that no block of them has both",
     MAIN("%x: f32[T,8] input \"x\", %w: f32[12,8] input \"w\"",
          "f32[T,3,4], f32[T,4,3], f32[T,2,6]",
          "%0 = contract %x, %w {lanes=16} : f32[T,12]\n"
          "%1 = reshape %0 : f32[T,3,4]\n"
          "%2 = map %1 {fn=abs} : f32[T,3,4]\n"
          "%3 = reshape %2 : f32[T,12]\n"
          "%4 = map %3 {fn=neg} : f32[T,12]\n"
          "%5 = reshape %4 : f32[T,4,3]\n"
          "%6 = map %5, %5 {fn=add} : f32[T,4,3]\n"
          "%7 = reshape %4 : f32[T,2,6]\n"
          "%8 = map %7, %7 {fn=mul} : f32[T,2,6]\n"
          "return %2, %6, %8\n"),
     0, NULL},
    {"nine contracts in one sum",
     MAIN("%x: f32[T,8] input \"x\", %w0: f32[6,8] input \"w0\", "
          "%w1: f32[6,8] input \"w1\", "
          "%w2: f32[6,8] input \"w2\", "
          "%w3: f32[6,8] input \"w3\", "
          "%w4: f32[6,8] input \"w4\", "
          "%w5: f32[6,8] input \"w5\", "
          "%w6: f32[6,8] input \"w6\", "
          "%w7: f32[6,8] input \"w7\", "
          "%w8: f32[6,8] input \"w8\"",
          "f32[T,6]",
          "%0 = contract %x, %w0 {lanes=16} : f32[T,6]\n"
          "%1 = contract %x, %w1 {lanes=16} : f32[T,6]\n"
          "%2 = contract %x, %w2 {lanes=16} : f32[T,6]\n"
          "%3 = contract %x, %w3 {lanes=16} : f32[T,6]\n"
          "%4 = contract %x, %w4 {lanes=16} : f32[T,6]\n"
          "%5 = contract %x, %w5 {lanes=16} : f32[T,6]\n"
          "%6 = contract %x, %w6 {lanes=16} : f32[T,6]\n"
          "%7 = contract %x, %w7 {lanes=16} : f32[T,6]\n"
          "%8 = contract %x, %w8 {lanes=16} : f32[T,6]\n"
          "%9 = map %0, %1 {fn=add} : f32[T,6]\n"
          "%10 = map %9, %2 {fn=add} : f32[T,6]\n"
          "%11 = map %10, %3 {fn=add} : f32[T,6]\n"
          "%12 = map %11, %4 {fn=add} : f32[T,6]\n"
          "%13 = map %12, %5 {fn=add} : f32[T,6]\n"
          "%14 = map %13, %6 {fn=add} : f32[T,6]\n"
          "%15 = map %14, %7 {fn=add} : f32[T,6]\n"
          "%16 = map %15, %8 {fn=add} : f32[T,6]\n"
          "return %16\n"),
     0, NULL},
    {"nine results of one contract",
     MAIN(
         "%x: f32[T,8] input \"x\", %w: f32[6,8] input \"w\"",
         "f32[T,6], f32[T,6], f32[T,6], f32[T,6], f32[T,6], f32[T,6], f32[T,6], f32[T,6], f32[T,6]",
         "%0 = contract %x, %w {lanes=16} : f32[T,6]\n"
         "%1 = map %0, %0 {fn=add} : f32[T,6]\n"
         "%2 = map %0, %1 {fn=mul} : f32[T,6]\n"
         "%3 = map %0, %2 {fn=sub} : f32[T,6]\n"
         "%4 = map %0, %3 {fn=max} : f32[T,6]\n"
         "%5 = map %0, %4 {fn=add} : f32[T,6]\n"
         "%6 = map %0, %5 {fn=mul} : f32[T,6]\n"
         "%7 = map %0, %6 {fn=min} : f32[T,6]\n"
         "%8 = map %0, %7 {fn=sub} : f32[T,6]\n"
         "%9 = map %0, %8 {fn=add} : f32[T,6]\n"
         "return %1, %2, %3, %4, %5, %6, %7, %8, %9\n"),
     0, NULL},
    {"a contract of a view of what is cast",
     MAIN("%x: u32[8,5,3] input \"x\", %t: f32[T] input \"t\"", "f32[8,8], f32[T]",
          "%0 = cast %x : f32[8,5,3]\n"
          "%1 = reshape %0 : f32[8,15]\n"
          "%2 = contract %1, %1 {lanes=16} : f32[8,8]\n"
          "%3 = map %t {fn=neg} : f32[T]\n"
          "return %2, %3\n"),
     9, NULL},
    {"contracts of nothing",
     MAIN("%x: f32[T,0] input \"x\", %w: f32[4,0] input \"w\", %y: f32[T,4] input \"y\", %v: "
          "f32[0,4] input \"v\", "
          "%z: f32[0,4] input \"z\", %w2: f32[4,4] input \"w2\"",
          "f32[T,4], f32[T,0], f32[0,4]",
          "%0 = contract %x, %w {lanes=16} : f32[T,4]\n"
          "%1 = map %0, %y {fn=add} : f32[T,4]\n"
          "%2 = contract %y, %v {lanes=16} : f32[T,0]\n"
          "%4 = map %2, %2 {fn=add} : f32[T,0]\n"
          "%5 = contract %z, %w2 {lanes=16} : f32[0,4]\n"
          "%6 = map %5 {fn=neg} : f32[0,4]\n"
          "return %1, %4, %6\n"),
     0, NULL},
};
enum { NCASES = sizeof cases / sizeof *cases, MAX_RESULTS = 9 };

static const rlx_lir_target targets[] = {
    {.unit = RLX_UNIT_CPU,
     .vector_f32 = 8,
     .vector_regs = 16,
     .team = 1,
     .threads = 2,
     .l1_bytes = 32768,
     .l2_bytes = 1 << 20,
     .team_bytes = 1 << 20},
    {.unit = RLX_UNIT_GPU,
     .vector_f32 = 1,
     .vector_regs = 1,
     .team = 64,
     .threads = 8,
     .l1_bytes = 32768,
     .l2_bytes = 1 << 20,
     .team_bytes = 32768},
};

static void add_inputs(world *w, const operators *o)
{
    const rlx_ir_func *f = rlx_ir_func_find(w->module, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        int64_t shape[RLX_MAX_RANK + 1];
        for (int d = 0; d < t->rank; d++)
            shape[d] = rlx_dim_eval(w->dims, t->dim[d], w->symbols);
        shape[t->rank] = -1;
        rlx_eval_tensor *x = world_tensor(w, f->arg_info[i].symbol, t->format, shape);
        world_fill(x);
        for (int64_t k = 0; !rlx_format_is_float(t->format) && k < world_elems(x); k++)
            rlx_format_store(t->format, x->data, k,
                             o->below ? (double)(k * 5 % o->below)
                                      : (double)(k * k * 7919 % 65521 + 1));
    }
}

static bool has_schedule(const rlx_ir_module *lir, const char *name)
{
    for (const rlx_ir_func *f = lir->first; f; f = f->next) {
        const rlx_attr *a = f->is_kernel ? rlx_ir_func_attr(f, RLX_ATTR_SCHEDULE) : NULL;
        if (a && strcmp(a->text, name) == 0)
            return true;
    }
    return false;
}

static void run_lir(world *w, const operators *o, const rlx_ir_module *mir,
                    const rlx_lir_target *target, const int64_t *upper, rlx_eval_tensor *got, int n)
{
    rlx_mir_lower_options options = {.target = target, .upper = upper};
    rlx_ir_module *lir;
    rlx_lir_plan_report report;
    assert_ok(rlx_mir_lower(mir, &options, &lir));
    ck_assert_msg(!o->schedule || has_schedule(lir, o->schedule), "%s: no kernel by %s", o->name,
                  o->schedule);
    assert_ok(rlx_lir_check_plan(lir, "main", upper, &report));
    if (target->unit == RLX_UNIT_GPU && w->symbols[0] == 1)
        assert_ok(emit_spirv(lir, target->team, 32 << 10));
    tape_run r = {.module = lir,
                  .env = &w->env,
                  .arena_bytes = (size_t)report.arena_bytes,
                  .options = {.teams = 3, .seed = 1}};
    r.arena = aligned_alloc(64, (r.arena_bytes + 63) / 64 * 64 + 64);
    assert_ok(tape_run_entry(&r, "main", got, n));
    free(r.arena);
    rlx_ir_module_destroy(lir);
}

static void compare(const operators *o, const rlx_eval_tensor *want, const rlx_eval_tensor *got,
                    int64_t live)
{
    size_t bytes = rlx_format_bytes(want->format, 1);
    for (int64_t k = 0; k < world_elems(want); k++) {
        const char *a = (const char *)want->data + (size_t)k * bytes,
                   *b = (const char *)got->data + (size_t)k * bytes;
        bool nan = rlx_format_is_float(want->format) &&
                   isnan(rlx_format_load(want->format, a, 0)) &&
                   isnan(rlx_format_load(want->format, b, 0));
        ck_assert_msg(nan || memcmp(a, b, bytes) == 0, "%s, T=%lld, element %lld: mir %g, lir %g",
                      o->name, (long long)live, (long long)k, rlx_format_load(want->format, a, 0),
                      rlx_format_load(want->format, b, 0));
    }
}

START_TEST(lir_has_the_bits_of_mir)
{
    const operators *o = &cases[_i];
    static const int64_t lives[] = {1, 5, 0, 16};
    int64_t upper[RLX_MAX_SYMBOLS] = {16};
    world w;
    world_open(&w, o->text);
    const int n = rlx_ir_func_find(w.module, "main")->nresults;
    for (size_t l = 0; l < sizeof lives / sizeof *lives; l++) {
        rlx_eval_tensor want[MAX_RESULTS], got[MAX_RESULTS];
        rlx_ir_module *mir;
        world_symbol(&w, "T", lives[l]);
        add_inputs(&w, o);
        assert_ok(rlx_mir_eval(w.module, "main", &w.env, want, n));
        assert_ok(rlx_ir_module_clone(w.module, &mir));
        assert_ok(rlx_mir_optimize(mir));
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            for (int i = 0; i < n; i++) {
                got[i] = want[i];
                got[i].data = malloc(rlx_format_bytes(want[i].format, world_elems(&want[i])) + 1);
            }
            run_lir(&w, o, mir, &targets[t], upper, got, n);
            for (int i = 0; i < n; i++) {
                compare(o, &want[i], &got[i], lives[l]);
                free(got[i].data);
            }
        }
        for (int i = 0; i < n; i++)
            free(want[i].data);
        rlx_ir_module_destroy(mir);
    }
    world_close(&w);
}
END_TEST

/* An index that is out of range is held inside, by tiles as by loops: the interpreter checks every
 * access. */
START_TEST(gathers_stay_inside)
{
    static const char *const texts[] = {
        MAIN("%x: f32[5,4] input \"x\", %i: i32[T] input \"i\"", "f32[T,4]",
             "%0 = gather %x, %i : f32[T,4]\n"
             "return %0\n"),
        MAIN("%x: f32[5,4] input \"x\", %i: i64[T] input \"i\"", "f32[T,4]",
             "%0 = gather %x, %i : f32[T,4]\n"
             "return %0\n")};
    static const double ids[] = {-1, 0, 4, 5, 7, -2147483648.0, 2147483647.0};
    static const int row[] = {0, 0, 4, 4, 4, 0, 4};
    enum { N = sizeof row / sizeof *row };
    static const operators o = {.name = "gather"};
    const int64_t upper[RLX_MAX_SYMBOLS] = {N}, table[] = {5, 4, -1}, list[] = {N, -1};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        world w;
        world_open(&w, texts[i]);
        world_symbol(&w, "T", N);
        rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, table);
        rlx_eval_tensor *id = world_tensor(&w, "i", i ? RLX_I64 : RLX_I32, list);
        world_fill(x);
        for (int k = 0; k < N; k++)
            rlx_format_store(id->format, id->data, k, ids[k]);
        assert_ok(rlx_mir_optimize(w.module));
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            float y[N * 4];
            rlx_eval_tensor got = {.format = RLX_F32, .rank = 2, .dim = {N, 4}, .data = y};
            run_lir(&w, &o, w.module, &targets[t], upper, &got, 1);
            for (int k = 0; k < N; k++)
                ck_assert_msg(!memcmp(y + 4 * k, (float *)x->data + 4 * row[k], 4 * sizeof *y),
                              "row %g is not row %d", ids[k], row[k]);
        }
        world_close(&w);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("operators");
    TCase *c = tcase_create("loops");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, lir_has_the_bits_of_mir, 0, NCASES);
    tcase_add_test(c, gathers_stay_inside);
    suite_add_tcase(s, c);
    return run_suite(s, NCASES + 1);
}
