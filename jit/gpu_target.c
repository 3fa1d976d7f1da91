#include "jit/gpu_target.h"

#include <stdio.h>
#include <string.h>

#include "jit/step.h"

enum {
    CUDA_REGISTERS = 65536 / 32
}; /* of a multiprocessor, of a lane; of a warp they come in 256 */

static const rlx_gpu_processor processors[] = {
#define CUDA_TARGET(name, features, team_bytes, unit_bytes, taken, waves)                \
    {RLX_JIT_NVPTX, name, features,   RLX_GPU_NVIDIA, 32, team_bytes, CUDA_REGISTERS, 8, \
     waves,         1,    unit_bytes, taken},
#define HIP_TARGET(name, features, family, lanes, team_bytes, registers, group, waves, simds) \
    {RLX_JIT_AMDGPU, name,  features, RLX_GPU_##family, lanes, team_bytes, registers,         \
     group,          waves, simds,    team_bytes,       0},
#include "jit/gpu_targets.def"
#undef CUDA_TARGET
#undef HIP_TARGET
};
enum { NPROCESSORS = sizeof processors / sizeof *processors };

static const struct {
    const char *prefix, *maker;
    rlx_jit_kind kind;
} kinds[] = {{"cuda:", "NVIDIA", RLX_JIT_NVPTX}, {"hip:", "AMD", RLX_JIT_AMDGPU}};
enum { NKINDS = sizeof kinds / sizeof *kinds };

static rlx_status unknown(rlx_code code, int k, const char *name)
{
    const char *names[NPROCESSORS];
    size_t n = 0;
    rlx_text all = {0};
    for (int i = 0; i < NPROCESSORS; i++)
        if (processors[i].kind == kinds[k].kind) {
            rlx_text_putf(&all, "%s%s", n ? ", " : "", processors[i].name);
            names[n++] = processors[i].name;
        }
    const char *near = rlx_text_nearest(name, names, n);
    rlx_status st = RLX_FAIL(code, "no %s processor is named \"%s\"; %s%s%sthere are %s",
                             kinds[k].maker, name, near ? "did you mean \"" : "", near ? near : "",
                             near ? "\"? " : "", all.data ? all.data : "none");
    rlx_text_deinit(&all);
    return st;
}

static const rlx_gpu_processor *find(rlx_jit_kind kind, const char *name)
{
    for (int i = 0; i < NPROCESSORS; i++)
        if (processors[i].kind == kind && !strcmp(processors[i].name, name))
            return &processors[i];
    return NULL;
}

rlx_status rlx_gpu_find(rlx_jit_kind kind, const char *name, const rlx_gpu_processor **out)
{
    int k = 0;
    while (k + 1 < NKINDS && kinds[k].kind != kind)
        k++;
    *out = name ? find(kind, name) : NULL;
    return *out ? RLX_OK : unknown(RLX_UNSUPPORTED, k, name ? name : "");
}

/* Which of `kinds` a name is of; NKINDS: none. */
static int kind_of(const char *name)
{
    int k = 0;
    while (k < NKINDS && strncmp(name, kinds[k].prefix, strlen(kinds[k].prefix)))
        k++;
    return k;
}

bool rlx_gpu_is_name(const char *name)
{
    return kind_of(name) < NKINDS;
}

rlx_status rlx_gpu_target(const char *name, rlx_jit_target *out)
{
    const int k = kind_of(name);
    if (k == NKINDS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "\"%s\" begins neither with cuda: nor with hip:", name);
    char processor[64];
    const char *text = name + strlen(kinds[k].prefix), *option = strchr(text, ',');
    rlx_jit_step step = RLX_JIT_STEP_GRAPH;
    snprintf(processor, sizeof processor, "%.*s",
             option ? (int)(option - text) : (int)sizeof processor - 1, text);
    const rlx_gpu_processor *p = find(kinds[k].kind, processor);
    if (!p)
        return unknown(RLX_INVALID_ARGUMENT, k, processor);
    if (option)
        RLX_TRY_NOTE(rlx_jit_step_parse(kinds[k].kind, option + 1, &step), "target \"%s\"", name);
    *out = (rlx_jit_target){.kind = p->kind, .processor = p->name, .step = step};
    return RLX_OK;
}
