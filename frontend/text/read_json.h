/* frontend/text/read_json.h: what reads tokenizer.json: the model here, the steps around it in
 * read_json_steps.c. */
#ifndef RLX_FRONTEND_TEXT_READ_JSON_H
#define RLX_FRONTEND_TEXT_READ_JSON_H

#include <cjson/cJSON.h>

#include "frontend/text/read.h"

typedef struct rlx_json_reader {
    rlx_description *d;
    const cJSON *root;
} rlx_json_reader;

/* NULL for what is not there, or null. */
const cJSON *rlx_json_get(const cJSON *o, const char *key);
/* Typed members: RLX_INVALID_FILE, by the part and the key, when one is of another type. *out keeps
 * its value when the key is absent. */
rlx_status rlx_json_text(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                         const char **out);
rlx_status rlx_json_flag(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                         bool *out);
rlx_status rlx_json_int(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                        int64_t least, int64_t most, int64_t *out);

rlx_status rlx_json_read_steps(rlx_json_reader *r);

#endif
