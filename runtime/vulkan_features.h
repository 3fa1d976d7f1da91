/* runtime/vulkan_features.h: what a Vulkan device has that code may use, as bits and as words. */
#ifndef RLX_RUNTIME_VULKAN_FEATURES_H
#define RLX_RUNTIME_VULKAN_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

typedef enum rlx_vulkan_feature {
#define VULKAN_FEATURE(NAME, word, meaning) RLX_VULKAN_##NAME,
#include "runtime/vulkan_features.def"
#undef VULKAN_FEATURE
    RLX_VULKAN_FEATURE_COUNT
} rlx_vulkan_feature;

/* The matrices that a device multiplies in one instruction: m rows by n columns, k bytes of each; zeros: none. */
typedef struct rlx_vulkan_matrix {
    int m, n, k;
} rlx_vulkan_matrix;
/* Whether code takes matrices of the extent: tiles are whole ones, groups of K have 16 elements or 32. */
static inline bool rlx_vulkan_is_side(uint64_t extent)
{
    return extent == 8 || extent == 16 || extent == 32;
}

#define RLX_VULKAN_BIT(NAME) ((uint64_t)1 << RLX_VULKAN_##NAME)
#define RLX_VULKAN_ALL (((uint64_t)1 << RLX_VULKAN_FEATURE_COUNT) - 1)

const char *rlx_vulkan_feature_name(rlx_vulkan_feature f);
/* "int8+int16+..": the set's words, `between` them. */
void rlx_vulkan_list_features(uint64_t features, const char *between, rlx_text *out);
/* Takes features out of the set, as ",-int8,-f16" says ("": none). RLX_INVALID_ARGUMENT names the nearest word. */
rlx_status rlx_vulkan_mask_features(const char *text, uint64_t *features);

#endif
