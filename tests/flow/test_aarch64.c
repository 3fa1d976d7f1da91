/* tests/flow/test_aarch64.c: code for AArch64: the bundled model and one in block formats, both
 * precisions and both kinds of step: every kernel becomes an object, with nothing left to resolve.
 * No such CPU is here: the code is not executed, and the loader refuses it by name. */
#include <elf.h>
#include <stdio.h>

#include "frontend/compilation.h"
#include "runtime/program.h"
#include "runtime/runtime.h"
#include "tests/base/suite.h"
#include "tests/flow/model.h"

/* How the processor multiplies bytes. */
static const struct {
    const char *name, *products;
} processors[] = {{"generic", "sadalp"}, {"neoverse-v1", "sdot"}};
enum { PROCESSORS = sizeof processors / sizeof *processors };

/* ---- a model in block formats ---- */

enum { H = 256, HEADS = 4, KV_HEADS = 2, D = 64, I = 512, V = 48 };

static const struct {
    const char *name;
    rlx_format format;
    int64_t rows, columns; /* rows 0: a vector */
} weights[] = {
    {"model.embed_tokens.weight", RLX_Q6_K, V, H},
    {"model.layers.0.input_layernorm.weight", RLX_F32, 0, H},
    {"model.layers.0.self_attn.q_proj.weight", RLX_Q4_K, HEADS *D, H},
    {"model.layers.0.self_attn.k_proj.weight", RLX_Q8_0, KV_HEADS *D, H},
    {"model.layers.0.self_attn.v_proj.weight", RLX_Q6_K, KV_HEADS *D, H},
    {"model.layers.0.self_attn.o_proj.weight", RLX_Q8_0, H, HEADS *D},
    {"model.layers.0.post_attention_layernorm.weight", RLX_F32, 0, H},
    {"model.layers.0.mlp.gate_proj.weight", RLX_Q4_K, I, H},
    {"model.layers.0.mlp.up_proj.weight", RLX_Q4_K, I, H},
    {"model.layers.0.mlp.down_proj.weight", RLX_Q4_0, H, I},
    {"model.norm.weight", RLX_F32, 0, H},
    {"lm_head.weight", RLX_Q6_K, V, H},
};

static void init_blocks(test_model *m)
{
    *m = (test_model){
        .json = model_config("\"hidden_size\": 256, \"num_attention_heads\": 4, \"head_dim\": 64,"
                             "\"intermediate_size\": 512, \"vocab_size\": 48,"
                             "\"num_hidden_layers\": 1")};
    env_init(&m->env, 42);
    assert_ok(rlx_weights_create(&m->w));
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        const int64_t rows = weights[i].rows, columns = weights[i].columns;
        const int64_t dims[] = {rows ? rows : columns, columns};
        model_add_weight(m, weights[i].name, weights[i].format, rows ? 2 : 1, dims);
    }
}

/* ---- objects ---- */

/* Bytes of code; fails the test on a symbol that is not in the object. */
static bool is_part(const rlx_program *p, const char *name)
{
    for (uint32_t i = 0; i < p->nparts; i++)
        if (strcmp(p->kernels[p->nkernels + i].name, name) == 0)
            return true;
    return false;
}

static uint64_t measure(const rlx_program *p, const rlx_program_kernel *k)
{
    Elf64_Ehdr head;
    ck_assert_uint_gt(k->code_bytes, sizeof head);
    memcpy(&head, k->code, sizeof head);
    ck_assert_msg(!memcmp(head.e_ident, ELFMAG, SELFMAG) && head.e_machine == EM_AARCH64 &&
                      head.e_type == ET_REL,
                  "@%s is no object for AArch64", k->name);
    uint64_t text = 0;
    for (int i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr s, names;
        memcpy(&s, k->code + head.e_shoff + (size_t)i * sizeof s, sizeof s);
        if (s.sh_type == SHT_SYMTAB)
            memcpy(&names, k->code + head.e_shoff + s.sh_link * sizeof names, sizeof names);
        if (s.sh_flags & SHF_EXECINSTR)
            text += s.sh_size;
        for (size_t j = 1; s.sh_type == SHT_SYMTAB && j < s.sh_size / sizeof(Elf64_Sym); j++) {
            Elf64_Sym symbol;
            memcpy(&symbol, k->code + s.sh_offset + j * sizeof symbol, sizeof symbol);
            const char *name = (const char *)k->code + names.sh_offset + symbol.st_name;
            ck_assert_msg(symbol.st_shndx != SHN_UNDEF || is_part(p, name), "@%s calls %s", k->name,
                          name);
        }
    }
    return text;
}

