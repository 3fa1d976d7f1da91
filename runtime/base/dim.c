#include "runtime/base/dim.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* An expression is held as a node or, while it is being simplified, as a linear form: a constant
 * plus terms `factor * atom`, where an atom is a symbol or a division, mod, min or max, in a fixed
 * order of atoms that does not depend on the order of making. All factors and constants are >= 0,
 * as every extent is. */
enum { MAX_TERMS = 32, MAX_DEPTH = 64 };

typedef struct term {
    rlx_dim atom;
    int64_t factor;
} term;

typedef struct linear {
    int n;
    int64_t constant;
    term terms[MAX_TERMS];
} linear;

struct rlx_dims {
    rlx_dim_node *nodes;
    int count, cap;
    int32_t *slots; /* open-addressed: node index + 1, or 0; cap * 2 of them */
    int nsymbols;
    char *names[RLX_MAX_SYMBOLS];
    rlx_dim symbols[RLX_MAX_SYMBOLS];
};

/* ---- the table ---------------------------------------------------------------------------------
 */

rlx_dims *rlx_dims_create(void)
{
    return calloc(1, sizeof(rlx_dims));
}

void rlx_dims_destroy(rlx_dims *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->nsymbols; i++)
        free(t->names[i]);
    free(t->nodes);
    free(t->slots);
    free(t);
}

static int index_of(rlx_dim d)
{
    return (int)(-1 - d);
}

rlx_dim_node rlx_dim_get(const rlx_dims *t, rlx_dim d)
{
    assert(d < 0 && index_of(d) < t->count);
    return t->nodes[index_of(d)];
}

static uint64_t node_hash(rlx_dim_node n)
{
    uint64_t h = (uint64_t)n.op * 0x9e3779b97f4a7c15u;
    h = (h ^ (uint64_t)n.a) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 29) ^ (uint64_t)n.b) * 0x94d049bb133111ebu;
    return h ^ (h >> 32);
}

/* The slot that holds an equal node, or the empty one where it belongs. */
static int32_t *find_slot(const rlx_dims *t, rlx_dim_node n)
{
    uint64_t mask = (uint64_t)t->cap * 2 - 1;
    for (uint64_t i = node_hash(n) & mask;; i = (i + 1) & mask) {
        int32_t *slot = &t->slots[i];
        if (*slot == 0)
            return slot;
        rlx_dim_node *have = &t->nodes[*slot - 1];
        if (have->op == n.op && have->a == n.a && have->b == n.b)
            return slot;
    }
}

static bool grow(rlx_dims *t)
{
    int cap = t->cap ? t->cap * 2 : 32;
    rlx_dim_node *nodes = realloc(t->nodes, sizeof(*nodes) * (size_t)cap);
    if (!nodes)
        return false;
    t->nodes = nodes;
    int32_t *slots = calloc((size_t)cap * 2, sizeof(*slots));
    if (!slots)
        return false;
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    for (int i = 0; i < t->count; i++)
        *find_slot(t, t->nodes[i]) = i + 1;
    return true;
}

static rlx_dim intern(rlx_dims *t, rlx_dim_op op, rlx_dim a, rlx_dim b)
{
    if (t->count == t->cap && !grow(t))
        return RLX_DIM_INVALID;
    rlx_dim_node n = {op, a, b};
    int32_t *slot = find_slot(t, n);
    if (*slot == 0) {
        t->nodes[t->count++] = n;
        *slot = t->count;
    }
    return -(rlx_dim)*slot;
}

int rlx_dim_symbol_index(const rlx_dims *t, const char *name)
{
    for (int i = 0; i < t->nsymbols; i++)
        if (strcmp(t->names[i], name) == 0)
            return i;
    return -1;
}

bool rlx_dim_is_symbol(const rlx_dims *t, rlx_dim d, const char *name)
{
    if (rlx_dim_is_const(d))
        return false;
    rlx_dim_node n = rlx_dim_get(t, d);
    return n.op == RLX_DIM_SYMBOL && n.a == rlx_dim_symbol_index(t, name);
}

rlx_dim rlx_dim_symbol(rlx_dims *t, const char *name)
{
    int i = rlx_dim_symbol_index(t, name);
    if (i >= 0)
        return t->symbols[i];
    if (t->nsymbols == RLX_MAX_SYMBOLS)
        return RLX_DIM_INVALID;
    char *copy = strdup(name);
    if (!copy)
        return RLX_DIM_INVALID;
    rlx_dim d = intern(t, RLX_DIM_SYMBOL, t->nsymbols, 0);
    if (d == RLX_DIM_INVALID) {
        free(copy);
        return d;
    }
    t->names[t->nsymbols] = copy;
    t->symbols[t->nsymbols++] = d;
    return d;
}

