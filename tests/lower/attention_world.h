/* tests/lower/attention_world.h: random attention over small pages, as a module of MIR and its tensors: heads, formats, masks and
 * sequences, in any order within the step; infinities in values that no query sees. */
#ifndef RLX_TEST_ATTENTION_WORLD_H
#define RLX_TEST_ATTENTION_WORLD_H

#include "mir/mir.h"
#include "tests/lower/engines.h"

enum { SEQS = 3, SLOTS = 4, PAGES = SEQS * SLOTS };

typedef struct attention_world {
    bool one; /* a single sequence: its run is all of a block */
    int64_t tokens, heads, ratio, width, positions;
    int64_t
        chunks; /* products that are added at once, of pools that are not f32; 0: they are f32 */
    int32_t length[SEQS]; /* positions that a sequence has after the step */
    engines e;
} attention_world;

int64_t attention_pick(attention_world *w, int64_t n); /* below n */
void attention_make_text(attention_world *w);
/* The module of that text, for tensors of which `want` is the result. */
rlx_ir_module *attention_open(attention_world *w, rlx_dims *dims, rlx_eval_tensor *want);

#endif
