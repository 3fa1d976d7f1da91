/* models/names.h: what tensors are called in files of other kinds. */
#ifndef RLX_MODELS_NAMES_H
#define RLX_MODELS_NAMES_H

#include "models/families.h"
#include "runtime/base/text.h"

/* *out: the name that families look for, of a GGUF file's tensor; *found false: nobody looks. */
rlx_status rlx_name_from_gguf(const char *arch, const char *name, rlx_text *out, bool *found);

#endif
