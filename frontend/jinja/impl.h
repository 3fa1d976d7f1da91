/* frontend/jinja/impl.h: what the files of the template engine share.
 *
 *   lex.c          text to tokens: delimiters, white space control
 *   parser.c       memory, names, tokens     parse.c        statements
 *   parse_expr.c   operators                 parse_operand.c  what they stand between
 *   names.c        which names a frame starts without
 *   exec.c         statements                eval.c         expressions
 *   call.c         macros, functions, arguments             loop.c   `loop`, cycler, joiner
 *   value.c        strings, lists, dicts     compare.c      truth, equality, order
 *   access.c       attributes, items, slices arith.c        operators
 *   print.c        str and repr              json.c         JSON to values and back
 *   percent.c      "%" formatting            format.c       str.format
 *   filter*.c, test.c, method*.c             by filters.def, tests.def, methods.def
 *   unicode.c      classes and case of characters
 *
 * Values live in the arena of one rendering and die with it. The first error of a rendering is
 * kept in `x->error`; later ones are dropped, allocations give NULL, rlx_jinja_step gives false,
 * and whatever is computed meanwhile is never seen. So functions read straight, and loops ask
 * rlx_jinja_step.
 */
#ifndef RLX_JINJA_IMPL_H
#define RLX_JINJA_IMPL_H

#include <stdbool.h>
#include <string.h>

#include "frontend/jinja/jinja.h"
#include "runtime/base/arena.h"
#include "runtime/base/text.h"

/* ---- values */

typedef enum rlx_jinja_kind {
    RLX_JINJA_MISSING, /* no value: an argument that was not given */
    RLX_JINJA_UNDEFINED,
    RLX_JINJA_NONE,
    RLX_JINJA_BOOL,
    RLX_JINJA_INT,
    RLX_JINJA_FLOAT,
    RLX_JINJA_STRING,
    RLX_JINJA_LIST,
    RLX_JINJA_TUPLE,
    RLX_JINJA_DICT,
    RLX_JINJA_VIEW, /* keys(), values(), items() of a dict */
    RLX_JINJA_RANGE,
    RLX_JINJA_ITERATOR, /* generators and iterators: used up by iterating */
    RLX_JINJA_NAMESPACE,
    RLX_JINJA_MACRO,
    RLX_JINJA_LOOP,
    RLX_JINJA_CYCLER,
    RLX_JINJA_JOINER,
    RLX_JINJA_FUNCTION, /* a global */
    RLX_JINJA_METHOD,   /* bound to its receiver */
    RLX_JINJA_KINDS
} rlx_jinja_kind;

typedef struct rlx_jinja_string {
    const char *data; /* valid UTF-8; no NUL behind it */
    size_t len;
    int64_t chars; /* -1: not counted yet */
} rlx_jinja_string;

typedef struct rlx_jinja_value {
    rlx_jinja_kind kind;
    bool markup; /* of a string: marked as safe, as Python's Markup */
    union {
        bool b;
        int64_t i;
        double f;
        rlx_jinja_string *s;
        struct rlx_jinja_list *l; /* lists and tuples */
        struct rlx_jinja_dict *d; /* dicts and namespaces */
        struct rlx_jinja_undefined *u;
        struct rlx_jinja_view *view;
        struct rlx_jinja_range *range;
        struct rlx_jinja_iterator *it;
        struct rlx_jinja_macro *macro;
        struct rlx_jinja_loop *loop;
        struct rlx_jinja_cycler *cycler; /* and joiners */
        const struct rlx_jinja_callable *function;
        struct rlx_jinja_bound *bound;
    };
} rlx_jinja_value;

typedef struct rlx_jinja_list {
    rlx_jinja_value *items;
    int64_t n, cap;
} rlx_jinja_list;

typedef struct rlx_jinja_entry {
    rlx_jinja_value key, value;
    uint64_t hash;
} rlx_jinja_entry;

typedef struct rlx_jinja_dict {
    rlx_jinja_entry *entries; /* in order of insertion */
    int64_t n, cap;
    int32_t *slots; /* entry + 1, or 0; nslots is a power of two, 0 while the dict is small */
    int64_t nslots;
} rlx_jinja_dict;

typedef struct rlx_jinja_undefined {
    const char *hint;       /* the message; NULL: made of the two below */
    rlx_jinja_value object; /* whose `name` is not there; RLX_JINJA_MISSING: a variable */
    rlx_jinja_value name;
} rlx_jinja_undefined;