int rlx_dim_symbol_count(const rlx_dims *t)
{
    return t->nsymbols;
}

const char *rlx_dim_symbol_name(const rlx_dims *t, int index)
{
    assert(index >= 0 && index < t->nsymbols);
    return t->names[index];
}

/* ---- order --------------------------------------------------------------------------------------
 */

/* A total order by structure and symbol names: text comes out the same whoever made what first. */
static int compare(const rlx_dims *t, rlx_dim a, rlx_dim b)
{
    if (a == b)
        return 0;
    if (a >= 0 || b >= 0) /* constants last, by value */
        return a < 0 ? -1 : b < 0 ? 1 : a < b ? -1 : 1;
    rlx_dim_node x = rlx_dim_get(t, a), y = rlx_dim_get(t, b);
    if (x.op != y.op)
        return x.op < y.op ? -1 : 1;
    if (x.op == RLX_DIM_SYMBOL)
        return strcmp(t->names[x.a], t->names[y.a]);
    int c = compare(t, x.a, y.a);
    return c ? c : compare(t, x.b, y.b);
}

/* ---- linear forms -------------------------------------------------------------------------------
 */

static bool add_term(const rlx_dims *t, linear *l, rlx_dim atom, int64_t factor)
{
    int i = 0, c = 1;
    while (i < l->n && (c = compare(t, l->terms[i].atom, atom)) < 0)
        i++;
    if (i < l->n && c == 0)
        return !__builtin_add_overflow(l->terms[i].factor, factor, &l->terms[i].factor);
    if (l->n == MAX_TERMS)
        return false;
    memmove(&l->terms[i + 1], &l->terms[i], sizeof(term) * (size_t)(l->n - i));
    l->terms[i] = (term){atom, factor};
    l->n++;
    return true;
}

/* l += factor * d; false on overflow or too many terms. */
static bool add_linear(const rlx_dims *t, linear *l, rlx_dim d, int64_t factor)
{
    if (factor == 0)
        return true;
    if (d >= 0) {
        int64_t c;
        return !__builtin_mul_overflow(d, factor, &c) &&
               !__builtin_add_overflow(l->constant, c, &l->constant);
    }
    rlx_dim_node n = rlx_dim_get(t, d);
    if (n.op == RLX_DIM_ADD)
        return add_linear(t, l, n.a, factor) && add_linear(t, l, n.b, factor);
    if (n.op == RLX_DIM_MUL) {
        int64_t f;
        return !__builtin_mul_overflow(n.b, factor, &f) && add_linear(t, l, n.a, f);
    }
    return add_term(t, l, d, factor);
}

