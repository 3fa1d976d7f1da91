/* frontend/jinja/parse_operand.c: operands and what follows them: items, calls, filters, tests. */
#include "frontend/jinja/impl.h"

static rlx_jinja_node *parse_postfix(rlx_jinja_parser *p, rlx_jinja_node *n);

/* ---- operands */

static rlx_jinja_node *constant(rlx_jinja_parser *p, rlx_jinja_value v)
{
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_CONST, rlx_jinja_peek(p, 0)->line);
    if (n)
        n->value = v;
    return n;
}

/* Names that a macro's body may speak of, and so must be given. */
static void note_use(rlx_jinja_parser *p, const char *name)
{
    static const char *const special[] = {"caller", "varargs", "kwargs"};
    for (int i = 0; p->uses && i < 3; i++)
        p->uses[i] |= !strcmp(name, special[i]);
}

static rlx_jinja_node *parse_name(rlx_jinja_parser *p, bool ns_refs)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    p->at++;
    if (!strcmp(t->text, "true") || !strcmp(t->text, "True"))
        return constant(p, rlx_jinja_bool(true));
    if (!strcmp(t->text, "false") || !strcmp(t->text, "False"))
        return constant(p, rlx_jinja_bool(false));
    if (!strcmp(t->text, "none") || !strcmp(t->text, "None"))
        return constant(p, rlx_jinja_none());
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_NAME, t->line);
    if (!n)
        return NULL;
    n->name = rlx_jinja_intern(p, t->text, t->len);
    note_use(p, t->text);
    if (ns_refs && rlx_jinja_skip_op(p, ".")) {
        n->kind = RLX_JINJA_NS_REF;
        rlx_jinja_string *attr = rlx_jinja_expect_name(p);
        n->value = (rlx_jinja_value){.kind = attr ? RLX_JINJA_STRING : RLX_JINJA_NONE, .s = attr};
    }
    return n;
}

/* String literals side by side are one. */
static rlx_jinja_node *parse_strings(rlx_jinja_parser *p)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    rlx_jinja_node *n = constant(p, t->value);
    p->at++;
    rlx_text all = {0};
    while (rlx_jinja_peek(p, 0)->kind == RLX_JINJA_T_STRING && n) {
        if (!all.data)
            rlx_text_put_bytes(&all, t->value.s->data, t->value.s->len);
        rlx_text_put_bytes(&all, rlx_jinja_peek(p, 0)->value.s->data,
                           rlx_jinja_peek(p, 0)->value.s->len);
        p->at++;
    }
    char *copy = all.data ? rlx_jinja_parse_alloc(p, all.len + 1) : NULL;
    if (copy && !all.oom) {
        memcpy(copy, all.data, all.len);
        n->value = rlx_jinja_parse_string(p, copy, all.len);
    } else if (all.oom && !p->error) {
        p->error = RLX_OOM();
    }
    rlx_text_deinit(&all);
    return n;
}

static rlx_jinja_node *parse_list(rlx_jinja_parser *p)
{
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_LIST_OF, rlx_jinja_peek(p, 0)->line);
    p->at++;
    while (n && !p->error && !rlx_jinja_at_op(p, "]")) {
        if (n->items.n && !rlx_jinja_expect_op(p, ","))
            return NULL;
        if (!rlx_jinja_at_op(p, "]"))
            rlx_jinja_nodes_push(p, &n->items, rlx_jinja_parse_expression(p));
    }
    rlx_jinja_expect_op(p, "]");
    return n;
}

static rlx_jinja_node *parse_dict(rlx_jinja_parser *p)
{
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_DICT_OF, rlx_jinja_peek(p, 0)->line);
    p->at++;
    while (n && !p->error && !rlx_jinja_at_op(p, "}")) {
        if (n->items.n && !rlx_jinja_expect_op(p, ","))
            return NULL;
        if (rlx_jinja_at_op(p, "}"))
            break;
        rlx_jinja_nodes_push(p, &n->items, rlx_jinja_parse_expression(p));
        rlx_jinja_expect_op(p, ":");
        rlx_jinja_nodes_push(p, &n->items, rlx_jinja_parse_expression(p));
    }
    rlx_jinja_expect_op(p, "}");
    return n;
}

