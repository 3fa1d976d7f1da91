#include <pthread.h>
#include <stdlib.h>

#include "jit/module.h"
#include "jit/spirv_emit.h"
#include "jit/spirv_tools.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const rlx_spirv_tools *opened; /* stays open */

static rlx_status open_tools(const rlx_spirv_tools **out)
{
    void *entry;
    char *path;
    RLX_TRY(rlx_jit_open_beside(RLX_SPIRV_TOOLS_FILE, "validator of SPIR-V", RLX_SPIRV_TOOLS_ENTRY,
                                &entry, &path));
    rlx_spirv_tools_get_fn *get;
    *(void **)&get = entry;
    const rlx_spirv_tools *tools = get();
    rlx_status st = tools->version == RLX_SPIRV_TOOLS_VERSION
                        ? RLX_OK
                        : RLX_FAIL(RLX_INVALID_FILE,
                                   "%s belongs to another build of rlx (interface %d, not %d)",
                                   path, tools->version, RLX_SPIRV_TOOLS_VERSION);
    free(path);
    if (!st)
        *out = tools;
    return st;
}

static rlx_status get_tools(const rlx_spirv_tools **out)
{
    rlx_status st = RLX_OK;
    pthread_mutex_lock(&lock);
    if (!opened)
        st = open_tools(&opened);
    *out = opened;
    pthread_mutex_unlock(&lock);
    return st;
}

/* The status of a call that did not go well; frees `why`. */
static rlx_status refuse(char *why, const char *what)
{
    if (!why)
        return RLX_OOM();
    rlx_status st = RLX_FAIL(RLX_INTERNAL, "SPIR-V that is not %s: %s", what, why);
    free(why);
    return st;
}

rlx_status rlx_spirv_knows_matrices(bool *out)
{
    const rlx_spirv_tools *tools;
    RLX_TRY(get_tools(&tools));
    *out = tools->knows(RLX_SPIRV_TYPE_MATRIX);
    return RLX_OK;
}

rlx_status rlx_spirv_validate(const uint32_t *words, size_t nwords)
{
    const rlx_spirv_tools *tools;
    char *why;
    RLX_TRY(get_tools(&tools));
    return tools->validate(words, nwords, &why) ? RLX_OK : refuse(why, "valid");
}

rlx_status rlx_spirv_disassemble(const uint32_t *words, size_t nwords, rlx_text *out)
{
    const rlx_spirv_tools *tools;
    char *text, *why;
    RLX_TRY(get_tools(&tools));
    if (!tools->disassemble(words, nwords, &text, &why))
        return refuse(why, "printable");
    if (text)
        rlx_text_put(out, text);
    const bool oom = !text || out->oom;
    free(text);
    return oom ? RLX_OOM() : RLX_OK;
}