typedef enum rlx_jinja_view_of {
    RLX_JINJA_KEYS,
    RLX_JINJA_VALUES,
    RLX_JINJA_ITEMS
} rlx_jinja_view_of;
typedef struct rlx_jinja_view {
    rlx_jinja_dict *dict;
    rlx_jinja_view_of of;
} rlx_jinja_view;

typedef struct rlx_jinja_range {
    int64_t start, stop, step, n;
} rlx_jinja_range;

typedef struct rlx_jinja_iterator {
    rlx_jinja_list *items;
    int64_t pos;
    const char *type;
} rlx_jinja_iterator;

typedef struct rlx_jinja_args {
    rlx_jinja_value *pos;
    int npos;
    rlx_jinja_string **names; /* of the keyword arguments */
    rlx_jinja_value *named;
    int nnamed;
} rlx_jinja_args;

typedef struct rlx_jinja_run rlx_jinja_run;

/* A filter, test, method or global function. `params`: its parameters by name, "?" behind those
 * that may be left out, which are RLX_JINJA_MISSING then; "*": takes `args` as they are. a[0] is
 * the value that is filtered or tested or the receiver, or the first parameter of a function. */
typedef struct rlx_jinja_callable {
    const char *name, *params;
    rlx_jinja_value (*call)(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args);
    rlx_jinja_kind kind; /* of a method's receiver */
} rlx_jinja_callable;

typedef struct rlx_jinja_bound {
    rlx_jinja_value receiver;
    const rlx_jinja_callable *method;
} rlx_jinja_bound;

/* ---- templates */

typedef enum rlx_jinja_node_kind {
    /* expressions */
    RLX_JINJA_CONST,
    RLX_JINJA_NAME,
    RLX_JINJA_ATTR,  /* a.name */
    RLX_JINJA_ITEM,  /* a[b] */
    RLX_JINJA_SLICE, /* in b of ITEM: a:b:c, each may be NULL */
    RLX_JINJA_LIST_OF,
    RLX_JINJA_TUPLE_OF,
    RLX_JINJA_DICT_OF, /* items: key, value, ... */
    RLX_JINJA_CALL,
    RLX_JINJA_FILTER, /* a: NULL inside a filter block */
    RLX_JINJA_TEST,
    RLX_JINJA_UNARY,   /* op a */
    RLX_JINJA_BINARY,  /* a op b */
    RLX_JINJA_COMPARE, /* a, then ops[i] items[i] */
    RLX_JINJA_CONCAT,
    RLX_JINJA_AND,
    RLX_JINJA_OR,
    RLX_JINJA_NOT,
    RLX_JINJA_IF_ELSE, /* b if a else c */
    RLX_JINJA_NS_REF,  /* name.text as a target */
    /* statements */
    RLX_JINJA_DATA,
    RLX_JINJA_PRINT,
    RLX_JINJA_FOR,       /* target a in b if c; body, orelse; flag: recursive */
    RLX_JINJA_IF,        /* items: tests; bodies */
    RLX_JINJA_SET,       /* a = b */
    RLX_JINJA_SET_BLOCK, /* a = body, through filter b */
    RLX_JINJA_MACRO_DEF,
    RLX_JINJA_CALL_BLOCK,   /* a: the call; the rest a macro */
    RLX_JINJA_FILTER_BLOCK, /* b: filter */
    RLX_JINJA_WITH,         /* items: target, value, ... */
    RLX_JINJA_BLOCK,
    RLX_JINJA_SCOPE, /* {% generation %} */
    RLX_JINJA_BREAK,
    RLX_JINJA_CONTINUE
} rlx_jinja_node_kind;

typedef enum rlx_jinja_op {
    RLX_JINJA_ADD,
    RLX_JINJA_SUB,
    RLX_JINJA_MUL,
    RLX_JINJA_DIV,
    RLX_JINJA_FLOORDIV,
    RLX_JINJA_MOD,
    RLX_JINJA_POW,
    RLX_JINJA_POS,
    RLX_JINJA_NEG,
    RLX_JINJA_EQ,
    RLX_JINJA_NE,
    RLX_JINJA_LT,
    RLX_JINJA_LE,
    RLX_JINJA_GT,
    RLX_JINJA_GE,
    RLX_JINJA_IN,
    RLX_JINJA_NOT_IN
} rlx_jinja_op;

typedef struct rlx_jinja_node rlx_jinja_node;

