#include "tests/torture/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

torture_entry torture_make_entry(int number)
{
    torture_entry e = {.code_bytes = 500 + 700 * (size_t)number};
    e.code = malloc(e.code_bytes);
    if (!e.code)
        abort();
    for (size_t i = 0; i < e.code_bytes; i++)
        e.code[i] = (uint8_t)(i * 31 + (size_t)number * 7);
    snprintf(e.preimage, sizeof e.preimage, "build 1 %d\n", number % 10);
    e.key = rlx_hash_bytes(e.preimage, strlen(e.preimage));
    rlx_dims *dims = rlx_dims_create();
    const rlx_dim tokens = rlx_dim_symbol(dims, "TOKENS");
    rlx_program_kernel kernel = {
        .name = "copy", .code = e.code, .code_bytes = e.code_bytes, .nbuffers = 2};
    rlx_program_tensor in = {
        .name = "x", .kind = RLX_BIND_INPUT, .format = RLX_F32, .rank = 1, .dim = {tokens}};
    rlx_program_tensor out = {.name = "y", .format = RLX_F32, .rank = 1, .dim = {tokens}};
    rlx_program_arg args[] = {{.kind = RLX_ARG_SYMBOL}, {.kind = RLX_ARG_PARAM}};
    rlx_program_op op = {.kind = RLX_OP_LAUNCH, .nargs = 2};
    rlx_program_func func = {.name = "main", .nops = 1, .nparams = 1, .nout = 1};
    rlx_program p = {.name = "entry",
                     .target = "x86-64-v3",
                     .code_kind = RLX_CODE_X86_64_ELF,
                     .key = e.key,
                     .provenance = "torture",
                     .preimage = e.preimage,
                     .nkernels = 1,
                     .kernels = &kernel,
                     .nops = 1,
                     .ops = &op,
                     .nargs = 2,
                     .args = args,
                     .nfuncs = 1,
                     .funcs = &func,
                     .nbound = 1,
                     .bound = &in,
                     .noutputs = 1,
                     .outputs = &out,
                     .dims = dims,
                     .upper = {4},
                     .arena_bytes = 64};
    rlx_status st = rlx_program_encode(&p, &e.bytes);
    if (st) {
        char *text = rlx_status_text(st);
        fprintf(stderr, "%s\n", text ? text : "out of memory");
        abort();
    }
    rlx_dims_destroy(dims);
    return e;
}

void torture_free_entry(torture_entry *e)
{
    free(e->code);
    rlx_text_deinit(&e->bytes);
}
