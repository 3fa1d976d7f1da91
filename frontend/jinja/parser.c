/* frontend/jinja/parser.c: what parsing stands on: memory, names, nodes, tokens. Errors are kept in
 * the parser: the first one counts, and every loop ends at it. */
#include <stdarg.h>
#include <stdio.h>

#include "frontend/jinja/impl.h"

enum { DEEPEST = 200, BUCKETS = 256 };

/* ---- memory, errors */

void *rlx_jinja_parse_fail(rlx_jinja_parser *p, rlx_code code, int line, const char *fmt, ...)
{
    if (p->error)
        return NULL;
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    p->error = RLX_FAIL(code, "%s:%d: %s", p->name, line, message);
    return NULL;
}

void *rlx_jinja_parse_alloc(rlx_jinja_parser *p, size_t bytes)
{
    void *m = p->error ? NULL : rlx_arena_alloc(p->arena, bytes);
    if (!m && !p->error)
        p->error = RLX_OOM();
    return m;
}

rlx_jinja_value rlx_jinja_parse_string(rlx_jinja_parser *p, const char *data, size_t len)
{
    rlx_jinja_string *s = rlx_jinja_parse_alloc(p, sizeof *s);
    if (!s)
        return rlx_jinja_none();
    *s = (rlx_jinja_string){data, len, 0};
    s->chars = -1;
    rlx_jinja_count(s); /* counted here: rendering only reads */
    return (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = s};
}

typedef struct rlx_jinja_interned {
    struct name {
        rlx_jinja_string s;
        struct name *next;
    } * bucket[BUCKETS];
} rlx_jinja_interned;

rlx_jinja_string *rlx_jinja_intern(rlx_jinja_parser *p, const char *data, size_t len)
{
    if (!p->interned)
        p->interned = rlx_jinja_parse_alloc(p, sizeof *p->interned);
    if (!p->interned)
        return NULL;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)data[i]) * 16777619u;
    struct name **at = &p->interned->bucket[h % BUCKETS];
    for (struct name *n = *at; n; n = n->next)
        if (n->s.len == len && !memcmp(n->s.data, data, len))
            return &n->s;
    struct name *n = rlx_jinja_parse_alloc(p, sizeof *n);
    char *copy = rlx_jinja_parse_alloc(p, len + 1);
    if (!n || !copy)
        return NULL;
    memcpy(copy, data, len);
    n->s = (rlx_jinja_string){copy, len, -1};
    rlx_jinja_count(&n->s);
    n->next = *at;
    *at = n;
    return &n->s;
}

rlx_jinja_node *rlx_jinja_node_new(rlx_jinja_parser *p, rlx_jinja_node_kind kind, int line)
{
    rlx_jinja_node *n = rlx_jinja_parse_alloc(p, sizeof *n);
    if (n) {
        n->kind = kind;
        n->line = line;
    }
    return n;
}

void rlx_jinja_nodes_push(rlx_jinja_parser *p, rlx_jinja_nodes *list, rlx_jinja_node *n)
{
    if (list->n == list->cap) {
        int cap = list->cap ? 2 * list->cap : 4;
        rlx_jinja_node **grown = rlx_jinja_parse_alloc(p, (size_t)cap * sizeof(rlx_jinja_node *));
        if (!grown)
            return;
        if (list->n)
            memcpy(grown, list->at, (size_t)list->n * sizeof(rlx_jinja_node *));
        list->at = grown;
        list->cap = cap;
    }
    if (n)
        list->at[list->n++] = n;
}

bool rlx_jinja_enter(rlx_jinja_parser *p)
{
    if (++p->depth > DEEPEST)
        rlx_jinja_parse_fail(p, RLX_EXHAUSTED, rlx_jinja_peek(p, 0)->line,
                             "nested more than %d deep", (int)DEEPEST);
    return !p->error;
}

/* ---- tokens */

const rlx_jinja_token *rlx_jinja_peek(const rlx_jinja_parser *p, int ahead)
{
    static const rlx_jinja_token end = {.kind = RLX_JINJA_T_END, .line = 1, .text = ""};
    if (p->error || !p->ntokens)
        return &end;
    int64_t at = p->at + ahead;
    return &p->tokens[at < p->ntokens ? at : p->ntokens - 1];
}

static bool is_token(const rlx_jinja_token *t, rlx_jinja_token_kind kind, const char *text)
{
    return t->kind == kind && !strcmp(t->text, text);
}

bool rlx_jinja_at_op(const rlx_jinja_parser *p, const char *op)
{
    return is_token(rlx_jinja_peek(p, 0), RLX_JINJA_T_OP, op);
}

bool rlx_jinja_at_name(const rlx_jinja_parser *p, const char *name)
{
    return is_token(rlx_jinja_peek(p, 0), RLX_JINJA_T_NAME, name);
}

bool rlx_jinja_skip_op(rlx_jinja_parser *p, const char *op)
{
    bool is = rlx_jinja_at_op(p, op);
    p->at += is;
    return is;
}

bool rlx_jinja_skip_name(rlx_jinja_parser *p, const char *name)
{
    bool is = rlx_jinja_at_name(p, name);
    p->at += is;
    return is;
}

const char *rlx_jinja_token_text(rlx_jinja_parser *p, const rlx_jinja_token *t)
{
    if (t->kind == RLX_JINJA_T_END)
        return "the end of the template";
    char *text = rlx_arena_printf(p->arena, "'%.*s'", (int)(t->len < 80 ? t->len : 80), t->text);
    return text ? text : "a token";
}

void rlx_jinja_unexpected(rlx_jinja_parser *p, const char *want)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "expected %s, got %s", want,
                         rlx_jinja_token_text(p, t));
}

bool rlx_jinja_expect_op(rlx_jinja_parser *p, const char *op)
{
    if (!rlx_jinja_skip_op(p, op))
        rlx_jinja_unexpected(p, op);
    return !p->error;
}

rlx_jinja_string *rlx_jinja_expect_name(rlx_jinja_parser *p)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    if (t->kind != RLX_JINJA_T_NAME) {
        rlx_jinja_unexpected(p, "a name");
        return NULL;
    }
    p->at++;
    return rlx_jinja_intern(p, t->text, t->len);
}

bool rlx_jinja_skip_kind(rlx_jinja_parser *p, rlx_jinja_token_kind kind, const char *what)
{
    if (rlx_jinja_peek(p, 0)->kind != kind)
        rlx_jinja_unexpected(p, what);
    p->at += !p->error;
    return !p->error;
}