typedef struct rlx_jinja_nodes {
    rlx_jinja_node **at;
    int n, cap;
} rlx_jinja_nodes;

/* Statements that have a scope of their own, and the names that it starts without. */
typedef struct rlx_jinja_body {
    rlx_jinja_nodes nodes;
    rlx_jinja_string **without;
    int nwithout;
} rlx_jinja_body;

struct rlx_jinja_node {
    rlx_jinja_node_kind kind;
    rlx_jinja_op op;
    int line;
    bool flag;
    rlx_jinja_value
        value; /* CONST, DATA; names as strings: NAME, ATTR, FILTER, TEST, MACRO_DEF, ... */
    rlx_jinja_string *name; /* the same, interned */
    rlx_jinja_node *a, *b, *c;
    rlx_jinja_nodes items;    /* operands, positional arguments, parameters */
    rlx_jinja_op *ops;        /* COMPARE */
    rlx_jinja_string **names; /* of keyword arguments; of parameters; of NS_REF the attribute */
    rlx_jinja_nodes named;    /* values of keyword arguments; defaults of the last parameters */
    int nnames;
    rlx_jinja_node *star, *double_star; /* *args, **kwargs */
    const rlx_jinja_callable *callable; /* FILTER, TEST; NULL: no such thing */
    rlx_jinja_body body, orelse;
    rlx_jinja_body *bodies;                      /* IF: of each test; orelse after them */
    bool uses_caller, uses_varargs, uses_kwargs; /* a macro's body does */
};

struct rlx_jinja_template {
    rlx_arena *arena;
    const char *name;
    rlx_jinja_body root;
    rlx_jinja_string *loop, *caller, *varargs, *kwargs; /* these names, interned */
};

/* ---- lexing and parsing */

typedef enum rlx_jinja_token_kind {
    RLX_JINJA_T_END,
    RLX_JINJA_T_DATA,
    RLX_JINJA_T_BLOCK_BEGIN,
    RLX_JINJA_T_BLOCK_END,
    RLX_JINJA_T_VARIABLE_BEGIN,
    RLX_JINJA_T_VARIABLE_END,
    RLX_JINJA_T_NAME,
    RLX_JINJA_T_STRING,
    RLX_JINJA_T_INT,
    RLX_JINJA_T_FLOAT,
    RLX_JINJA_T_OP /* `text` is its spelling */
} rlx_jinja_token_kind;

typedef struct rlx_jinja_token {
    rlx_jinja_token_kind kind;
    int line;
    const char *text; /* NUL-terminated for names and operators */
    size_t len;
    rlx_jinja_value value; /* of DATA, STRING, INT, FLOAT */
} rlx_jinja_token;

typedef struct rlx_jinja_parser {
    rlx_arena *arena;
    const char *name;
    rlx_status error;
    rlx_jinja_token *tokens; /* the last is END, again and again */
    int64_t ntokens, cap_tokens, at;
    int depth, loops; /* nesting of expressions and statements; loops around */
    struct rlx_jinja_interned *interned;
    bool *uses; /* what the macro around uses: caller, varargs, kwargs; NULL: none is around */
} rlx_jinja_parser;

void rlx_jinja_lex(rlx_jinja_parser *p, const char *text, size_t bytes);
/* The first error of a parse; returns NULL for the caller's return. */
void *rlx_jinja_parse_fail(rlx_jinja_parser *p, rlx_code code, int line, const char *fmt, ...)
    RLX_PRINTF(4, 5);
void *rlx_jinja_parse_alloc(rlx_jinja_parser *p, size_t bytes); /* zeroed */
rlx_jinja_value rlx_jinja_parse_string(rlx_jinja_parser *p, const char *data, size_t len);
rlx_jinja_string *rlx_jinja_intern(rlx_jinja_parser *p, const char *data, size_t len);
rlx_jinja_node *rlx_jinja_node_new(rlx_jinja_parser *p, rlx_jinja_node_kind kind, int line);
void rlx_jinja_nodes_push(rlx_jinja_parser *p, rlx_jinja_nodes *list, rlx_jinja_node *n);
const rlx_jinja_token *rlx_jinja_peek(const rlx_jinja_parser *p, int ahead);
bool rlx_jinja_at_op(const rlx_jinja_parser *p, const char *op);
bool rlx_jinja_at_name(const rlx_jinja_parser *p, const char *name);
bool rlx_jinja_skip_op(rlx_jinja_parser *p, const char *op);
bool rlx_jinja_skip_name(rlx_jinja_parser *p, const char *name);
bool rlx_jinja_expect_op(rlx_jinja_parser *p, const char *op);
rlx_jinja_string *rlx_jinja_expect_name(rlx_jinja_parser *p);
bool rlx_jinja_skip_kind(rlx_jinja_parser *p, rlx_jinja_token_kind kind, const char *what);
void rlx_jinja_unexpected(rlx_jinja_parser *p, const char *want);                /* the error */
const char *rlx_jinja_token_text(rlx_jinja_parser *p, const rlx_jinja_token *t); /* for messages */
bool rlx_jinja_enter(
    rlx_jinja_parser *p); /* one level deeper; false with an error where it is too deep */

