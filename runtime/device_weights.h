/* runtime/device_weights.h: weights on a device. Internal to runtime/. */
#ifndef RLX_RUNTIME_DEVICE_WEIGHTS_H
#define RLX_RUNTIME_DEVICE_WEIGHTS_H

#include "runtime/device.h"
#include "runtime/runtime.h"

/* Tensors of `w`, and of what it lies over, on the device: uploaded unless another executable has done it. `tensors` may
 * be put into another order. Give it back by releasing. Any thread.
 * `more` is what is going to be taken beside them. RLX_OUT_OF_MEMORY, before anything is uploaded, says how much is missing; RLX_UNSUPPORTED names a tensor that is larger than a range may be. */
rlx_status rlx_device_weights_acquire(rlx_device *d, const rlx_weights *w,
                                      const rlx_tensor **tensors, size_t n,
                                      const rlx_device_needs *more, rlx_device_weights **out);
/* The last one to release them frees the memory. Accepts NULL. */
void rlx_device_weights_release(rlx_device *d, rlx_device_weights *w);
/* Where one that was acquired is. */
rlx_device_range rlx_device_weights_get(rlx_device *d, const rlx_device_weights *w,
                                        const rlx_tensor *t);

#endif
