/* Text to IR, the inverse of ir_print.c.
 *
 *   module  = LEVEL `module` @name `{` func* `}`
 *   func    = (`func` | `kernel`) @name `(` [arg {`,` arg}] `)` [`->` `(` types `)`] [attrs] `{`
 * node* `}` arg     = %name `:` type [`weight` text | `input` text | `state` text | `out`] node =
 * [%r {`,` %r} `=`] mnemonic [%v {`,` %v}] [attrs] [`:` type | `:` `(` types `)`] block* block   =
 * [`(` %name `:` type {`,` ..} `)`] `{` node* `}`
 *
 * Operands stand on their mnemonic's line. A `//` comment that ends a node's first line is its
 * place. Functions are read in two rounds, heads and then bodies, so that calls may look ahead. */
#include <stdlib.h>
#include <string.h>

#include "runtime/base/ir/ir_scan.h"

enum { MAX_OPERANDS = 1024, MAX_RESULTS = 256 };

/* A value by name in the function that is being read. */
typedef struct entry {
    const char *name;
    rlx_ir_value *value;
} entry;

typedef struct body {
    rlx_ir_func *func;
    rlx_ir_scan at; /* at the first node */
} body;

typedef struct result {
    const char *name, *at;
} result;

/* What a node's line says, before it is built. */
typedef struct line {
    int op, nin, nattr, nresult, ntype;
    const char *at; /* the mnemonic */
    rlx_attr *attrs;
    rlx_ir_value *in[MAX_OPERANDS];
    result results[MAX_RESULTS];
    rlx_ir_type types[MAX_RESULTS];
} line;

typedef struct parser {
    rlx_ir_scan sc;
    rlx_ir_module *m;
    rlx_arena *scratch; /* text that the module copies */
    bool scalar_tiles;
    entry *entries; /* open-addressed by name; cap_entries of them */
    size_t nentries, cap_entries;
    body *bodies;
    int nbodies, cap_bodies;
    line *line; /* the node that is being read, up to its blocks */
} parser;

/* ---- names
 * ------------------------------------------------------------------------------------------ */

static entry *find_entry(const entry *entries, size_t cap, const char *name)
{
    uint64_t h = 1469598103934665603u;
    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    size_t i = (size_t)(h ^ (h >> 32)) & (cap - 1);
    while (entries[i].name && strcmp(entries[i].name, name) != 0)
        i = (i + 1) & (cap - 1);
    return (entry *)&entries[i];
}

static bool grow_entries(parser *p)
{
    size_t cap = p->cap_entries ? p->cap_entries * 2 : 64;
    entry *entries = calloc(cap, sizeof(*entries));
    if (!entries)
        return false;
    for (size_t i = 0; i < p->cap_entries; i++)
        if (p->entries[i].name)
            *find_entry(entries, cap, p->entries[i].name) = p->entries[i];
    free(p->entries);
    p->entries = entries;
    p->cap_entries = cap;
    return true;
}

static rlx_status define(parser *p, const char *at, const char *name, rlx_ir_value *value)
{
    if (p->nentries * 2 >= p->cap_entries && !grow_entries(p))
        return RLX_OOM();
    entry *e = find_entry(p->entries, p->cap_entries, name);
    if (e->name)
        return rlx_ir_scan_fail(&p->sc, at, "%%%s is defined twice in @%s", name,
                                (value->def ? value->def->parent : value->block)->func->name);
    *e = (entry){name, value};
    p->nentries++;
    if (rlx_ir_is_value_name(name)) { /* numbers are given anew by every print */
        value->name = rlx_arena_strdup(p->m->arena, name);
        if (!value->name)
            return RLX_OOM();
    }
    return RLX_OK;
}

static void forget_names(parser *p)
{
    if (p->cap_entries)
        memset(p->entries, 0, sizeof(*p->entries) * p->cap_entries);
    p->nentries = 0;
}

