#include "tests/vulkan/environment.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void environment_prepare(void)
{
    glob_t found;
    setenv("XDG_RUNTIME_DIR", "/tmp", 0);
    if (glob("/usr/share/vulkan/icd.d/lvp_icd*.json", 0, NULL, &found) == 0)
        setenv("VK_ICD_FILENAMES", found.gl_pathv[0], 0);
    globfree(&found);
}

/* The loader opens the same file: what it runs and what is set here are one. */
const fault_layer *environment_prepare_faults(void)
{
    environment_prepare();
    setenv("XDG_DATA_HOME", RLX_BINARY_DIR "/tests/vulkan", 1);
    void *library = dlopen(RLX_BINARY_DIR "/tests/vulkan/librlx_fault_layer.so", RTLD_NOW);
    const fault_layer *layer = library ? dlsym(library, "rlx_fault_layer") : NULL;
    if (layer)
        return layer;
    fprintf(stderr, "the fault layer: %s\n", dlerror());
    abort();
}

bool environment_has_validation(void)
{
    enum { MOST = 64 };
    static const char name[] = "VK_LAYER_KHRONOS_validation";
    VkLayerProperties layers[MOST];
    uint32_t n = MOST;
    PFN_vkEnumerateInstanceLayerProperties list;
    void *loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!loader)
        return false;
    *(void **)&list = dlsym(loader, "vkEnumerateInstanceLayerProperties");
    bool found = false;
    if (list && list(&n, layers) >= 0)
        for (uint32_t i = 0; i < n; i++)
            found |= !strcmp(layers[i].layerName, name);
    dlclose(loader);
    return found;
}

void environment_validate(void)
{
    setenv("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation", 1);
    setenv("VK_LAYER_SETTINGS_PATH", RLX_SOURCE_DIR "/tests/vulkan", 0);
}
