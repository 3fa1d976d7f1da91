/* runtime/device_gpu_kernels.c: a program's kernels on a GPU.
 *
 *   PTX          --the driver's compiler, one thread for each of several kernels--> machine code --> module, function, grid
 *                               ^ known code, from the compile cache                     |
 *                               '------------------ KEY-DRIVER.drv <---------------------'
 *   code object  -----------------------------------------------------------------------> module, function, grid
 *
 * Teams deal a grid's instances among themselves, however many they are, and read live extents from the symbols: so a launch has as many as
 * its bucket's largest step gives work to and the device runs side by side, in every step the same. A step in one launch (RLX_PROGRAM_STEP) is one more kernel.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cache.h"
#include "runtime/device_gpu_impl.h"
#include "runtime/run_each.h"

/* What a module is loaded from: PTX as text, else code of the device. */
typedef struct image {
    const uint8_t *data;
    size_t bytes;
    uint8_t *own; /* what of it is to be freed; NULL: nothing */
} image;

/* Kernels that are being made. */
typedef struct maker {
    rlx_gpu *gpu;
    rlx_cache *kept; /* where the driver's machine code is kept; NULL: nowhere */
    const rlx_program *program;
    uint32_t n;     /* its kernels, and the step */
    uint8_t *known; /* code of all kernels, as it was kept; NULL: none */
    image *images;  /* by kernel */
    rlx_device_kernels *out;
} maker;

static rlx_status check_program(const rlx_gpu *g, const rlx_program *p)
{
    const rlx_code_kind kind = g->driver->kind == RLX_GPU_CUDA ? RLX_CODE_PTX : RLX_CODE_HSACO;
    if (p->code_kind == kind)
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED, "program '%s' is code for %s, not for %s", p->name, p->target,
                    g->info.name);
}

/* ---- what the driver's compiler says --------------------------------------------------------- */

enum { LOG_BYTES = 4096, NOPTIONS = 2, ERROR_LOG = 5, ERROR_LOG_BYTES = 6, INPUT_PTX = 1 };

/* Options as the driver takes them. */
typedef struct log {
    rlx_gpu_jit_option option[NOPTIONS];
    void *value[NOPTIONS];
    char text[LOG_BYTES];
} log;

static void begin_log(log *l)
{
    *l = (log){.option = {ERROR_LOG, ERROR_LOG_BYTES},
               .value = {l->text, (void *)(uintptr_t)(LOG_BYTES - 1)}};
}

static rlx_status note_log(rlx_status st, const log *l)
{
    return l->text[0] ? rlx_status_note(st, __FILE__, __LINE__, "%s", l->text) : st;
}

/* ---- PTX to machine code --------------------------------------------------------------------- */

static rlx_status copy_code(const void *code, size_t bytes, image *out)
{
    out->own = malloc(bytes + 1);
    if (!out->own)
        return RLX_OOM();
    memcpy(out->own, code, bytes);
    out->own[bytes] = 0; /* PTX is a text */
    out->data = out->own;
    out->bytes = bytes;
    return RLX_OK;
}

static rlx_status link_with(rlx_gpu *g, rlx_gpu_linker l, const image *ptx, const char *name,
                            image *out)
{
    void *code;
    size_t bytes;
    GPU_TRY(g, link, l, INPUT_PTX, ptx->own, ptx->bytes + 1, name, 0, NULL, NULL);
    GPU_TRY(g, finish_linking, l, &code, &bytes);
    return copy_code(code, bytes, out);
}

static rlx_status compile(rlx_gpu *g, const image *ptx, const char *name, image *out)
{
    log said;
    rlx_gpu_linker l;
    begin_log(&said);
    GPU_TRY(g, create_linker, NOPTIONS, said.option, said.value, &l);
    rlx_status st = link_with(g, l, ptx, name, out);
    GPU_DROP(g, destroy_linker, l);
    return st ? note_log(st, &said) : RLX_OK;
}

/* What is known is there already; a driver gets it aligned. */
static rlx_status make_image(const maker *m, const rlx_program_kernel *k, image *out)
{
    image ptx = {0};
    if (out->data)
        return copy_code(out->data, out->bytes, out);
    RLX_TRY(copy_code(k->code, k->code_bytes, m->kept ? &ptx : out));
    if (!m->kept)
        return RLX_OK;
    rlx_status st = compile(m->gpu, &ptx, k->name, out);
    free(ptx.own);
    return st;
}

/* ---- modules --------------------------------------------------------------------------------- */

static rlx_status load_module(rlx_gpu *g, const image *i, rlx_gpu_module *out)
{
    const bool cuda = g->driver->kind == RLX_GPU_CUDA;
    log said;
    begin_log(&said);
    rlx_status st = rlx_gpu_result_of(g,
                                      g->driver->call.load_module(out, i->data, cuda ? NOPTIONS : 0,
                                                                  cuda ? said.option : NULL,
                                                                  cuda ? said.value : NULL),
                                      RLX_GPU_CALL_load_module, __FILE__, __LINE__);
    if (!st)
        return RLX_OK;
    *out = NULL;
    return note_log(st, &said);
}

