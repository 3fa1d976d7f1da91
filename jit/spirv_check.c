#include <spirv-tools/libspirv.h>

#include "jit/spirv_emit.h"

static const spv_target_env environment = SPV_ENV_VULKAN_1_1;

/* The status of a call into SPIRV-Tools; takes the diagnostic over. */
static rlx_status to_status(spv_result_t r, spv_diagnostic diagnostic, const char *what)
{
    rlx_status st = RLX_OK;
    if (r == SPV_ERROR_OUT_OF_MEMORY)
        st = RLX_OOM();
    else if (r != SPV_SUCCESS)
        st = RLX_FAIL(RLX_INTERNAL, "SPIR-V that is not %s: %s (word %zu)", what,
                      diagnostic ? diagnostic->error : "no reason is given",
                      diagnostic ? diagnostic->position.index : 0);
    spvDiagnosticDestroy(diagnostic);
    return st;
}

rlx_status rlx_spirv_validate(const uint32_t *words, size_t nwords)
{
    spv_context cx = spvContextCreate(environment);
    if (!cx)
        return RLX_OOM();
    spv_const_binary_t binary = {.code = words, .wordCount = nwords};
    spv_diagnostic diagnostic = NULL;
    spv_result_t r = spvValidate(cx, &binary, &diagnostic);
    rlx_status st = to_status(r, diagnostic, "valid");
    spvContextDestroy(cx);
    return st;
}

rlx_status rlx_spirv_disassemble(const uint32_t *words, size_t nwords, rlx_text *out)
{
    spv_context cx = spvContextCreate(environment);
    if (!cx)
        return RLX_OOM();
    spv_diagnostic diagnostic = NULL;
    spv_text text = NULL;
    spv_result_t r =
        spvBinaryToText(cx, words, nwords,
                        SPV_BINARY_TO_TEXT_OPTION_FRIENDLY_NAMES | SPV_BINARY_TO_TEXT_OPTION_INDENT,
                        &text, &diagnostic);
    rlx_status st = to_status(r, diagnostic, "printable");
    if (!st)
        rlx_text_put_bytes(out, text->str, text->length);
    spvTextDestroy(text);
    spvContextDestroy(cx);
    return st ? st : out->oom ? RLX_OOM() : RLX_OK;
}
