/* models/names.h: what tensors are called in files of other kinds. */
#ifndef RLX_MODELS_NAMES_H
#define RLX_MODELS_NAMES_H

#include "models/families.h"
#include "runtime/base/text.h"

/* *out: the name that families look for, of a GGUF file's tensor; *found false: nobody looks. */
rlx_status rlx_name_from_gguf(const char *arch, const char *name, rlx_text *out, bool *found);
/* The way back. */
rlx_status rlx_name_to_gguf(const char *arch, const char *name, rlx_text *out, bool *found);
/* The same of Meta's own files (older_names.def); `arch` counts for nothing. */
rlx_status rlx_name_from_meta(const char *arch, const char *name, rlx_text *out, bool *found);
/* The architecture of a model_type's GGUF files, and whether rows of q and k are stored there for
 * rotary pairs 2i, 2i + 1; NULL: there is none. */
const char *rlx_gguf_arch_of(const char *model_type, bool *interleaved);

#endif
