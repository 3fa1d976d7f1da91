/* The verifier, the pass runner, and short memory. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/base/suite.h"
#include "tests/base/test_level.h"

static rlx_dims *dims;
static rlx_ir_module *m;

static const char good[] = "test module @m {\n"
                           "  func @f(%x: f32[2], %w: f32[2] weight \"w\") -> (f32[2]) {\n"
                           "    %0 = map %x {fn=neg} : f32[2]\n"
                           "    %1 = region %0 {root=\"map\"} : f32[2] (%a: f32[2]) {  // mlp\n"
                           "      %2 = map %a {fn=abs} : f32[2]\n"
                           "      yield %2\n"
                           "    }\n"
                           "    %3 = loop %0, %1 : f32[2] (%i: i64) {\n"
                           "      sync\n"
                           "      yield %0\n"
                           "    }\n"
                           "    return %3\n"
                           "  }\n"
                           "  func @g() {\n"
                           "    call {callee=@f}\n"
                           "    return\n"
                           "  }\n"
                           "}\n";

static void setup(void)
{
    dims = rlx_dims_create();
    assert_ok(rlx_ir_parse(&test_level, dims, "good", good, &m));
    assert_ok(rlx_ir_verify(m));
}

static void teardown(void)
{
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}

/* ---- one broken rule each
 * ------------------------------------------------------------------------ */

static rlx_ir_node *neg(void)
{
    return m->first->body->first;
}

static rlx_ir_node *region(void)
{
    return neg()->next;
}

static rlx_ir_node *loop(void)
{
    return region()->next;
}

static void too_few_operands(void)
{
    neg()->nin = 0;
}

static void too_many_results(void)
{
    neg()->nout = 0;
}

static void missing_operand(void)
{
    neg()->in[0] = NULL;
}

static void foreign_attribute(void)
{
    assert_ok(rlx_ir_attr_set(m, neg(), rlx_attr_int(RLX_ATTR_AXIS, 1)));
}

static void attribute_twice(void)
{
    static rlx_attr twice[2];
    twice[0] = twice[1] = neg()->attr[0];
    neg()->attr = twice;
    neg()->nattr = 2;
}

static void wrong_fn(void)
{
    neg()->attr[0].i = 999;
}

static void wrong_type(void)
{
    neg()->out[0]->type.format = RLX_F64;
}

static void typeless(void)
{
    loop()->out[0]->type.kind = RLX_TYPE_NONE;
}

static void bad_extent(void)
{
    loop()->out[0]->type.dim[0] = RLX_DIM_INVALID;
}

static void used_before(void)
{
    neg()->in[0] = region()->out[0];
}

static void used_in_itself(void)
{
    loop()->blocks[0]->last->in[0] = loop()->out[0];
}

static void unseen_across_isolation(void)
{
    region()->blocks[0]->first->in[0] = neg()->out[0];
}

static void unseen_outside_its_block(void)
{
    loop()->in[1] = region()->blocks[0]->first->out[0];
}

static void wrong_parent(void)
{
    neg()->parent = region()->blocks[0];
}

static void wrong_link(void)
{
    region()->prev = NULL;
}

static void wrong_back_pointer(void)
{
    neg()->out[0]->def = region();
}

static void block_of_another(void)
{
    loop()->blocks[0] = region()->blocks[0];
}

static void too_few_blocks(void)
{
    loop()->nblock = 0;
}

static void no_terminator(void)
{
    rlx_ir_node_remove(m->first->body->last);
}

static void two_terminators(void)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, m);
    b.block = m->first->body;
    rlx_ir_build_return(&b, 1, &neg()->out[0]);
    assert_ok(rlx_ir_builder_finish(&b));
}

static void yield_from_function(void)
{
    m->first->body->last->op = TEST_YIELD;
}

static void return_from_loop(void)
{
    loop()->blocks[0]->last->op = TEST_RETURN;
}

static void returns_too_little(void)
{
    m->first->body->last->nin = 0;
}

static void returns_another_type(void)
{
    m->first->results[0].format = RLX_F16;
}

static void empty_block(void)
{
    loop()->blocks[0]->first = loop()->blocks[0]->last = NULL;
}

static void argument_of_another(void)
{
    loop()->blocks[0]->args[0]->index = 7;
}

