/* runtime/program_check.h: may a program that came from a file run? Internal to runtime/. */
#ifndef RLX_RUNTIME_PROGRAM_CHECK_H
#define RLX_RUNTIME_PROGRAM_CHECK_H

#include "runtime/program.h"

/* Sections of entry bytes, in their order. */
typedef enum rlx_program_section {
    RLX_SECTION_SYMBOLS,
    RLX_SECTION_DIMS,
    RLX_SECTION_KERNELS,
    RLX_SECTION_FUNCS,
    RLX_SECTION_BOUND,
    RLX_SECTION_OUTPUTS,
    RLX_SECTION_OPS,
    RLX_SECTION_ARGS,
    RLX_SECTION_STRINGS,
    RLX_SECTION_CODE,
    RLX_SECTION_COUNT
} rlx_program_section;

/* Where a section lies in the bytes, for messages. */
typedef struct rlx_program_extent {
    size_t start, count, record_bytes;
} rlx_program_extent;

/* Checks everything that running relies on (the numbered rules in program_check.c):
 * RLX_INVALID_FILE with the record and its byte. */
rlx_status rlx_program_check(const rlx_program *p, const rlx_program_extent *sections);

#endif
