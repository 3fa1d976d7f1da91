#include "tests/lower/emit_spirv.h"

#include <stdlib.h>

#include "jit/jit.h"

rlx_status emit_spirv(const rlx_ir_module *lir, int team, int64_t team_bytes)
{
    const uint64_t features[] = {RLX_VULKAN_ALL, RLX_VULKAN_BIT(INT64) | RLX_VULKAN_BIT(F64)};
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        for (int i = 0; f->is_kernel && i < 2; i++) {
            const rlx_jit_target t = {.kind = RLX_JIT_SPIRV,
                                      .features = features[i],
                                      .team = team,
                                      .subgroup = i ? 0 : 8,
                                      .team_bytes = team_bytes};
            uint8_t *code = NULL;
            size_t bytes;
            RLX_TRY(rlx_jit_emit_kernel(f, &t, &code, &bytes));
            free(code);
        }
    return RLX_OK;
}