static void op_rule(void)
{
    region()->nin = 0;
}

static void op_of_no_level(void)
{
    neg()->op = 77;
}

static void weight_without_symbol(void)
{
    m->first->arg_info[1].symbol = NULL;
}

static void names_twice(void)
{
    m->last->name = "f";
}

static void level_rule(void)
{
    m->last->name = "forbidden";
}

static void callee_gone(void)
{
    rlx_ir_func_remove(m, m->first);
}

static const struct {
    void (*breaks)(void);
    const char *message;
} broken[] = {
    {too_few_operands, "map IR1: takes at least 1 operands, has 0"},
    {too_many_results, "map IR2: gives 1 results, has 0"},
    {missing_operand, "map IR3: operand 0 is missing"},
    {foreign_attribute, "map IR4: takes no attribute axis"},
    {attribute_twice, "map IR5: has attribute fn twice, or out of order"},
    {wrong_fn, "attribute fn is no scalar function"},
    {wrong_type, "map IR6: result 0 is f32[2] by its operands, and written as f64[2]"},
    {typeless, "loop IR7: the type of result 0 must be given"},
    {bad_extent, "extent 0 of a type is invalid"},
    {used_before, "map IR8: operand 0 is not defined before it"},
    {used_in_itself, "yield IR8: operand 0 is not defined before it"},
    {unseen_across_isolation, "map IR9: operand 0 is defined where it cannot be seen"},
    {unseen_outside_its_block, "loop IR9: operand 1 is defined where it cannot be seen"},
    {wrong_parent, "map IR10: is linked into a block that is not its own"},
    {wrong_link, "map IR10: is linked wrongly to the next node"},
    {wrong_back_pointer, "map IR10: result 0 does not point back"},
    {block_of_another, "loop IR10: block 0 does not point back"},
    {too_few_blocks, "loop IR11: has 0 blocks, not 1"},
    {no_terminator, "loop IR12: is the last node of a block and ends none"},
    {two_terminators, "return IR12: ends a block before its last node"},
    {yield_from_function, "yield IR13: ends a function"},
    {return_from_loop, "return IR13: ends a nested block"},
    {returns_too_little, "return IR14: gives 0 values, @f has 1 results"},
    {returns_another_type, "return IR14: value 0 has not the type of result 0 of @f"},
    {empty_block, "a block has no nodes"},
    {argument_of_another, "argument 0 of a block does not point back"},
    {op_rule, "region R1: has 1 arguments for 0 operands at mlp"},
    {op_of_no_level, "test has no op 77"},
    {weight_without_symbol, "the role and symbol of argument 1 disagree"},
    {names_twice, "there are two functions of this name"},
    {level_rule, "F1: a function of this name is not allowed"},
    {callee_gone, "call K1: there is no function @f"},
};
enum { NBROKEN = sizeof(broken) / sizeof(broken[0]) };

START_TEST(verifier_names_what_is_wrong)
{
    broken[_i].breaks();
    assert_error(rlx_ir_verify(m), RLX_INVALID_IR, broken[_i].message);
}
END_TEST

START_TEST(verifier_names_node_and_function)
{
    used_in_itself();
    rlx_status st = rlx_ir_verify(m);
    char *text = rlx_status_text(st);
    ck_assert_ptr_nonnull(strstr(text, "verifying test @f"));
    ck_assert_ptr_nonnull(strstr(text, "caused by: verifying yield %3 ("));
    ck_assert_ptr_null(strstr(text, "verifying %3 = loop"));
    free(text);
    rlx_status_free(st);
}
END_TEST

/* ---- passes
 * ------------------------------------------------------------------------------------------- */

static rlx_status run_nothing(rlx_pass_cx *cx)
{
    return rlx_arena_alloc(cx->scratch, 100) ? RLX_OK : RLX_OOM();
}

static rlx_status run_negate(rlx_pass_cx *cx)
{
    cx->module->first->body->first->attr[0].i = RLX_FN_ABS;
    cx->changed = true;
    return RLX_OK;
}

static rlx_status run_quietly(rlx_pass_cx *cx)
{
    RLX_TRY(run_negate(cx));
    cx->changed = false;
    return RLX_OK;
}

static rlx_status run_break(rlx_pass_cx *cx)
{
    rlx_ir_node_remove(cx->module->first->body->last);
    cx->changed = true;
    return RLX_OK;
}