static rlx_jinja_node *parse_primary(rlx_jinja_parser *p, bool ns_refs)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    if (t->kind == RLX_JINJA_T_NAME)
        return parse_name(p, ns_refs);
    if (t->kind == RLX_JINJA_T_STRING)
        return parse_strings(p);
    if (t->kind == RLX_JINJA_T_INT || t->kind == RLX_JINJA_T_FLOAT) {
        p->at++;
        return constant(p, t->value);
    }
    if (rlx_jinja_at_op(p, "["))
        return parse_list(p);
    if (rlx_jinja_at_op(p, "{"))
        return parse_dict(p);
    if (rlx_jinja_skip_op(p, "(")) {
        rlx_jinja_node *n = rlx_jinja_parse_tuple(p, (rlx_jinja_tuple_rule){.parens = true});
        rlx_jinja_expect_op(p, ")");
        return n;
    }
    return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "unexpected %s",
                                rlx_jinja_token_text(p, t));
}

static bool ends_tuple(const rlx_jinja_parser *p, const char *name)
{
    rlx_jinja_token_kind kind = rlx_jinja_peek(p, 0)->kind;
    return kind == RLX_JINJA_T_VARIABLE_END || kind == RLX_JINJA_T_BLOCK_END ||
           rlx_jinja_at_op(p, ")") || (name && rlx_jinja_at_name(p, name));
}

static rlx_jinja_node *parse_element(rlx_jinja_parser *p, rlx_jinja_tuple_rule rule)
{
    if (!rlx_jinja_enter(p))
        return NULL;
    rlx_jinja_node *n = rule.simple       ? parse_primary(p, rule.ns_refs)
                        : rule.no_if_else ? rlx_jinja_parse_or(p)
                                          : rlx_jinja_parse_choice(p);
    p->depth--;
    return n;
}

rlx_jinja_node *rlx_jinja_parse_tuple(rlx_jinja_parser *p, rlx_jinja_tuple_rule rule)
{
    rlx_jinja_node *tuple = rlx_jinja_node_new(p, RLX_JINJA_TUPLE_OF, rlx_jinja_peek(p, 0)->line);
    bool comma = false;
    while (tuple && !p->error && !ends_tuple(p, rule.end)) {
        rlx_jinja_nodes_push(p, &tuple->items, parse_element(p, rule));
        if (!rlx_jinja_skip_op(p, ","))
            break;
        comma = true;
    }
    if (p->error || comma)
        return p->error ? NULL : tuple;
    if (tuple->items.n)
        return tuple->items.at[0];
    if (rule.parens)
        return tuple;
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "expected an expression, got %s",
                                rlx_jinja_token_text(p, t));
}

/* ---- what follows an operand */

static rlx_jinja_node *parse_slice_part(rlx_jinja_parser *p)
{
    bool none = rlx_jinja_at_op(p, ":") || rlx_jinja_at_op(p, "]") || rlx_jinja_at_op(p, ",");
    return none ? NULL : rlx_jinja_parse_expression(p);
}

static rlx_jinja_node *parse_subscript(rlx_jinja_parser *p)
{
    rlx_jinja_node *from = rlx_jinja_at_op(p, ":") ? NULL : rlx_jinja_parse_expression(p);
    if (!rlx_jinja_at_op(p, ":"))
        return from;
    rlx_jinja_node *n = rlx_jinja_node_of(p, RLX_JINJA_SLICE, 0, from, NULL);
    p->at++;
    if (n)
        n->b = parse_slice_part(p);
    if (n && rlx_jinja_skip_op(p, ":"))
        n->c = parse_slice_part(p);
    return n;
}

static rlx_jinja_node *parse_item(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    rlx_jinja_node *item = rlx_jinja_node_of(p, RLX_JINJA_ITEM, 0, n, NULL),
                   *key = parse_subscript(p), *tuple = NULL;
    while (!p->error && rlx_jinja_skip_op(p, ",")) {
        if (!tuple) {
            tuple = rlx_jinja_node_new(p, RLX_JINJA_TUPLE_OF, rlx_jinja_peek(p, 0)->line);
            if (tuple)
                rlx_jinja_nodes_push(p, &tuple->items, key);
        }
        if (tuple)
            rlx_jinja_nodes_push(p, &tuple->items, parse_subscript(p));
    }
    rlx_jinja_expect_op(p, "]");
    if (item)
        item->b = tuple ? tuple : key;
    return item;
}