/* The interned expression of a form: ((f0*a0 + f1*a1) + ..) + constant. */
static rlx_dim from_linear(rlx_dims *t, const linear *l)
{
    rlx_dim sum = 0;
    for (int i = 0; i < l->n; i++) {
        rlx_dim d = l->terms[i].atom;
        if (l->terms[i].factor != 1)
            d = intern(t, RLX_DIM_MUL, d, l->terms[i].factor);
        if (d != RLX_DIM_INVALID && i > 0)
            d = intern(t, RLX_DIM_ADD, sum, d);
        if (d == RLX_DIM_INVALID)
            return d;
        sum = d;
    }
    if (l->n == 0)
        return l->constant;
    return l->constant ? intern(t, RLX_DIM_ADD, sum, l->constant) : sum;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static int64_t add_sat(int64_t a, int64_t b)
{
    int64_t c;
    return __builtin_add_overflow(a, b, &c) ? INT64_MAX : c;
}

static int64_t mul_sat(int64_t a, int64_t b)
{
    int64_t c;
    return __builtin_mul_overflow(a, b, &c) ? INT64_MAX : c;
}

/* Largest value whatever the symbols are: INT64_MAX when there is none. */
static int64_t bound(const rlx_dims *t, rlx_dim d)
{
    if (d >= 0)
        return d;
    static const int64_t unbounded[RLX_MAX_SYMBOLS] = {
        INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
        INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    return rlx_dim_upper(t, d, unbounded);
}

static int64_t linear_bound(const rlx_dims *t, const linear *l)
{
    int64_t sum = l->constant;
    for (int i = 0; i < l->n; i++)
        sum = add_sat(sum, mul_sat(l->terms[i].factor, bound(t, l->terms[i].atom)));
    return sum;
}

/* ---- division -----------------------------------------------------------------------------------
 */

/* floor((floor(x/a) + k) / b) = floor((x + k*a) / (a*b)), and the same from a ceildiv. True when
 * the form was one division and is now its operand, with *c the new divisor. */
static bool merge_division(const rlx_dims *t, linear *l, int64_t *c)
{
    if (l->n != 1 || l->terms[0].factor != 1)
        return false;
    rlx_dim_node n = rlx_dim_get(t, l->terms[0].atom);
    if (n.op != RLX_DIM_FLOORDIV && n.op != RLX_DIM_CEILDIV)
        return false;
    int64_t divisor, constant;
    linear inner = {0};
    if (__builtin_mul_overflow(n.b, *c, &divisor) ||
        __builtin_mul_overflow(n.b, l->constant, &constant) || !add_linear(t, &inner, n.a, 1) ||
        __builtin_add_overflow(inner.constant, constant, &inner.constant) ||
        (n.op == RLX_DIM_CEILDIV &&
         __builtin_add_overflow(inner.constant, n.b - 1, &inner.constant)))
        return false;
    *l = inner;
    *c = divisor;
    return true;
}

/* Moves what c divides out of `l` into `whole`, then cancels common factors of the rest and c. */
static bool reduce_division(const rlx_dims *t, linear *l, int64_t *c, linear *whole)
{
    int kept = 0;
    int64_t g = *c;
    for (int i = 0; i < l->n; i++) {
        term x = l->terms[i];
        if (x.factor % *c == 0) {
            if (!add_term(t, whole, x.atom, x.factor / *c))
                return false;
        } else {
            l->terms[kept++] = x;
            g = gcd(g, x.factor);
        }
    }
    l->n = kept;
    if (__builtin_add_overflow(whole->constant, l->constant / *c, &whole->constant))
        return false;
    l->constant %= *c;
    for (int i = 0; i < l->n; i++)
        l->terms[i].factor /= g;
    l->constant /= g;
    *c /= g;
    return true;
}

/* floor(l / c) */
static rlx_dim floordiv_linear(rlx_dims *t, linear *l, int64_t c)
{
    linear whole = {0};
    do {
        if (!reduce_division(t, l, &c, &whole))
            return RLX_DIM_INVALID;
    } while (merge_division(t, l, &c));
    if (l->n > 0 && linear_bound(t, l) >= c) {
        bool up = c > 1 && l->constant == c - 1; /* floor((x + c-1) / c) reads as ceildiv(x, c) */
        if (up)
            l->constant = 0;
        rlx_dim rest = from_linear(t, l);
        if (rest != RLX_DIM_INVALID)
            rest = intern(t, up ? RLX_DIM_CEILDIV : RLX_DIM_FLOORDIV, rest, c);
        if (rest == RLX_DIM_INVALID || !add_linear(t, &whole, rest, 1))
            return RLX_DIM_INVALID;
    }
    return from_linear(t, &whole);
}

static rlx_dim make_division(rlx_dims *t, rlx_dim a, int64_t c, bool up)
{
    linear l = {0};
    if (c <= 0 || !add_linear(t, &l, a, 1))
        return RLX_DIM_INVALID;
    if (up && __builtin_add_overflow(l.constant, c - 1, &l.constant))
        return RLX_DIM_INVALID;
    return floordiv_linear(t, &l, c);
}

static rlx_dim make_mod(rlx_dims *t, rlx_dim a, int64_t c)
{
    linear l = {0}, small = {0};
    if (c <= 0 || !add_linear(t, &l, a, 1))
        return RLX_DIM_INVALID;
    small.constant = l.constant % c;
    for (int i = 0; i < l.n; i++) {
        term x = l.terms[i];
        rlx_dim_node n = rlx_dim_get(t, x.atom);
        int64_t period;
        /* f * mod(y, m) is f * y modulo c when c divides f * m */
        bool inner = n.op == RLX_DIM_MOD && !__builtin_mul_overflow(x.factor, n.b, &period) &&
                     period % c == 0;
        linear y = {0};
        if (!add_linear(t, &y, inner ? n.a : x.atom, 1))
            return RLX_DIM_INVALID;
        for (int j = 0; j < y.n; j++) {
            int64_t f = (int64_t)((__int128)y.terms[j].factor * x.factor % c);
            if (f && !add_term(t, &small, y.terms[j].atom, f))
                return RLX_DIM_INVALID;
        }
        small.constant = (int64_t)((small.constant + (__int128)y.constant * x.factor) % c);
    }
    int64_t g = c;
    linear rest = {.constant = small.constant};
    for (int i = 0; i < small.n; i++) {
        small.terms[i].factor %= c;
        if (small.terms[i].factor == 0)
            continue;
        g = gcd(g, small.terms[i].factor);
        rest.terms[rest.n++] = small.terms[i];
    }
    if (rest.n == 0 || linear_bound(t, &rest) < c)
        return from_linear(t, &rest);
    /* mod(g*y + k, g*c') = g * mod(y + floor(k/g), c') + k mod g */
    linear out = {.constant = rest.constant % g};
    for (int i = 0; i < rest.n; i++)
        rest.terms[i].factor /= g;
    rest.constant /= g;
    rlx_dim y = from_linear(t, &rest);
    if (y != RLX_DIM_INVALID)
        y = intern(t, RLX_DIM_MOD, y, c / g);
    if (y == RLX_DIM_INVALID || !add_linear(t, &out, y, g))
        return RLX_DIM_INVALID;
    return from_linear(t, &out);
}

/* ---- min and max --------------------------------------------------------------------------------
 */

/* Is a <= b whatever the symbols are? Sufficient: every factor and the constant are, or a's largest
 * value is at most b's constant part. */
static bool always_le(const rlx_dims *t, rlx_dim a, rlx_dim b)
{
    linear x = {0}, y = {0};
    if (!add_linear(t, &x, a, 1) || !add_linear(t, &y, b, 1))
        return false;
    if (linear_bound(t, &x) <= y.constant)
        return true;
    if (x.constant > y.constant)
        return false;
    for (int i = 0, j = 0; i < x.n; i++) {
        while (j < y.n && compare(t, y.terms[j].atom, x.terms[i].atom) < 0)
            j++;
        if (j == y.n || y.terms[j].atom != x.terms[i].atom || x.terms[i].factor > y.terms[j].factor)
            return false;
    }
    return true;
}

typedef struct choice {
    int n;
    rlx_dim d[MAX_TERMS];
} choice;

/* Adds the operands of d, which may itself be of `op`, leaving out those that others decide. */
static bool add_choice(const rlx_dims *t, choice *c, rlx_dim_op op, rlx_dim d)
{
    if (d < 0) {
        rlx_dim_node n = rlx_dim_get(t, d);
        if (n.op == op)
            return add_choice(t, c, op, n.a) && add_choice(t, c, op, n.b);
    }
    int kept = 0;
    for (int i = 0; i < c->n; i++) {
        rlx_dim e = c->d[i];
        if (op == RLX_DIM_MIN ? always_le(t, e, d) : always_le(t, d, e))
            return true;
        if (!(op == RLX_DIM_MIN ? always_le(t, d, e) : always_le(t, e, d)))
            c->d[kept++] = e;
    }
    c->n = kept;
    if (c->n == MAX_TERMS)
        return false;
    int at = c->n++;
    for (; at > 0 && compare(t, c->d[at - 1], d) > 0; at--)
        c->d[at] = c->d[at - 1];
    c->d[at] = d;
    return true;
}

static rlx_dim make_choice(rlx_dims *t, rlx_dim_op op, rlx_dim a, rlx_dim b)
{
    choice c = {0};
    if (!add_choice(t, &c, op, a) || !add_choice(t, &c, op, b))
        return RLX_DIM_INVALID;
    rlx_dim d = c.d[0];
    for (int i = 1; i < c.n && d != RLX_DIM_INVALID; i++)
        d = intern(t, op, d, c.d[i]);
    return d;
}

/* ---- making -------------------------------------------------------------------------------------
 */

/* A constant, or an expression of the table: not what is left of an overflow. */
static bool is_known(const rlx_dims *t, rlx_dim d)
{
    return d >= 0 || (d != RLX_DIM_INVALID && -1 - d < t->count);
}

rlx_dim rlx_dim_make(rlx_dims *t, rlx_dim_op op, rlx_dim a, rlx_dim b)
{
    if (!is_known(t, a) || !is_known(t, b))
        return RLX_DIM_INVALID;
    linear l = {0};
    switch (op) {
    case RLX_DIM_ADD:
        if (!add_linear(t, &l, a, 1) || !add_linear(t, &l, b, 1))
            return RLX_DIM_INVALID;
        return from_linear(t, &l);
    case RLX_DIM_MUL:
        if (a < 0 && b < 0)
            return RLX_DIM_INVALID;
        if (!add_linear(t, &l, b < 0 ? b : a, b < 0 ? a : b))
            return RLX_DIM_INVALID;
        return from_linear(t, &l);
    case RLX_DIM_FLOORDIV:
    case RLX_DIM_CEILDIV:
        return make_division(t, a, b, op == RLX_DIM_CEILDIV);
    case RLX_DIM_MOD:
        return make_mod(t, a, b);
    case RLX_DIM_MIN:
    case RLX_DIM_MAX:
        return make_choice(t, op, a, b);
    case RLX_DIM_SYMBOL:
        break;
    }
    return RLX_DIM_INVALID;
}

/* ---- values -------------------------------------------------------------------------------------
 */

static int64_t floordiv_sat(int64_t a, int64_t c, bool up)
{
    int64_t q = a / c;
    return up && a % c ? q + 1 : q;
}

/* One operation on values >= 0, saturating. */
static int64_t apply(rlx_dim_op op, int64_t a, int64_t b)
{
    switch (op) {
    case RLX_DIM_ADD:
        return add_sat(a, b);
    case RLX_DIM_MUL:
        return mul_sat(a, b);
    case RLX_DIM_FLOORDIV:
        return floordiv_sat(a, b, false);
    case RLX_DIM_CEILDIV:
        return floordiv_sat(a, b, true);
    case RLX_DIM_MOD:
        return a % b;
    case RLX_DIM_MIN:
        return a < b ? a : b;
    case RLX_DIM_MAX:
        return a > b ? a : b;
    case RLX_DIM_SYMBOL:
        break;
    }
    assert(!"an operation");
    return 0;
}

int64_t rlx_dim_eval(const rlx_dims *t, rlx_dim d, const int64_t *values)
{
    if (d >= 0)
        return d;
    rlx_dim_node n = rlx_dim_get(t, d);
    if (n.op == RLX_DIM_SYMBOL)
        return values[n.a];
    return apply(n.op, rlx_dim_eval(t, n.a, values), rlx_dim_eval(t, n.b, values));
}

int64_t rlx_dim_upper(const rlx_dims *t, rlx_dim d, const int64_t *upper)
{
    if (d >= 0)
        return d;
    rlx_dim_node n = rlx_dim_get(t, d);
    if (n.op == RLX_DIM_SYMBOL)
        return upper[n.a];
    int64_t a = rlx_dim_upper(t, n.a, upper), b = rlx_dim_upper(t, n.b, upper);
    if (n.op == RLX_DIM_MOD)
        return a < n.b ? a : n.b - 1;
    if (a == INT64_MAX && (n.op == RLX_DIM_FLOORDIV || n.op == RLX_DIM_CEILDIV))
        return a; /* unbounded stays unbounded */
    return apply(n.op, a, b);
}

/* ---- text ---------------------------------------------------------------------------------------
 */

static const char *const op_names[] = {[RLX_DIM_FLOORDIV] = "floordiv",
                                       [RLX_DIM_CEILDIV] = "ceildiv",
                                       [RLX_DIM_MOD] = "mod",
                                       [RLX_DIM_MIN] = "min",
                                       [RLX_DIM_MAX] = "max"};

static void print_sum(const rlx_dims *t, rlx_dim d, rlx_text *out)
{
    if (d < 0 && rlx_dim_get(t, d).op == RLX_DIM_ADD) {
        rlx_dim_node n = rlx_dim_get(t, d);
        print_sum(t, n.a, out);
        rlx_text_put(out, "+");
        rlx_dim_print(t, n.b, out);
    } else {
        rlx_dim_print(t, d, out);
    }
}

void rlx_dim_print(const rlx_dims *t, rlx_dim d, rlx_text *out)
{
    if (d >= 0) {
        rlx_text_putf(out, "%lld", (long long)d);
        return;
    }
    if (d == RLX_DIM_INVALID) {
        rlx_text_put(out, "invalid");
        return;
    }
    rlx_dim_node n = rlx_dim_get(t, d);
    switch (n.op) {
    case RLX_DIM_SYMBOL:
        rlx_text_put(out, t->names[n.a]);
        return;
    case RLX_DIM_ADD:
        rlx_text_put(out, "(");
        print_sum(t, d, out);
        rlx_text_put(out, ")");
        return;
    case RLX_DIM_MUL:
        rlx_text_put(out, "(");
        rlx_dim_print(t, n.a, out);
        rlx_text_putf(out, "*%lld)", (long long)n.b);
        return;
    default:
        rlx_text_putf(out, "%s(", op_names[n.op]);
        rlx_dim_print(t, n.a, out);
        rlx_text_put(out, ",");
        rlx_dim_print(t, n.b, out);
        rlx_text_put(out, ")");
        return;
    }
}

typedef struct dim_reader {
    rlx_dims *t;
    const char *s;
    int depth;
} dim_reader;

static rlx_status read_sum(dim_reader *r, rlx_dim *out);

static bool accept(dim_reader *r, char c)
{
    const char *s = r->s;
    while (*s == ' ')
        s++;
    if (*s != c)
        return false;
    r->s = s + 1;
    return true;
}

static rlx_status expect(dim_reader *r, char c)
{
    if (accept(r, c))
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "expected '%c' in an extent before '%.12s'", c, r->s);
}

static rlx_status read_make(dim_reader *r, rlx_dim_op op, rlx_dim a, rlx_dim b, rlx_dim *out)
{
    *out = rlx_dim_make(r->t, op, a, b);
    if (*out == RLX_DIM_INVALID)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "this extent is no quasi-affine expression (products and divisions take a "
                        "constant > 0), or is too large");
    return RLX_OK;
}