static rlx_status run_fail(rlx_pass_cx *cx)
{
    (void)cx;
    return RLX_FAIL(RLX_UNSUPPORTED, "not this one");
}

static rlx_status run_options(rlx_pass_cx *cx)
{
    return *(const int *)cx->options == 5 ? RLX_OK : RLX_FAIL(RLX_INTERNAL, "no options");
}

/* Something that text cannot keep. */
static rlx_status run_untextual(rlx_pass_cx *cx)
{
    cx->module->first->body->last->place = "two\nlines";
    cx->changed = true;
    return RLX_OK;
}

static const rlx_pass nothing = {"nothing", run_nothing}, negate = {"negate", run_negate},
                      quietly = {"quietly", run_quietly}, breaks = {"breaks", run_break},
                      fails = {"fails", run_fail}, options_pass = {"options", run_options},
                      untextual = {"untextual", run_untextual};

static void clear_environment(void)
{
    unsetenv("RLX_PRINT");
    unsetenv("RLX_CHECK");
}

START_TEST(passes_run_in_order)
{
    clear_environment();
    int five = 5;
    rlx_pass_options options = {.options = &five};
    assert_ok(rlx_ir_run_passes(m, (rlx_pass[]){nothing, negate, options_pass}, 3, &options));
    ck_assert_int_eq(neg()->attr[0].i, RLX_FN_ABS);
    assert_ok(rlx_ir_run_passes(m, &nothing, 1, NULL));
    assert_error(rlx_ir_run_passes(m, (rlx_pass[]){fails, breaks}, 2, NULL), RLX_UNSUPPORTED,
                 "running fails on @m");
    assert_ok(rlx_ir_verify(m)); /* the one behind it did not run */
    rlx_status st = rlx_ir_run_passes(m, (rlx_pass[]){negate, breaks, nothing}, 3, NULL);
    assert_error(st, RLX_INVALID_IR, "breaks left the module wrong");
}
END_TEST

START_TEST(text_is_checked_on_request)
{
    clear_environment();
    assert_ok(rlx_ir_run_passes(m, &quietly, 1, NULL));
    neg()->attr[0].i = RLX_FN_NEG;
    setenv("RLX_CHECK", "eval,text", 1);
    assert_ok(rlx_ir_run_passes(m, (rlx_pass[]){nothing, negate}, 2, NULL));
    neg()->attr[0].i = RLX_FN_NEG;
    assert_error(rlx_ir_run_passes(m, &quietly, 1, NULL), RLX_INTERNAL,
                 "it changed the module and did not say so");
    assert_error(rlx_ir_run_passes(m, &untextual, 1, NULL), RLX_INVALID_IR, "untextual left");
}
END_TEST

typedef struct compared {
    int calls;
    int64_t before, after;
} compared;

static rlx_status compare(void *user, rlx_ir_module *before, rlx_ir_module *after)
{
    compared *c = user;
    c->calls++;
    c->before = before->first->body->first->attr[0].i;
    c->after = after->first->body->first->attr[0].i;
    return c->calls < 2 ? RLX_OK : RLX_FAIL(RLX_INTERNAL, "they differ");
}

START_TEST(modules_are_compared_on_request)
{
    clear_environment();
    compared c = {0};
    rlx_pass_options options = {.compare = compare, .user = &c};
    assert_ok(rlx_ir_run_passes(m, &negate, 1, &options));
    ck_assert_int_eq(c.calls, 0);
    neg()->attr[0].i = RLX_FN_NEG;
    setenv("RLX_CHECK", "eval", 1);
    assert_ok(rlx_ir_run_passes(m, (rlx_pass[]){negate, nothing}, 2, &options));
    ck_assert_int_eq(c.calls, 1);
    ck_assert_int_eq(c.before, RLX_FN_NEG);
    ck_assert_int_eq(c.after, RLX_FN_ABS);
    assert_error(rlx_ir_run_passes(m, &negate, 1, &options), RLX_INTERNAL,
                 "negate left the module wrong");
}
END_TEST

