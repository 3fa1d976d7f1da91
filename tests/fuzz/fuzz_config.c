/* Arbitrary bytes as config.json and as generation_config.json of each family: a flow, rotary
 * tables and sampling come of it, or an error. There are no weights: a config that is right ends
 * with those that are missing. */
#include <math.h>

#include <cjson/cJSON.h>

#include "frontend/model.h"
#include "models/families.h"
#include "tests/fuzz/fuzz.h"

static void build(const cJSON *config, const rlx_weights *none)
{
    for (int i = 0; i < rlx_family_count(); i++) {
        rlx_flow *flow;
        rlx_model_config out;
        rlx_status st =
            rlx_family_at(i)->build(config, (rlx_weights *)(uintptr_t)none, &flow, &out);
        must(st != NULL && !flow, "a flow without weights");
        fuzz_end(st);
    }
}

static void read_rope(const cJSON *config)
{
    enum { HEAD = 8, N = 3 };
    static const int32_t pos[N] = {0, 1, 1 << 20};
    float cosine[N * HEAD / 2], sine[N * HEAD / 2];
    rlx_rope_spec spec;
    rlx_rope *rope = NULL;
    rlx_status st = rlx_config_get_rope(config, HEAD, 64, 1e4, &spec);
    if (!st)
        st = rlx_rope_create(&spec, &rope);
    if (!st)
        rlx_rope_tables(rope, pos, N, cosine, sine);
    fuzz_end(st);
    rlx_rope_destroy(rope);
    rlx_config_free_rope(&spec);
}

static void read_generation(const cJSON *json)
{
    rlx_context cx = {.log = NULL};
    rlx_model m = {.config = {.vocab = 100, .bos = -1}};
    rlx_status st = rlx_model_read_generation(&cx, &m, json);
    must(st || m.config.neos <= RLX_MAX_EOS, "too many ends");
    must(st || isfinite(m.sampling.temperature), "a temperature that is no number");
    fuzz_end(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlx_weights *none;
    cJSON *json = size <= FUZZ_MAX_BYTES ? cJSON_ParseWithLength((const char *)data, size) : NULL;
    if (!json)
        return 0;
    must(!rlx_weights_create(&none), "out of memory");
    build(json, none);
    read_rope(json);
    read_generation(json);
    rlx_weights_destroy(none);
    cJSON_Delete(json);
    return 0;
}
