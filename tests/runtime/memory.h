/* tests/runtime/memory.h: a program that remembers what its sequences were given, and a mirror of
 * it. What a page table leads to must be what the mirror holds, or a sum is wrong. */
#ifndef RLX_TESTS_RUNTIME_MEMORY_H
#define RLX_TESTS_RUNTIME_MEMORY_H

#include "tests/runtime/programs.h"

static const int64_t uppers[5] = {512, 512, 8, 16, 64};

static inline rlx_team *make_team(int threads)
{
    rlx_team *t;
    EXPECT_OK(rlx_team_create(threads, &t));
    return t;
}

static inline rlx_session *make_session(rlx_team *t, int64_t positions, int sequences)
{
    rlx_session *s;
    rlx_session_options o = {.max_positions = positions, .max_sequences = sequences};
    EXPECT_OK(rlx_session_create_on(t, &o, &s));
    return s;
}

/* ids are remembered, sums over them recalled. */
static inline void build_memory(builder *b, const int64_t upper[5])
{
    builder_init(b, "memory", upper);
    rlx_dim tokens = dim_of(b, "TOKENS"), rows = dim_of(b, "ROWS");
    uint32_t remember = add_kernel(b, "remember", RLX_OBJECT_REMEMBER, 5, 0);
    uint32_t recall = add_kernel(b, "recall", RLX_OBJECT_RECALL, 6, 0);
    rlx_program_arg kv = add_bound(b, RLX_BIND_STATE, "kv", RLX_I32, 2, dim_of(b, "PAGES"), 256);
    rlx_program_arg ids = add_bound(b, RLX_BIND_INPUT, "ids", RLX_I32, 1, tokens, 0);
    rlx_program_arg pos = add_bound(b, RLX_BIND_INPUT, "pos", RLX_I32, 1, tokens, 0);
    rlx_program_arg seq = add_bound(b, RLX_BIND_INPUT, "seq", RLX_I32, 1, tokens, 0);
    rlx_program_arg table =
        add_bound(b, RLX_BIND_INPUT, "table", RLX_I32, 2, dim_of(b, "SEQS"), dim_of(b, "SLOTS"));
    rlx_program_arg row = add_bound(b, RLX_BIND_INPUT, "rows", RLX_I32, 1, rows, 0);
    add_func(b, "main", 1, 1, 0);
    LAUNCH(b, remember, 0, kv, ids, pos, seq, table);
    LAUNCH(b, recall, 1, kv, row, pos, seq, table, at_param(0));
    add_output(b, "sums", RLX_I64, 1, rows);
}

/* What the sequences hold, kept by the test. */
typedef struct mirror {
    int64_t past[8];
    int64_t sum[8];
} mirror;

/* A step of `n` tokens of the sequences `seq`, checked row by row. */
static inline void step_memory(rlx_session *s, rlx_executable *e, mirror *m, const int32_t *seq,
                               int n)
{
    int32_t ids[512], rows[512];
    int64_t want[512];
    int nrows = 0;
    for (int t = 0; t < n; t++) {
        int q = seq ? seq[t] : 0;
        ids[t] = t * 3 + (int32_t)m->past[q] + 1;
        m->sum[q] += m->past[q]++ * ids[t];
        if (t % 3 == 0 || t == n - 1) {
            rows[nrows] = t;
            want[nrows++] = m->sum[q];
        }
    }
    rlx_step_input in = {"ids", ids, (size_t)n * 4};
    EXPECT_OK(rlx_session_step(s, e,
                               &(rlx_step){.tokens = n,
                                           .rows = nrows,
                                           .seq = seq,
                                           .row_index = rows,
                                           .inputs = &in,
                                           .ninputs = 1}));
    rlx_tensor sums;
    EXPECT_OK(rlx_session_output(s, "sums", &sums));
    ck_assert_int_eq(sums.dim[0], nrows);
    ck_assert_mem_eq(sums.data, want, (size_t)nrows * 8);
}

#endif
