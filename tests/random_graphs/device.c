#include "tests/random_graphs/device.h"

#include <stdio.h>
#include <stdlib.h>

#include "frontend/context.h"
#include "tests/random_graphs/graphs.h"
#include "tests/vulkan/validation.h"

/* Features that code has another way without, whatever it computes. */
static uint64_t masked_by(uint64_t seed)
{
    static const uint64_t maskable[] = {RLX_VULKAN_BIT(INT8), RLX_VULKAN_BIT(INT16),
                                        RLX_VULKAN_BIT(F16), RLX_VULKAN_BIT(DOT),
                                        RLX_VULKAN_BIT(SUBGROUP)};
    uint64_t state = seed, without = 0;
    for (size_t i = 0; seed % 2 && i < sizeof maskable / sizeof *maskable; i++)
        without |= graph_random(&state) & 1 ? maskable[i] : 0;
    return without;
}

rlx_status graph_device_open(const char *name, uint64_t seed, graph_device *d)
{
    rlx_device_choice choice;
    *d = (graph_device){0};
    RLX_TRY(rlx_context_parse_device(name, &choice));
    if (!choice.is_vulkan)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\" is no Vulkan device", name);
    if (!choice.vulkan.without)
        choice.vulkan.without = d->masked = masked_by(seed);
    choice.vulkan.said = &d->said;
    RLX_TRY(validation_open(choice.vulkan, &d->device, &d->validated));
    rlx_vulkan_target(rlx_vulkan_device_get_info(rlx_vulkan_device_of(d->device)), &d->target);
    d->target.range_bytes = choice.vulkan.range;
    return RLX_OK;
}

rlx_status graph_device_close(graph_device *d)
{
    rlx_device_destroy(d->device);
    d->device = NULL;
    rlx_status st = d->said.len ? RLX_FAIL(RLX_INTERNAL, "the validation layer: %.*s",
                                           (int)d->said.len, d->said.data)
                                : RLX_OK;
    rlx_text_deinit(&d->said);
    return st;
}

int graph_device_is_there(const char *name)
{
    graph_device d;
    rlx_status st = graph_device_open(name, 0, &d);
    if (!st)
        printf("on %s, %s the validation layer\n",
               rlx_vulkan_device_get_info(rlx_vulkan_device_of(d.device))->name,
               d.validated ? "under" : "without");
    if (!st)
        st = graph_device_close(&d);
    char *story = st ? rlx_status_text(st) : NULL;
    const int code = rlx_status_code(st);
    if (st)
        printf("%s \"%s\": %s\n",
               code == RLX_NOT_FOUND ? "skipped: no Vulkan device" : "cannot open the device", name,
               story ? story : "out of memory");
    free(story);
    rlx_status_free(st);
    return code;
}
