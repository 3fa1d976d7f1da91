/* frontend/jinja/parse.c: statements. */
#include "frontend/jinja/impl.h"

/* ---- bodies */

static void parse_until(rlx_jinja_parser *p, const char *const *ends, rlx_jinja_nodes *out);

/* From behind a tag's head to the tag that one of `ends` opens, whose name is next then. */
static void parse_body(rlx_jinja_parser *p, const char *const *ends, rlx_jinja_nodes *out)
{
    rlx_jinja_skip_op(p, ":");
    if (rlx_jinja_skip_kind(p, RLX_JINJA_T_BLOCK_END, "the end of the tag"))
        parse_until(p, ends, out);
    if (!p->error && rlx_jinja_peek(p, 0)->kind == RLX_JINJA_T_END)
        rlx_jinja_parse_fail(p, RLX_INVALID_FILE, rlx_jinja_peek(p, 0)->line,
                             "the template ends before %s", ends[0]);
}

/* The same to the only end, which is passed. */
static void parse_whole_body(rlx_jinja_parser *p, const char *end, rlx_jinja_nodes *out)
{
    parse_body(p, (const char *const[]){end, NULL}, out);
    p->at += !p->error;
}

/* Assignment: a name, a.b where `ns_refs`, or a tuple of these. */
static bool is_target(const rlx_jinja_node *n)
{
    if (n->kind == RLX_JINJA_NAME || n->kind == RLX_JINJA_NS_REF)
        return true;
    bool all = n->kind == RLX_JINJA_TUPLE_OF;
    for (int i = 0; i < n->items.n && all; i++)
        all = is_target(n->items.at[i]);
    return all;
}

static bool is_reserved(const rlx_jinja_string *name)
{
    static const char *const words[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(name->data, words[i]))
            return true;
    return false;
}

static rlx_jinja_node *parse_target(rlx_jinja_parser *p, rlx_jinja_tuple_rule rule)
{
    int line = rlx_jinja_peek(p, 0)->line;
    rlx_jinja_node *n = rlx_jinja_parse_tuple(p, rule);
    if (n && !is_target(n))
        return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, line, "this cannot be assigned to");
    return n;
}

/* ---- statements, each from behind its keyword */

static void parse_for(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    n->a = parse_target(p, (rlx_jinja_tuple_rule){.simple = true, .end = "in"});
    if (!rlx_jinja_skip_name(p, "in"))
        rlx_jinja_unexpected(p, "in");
    n->b = rlx_jinja_parse_tuple(p, (rlx_jinja_tuple_rule){.no_if_else = true, .end = "recursive"});
    if (rlx_jinja_skip_name(p, "if"))
        n->c = rlx_jinja_parse_expression(p);
    n->flag = rlx_jinja_skip_name(p, "recursive");
    p->loops++;
    parse_body(p, (const char *const[]){"endfor", "else", NULL}, &n->body.nodes);
    p->loops--;
    if (rlx_jinja_skip_name(p, "else"))
        parse_whole_body(p, "endfor", &n->orelse.nodes);
    else
        p->at += !p->error;
}

static void push_branch(rlx_jinja_parser *p, rlx_jinja_node *n, int *cap, rlx_jinja_node *test)
{
    if (n->items.n == *cap) {
        int more = *cap ? 2 * *cap : 2;
        rlx_jinja_body *grown = rlx_jinja_parse_alloc(p, (size_t)more * sizeof *grown);
        if (!grown)
            return;
        if (*cap)
            memcpy(grown, n->bodies, (size_t)*cap * sizeof *grown);
        n->bodies = grown;
        *cap = more;
    }
    rlx_jinja_nodes_push(p, &n->items, test);
}

static void parse_if(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    int cap = 0;
    do {
        rlx_jinja_node *test = rlx_jinja_parse_tuple(p, (rlx_jinja_tuple_rule){.no_if_else = true});
        push_branch(p, n, &cap, test);
        if (!p->error)
            parse_body(p, ends, &n->bodies[n->items.n - 1].nodes);
    } while (rlx_jinja_skip_name(p, "elif"));
    if (rlx_jinja_skip_name(p, "else"))
        parse_whole_body(p, "endif", &n->orelse.nodes);
    else
        p->at += !p->error;
}

static void parse_set(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    n->a = parse_target(p, (rlx_jinja_tuple_rule){.simple = true, .ns_refs = true});
    if (rlx_jinja_skip_op(p, "=")) {
        n->b = rlx_jinja_parse_tuple(p, (rlx_jinja_tuple_rule){0});
        return;
    }
    n->kind = RLX_JINJA_SET_BLOCK;
    n->b = rlx_jinja_parse_filter(p, NULL, false);
    parse_whole_body(p, "endset", &n->body.nodes);
}

