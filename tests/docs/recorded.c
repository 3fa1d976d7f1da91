/* tests/docs/recorded.c: what the flows of docs/examples/layers.c record, as text. */
#define main run_layers
#include "docs/examples/layers.c"
#undef main

#include "frontend/flow.h"
#include "tests/docs/recorded.h"

rlx_status record_example(const char *name, rlx_text *out)
{
    rlx_flow *f = NULL;
    for (int i = 0; i < NLAYERS; i++) {
        if (strcmp(layers[i].name, name))
            continue;
        RLX_TRY(rlx_flow_create(name, &f));
        layers[i].record(f);
        rlx_flow_print(f, out);
        rlx_flow_destroy(f);
        return RLX_OK;
    }
    return RLX_FAIL(RLX_NOT_FOUND, "docs/examples/layers.c has no %s", name);
}
