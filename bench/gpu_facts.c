#include "bench/gpu_facts.h"

#include <stdio.h>
#include <string.h>

/* What mnemonics begin with, or hold behind a "*"; the first that fits counts. */
typedef struct pattern {
    rlx_gpu_class kind;
    const char *text;
} pattern;

/* A barrier of gfx12 is a signal and a wait. Swizzles and permutes take the way to team memory and touch none. */
static const pattern of_amd[] = {
    {RLX_GPU_OTHERS, "s_barrier_signal"},
    {RLX_GPU_BARRIERS, "s_barrier"},
    {RLX_GPU_MATRIX, "v_mfma"},
    {RLX_GPU_MATRIX, "v_wmma"},
    {RLX_GPU_DOTS, "v_dot"},
    {RLX_GPU_LOADS, "global_load"},
    {RLX_GPU_LOADS, "s_load"},
    {RLX_GPU_STORES, "global_store"},
    {RLX_GPU_OTHERS, "ds_swizzle"},
    {RLX_GPU_OTHERS, "ds_permute"},
    {RLX_GPU_OTHERS, "ds_bpermute"},
    {RLX_GPU_TEAM, "ds_"},
    {RLX_GPU_OTHERS, "v_cvt"},
    {RLX_GPU_OTHERS, "v_cndmask"},
    {RLX_GPU_OTHERS, "v_mov"},
    {RLX_GPU_OTHERS, "v_cmp"},
    {RLX_GPU_FLOATS, "*_f32"},
    {RLX_GPU_FLOATS, "*_f16"},
    {RLX_GPU_OTHERS, ""},
};
static const pattern of_ptx[] = {
    {RLX_GPU_BARRIERS, "bar.sync"},    {RLX_GPU_MATRIX, "mma.sync"},
    {RLX_GPU_MATRIX, "wgmma.mma"},     {RLX_GPU_DOTS, "dp4a"},
    {RLX_GPU_OTHERS, "cp.async.wait"}, {RLX_GPU_OTHERS, "cp.async.commit"},
    {RLX_GPU_LOADS, "cp.async"},       {RLX_GPU_LOADS, "ld.global"},
    {RLX_GPU_LOADS, "ld.param"},       {RLX_GPU_STORES, "st.global"},
    {RLX_GPU_TEAM, "ld.shared"},       {RLX_GPU_TEAM, "st.shared"},
    {RLX_GPU_OTHERS, "cvt"},           {RLX_GPU_OTHERS, "setp"},
    {RLX_GPU_OTHERS, "mov"},           {RLX_GPU_OTHERS, "selp"},
    {RLX_GPU_FLOATS, "*.f32"},         {RLX_GPU_OTHERS, ""},
};

static bool fits(const char *mnemonic, const char *text)
{
    return text[0] == '*' ? strstr(mnemonic, text + 1) != NULL
                          : !strncmp(mnemonic, text, strlen(text));
}

void rlx_gpu_count_line(const char *line, bool amd, rlx_gpu_counts *c)
{
    char mnemonic[64];
    const pattern *p = amd ? of_amd : of_ptx;
    if (line[0] != '\t' || line[1] == '.' || line[1] == '/' || line[1] == '{' || line[1] == '}')
        return;
    if (sscanf(line, line[1] == '@' ? " %*s %63[^ \t\n;]" : " %63[^ \t\n;]", mnemonic) != 1)
        return;
    while (!fits(mnemonic, p->text))
        p++;
    c->of[p->kind]++;
    c->all++;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int rlx_gpu_waves(const rlx_gpu_processor *p, int64_t registers, int64_t team_bytes, int *most)
{
    const int64_t of_team = RLX_JIT_DEFAULT_TEAM / p->lanes, group = p->register_group;
    const int64_t groups = registers > 0 ? (registers + group - 1) / group : 1;
    const int64_t of_simd = least(p->waves, p->registers / (groups * group));
    int64_t teams = of_simd * p->simds / of_team;
    if (team_bytes + p->taken_bytes > 0)
        teams = least(teams, p->unit_bytes / (team_bytes + p->taken_bytes));
    *most = p->waves * p->simds;
    return (int)(teams * of_team);
}