/* The same as the note of a code object has it, in MessagePack: an integer without a sign, of 7 bits or behind a marker of
 * its bytes; 0: there is none. */
static rlx_status team_of_note(const rlx_program_kernel *k, int *out)
{
    static const char word[] = ".max_flat_workgroup_size";
    enum { KEY = sizeof word - 1, PLAIN = 0x80, FIRST = 0xcc, LAST = 0xcf };
    const uint8_t *end = (const uint8_t *)k->code + k->code_bytes;
    const uint8_t *at = memmem(k->code, k->code_bytes, word, KEY);
    uint64_t team = 0;
    *out = 0;
    if (!at)
        return RLX_OK;
    at += KEY;
    const int bytes = at < end && *at >= FIRST && *at <= LAST ? 1 << (*at - FIRST) : 0;
    if (end - at < 1 + bytes || (!bytes && *at >= PLAIN))
        return RLX_FAIL(RLX_INVALID_FILE, "the code object's %s is no integer", word);
    for (int i = 1; i <= bytes; i++)
        team = team << 8 | at[i];
    team = bytes ? team : *at;
    *out = team < INT_MAX ? (int)team : INT_MAX;
    return RLX_OK;
}

/* The team that a kernel is made for, as its PTX or its note says; 0: it says nothing. */
static rlx_status team_of_code(const rlx_program_kernel *k, int *out)
{
    const char *at = memmem(k->code, k->code_bytes, RLX_PROGRAM_TEAM, strlen(RLX_PROGRAM_TEAM));
    const char *end = (const char *)k->code + k->code_bytes;
    *out = 0;
    if (!at)
        return team_of_note(k, out);
    for (at += strlen(RLX_PROGRAM_TEAM); at < end && *at >= '0' && *at <= '9' && *out < 1 << 20;
         at++)
        *out = 10 * *out + (*at - '0');
    return RLX_OK;
}

/* Of code that says nothing the most that the driver knows is what it was made for. */
static rlx_status choose_team(const maker *m, const rlx_program_kernel *from, rlx_gpu_kernel *k)
{
    int most, team;
    GPU_TRY(m->gpu, get_function_attribute, &most, RLX_GPU_FUNCTION_TEAM, k->function);
    RLX_TRY(team_of_code(from, &team));
    team = team ? team : most;
    if (team < 1 || team > most)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "a team of %d invocations takes more than %s has: %d are its most", team,
                        m->gpu->info.name, most);
    k->team = (unsigned)team;
    return RLX_OK;
}

/* No team of a step has nothing to do in all of it. */
static uint32_t count_for_all(const rlx_program *p, int64_t most)
{
    uint32_t teams = 1;
    for (uint32_t i = 0; i < p->nkernels; i++) {
        const uint32_t n = rlx_device_count_teams(p, i, p->upper, most);
        teams = n > teams ? n : teams;
    }
    return teams;
}

static rlx_status choose_grid(const maker *m, uint32_t i, rlx_gpu_kernel *k)
{
    rlx_gpu *g = m->gpu;
    int resident;
    RLX_TRY(choose_team(m, &m->program->kernels[i], k));
    GPU_TRY(g, get_resident, &resident, k->function, (int)k->team, 0);
    if (resident < 1)
        return RLX_FAIL(RLX_UNSUPPORTED, "a team of %u invocations takes more than %s has", k->team,
                        g->info.name);
    const int64_t most = (int64_t)resident * (g->info.units > 0 ? g->info.units : 1);
    k->teams = i < m->program->nkernels
                   ? rlx_device_count_teams(m->program, i, m->program->upper, most)
                   : count_for_all(m->program, most);
    return RLX_OK;
}

static rlx_status load_kernel(const maker *m, uint32_t i)
{
    rlx_gpu *g = m->gpu;
    const rlx_program_kernel *from = &m->program->kernels[i];
    rlx_gpu_kernel *k = &m->out->each[i];
    RLX_TRY(make_image(m, from, &m->images[i]));
    RLX_TRY(load_module(g, &m->images[i], &k->module));
    if (g->driver->kind == RLX_GPU_HIP) { /* which makes no copy of it */
        k->code = m->images[i].own;
        m->images[i].own = NULL;
    }
    GPU_TRY(g, get_function, &k->function, k->module, from->name);
    k->nbuffers = i < m->program->nkernels ? from->nbuffers : 1;
    k->nmaps = from->nmaps;
    k->maps = from->maps;
    return choose_grid(m, i, k);
}

/* In a thread of its own, perhaps. */
static rlx_status make_kernel(void *user, uint32_t i)
{
    maker *m = user;
    rlx_gpu_scope s;
    RLX_TRY(rlx_gpu_enter(m->gpu, &s));
    rlx_status st = load_kernel(m, i);
    rlx_gpu_leave(m->gpu, &s);
    RLX_TRY_NOTE(st, "kernel @%s for %s", m->program->kernels[i].name, m->program->target);
    return RLX_OK;
}