static rlx_status read_operand(parser *p, const rlx_ir_block *block, rlx_ir_value **out)
{
    const char *at = p->sc.s, *name;
    RLX_TRY(rlx_ir_scan_name(&p->sc, '%', p->scratch, &name));
    *out = p->cap_entries ? find_entry(p->entries, p->cap_entries, name)->value : NULL;
    if (!*out)
        return rlx_ir_scan_fail(&p->sc, at, "%%%s is not defined before it is used", name);
    if (!rlx_ir_in_scope(p->m, block, *out))
        return rlx_ir_scan_fail(&p->sc, at, "%%%s is defined where it cannot be seen from here",
                                name);
    return RLX_OK;
}

static rlx_status read_type(parser *p, rlx_ir_type *out)
{
    return rlx_ir_scan_type(&p->sc, p->m->dims, p->scalar_tiles, out);
}

/* ---- nodes
 * ------------------------------------------------------------------------------------------ */

static rlx_status read_results(parser *p, line *l)
{
    if (!rlx_ir_scan_is(&p->sc, '%'))
        return RLX_OK;
    do {
        if (l->nresult == MAX_RESULTS)
            return rlx_ir_scan_fail(&p->sc, p->sc.s, "more than %d results", MAX_RESULTS);
        result *r = &l->results[l->nresult++];
        r->at = p->sc.s;
        RLX_TRY(rlx_ir_scan_name(&p->sc, '%', p->scratch, &r->name));
    } while (rlx_ir_scan_accept(&p->sc, ','));
    return rlx_ir_scan_expect(&p->sc, '=', "after results");
}

static rlx_status read_mnemonic(parser *p, line *l)
{
    const rlx_ir_level *level = p->m->level;
    size_t n = rlx_ir_scan_word(&p->sc);
    l->at = p->sc.s;
    for (l->op = 0; l->op < level->nops; l->op++)
        if (rlx_ir_scan_accept_word(&p->sc, level->ops[l->op].mnemonic))
            return RLX_OK;
    if (n == 0)
        return rlx_ir_scan_fail(&p->sc, l->at, "expected an op of %s", level->name);
    const char *word = rlx_arena_strndup(p->scratch, l->at, n);
    const char **names = RLX_NEW_ARRAY(p->scratch, const char *, level->nops);
    if (!word || !names)
        return RLX_OOM();
    for (int i = 0; i < level->nops; i++)
        names[i] = level->ops[i].mnemonic;
    const char *near = rlx_text_nearest(word, names, (size_t)level->nops);
    return rlx_ir_scan_fail(&p->sc, l->at, "%s has no op '%s'%s%s%s", level->name, word,
                            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static rlx_status read_operands(parser *p, const rlx_ir_block *block, line *l)
{
    if (p->sc.newline || !rlx_ir_scan_is(&p->sc, '%'))
        return RLX_OK;
    do {
        if (l->nin == MAX_OPERANDS)
            return rlx_ir_scan_fail(&p->sc, p->sc.s, "more than %d operands", MAX_OPERANDS);
        RLX_TRY(read_operand(p, block, &l->in[l->nin++]));
    } while (rlx_ir_scan_accept(&p->sc, ','));
    return RLX_OK;
}

static rlx_status read_types(parser *p, int most, int *n, rlx_ir_type *types)
{
    do {
        if (*n == most)
            return rlx_ir_scan_fail(&p->sc, p->sc.s, "more than %d types", most);
        RLX_TRY(read_type(p, &types[(*n)++]));
    } while (rlx_ir_scan_accept(&p->sc, ','));
    return rlx_ir_scan_expect(&p->sc, ')', "after types");
}

static rlx_status read_line(parser *p, const rlx_ir_block *block, line *l)
{
    RLX_TRY(read_results(p, l));
    RLX_TRY(read_mnemonic(p, l));
    RLX_TRY(read_operands(p, block, l));
    RLX_TRY(rlx_ir_scan_attrs(&p->sc, p->m->dims, p->scratch, &l->nattr, &l->attrs));
    const char *at = p->sc.s;
    if (rlx_ir_scan_accept(&p->sc, ':')) {
        if (rlx_ir_scan_accept(&p->sc, '('))
            RLX_TRY(read_types(p, MAX_RESULTS, &l->ntype, l->types));
        else
            RLX_TRY(read_type(p, &l->types[l->ntype++]));
        if (l->ntype != l->nresult)
            return rlx_ir_scan_fail(&p->sc, at, "%d types for %d results", l->ntype, l->nresult);
    }
    return RLX_OK;
}

static rlx_status build_line(parser *p, rlx_ir_block *block, const line *l, const char *place,
                             rlx_ir_node **out)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, p->m);
    b.block = block;
    b.place = place;
    *out = rlx_ir_build_node(&b, l->op, l->nin, l->in, l->nattr, l->attrs, l->nresult,
                             l->ntype ? l->types : NULL);
    RLX_TRY(rlx_ir_scan_note(&p->sc, l->at, rlx_ir_builder_finish(&b)));
    if ((*out)->nout != l->nresult)
        return rlx_ir_scan_fail(&p->sc, l->at, "%s gives %d results, and %d are named",
                                rlx_ir_info(p->m, *out)->mnemonic, (*out)->nout, l->nresult);
    return RLX_OK;
}

