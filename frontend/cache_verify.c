/* frontend/cache_verify.c: an entry made again from the source that it carries, and held against its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/cache.h"
#include "frontend/compile.h"
#include "frontend/compile_key.h"
#include "hir/hir.h"

/* The target with this description: of this machine, or of one with a name. */
static rlx_status find_target(const char *wanted, uint64_t features, rlx_jit_target *out)
{
    static const char aarch64[] = "aarch64:";
    const rlx_jit_target all = {.kind = RLX_JIT_CPU, .features = ~UINT64_C(0)};
    char name[48] = "";
    sscanf(wanted, "%47[^;]", name);
    if (!strncmp(name, aarch64, strlen(aarch64)))
        return rlx_jit_target_named(name + strlen(aarch64), out);
    if (!strncmp(name, "cuda:", 5) || !strncmp(name, "hip:", 4))
        return rlx_jit_target_named(name, out);
    for (int i = -1; i < rlx_jit_target_count(); i++) {
        rlx_text text = {0};
        if (i < 0)
            *out = (rlx_jit_target){.kind = RLX_JIT_CPU, .features = features};
        else if (!rlx_jit_target_below(&all, i, out))
            continue;
        rlx_status st = rlx_jit_describe_code(out, &text);
        const bool same = !st && !strcmp(text.data, wanted);
        rlx_text_deinit(&text);
        RLX_TRY(st);
        if (same)
            return RLX_OK;
    }
    return RLX_FAIL(RLX_UNSUPPORTED, "it is for another machine (%s)", wanted);
}

static rlx_status restore_bucket(const rlx_program *p, rlx_compilation *c)
{
    for (int i = 0; i < rlx_dim_symbol_count(c->dims); i++) {
        const int at = rlx_dim_symbol_index(p->dims, rlx_dim_symbol_name(c->dims, i));
        if (at < 0)
            return RLX_FAIL(RLX_INVALID_FILE, "its source has a symbol %s, and its tape has not",
                            rlx_dim_symbol_name(c->dims, i));
        c->upper[i] = p->upper[at];
    }
    return RLX_OK;
}

/* The compilation that an entry came from, at HIR. */
static rlx_status restore(const rlx_program *p, rlx_compilation *c)
{
    rlx_text target = {0}, precision = {0}, tuning = {0};
    rlx_key_put_value(p->preimage, "target", &target);
    rlx_key_put_value(p->preimage, "precision", &precision);
    rlx_key_put_value(p->preimage, "tuning", &tuning);
    rlx_status st = target.data && precision.data
                        ? find_target(target.data, p->features, &c->target)
                        : RLX_FAIL(RLX_INVALID_FILE, "its key does not say what it is for");
    if (!st)
        st = rlx_compile_read_precision(precision.data, &c->precision);
    if (!st)
        st = rlx_compile_read_tuning(tuning.data ? tuning.data : "", &c->tuning);
    rlx_text_deinit(&target);
    rlx_text_deinit(&precision);
    rlx_text_deinit(&tuning);
    RLX_TRY(st);
    c->dims = rlx_dims_create();
    if (!c->dims)
        return RLX_OOM();
    RLX_TRY(rlx_ir_parse(&rlx_hir_level, c->dims, "source", p->source, &c->hir));
    RLX_TRY(rlx_ir_verify(c->hir));
    c->outputs.name = calloc(p->noutputs + 1, sizeof *c->outputs.name);
    for (uint32_t i = 0; c->outputs.name && i < p->noutputs; i++)
        c->outputs.name[c->outputs.n++] = (char *)(uintptr_t)p->outputs[i].name;
    return c->outputs.name ? restore_bucket(p, c) : RLX_OOM();
}

static rlx_status compare(const rlx_program *p, const rlx_compilation *c, const rlx_text *entry,
                          const void *bytes, size_t n)
{
    rlx_text key = {0};
    RLX_TRY(rlx_compile_key(c, &c->target, &key));
    const bool same_key = !strcmp(key.data, p->preimage);
    rlx_text_deinit(&key);
    if (!same_key)
        return RLX_FAIL(RLX_UNSUPPORTED, "it is of another build of rlx, or of another compiler");
    if (entry->len != n || memcmp(entry->data, bytes, n) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "compiling it anew gives other code");
    return RLX_OK;
}

static rlx_status recompile(const rlx_program *p, const void *bytes, size_t n)
{
    const rlx_context none = {.runner = RLX_RUN_CODE};
    rlx_compilation c = {0};
    rlx_text entry = {0};
    rlx_status st = restore(p, &c);
    if (!st)
        st = rlx_compile_entry(&none, &c, p->provenance, p->preimage, &entry);
    if (!st)
        st = compare(p, &c, &entry, bytes, n);
    c.outputs.n = 0; /* the names are the program's */
    rlx_compilation_deinit(&c);
    rlx_text_deinit(&entry);
    return st;
}

rlx_status rlx_cache_verify(rlx_cache *c, const rlx_cache_entry *e, bool anew)
{
    rlx_program *p;
    void *bytes;
    size_t n;
    RLX_TRY(rlx_cache_check_drivers(c, e));
    RLX_TRY(rlx_cache_read(c, e, &p));
    rlx_status st = RLX_OK;
    if (anew && !(st = rlx_cache_read_bytes(c, e, &bytes, &n))) {
        st = recompile(p, bytes, n);
        free(bytes);
    }
    rlx_program_destroy(p);
    RLX_TRY_NOTE(st, "the entry %.16s", e->key);
    return RLX_OK;
}
