#include "frontend/compile_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

static void put_field(rlx_text *t, const char *name, const char *value, size_t n)
{
    rlx_text_putf(t, "%s %zu ", name, n);
    rlx_text_put_bytes(t, value, n);
    rlx_text_put(t, "\n");
}

static void put_text(rlx_text *t, const char *name, const char *value)
{
    put_field(t, name, value, strlen(value));
}

static void put_buffer(rlx_text *t, const char *name, rlx_text *value)
{
    t->oom |= value->oom;
    put_field(t, name, value->data ? value->data : "", value->len);
    rlx_text_deinit(value);
}

/* A fingerprint of zeros is one that there was no memory for. */
static void put_hash(rlx_text *t, const char *name, rlx_hash h)
{
    static const rlx_hash none;
    char hex[65];
    rlx_hash_hex(h, hex);
    put_text(t, name, hex);
    t->oom |= !memcmp(&h, &none, sizeof h);
}

/* "homogeneous: 16 x 1f0c..": how layers follow one another. */
static rlx_status put_composition(const rlx_ir_module *hir, rlx_text *t)
{
    static const char *const kinds[] = {"single", "homogeneous", "pair", "sequence"};
    rlx_layer_composition c;
    RLX_TRY(rlx_flow_get_composition(hir, &c));
    rlx_text value = {0};
    rlx_text_putf(&value, "%s:", kinds[c.kind]);
    for (int i = 0; i < c.n; i++) {
        char hex[65];
        rlx_hash_hex(c.runs[i].fingerprint, hex);
        rlx_text_putf(&value, "%s %lld x %.16s", i ? "," : "", (long long)c.runs[i].count, hex);
    }
    rlx_layer_composition_deinit(&c);
    put_buffer(t, "composition", &value);
    return RLX_OK;
}

/* What a function takes from outside, each by its name: "weight 0 model.norm.weight 7 f32[64]". It
 * is in the fingerprint, too; here it can be read. */
static void put_arguments(const rlx_ir_func *f, int index, const rlx_dims *dims, rlx_text *t)
{
    static const char *const roles[] = {
        [RLX_ROLE_WEIGHT] = "weight", [RLX_ROLE_INPUT] = "input", [RLX_ROLE_STATE] = "state"};
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_arg_info *info = &f->arg_info[i];
        rlx_text value = {0}, name = {0};
        if (info->role != RLX_ROLE_WEIGHT && info->role != RLX_ROLE_INPUT &&
            info->role != RLX_ROLE_STATE)
            continue;
        rlx_text_putf(&name, "%s %d", roles[info->role], index);
        rlx_text_putf(&value, "%s ", info->symbol);
        rlx_ir_type_print(dims, &f->body->args[i]->type, &value);
        t->oom |= name.oom;
        put_buffer(t, name.data ? name.data : "", &value);
        rlx_text_deinit(&name);
    }
}

static void put_functions(const rlx_ir_module *hir, rlx_text *t)
{
    int index = 0;
    for (const rlx_ir_func *f = hir->first; f; f = f->next, index++) {
        char name[32];
        snprintf(name, sizeof name, "function %d", index);
        put_arguments(f, index, hir->dims, t);
        put_hash(t, name, rlx_ir_func_fingerprint(f));
    }
}

/* Where nodes belong in the model, when fusion stops at its borders. */
static void put_places(const rlx_compilation *c, rlx_text *t)
{
    rlx_text module = {0};
    if (c->tuning.fusion != RLX_FUSION_BLOCKS)
        return;
    rlx_ir_print(c->hir, 0, &module);
    t->oom |= module.oom;
    put_hash(t, "places", rlx_hash_bytes(module.data ? module.data : "", module.len));
    rlx_text_deinit(&module);
}

static void put_bucket(const rlx_compilation *c, rlx_text *t)
{
    for (int i = 0; i < rlx_dim_symbol_count(c->dims); i++) {
        rlx_text value = {0};
        rlx_text_putf(&value, "%s %lld", rlx_dim_symbol_name(c->dims, i), (long long)c->upper[i]);
        put_buffer(t, "bucket", &value);
    }
}

static const char *const precisions[] = {[RLX_MIR_EXACT] = "exact",
                                         [RLX_MIR_PREFILL] = "fast, prefill",
                                         [RLX_MIR_DECODE] = "fast, decode"};
enum { NPRECISIONS = sizeof precisions / sizeof *precisions };

const char *rlx_compile_precision_name(rlx_mir_precision p)
{
    return precisions[p];
}

rlx_status rlx_compile_read_precision(const char *text, rlx_mir_precision *out)
{
    for (int i = 0; i < NPRECISIONS; i++)
        if (!strcmp(text, precisions[i])) {
            *out = (rlx_mir_precision)i;
            return RLX_OK;
        }
    return RLX_FAIL(RLX_INVALID_FILE, "there is no precision \"%s\"", text);
}

static const char tuning_text[] = "fusion %d, single maps %d, clean %d, l1 %lld, l2 %lld, teams %d";