static rlx_jinja_node *parse_dot(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    p->at++;
    if (t->kind == RLX_JINJA_T_INT)
        return rlx_jinja_node_of(p, RLX_JINJA_ITEM, 0, n, constant(p, t->value));
    if (t->kind != RLX_JINJA_T_NAME)
        return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line,
                                    "expected a name or a number, got %s",
                                    rlx_jinja_token_text(p, t));
    rlx_jinja_node *attr = rlx_jinja_node_of(p, RLX_JINJA_ATTR, 0, n, NULL);
    rlx_jinja_string *name = rlx_jinja_intern(p, t->text, t->len);
    if (attr && name)
        attr->value = (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = name};
    return attr;
}

static void push_named(rlx_jinja_parser *p, rlx_jinja_node *call, rlx_jinja_string *name,
                       rlx_jinja_node *v)
{
    rlx_jinja_string **grown = rlx_jinja_parse_alloc(p, (size_t)(call->nnames + 1) * sizeof *grown);
    if (!grown)
        return;
    for (int i = 0; i < call->nnames; i++) {
        grown[i] = call->names[i];
        if (grown[i] == name)
            rlx_jinja_parse_fail(p, RLX_INVALID_FILE, call->line, "argument '%s' is there twice",
                                 name->data);
    }
    grown[call->nnames++] = name;
    call->names = grown;
    rlx_jinja_nodes_push(p, &call->named, v);
}

static void parse_argument(rlx_jinja_parser *p, rlx_jinja_node *call)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0), *next = rlx_jinja_peek(p, 1);
    bool named =
        t->kind == RLX_JINJA_T_NAME && next->kind == RLX_JINJA_T_OP && !strcmp(next->text, "=");
    bool star = rlx_jinja_at_op(p, "*"), both = rlx_jinja_at_op(p, "**");
    bool late = call->double_star || (call->star && !named && !both) ||
                (call->nnames && !named && !star && !both);
    if (late) {
        rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "arguments in a wrong order");
        return;
    }
    p->at += named ? 2 : star || both;
    rlx_jinja_node *v = rlx_jinja_parse_expression(p);
    if (named)
        push_named(p, call, rlx_jinja_intern(p, t->text, t->len), v);
    else if (star)
        call->star = v;
    else if (both)
        call->double_star = v;
    else
        rlx_jinja_nodes_push(p, &call->items, v);
}

/* "(a, b=c, *d, **e)" into `call`. */
rlx_jinja_node *rlx_jinja_parse_call_args(rlx_jinja_parser *p, rlx_jinja_node *call)
{
    rlx_jinja_expect_op(p, "(");
    for (bool first = true; call && !p->error && !rlx_jinja_at_op(p, ")"); first = false) {
        if (!first && (!rlx_jinja_expect_op(p, ",") || rlx_jinja_at_op(p, ")")))
            break;
        parse_argument(p, call);
    }
    rlx_jinja_expect_op(p, ")");
    return call;
}

static rlx_jinja_node *parse_postfix(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    int depth = p->depth;
    while (!p->error &&
           (rlx_jinja_at_op(p, ".") || rlx_jinja_at_op(p, "[") || rlx_jinja_at_op(p, "("))) {
        if (!rlx_jinja_enter(p))
            break;
        if (rlx_jinja_skip_op(p, "."))
            n = parse_dot(p, n);
        else if (rlx_jinja_skip_op(p, "["))
            n = parse_item(p, n);
        else
            n = rlx_jinja_parse_call_args(p, rlx_jinja_node_of(p, RLX_JINJA_CALL, 0, n, NULL));
    }
    p->depth = depth;
    return n;
}