void rlx_jinja_parse_template(rlx_jinja_parser *p, rlx_jinja_nodes *out);
typedef struct rlx_jinja_tuple_rule {
    bool simple;     /* targets: names only */
    bool no_if_else; /* not "a if b else c" */
    bool parens;     /* may be empty */
    bool ns_refs;
    const char *end; /* a name that ends it */
} rlx_jinja_tuple_rule;
rlx_jinja_node *rlx_jinja_parse_tuple(rlx_jinja_parser *p, rlx_jinja_tuple_rule rule);
rlx_jinja_node *rlx_jinja_parse_expression(rlx_jinja_parser *p);
rlx_jinja_node *rlx_jinja_parse_filter(rlx_jinja_parser *p, rlx_jinja_node *value, bool inside_tag);
rlx_jinja_node *rlx_jinja_parse_call_args(rlx_jinja_parser *p, rlx_jinja_node *call);
rlx_jinja_node *rlx_jinja_parse_unary(rlx_jinja_parser *p);  /* with filters and tests */
rlx_jinja_node *rlx_jinja_parse_or(rlx_jinja_parser *p);     /* no "a if b else c" */
rlx_jinja_node *rlx_jinja_parse_choice(rlx_jinja_parser *p); /* with it */
rlx_jinja_node *rlx_jinja_node_of(rlx_jinja_parser *p, rlx_jinja_node_kind kind, rlx_jinja_op op,
                                  rlx_jinja_node *a, rlx_jinja_node *b);

void rlx_jinja_find_names(rlx_jinja_parser *p, rlx_jinja_template *t);

/* ---- a rendering */

typedef struct rlx_jinja_binding {
    rlx_jinja_string *name; /* interned: equal names are equal pointers */
    rlx_jinja_value value;  /* RLX_JINJA_MISSING: undefined, whatever the scopes around have */
} rlx_jinja_binding;

typedef struct rlx_jinja_scope {
    struct rlx_jinja_scope *parent;
    rlx_jinja_binding *bindings;
    int n, cap;
    bool captured; /* a macro was defined in it, or deeper: it stays as it is */
} rlx_jinja_scope;

typedef struct rlx_jinja_buffer {
    rlx_jinja_run *x;
    char *data;
    size_t len, cap;
} rlx_jinja_buffer;

typedef struct rlx_jinja_macro {
    const rlx_jinja_node *node;
    rlx_jinja_scope *scope; /* where it was defined */
    rlx_jinja_string *name; /* NULL: of a call block */
} rlx_jinja_macro;

typedef struct rlx_jinja_loop {
    const rlx_jinja_node *node;
    rlx_jinja_scope *scope; /* around the loop */
    rlx_jinja_list *source,
        *items;     /* all, and those that pass the loop's test: found as they are needed */
    int64_t tested; /* of the source */
    int64_t index0, depth0;
    rlx_jinja_value changed; /* the last arguments of changed(), as a tuple */
} rlx_jinja_loop;

typedef struct rlx_jinja_cycler {
    rlx_jinja_list *items; /* a joiner's separator */
    int64_t pos;           /* a joiner's: 1 once it was used */
} rlx_jinja_cycler;

typedef enum rlx_jinja_flow {
    RLX_JINJA_ON,
    RLX_JINJA_AT_BREAK,
    RLX_JINJA_AT_CONTINUE
} rlx_jinja_flow;

