#include "tests/vulkan/validation.h"

rlx_status validation_open(rlx_vulkan_options o, rlx_device **out, bool *validated)
{
    o.validate = true;
    rlx_status st = rlx_vulkan_open(&o, out);
    *validated = !st;
    if (rlx_status_code(st) != RLX_NOT_FOUND) /* the layer is a package of its own */
        return st;
    rlx_status_free(st);
    o.validate = false;
    return rlx_vulkan_open(&o, out);
}