static rlx_status read_call(dim_reader *r, rlx_dim_op op, rlx_dim *out)
{
    rlx_dim a, b;
    RLX_TRY(expect(r, '('));
    RLX_TRY(read_sum(r, &a));
    RLX_TRY(expect(r, ','));
    RLX_TRY(read_sum(r, &b));
    RLX_TRY(expect(r, ')'));
    return read_make(r, op, a, b, out);
}

static rlx_status read_number(dim_reader *r, rlx_dim *out)
{
    int64_t v = 0;
    while (isdigit((unsigned char)*r->s)) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *r->s - '0', &v))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "this extent does not fit 63 bits");
        r->s++;
    }
    *out = v;
    return RLX_OK;
}

static rlx_status read_name(dim_reader *r, rlx_dim *out)
{
    char name[64];
    size_t n = 0;
    while (isalnum((unsigned char)r->s[n]) || r->s[n] == '_')
        n++;
    if (n >= sizeof(name))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "symbol '%.12s...' is longer than %zu bytes", r->s,
                        sizeof(name) - 1);
    memcpy(name, r->s, n);
    name[n] = 0;
    r->s += n;
    for (int op = RLX_DIM_FLOORDIV; op <= RLX_DIM_MAX; op++)
        if (strcmp(name, op_names[op]) == 0)
            return read_call(r, (rlx_dim_op)op, out);
    *out = rlx_dim_symbol(r->t, name);
    if (*out == RLX_DIM_INVALID)
        return RLX_FAIL(RLX_EXHAUSTED, "symbol '%s' is one more than the %d that there may be",
                        name, RLX_MAX_SYMBOLS);
    return RLX_OK;
}

