/* frontend/compile.h: the compile driver: a flow to an entry, into the cache, to an executable.
 *
 *   hir, lir (compilation.h) --rlx_jit_compile--> entry bytes --rlx_program_decode, rlx_executable_create_program--> executable
 *
 * HIR makes the compile key (compile_key.h); a program that the cache has under it needs no more levels.
 */
#ifndef RLX_FRONTEND_COMPILE_H
#define RLX_FRONTEND_COMPILE_H

#include "frontend/compilation.h"

/* The rest of the way, from HIR to entry bytes for c->target under the key of `preimage`. Equal modules give equal bytes. */
rlx_status rlx_compile_entry(const rlx_context *cx, rlx_compilation *c, const char *provenance,
                             const char *preimage, rlx_text *entry);
/* Puts a flow's code for `target`, which need not be here, into the context's cache, unless it is there (*there) or
 * `dry_run`. `why` (may be NULL) receives how the nearest entry differs when it is not. */
rlx_status rlx_flow_warm(const rlx_context *cx, const rlx_jit_target *target, const rlx_flow *f,
                         const rlx_weights *w, const rlx_compile_options *o, bool dry_run,
                         bool *there, rlx_text *why);

/* What is told of a compilation that has reached HIR, and the program made of it; *stats is overwritten. */
void rlx_compile_fill_stats(const rlx_compilation *c, const rlx_program *p,
                            rlx_compile_stats *stats);
/* Of a flow in two parts: the second part's to the first's. */
void rlx_compile_add_stats(rlx_compile_stats *s, const rlx_compile_stats *more);

#endif
