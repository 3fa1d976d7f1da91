/* frontend/cache.h: the compile cache, as the compile driver asks it. */
#ifndef RLX_FRONTEND_CACHE_H
#define RLX_FRONTEND_CACHE_H

#include "frontend/rlx.h"
#include "runtime/cache.h"

/* Why there is no entry for `preimage`: the nearest one and each field in which it differs, as
 * lines. */
rlx_status rlx_cache_explain_key(rlx_cache *c, const char *preimage, rlx_text *out);

#endif
