/* tests/lower/attention_world.c: see attention_world.h. */
#include "tests/lower/attention_world.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t attention_pick(attention_world *w, int64_t n)
{
    return (int64_t)engines_pick(&w->e, (uint64_t)n);
}

/* ---- modules ---- */

static const char *const formats[] = {"f32", "f16", "bf16", "i8"};

static void put_mask(attention_world *w, rlx_text *t)
{
    const int64_t span = 1 + attention_pick(w, 3 * w->positions);
    switch (attention_pick(w, 5)) {
    case 0:
        rlx_text_putf(t, ", window=%lld", (long long)span);
        break;
    case 1:
        rlx_text_putf(t, ", chunk=%lld", (long long)span);
        break;
    case 2:
        rlx_text_putf(t, ", block=%d", 4 << attention_pick(w, 2));
        break;
    default:
        break;
    }
    if (attention_pick(w, 4) == 0)
        rlx_text_put(t, ", softcap=1.5");
}

void attention_make_text(attention_world *w)
{
    const int64_t first = w->chunks ? 1 : 0, some = (w->width % 32 == 0 ? 4 : 3) - first;
    const char *k = formats[first + attention_pick(w, some)],
               *v = formats[first + attention_pick(w, some)];
    const long long g = w->heads, d = w->width, p = w->positions, h = w->heads * w->ratio;
    const bool ks = strcmp(k, "i8") == 0, vs = strcmp(v, "i8") == 0,
               sinks = attention_pick(w, 4) == 0;
    rlx_text *t = &w->e.text;
    rlx_text_putf(t, "mir module @m {\n  func @main(%%q: f32[T,%lld,%lld] input \"q\", ", h, d);
    rlx_text_putf(
        t, "%%k: %s[PAGES,%lld,%lld,%lld] state \"k\", %%v: %s[PAGES,%lld,%lld,%lld] state \"v\", ",
        k, g, d, p, v, g, p, d);
    rlx_text_put(t, "%pos: i32[T] input \"pos\", %seq: i32[T] input \"seq\", %table: "
                    "i32[SEQS,SLOTS] input \"table\"");
    if (ks)
        rlx_text_putf(t, ", %%ks: f16[PAGES,%lld,%lld,%lld] state \"ks\"", g, d / 32, p);
    if (vs)
        rlx_text_putf(t, ", %%vs: f16[PAGES,%lld,%lld,%lld] state \"vs\"", g, p, d / 32);
    if (sinks)
        rlx_text_putf(t, ", %%sinks: f32[%lld] weight \"sinks\"", h);
    rlx_text_putf(t,
                  ") -> (f32[T,%lld,%lld]) {\n    %%o = attention %%q, %%k, %%v, %%pos, %%seq, "
                  "%%table%s%s%s {scale=0.3",
                  h, d, ks ? ", %ks" : "", vs ? ", %vs" : "", sinks ? ", %sinks" : "");
    put_mask(w, t);
    if (w->chunks)
        rlx_text_putf(t, ", width=%lld", (long long)w->chunks);
    rlx_text_putf(t, "%s} : f32[T,%lld,%lld]\n    return %%o\n  }\n}\n", sinks ? ", sinks=1" : "",
                  h, d);
    ck_assert(!t->oom);
}

/* ---- tensors ---- */

static int64_t elements(const rlx_eval_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

/* Tokens of several sequences: runs of neighbours, or any order. */
static void place_tokens(attention_world *w)
{
    int32_t *pos = engines_find(&w->e, 0, "pos")->data, *seq = engines_find(&w->e, 0, "seq")->data,
            *table = engines_find(&w->e, 0, "table")->data;
    const int64_t room = SLOTS * w->positions - w->tokens;
    for (int s = 0; s < SEQS; s++)
        w->length[s] = (int32_t)attention_pick(w, room);
    for (int64_t t = 0, s = 0; t < w->tokens; t++) {
        if (!w->one && attention_pick(w, 9) == 0)
            s = attention_pick(w, SEQS);
        seq[t] = (int32_t)s;
        pos[t] = w->length[s]++;
    }
    for (int64_t i = w->tokens - 1; i > 0 && w->e.seed % 4 == 0; i--) {
        const int64_t j = attention_pick(w, i + 1);
        const int32_t p = pos[i], s = seq[i];
        pos[i] = pos[j];
        pos[j] = p;
        seq[i] = seq[j];
        seq[j] = s;
    }
    for (int32_t i = 0; i < PAGES; i++)
        table[i] = PAGES - 1 - i;
}

/* What lies behind a sequence's end was another's: of floats also what is none. Positions of x are its
 * axis `axis`, of [PAGES,heads,..,..]. */
static void spoil(attention_world *w, const char *name, int axis)
{
    rlx_eval_tensor *x = engines_find(&w->e, 0, name);
    if (!x || !rlx_format_is_float(x->format))
        return;
    const int64_t rows = x->dim[2], columns = x->dim[3], page = w->heads * rows * columns;
    for (int s = 0; s < SEQS; s++) {
        const int64_t slot = w->length[s] / w->positions, first = w->length[s] % w->positions;
        if (slot == SLOTS)
            continue;
        const int64_t at = (PAGES - 1 - (s * SLOTS + slot)) * page;
        for (int64_t i = 0; i < page; i++) {
            const int64_t j = axis == 2 ? i / columns % rows : i % columns;
            if (j >= first)
                rlx_format_store(x->format, x->data, at + i, j % 2 ? INFINITY : NAN);
        }
    }
}

static void make_tensors(attention_world *w, const rlx_ir_module *m)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        rlx_eval_tensor *x = &w->e.tensor[w->e.n++];
        *x = (rlx_eval_tensor){.name = f->arg_info[i].symbol, .format = t->format, .rank = t->rank};
        for (int d = 0; d < t->rank; d++)
            x->dim[d] = rlx_dim_eval(m->dims, t->dim[d], w->e.symbols);
        x->data = malloc(rlx_format_bytes(t->format, elements(x)) + 1);
        for (int64_t e = 0; e < elements(x); e++)
            rlx_format_store(t->format, x->data, e,
                             t->format == RLX_I8 ? (double)attention_pick(w, 255) - 127
                                                 : (double)attention_pick(w, 20001) / 5e3 - 2);
    }
    place_tokens(w);
    spoil(w, "k", 3);
    spoil(w, "ks", 3);
    spoil(w, "v", 2);
    spoil(w, "vs", 2);
}

rlx_ir_module *attention_open(attention_world *w, rlx_dims *dims, rlx_eval_tensor *want)
{
    rlx_ir_module *mir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "attention", w->e.text.data, &mir), &w->e);
    const struct {
        const char *name;
        int64_t value;
    } symbols[] = {{"T", w->tokens}, {"PAGES", PAGES}, {"SEQS", SEQS}, {"SLOTS", SLOTS}};
    for (int i = 0; i < 4; i++)
        w->e.symbols[rlx_dim_symbol_index(dims, symbols[i].name)] = symbols[i].value;
    make_tensors(w, mir);
    engines_must(rlx_mir_optimize(mir), &w->e);
    rlx_eval_env env = {.find = engines_find, .user = &w->e, .symbols = w->e.symbols};
    engines_must(rlx_mir_eval(mir, "main", &env, want, 1), &w->e);
    return mir;
}
