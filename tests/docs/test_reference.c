/* tests/docs/test_reference.c: docs/reference, made of the tables: a page per stage (blocks.def,
 * composites.def, rlx.h, docs/examples/stages.c and layers.c) and per op of HIR (hir_ops.def, op_attrs.def, the head of the
 * op's file, ops.rlx). The pages there must be these; RLX_BLESS=1 writes them. Examples of ops are read,
 * checked, evaluated and lowered; those of stages run in tests/examples. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/blocks/blocks.h"
#include "tests/base/suite.h"
#include "tests/docs/declaration.h"
#include "tests/docs/recorded.h"
#include "tests/hir/env.h"

#define SOURCE RLX_SOURCE_DIR
#define REFERENCE SOURCE "/docs/reference"
enum { LEAST_STAGE_EXAMPLES = 14 };

/* ---- the sources -------------------------------------------------------------------------------
 */

static char *read_file(const char *path)
{
    char *text;
    size_t bytes;
    rlx_status st = rlx_file_read(path, &text, &bytes);
    if (!st)
        return text;
    rlx_status_free(st);
    return NULL;
}

static char *need_file(const char *path)
{
    char *text = read_file(path);
    ck_assert_msg(text != NULL, "%s is not there", path);
    return text;
}

/* ---- pages -------------------------------------------------------------------------------------
 */

static int npages, nwrong;
static char wrong[512];

/* The page is what is there, or (RLX_BLESS) what will be. */
static void keep_page(const char *path, const rlx_text *page)
{
    npages++;
    if (getenv("RLX_BLESS")) {
        FILE *f = fopen(path, "w");
        ck_assert_msg(f && fputs(page->data, f) >= 0 && fclose(f) == 0, "%s: %s", path,
                      strerror(errno));
        return;
    }
    char *there = read_file(path);
    if (!there || strcmp(there, page->data)) {
        if (!nwrong++)
            snprintf(wrong, sizeof wrong, "%s", path);
    }
    free(there);
}