static const char *comment_text(parser *p)
{
    if (!p->sc.comment)
        return NULL;
    return rlx_arena_strndup(p->scratch, p->sc.comment, p->sc.comment_len);
}

static rlx_status read_block(parser *p, rlx_ir_block *block, int depth, bool first);

static rlx_status read_node(parser *p, rlx_ir_block *block, int depth)
{
    line *l = p->line;
    l->nin = l->nresult = l->ntype = 0;
    RLX_TRY(read_line(p, block, l));
    rlx_ir_node *n;
    RLX_TRY(build_line(p, block, l, comment_text(p), &n));
    const char *at = l->at;
    const result *results =
        rlx_arena_copy(p->scratch, l->results, sizeof(*results) * (size_t)l->nresult);
    if (!results)
        return RLX_OOM();
    for (int i = 0; i < n->nblock; i++)
        RLX_TRY(read_block(p, n->blocks[i], depth + 1, i == 0));
    const rlx_ir_opinfo *info = rlx_ir_info(p->m, n);
    if (n->nblock && info->verify)
        RLX_TRY(rlx_ir_scan_note(&p->sc, at, info->verify(p->m, n)));
    for (int i = 0; i < n->nout; i++)
        RLX_TRY(define(p, results[i].at, results[i].name, n->out[i]));
    return RLX_OK;
}

static rlx_status read_block_args(parser *p, rlx_ir_block *block)
{
    if (!rlx_ir_scan_accept(&p->sc, '('))
        return RLX_OK;
    do {
        const char *at = p->sc.s, *name;
        rlx_ir_type type;
        RLX_TRY(rlx_ir_scan_name(&p->sc, '%', p->scratch, &name));
        RLX_TRY(rlx_ir_scan_expect(&p->sc, ':', "before an argument's type"));
        RLX_TRY(read_type(p, &type));
        rlx_ir_value *v = rlx_ir_block_add_arg(p->m, block, NULL, type);
        if (!v)
            return RLX_OOM();
        RLX_TRY(define(p, at, name, v));
    } while (rlx_ir_scan_accept(&p->sc, ','));
    return rlx_ir_scan_expect(&p->sc, ')', "after a block's arguments");
}

static rlx_status read_nodes(parser *p, rlx_ir_block *block, int depth)
{
    while (!rlx_ir_scan_accept(&p->sc, '}')) {
        if (!*p->sc.s)
            return rlx_ir_scan_fail(&p->sc, p->sc.s, "expected '}', and the text ends");
        RLX_TRY(read_node(p, block, depth));
    }
    return RLX_OK;
}

