/* frontend/flow_args.c: what blocks ask for while a flow is built: symbols, inputs, weights, tables; the places and results of functions. */
#include <stdlib.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

rlx_status rlx_flow_get_symbol(rlx_flow_cx *cx, const char *name, rlx_dim *out)
{
    *out = rlx_dim_symbol(cx->dims, name);
    if (*out == RLX_DIM_INVALID)
        return RLX_FAIL(RLX_EXHAUSTED, "no room for the symbol %s: %d at most", name,
                        RLX_MAX_SYMBOLS);
    return RLX_OK;
}

static void put_type(const rlx_flow_cx *cx, rlx_format format, int rank, const rlx_dim *dims,
                     rlx_text *out)
{
    rlx_text_putf(out, "%s[",
                  format == RLX_FORMAT_NONE ? "a float " : rlx_format_get(format)->name);
    for (int i = 0; i < rank; i++) {
        rlx_text_put(out, i ? "," : "");
        if (dims[i] == RLX_DIM_INVALID)
            rlx_text_put(out, "*");
        else
            rlx_dim_print(cx->dims, dims[i], out);
    }
    rlx_text_put(out, "]");
}

rlx_status rlx_flow_need_features(rlx_flow_cx *cx, int64_t *width)
{
    const rlx_ir_type *t = &cx->fn->x->type;
    *width = t->rank ? t->dim[t->rank - 1] : -1;
    if (t->format == RLX_F32 && *width > 0)
        return RLX_OK;
    rlx_text text = {0};
    if (t->format == RLX_FORMAT_NONE)
        rlx_text_put(&text, "a type that rlx has no format for");
    else
        put_type(cx, t->format, t->rank, t->dim, &text);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "F5: takes f32[..,H] with a constant H, gets %s",
                             text.data ? text.data : "?");
    rlx_text_deinit(&text);
    return st;
}

rlx_status rlx_flow_need_tokens(rlx_flow_cx *cx, rlx_dim *tokens, int64_t *width)
{
    const rlx_ir_type *t = &cx->fn->x->type;
    RLX_TRY(rlx_flow_get_symbol(cx, "TOKENS", tokens));
    RLX_TRY(rlx_flow_need_features(cx, width));
    if (t->rank == 2 && t->dim[0] == *tokens)
        return RLX_OK;
    rlx_text text = {0};
    put_type(cx, t->format, t->rank, t->dim, &text);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "F5: takes f32[TOKENS,H], gets %s",
                             text.data ? text.data : "?");
    rlx_text_deinit(&text);
    return st;
}

rlx_ir_value *rlx_flow_find_arg(const rlx_ir_func *f, rlx_role role, const char *symbol)
{
    for (int i = 0; i < f->body->nargs; i++)
        if (f->arg_info[i].role == role && !strcmp(f->arg_info[i].symbol, symbol))
            return f->body->args[i];
    return NULL;
}

/* `name`, or with a number behind it when the function has an argument of that name. */
static const char *free_name(rlx_flow_cx *cx, const char *name)
{
    const rlx_ir_block *body = cx->fn->func->body;
    const char *candidate = name;
    for (int i = 0, next = 2; candidate && i < body->nargs; i++)
        if (body->args[i]->name && !strcmp(body->args[i]->name, candidate)) {
            candidate = rlx_arena_printf(cx->scratch, "%s_%d", name, next++);
            i = -1;
        }
    return candidate;
}

rlx_status rlx_flow_arg(rlx_flow_cx *cx, rlx_role role, const char *symbol, const char *name,
                        rlx_ir_type type, rlx_ir_value **out)
{
    *out = rlx_flow_find_arg(cx->fn->func, role, symbol);
    return *out ? RLX_OK : rlx_flow_add_arg(cx, role, symbol, name, type, out);
}

rlx_status rlx_flow_add_arg(rlx_flow_cx *cx, rlx_role role, const char *symbol, const char *name,
                            rlx_ir_type type, rlx_ir_value **out)
{
    name = free_name(cx, name);
    if (!name)
        return RLX_OOM();
    *out = rlx_ir_build_arg(&cx->fn->b, cx->fn->func, role, symbol, name, type);
    return *out ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

rlx_status rlx_flow_need_input(rlx_flow_cx *cx, const char *name, rlx_ir_type type,
                               rlx_ir_value **out)
{
    int i = 0;
    while (i < cx->ninputs && strcmp(cx->inputs[i].name, name))
        i++;
    if (i == RLX_FLOW_MAX_INPUTS)
        return RLX_FAIL(RLX_EXHAUSTED, "more than %d inputs", RLX_FLOW_MAX_INPUTS);
    if (i == cx->ninputs)
        cx->inputs[cx->ninputs++] = (rlx_flow_input_type){name, type};
    if (rlx_ir_type_equal(&cx->inputs[i].type, &type))
        return rlx_flow_arg(cx, RLX_ROLE_INPUT, name, name, type, out);
    rlx_text text = {0};
    rlx_ir_type_print(cx->dims, &type, &text);
    rlx_text_put(&text, ", elsewhere ");
    rlx_ir_type_print(cx->dims, &cx->inputs[i].type, &text);
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "F8: input \"%s\" is taken as %s", name,
                             text.data ? text.data : "?");
    rlx_text_deinit(&text);
    return st;
}

