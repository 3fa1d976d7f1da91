/* runtime/device_gpu_maps.c: tensor maps of a launch's buffers, which NVIDIA's driver encodes when a tape is recorded: they hold the buffer's
 * address, and are copied with the launch's arguments.
 */
#include "runtime/device_gpu_impl.h"

static rlx_status encode(rlx_gpu *g, const rlx_program_map *m, rlx_gpu_address at, uint64_t rows,
                         rlx_gpu_tensor *out)
{
    const uint64_t dims[2] = {(uint64_t)m->columns, rows};
    const uint64_t strides[1] = {(uint64_t)m->columns * m->bytes};
    const uint32_t box[2] = {m->box_columns, m->box_rows}, steps[2] = {1, 1};
    rlx_gpu_map_swizzle swizzle = RLX_GPU_MAP_SWIZZLE_32;
    for (uint32_t row = m->box_columns * m->bytes; row > 32; row /= 2)
        swizzle++;
    GPU_TRY(g, encode_map, out, m->bytes == 1 ? RLX_GPU_MAP_BYTES : RLX_GPU_MAP_HALVES, 2,
            (void *)(uintptr_t)at, dims, strides, box, steps, RLX_GPU_MAP_PLAIN, swizzle,
            RLX_GPU_MAP_AHEAD_128, RLX_GPU_MAP_ZEROS);
    return RLX_OK;
}

rlx_status rlx_gpu_encode_map(rlx_gpu *g, const rlx_program_map *m, rlx_gpu_address at,
                              size_t bytes, rlx_gpu_tensor *out)
{
    rlx_gpu_scope s;
    const uint64_t row = (uint64_t)m->columns * m->bytes;
    const uint64_t there = bytes / row < INT32_MAX ? bytes / row : INT32_MAX; /* coordinates */
    const uint64_t rows = m->rows ? (uint64_t)m->rows : there ? there : 1;
    if (!g->driver->call.encode_map)
        return RLX_FAIL(RLX_UNSUPPORTED, "the driver has no cuTensorMapEncodeTiled");
    RLX_TRY(rlx_gpu_enter(g, &s));
    rlx_status st = encode(g, m, at, rows, out);
    rlx_gpu_leave(g, &s);
    return st;
}