static rlx_status read_primary(dim_reader *r, rlx_dim *out)
{
    while (*r->s == ' ')
        r->s++;
    if (isdigit((unsigned char)*r->s))
        return read_number(r, out);
    if (isalpha((unsigned char)*r->s) || *r->s == '_')
        return read_name(r, out);
    if (!accept(r, '('))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "expected an extent before '%.12s'", r->s);
    RLX_TRY(read_sum(r, out));
    return expect(r, ')');
}

static rlx_status read_product(dim_reader *r, rlx_dim *out)
{
    RLX_TRY(read_primary(r, out));
    while (accept(r, '*')) {
        rlx_dim b;
        RLX_TRY(read_primary(r, &b));
        RLX_TRY(read_make(r, RLX_DIM_MUL, *out, b, out));
    }
    return RLX_OK;
}

static rlx_status read_sum(dim_reader *r, rlx_dim *out)
{
    if (++r->depth > MAX_DEPTH)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "an extent nests deeper than %d", MAX_DEPTH);
    RLX_TRY(read_product(r, out));
    while (accept(r, '+')) {
        rlx_dim b;
        RLX_TRY(read_product(r, &b));
        RLX_TRY(read_make(r, RLX_DIM_ADD, *out, b, out));
    }
    r->depth--;
    return RLX_OK;
}

rlx_status rlx_dim_parse(rlx_dims *t, const char **s, rlx_dim *out)
{
    dim_reader r = {t, *s, 0};
    rlx_status st = read_sum(&r, out);
    *s = r.s; /* after an error: where it is */
    return st;
}
