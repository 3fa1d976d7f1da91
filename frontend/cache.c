/* frontend/cache.c: what is said of the compile cache: entries, and why one is missing. */
#include "frontend/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

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

/* ---- entries as text ------------------------------------------------------------------------- */

/* "TOKENS 512, ROWS 512": symbols that every session binds alike are left out. */
static void put_buckets(const char *preimage, rlx_text *out)
{
    rlx_key_field f;
    bool first = true;
    while (rlx_key_next(&preimage, &f)) {
        if (f.name_len != strlen("bucket") || memcmp(f.name, "bucket", f.name_len) != 0 ||
            !strncmp(f.value, "SEQS ", 5) || !strncmp(f.value, "SLOTS ", 6) ||
            !strncmp(f.value, "PAGES", 5))
            continue;
        rlx_text_put(out, first ? "" : ", ");
        rlx_text_put_bytes(out, f.value, f.value_len);
        first = false;
    }
}

/* "; fusion 0, ..", of code that is not as it would be by itself. */
static void put_tuning(const char *preimage, rlx_text *out)
{
    rlx_text value = {0};
    rlx_key_put_value(preimage, "tuning", &value);
    if (value.len)
        rlx_text_putf(out, "; tuning: %s", value.data);
    out->oom |= value.oom;
    rlx_text_deinit(&value);
}

static void put_line(const rlx_cache_entry *e, const rlx_program *p, rlx_text *out)
{
    rlx_text_putf(out, "%.16s %8lld  %-24s ", e->key, (long long)e->bytes, p->target);
    put_buckets(p->preimage, out);
    rlx_text_put(out, "; ");
    rlx_key_put_value(p->preimage, "precision", out);
    put_tuning(p->preimage, out);
    rlx_text_putf(out, "; %s%s", p->provenance, e->system ? " (system)" : "");
    if (e->driver_bytes)
        rlx_text_putf(out, "; and %lld of drivers", (long long)e->driver_bytes);
    rlx_text_put(out, "\n");
}

static void put_text(const rlx_cache_entry *e, const rlx_program *p, rlx_text *out)
{
    rlx_key_field f;
    rlx_text_putf(out, "key          %s\nbytes        %lld\nflow         %s\nneeds        %s\n",
                  e->key, (long long)e->bytes, p->provenance, p->target);
    if (e->driver_bytes)
        rlx_text_putf(out, "of drivers   %lld bytes\n", (long long)e->driver_bytes);
    rlx_text_putf(out, "kernels      %u\narena        %lld bytes\n", p->nkernels,
                  (long long)p->arena_bytes);
    for (const char *at = p->preimage; rlx_key_next(&at, &f);)
        rlx_text_putf(out, "%-12.*s %.*s\n", (int)f.name_len, f.name, (int)f.value_len, f.value);
}

static rlx_status put_json(const rlx_cache_entry *e, const rlx_program *p, rlx_text *out)
{
    cJSON *json = cJSON_CreateObject(), *fields = cJSON_AddArrayToObject(json, "fields");
    cJSON_AddStringToObject(json, "key", e->key);
    cJSON_AddNumberToObject(json, "bytes", (double)e->bytes);
    cJSON_AddNumberToObject(json, "driver_bytes", (double)e->driver_bytes);
    cJSON_AddNumberToObject(json, "used", (double)e->used);
    cJSON_AddBoolToObject(json, "system", e->system);
    cJSON_AddStringToObject(json, "flow", p->provenance);
    cJSON_AddStringToObject(json, "target", p->target);
    cJSON_AddNumberToObject(json, "kernels", p->nkernels);
    rlx_key_field f;
    for (const char *at = p->preimage; rlx_key_next(&at, &f);) {
        cJSON *pair = cJSON_CreateArray();
        char *name = strndup(f.name, f.name_len), *value = strndup(f.value, f.value_len);
        cJSON_AddItemToArray(pair, cJSON_CreateString(name ? name : ""));
        cJSON_AddItemToArray(pair, cJSON_CreateString(value ? value : ""));
        cJSON_AddItemToArray(fields, pair);
        free(name);
        free(value);
    }
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    rlx_text_putf(out, "%s\n", text ? text : "");
    free(text);
    return text ? RLX_OK : RLX_OOM();
}

rlx_status rlx_cache_describe(rlx_cache *c, const rlx_cache_entry *e, const char *what, char **text)
{
    rlx_program *p;
    rlx_text out = {0};
    rlx_status st = RLX_OK;
    *text = NULL;
    RLX_TRY(rlx_cache_read(c, e, &p));
    if (!strcmp(what, "line"))
        put_line(e, p, &out);
    else if (!strcmp(what, "text"))
        put_text(e, p, &out);
    else if (!strcmp(what, "json"))
        st = put_json(e, p, &out);
    else
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "an entry as \"%s\": line, text, json", what);
    rlx_program_destroy(p);
    if (!st && out.oom)
        st = RLX_OOM();
    *text = st ? NULL : rlx_text_take(&out);
    rlx_text_deinit(&out);
    return st;
}