static void finish_pages(const char *folder)
{
    int there = 0;
    DIR *d = opendir(folder);
    ck_assert_msg(d != NULL, "%s: %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(d));)
        there += strstr(e->d_name, ".md") != NULL;
    closedir(d);
    ck_assert_msg(!nwrong,
                  "%d pages are not what the tables say, the first is %s "
                  "(RLX_BLESS=1 build/tests/docs/test_reference writes them)",
                  nwrong, wrong);
    ck_assert_msg(there == npages, "%s has %d pages for %d", folder, there, npages);
}

/* ---- ops ---------------------------------------------------------------------------------------
 */

typedef struct op {
    const char *name, *meaning;
    bool is_tensor;
} op;

static const op ops[] = {
#define TENSOR_OP(NAME, mnemonic, inputs, traits, attrs, infer, meaning) {#mnemonic, meaning, true},
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    {#mnemonic, meaning, false},
#include "hir/hir_ops.def"
#undef HIR_OP
};
enum { NOPS = sizeof ops / sizeof *ops };

static const char *const attr_meanings[] = {
#define ATTR(NAME, text, kind, meaning) meaning,
#include "runtime/base/ir/attrs.def"
#undef ATTR
};

static const struct op_attr {
    const char *op, *attr, *meaning;
} op_attrs[] = {
#define OP_ATTR(op, attr, meaning) {#op, #attr, meaning},
#include "tests/docs/op_attrs.def"
#undef OP_ATTR
};
enum { NOP_ATTRS = sizeof op_attrs / sizeof *op_attrs };

static bool op_has(const op *o, const rlx_ir_opinfo *info, const struct op_attr *a)
{
    bool has = false;
    for (const rlx_attr_key *k = info->attrs; *k != RLX_ATTR_NONE; k++)
        has |= !strcmp(rlx_attr_name(*k), a->attr);
    return has && !strcmp(o->name, a->op);
}

/* What an attribute means to the op: in its own words, or in those for all. */
static const char *attr_meaning(const op *o, rlx_attr_key key)
{
    for (int i = 0; i < NOP_ATTRS; i++)
        if (!strcmp(op_attrs[i].op, o->name) && !strcmp(op_attrs[i].attr, rlx_attr_name(key)))
            return op_attrs[i].meaning;
    return attr_meanings[key];
}

/* The file that an op is in: of its name, or the one that has its verifier. */
static char *find_source(const op *o, rlx_text *path)
{
    const char *folder = o->is_tensor ? "mir/ops" : "hir/ops";
    char verify[96];
    rlx_text_putf(path, SOURCE "/%s/%s.c", folder, o->name);
    char *text = read_file(path->data);
    snprintf(verify, sizeof verify, "rlx_%s_%s_verify(", o->is_tensor ? "mir" : "hir", o->name);
    rlx_text_clear(path);
    rlx_text_putf(path, "%s/%s.c", folder, o->name);
    DIR *d = text ? NULL : opendir(o->is_tensor ? SOURCE "/mir/ops" : SOURCE "/hir/ops");
    for (const struct dirent *e; d && !text && (e = readdir(d));) {
        if (!strstr(e->d_name, ".c"))
            continue;
        rlx_text_clear(path);
        rlx_text_putf(path, SOURCE "/%s/%s", folder, e->d_name);
        text = read_file(path->data);
        if (text && !strstr(text, verify)) {
            free(text);
            text = NULL;
        }
        rlx_text_clear(path);
        rlx_text_putf(path, "%s/%s", folder, e->d_name);
    }
    if (d)
        closedir(d);
    ck_assert_msg(text != NULL, "no file has %s)", verify);
    return text;
}

static void put_count(const char *what, int n, rlx_text *out)
{
    if (n < 0)
        rlx_text_putf(out, "%s: %d or more  \n", what, -1 - n);
    else
        rlx_text_putf(out, "%s: %d  \n", what, n);
}

/* The module behind "// ==== OP"; NULL: there is none. Heap. */
static char *find_example(const char *examples, const char *name)
{
    char head[80];
    snprintf(head, sizeof head, "// ==== %s\n", name);
    const char *at = strstr(examples, head);
    if (!at)
        return NULL;
    at += strlen(head);
    const char *end = strstr(at, "// ====");
    return end ? strndup(at, (size_t)(end - at)) : strdup(at);
}

typedef struct search {
    const rlx_ir_module *module;
    const char *name;
    bool found;
} search;

static rlx_status find_op(void *user, rlx_ir_node *n)
{
    search *s = user;
    s->found |= !strcmp(rlx_ir_info(s->module, n)->mnemonic, s->name);
    return RLX_OK;
}

/* Reads, checks, evaluates and lowers an example. */
static void run_example(const char *name, const char *text)
{
    test_env e;
    rlx_ir_module *hir, *mir;
    rlx_eval_tensor results[8] = {0};
    env_init(&e, 7);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, name, text, &hir));
    assert_ok(rlx_ir_verify(hir));
    for (int i = 0; i < rlx_dim_symbol_count(e.dims); i++)
        env_set(&e, rlx_dim_symbol_name(e.dims, i), 3);
    env_bind(&e, hir, "main", 1);
    for (int i = 0; i < e.n; i++) /* indices in range, of whatever kind */
        for (int64_t k = 0; e.tensor[i].format == RLX_I32 && k < env_elems(&e.tensor[i]); k++)
            ((int32_t *)e.tensor[i].data)[k] = (int32_t)(k % 2);
    const rlx_ir_func *f = rlx_ir_func_find(hir, "main");
    search look = {hir, name, false};
    for (const rlx_ir_func *g = hir->first; g; g = g->next)
        assert_ok(rlx_ir_walk(g->body, find_op, &look));
    ck_assert_msg(look.found, "the example of %s has none", name);
    ck_assert_int_le(f->nresults, 8);
    assert_ok(rlx_hir_eval(hir, "main", &e.eval, results, f->nresults));
    for (int i = 0; i < f->nresults; i++)
        free(results[i].data);
    assert_ok(rlx_hir_lower(hir, &mir));
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    env_deinit(&e);
}

