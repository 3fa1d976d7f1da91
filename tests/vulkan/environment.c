#include "tests/vulkan/environment.h"

#include <glob.h>
#include <stdlib.h>

void environment_prepare(void)
{
    glob_t found;
    setenv("XDG_RUNTIME_DIR", "/tmp", 0);
    if (glob("/usr/share/vulkan/icd.d/lvp_icd*.json", 0, NULL, &found) == 0)
        setenv("VK_ICD_FILENAMES", found.gl_pathv[0], 0);
    globfree(&found);
}
