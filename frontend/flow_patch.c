/* frontend/flow_patch.c: edits of a recorded flow, by the places of stages.
 *
 *   layers/mlp/swiglu    the swiglu in scope mlp of every layer
 *   rms_norm#1           the second rms_norm
 *   layers.3/rms_norm    the rms_norm of layer 3
 *   layers/mlp           all of scope mlp
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

/* A place, taken apart. */
typedef struct place {
    const char *text; /* whole */
    bool in_layers;
    int64_t layer;      /* -1: every one */
    const char *inside; /* "mlp/swiglu": scopes and the stage; without #n */
    const char *leaf;   /* "swiglu" */
    int64_t nth;        /* -1: the only one */
} place;

/* A run of stages that a place names. */
typedef struct match {
    int first, n;
} match;

static rlx_status bad_place(const char *text)
{
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "patch: \"%s\" is no place: [layers/ | layers.N/][SCOPE/..]STAGE[#n]", text);
}

/* Digits and nothing else: -1 stands for "every" and "the only one". */
static bool read_number(const char *at, char **end, int64_t *out)
{
    if (!isdigit((unsigned char)*at))
        return false;
    errno = 0;
    *out = strtoll(at, end, 10);
    return !errno;
}

static rlx_status parse_place(rlx_arena *arena, const char *text, place *out)
{
    *out = (place){.text = text, .layer = -1, .nth = -1};
    char *copy = text && *text ? rlx_arena_strdup(arena, text) : NULL;
    if (!copy)
        return text && *text ? RLX_OOM() : bad_place("");
    char *at = copy, *end, *hash = strchr(copy, '#');
    if (hash) {
        if (!read_number(hash + 1, &end, &out->nth) || *end)
            return bad_place(text);
        *hash = 0;
    }
    if (!strncmp(at, "layers", 6) && (at[6] == '/' || at[6] == '.')) {
        out->in_layers = true;
        end = at + 6;
        if (at[6] == '.' && !read_number(at + 7, &end, &out->layer))
            return bad_place(text);
        if (*end != '/')
            return bad_place(text);
        at = end + 1;
    }
    const char *slash = strrchr(at, '/');
    out->inside = at;
    out->leaf = slash ? slash + 1 : at;
    return *out->leaf ? RLX_OK : bad_place(text);
}

static bool is_there(const place *p, const rlx_stage *s)
{
    if (!p->in_layers)
        return s->layer < 0;
    return s->layer >= 0 && (p->layer < 0 || p->layer == s->layer);
}

/* Whether the place names this one stage. */
static bool names_stage(const place *p, const rlx_stage *s)
{
    const size_t above = p->leaf == p->inside ? 0 : (size_t)(p->leaf - p->inside) - 1;
    const bool kind = !strcmp(p->leaf, rlx_block_get(s->kind)->name);
    if (!is_there(p, s) || !(kind || (s->name && !strcmp(p->leaf, s->name))))
        return false;
    return !above ||
           (s->scope && strlen(s->scope) == above && !strncmp(s->scope, p->inside, above));
}

/* Whether the place names a scope that the stage is in. */
static bool names_scope(const place *p, const rlx_stage *s)
{
    const size_t n = strlen(p->inside);
    return is_there(p, s) && s->scope && !strncmp(s->scope, p->inside, n) &&
           (s->scope[n] == 0 || s->scope[n] == '/');
}

static bool same_layer(const rlx_stage *a, const rlx_stage *b)
{
    return a->repeat == b->repeat && a->layer == b->layer;
}

/* All runs that the place names: stages, or else scopes. Heap. */
static rlx_status find_all(const rlx_flow *f, const place *p, match **out, int *n)
{
    match *all = calloc((size_t)f->nstages + 1, sizeof *all);
    *n = 0;
    *out = all;
    if (!all)
        return RLX_OOM();
    for (int i = 0; i < f->nstages; i++)
        if (names_stage(p, &f->stages[i]))
            all[(*n)++] = (match){i, 1};
    const bool scopes = !*n;
    for (int i = 0; scopes && i < f->nstages; i++) {
        if (!names_scope(p, &f->stages[i]))
            continue;
        match *last = *n ? &all[*n - 1] : NULL;
        if (last && last->first + last->n == i && same_layer(&f->stages[i], &f->stages[i - 1]))
            last->n++;
        else
            all[(*n)++] = (match){i, 1};
    }
    return RLX_OK;
}