/* "(a, b=1)": parameters, and defaults of the last ones. */
static void parse_signature(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    rlx_jinja_expect_op(p, "(");
    while (!p->error && !rlx_jinja_at_op(p, ")")) {
        if (n->items.n && !rlx_jinja_expect_op(p, ","))
            return;
        rlx_jinja_node *parameter =
            rlx_jinja_node_new(p, RLX_JINJA_NAME, rlx_jinja_peek(p, 0)->line);
        rlx_jinja_string *name = rlx_jinja_expect_name(p);
        if (!parameter || !name)
            return;
        if (is_reserved(name))
            rlx_jinja_parse_fail(p, RLX_INVALID_FILE, parameter->line, "a parameter cannot be '%s'",
                                 name->data);
        parameter->name = name;
        rlx_jinja_nodes_push(p, &n->items, parameter);
        if (rlx_jinja_skip_op(p, "="))
            rlx_jinja_nodes_push(p, &n->named, rlx_jinja_parse_expression(p));
        else if (n->named.n)
            rlx_jinja_parse_fail(p, RLX_INVALID_FILE, parameter->line,
                                 "a parameter without a default follows one that has it");
    }
    rlx_jinja_expect_op(p, ")");
}

/* The body of a macro: loops around it are not around what it does. */
static void parse_macro_body(rlx_jinja_parser *p, const char *end, rlx_jinja_node *n)
{
    bool uses[3] = {false, false, false}, *around = p->uses;
    int loops = p->loops;
    p->uses = uses;
    p->loops = 0;
    parse_whole_body(p, end, &n->body.nodes);
    p->loops = loops;
    p->uses = around;
    n->uses_caller = uses[0];
    n->uses_varargs = uses[1];
    n->uses_kwargs = uses[2];
    for (int i = 0; i < n->items.n && !p->error; i++) {
        const char *name = n->items.at[i]->name->data;
        n->uses_caller &= strcmp(name, "caller") != 0;
        n->uses_varargs &= strcmp(name, "varargs") != 0;
        n->uses_kwargs &= strcmp(name, "kwargs") != 0;
    }
}

static void parse_macro(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    n->name = rlx_jinja_expect_name(p);
    if (n->name && is_reserved(n->name))
        rlx_jinja_parse_fail(p, RLX_INVALID_FILE, n->line, "a macro cannot be '%s'", n->name->data);
    parse_signature(p, n);
    parse_macro_body(p, "endmacro", n);
}

static void parse_call_block(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    if (rlx_jinja_at_op(p, "("))
        parse_signature(p, n);
    n->a = rlx_jinja_parse_expression(p);
    if (n->a && n->a->kind != RLX_JINJA_CALL)
        rlx_jinja_parse_fail(p, RLX_INVALID_FILE, n->line, "expected a call");
    parse_macro_body(p, "endcall", n);
}

static void parse_filter_block(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    n->b = rlx_jinja_parse_filter(p, NULL, true);
    parse_whole_body(p, "endfilter", &n->body.nodes);
}

static void parse_with(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    while (!p->error && rlx_jinja_peek(p, 0)->kind != RLX_JINJA_T_BLOCK_END) {
        if (n->items.n && !rlx_jinja_expect_op(p, ","))
            return;
        rlx_jinja_nodes_push(p, &n->items, parse_target(p, (rlx_jinja_tuple_rule){.simple = true}));
        rlx_jinja_expect_op(p, "=");
        rlx_jinja_nodes_push(p, &n->items, rlx_jinja_parse_expression(p));
    }
    parse_whole_body(p, "endwith", &n->body.nodes);
}

static void parse_block(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    n->name = rlx_jinja_expect_name(p);
    n->flag = rlx_jinja_skip_name(p, "scoped");
    rlx_jinja_skip_name(p, "required");
    parse_whole_body(p, "endblock", &n->body.nodes);
    if (n->name)
        rlx_jinja_skip_name(p, n->name->data);
}

static void parse_generation(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    int loops = p->loops;
    p->loops = 0;
    parse_whole_body(p, "endgeneration", &n->body.nodes);
    p->loops = loops;
}

