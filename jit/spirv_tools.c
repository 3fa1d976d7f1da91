/* jit/spirv_tools.c: librlx-spirv.so: the validator and the disassembler of SPIRV-Tools. */
#include "jit/spirv_tools.h"

#include <spirv-tools/libspirv.h>
#include <stdio.h>
#include <string.h>

static const spv_target_env environment = SPV_ENV_VULKAN_1_1;

/* Whether a call went well; takes the diagnostic over. */
static bool is_well(spv_result_t r, spv_diagnostic diagnostic, char **why)
{
    *why = NULL;
    if (r != SPV_SUCCESS && r != SPV_ERROR_OUT_OF_MEMORY &&
        asprintf(why, "%s (word %zu)", diagnostic ? diagnostic->error : "no reason is given",
                 diagnostic ? diagnostic->position.index : 0) < 0)
        *why = NULL;
    spvDiagnosticDestroy(diagnostic);
    return r == SPV_SUCCESS;
}

static bool validate(const uint32_t *words, size_t nwords, char **why)
{
    spv_context cx = spvContextCreate(environment);
    if (!cx)
        return is_well(SPV_ERROR_OUT_OF_MEMORY, NULL, why);
    spv_const_binary_t binary = {.code = words, .wordCount = nwords};
    spv_diagnostic diagnostic = NULL;
    const spv_result_t r = spvValidate(cx, &binary, &diagnostic);
    const bool well = is_well(r, diagnostic, why);
    spvContextDestroy(cx);
    return well;
}

static bool disassemble(const uint32_t *words, size_t nwords, char **text, char **why)
{
    *text = NULL;
    spv_context cx = spvContextCreate(environment);
    if (!cx)
        return is_well(SPV_ERROR_OUT_OF_MEMORY, NULL, why);
    spv_diagnostic diagnostic = NULL;
    spv_text printed = NULL;
    const spv_result_t r =
        spvBinaryToText(cx, words, nwords,
                        SPV_BINARY_TO_TEXT_OPTION_FRIENDLY_NAMES | SPV_BINARY_TO_TEXT_OPTION_INDENT,
                        &printed, &diagnostic);
    const bool well = is_well(r, diagnostic, why);
    if (well)
        *text = strndup(printed->str, printed->length);
    spvTextDestroy(printed);
    spvContextDestroy(cx);
    return well;
}

static bool knows(uint32_t op)
{
    return strcmp(spvOpcodeString(op), "unknown") != 0;
}

__attribute__((visibility("default"))) const rlx_spirv_tools *rlx_spirv_tools_get(void);

const rlx_spirv_tools *rlx_spirv_tools_get(void)
{
    static const rlx_spirv_tools tools = {.version = RLX_SPIRV_TOOLS_VERSION,
                                          .validate = validate,
                                          .disassemble = disassemble,
                                          .knows = knows};
    return &tools;
}