struct rlx_jinja_run {
    const rlx_jinja_template *t;
    rlx_arena *arena;
    rlx_status error;
    int line;
    int depth;
    int64_t steps; /* left */
    size_t bytes, output_bytes;
    int64_t now; /* -1: ask the clock */
    rlx_jinja_buffer *out;
    rlx_jinja_scope *root;
    rlx_jinja_dict *context;
    rlx_jinja_flow flow;
    rlx_jinja_value piped;  /* what the first filter of a block gets */
    rlx_jinja_list no_list; /* in place of one that could not be made */
    rlx_jinja_dict no_dict;
};

rlx_jinja_value rlx_jinja_fail(rlx_jinja_run *x, rlx_code code, const char *fmt, ...)
    RLX_PRINTF(3, 4);
rlx_jinja_value rlx_jinja_type_error(rlx_jinja_run *x, const char *fmt, ...)
    RLX_PRINTF(2, 3);                             /* INVALID_ARGUMENT */
bool rlx_jinja_step(rlx_jinja_run *x, int64_t n); /* false: stop, there is an error */
/* Walking over that many bytes of a text: a step per 16 of them, and one. */
static inline bool rlx_jinja_walk(rlx_jinja_run *x, size_t bytes)
{
    return rlx_jinja_step(x, 1 + (int64_t)(bytes / 16));
}
bool rlx_jinja_deeper(
    rlx_jinja_run *x); /* false: too deep; rlx_jinja_shallower undoes a true one */
void rlx_jinja_shallower(rlx_jinja_run *x);

/* value.c */
void *rlx_jinja_alloc(rlx_jinja_run *x, size_t bytes); /* zeroed; NULL after an error */
void rlx_jinja_put(rlx_jinja_buffer *b, const char *data, size_t len);
void rlx_jinja_puts(rlx_jinja_buffer *b, const char *text);
void rlx_jinja_put_char(rlx_jinja_buffer *b, uint32_t c);
void rlx_jinja_put_fill(rlx_jinja_buffer *b, uint32_t c, int64_t times);
rlx_jinja_value
rlx_jinja_taken(rlx_jinja_buffer *b); /* as a string, which the buffer's memory becomes */
rlx_jinja_value rlx_jinja_text(rlx_jinja_run *x, const char *data, size_t len); /* lends `data` */
rlx_jinja_value rlx_jinja_literal(rlx_jinja_run *x, const char *text);
rlx_jinja_value rlx_jinja_part(rlx_jinja_run *x, rlx_jinja_value s, size_t from,
                               size_t to);                       /* bytes of a string, lent */
const char *rlx_jinja_cstr(rlx_jinja_run *x, rlx_jinja_value s); /* a string with a NUL behind it */
void rlx_jinja_count(rlx_jinja_string *s); /* its characters, once for all renderings */
int64_t rlx_jinja_chars(rlx_jinja_run *x, rlx_jinja_string *s);
size_t rlx_jinja_offset(rlx_jinja_run *x, rlx_jinja_string *s,
                        int64_t chars); /* bytes of that many characters */
bool rlx_jinja_equal_text(rlx_jinja_value s, const char *text);
static inline rlx_jinja_value rlx_jinja_none(void)
{
    return (rlx_jinja_value){.kind = RLX_JINJA_NONE};
}
static inline rlx_jinja_value rlx_jinja_bool(bool b)
{
    return (rlx_jinja_value){.kind = RLX_JINJA_BOOL, .b = b};
}
static inline rlx_jinja_value rlx_jinja_int(int64_t i)
{
    return (rlx_jinja_value){.kind = RLX_JINJA_INT, .i = i};
}
static inline rlx_jinja_value rlx_jinja_float(double f)
{
    return (rlx_jinja_value){.kind = RLX_JINJA_FLOAT, .f = f};
}
static inline bool rlx_jinja_given(rlx_jinja_value v)
{
    return v.kind != RLX_JINJA_MISSING;
}
rlx_jinja_list *rlx_jinja_list_new(rlx_jinja_run *x); /* never NULL */
rlx_jinja_value rlx_jinja_list_value(rlx_jinja_list *l, rlx_jinja_kind kind);
void rlx_jinja_push(rlx_jinja_run *x, rlx_jinja_list *l, rlx_jinja_value v);
rlx_jinja_list *rlx_jinja_list_copy(rlx_jinja_run *x, const rlx_jinja_list *l);
rlx_jinja_value rlx_jinja_pair(rlx_jinja_run *x, rlx_jinja_value a,
                               rlx_jinja_value b);    /* a tuple */