/* "model.layers.{}.mlp.up_proj.weight" to "up_proj", a bias to "up_proj_bias". */
static const char *weight_name(rlx_flow_cx *cx, const char *key)
{
    const char *part = key, *last = NULL; /* the last two parts of the path */
    for (const char *s = key; *s; s++)
        if (*s == '.') {
            part = last ? last : key;
            last = s + 1;
        }
    if (!last || !*last)
        last = "weight";
    const size_t len = strcspn(part, ".");
    char *name = !strcmp(last, "weight")
                     ? rlx_arena_strndup(cx->scratch, part, len)
                     : rlx_arena_printf(cx->scratch, "%.*s_%s", (int)len, part, last);
    for (char *c = name; c && *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", *c))
            *c = '_';
    if (name && (!*name || (*name >= '0' && *name <= '9')))
        name = rlx_arena_printf(cx->scratch, "w%s", name);
    return name;
}

/* Floats, and matrices in block formats, or several of them; shapes as far as dims say. */
static bool fits(const rlx_tensor *t, int rank, const rlx_dim *dims)
{
    if (t->format == RLX_FORMAT_NONE || t->rank != rank)
        return false;
    bool blocks = rlx_format_get(t->format)->kind == RLX_KIND_BLOCK;
    bool fit = rlx_format_is_float(t->format) || (blocks && (rank == 2 || rank == 3));
    for (int i = 0; fit && i < rank; i++)
        fit = dims[i] == RLX_DIM_INVALID || dims[i] == t->dim[i];
    return fit;
}

static rlx_status wrong_weight(const rlx_flow_cx *cx, const rlx_stage *s, int slot,
                               const rlx_tensor *t, int rank, const rlx_dim *dims)
{
    rlx_text text = {0};
    rlx_flow_put_resolved(s, s->key[slot], &text);
    rlx_text_put(&text, "\" should be ");
    put_type(cx, RLX_FORMAT_NONE, rank, dims, &text);
    rlx_text_put(&text, ", got ");
    put_type(cx, t->format, t->rank, t->dim, &text);
    rlx_status st =
        RLX_FAIL(RLX_INVALID_ARGUMENT, "F4: weight \"%s", text.data ? text.data : "?\"");
    rlx_text_deinit(&text);
    return st;
}

rlx_status rlx_flow_need_weight(rlx_flow_cx *cx, const rlx_stage *s, int slot, int rank,
                                const rlx_dim *dims, rlx_ir_value **out)
{
    *out = NULL;
    if (!s->key[slot])
        return RLX_OK;
    const rlx_tensor *t = cx->weight[(s - cx->flow->stages) * RLX_STAGE_KEYS + slot];
    if (!fits(t, rank, dims))
        return wrong_weight(cx, s, slot, t, rank, dims);
    const char *name = weight_name(cx, s->key[slot]);
    if (!name)
        return RLX_OOM();
    return rlx_flow_arg(cx, RLX_ROLE_WEIGHT, s->key[slot], name,
                        rlx_ir_tensor(t->format, rank, t->dim), out);
}

rlx_status rlx_flow_find_weight(rlx_flow_cx *cx, const rlx_stage *s, const char *key,
                                rlx_ir_value **out)
{
    if (!key || !*key)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a weight without a key");
    if (s->layer < 0 && strstr(key, "{}"))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "F9: weight \"%s\" has {} outside of a layer", key);
    rlx_text text = {0};
    rlx_flow_put_resolved(s, key, &text);
    const char *resolved = text.oom ? NULL : rlx_arena_strndup(cx->scratch, text.data, text.len);
    rlx_text_deinit(&text);
    if (!resolved)
        return RLX_OOM();
    const rlx_tensor *t = rlx_weights_find(cx->store, resolved);
    if (!t)
        return RLX_FAIL(RLX_NOT_FOUND, "F3: weight \"%s\" is missing", resolved);
    if (!fits(t, t->rank, t->dim))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "F4: weight \"%s\" is %s of rank %d: neither floats nor matrices of blocks",
                        resolved, rlx_format_get(t->format)->name, t->rank);
    const char *name = weight_name(cx, key);
    if (!name)
        return RLX_OOM();
    return rlx_flow_arg(cx, RLX_ROLE_WEIGHT, key, name, rlx_ir_tensor(t->format, t->rank, t->dim),
                        out);
}

