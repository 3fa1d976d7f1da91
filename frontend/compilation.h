/* frontend/compilation.h: a flow down the levels, up to tile programs.
 *
 *   flow --rlx_flow_build--> hir --rlx_hir_lower--> mir --rlx_mir_optimize--> regions --rlx_mir_lower--> lir
 */
#ifndef RLX_FRONTEND_COMPILATION_H
#define RLX_FRONTEND_COMPILATION_H

#include "frontend/context.h"
#include "frontend/flow.h"
#include "mir/mir.h"

/* The function that a module of any level starts with. */
#define RLX_ENTRY "main"

typedef enum rlx_level { RLX_LEVEL_HIR, RLX_LEVEL_MIR, RLX_LEVEL_LIR } rlx_level;

/* What of a flow: all, or what runs on the CPU before the layers that the context wants on its device; those, and what follows. */
typedef enum rlx_part { RLX_PART_ALL, RLX_PART_FRONT, RLX_PART_BACK } rlx_part;

/* One compilation under way: the modules of the levels that were reached. */
typedef struct rlx_compilation {
    rlx_jit_target target;
    rlx_mir_precision precision;
    rlx_tuning tuning;
    rlx_part part;                  /* ALL, too, where a side has no layers */
    bool on_cpu;                    /* though the context has a device */
    const rlx_context *log;         /* borrowed: whose log is told */
    rlx_lir_target lir_target;      /* the target's, with what tuning says */
    rlx_dims *dims;                 /* of all modules */
    rlx_ir_module *hir, *mir, *lir; /* mir: after optimising */
    rlx_flow_outputs outputs;
    int64_t upper[RLX_MAX_SYMBOLS];    /* the bucket, by symbol index */
    double seconds[RLX_LEVEL_LIR + 1]; /* that reaching each level took */
} rlx_compilation;

/* Lowers a flow as far as `to`. On failure `c` is left empty. */
rlx_status rlx_compilation_run(rlx_compilation *c, const rlx_context *cx, const rlx_flow *f,
                               const rlx_weights *w, const rlx_compile_options *o, rlx_level to);
/* The same for another machine than the context's. */
rlx_status rlx_compilation_run_for(rlx_compilation *c, const rlx_context *cx,
                                   const rlx_jit_target *target, const rlx_flow *f,
                                   const rlx_weights *w, const rlx_compile_options *options,
                                   rlx_level to);
/* The same of a part of it, as far as HIR. RLX_UNSUPPORTED where the flow has no layers to be parted. */
rlx_status rlx_compilation_begin(rlx_compilation *c, const rlx_context *cx,
                                 const rlx_jit_target *target, const rlx_flow *f,
                                 const rlx_weights *w, const rlx_compile_options *options,
                                 rlx_part part);
/* Goes on from HIR to `to`. On failure `c` is for rlx_compilation_deinit only. */
rlx_status rlx_compilation_lower(rlx_compilation *c, rlx_level to);
void rlx_compilation_deinit(rlx_compilation *c);
/* RLX_INVALID_ARGUMENT when a value is out of range. */
rlx_status rlx_compile_check_tuning(const rlx_tuning *t);

#endif
