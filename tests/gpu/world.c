#include "tests/gpu/world.h"

#include <dlfcn.h>

#include "runtime/load_elf.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

enum { CUDA_TEAM = 32, HIP_TEAM = 64, MAX_CODE = 1024 }; /* a warp, a wave */

fake_driver *world_open_driver(rlx_gpu_kind k)
{
    static const char *const paths[] = {RLX_BINARY_DIR "/tests/gpu/libcuda.so.1",
                                        RLX_BINARY_DIR "/tests/gpu/libamdhip64.so"};
    void *library = dlopen(paths[k], RTLD_NOW | RTLD_LOCAL);
    fake_driver *d = library ? dlsym(library, "rlx_fake_driver") : NULL;
    if (!d) {
        fprintf(stderr, "the fake driver: %s\n", dlerror());
        abort();
    }
    d->run = world_run;
    return d;
}

/* ---- running */

static struct code {
    char *image;
    size_t bytes;
    loaded run;
} codes[MAX_CODE];
static int ncodes;

static const loaded *code_of(const fake_kernel_launch *l)
{
    for (int i = 0; i < ncodes; i++)
        if (codes[i].bytes == l->bytes && !memcmp(codes[i].image, l->image, l->bytes))
            return &codes[i].run;
    ck_assert_int_lt(ncodes, MAX_CODE);
    struct code *c = &codes[ncodes++];
    const rlx_elf_object object = {l->kernel, l->image, l->bytes};
    *c = (struct code){.image = malloc(l->bytes), .bytes = l->bytes};
    ck_assert_ptr_nonnull(c->image);
    memcpy(c->image, l->image, l->bytes);
    EXPECT_OK(rlx_elf_image_create(&object, 1, &c->run.image));
    *(void **)&c->run.run = rlx_elf_image_get(c->run.image, 0);
    c->run.invocations = (int)l->team;
    c->run.subgroup = l->team > HIP_TEAM ? CUDA_TEAM : (int)l->team; /* a warpgroup is of warps */
    return &c->run;
}

loaded_order world_order = LOADED_DOWN;

void world_run(void *user, const fake_kernel_launch *l)
{
    (void)user;
    if (l->together)
        loaded_run_together(code_of(l), l->addresses, l->addresses[l->nbuffers], (int)l->teams,
                            world_order);
    else
        loaded_run_on(code_of(l), l->addresses, l->addresses[l->nbuffers], (int)l->teams);
}

void world_forget_code(void)
{
    for (int i = 0; i < ncodes; i++) {
        loaded_destroy(&codes[i].run);
        free(codes[i].image);
    }
    ncodes = 0;
}

/* ---- contexts */

void world_emulate(rlx_context *cx)
{
    rlx_jit_target *t = &cx->target;
    const bool hip = t->kind == RLX_JIT_AMDGPU;
    t->emulation = hip ? emulated_amd_target(t->processor, HIP_TEAM).emulation : &emulated_gpu;
    t->team = hip ? HIP_TEAM : CUDA_TEAM;
}

rlx_status world_open(const rlx_context_options *options, rlx_context **out)
{
    RLX_TRY(rlx_context_create(options, out));
    world_emulate(*out);
    return RLX_OK;
}
