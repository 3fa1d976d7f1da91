/* tests/torture/entry.h: small programs to keep: entry bytes whose code is a pattern. */
#ifndef RLX_TESTS_TORTURE_ENTRY_H
#define RLX_TESTS_TORTURE_ENTRY_H

#include "runtime/base/text.h"
#include "runtime/program.h"

typedef struct torture_entry {
    char preimage[32];
    rlx_hash key;
    uint8_t *code;
    size_t code_bytes;
    rlx_text bytes;
} torture_entry;

/* Ends the process when it cannot. */
torture_entry torture_make_entry(int number);
void torture_free_entry(torture_entry *e);

#endif
