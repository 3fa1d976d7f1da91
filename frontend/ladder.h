/* frontend/ladder.h: buckets by length, and executables that are compiled when they are first needed. */
#ifndef RLX_FRONTEND_LADDER_H
#define RLX_FRONTEND_LADDER_H

#include <pthread.h>
#include <stdatomic.h>

#include "frontend/context.h"

/* RLX_INVALID_ARGUMENT unless rungs ascend from 1 or more and no symbol is there twice. */
rlx_status rlx_ladder_check(const rlx_ladder *ladders, int n);
/* The ladder of a symbol, in any case of letters; NULL: none. */
const rlx_ladder *rlx_ladder_find(const rlx_ladder *ladders, int n, const char *symbol);
/* The least rung that holds `value`; n: none does. */
int rlx_ladder_choose(const rlx_ladder *l, int64_t value);
/* "1, 16, 512" */
void rlx_ladder_print(const rlx_ladder *l, rlx_text *out);
/* Rungs below `most`, then `most`. `l` has room: a rung that is dropped, or fewer than all. */
void rlx_ladder_end_at(rlx_ladder *l, int64_t most);

/* A place for an executable that whoever needs it first compiles. */
typedef struct rlx_lazy {
    pthread_mutex_t lock;
    _Atomic(rlx_executable *) exe; /* NULL: not yet */
    rlx_compile_stats stats;       /* once `exe` is there */
} rlx_lazy;
void rlx_lazy_init(rlx_lazy *z);
void rlx_lazy_deinit(rlx_lazy *z);
/* What is there, or else what the flow compiles to, while others that need the same wait. After an
 * error the next call tries again. */
rlx_status rlx_lazy_get(rlx_lazy *z, rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                        const rlx_compile_options *o, rlx_executable **out);
/* The executable, when it is there; NULL: not yet. */
rlx_executable *rlx_lazy_peek(const rlx_lazy *z);

#endif
