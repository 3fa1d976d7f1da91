/* frontend/compile_key.h: what decides what is compiled, as text: the preimage of a compile key.
 *
 * A list of fields, "NAME BYTES VALUE\n" each: the length stands before the value, so that no two
 * lists have the same text. Names of flows, functions and values, files and places are in none of
 * them; names that an entry binds by (weights, inputs, outputs, states) are. docs/cache.md lists
 * the fields. */
#ifndef RLX_FRONTEND_COMPILE_KEY_H
#define RLX_FRONTEND_COMPILE_KEY_H

#include "frontend/compilation.h"

/* Of a compilation that has reached HIR, for `target`. */
rlx_status rlx_compile_key(const rlx_compilation *c, const rlx_jit_target *target,
                           rlx_text *preimage);

const char *rlx_compile_precision_name(rlx_mir_precision p); /* as keys have it: "fast, prefill" */
/* What a key says of the precision, read back. RLX_INVALID_FILE. */
rlx_status rlx_compile_read_precision(const char *text, rlx_mir_precision *out);
/* The same of tuning; "": the key has none. */
rlx_status rlx_compile_read_tuning(const char *text, rlx_tuning *out);

/* One field of a preimage; texts are lent and not ended by a NUL. */
typedef struct rlx_key_field {
    const char *name, *value;
    size_t name_len, value_len;
} rlx_key_field;
/* Reads the field at *at and advances it; false at the end, and at what is no field. */
bool rlx_key_next(const char **at, rlx_key_field *out);
/* The value of the first field with this name; nothing when there is none. */
void rlx_key_put_value(const char *preimage, const char *name, rlx_text *out);
/* How many fields two preimages do not share; each as a line "NAME: it has VALUE, wanted VALUE" to
 * `out`, which may be NULL. */
int rlx_key_compare(const char *has, const char *wanted, rlx_text *out);

#endif
