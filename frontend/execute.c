/* frontend/execute.c: rlx_executable_run: named tensors to one step of a session. */
#include <stdlib.h>
#include <string.h>

#include "frontend/rlx.h"
#include "runtime/runtime.h"

/* Filled by the session itself. */
static bool is_session_input(const char *name)
{
    return !strcmp(name, "pos") || !strcmp(name, "seq") || !strcmp(name, "table") ||
           !strncmp(name, "table_", 6);
}

static const rlx_tensor *find_input(const rlx_tensor *inputs, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(inputs[i].name, name))
            return &inputs[i];
    return NULL;
}

static const rlx_program_tensor *find_bound(const rlx_program *p, const char *name)
{
    for (uint32_t i = 0; i < p->nbound; i++)
        if (p->bound[i].kind == RLX_BIND_INPUT && !strcmp(p->bound[i].name, name))
            return &p->bound[i];
    return NULL;
}

/* A step's programs: two, where the first one's outputs are inputs of the second. */
typedef struct parts {
    const rlx_program *p[2];
    int n;
} parts;

static parts parts_of(const rlx_executable *e)
{
    const rlx_executable *front = rlx_executable_front(e);
    if (front)
        return (parts){{rlx_executable_program(front), rlx_executable_program(e)}, 2};
    return (parts){{rlx_executable_program(e)}, 1};
}

/* Whether the part gets it from the one before. */
static bool is_carried(const parts *of, int part, const char *name)
{
    for (uint32_t i = 0; part > 0 && i < of->p[0]->noutputs; i++)
        if (!strcmp(of->p[0]->outputs[i].name, name))
            return true;
    return false;
}

enum { MAX_TOLD = 2 * RLX_MAX_SYMBOLS };

/* Live extents, by their symbols' names: programs number them as they like. */
typedef struct told {
    rlx_step_symbol symbols[MAX_TOLD];
    int n;
} told;

static rlx_status tell(told *t, const char *symbol, int64_t value, const char *input)
{
    int i = 0;
    while (i < t->n && strcmp(t->symbols[i].name, symbol) != 0)
        i++;
    if (i == t->n)
        t->symbols[t->n++] = (rlx_step_symbol){symbol, value};
    else if (t->symbols[i].value != value)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%s is %lld in one input and %lld in \"%s\"", symbol,
                        (long long)t->symbols[i].value, (long long)value, input);
    return RLX_OK;
}

/* Takes the live extents that a given tensor tells. */
static rlx_status bind_symbols(const rlx_program *p, const rlx_program_tensor *want,
                               const rlx_tensor *given, told *live)
{
    if (given->format != want->format || given->rank != want->rank)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "input \"%s\" is %s of rank %d, not %s of rank %d",
                        want->name, rlx_format_get(given->format)->name, given->rank,
                        rlx_format_get(want->format)->name, want->rank);
    for (int d = 0; d < want->rank; d++) {
        rlx_dim dim = want->dim[d];
        int64_t value = given->dim[d];
        if (!rlx_dim_is_const(dim)) {
            rlx_dim_node n = rlx_dim_get(p->dims, dim);
            if (n.op == RLX_DIM_SYMBOL) /* the session compares bytes with expressions */
                RLX_TRY(tell(live, rlx_dim_symbol_name(p->dims, (int)n.a), value, want->name));
        } else if (dim != value) {
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "input \"%s\": axis %d has %lld elements, not %lld", want->name, d,
                            (long long)value, (long long)dim);
        }
    }
    return RLX_OK;
}

/* What the caller says of his memory must agree with itself. */
static rlx_status check_bytes(const rlx_tensor *t)
{
    int64_t elems = 1;
    bool fits = t->bytes == 0 || t->data;
    for (int d = 0; d < t->rank; d++)
        fits &= t->dim[d] >= 0 && !__builtin_mul_overflow(elems, t->dim[d], &elems);
    if (fits && elems <= INT64_MAX / 8 && t->bytes == rlx_format_bytes(t->format, elems))
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "input \"%s\": %zu bytes%s are not its shape's", t->name,
                    t->bytes, t->data ? "" : " at NULL");
}

/* An input may be of both parts. */
static rlx_status check_input(const parts *of, const rlx_tensor *given, told *live)
{
    bool taken = false;
    for (int k = 0; k < of->n && !is_session_input(given->name); k++) {
        const rlx_program_tensor *want = find_bound(of->p[k], given->name);
        if (!want || is_carried(of, k, given->name))
            continue;
        RLX_TRY(bind_symbols(of->p[k], want, given, live));
        taken = true;
    }
    if (!taken)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "the flow takes no input \"%s\"", given->name);
    return check_bytes(given);
}

static rlx_status check_missing(const parts *of, int part, const rlx_tensor *inputs, int n)
{
    const rlx_program *p = of->p[part];
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *t = &p->bound[i];
        if (t->kind == RLX_BIND_INPUT && !is_session_input(t->name) &&
            !is_carried(of, part, t->name) && !find_input(inputs, n, t->name))
            return RLX_FAIL(RLX_NOT_FOUND, "input \"%s\" is not given", t->name);
    }
    return RLX_OK;
}

static rlx_status check_inputs(const parts *of, const rlx_tensor *inputs, int n, told *live)
{
    live->n = 0;
    for (int i = 0; i < n; i++)
        RLX_TRY(check_input(of, &inputs[i], live));
    for (int k = 0; k < of->n; k++)
        RLX_TRY(check_missing(of, k, inputs, n));
    return RLX_OK;
}

/* The symbols that inputs told: TOKENS and ROWS in the step itself, the others stay in the list. */
static void fill_symbols(told *live, rlx_step *step)
{
    int others = 0;
    step->tokens = 1;
    for (int i = 0; i < live->n; i++) {
        const rlx_step_symbol symbol = live->symbols[i];
        if (!strcmp(symbol.name, "TOKENS"))
            step->tokens = symbol.value;
        else if (!strcmp(symbol.name, "ROWS"))
            step->rows = symbol.value;
        else
            live->symbols[others++] = symbol;
    }
    step->symbols = live->symbols;
    step->nsymbols = others;
}

rlx_status rlx_executable_run(rlx_executable *e, rlx_session *s, const rlx_tensor *inputs,
                              int ninputs)
{
    const parts of = parts_of(e);
    told live;
    RLX_TRY(check_inputs(&of, inputs, ninputs, &live));
    rlx_step_input *values = calloc((size_t)ninputs + 1, sizeof *values);
    if (!values)
        return RLX_OOM();
    rlx_step step = {.inputs = values};
    fill_symbols(&live, &step);
    for (int i = 0; i < ninputs; i++) {
        if (!strcmp(inputs[i].name, "rows"))
            step.row_index = inputs[i].data;
        else
            values[step.ninputs++] =
                (rlx_step_input){inputs[i].name, inputs[i].data, inputs[i].bytes};
    }
    rlx_status st = rlx_session_step(s, e, &step);
    free(values);
    return st;
}
