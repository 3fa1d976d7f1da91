/* runtime/safetensors.h: one .safetensors file, mapped and checked. Internal to runtime/. */
#ifndef RLX_RUNTIME_SAFETENSORS_H
#define RLX_RUNTIME_SAFETENSORS_H

#include "runtime/tensor_file.h"

/* A dtype of the file format. `format` is NONE for those that rlx only carries (U16, F8_E4M3, ..).
 */
typedef struct rlx_safetensors_dtype {
    const char *name;
    int bits;
    rlx_format format;
} rlx_safetensors_dtype;

/* Ends with a name of NULL. */
extern const rlx_safetensors_dtype rlx_safetensors_dtypes[];

/* Maps and checks the whole header: JSON, dtypes, shapes, offsets, names. RLX_INVALID_FILE names
 * the path and the tensor or byte. */
rlx_status rlx_safetensors_open(const char *path, rlx_tensor_file **out);

#endif
