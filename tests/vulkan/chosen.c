#include "tests/vulkan/chosen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/rlx.h"
#include "tests/vulkan/environment.h"

const char *chosen_device;

bool chosen_begin(int argc, char **argv)
{
    rlx_context *cx;
    chosen_device = argc > 1 ? argv[1] : NULL;
    if (!chosen_device)
        return true;
    environment_prepare();
    if (!strncmp(chosen_device, "vulkan", strlen("vulkan"))) {
        const bool validated = environment_has_validation();
        printf("%s the validation layer\n", validated ? "under" : "without");
        if (validated)
            environment_validate();
    }
    rlx_status st = rlx_context_create(&(rlx_context_options){.device = chosen_device}, &cx);
    rlx_context_destroy(cx);
    if (!st)
        return true;
    char *text = rlx_status_text(st);
    const bool absent = rlx_status_code(st) == RLX_NOT_FOUND;
    printf("%s %s: %s\n", absent ? "skipped: no device" : "cannot open", chosen_device, text);
    free(text);
    rlx_status_free(st);
    if (!absent)
        exit(EXIT_FAILURE);
    return false;
}