rlx_jinja_dict *rlx_jinja_dict_new(rlx_jinja_run *x); /* never NULL */
rlx_jinja_value rlx_jinja_dict_value(rlx_jinja_dict *d);
rlx_jinja_value *rlx_jinja_dict_get(rlx_jinja_run *x, const rlx_jinja_dict *d,
                                    rlx_jinja_value key); /* NULL: not there */
rlx_jinja_value *rlx_jinja_dict_find(const rlx_jinja_dict *d, const char *key);
void rlx_jinja_dict_set(rlx_jinja_run *x, rlx_jinja_dict *d, rlx_jinja_value key,
                        rlx_jinja_value v);
bool rlx_jinja_dict_remove(rlx_jinja_run *x, rlx_jinja_dict *d, rlx_jinja_value key,
                           rlx_jinja_value *out);
rlx_jinja_value rlx_jinja_undefined_hint(rlx_jinja_run *x, const char *hint);
rlx_jinja_value rlx_jinja_undefined_of(rlx_jinja_run *x, rlx_jinja_value object,
                                       rlx_jinja_value name);
rlx_jinja_value rlx_jinja_iterator_value(rlx_jinja_run *x, rlx_jinja_list *items, const char *type);
/* What iterating gives, as a list: of a list itself, so that what is appended meanwhile is seen.
 * Uses up iterators. An error when `v` cannot be iterated. */
rlx_jinja_list *rlx_jinja_iterate(rlx_jinja_run *x, rlx_jinja_value v);
bool rlx_jinja_is_iterable(rlx_jinja_value v);

/* compare.c */
bool rlx_jinja_truth(rlx_jinja_value v);
uint64_t rlx_jinja_hash(rlx_jinja_run *x, rlx_jinja_value v); /* an error for what has none */
bool rlx_jinja_equal(rlx_jinja_run *x, rlx_jinja_value a, rlx_jinja_value b);
bool rlx_jinja_is_same(rlx_jinja_value a, rlx_jinja_value b);
/* a op b for LT, LE, GT, GE. */
bool rlx_jinja_order(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a, rlx_jinja_value b);
bool rlx_jinja_contains(rlx_jinja_run *x, rlx_jinja_value in, rlx_jinja_value v);
bool rlx_jinja_compare(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a, rlx_jinja_value b);
int64_t rlx_jinja_length(rlx_jinja_run *x, rlx_jinja_value v);
bool rlx_jinja_has_length(rlx_jinja_value v);
/* Stable; `keys` has a key per item and is sorted with them. */
void rlx_jinja_sort(rlx_jinja_run *x, rlx_jinja_list *items, rlx_jinja_list *keys, bool reverse);
rlx_jinja_value rlx_jinja_fail_undefined(rlx_jinja_run *x, rlx_jinja_value u);
const char *rlx_jinja_type_name(rlx_jinja_value v);

/* access.c, arith.c */
rlx_jinja_value rlx_jinja_attr(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value name);
rlx_jinja_value rlx_jinja_item(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value key);
rlx_jinja_value rlx_jinja_static_attr(rlx_jinja_run *x, rlx_jinja_value v,
                                      rlx_jinja_value name); /* no items; MISSING: none */
rlx_jinja_value rlx_jinja_slice(rlx_jinja_run *x, rlx_jinja_value v, rlx_jinja_value from,
                                rlx_jinja_value to, rlx_jinja_value step);
rlx_jinja_value rlx_jinja_binary(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value a,
                                 rlx_jinja_value b);
rlx_jinja_value rlx_jinja_unary(rlx_jinja_run *x, rlx_jinja_op op, rlx_jinja_value v);
/* The integer that a bool or an int is; false with an error for anything else. */
bool rlx_jinja_as_int(rlx_jinja_run *x, rlx_jinja_value v, int64_t *out);
bool rlx_jinja_is_int(rlx_jinja_value v); /* bools are */
bool rlx_jinja_is_number(rlx_jinja_value v);
double rlx_jinja_number(rlx_jinja_value v);
bool rlx_jinja_double_to_int(double d, int64_t *out); /* truncates; false when it does not fit */