static void parse_print(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    rlx_jinja_node *all = rlx_jinja_node_new(p, RLX_JINJA_CONCAT, n->line);
    n->a = all;
    while (all && !p->error && rlx_jinja_peek(p, 0)->kind != RLX_JINJA_T_BLOCK_END) {
        if (all->items.n && !rlx_jinja_expect_op(p, ","))
            return;
        rlx_jinja_nodes_push(p, &all->items, rlx_jinja_parse_expression(p));
    }
}

static void parse_loop_control(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    if (!p->loops)
        rlx_jinja_parse_fail(p, RLX_INVALID_FILE, n->line, "'%s' is in no loop",
                             n->kind == RLX_JINJA_BREAK ? "break" : "continue");
}

static void refuse(rlx_jinja_parser *p, rlx_jinja_node *n)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, -1);
    rlx_jinja_parse_fail(p, RLX_UNSUPPORTED, n->line,
                         "'%s' is not offered: a chat template stands alone and escapes nothing",
                         t->text);
}

static const struct {
    const char *name;
    rlx_jinja_node_kind kind;
    void (*parse)(rlx_jinja_parser *p, rlx_jinja_node *n);
} statements[] = {
    {"for", RLX_JINJA_FOR, parse_for},
    {"if", RLX_JINJA_IF, parse_if},
    {"set", RLX_JINJA_SET, parse_set},
    {"macro", RLX_JINJA_MACRO_DEF, parse_macro},
    {"call", RLX_JINJA_CALL_BLOCK, parse_call_block},
    {"filter", RLX_JINJA_FILTER_BLOCK, parse_filter_block},
    {"with", RLX_JINJA_WITH, parse_with},
    {"block", RLX_JINJA_BLOCK, parse_block},
    {"generation", RLX_JINJA_SCOPE, parse_generation},
    {"print", RLX_JINJA_PRINT, parse_print},
    {"break", RLX_JINJA_BREAK, parse_loop_control},
    {"continue", RLX_JINJA_CONTINUE, parse_loop_control},
    {"include", RLX_JINJA_SCOPE, refuse},
    {"import", RLX_JINJA_SCOPE, refuse},
    {"from", RLX_JINJA_SCOPE, refuse},
    {"extends", RLX_JINJA_SCOPE, refuse},
    {"autoescape", RLX_JINJA_SCOPE, refuse},
};
enum { NSTATEMENTS = sizeof statements / sizeof *statements };

static rlx_jinja_node *parse_statement(rlx_jinja_parser *p)
{
    const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
    int i = 0;
    if (t->kind != RLX_JINJA_T_NAME)
        return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "expected a tag's name, got %s",
                                    rlx_jinja_token_text(p, t));
    while (i < NSTATEMENTS && strcmp(statements[i].name, t->text))
        i++;
    if (i == NSTATEMENTS)
        return rlx_jinja_parse_fail(p, RLX_INVALID_FILE, t->line, "unknown tag '%s'", t->text);
    rlx_jinja_node *n = rlx_jinja_node_new(p, statements[i].kind, t->line);
    p->at++;
    if (n && rlx_jinja_enter(p)) {
        statements[i].parse(p, n);
        p->depth--;
    }
    return n;
}

/* To the end, or to a tag that one of `ends` (NULL: none) opens: its name is next then. */
static void parse_until(rlx_jinja_parser *p, const char *const *ends, rlx_jinja_nodes *out)
{
    while (!p->error && rlx_jinja_peek(p, 0)->kind != RLX_JINJA_T_END) {
        const rlx_jinja_token *t = rlx_jinja_peek(p, 0);
        rlx_jinja_node *n = NULL;
        p->at++;
        if (t->kind == RLX_JINJA_T_DATA) {
            n = rlx_jinja_node_new(p, RLX_JINJA_DATA, t->line);
            if (n)
                n->value = t->value;
        } else if (t->kind == RLX_JINJA_T_VARIABLE_BEGIN) {
            n = rlx_jinja_node_new(p, RLX_JINJA_PRINT, t->line);
            if (n)
                n->a = rlx_jinja_parse_tuple(p, (rlx_jinja_tuple_rule){0});
            rlx_jinja_skip_kind(p, RLX_JINJA_T_VARIABLE_END, "}}");
        } else {
            for (int i = 0; ends && ends[i]; i++)
                if (rlx_jinja_at_name(p, ends[i]))
                    return;
            n = parse_statement(p);
            rlx_jinja_skip_kind(p, RLX_JINJA_T_BLOCK_END, "%}");
        }
        rlx_jinja_nodes_push(p, out, n);
    }
}

void rlx_jinja_parse_template(rlx_jinja_parser *p, rlx_jinja_nodes *out)
{
    parse_until(p, NULL, out);
}
