#include "runtime/vulkan_features.h"

#include <string.h>

static const char *const names[] = {
#define VULKAN_FEATURE(NAME, word, meaning) word,
#include "runtime/vulkan_features.def"
#undef VULKAN_FEATURE
};

const char *rlx_vulkan_feature_name(rlx_vulkan_feature f)
{
    return names[f];
}

void rlx_vulkan_list_features(uint64_t features, const char *between, rlx_text *out)
{
    bool first = true;
    for (int i = 0; i < RLX_VULKAN_FEATURE_COUNT; i++) {
        if (!(features >> i & 1))
            continue;
        rlx_text_putf(out, "%s%s", first ? "" : between, names[i]);
        first = false;
    }
}

static rlx_status find_feature(const char *word, int *out)
{
    for (*out = 0; *out < RLX_VULKAN_FEATURE_COUNT; ++*out)
        if (!strcmp(word, names[*out]))
            return RLX_OK;
    const char *near = rlx_text_nearest(word, names, RLX_VULKAN_FEATURE_COUNT);
    rlx_text all = {0};
    rlx_vulkan_list_features(RLX_VULKAN_ALL, ", ", &all);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "no feature \"%s\"; %s%s%sthere are %s", word,
                             near ? "did you mean \"" : "", near ? near : "", near ? "\"? " : "",
                             all.data ? all.data : "none");
    rlx_text_deinit(&all);
    return st;
}

rlx_status rlx_vulkan_mask_features(const char *text, uint64_t *features)
{
    for (const char *s = text; *s;) {
        char word[32];
        int feature;
        size_t n = strcspn(s + 1, ",");
        if (s[0] != ',' || s[1] != '-' || n < 2 || n > sizeof word)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\": expected \",-FEATURE\" at \"%s\"", text,
                            s);
        memcpy(word, s + 2, n - 1);
        word[n - 1] = '\0';
        RLX_TRY(find_feature(word, &feature));
        *features &= ~((uint64_t)1 << feature);
        s += 1 + n;
    }
    return RLX_OK;
}
