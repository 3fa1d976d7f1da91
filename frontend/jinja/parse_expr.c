/* frontend/jinja/parse_expr.c: expressions, one function per level of precedence, tightest
 * first; operands are in parse_operand.c. */
#include "frontend/jinja/impl.h"

rlx_jinja_node *rlx_jinja_node_of(rlx_jinja_parser *p, rlx_jinja_node_kind kind, rlx_jinja_op op,
                                  rlx_jinja_node *a, rlx_jinja_node *b)
{
    rlx_jinja_node *n = rlx_jinja_node_new(p, kind, a ? a->line : 0);
    if (n) {
        n->op = op;
        n->a = a;
        n->b = b;
    }
    return n;
}

/* A chain of operators of one level; each link is one level deeper for whoever evaluates it. */
typedef struct level {
    struct {
        const char *text;
        rlx_jinja_op op;
    } ops[4];
    rlx_jinja_node *(*next)(rlx_jinja_parser *p);
} level;

static rlx_jinja_node *parse_level(rlx_jinja_parser *p, const level *l)
{
    rlx_jinja_node *n = l->next(p);
    int depth = p->depth;
    for (int i = 0; i < 4 && l->ops[i].text && !p->error; i++)
        if (rlx_jinja_skip_op(p, l->ops[i].text) && rlx_jinja_enter(p)) {
            n = rlx_jinja_node_of(p, RLX_JINJA_BINARY, l->ops[i].op, n, l->next(p));
            i = -1;
        }
    p->depth = depth;
    return n;
}

static rlx_jinja_node *parse_pow(rlx_jinja_parser *p)
{
    static const level pow = {{{"**", RLX_JINJA_POW}}, rlx_jinja_parse_unary};
    return parse_level(p, &pow);
}

static rlx_jinja_node *parse_product(rlx_jinja_parser *p)
{
    static const level product = {{{"*", RLX_JINJA_MUL},
                                   {"/", RLX_JINJA_DIV},
                                   {"//", RLX_JINJA_FLOORDIV},
                                   {"%", RLX_JINJA_MOD}},
                                  parse_pow};
    return parse_level(p, &product);
}

static rlx_jinja_node *parse_concat(rlx_jinja_parser *p)
{
    rlx_jinja_node *first = parse_product(p);
    if (!rlx_jinja_at_op(p, "~"))
        return first;
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_CONCAT, rlx_jinja_peek(p, 0)->line);
    if (!n)
        return NULL;
    rlx_jinja_nodes_push(p, &n->items, first);
    while (rlx_jinja_skip_op(p, "~"))
        rlx_jinja_nodes_push(p, &n->items, parse_product(p));
    return n;
}

static rlx_jinja_node *parse_sum(rlx_jinja_parser *p)
{
    static const level sum = {{{"+", RLX_JINJA_ADD}, {"-", RLX_JINJA_SUB}}, parse_concat};
    return parse_level(p, &sum);
}

/* Whether a comparison's operator is next, which is passed. */
static bool skip_comparison(rlx_jinja_parser *p, rlx_jinja_op *op)
{
    static const struct {
        const char *text;
        rlx_jinja_op op;
    } all[] = {{"==", RLX_JINJA_EQ}, {"!=", RLX_JINJA_NE}, {"<", RLX_JINJA_LT},
               {"<=", RLX_JINJA_LE}, {">", RLX_JINJA_GT},  {">=", RLX_JINJA_GE}};
    for (int i = 0; i < 6; i++)
        if (rlx_jinja_skip_op(p, all[i].text)) {
            *op = all[i].op;
            return true;
        }
    const rlx_jinja_token *next = rlx_jinja_peek(p, 1);
    bool not_in =
        rlx_jinja_at_name(p, "not") && next->kind == RLX_JINJA_T_NAME && !strcmp(next->text, "in");
    p->at += not_in;
    *op = not_in ? RLX_JINJA_NOT_IN : RLX_JINJA_IN;
    return rlx_jinja_skip_name(p, "in");
}

static rlx_jinja_node *parse_compare(rlx_jinja_parser *p)
{
    enum { MOST = 64 };
    rlx_jinja_node *first = parse_sum(p), *n = NULL;
    rlx_jinja_op op, ops[MOST];
    int line = rlx_jinja_peek(p, 0)->line;
    while (!p->error && skip_comparison(p, &op)) {
        n = n ? n : rlx_jinja_node_new(p, RLX_JINJA_COMPARE, line);
        if (n && n->items.n == MOST)
            return rlx_jinja_parse_fail(p, RLX_EXHAUSTED, line,
                                        "a chain of more than %d comparisons", (int)MOST);
        if (!n)
            return NULL;
        ops[n->items.n] = op;
        rlx_jinja_nodes_push(p, &n->items, parse_sum(p));
    }
    if (!n)
        return first;
    n->a = first;
    n->ops = rlx_jinja_parse_alloc(p, sizeof ops);
    if (n->ops)
        memcpy(n->ops, ops, (size_t)n->items.n * sizeof *ops);
    return n;
}

static rlx_jinja_node *parse_not(rlx_jinja_parser *p)
{
    int line = rlx_jinja_peek(p, 0)->line;
    if (!rlx_jinja_skip_name(p, "not"))
        return parse_compare(p);
    if (!rlx_jinja_enter(p))
        return NULL;
    rlx_jinja_node *n = rlx_jinja_node_new(p, RLX_JINJA_NOT, line);
    rlx_jinja_node *a = parse_not(p);
    p->depth--;
    if (n)
        n->a = a;
    return n;
}

static rlx_jinja_node *parse_logic(rlx_jinja_parser *p, const char *word, rlx_jinja_node_kind kind,
                                   rlx_jinja_node *(*next)(rlx_jinja_parser *p))
{
    rlx_jinja_node *n = next(p);
    int depth = p->depth;
    while (rlx_jinja_skip_name(p, word) && rlx_jinja_enter(p))
        n = rlx_jinja_node_of(p, kind, 0, n, next(p));
    p->depth = depth;
    return n;
}

static rlx_jinja_node *parse_and(rlx_jinja_parser *p)
{
    return parse_logic(p, "and", RLX_JINJA_AND, parse_not);
}

rlx_jinja_node *rlx_jinja_parse_or(rlx_jinja_parser *p)
{
    return parse_logic(p, "or", RLX_JINJA_OR, parse_and);
}

rlx_jinja_node *rlx_jinja_parse_choice(rlx_jinja_parser *p)
{
    rlx_jinja_node *n = rlx_jinja_parse_or(p);
    int depth = p->depth;
    while (rlx_jinja_skip_name(p, "if") && rlx_jinja_enter(p)) {
        rlx_jinja_node *choice =
            rlx_jinja_node_of(p, RLX_JINJA_IF_ELSE, 0, rlx_jinja_parse_or(p), n);
        if (choice && rlx_jinja_skip_name(p, "else"))
            choice->c = rlx_jinja_parse_choice(p);
        n = choice;
    }
    p->depth = depth;
    return n;
}

rlx_jinja_node *rlx_jinja_parse_expression(rlx_jinja_parser *p)
{
    if (!rlx_jinja_enter(p))
        return NULL;
    rlx_jinja_node *n = rlx_jinja_parse_choice(p);
    p->depth--;
    return n;
}
