/* runtime/device_gpu_step.c: all launches of a step on a GPU as one.
 *
 *   table in the device's memory: head | launches | addresses of their buffers
 *
 * It is written when a tape is recorded; in a step only the head's counter is set back. As many teams as the device holds at once go through
 * the launches; the driver refuses more (a cooperative launch), since teams that wait for one that is not there wait for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/device_gpu_impl.h"

struct rlx_gpu_step {
    const rlx_gpu_kernel *kernel;
    rlx_device_memory *table;
    rlx_gpu_address addresses[2]; /* of the table, and of the symbols */
    void *arguments[3];           /* where these are; NULL behind */
};

/* Teams that launches before it in its phase keep busy do not begin with the next. */
static void put_launches(const rlx_device_recording *r, rlx_gpu_address addresses,
                         rlx_step_launch *out)
{
    const int64_t teams = r->kernels->step->teams;
    int64_t meeting = 0, busy = 0;
    for (uint32_t i = 0; i < r->nlaunches; i++) {
        const rlx_device_launch *l = &r->launches[i];
        const rlx_gpu_kernel *k = &r->kernels->each[l->kernel];
        const bool meets = i > 0 && l->phase != l[-1].phase;
        meeting += meets;
        busy = meets ? 0 : busy;
        out[i] = (rlx_step_launch){.kernel = l->kernel,
                                   .meeting = meets ? meeting : 0,
                                   .turn = (teams - busy) % teams,
                                   .addresses = (int64_t)addresses};
        busy = (busy + k->teams) % teams;
        addresses += sizeof addresses * (k->nbuffers + 1);
    }
}

static rlx_status write_table(rlx_gpu *g, const rlx_device_recording *r,
                              const rlx_gpu_address *addresses, size_t n, rlx_gpu_step *s)
{
    const size_t launches = sizeof(rlx_step_head),
                 at = launches + sizeof(rlx_step_launch) * r->nlaunches,
                 bytes = at + sizeof *addresses * n;
    char *data = calloc(1, bytes);
    if (!data)
        return RLX_OOM();
    const rlx_step_head head = {.nlaunches = r->nlaunches};
    memcpy(data, &head, sizeof head);
    memcpy(data + at, addresses, sizeof *addresses * n);
    rlx_status st = rlx_gpu_create_memory(&g->base, bytes, RLX_MEMORY_KEPT, &s->table);
    if (!st) {
        put_launches(r, s->table->at + at, (rlx_step_launch *)(void *)(data + launches));
        st = rlx_gpu_write(&g->base, s->table, 0, data, bytes);
    }
    free(data);
    return st;
}

rlx_status rlx_gpu_step_create(rlx_gpu *g, const rlx_device_recording *r,
                               const rlx_gpu_address *addresses, size_t n, rlx_gpu_step **out)
{
    rlx_gpu_step *s = calloc(1, sizeof *s);
    if (!s)
        return RLX_OOM();
    rlx_status st = write_table(g, r, addresses, n, s);
    if (st) {
        rlx_gpu_step_destroy(g, s);
        return rlx_status_note(st, __FILE__, __LINE__, "the table of a step");
    }
    s->kernel = r->kernels->step;
    s->addresses[0] = s->table->at;
    s->addresses[1] = r->symbols.memory->at + r->symbols.offset;
    s->arguments[0] = &s->addresses[0];
    s->arguments[1] = &s->addresses[1];
    *out = s;
    return RLX_OK;
}

rlx_status rlx_gpu_step_start(rlx_gpu *g, rlx_gpu_step *s, rlx_gpu_stream stream)
{
    const rlx_gpu_kernel *k = s->kernel;
    GPU_TRY(g, fill, s->table->at, 0, sizeof(uint32_t), stream);
    GPU_TRY(g, launch_together, k->function, k->teams, 1, 1, k->team, 1, 1, 0, stream,
            s->arguments);
    return RLX_OK;
}

void rlx_gpu_step_destroy(rlx_gpu *g, rlx_gpu_step *s)
{
    if (s)
        rlx_gpu_destroy_memory(&g->base, s->table);
    free(s);
}