/* What a table is called: by what it is, so that equal ones are one and others have another key. */
static rlx_status name_table(const rlx_tensor *t, rlx_text *out)
{
    char hex[65];
    rlx_text what = {0};
    rlx_hasher h;
    rlx_text_putf(&what, "%s %d", rlx_format_get(t->format)->name, t->rank);
    for (int i = 0; i < t->rank; i++)
        rlx_text_putf(&what, " %lld", (long long)t->dim[i]);
    rlx_text_put(&what, "\n");
    rlx_hasher_init(&h);
    rlx_hasher_add(&h, what.data, what.len);
    rlx_hasher_add(&h, t->data, t->bytes);
    rlx_hash_hex(rlx_hasher_finish(&h), hex);
    rlx_text_putf(out, RLX_FLOW_TABLE "%s", hex);
    const bool oom = what.oom || out->oom;
    rlx_text_deinit(&what);
    return oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_flow_make_table(rlx_flow_cx *cx, const rlx_tensor *t, rlx_ir_value **out)
{
    rlx_text text = {0};
    rlx_tensor table = *t;
    rlx_status st = name_table(t, &text);
    table.name = st ? NULL : rlx_arena_strndup(cx->scratch, text.data, text.len);
    rlx_text_deinit(&text);
    RLX_TRY(st);
    if (!table.name)
        return RLX_OOM();
    if (!cx->tables)
        RLX_TRY(rlx_weights_create_over(cx->store, &cx->tables));
    if (!rlx_weights_find(cx->tables, table.name))
        RLX_TRY(rlx_weights_add_copy(cx->tables, &table));
    return rlx_flow_arg(cx, RLX_ROLE_WEIGHT, table.name, "table",
                        rlx_ir_tensor(t->format, t->rank, t->dim), out);
}

rlx_status rlx_flow_get_extent(rlx_flow_cx *cx, int64_t extent, rlx_dim *out)
{
    *out = extent;
    if (extent >= 0)
        return RLX_OK;
    if (extent <= RLX_EXTENT_EXPRESSIONS) {
        *out = extent - RLX_EXTENT_EXPRESSIONS;
        return RLX_OK;
    }
    if (-1 - extent >= cx->flow->nsymbols)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "%lld is neither >= 0, nor a symbol of this flow, nor an extent of a value",
                        (long long)extent);
    return rlx_flow_get_symbol(cx, cx->flow->symbols[-1 - extent], out);
}

rlx_status rlx_flow_find_input(rlx_flow_cx *cx, const char *name, rlx_format format, int rank,
                               const int64_t *dims, rlx_ir_value **out)
{
    const char *copy = name && *name ? rlx_arena_strdup(cx->scratch, name) : NULL;
    rlx_dim d[RLX_MAX_RANK];
    if (!copy && name && *name)
        return RLX_OOM();
    if (!copy || rank < 0 || rank > RLX_PROGRAM_MAX_RANK || (unsigned)format >= RLX_FORMAT_COUNT ||
        format == RLX_FORMAT_NONE)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "an input needs a name, a format, and rank 0 to %d",
                        RLX_PROGRAM_MAX_RANK);
    for (int i = 0; i < rank; i++)
        RLX_TRY_NOTE(rlx_flow_get_extent(cx, dims[i], &d[i]), "dim %d of input \"%s\"", i, name);
    return rlx_flow_need_input(cx, copy, rlx_ir_tensor(format, rank, d), out);
}

void rlx_flow_set_place(rlx_flow_cx *cx, const char *key, int up)
{
    size_t len = strlen(key);
    for (; up > 0; up--) {
        size_t at = len;
        while (at > 0 && key[at - 1] != '.')
            at--;
        if (at == 0)
            break;
        len = at - 1;
    }
    cx->fn->b.place = rlx_arena_strndup(cx->scratch, key, len);
}

rlx_status rlx_flow_add_result(rlx_flow_cx *cx, rlx_ir_value *x, const char *name)
{
    rlx_flow_func *fn = cx->fn;
    rlx_ir_value **values = RLX_NEW_ARRAY(cx->scratch, rlx_ir_value *, fn->nresults + 1);
    const char **names = RLX_NEW_ARRAY(cx->scratch, const char *, fn->nresults + 1);
    if (!values || !names)
        return RLX_OOM();
    for (int i = 0; i < fn->nresults; i++) {
        values[i] = fn->result[i];
        names[i] = fn->result_name[i];
    }
    values[fn->nresults] = x;
    names[fn->nresults++] = name;
    fn->result = values;
    fn->result_name = names;
    return RLX_OK;
}

bool rlx_flow_is_asked(const rlx_flow_cx *cx, const rlx_stage *s, int slot)
{
    const rlx_stage *end = cx->flow->stages + cx->flow->nstages;
    for (const rlx_stage *t = s + 1; t < end && rlx_flow_is_port(t); t++)
        if (t->number[RLX_PROBE_INSIDE] == slot + 1 &&
            (t->kind == RLX_STAGE_NAME_VALUE || cx->request[t - cx->flow->stages] >= 0))
            return true;
    return false;
}

static bool names_what_is_there(const rlx_stage *s)
{
    return s->kind == RLX_STAGE_OUTPUT ||
           (s->kind == RLX_STAGE_PROBE_POINT && !s->number[RLX_PROBE_INSIDE]);
}

bool rlx_flow_ends_layer(const rlx_flow *f, const rlx_stage *s)
{
    if (!names_what_is_there(s))
        return false;
    const rlx_stage *end = f->stages + f->nstages;
    for (const rlx_stage *t = s + 1; t < end && t->repeat == s->repeat && t->layer == s->layer; t++)
        if (!names_what_is_there(t))
            return false;
    return true;
}