static void check_entry(const rlx_text *entry, const char *processor, const rlx_weights *w)
{
    rlx_program *p;
    char name[64];
    snprintf(name, sizeof name, "aarch64:%s", processor);
    assert_ok(rlx_program_decode(entry->data, entry->len, &p));
    ck_assert_int_eq(p->code_kind, RLX_CODE_AARCH64_ELF);
    ck_assert_str_eq(p->target, name);
    ck_assert_uint_gt(p->nkernels, 4);
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++)
        ck_assert_uint_gt(measure(p, &p->kernels[i]), 0);
    rlx_program_destroy(p);

    rlx_executable *e;
    rlx_status st = rlx_executable_create(entry->data, entry->len, w, &e);
    ck_assert_int_eq(rlx_status_code(st), RLX_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), "is code for AArch64, not for this CPU"));
    rlx_status_free(st);
}

/* Some kernel has the instruction. */
static bool uses(const rlx_compilation *c, const char *instruction)
{
    rlx_text text = {0};
    assert_ok(rlx_jit_print_module(c->lir, &c->target, RLX_JIT_ASM, &text));
    bool found = text.data && strstr(text.data, instruction);
    rlx_text_deinit(&text);
    return found;
}

/* ---- models ---- */

static void compile_model(const test_model *m, int processor, rlx_precision precision,
                          int64_t tokens)
{
    rlx_context cx = {.runner = RLX_RUN_CODE,
                      .target = {.kind = RLX_JIT_AARCH64, .processor = processors[processor].name}};
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"ROWS", tokens}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2, .precision = precision};
    rlx_compilation c;
    rlx_text entry = {0};
    assert_ok(rlx_compilation_run(&c, &cx, m->flow, m->w, &o, RLX_LEVEL_LIR));
    const rlx_jit_options jo = {.entry = RLX_ENTRY,
                                .output_names = (const char *const *)c.outputs.name,
                                .upper = c.upper,
                                .provenance = "test_aarch64"};
    assert_ok(rlx_jit_compile(c.lir, &cx.target, &jo, &entry, NULL));
    check_entry(&entry, processors[processor].name, m->w);
    if (m->nmemory) {
        ck_assert(uses(&c, "fmla"));
        ck_assert_int_eq(uses(&c, processors[processor].products), precision == RLX_FAST);
    }
    rlx_text_deinit(&entry);
    rlx_compilation_deinit(&c);
}

START_TEST(assembles)
{
    const int processor = _i / 2, blocks = _i % 2;
    test_model m;
    if (blocks)
        init_blocks(&m);
    else
        model_init_directory(&m, RLX_SOURCE_DIR "/models/bundled", NULL);
    assert_ok(model_make_flow(&m));
    for (int fast = 0; fast < 2; fast++)
        for (int64_t tokens = 1; tokens <= 128; tokens += 127)
            compile_model(&m, processor, fast ? RLX_FAST : RLX_EXACT, tokens);
    model_deinit(&m);
}
END_TEST

int main(void)
{
    printf("AArch64 code is emitted and assembled here; it was not executed\n");
    Suite *s = suite_create("aarch64");
    TCase *c = tcase_create("aarch64");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, assembles, 0, 2 * PROCESSORS);
    suite_add_tcase(s, c);
    return run_suite(s, 2 * PROCESSORS);
}