/* What a pipeline prints to stderr. */
static char *printed(const char *request)
{
    char path[] = "/tmp/rlx-test-XXXXXX";
    int fd = mkstemp(path), saved = dup(2);
    ck_assert_int_ge(fd, 0);
    setenv("RLX_PRINT", request, 1);
    fflush(stderr);
    dup2(fd, 2);
    rlx_status st = rlx_ir_run_passes(m, (rlx_pass[]){nothing, negate}, 2, NULL);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    close(fd);
    assert_ok(st);
    char *data;
    size_t n;
    assert_ok(rlx_file_read(path, &data, &n));
    unlink(path);
    return data;
}

START_TEST(changes_are_printed_on_request)
{
    clear_environment();
    static const struct {
        const char *request;
        bool prints;
    } cases[] = {{"negate", true},   {"all", true},  {"nothing", false},
                 {"x,negate", true}, {"neg", false}, {"", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = printed(cases[i].request);
        bool prints = strstr(text, "// after negate\ntest module @m {\n") != NULL;
        ck_assert_msg(prints == cases[i].prints, "RLX_PRINT=%s: %s", cases[i].request, text);
        ck_assert_ptr_null(strstr(text, "after nothing"));
        free(text);
    }
}
END_TEST

/* ---- short memory
 * ------------------------------------------------------------------------------------ */

/* The linker sends every allocation of this program and the library here (--wrap). */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long allowed = -1; /* allocations before all fail; negative: no limit */

static bool refuse(void)
{
    if (allowed < 0)
        return false;
    if (allowed == 0)
        return true;
    allowed--;
    return false;
}

void *__wrap_malloc(size_t n)
{
    return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse() ? NULL : __real_realloc(p, n);
}

/* Everything once: parse, verify, fingerprint, clone, clean up, run passes, print. */
static rlx_status everything(bool *told)
{
    rlx_dims *table = rlx_dims_create();
    rlx_ir_module *a = NULL, *copy = NULL;
    rlx_text text = {0};
    rlx_status st = RLX_OK;
    *told = true;
    if (!table)
        return RLX_OOM();
    RLX_TRY_TO(done, rlx_ir_parse(&test_level, table, "good", good, &a));
    RLX_TRY_TO(done, rlx_ir_verify(a));
    RLX_TRY_TO(done, rlx_ir_module_clone(a, &copy));
    rlx_hash h = rlx_ir_func_fingerprint(copy->last), zero = {{0}};
    rlx_ir_remove_dead(copy);
    RLX_TRY_TO(done, rlx_ir_run_passes(copy, (rlx_pass[]){nothing, negate}, 2, NULL));
    rlx_ir_print(copy, 0, &text);
    *told = memcmp(&h, &zero, sizeof(h)) != 0 && !text.oom;
done:
    rlx_text_deinit(&text);
    rlx_ir_module_destroy(copy);
    rlx_ir_module_destroy(a);
    rlx_dims_destroy(table);
    return st;
}

START_TEST(short_memory_is_reported_at_every_point)
{
    clear_environment();
    setenv("RLX_CHECK", "text,eval", 1);
    long k = 0;
    bool told = false;
    for (;; k++) {
        allowed = k;
        rlx_status st = everything(&told);
        bool enough = allowed > 0;
        allowed = -1;
        rlx_code code = rlx_status_code(st);
        rlx_status_free(st);
        if (enough && !st && told)
            break;
        /* a failure is told as what it is; success means that nothing which failed was needed */
        ck_assert_msg(!st || code == RLX_OUT_OF_MEMORY, "allocation %ld: %s", k,
                      rlx_code_name(code));
        ck_assert_int_lt(k, 100000);
    }
    ck_assert_int_gt(k, 50);
}
END_TEST

static void add_cases(TCase *c)
{
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, verifier_names_what_is_wrong, 0, NBROKEN);
    tcase_add_test(c, verifier_names_node_and_function);
    tcase_add_test(c, passes_run_in_order);
    tcase_add_test(c, text_is_checked_on_request);
    tcase_add_test(c, modules_are_compared_on_request);
    tcase_add_test(c, changes_are_printed_on_request);
    tcase_add_test(c, short_memory_is_reported_at_every_point);
}

int main(void)
{
    Suite *s = suite_create("ir_check");
    TCase *c = tcase_create("ir_check");
    add_cases(c);
    suite_add_tcase(s, c);
    return run_suite(s, NBROKEN + 6);
}
