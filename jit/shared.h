/* jit/shared.h: kernels that programs compiled at the same time have in common.
 *
 * The bucket that decodes and the one of prompts are compiled side by side, and what is small in
 * them (norms, roundings, maps) is the same text. Whoever comes first compiles it, others take a copy;
 * who finds that another one is at it goes on with something else. Code is kept until all that
 * compiled when it was given have left. Internal to jit/. */
#ifndef RLX_JIT_SHARED_H
#define RLX_JIT_SHARED_H

#include "runtime/base/hash.h"
#include "runtime/base/text.h"

typedef enum rlx_jit_claim {
    RLX_JIT_MINE, /* to be compiled by who asks, and given (rlx_jit_shared_give) */
    RLX_JIT_COPY, /* is there: appended to `code` */
    RLX_JIT_BUSY  /* another one compiles it */
} rlx_jit_claim;

/* One compilation, from enter to leave; the caller's memory, its contents are not. */
typedef struct rlx_jit_sharer {
    int64_t number; /* they are counted as they come */
    struct rlx_jit_sharer *next;
} rlx_jit_sharer;

/* Around everything that compiles. Thread-safe, as all of these. */
void rlx_jit_shared_enter(rlx_jit_sharer *s);
void rlx_jit_shared_leave(rlx_jit_sharer *s);

/* The code of what has this key. wait: until it is not RLX_JIT_BUSY any more; only for those who own
 * nothing that others wait for. */
rlx_jit_claim rlx_jit_shared_claim(const rlx_hash *key, bool wait, rlx_text *code);
/* What was claimed as one's own; NULL: it failed, and the next one who asks may try. */
void rlx_jit_shared_give(const rlx_hash *key, const rlx_text *code);

#endif