static void put_op(int i, const char *examples, rlx_text *out)
{
    const rlx_ir_opinfo *info = &rlx_hir_level.ops[i];
    rlx_text path = {0};
    rlx_text_putf(out, "# %s\n\n%s\n\n", ops[i].name, ops[i].meaning);
    put_count("Operands", info->inputs, out);
    put_count("Results", info->outputs, out);
    if (info->attrs[0] != RLX_ATTR_NONE)
        rlx_text_put(out, "\n| attribute | meaning |\n|---|---|\n");
    for (const rlx_attr_key *a = info->attrs; *a != RLX_ATTR_NONE; a++)
        rlx_text_putf(out, "| `%s` | %s |\n", rlx_attr_name(*a), attr_meaning(&ops[i], *a));
    char *source = find_source(&ops[i], &path);
    rlx_text_putf(out, "\nFrom `%s`:\n\n```\n", path.data);
    if (!strncmp(source, "/*", 2))
        put_comment(source, out);
    rlx_text_put(out, "```\n");
    char *example = find_example(examples, ops[i].name);
    ck_assert_msg(example != NULL,
                  "docs/reference/ops.rlx has no example of %s: add one, and bless", ops[i].name);
    run_example(ops[i].name, example);
    rlx_text_putf(out, "\nExample:\n\n```\n%s```\n", example);
    free(example);
    free(source);
    rlx_text_deinit(&path);
}

START_TEST(pages_of_ops)
{
    char *examples = need_file(REFERENCE "/ops.rlx");
    npages = nwrong = 0;
    mkdir(REFERENCE "/ops", 0777);
    for (int i = 0; i < NOPS; i++) {
        rlx_text page = {0};
        char path[512];
        ck_assert_str_eq(ops[i].name, rlx_hir_level.ops[i].mnemonic);
        put_op(i, examples, &page);
        snprintf(path, sizeof path, REFERENCE "/ops/%s.md", ops[i].name);
        keep_page(path, &page);
        rlx_text_deinit(&page);
    }
    free(examples);
    finish_pages(REFERENCE "/ops");
}
END_TEST

/* op_attrs.def names what is there; what an attribute of many uses means is said for each. */
START_TEST(words_of_ops)
{
    static const rlx_attr_key many[] = {RLX_ATTR_KIND, RLX_ATTR_COUNTS, RLX_ATTR_GROUPS,
                                        RLX_ATTR_STEP};
    for (int i = 0; i < NOP_ATTRS; i++) {
        int n = 0;
        for (int k = 0; k < NOPS; k++)
            n += op_has(&ops[k], &rlx_hir_level.ops[k], &op_attrs[i]);
        ck_assert_msg(n == 1, "op_attrs.def: no %s of %s", op_attrs[i].attr, op_attrs[i].op);
    }
    for (int k = 0; k < NOPS; k++)
        for (const rlx_attr_key *a = rlx_hir_level.ops[k].attrs; *a != RLX_ATTR_NONE; a++)
            for (size_t i = 0; i < sizeof many / sizeof *many; i++)
                ck_assert_msg(*a != many[i] || attr_meaning(&ops[k], *a) != attr_meanings[*a],
                              "op_attrs.def does not say what %s is to %s", rlx_attr_name(*a),
                              ops[k].name);
}
END_TEST

/* ---- stages ------------------------------------------------------------------------------------
 */

/* Those of a stage's labels that are names (of streams, inputs, plugins), or those that are not; with
 * `code` those that it has: the others are slots of the stage's own. */
static void put_labels(const char *what, const char *const *labels, bool names, const char *code,
                       rlx_text *out)
{
    int n = 0;
    for (int i = 0; labels[i]; i++) {
        const bool is_name = labels[i][0] == '@';
        if (is_name == names && (!code || code_has(code, labels[i])))
            rlx_text_putf(out, "%s`%s`", n++ ? ", " : what, labels[i] + is_name);
    }
    if (n)
        rlx_text_put(out, "  \n");
}

static void put_stage(const rlx_block_info *b, const char *header, rlx_text *out)
{
    rlx_text code = {0};
    declaration_code(header, b->name, &code);
    rlx_text_putf(out, "# %s\n\n%s\n\n", b->name, b->meaning);
    put_labels("Keys: ", b->keys, false, NULL, out);
    put_labels("Streams, inputs and other names: ", b->keys, true, NULL, out);
    put_labels("Numbers: ", b->numbers, false, code.data, out);
    put_labels("Reals: ", b->reals, false, code.data, out);
    put_labels("Values inside, for probes and `rlx_flow_name_value`: ", b->inside, false, NULL,
               out);
    rlx_text_put(out, "\n");
    declaration_comment(header, b->name, out);
    rlx_text_putf(out, "\n```c\n%s```\n", code.data);
    rlx_text_deinit(&code);
}

