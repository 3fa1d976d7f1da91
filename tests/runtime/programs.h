/* tests/runtime/programs.h: building small programs from test kernels. */
#ifndef RLX_TESTS_RUNTIME_PROGRAMS_H
#define RLX_TESTS_RUNTIME_PROGRAMS_H

#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

enum { MAX_ITEMS = 32 };

/* A program in the making. Ops are added function by function; the last function is the entry. */
typedef struct builder {
    rlx_program p;
    rlx_program_kernel kernels[MAX_ITEMS];
    rlx_program_op ops[MAX_ITEMS];
    rlx_program_arg args[MAX_ITEMS * 4];
    rlx_program_func funcs[MAX_ITEMS];
    rlx_program_tensor bound[MAX_ITEMS];
    rlx_program_tensor outputs[MAX_ITEMS];
} builder;

static const char *const symbol_names[] = {"TOKENS", "ROWS", "SEQS", "SLOTS", "PAGES"};

/* Symbols TOKENS, ROWS, SEQS, SLOTS, PAGES, with these upper bounds. */
static inline void builder_init(builder *b, const char *name, const int64_t upper[5])
{
    memset(b, 0, sizeof(*b));
    b->p = (rlx_program){.name = name,
                         .target = "x86-64",
                         .code_kind = RLX_CODE_X86_64_ELF,
                         .provenance = "",
                         .kernels = b->kernels,
                         .ops = b->ops,
                         .args = b->args,
                         .funcs = b->funcs,
                         .bound = b->bound,
                         .outputs = b->outputs,
                         .dims = rlx_dims_create()};
    for (int i = 0; i < 5; i++) {
        rlx_dim_symbol(b->p.dims, symbol_names[i]);
        b->p.upper[i] = upper[i];
    }
}

static inline void builder_deinit(builder *b)
{
    for (uint32_t i = 0; i < b->p.nkernels; i++)
        free((void *)(uintptr_t)b->kernels[i].code);
    rlx_dims_destroy(b->p.dims);
}

static inline rlx_dim dim_of(builder *b, const char *name)
{
    return rlx_dim_symbol(b->p.dims, name);
}

static inline uint32_t add_kernel(builder *b, const char *name, const char *path, uint32_t nbuffers,
                                  int64_t team_bytes)
{
    rlx_program_kernel *k = &b->kernels[b->p.nkernels];
    *k = (rlx_program_kernel){.name = name,
                              .nbuffers = nbuffers,
                              .team_bytes = team_bytes,
                              .cost = {.symbol = RLX_NO_SYMBOL, .bytes = {1, 100 + nbuffers}}};
    char *code;
    EXPECT_OK(rlx_file_read(path, &code, &k->code_bytes));
    k->code = (const uint8_t *)code;
    return b->p.nkernels++;
}

static inline rlx_program_arg add_bound(builder *b, rlx_bind_kind kind, const char *name,
                                        rlx_format format, int rank, rlx_dim d0, rlx_dim d1)
{
    b->bound[b->p.nbound] = (rlx_program_tensor){
        .name = name, .kind = kind, .format = format, .rank = rank, .dim = {d0, d1}};
    return (rlx_program_arg){.kind = RLX_ARG_SYMBOL, .index = b->p.nbound++};
}

static inline rlx_program_arg at_frame(int64_t offset)
{
    return (rlx_program_arg){.kind = RLX_ARG_FRAME, .offset = offset};
}

static inline rlx_program_arg at_param(uint32_t i)
{
    return (rlx_program_arg){.kind = RLX_ARG_PARAM, .index = i};
}

static inline void add_func(builder *b, const char *name, uint32_t nparams, uint32_t nout,
                            int64_t frame_bytes)
{
    b->funcs[b->p.nfuncs++] = (rlx_program_func){.name = name,
                                                 .first_op = b->p.nops,
                                                 .nparams = nparams,
                                                 .nout = nout,
                                                 .frame_bytes = frame_bytes};
}

/* Adds to the function made last. */
static inline void add_op(builder *b, rlx_program_op op, const rlx_program_arg *args,
                          uint32_t nargs)
{
    op.first_arg = b->p.nargs;
    op.nargs = nargs;
    memcpy(b->args + b->p.nargs, args, sizeof(*args) * nargs);
    b->p.nargs += nargs;
    b->ops[b->p.nops++] = op;
    b->funcs[b->p.nfuncs - 1].nops++;
}

#define LAUNCH(b, kernel, phase_number, ...)                                                     \
    add_op((b),                                                                                  \
           (rlx_program_op){.kind = RLX_OP_LAUNCH, .target = (kernel), .phase = (phase_number)}, \
           (const rlx_program_arg[]){__VA_ARGS__},                                               \
           sizeof((const rlx_program_arg[]){__VA_ARGS__}) / sizeof(rlx_program_arg))

static inline void add_output(builder *b, const char *name, rlx_format format, int rank, rlx_dim d0)
{
    b->outputs[b->p.noutputs++] = (rlx_program_tensor){
        .name = name, .format = format, .rank = rank, .dim = {d0}, .offset = b->p.arena_bytes};
    b->p.arena_bytes += 1 << 16; /* enough for any test */
}

static inline rlx_status try_load(builder *b, const rlx_weights *w, rlx_executable **out)
{
    rlx_text t = {0};
    EXPECT_OK(rlx_program_encode(&b->p, &t));
    rlx_status st = rlx_executable_create(t.data, t.len, w, out);
    rlx_text_deinit(&t);
    return st;
}

static inline rlx_executable *load(builder *b, const rlx_weights *w)
{
    rlx_executable *e = NULL;
    EXPECT_OK(try_load(b, w, &e));
    return e;
}

#endif
