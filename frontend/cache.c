/* frontend/cache.c: what is said of the compile cache: entries, and why one is missing. */
#include "frontend/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile_key.h"

/* ---- explaining a miss ----------------------------------------------------------------------- */

typedef struct search {
    rlx_cache *cache;
    const char *wanted;
    int differ; /* of the nearest so far; -1: none */
    char *preimage, *provenance;
    char key[65];
    int damaged;
    bool oom;
} search;

static bool keep_nearer(search *s, const rlx_cache_entry *e, const rlx_program *p, int differ)
{
    free(s->preimage);
    free(s->provenance);
    s->preimage = strdup(p->preimage);
    s->provenance = strdup(p->provenance);
    s->differ = differ;
    memcpy(s->key, e->key, sizeof s->key);
    s->oom = !s->preimage || !s->provenance;
    return !s->oom;
}

static bool look_at(void *user, const rlx_cache_entry *e)
{
    search *s = user;
    rlx_program *p;
    rlx_status st = rlx_cache_read(s->cache, e, &p);
    if (st) {
        s->damaged++;
        rlx_status_free(st);
        return true;
    }
    int differ = rlx_key_compare(p->preimage, s->wanted, NULL);
    bool go_on = s->differ >= 0 && differ >= s->differ ? true : keep_nearer(s, e, p, differ);
    rlx_program_destroy(p);
    return go_on;
}

rlx_status rlx_cache_explain_key(rlx_cache *c, const char *preimage, rlx_text *out)
{
    search s = {.cache = c, .wanted = preimage, .differ = -1};
    rlx_status st = rlx_cache_each(c, look_at, &s);
    if (!st && s.oom)
        st = RLX_OOM();
    if (!st && s.differ < 0) {
        rlx_text_putf(out, "there are no entries%s\n", s.damaged ? " but damaged ones" : "");
    } else if (!st) {
        rlx_text_putf(out, "the nearest entry, %.16s (%s), differs in %d field%s:\n", s.key,
                      s.provenance, s.differ, s.differ == 1 ? "" : "s");
        rlx_key_compare(s.preimage, preimage, out);
    }
    free(s.preimage);
    free(s.provenance);
    return st ? st : out->oom ? RLX_OOM() : RLX_OK;
}
