/* tests/jit/ptxas.h: PTX to NVIDIA's assembler, where that is on PATH. */
#ifndef RLX_TESTS_JIT_PTXAS_H
#define RLX_TESTS_JIT_PTXAS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether code, of any maker, is none of those that were asked for before in this process; and how many there were. */
bool is_new_code(const void *code, size_t bytes);
int count_codes(void);

bool have_ptxas(void); /* the first time it is not, says so */

/* What ptxas -v says of a kernel. */
typedef struct ptxas_report {
    int registers, spills, shared; /* spills: bytes stored and loaded; shared: bytes */
} ptxas_report;
/* Fails the running test where ptxas refuses, or changes how wgmma runs. */
ptxas_report ptxas_assemble(const char *kernel, const char *ptx, size_t bytes, const char *arch);
/* Whether it says that it puts products by wgmma one after the other, or fences or waits between. */
bool ptxas_changes_wgmma(const char *kernel, const char *ptx, size_t bytes, const char *arch);

#endif