/* print.c, json.c */
void rlx_jinja_put_str(rlx_jinja_buffer *b, rlx_jinja_value v);
void rlx_jinja_put_repr(rlx_jinja_buffer *b, rlx_jinja_value v);
void rlx_jinja_put_float(rlx_jinja_buffer *b, double v);
void rlx_jinja_put_int(rlx_jinja_buffer *b, int64_t v);
rlx_jinja_value rlx_jinja_str(rlx_jinja_run *x, rlx_jinja_value v); /* strings stay what they are */
rlx_jinja_value rlx_jinja_repr(rlx_jinja_run *x, rlx_jinja_value v);
typedef struct rlx_jinja_json_style {
    bool ascii, sort_keys, pretty;
    const char *indent, *item, *key; /* separators */
} rlx_jinja_json_style;
void rlx_jinja_put_json(rlx_jinja_buffer *b, rlx_jinja_value v, const rlx_jinja_json_style *style,
                        int depth);
rlx_jinja_value rlx_jinja_read_json(rlx_jinja_run *x, const rlx_jinja_names *given);
rlx_jinja_value rlx_jinja_escape(rlx_jinja_run *x, rlx_jinja_value v);

/* text.c: what filters and methods of strings share */
typedef enum rlx_jinja_side {
    RLX_JINJA_LEFT = 1,
    RLX_JINJA_RIGHT = 2,
    RLX_JINJA_BOTH = 3
} rlx_jinja_side;
rlx_jinja_value rlx_jinja_strip(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value chars,
                                rlx_jinja_side sides); /* chars: may be missing */
rlx_jinja_value rlx_jinja_replace(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value from,
                                  rlx_jinja_value to, int64_t count);
rlx_jinja_value rlx_jinja_capitalized(rlx_jinja_run *x, rlx_jinja_value s);
rlx_jinja_value rlx_jinja_padded(rlx_jinja_run *x, rlx_jinja_value s, int64_t width, uint32_t fill,
                                 rlx_jinja_side text_at);
rlx_jinja_list *rlx_jinja_split_lines(rlx_jinja_run *x, rlx_jinja_value s, bool keep_ends);
rlx_jinja_list *rlx_jinja_split_blanks(rlx_jinja_run *x, rlx_jinja_value s, int64_t most,
                                       bool from_right);
rlx_jinja_value rlx_jinja_join(rlx_jinja_run *x, rlx_jinja_value separator,
                               const rlx_jinja_list *items, bool any);
/* The number that all of `s` is, as int() and float() read it. */
bool rlx_jinja_parse_int(rlx_jinja_value s, int base, int64_t *out);
bool rlx_jinja_parse_float(rlx_jinja_run *x, rlx_jinja_value s, double *out);
/* Whether `v` is a string; an error for anything else. */
bool rlx_jinja_need_string(rlx_jinja_run *x, rlx_jinja_value v, const char *what);
bool rlx_jinja_need_int(rlx_jinja_run *x, rlx_jinja_value v, int64_t absent,
                        int64_t *out); /* may be missing or none */
/* Where `what` is first in these bytes of s, or NULL: not there, or an error. */
const char *rlx_jinja_find_bytes(rlx_jinja_run *x, const rlx_jinja_string *s, size_t from,
                                 size_t to, const rlx_jinja_string *what);
const char *rlx_jinja_find_last_bytes(rlx_jinja_run *x, const rlx_jinja_string *s, size_t from,
                                      size_t to, const rlx_jinja_string *what); /* the last */

/* percent.c, format.c */
rlx_jinja_value rlx_jinja_percent(rlx_jinja_run *x, rlx_jinja_value format, rlx_jinja_value args);
rlx_jinja_value rlx_jinja_percent_args(rlx_jinja_run *x, rlx_jinja_value format,
                                       const rlx_jinja_args *args);
rlx_jinja_value rlx_jinja_format(rlx_jinja_run *x, rlx_jinja_value format,
                                 const rlx_jinja_args *args);
typedef struct rlx_jinja_number_spec {
    char type; /* d x X o b c e E f F g G % ; 0: as str has it */
    char sign; /* '+', ' ' or 0 */
    bool alternate, zero;
    char comma;    /* ',' or '_' between thousands, or 0 */
    int precision; /* -1: none */
} rlx_jinja_number_spec;
/* Sign and digits; *digits is where a fill with zeros goes. */
bool rlx_jinja_put_number(rlx_jinja_buffer *b, rlx_jinja_value v, const rlx_jinja_number_spec *spec,
                          size_t *digits);

/* call.c, loop.c, eval.c, exec.c */
rlx_jinja_value rlx_jinja_eval(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n);
rlx_jinja_args rlx_jinja_eval_args(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                                   int before);
rlx_jinja_value rlx_jinja_call(rlx_jinja_run *x, rlx_jinja_value f, const rlx_jinja_args *args);
rlx_jinja_value rlx_jinja_call_with(rlx_jinja_run *x, const rlx_jinja_callable *c,
                                    rlx_jinja_value *first, const rlx_jinja_args *args);
