#include "jit/llvm_team.h"

/* Rows of sums that a matrix unit leaves, where a kernel combines them: maxima and sums of attention.
 *
 * If all of a kernel's sums have as many rows, and those are enough for fragments of every subgroup, subgroups
 * have whole rows (rlx_emit.by_rows, llvm_team_matrix.c). Then a reduce of such a tile is made in registers:
 * every invocation has some columns of its rows, and its neighbours the others. What comes of it, and all
 * tiles [rows], lie as they do: in every invocation that has elements of a row. So they spread over columns
 * in registers, too. */

enum { MOST_ROWS = 8, MOST_COLUMNS = 512 };

/* Which of a fragment's sums are the first of a row; how many rows there are. */
static int rows_of(const rlx_matrix_unit *u, int first[MOST_ROWS])
{
    int n = 0;
    for (int i = 0; i < u->sums; i++) {
        bool found = false;
        for (int j = 0; j < n; j++)
            found |= rlx_matrix_offset(&u->row, first[j]) == rlx_matrix_offset(&u->row, i);
        if (!found)
            first[n++] = i;
    }
    return n;
}

/* The row of a fragment's sum i among those. */
static int row_of(const rlx_matrix_unit *u, int i)
{
    int first[MOST_ROWS], n = rows_of(u, first), row = 0;
    while (row < n - 1 && rlx_matrix_offset(&u->row, first[row]) != rlx_matrix_offset(&u->row, i))
        row++;
    return row;
}

bool rlx_emit_is_rows(const rlx_emit *e, const rlx_ir_type *tile)
{
    return e->by_rows && tile->rank == 1 && tile->dim[0] == e->fragments[0]->dim[0];
}

/* Fragments of a subgroup, one above the other, where it has whole rows. */
static int64_t down_of(const rlx_emit *e)
{
    const rlx_matrix_unit *u = e->matrix;
    return e->fragments[0]->dim[0] / (e->target->team / u->lanes * u->m);
}

int rlx_emit_rows_parts(const rlx_emit *e)
{
    int first[MOST_ROWS];
    return (int)down_of(e) * rows_of(e->matrix, first);
}

LLVMValueRef rlx_emit_rows_element(rlx_emit *e, int part)
{
    const rlx_matrix_unit *u = e->matrix;
    int first[MOST_ROWS];
    const int n = rows_of(u, first);
    rlx_emit_fragments own;
    if (!rlx_emit_matrix_fragments(e, e->fragments[0], &own))
        return NULL;
    LLVMValueRef row = rlx_emit_add(e->b, own.row, rlx_emit_int(e->i32, part / n * u->m));
    return rlx_emit_add(e->b, row, rlx_emit_matrix_along(e, &u->row, first[part % n]));
}

/* Part `part` of a tile of sums [rows, columns] lies in this part of a tile [rows]. */
static int rows_part(const rlx_emit *e, const rlx_ir_type *tile, int part)
{
    const rlx_matrix_unit *u = e->matrix;
    int first[MOST_ROWS];
    const int64_t fragment = part / u->sums, across = tile->dim[1] / u->n;
    return (int)(fragment / across) * rows_of(u, first) + row_of(u, part % u->sums);
}

bool rlx_emit_spreads_rows(const rlx_emit *e, const rlx_ir_node *broadcast)
{
    const rlx_attr *axes = rlx_ir_attr(broadcast, RLX_ATTR_AXES);
    return rlx_emit_is_rows(e, &broadcast->in[0]->type) &&
           rlx_emit_matrix_tile(e, &broadcast->out[0]->type) && axes->ints[0] == 0;
}

void rlx_emit_spread_rows(rlx_emit *e, const rlx_ir_node *n, rlx_emit_tile *out)
{
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    for (int p = 0; p < out->n; p++)
        out->part[p] = in->part[rows_part(e, &n->out[0]->type, p)];
}

bool rlx_emit_reduces_rows(const rlx_emit *e, const rlx_ir_node *reduce)
{
    const rlx_ir_type *from = &reduce->in[0]->type;
    return e->by_rows && rlx_emit_matrix_tile(e, from) && from->dim[1] <= MOST_COLUMNS &&
           (from->dim[1] & (from->dim[1] - 1)) == 0;
}

/* Columns `apart` from each other, of those that the row's invocations have: x[c], NULL where this one has no
 * column c behind its first. By halves as the op has it; of a maximum of zeros or NaNs all invocations have some,
 * and not the same. */
static rlx_status combine(rlx_emit *e, const rlx_ir_node *n, int64_t apart, LLVMValueRef *x)
{
    const rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    const rlx_format f = n->in[0]->type.format;
    const rlx_matrix_axis *axis = &e->matrix->column;
    for (int64_t c = 0; c < apart; c++) {
        if (!x[c])
            continue;
        LLVMValueRef in[2] = {x[c], x[c + apart]};
        if (!in[1])
            in[1] = rlx_emit_swap(e, x[c], axis->div * (int)(apart / axis->by));
        RLX_TRY(rlx_emit_map(e, n, fn, f, in, &x[c]));
        x[c + apart] = NULL;
    }
    return RLX_OK;
}

rlx_status rlx_emit_reduce_rows(rlx_emit *e, const rlx_ir_node *n, rlx_emit_tile *out)
{
    const rlx_matrix_unit *u = e->matrix;
    const rlx_ir_type *from = &n->in[0]->type;
    const rlx_emit_tile *in = rlx_emit_get(e, n->in[0]);
    for (int r = 0; r < out->n; r++) {
        LLVMValueRef x[MOST_COLUMNS] = {NULL};
        for (int p = 0; p < in->n; p++)
            if (rows_part(e, from, p) == r)
                x[p / u->sums % (from->dim[1] / u->n) * u->n +
                  rlx_matrix_offset(&u->column, p % u->sums)] = in->part[p];
        for (int64_t apart = from->dim[1] / 2; apart > 0; apart /= 2)
            RLX_TRY(combine(e, n, apart, x));
        out->part[r] = x[0];
    }
    return RLX_OK;
}
