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

/* Takes the live extents that a given tensor tells; -1 in `live` is a symbol not told yet. */
static rlx_status bind_symbols(const rlx_program *p, const rlx_program_tensor *want,
                               const rlx_tensor *given, int64_t *live)
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
            if (n.op != RLX_DIM_SYMBOL)
                continue; /* an expression: the session compares bytes once all symbols are known */
            if (live[n.a] >= 0 && live[n.a] != value)
                return RLX_FAIL(RLX_INVALID_ARGUMENT, "%s is %lld in one input and %lld in \"%s\"",
                                rlx_dim_symbol_name(p->dims, (int)n.a), (long long)live[n.a],
                                (long long)value, want->name);
            live[n.a] = value;
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

static rlx_status check_inputs(const rlx_program *p, const rlx_tensor *inputs, int n, int64_t *live)
{
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        live[i] = -1;
    for (int i = 0; i < n; i++) {
        const rlx_program_tensor *want = find_bound(p, inputs[i].name);
        if (!want || is_session_input(inputs[i].name))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the flow takes no input \"%s\"", inputs[i].name);
        RLX_TRY(bind_symbols(p, want, &inputs[i], live));
        RLX_TRY(check_bytes(&inputs[i]));
    }
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *t = &p->bound[i];
        if (t->kind == RLX_BIND_INPUT && !is_session_input(t->name) &&
            !find_input(inputs, n, t->name))
            return RLX_FAIL(RLX_NOT_FOUND, "input \"%s\" is not given", t->name);
    }
    return RLX_OK;
}

/* The symbols that inputs told: TOKENS and ROWS in the step itself, others in a list (room for
 * all). */
static void fill_symbols(const rlx_program *p, const int64_t *live, rlx_step *step,
                         rlx_step_symbol *others)
{
    step->tokens = 1;
    step->symbols = others;
    for (int i = 0; i < rlx_dim_symbol_count(p->dims); i++) {
        const char *name = rlx_dim_symbol_name(p->dims, i);
        if (live[i] < 0)
            continue;
        if (!strcmp(name, "TOKENS"))
            step->tokens = live[i];
        else if (!strcmp(name, "ROWS"))
            step->rows = live[i];
        else
            others[step->nsymbols++] = (rlx_step_symbol){name, live[i]};
    }
}

rlx_status rlx_executable_run(rlx_executable *e, rlx_session *s, const rlx_tensor *inputs,
                              int ninputs)
{
    const rlx_program *p = rlx_executable_program(e);
    int64_t live[RLX_MAX_SYMBOLS];
    rlx_step_symbol symbols[RLX_MAX_SYMBOLS];
    RLX_TRY(check_inputs(p, inputs, ninputs, live));
    rlx_step_input *values = calloc((size_t)ninputs + 1, sizeof *values);
    if (!values)
        return RLX_OOM();
    rlx_step step = {.inputs = values};
    fill_symbols(p, live, &step, symbols);
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