rlx_jinja_value rlx_jinja_call_macro(rlx_jinja_run *x, const rlx_jinja_macro *m,
                                     const rlx_jinja_args *args);
rlx_jinja_value rlx_jinja_call_filter(rlx_jinja_run *x, rlx_jinja_value name, rlx_jinja_value v,
                                      const rlx_jinja_args *args);
bool rlx_jinja_call_test(rlx_jinja_run *x, rlx_jinja_value name, rlx_jinja_value v,
                         const rlx_jinja_args *args);
rlx_jinja_dict *rlx_jinja_make_dict(rlx_jinja_run *x,
                                    const rlx_jinja_args *args); /* as dict() does */
/* By name in a list of n; NULL. */
const rlx_jinja_callable *rlx_jinja_find(const rlx_jinja_callable *list, size_t n,
                                         const char *name);
const rlx_jinja_callable *rlx_jinja_find_filter(const char *name);
const rlx_jinja_callable *rlx_jinja_find_test(const char *name);
const rlx_jinja_callable *rlx_jinja_find_method(rlx_jinja_value receiver, const char *name,
                                                size_t len);
const rlx_jinja_callable *rlx_jinja_find_global(const char *name, size_t len);
void rlx_jinja_exec(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_nodes *nodes);
rlx_jinja_value rlx_jinja_exec_text(rlx_jinja_run *x, rlx_jinja_scope *s,
                                    const rlx_jinja_nodes *nodes); /* what they print */
void rlx_jinja_exec_for(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                        rlx_jinja_value over, int64_t depth0);
bool rlx_jinja_loop_fill(rlx_jinja_run *x, rlx_jinja_loop *l,
                         int64_t n); /* whether there are n items */
int64_t rlx_jinja_loop_length(rlx_jinja_run *x, rlx_jinja_loop *l);
void rlx_jinja_assign(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *target,
                      rlx_jinja_value v);
void rlx_jinja_bind(rlx_jinja_run *x, rlx_jinja_scope *s, rlx_jinja_string *name,
                    rlx_jinja_value v);
rlx_jinja_scope *rlx_jinja_scope_new(rlx_jinja_run *x, rlx_jinja_scope *parent,
                                     const rlx_jinja_body *body); /* NULL: an error */
rlx_jinja_value rlx_jinja_loop_attr(rlx_jinja_run *x, rlx_jinja_loop *l,
                                    rlx_jinja_value name); /* MISSING: none */
rlx_jinja_value rlx_jinja_loop_call(rlx_jinja_run *x, rlx_jinja_loop *l,
                                    const rlx_jinja_args *args);
rlx_jinja_value rlx_jinja_macro_attr(rlx_jinja_run *x, const rlx_jinja_macro *m,
                                     rlx_jinja_value name);

/* unicode.c */
uint32_t rlx_jinja_next(const char **p); /* the character at *p, which goes on */
uint32_t rlx_jinja_before(const char *start,
                          const char **p); /* the one before *p, which goes back */
size_t rlx_jinja_encode(uint32_t c, char out[4]);
bool rlx_jinja_is_space(uint32_t c);
bool rlx_jinja_is_printable(uint32_t c);
bool rlx_jinja_is_alpha(uint32_t c);
bool rlx_jinja_is_decimal(uint32_t c);
bool rlx_jinja_is_digit(uint32_t c);
bool rlx_jinja_is_numeric(uint32_t c);
bool rlx_jinja_is_word(uint32_t c); /* letters, digits, "_" */
bool rlx_jinja_is_upper(uint32_t c);
bool rlx_jinja_is_lower(uint32_t c);
bool rlx_jinja_is_title(uint32_t c);
typedef enum rlx_jinja_case {
    RLX_JINJA_UPPER,
    RLX_JINJA_LOWER,
    RLX_JINJA_TITLE,
    RLX_JINJA_FOLD,
    RLX_JINJA_SWAP
} rlx_jinja_case;
void rlx_jinja_put_case(rlx_jinja_buffer *b, uint32_t c, rlx_jinja_case to);
rlx_jinja_value rlx_jinja_cased(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_case to);
int rlx_jinja_digit_value(uint32_t c); /* -1: none */

#endif
