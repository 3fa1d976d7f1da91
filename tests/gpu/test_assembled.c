/* tests/gpu/test_assembled.c: every kernel of whole models as code: through NVIDIA's assembler, where that is on PATH, and as AMD's code
 * objects say: no register is spilled (but scalar ones to lanes of AMD's vectors), and products by wgmma stay as they are (tests/jit/ptxas.c).
 *
 *   test_gpu_assembled [TARGET [LEAST [FOLDER...]]]   (cuda:sm_80, cuda:sm_80,step=kernel or hip:gfx942; so many kernels at the least;
 *                                                      folders of fixtures, looked into; none: weights of the bundled model in every type)
 *
 * Models are compiled as `rlx warm` does, exact, fast, and fast with pages of f16 and Q8_0, and of f32. A kernel that several have is assembled once. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "jit/code_object.h"
#include "runtime/cache.h"
#include "runtime/program.h"
#include "tests/jit/ptxas.h"
#include "tests/runtime/suite.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

enum { PATH_CHARS = 4096 };

static const char *target = "cuda:sm_80";
static char **folders;
static int nfolders, least = 1, models, spilling;

static void read_object(const char *model, const rlx_program_kernel *k)
{
    rlx_code_object o;
    EXPECT_OK(rlx_code_object_read(k->code, k->code_bytes, &o));
    if (o.vgpr_spills + o.scratch_bytes == 0)
        return;
    printf("%s for %s: @%s takes %d registers and spills %d\n", model, target, k->name,
           (int)o.vgprs, (int)o.vgpr_spills);
    spilling++;
}

static bool is_amd(void)
{
    return strncmp(target, "hip:", strlen("hip:")) == 0;
}

static void assemble(const char *model, const rlx_program_kernel *k)
{
    if (is_amd()) {
        read_object(model, k);
        return;
    }
    char processor[16];
    snprintf(processor, sizeof processor, "%.*s", (int)strcspn(target + strlen("cuda:"), ","),
             target + strlen("cuda:"));
    const ptxas_report r = ptxas_assemble(k->name, (const char *)k->code, k->code_bytes, processor);
    if (!r.spills)
        return;
    printf("%s for %s: @%s takes %d registers and spills %d bytes\n", model, target, k->name,
           r.registers, r.spills);
    spilling++;
}

/* ---- a model ---- */

typedef struct reading {
    rlx_cache *cache;
    const char *model;
} reading;

static bool read_entry(void *user, const rlx_cache_entry *e)
{
    const reading *r = user;
    rlx_program *p;
    EXPECT_OK(rlx_cache_read(r->cache, e, &p));
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++) /* of GPUs a part is the step */
        if (is_new_code(p->kernels[i].code, p->kernels[i].code_bytes))
            assemble(r->model, &p->kernels[i]);
    rlx_program_destroy(p);
    return true;
}

/* False: it is of no family that is built, or no model that can go so. */
static bool check_way(const char *path, const rlx_model_options *how)
{
    char folder[] = "/tmp/rlx-assembled-XXXXXX", command[64];
    rlx_context *cx;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.cache = {.folder = folder}}, &cx));
    rlx_status st =
        rlx_model_warm(cx, path, how, &(rlx_warm_options){.targets = &target, .ntargets = 1});
    const bool known = rlx_status_code(st) != RLX_UNSUPPORTED;
    if (known) {
        EXPECT_OK(st);
        EXPECT_OK(rlx_cache_each(rlx_context_cache(cx), read_entry,
                                 &(reading){rlx_context_cache(cx), path}));
    }
    rlx_status_free(known ? RLX_OK : st);
    rlx_context_destroy(cx);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
    return known;
}

static void check_model(const char *path)
{
    static const rlx_model_options ways[] = {
        {.precision = RLX_EXACT},
        {.precision = RLX_FAST}, /* pages of f16 */
        {.precision = RLX_FAST, .kv_key_format = RLX_F16, .kv_value_format = RLX_Q8_0},
        {.precision = RLX_FAST, .kv_key_format = RLX_F32, .kv_value_format = RLX_F32}};
    bool known = false; /* heads may be too narrow for pages of Q8_0 */
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        known = check_way(path, &ways[i]) || known;
    models += known;
}

