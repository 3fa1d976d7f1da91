/* tests/jit/amd_objects.h: what the tests of code objects for AMD GPUs share: targets, kernels out of files,
 * programs that may be there, files for them. */
#ifndef RLX_TESTS_JIT_AMD_OBJECTS_H
#define RLX_TESTS_JIT_AMD_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/jit/subject.h"

enum { AMD_PROCESSORS = 4, AMD_TEAM = 128 };

typedef struct amd_processor {
    const char *name;
    int lanes, most_vgprs;
} amd_processor;

extern const amd_processor amd_processors[AMD_PROCESSORS];
rlx_jit_target amd_target(int processor);
/* A file of tests/jit/kernels/. */
void amd_read_kernels(subject *s, const char *file);

/* Exit status; -1 when the program is not there. What it prints goes to `output`, if given. */
int amd_run(char *const argv[], const char *output);
/* If not, says so. */
bool amd_is_there(const char *program);

/* Names of files in a folder of their own. */
typedef struct amd_files {
    char folder[32], object[64], out[64], text[64];
} amd_files;
void amd_make_files(amd_files *f);
void amd_remove_files(const amd_files *f);
void amd_write_file(const char *path, const void *data, size_t bytes);

#endif