static rlx_status not_there(const rlx_flow *f, const place *p)
{
    const char **known = calloc((size_t)f->nstages + 1, sizeof *known);
    if (!known)
        return RLX_OOM();
    size_t n = 0;
    for (int i = 0; i < f->nstages; i++)
        if (is_there(p, &f->stages[i]))
            known[n++] = rlx_block_get(f->stages[i].kind)->name;
    const char *near = rlx_text_nearest(p->leaf, known, n);
    rlx_status st = RLX_FAIL(RLX_NOT_FOUND, "patch: no stage at \"%s\"%s%s%s", p->text,
                             near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    free(known);
    return st;
}

/* Keeps the n-th of each layer; without a number there must be only one. */
static rlx_status choose_nth(const rlx_flow *f, const place *p, match *all, int *n)
{
    int kept = 0, at = 0;
    for (int i = 0; i < *n; i++) {
        at = i && same_layer(&f->stages[all[i].first], &f->stages[all[i - 1].first]) ? at + 1 : 0;
        if (p->nth < 0 && at > 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "patch: \"%s\" is more than one stage: say which, \"%s#0\"", p->text,
                            p->text);
        if (p->nth < 0 || p->nth == at)
            all[kept++] = all[i];
    }
    *n = kept;
    return kept ? RLX_OK : not_there(f, p);
}

/* Open residual_saves before stage `at`: outside of its layer, and in it. */
static void count_open(const rlx_flow *f, int at, const rlx_stage *where, int *outside, int *inside)
{
    *outside = *inside = 0;
    for (int i = 0; i < at; i++) {
        const rlx_stage *s = &f->stages[i];
        const int by = (s->kind == RLX_STAGE_RESIDUAL_SAVE) - (s->kind == RLX_STAGE_RESIDUAL_ADD);
        if (s->layer < 0)
            *outside += by;
        else if (same_layer(s, where))
            *inside += by;
    }
}

/* Records where the stages [m.first, + m.n) stand: what comes behind is put back afterwards. */
static rlx_status edit(rlx_flow *f, match m, rlx_patch_edit how,
                       void (*record)(rlx_flow *f, void *user), void *user)
{
    const rlx_stage where = f->stages[m.first];
    const int at = how == RLX_PATCH_AFTER ? m.first + m.n : m.first;
    const int from = how == RLX_PATCH_BEFORE ? m.first : m.first + m.n;
    const int ntail = f->nstages - from;
    rlx_stage *tail = malloc(sizeof *tail * (size_t)(ntail + 1));
    int outside, inside;
    if (!tail)
        return RLX_OOM();
    memcpy(tail, f->stages + from, sizeof *tail * (size_t)ntail);
    count_open(f, at, &where, &outside, &inside);
    f->nstages = at;
    f->repeat = where.repeat;
    f->layer = where.layer;
    f->scope = where.scope;
    f->saves = outside + inside;
    f->saves_outside = where.layer >= 0 ? outside : 0;
    if (how != RLX_PATCH_REMOVE)
        record(f, user);
    for (int i = 0; i < ntail && !f->error; i++) {
        rlx_stage *s = rlx_flow_record(f, tail[i].kind);
        if (s)
            *s = tail[i];
    }
    free(tail);
    f->repeat = -1;
    f->layer = -1;
    f->scope = NULL;
    f->saves_outside = 0;
    return RLX_OK;
}

static rlx_status broken(const rlx_flow *f, const rlx_stage *s, const char *what)
{
    rlx_text text = {0};
    rlx_flow_put_stage(f, s, &text);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: %s", text.data ? text.data : "?", what);
    rlx_text_deinit(&text);
    return st;
}

/* That saves and adds still match, and names are there once. */
static rlx_status check_edited(rlx_flow *f)
{
    int outside = 0, inside = 0;
    for (int i = 0; i < f->nstages; i++) {
        const rlx_stage *s = &f->stages[i];
        int *open = s->layer < 0 ? &outside : &inside;
        *open += (s->kind == RLX_STAGE_RESIDUAL_SAVE) - (s->kind == RLX_STAGE_RESIDUAL_ADD);
        if (*open < 0)
            return broken(f, s, "F6: a residual_add without a residual_save");
        const bool ends = i + 1 == f->nstages || !same_layer(s, s + 1);
        if (s->layer >= 0 && ends && inside)
            return broken(f, s, "F6: the layer ends with a residual_save open");
        if ((s->kind == RLX_STAGE_OUTPUT || s->kind == RLX_STAGE_INPUT) &&
            rlx_flow_is_named_before(f, s))
            return broken(f, s, "F2: an input or output before it has that name");
    }
    f->saves = outside;
    return RLX_OK;
}

static rlx_status patch(rlx_flow *f, const place *p, rlx_patch_edit how,
                        void (*record)(rlx_flow *f, void *user), void *user)
{
    match *all = NULL;
    int n;
    rlx_status st = find_all(f, p, &all, &n);
    if (!st)
        st = n ? choose_nth(f, p, all, &n) : not_there(f, p);
    if (!st && all[0].first == 0 && how != RLX_PATCH_AFTER)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT,
                      "F1: patch: \"%s\" is the flow's input, which stays first", p->text);
    for (int i = n - 1; !st && i >= 0 && !f->error; i--) /* the last first: others stay in place */
        st = edit(f, all[i], how, record, user);
    free(all);
    if (!st && !f->error)
        st = rlx_status_note(check_edited(f), __FILE__, __LINE__, "after the patch of \"%s\"",
                             p->text);
    return st;
}

void rlx_flow_patch(rlx_flow *f, const char *where, rlx_patch_edit how,
                    void (*record)(rlx_flow *f, void *user), void *user)
{
    place p;
    if (f->error)
        return;
    rlx_status st = parse_place(f->arena, where, &p);
    if (!st && (f->layer >= 0 || f->is_stack))
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "patch inside a %s", f->is_stack ? "stack" : "layer");
    if (!st && (unsigned)how > RLX_PATCH_REMOVE)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "patch: no edit %d", (int)how);
    if (!st && how != RLX_PATCH_REMOVE && !record)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "patch of \"%s\": no function that records", where);
    if (!st)
        st = patch(f, &p, how, record, user);
    if (st)
        rlx_flow_fail(f, st);
}