static rlx_status read_block(parser *p, rlx_ir_block *block, int depth, bool first)
{
    if (depth > RLX_IR_MAX_NESTING)
        return rlx_ir_scan_fail(&p->sc, p->sc.s, "blocks nest deeper than %d", RLX_IR_MAX_NESTING);
    RLX_TRY(read_block_args(p, block));
    const char *at = p->sc.s;
    RLX_TRY(rlx_ir_scan_expect(&p->sc, '{', "before a block"));
    if (first && p->sc.comment) { /* the node's line ends behind its first `{` */
        block->parent->place = rlx_ir_place_copy(p->m, comment_text(p), NULL);
        if (!block->parent->place)
            return RLX_OOM();
    }
    RLX_TRY(read_nodes(p, block, depth));
    /* the op's own rules, which are asked next, take a last node for granted */
    return block->last ? RLX_OK : rlx_ir_scan_fail(&p->sc, at, "a block has no nodes");
}

/* ---- functions
 * --------------------------------------------------------------------------------------- */

static rlx_status read_arg(parser *p, rlx_ir_func *f)
{
    static const struct {
        const char *word;
        rlx_role role;
    } roles[] = {{"weight", RLX_ROLE_WEIGHT}, {"input", RLX_ROLE_INPUT}, {"state", RLX_ROLE_STATE}};
    const char *at = p->sc.s, *name, *symbol = NULL;
    rlx_ir_type type;
    rlx_role role = RLX_ROLE_VALUE;
    RLX_TRY(rlx_ir_scan_name(&p->sc, '%', p->scratch, &name));
    RLX_TRY(rlx_ir_scan_expect(&p->sc, ':', "before an argument's type"));
    RLX_TRY(read_type(p, &type));
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (rlx_ir_scan_accept_word(&p->sc, roles[i].word)) {
            role = roles[i].role;
            RLX_TRY(rlx_ir_scan_string(&p->sc, p->scratch, &symbol));
        }
    }
    if (!symbol && rlx_ir_scan_accept_word(&p->sc, "out"))
        role = RLX_ROLE_OUT;
    for (int i = 0; i < f->body->nargs; i++)
        if (strcmp(f->body->args[i]->name, name) == 0)
            return rlx_ir_scan_fail(&p->sc, at, "%%%s is defined twice in @%s", name, f->name);
    if (!rlx_ir_func_add_arg(f, role, symbol, name, type))
        return RLX_OOM();
    return RLX_OK;
}

static rlx_status read_args(parser *p, rlx_ir_func *f)
{
    RLX_TRY(rlx_ir_scan_expect(&p->sc, '(', "before arguments"));
    if (rlx_ir_scan_accept(&p->sc, ')'))
        return RLX_OK;
    do {
        RLX_TRY(read_arg(p, f));
    } while (rlx_ir_scan_accept(&p->sc, ','));
    return rlx_ir_scan_expect(&p->sc, ')', "after arguments");
}

static rlx_status read_signature(parser *p, rlx_ir_func *f)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, p->m);
    RLX_TRY(read_args(p, f));
    if (p->sc.s[0] == '-' && p->sc.s[1] == '>') {
        int n = 0;
        rlx_ir_type *types = RLX_NEW_ARRAY(p->scratch, rlx_ir_type, MAX_RESULTS);
        if (!types)
            return RLX_OOM();
        rlx_ir_scan_to(&p->sc, p->sc.s + 2);
        RLX_TRY(rlx_ir_scan_expect(&p->sc, '(', "before results"));
        RLX_TRY(read_types(p, MAX_RESULTS, &n, types));
        rlx_ir_func_set_results(&b, f, n, types);
        RLX_TRY(rlx_ir_builder_finish(&b));
    }
    rlx_attr *attrs;
    RLX_TRY(rlx_ir_scan_attrs(&p->sc, p->m->dims, p->scratch, &f->nattr, &attrs));
    return rlx_attr_copy_all(p->m->arena, f->nattr, attrs, &f->attr) ? RLX_OK : RLX_OOM();
}