/* A filter's or a test's name, dots included. */
static rlx_jinja_node *parse_callable(rlx_jinja_parser *p, rlx_jinja_node_kind kind,
                                      rlx_jinja_node *value)
{
    rlx_text name = {0};
    rlx_jinja_node *n = rlx_jinja_node_new(p, kind, rlx_jinja_peek(p, 0)->line);
    rlx_jinja_string *word = rlx_jinja_expect_name(p);
    while (word) {
        rlx_text_put_bytes(&name, word->data, word->len);
        if (!rlx_jinja_skip_op(p, "."))
            break;
        rlx_text_put(&name, ".");
        word = rlx_jinja_expect_name(p);
    }
    if (n && word) {
        n->a = value;
        n->name = rlx_jinja_intern(p, name.data ? name.data : "", name.len);
        n->callable = !n->name                   ? NULL
                      : kind == RLX_JINJA_FILTER ? rlx_jinja_find_filter(n->name->data)
                                                 : rlx_jinja_find_test(n->name->data);
    }
    rlx_text_deinit(&name);
    return n;
}

rlx_jinja_node *rlx_jinja_parse_filter(rlx_jinja_parser *p, rlx_jinja_node *value, bool inside_tag)
{
    int depth = p->depth;
    while (!p->error && (inside_tag || rlx_jinja_skip_op(p, "|")) && rlx_jinja_enter(p)) {
        value = parse_callable(p, RLX_JINJA_FILTER, value);
        if (rlx_jinja_at_op(p, "("))
            rlx_jinja_parse_call_args(p, value);
        inside_tag = false;
    }
    p->depth = depth;
    return value;
}

static bool begins_argument(const rlx_jinja_parser *p)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    if (t->kind == RLX_JINJA_T_NAME)
        return strcmp(t->text, "else") && strcmp(t->text, "or") && strcmp(t->text, "and");
    return t->kind == RLX_JINJA_T_STRING || t->kind == RLX_JINJA_T_INT ||
           t->kind == RLX_JINJA_T_FLOAT || rlx_jinja_at_op(p, "[") || rlx_jinja_at_op(p, "{");
}

static rlx_jinja_node *parse_test(rlx_jinja_parser *p, rlx_jinja_node *value)
{
    bool negated = rlx_jinja_skip_name(p, "not");
    rlx_jinja_node *n = parse_callable(p, RLX_JINJA_TEST, value);
    if (rlx_jinja_at_op(p, "(")) {
        rlx_jinja_parse_call_args(p, n);
    } else if (begins_argument(p)) {
        if (rlx_jinja_at_name(p, "is"))
            return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, rlx_jinja_peek(p, 0)->line,
                                        "tests cannot be chained with is");
        rlx_jinja_node *argument = parse_postfix(p, parse_primary(p, false));
        if (n)
            rlx_jinja_nodes_push(p, &n->items, argument);
    }
    return negated && n ? rlx_jinja_node_of(p, RLX_JINJA_NOT, 0, n, NULL) : n;
}

static rlx_jinja_node *parse_filters(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    int depth = p->depth;
    while (!p->error && rlx_jinja_enter(p)) {
        if (rlx_jinja_at_op(p, "|"))
            n = rlx_jinja_parse_filter(p, n, false);
        else if (rlx_jinja_skip_name(p, "is"))
            n = parse_test(p, n);
        else if (rlx_jinja_at_op(p, "("))
            n = rlx_jinja_parse_call_args(p, rlx_jinja_node_of(p, RLX_JINJA_CALL, 0, n, NULL));
        else
            break;
    }
    p->depth = depth;
    return n;
}

static rlx_jinja_node *parse_signed(rlx_jinja_parser *p)
{
    int line = rlx_jinja_peek(p, 0)->line;
    bool minus = rlx_jinja_skip_op(p, "-");
    if (!minus && !rlx_jinja_skip_op(p, "+"))
        return parse_primary(p, false);
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_UNARY, line);
    if (!n || !rlx_jinja_enter(p))
        return NULL;
    n->op = minus ? RLX_JINJA_NEG : RLX_JINJA_POS;
    n->a = parse_postfix(p, parse_signed(p));
    p->depth--;
    return n;
}

rlx_jinja_node *rlx_jinja_parse_unary(rlx_jinja_parser *p)
{
    return parse_filters(p, parse_postfix(p, parse_signed(p)));
}