static void unload(rlx_gpu *g, rlx_device_kernels *k)
{
    rlx_gpu_scope s;
    rlx_status st = rlx_gpu_enter(g, &s);
    for (uint32_t i = 0; !st && i < k->n; i++)
        if (k->each[i].module)
            GPU_DROP(g, unload_module, k->each[i].module);
    if (!st)
        rlx_gpu_leave(g, &s);
    rlx_status_free(st);
    for (uint32_t i = 0; i < k->n; i++)
        free(k->each[i].code);
    memset(k->each, 0, sizeof *k->each * k->n);
}

/* ---- what is kept of them: for each kernel, eight bytes that say how many follow ------------- */

enum { SIZE_BYTES = 8 };

static rlx_status read_known(maker *m, size_t bytes)
{
    size_t at = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        uint64_t n = 0;
        if (bytes - at >= SIZE_BYTES)
            for (int k = 0; k < SIZE_BYTES; k++)
                n |= (uint64_t)m->known[at + (size_t)k] << 8 * k;
        if (bytes - at < SIZE_BYTES || !n || n > bytes - at - SIZE_BYTES)
            return RLX_FAIL(RLX_INVALID_FILE, "%zu bytes hold no code of %u kernels", bytes, m->n);
        m->images[i] = (image){.data = m->known + at + SIZE_BYTES, .bytes = (size_t)n};
        at += SIZE_BYTES + (size_t)n;
    }
    if (at != bytes)
        return RLX_FAIL(RLX_INVALID_FILE, "%zu bytes behind the code of %u kernels", bytes - at,
                        m->n);
    return RLX_OK;
}

static void forget(maker *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        free(m->images[i].own);
    memset(m->images, 0, sizeof *m->images * m->n);
    free(m->known);
    m->known = NULL;
}

/* Not damaged, but of no use to the driver, or without a kernel: what the code is, not what became of the device. */
static bool is_about_code(rlx_status st)
{
    const rlx_code code = rlx_status_code(st);
    return code == RLX_INVALID_FILE || code == RLX_UNSUPPORTED || code == RLX_NOT_FOUND;
}

/* By what is known (*done): where that is of no use it is told, and nothing is loaded. */
static rlx_status try_known(maker *m, bool *done)
{
    size_t bytes;
    if (m->kept)
        m->known = rlx_cache_get_driver_code(m->kept, &m->program->key, m->gpu->code_name, &bytes);
    *done = false;
    if (!m->known)
        return RLX_OK;
    rlx_status st = read_known(m, bytes);
    if (!st)
        st = rlx_run_each(m->n, m->gpu->base.threads, make_kernel, m);
    *done = !st;
    if (!st || !is_about_code(st))
        return st;
    rlx_cache_tell_damage(m->kept, rlx_status_note(st, __FILE__, __LINE__, "code of the driver"));
    unload(m->gpu, m->out);
    forget(m);
    return RLX_OK;
}

static void keep(const maker *m)
{
    rlx_text all = {0};
    for (uint32_t i = 0; i < m->n; i++) {
        uint8_t size[SIZE_BYTES];
        for (int k = 0; k < SIZE_BYTES; k++)
            size[k] = (uint8_t)((uint64_t)m->images[i].bytes >> 8 * k);
        rlx_text_put_bytes(&all, size, sizeof size);
        rlx_text_put_bytes(&all, m->images[i].data, m->images[i].bytes);
    }
    if (all.oom)
        rlx_cache_warn(m->kept, RLX_OOM());
    else if (all.len)
        rlx_cache_put_driver_code(m->kept, &m->program->key, m->gpu->code_name, all.data, all.len);
    rlx_text_deinit(&all);
}

static rlx_status make_all(maker *m)
{
    bool done;
    RLX_TRY(try_known(m, &done));
    if (done)
        return RLX_OK;
    RLX_TRY(rlx_run_each(m->n, m->gpu->base.threads, make_kernel, m));
    if (m->kept)
        keep(m);
    return RLX_OK;
}

/* ---- device.h -------------------------------------------------------------------------------- */

rlx_status rlx_gpu_create_kernels(rlx_device *d, const rlx_program *p, rlx_device_kernels **out)
{
    maker m = {.gpu = rlx_gpu_of(d), .program = p};
    RLX_TRY(rlx_gpu_check_lost(m.gpu));
    RLX_TRY(check_program(m.gpu, p));
    if (p->code_kind == RLX_CODE_PTX)
        m.kept = d->cache;
    m.n = p->nkernels + p->nparts;
    m.images = calloc((size_t)m.n + 1, sizeof *m.images);
    m.out = calloc(1, sizeof *m.out + sizeof *m.out->each * m.n);
    rlx_status st = m.images && m.out ? RLX_OK : RLX_OOM();
    if (!st) {
        m.out->n = m.n;
        m.out->step = p->nparts ? &m.out->each[p->nkernels] : NULL;
        st = make_all(&m);
        forget(&m);
    }
    free(m.images);
    if (st)
        rlx_gpu_destroy_kernels(d, m.out);
    else
        *out = m.out;
    return st;
}

void rlx_gpu_destroy_kernels(rlx_device *d, rlx_device_kernels *k)
{
    if (k)
        unload(rlx_gpu_of(d), k);
    free(k);
}