static rlx_status push_body(parser *p, rlx_ir_func *f)
{
    if (p->nbodies == p->cap_bodies) {
        int cap = p->cap_bodies ? p->cap_bodies * 2 : 16;
        body *bodies = realloc(p->bodies, sizeof(*bodies) * (size_t)cap);
        if (!bodies)
            return RLX_OOM();
        p->bodies = bodies;
        p->cap_bodies = cap;
    }
    p->bodies[p->nbodies++] = (body){f, p->sc};
    return RLX_OK;
}

static rlx_status read_head(parser *p)
{
    bool kernel = rlx_ir_scan_accept_word(&p->sc, "kernel");
    if (!kernel && !rlx_ir_scan_accept_word(&p->sc, "func"))
        return rlx_ir_scan_fail(&p->sc, p->sc.s, "expected 'func', 'kernel' or '}'");
    const char *at = p->sc.s, *name;
    RLX_TRY(rlx_ir_scan_name(&p->sc, '@', p->scratch, &name));
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, p->m);
    rlx_ir_func *f = rlx_ir_build_func(&b, name, 0, NULL);
    RLX_TRY(rlx_ir_scan_note(&p->sc, at, rlx_ir_builder_finish(&b)));
    f->is_kernel = kernel;
    RLX_TRY(read_signature(p, f));
    if (!rlx_ir_scan_is(&p->sc, '{'))
        return rlx_ir_scan_expect(&p->sc, '{', "before a function's body");
    RLX_TRY(push_body(p, f));
    return rlx_ir_scan_skip_braces(&p->sc);
}

static rlx_status read_body(parser *p, const body *at)
{
    rlx_ir_func *f = at->func;
    p->sc = at->at;
    forget_names(p);
    for (int i = 0; i < f->body->nargs; i++) {
        rlx_ir_value *arg = f->body->args[i];
        const char *name = arg->name; /* as written, until `define` keeps or drops it */
        arg->name = NULL;
        RLX_TRY(define(p, p->sc.s, name, arg));
    }
    RLX_TRY(rlx_ir_scan_expect(&p->sc, '{', "before a function's body"));
    return read_nodes(p, f->body, 0);
}

static rlx_status read_module(parser *p)
{
    rlx_ir_scan *sc = &p->sc;
    const char *level = p->m->level->name, *name;
    if (!rlx_ir_scan_accept_word(sc, level))
        return rlx_ir_scan_fail(sc, sc->s, "expected '%s module'", level);
    if (!rlx_ir_scan_accept_word(sc, "module"))
        return rlx_ir_scan_fail(sc, sc->s, "expected 'module' after '%s'", level);
    RLX_TRY(rlx_ir_scan_name(sc, '@', p->m->arena, &name));
    p->m->name = name;
    RLX_TRY(rlx_ir_scan_expect(sc, '{', "after the module's name"));
    while (!rlx_ir_scan_accept(sc, '}'))
        RLX_TRY(read_head(p));
    if (*sc->s)
        return rlx_ir_scan_fail(sc, sc->s, "expected nothing after the module");
    for (int i = 0; i < p->nbodies; i++)
        RLX_TRY(read_body(p, &p->bodies[i]));
    return RLX_OK;
}

rlx_status rlx_ir_parse(const rlx_ir_level *level, rlx_dims *dims, const char *name,
                        const char *text, rlx_ir_module **out)
{
    *out = NULL;
    parser p = {.scalar_tiles = strcmp(level->name, "lir") == 0, .scratch = rlx_arena_create()};
    if (p.scratch)
        p.line = RLX_NEW(p.scratch, line);
    rlx_status st = p.line ? RLX_OK : RLX_OOM();
    if (!st)
        st = rlx_ir_module_create(level, dims, name, &p.m);
    if (!st) {
        rlx_ir_scan_init(&p.sc, name, text);
        st = read_module(&p);
    }
    rlx_arena_destroy(p.scratch);
    free(p.entries);
    free(p.bodies);
    if (st) {
        rlx_ir_module_destroy(p.m);
        return st;
    }
    *out = p.m;
    return RLX_OK;
}
