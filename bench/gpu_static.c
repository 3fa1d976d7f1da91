/* bench/gpu_static.c: what is known of a model's kernels on GPUs that are not here.
 *
 *   gpu_static MODEL [TARGET...]     (hip:gfx90a hip:gfx942 hip:gfx1100 hip:gfx1200 cuda:sm_80 cuda:sm_90 cuda:sm_90a)
 *
 * Compiles the model's buckets in fast precision, as `rlx warm` does, and prints for each target a table of the kernels that
 * decode a token and one of those of a prompt. Registers, spills and team memory are those of the code object, or ptxas's;
 * instructions are counted in what llvm-objdump-19 prints, or in PTX: once each, however often a loop runs them. Bytes
 * and operations are a launch's at the bucket's end: of the tape, as `rlx bench` has them. Of a target with ",step=kernel" the last row is
 * all launches in one. Programs that are not on PATH leave
 * their columns empty. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/gpu_facts.h"
#include "frontend/rlx.h"
#include "jit/code_object.h"
#include "runtime/cache.h"
#include "runtime/program.h"

static int fail(rlx_status st)
{
    char *text = rlx_status_text(st);
    fprintf(stderr, "gpu_static: %s\n", text ? text : rlx_status_message(st));
    free(text);
    rlx_status_free(st);
    return EXIT_FAILURE;
}

/* ---- a kernel ---- */

typedef struct facts {
    int64_t registers, spills,
        team_bytes;        /* spills: registers, or bytes on NVIDIA's; -1: not known */
    int waves, most_waves; /* that run side by side */
    rlx_gpu_counts counts;
} facts;

static bool write_code(const char *path, const rlx_program_kernel *k)
{
    FILE *f = fopen(path, "wb");
    const bool ok = f && fwrite(k->code, 1, k->code_bytes, f) == k->code_bytes;
    return f && !fclose(f) && ok;
}

static rlx_status look_at_amd(const rlx_gpu_processor *p, const rlx_program_kernel *k,
                              const char *path, facts *out)
{
    rlx_code_object o;
    char command[256], line[512];
    RLX_TRY(rlx_code_object_read(k->code, k->code_bytes, &o));
    out->registers = o.vgprs;
    out->spills = o.vgpr_spills + o.sgpr_spills;
    out->team_bytes = o.team_bytes;
    snprintf(command, sizeof command,
             "llvm-objdump-19 -d --no-show-raw-insn --mcpu=%s %s 2>/dev/null", p->name, path);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f))
        rlx_gpu_count_line(line, true, &out->counts);
    if (f)
        pclose(f);
    return RLX_OK;
}

/* The number before `word`, or behind it. */
static bool find_number(const char *line, const char *format, int64_t *out)
{
    const char *p = strstr(line, format);
    long long n;
    while (p && p > line && (p[-1] == ' ' || (p[-1] >= '0' && p[-1] <= '9')))
        p--;
    if (!p || sscanf(p, "%lld", &n) != 1)
        return false;
    *out = n;
    return true;
}

static void look_at_ptx(const rlx_gpu_processor *p, const rlx_program_kernel *k, const char *path,
                        facts *out)
{
    char command[256], line[512];
    for (const char *c = (const char *)k->code; c;) {
        rlx_gpu_count_line(c, false, &out->counts);
        c = memchr(c, '\n', (size_t)((const char *)k->code + k->code_bytes - c));
        c = c && c + 1 < (const char *)k->code + k->code_bytes ? c + 1 : NULL;
    }
    out->spills = -1;
    snprintf(command, sizeof command, "ptxas -v -arch=%s -o /dev/null %s 2>&1", p->name, path);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        find_number(line, "registers", &out->registers);
        find_number(line, "bytes smem", &out->team_bytes);
        int64_t spills; /* of each function */
        if (find_number(line, "bytes spill stores", &spills))
            out->spills = spills + (out->spills > 0 ? out->spills : 0);
    }
    if (f)
        pclose(f);
}

static rlx_status look_at(const rlx_gpu_processor *p, const rlx_program_kernel *k, facts *out)
{
    char path[] = "/tmp/rlx-static-XXXXXX";
    const int fd = mkstemp(path);
    *out = (facts){.spills = -1};
    if (fd < 0)
        return RLX_FAIL(RLX_IO, "no temporary file");
    close(fd);
    rlx_status st = write_code(path, k) ? RLX_OK : RLX_FAIL(RLX_IO, "writing %s", path);
    if (!st && p->kind == RLX_JIT_AMDGPU)
        st = look_at_amd(p, k, path, out);
    else if (!st)
        look_at_ptx(p, k, path, out);
    unlink(path);
    out->waves = rlx_gpu_waves(p, out->registers, out->team_bytes, &out->most_waves);
    return st;
}

/* ---- a program ---- */

/* How often a run launches each kernel. */
static void count_launches(const rlx_program *p, uint32_t func, int64_t times, int64_t *launches)
{
    const rlx_program_func *f = &p->funcs[func];
    for (uint32_t i = f->first_op; i < f->first_op + f->nops; i++) {
        const rlx_program_op *op = &p->ops[i];
        if (op->kind == RLX_OP_LAUNCH)
            launches[op->target] += times;
        else
            count_launches(p, op->target, times * op->count, launches);
    }
}

static void put_header(const rlx_gpu_processor *p)
{
    const bool amd = p->kind == RLX_JIT_AMDGPU;
    printf(
        "| kernel | launches | KB | kFLOP | %s | %s | team memory | %s | loads | stores | team | "
        "float | dot | matrix | barriers | others | all |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        amd ? "VGPRs" : "registers", amd ? "spilled" : "spill bytes",
        amd ? "waves of a compute unit" : "warps of a multiprocessor");
}