/* "static void NAME(rlx_flow *f)" of the examples, as it stands there. */
static bool put_stage_example(const char *examples, const char *file, const char *name,
                              rlx_text *out)
{
    char head[96];
    snprintf(head, sizeof head, "static void %s(rlx_flow *f)\n", name);
    const char *at = strstr(examples, head), *end = at ? strstr(at, "\n}\n") : NULL;
    if (!end)
        return false;
    rlx_text_putf(out, "\nExample, of `docs/examples/%s`:\n\n```c\n%.*s\n}\n```\n", file,
                  (int)(end - at), at);
    return true;
}

static const struct composite {
    const char *name, *meaning;
} composites[] = {
#define COMPOSITE(name, meaning) {#name, meaning},
#include "tests/docs/composites.def"
#undef COMPOSITE
};
enum { NCOMPOSITES = sizeof composites / sizeof *composites };

/* A stage that records others: what, is recorded here. */
static void put_composite(const struct composite *c, const char *header, const char *examples,
                          rlx_text *out)
{
    rlx_text_putf(out, "# %s\n\n%s\n\n", c->name, c->meaning);
    declaration_comment(header, c->name, out);
    rlx_text_put(out, "\n```c\n");
    declaration_code(header, c->name, out);
    rlx_text_put(out, "```\n");
    ck_assert_msg(put_stage_example(examples, "layers.c", c->name, out),
                  "docs/examples/layers.c has no %s", c->name);
    rlx_text_put(out, "\nIt records:\n\n```flow\n");
    assert_ok(record_example(c->name, out));
    rlx_text_put(out, "```\n");
}

static void keep_composites(const char *header)
{
    char *examples = need_file(SOURCE "/docs/examples/layers.c");
    for (int i = 0; i < NCOMPOSITES; i++) {
        rlx_text page = {0};
        char path[512];
        put_composite(&composites[i], header, examples, &page);
        snprintf(path, sizeof path, REFERENCE "/stages/%s.md", composites[i].name);
        keep_page(path, &page);
        rlx_text_deinit(&page);
    }
    free(examples);
}

START_TEST(pages_of_stages)
{
    char *header = need_file(SOURCE "/frontend/rlx.h");
    char *examples = need_file(SOURCE "/docs/examples/stages.c");
    int shown = 0;
    npages = nwrong = 0;
    mkdir(REFERENCE "/stages", 0777);
    for (int k = 0; k < RLX_STAGE_COUNT; k++) {
        const rlx_block_info *b = rlx_block_get((rlx_stage_kind)k);
        rlx_text page = {0};
        char path[512];
        put_stage(b, header, &page);
        shown += put_stage_example(examples, "stages.c", b->name, &page);
        snprintf(path, sizeof path, REFERENCE "/stages/%s.md", b->name);
        keep_page(path, &page);
        rlx_text_deinit(&page);
    }
    keep_composites(header);
    free(header);
    free(examples);
    finish_pages(REFERENCE "/stages");
    ck_assert_int_ge(shown, LEAST_STAGE_EXAMPLES);
}
END_TEST

/* What one has to know to call a stage is on its page; slots of its own are not. */
START_TEST(pages_tell_apart)
{
    char *gru = need_file(REFERENCE "/stages/gru.md");
    char *act = need_file(REFERENCE "/stages/activation.md");
    ck_assert(strstr(gru, "f32[B,S,I]") && strstr(gru, "typedef struct rlx_recurrent_spec {"));
    ck_assert(strstr(gru, "names: `lengths`, `h`") && strstr(gru, "Numbers: `layers`, `back"));
    ck_assert(!strstr(gru, "`layer`") && !strstr(gru, "rlx_cell_spec {"));
    ck_assert(strstr(act, "A function of one element. alpha") && strstr(act, "RLX_ACT_MISH"));
    free(gru);
    free(act);
}
END_TEST

/* ---- the list ----------------------------------------------------------------------------------
 */