/* ---- all of them ---- */

static void check_folder(const char *folder)
{
    char path[PATH_CHARS];
    DIR *d = opendir(folder);
    if (!d) {
        printf("skipped: %s is not there\n", folder);
        return;
    }
    for (const struct dirent *f = readdir(d); f; f = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s/config.json", folder, f->d_name);
        if (access(path, R_OK))
            snprintf(path, sizeof path, "%s/%s/model.gguf", folder, f->d_name);
        else
            *strrchr(path, '/') = 0;
        if (f->d_name[0] != '.' && !access(path, R_OK))
            check_model(path);
    }
    closedir(d);
    printf("%s: %d models, %d kernels so far\n", folder, models, count_codes());
}

static void check_types(void)
{
    check_model(BUNDLED);
    for (int i = 0; i < rlx_quantize_type_count(); i++) {
        char path[] = "/tmp/rlx-assembled-XXXXXX.gguf";
        const int fd = mkstemps(path, (int)strlen(".gguf"));
        ck_assert_int_ge(fd, 0);
        close(fd);
        EXPECT_OK(rlx_quantize(BUNDLED, path,
                               &(rlx_quantize_options){.type = rlx_quantize_type_name(i)}));
        printf("%s: ", rlx_quantize_type_name(i));
        check_model(path);
        printf("%d kernels so far\n", count_codes());
        remove(path);
    }
}

START_TEST(nothing_is_spilled)
{
    if (!is_amd() && !have_ptxas())
        return;
    for (int i = 0; i < nfolders; i++)
        check_folder(folders[i]);
    if (!nfolders)
        check_types();
    ck_assert_int_eq(spilling, 0);
    ck_assert(count_codes() >= least ||
              (nfolders && !models)); /* where folders are not there it is told */
}
END_TEST

/* ---- steps that are left to the plan ---- */

typedef struct settled {
    rlx_cache *cache;
    int by_wgmma, in_one;
} settled;

static bool read_settled(void *user, const rlx_cache_entry *e)
{
    settled *x = user;
    rlx_program *p;
    bool wgmma = false;
    EXPECT_OK(rlx_cache_read(x->cache, e, &p));
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++)
        wgmma = wgmma || memmem(p->kernels[i].code, p->kernels[i].code_bytes, "wgmma.mma_async",
                                strlen("wgmma.mma_async"));
    ck_assert(!wgmma || !p->nparts);
    x->by_wgmma += wgmma;
    x->in_one += p->nparts > 0;
    rlx_program_destroy(p);
    return true;
}

/* Fast prompts multiply by a unit (on sm_90a by wgmma, which functions of a step do not have): whatever the bucket, they are launches. Tokens
 * are not. */
START_TEST(prompts_are_settled_before)
{
    static const char *const name = "cuda:sm_90a,step=auto";
    char folder[] = "/tmp/rlx-settled-XXXXXX", command[64];
    rlx_context *cx;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.cache = {.folder = folder}}, &cx));
    EXPECT_OK(rlx_model_warm(cx, BUNDLED, &(rlx_model_options){.precision = RLX_FAST},
                             &(rlx_warm_options){.targets = &name, .ntargets = 1}));
    settled x = {.cache = rlx_context_cache(cx)};
    EXPECT_OK(rlx_cache_each(x.cache, read_settled, &x));
    ck_assert_int_gt(x.by_wgmma, 0);
    ck_assert_int_gt(x.in_one, 0);
    rlx_context_destroy(cx);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *s = suite_create("gpu_assembled");
    setvbuf(stdout, NULL, _IOLBF, 0);
    target = argc > 1 ? argv[1] : target;
    least = argc > 2 ? atoi(argv[2]) : least;
    folders = argv + 3;
    nfolders = argc > 3 ? argc - 3 : 0;
    SUITE_TEST(s, "nothing_is_spilled", nothing_is_spilled);
    if (argc == 1)
        SUITE_TEST(s, "prompts_are_settled_before", prompts_are_settled_before);
    return suite_run(s, argc == 1 ? 2 : 1);
}