rlx_status rlx_compile_read_tuning(const char *text, rlx_tuning *out)
{
    int fusion, single, clean;
    long long l1, l2;
    *out = (rlx_tuning){0};
    if (!*text)
        return RLX_OK;
    if (sscanf(text, tuning_text, &fusion, &single, &clean, &l1, &l2, &out->teams) != 6)
        return RLX_FAIL(RLX_INVALID_FILE, "there is no tuning \"%s\"", text);
    out->fusion = (rlx_fusion)fusion;
    out->unfuse_maps = single;
    out->assert_clean = clean;
    out->l1_bytes = l1;
    out->l2_bytes = l2;
    return rlx_compile_check_tuning(out);
}

/* Nothing for what is meant for use. */
static void put_tuning(const rlx_tuning *u, rlx_text *t)
{
    rlx_text value = {0};
    if (!u->fusion && !u->unfuse_maps && !u->assert_clean && !u->l1_bytes && !u->l2_bytes &&
        !u->teams)
        return;
    rlx_text_putf(&value, tuning_text, (int)u->fusion, u->unfuse_maps, u->assert_clean,
                  (long long)u->l1_bytes, (long long)u->l2_bytes, u->teams);
    put_buffer(t, "tuning", &value);
}

rlx_status rlx_compile_key(const rlx_compilation *c, const rlx_jit_target *target, rlx_text *out)
{
    rlx_text described = {0};
    put_text(out, "build", rlx_jit_build());
    put_text(out, "compiler", rlx_jit_compiler());
    rlx_status st = rlx_jit_describe_code(target, &described);
    put_buffer(out, "target", &described);
    RLX_TRY(st);
    put_text(out, "precision", precisions[c->precision]);
    put_tuning(&c->tuning, out);
    put_places(c, out);
    put_bucket(c, out);
    RLX_TRY(put_composition(c->hir, out));
    put_functions(c->hir, out);
    for (int i = 0; i < c->outputs.n; i++)
        put_text(out, "output", c->outputs.name[i]);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* "NAME BYTES VALUE\n": a name may have a number behind a space ("weight 0"). */
bool rlx_key_next(const char **at, rlx_key_field *out)
{
    const char *line = *at, *end = strchr(line, '\n');
    if (!*line || !end)
        return false;
    const char *p = line + strcspn(line, " ");
    static const char *const numbered[] = {"weight", "input", "state", "function"};
    for (size_t i = 0; i < sizeof numbered / sizeof *numbered; i++)
        if (*p == ' ' && (size_t)(p - line) == strlen(numbered[i]) &&
            !strncmp(line, numbered[i], strlen(numbered[i])))
            p += 1 + strcspn(p + 1, " ");
    if (*p != ' ')
        return false;
    char *digits_end;
    size_t n = strtoull(p + 1, &digits_end, 10);
    if (*digits_end != ' ' || strlen(digits_end + 1) < n + 1 || digits_end[1 + n] != '\n')
        return false;
    *out = (rlx_key_field){line, digits_end + 1, (size_t)(p - line), n};
    *at = digits_end + 1 + n + 1;
    return true;
}

void rlx_key_put_value(const char *preimage, const char *name, rlx_text *out)
{
    rlx_key_field f;
    while (rlx_key_next(&preimage, &f))
        if (f.name_len == strlen(name) && !memcmp(f.name, name, f.name_len)) {
            rlx_text_put_bytes(out, f.value, f.value_len);
            return;
        }
}

static bool same_name(const rlx_key_field *a, const rlx_key_field *b)
{
    return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len);
}

static bool same_value(const rlx_key_field *a, const rlx_key_field *b)
{
    return a->value_len == b->value_len && !memcmp(a->value, b->value, a->value_len);
}

/* The field of that name, the n-th of them; false: there are fewer. */
static bool find_field(const char *preimage, const rlx_key_field *like, int n, rlx_key_field *out)
{
    while (rlx_key_next(&preimage, out))
        if (same_name(out, like) && n-- == 0)
            return true;
    return false;
}

static void put_difference(const rlx_key_field *has, const rlx_key_field *wanted, rlx_text *out)
{
    const rlx_key_field *any = has ? has : wanted;
    if (!out)
        return;
    rlx_text_putf(out, "  %.*s: ", (int)any->name_len, any->name);
    if (has)
        rlx_text_putf(out, "it has %.*s", (int)has->value_len, has->value);
    rlx_text_putf(out, "%s%s", has && wanted ? ", " : "", wanted ? "wanted " : ", not wanted");
    if (wanted)
        rlx_text_put_bytes(out, wanted->value, wanted->value_len);
    rlx_text_put(out, "\n");
}

/* How many fields of this name stand before `end`. */
static int place_of(const char *preimage, const char *end, const rlx_key_field *like)
{
    rlx_key_field f;
    int n = 0;
    while (preimage < end && rlx_key_next(&preimage, &f))
        n += same_name(&f, like);
    return n;
}

int rlx_key_compare(const char *has, const char *wanted, rlx_text *out)
{
    int differ = 0;
    rlx_key_field f, other;
    for (const char *at = wanted; rlx_key_next(&at, &f);) {
        bool there = find_field(has, &f, place_of(wanted, f.name, &f), &other);
        if (there && same_value(&f, &other))
            continue;
        put_difference(there ? &other : NULL, &f, out);
        differ++;
    }
    for (const char *at = has; rlx_key_next(&at, &f);) {
        if (find_field(wanted, &f, place_of(has, f.name, &f), &other))
            continue;
        put_difference(&f, NULL, out);
        differ++;
    }
    return differ;
}
