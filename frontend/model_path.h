/* frontend/model_path.h: what MODEL names.
 *
 *   DIR                     a hub's directory: config.json, weights, tokenizer
 *   DIR/NAME.safetensors    the same with these weights; NAME.safetensors.index.json likewise
 *   NAME.gguf               all in one file, or in parts NAME-00001-of-00003.gguf, any of them
 */
#ifndef RLX_FRONTEND_MODEL_PATH_H
#define RLX_FRONTEND_MODEL_PATH_H

#include "frontend/rlx.h"

typedef struct rlx_model_path { /* declared in quantize.h, too */
    const char *given; /* borrowed */
    bool gguf;         /* a .gguf file: `dir` is where it lies */
    bool named;        /* `given` names the weights */
    char *dir;         /* heap */
} rlx_model_path;

/* RLX_NOT_FOUND when there is no such file; RLX_INVALID_ARGUMENT for one of another kind. */
rlx_status rlx_model_path_init(const char *given, rlx_model_path *out);
void rlx_model_path_deinit(rlx_model_path *p);
/* The weights that it stands for, under the files' names. A directory without any names those that
 * could have been meant. */
rlx_status rlx_model_path_add_weights(const rlx_model_path *p, rlx_weights *w);

/* Does the name end so, and is longer? */
bool rlx_path_ends(const char *path, const char *end);
/* "DIR/FILE", heap; NULL when out of memory. */
char *rlx_path_join(const char *dir, const char *file);
/* *path: of a file in `dir`, to be freed; NULL when it is not there. */
rlx_status rlx_path_find(const char *dir, const char *file, char **path);
/* *json: what a file of `dir`, all of it one JSON object, says; NULL when it is not there. */
struct cJSON;
rlx_status rlx_path_read_json(const char *dir, const char *file, struct cJSON **json);

#endif