START_TEST(list)
{
    rlx_text page = {0};
    rlx_text_put(
        &page, "# Reference\n\nMade of the tables of the source by `tests/docs/test_reference.c`: "
               "the header `frontend/rlx.h` has every function. What a flow must be is in "
               "[flow-api.md](../flow-api.md).\n\n## Stages of flows\n\n| stage | what it does "
               "|\n|---|---|\n");
    for (int k = 0; k < RLX_STAGE_COUNT; k++) {
        const rlx_block_info *b = rlx_block_get((rlx_stage_kind)k);
        rlx_text_putf(&page, "| [%s](stages/%s.md) | %s |\n", b->name, b->name, b->meaning);
    }
    rlx_text_put(&page, "\n## What records other stages\n\n| function | what it records "
                        "|\n|---|---|\n");
    for (int i = 0; i < NCOMPOSITES; i++)
        rlx_text_putf(&page, "| [%s](stages/%s.md) | %s |\n", composites[i].name,
                      composites[i].name, composites[i].meaning);
    rlx_text_put(&page, "\n## Ops of HIR\n\nTensor ops are MIR's primitives.\n\n| op | what it "
                        "computes |\n|---|---|\n");
    for (int i = 0; i < NOPS; i++)
        rlx_text_putf(&page, "| [%s](ops/%s.md) | %s |\n", ops[i].name, ops[i].name,
                      ops[i].meaning);
    npages = nwrong = 0;
    keep_page(REFERENCE "/README.md", &page);
    rlx_text_deinit(&page);
    finish_pages(REFERENCE);
}
END_TEST

/* ---- pages that quote
 * ---------------------------------------------------------------------------- */

/* The ```c listings of the tutorial, one behind another, are its program. */
START_TEST(tutorial)
{
    char *page = need_file(SOURCE "/docs/tutorial.md");
    char *program = need_file(SOURCE "/docs/examples/tutorial.c");
    rlx_text whole = {0};
    int n = 0;
    for (char *at = page; (at = strstr(at, "```c\n")); n++) {
        at += 5;
        char *end = strstr(at, "```\n");
        ck_assert_ptr_nonnull(end);
        rlx_text_putf(&whole, "%s%.*s", n ? "\n" : "", (int)(end - at), at);
        at = end + 1;
    }
    ck_assert_int_ge(n, 12);
    ck_assert_str_eq(whole.data, program);
    rlx_text_deinit(&whole);
    free(page);
    free(program);
}
END_TEST

/* Functions and types that the page of the Flow API names are in the header. */
START_TEST(flow_api)
{
    char *page = need_file(SOURCE "/docs/flow-api.md");
    char *header = need_file(SOURCE "/frontend/rlx.h");
    int n = 0;
    for (const char *at = page; (at = strstr(at, "`rlx_")); n++) {
        char name[80];
        const size_t len = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_0123456789");
        snprintf(name, sizeof name, "%.*s", (int)len, at + 1);
        const char *there = strstr(header, name);
        while (there && strspn(there, "abcdefghijklmnopqrstuvwxyz_0123456789") != len)
            there = strstr(there + 1, name);
        ck_assert_msg(there != NULL, "docs/flow-api.md names %s, which rlx.h has not", name);
        at += len;
    }
    ck_assert_int_ge(n, 60);
    free(page);
    free(header);
}
END_TEST

/* Each of rlx-flow's 43 stages is a function that has a page, or none, and it is said why. */
START_TEST(stages_have_pages)
{
    char *page = need_file(SOURCE "/docs/flow-api.md");
    for (int i = 1; i <= 43; i++) {
        char head[16], name[64], path[512], why;
        snprintf(head, sizeof head, "\n| %d | ", i);
        const char *row = strstr(page, head);
        ck_assert_msg(row != NULL, "docs/flow-api.md has no stage %d", i);
        row = strchr(row + strlen(head), '|') + 2;
        if (sscanf(row, "none | %c", &why) == 1)
            continue;
        ck_assert_msg(sscanf(row, "`rlx_flow_%63[a-z0-9_]", name) == 1, "stage %d is %.30s", i,
                      row);
        snprintf(path, sizeof path, REFERENCE "/stages/%s.md", name);
        free(need_file(path));
    }
    free(page);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reference");
    TCase *c = tcase_create("reference");
    tcase_add_test(c, pages_of_ops);
    tcase_add_test(c, words_of_ops);
    tcase_add_test(c, pages_of_stages);
    tcase_add_test(c, pages_tell_apart);
    tcase_add_test(c, list);
    tcase_add_test(c, tutorial);
    tcase_add_test(c, flow_api);
    tcase_add_test(c, stages_have_pages);
    suite_add_tcase(s, c);
    return run_suite(s, 8);
}
