/* frontend/stop_filter.h: text on its way out that ends at the first of some strings.
 *
 *   pieces --put--> [what may begin a stop string waits] --emit--> pieces
 */
#ifndef RLX_FRONTEND_STOP_FILTER_H
#define RLX_FRONTEND_STOP_FILTER_H

#include "frontend/tokenizer.h"
#include "runtime/base/text.h"

typedef struct rlx_stop_filter {
    const char *const *stops; /* borrowed: strings of UTF-8, none empty */
    int nstops;
    rlx_token_emit *emit;
    void *user;
    rlx_text held;
    bool closed; /* a stop string came, or `emit` said stop: nothing more is emitted */
    bool found;  /* a stop string came */
} rlx_stop_filter;

/* A piece of whole characters; `filter` is a rlx_stop_filter, so that this is a rlx_token_emit.
 * False when a stop string was found, `emit` returned false or memory ran out (held.oom). */
bool rlx_stop_filter_put(void *filter, const char *utf8, size_t bytes);
/* The text has ended: what waits goes out. */
bool rlx_stop_filter_end(rlx_stop_filter *f);
void rlx_stop_filter_deinit(rlx_stop_filter *f);

#endif