static void put_row(const rlx_program_kernel *k, int64_t launches, const facts *f)
{
    static const rlx_gpu_class shown[] = {RLX_GPU_LOADS,    RLX_GPU_STORES, RLX_GPU_TEAM,
                                          RLX_GPU_FLOATS,   RLX_GPU_DOTS,   RLX_GPU_MATRIX,
                                          RLX_GPU_BARRIERS, RLX_GPU_OTHERS};
    printf("| %s | %lld | %.1f | %.0f | ", k->name, (long long)launches,
           (double)k->cost.bytes[1] / 1e3, (double)k->cost.operations[1] / 1e3);
    if (f->registers)
        printf("%lld | %lld | %lld | %d of %d |", (long long)f->registers, (long long)f->spills,
               (long long)f->team_bytes, f->waves, f->most_waves);
    else
        printf("| | | |");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        f->counts.all ? printf(" %d |", f->counts.of[shown[i]]) : printf(" |");
    f->counts.all ? printf(" %d |\n", f->counts.all) : printf(" |\n");
}

static rlx_status put_program(const rlx_gpu_processor *gpu, const rlx_program *p, const char *phase)
{
    const uint32_t n = p->nkernels + p->nparts; /* of GPUs a part is the step */
    int64_t *launches = calloc(n + 1, sizeof *launches);
    rlx_status st = launches ? RLX_OK : RLX_OOM();
    if (launches) {
        count_launches(p, p->nfuncs - 1, 1, launches);
        launches[p->nkernels] = p->nparts;
    }
    printf("\n### %s, %s\n\n", gpu->name, phase);
    put_header(gpu);
    for (uint32_t i = 0; i < n && !st; i++) {
        facts f;
        st = look_at(gpu, &p->kernels[i], &f);
        if (!st)
            put_row(&p->kernels[i], launches[i], &f);
    }
    free(launches);
    return st;
}

/* ---- a target ---- */

typedef struct reading {
    rlx_cache *cache;
    rlx_program *decode, *prefill; /* those with the fewest and the most tokens */
    rlx_status status;
} reading;

static int64_t tokens_of(const rlx_program *p)
{
    const int i = rlx_dim_symbol_index(p->dims, "TOKENS");
    return i < 0 ? 0 : p->upper[i];
}

/* A program that is neither may have been one of them so far. */
static bool read_entry(void *user, const rlx_cache_entry *e)
{
    reading *r = user;
    rlx_program *p;
    if ((r->status = rlx_cache_read(r->cache, e, &p)))
        return false;
    rlx_program *fewest = r->decode && tokens_of(r->decode) <= tokens_of(p) ? r->decode : p;
    rlx_program *other = fewest == p ? r->decode : p;
    const int64_t most = tokens_of(r->prefill ? r->prefill : fewest);
    r->decode = fewest;
    if (other && tokens_of(other) > most) {
        rlx_program_destroy(r->prefill);
        r->prefill = other;
    } else {
        rlx_program_destroy(other);
    }
    return true;
}

static rlx_status put_target(rlx_context *cx, const char *model, const char *name)
{
    const rlx_model_options how = {.precision = RLX_FAST, .max_positions = 4096};
    const rlx_warm_options options = {.targets = &name, .ntargets = 1};
    const rlx_gpu_processor *gpu;
    rlx_jit_target target;
    char phase[64];
    reading r = {.cache = rlx_context_cache(cx)};
    RLX_TRY(rlx_jit_target_named(name, &target));
    RLX_TRY(rlx_gpu_find(target.kind, target.processor, &gpu));
    RLX_TRY(rlx_model_warm(cx, model, &how, &options));
    rlx_status st = rlx_cache_each(r.cache, read_entry, &r);
    st = st ? st : r.status;
    if (!st && r.decode)
        st = put_program(gpu, r.decode, "decode of a token");
    if (!st && r.prefill) {
        snprintf(phase, sizeof phase, "prompt of %lld tokens", (long long)tokens_of(r.prefill));
        st = put_program(gpu, r.prefill, phase);
    }
    rlx_program_destroy(r.decode);
    rlx_program_destroy(r.prefill);
    return st;
}

static int remove_path(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* In a cache of its own, which goes away with all that is in it. */
static rlx_status look_at_target(const char *model, const char *name)
{
    enum { OPEN = 8 };
    char folder[] = "/tmp/rlx-static-XXXXXX";
    rlx_context *cx;
    if (!mkdtemp(folder))
        return RLX_FAIL(RLX_IO, "no temporary folder");
    const rlx_context_options o = {.cache = {.folder = folder}};
    rlx_status st = rlx_context_create(&o, &cx);
    if (!st) {
        st = put_target(cx, model, name);
        rlx_context_destroy(cx);
    }
    nftw(folder, remove_path, OPEN, FTW_DEPTH | FTW_PHYS);
    return st;
}

int main(int argc, char **argv)
{
    static const char *const all[] = {"hip:gfx90a", "hip:gfx942", "hip:gfx1100", "hip:gfx1200",
                                      "cuda:sm_80", "cuda:sm_90", "cuda:sm_90a"};
    const int n = argc > 2 ? argc - 2 : (int)(sizeof all / sizeof *all);
    if (argc < 2) {
        fprintf(stderr, "gpu_static MODEL [TARGET...]\n");
        return 2;
    }
    for (int i = 0; i < n; i++) {
        rlx_status st = look_at_target(argv[1], argc > 2 ? argv[2 + i] : all[i]);
        if (st)
            return fail(st);
    }
    return EXIT_SUCCESS;
}
