#include "tests/lower/engines.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "tests/jit/subject.h"
#include "tests/lower/emit_spirv.h"
#include "tests/lower/tape_runner.h"

uint64_t engines_pick(engines *w, uint64_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (w->seed >> 33) % n;
}

void engines_must(rlx_status s, const engines *w)
{
    if (s)
        ck_abort_msg("%s\n%s", rlx_status_text(s), w->text.data);
}

/* ---- tensors */

rlx_eval_tensor *engines_find(void *user, rlx_role role, const char *symbol)
{
    engines *w = user;
    (void)role;
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->tensor[i].name, symbol) == 0)
            return &w->tensor[i];
    return NULL;
}

void engines_make_tensors(engines *w, const rlx_ir_module *m)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        if (engines_find(w, f->arg_info[i].role, f->arg_info[i].symbol))
            continue;
        rlx_eval_tensor *x = &w->tensor[w->n++];
        *x = (rlx_eval_tensor){.name = f->arg_info[i].symbol, .format = t->format, .rank = t->rank};
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++)
            elems *= x->dim[d] = rlx_dim_eval(m->dims, t->dim[d], w->symbols);
        x->data = malloc(rlx_format_bytes(t->format, elems) + 1);
        if (rlx_format_get(t->format)->kind == RLX_KIND_BLOCK)
            rlx_format_make_blocks(t->format, x->data, elems, w->seed += 1);
        else
            for (int64_t e = 0; e < elems; e++)
                rlx_format_store(t->format, x->data, e, (double)engines_pick(w, 20001) / 1e4 - 1);
    }
}

void engines_deinit(engines *w)
{
    for (int i = 0; i < w->n; i++)
        free(w->tensor[i].data);
    rlx_text_deinit(&w->text);
}

/* ---- engines */

/* For tape_run: machine code, on two teams in turn. */
static rlx_status run_code(void *user, const rlx_ir_func *kernel, const rlx_lir_buffer *buffers,
                           int n)
{
    engines *w = user;
    loaded code = {0};
    memory m = {.n = n};
    RLX_TRY(w->uncut ? loaded_create_uncut(kernel, &w->code, &code)
                     : loaded_create(kernel, &w->code, &code));
    w->parts += code.parts;
    for (int i = 0; i < n; i++) {
        m.buffer[i].data = buffers[i].data;
        m.buffer[i].bytes = buffers[i].bytes;
    }
    loaded_run(&code, &m, w->symbols, 2);
    loaded_destroy(&code);
    return RLX_OK;
}

void engines_compare(engines *w, const rlx_ir_module *lir, const rlx_eval_tensor *want, int n,
                     bool code)
{
    rlx_lir_plan_report report;
    engines_must(rlx_lir_check_plan(lir, "main", w->symbols, &report), w);
    rlx_eval_env env = {.find = engines_find, .user = w, .symbols = w->symbols};
    tape_run r = {.module = lir,
                  .env = &env,
                  .arena_bytes = (size_t)report.arena_bytes,
                  .options = {.teams = 3,
                              .seed = w->seed,
                              .team = w->subgroup ? w->team : 0,
                              .subgroup = w->subgroup},
                  .launch = code ? run_code : NULL,
                  .user = w};
    r.arena = aligned_alloc(64, (r.arena_bytes + 63) / 64 * 64 + 64);
    rlx_eval_tensor got[ENGINES_MAX_RESULTS];
    size_t bytes[ENGINES_MAX_RESULTS];
    for (int i = 0; i < n; i++) {
        got[i] = want[i];
        bytes[i] = sizeof(float);
        for (int d = 0; d < want[i].rank; d++)
            bytes[i] *= (size_t)want[i].dim[d];
        got[i].data = malloc(bytes[i] + 1);
    }
    engines_must(tape_run_entry(&r, "main", got, n), w);
    for (int i = 0; i < n; i++) {
        const float *a = want[i].data, *b = got[i].data;
        for (size_t e = 0; e < bytes[i] / 4; e++)
            ck_assert_msg(memcmp(&a[e], &b[e], 4) == 0 || (isnan(a[e]) && isnan(b[e])),
                          "result %d element %zu: mir %.9g, %s %.9g\n%s", i, e, (double)a[e],
                          code ? "code" : "lir", (double)b[e], w->text.data);
        free(got[i].data);
    }
    free(r.arena);
}

void engines_compare_gpu(engines *w, const rlx_ir_module *mir, const int64_t *upper,
                         const rlx_eval_tensor *want, int n)
{
    const rlx_jit_target t = {.kind = RLX_JIT_SPIRV,
                              .features = RLX_VULKAN_ALL,
                              .team = 32 << engines_pick(w, 3),
                              .team_bytes = (16 << 10) << engines_pick(w, 2)};
    rlx_lir_target target;
    rlx_ir_module *lir;
    engines_must(rlx_jit_lir_target(&t, &target), w);
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), w);
    w->team = t.team;
    for (int lanes = 8; lanes <= 64; lanes *= 2)
        if (t.team % lanes == 0 && (lanes == 8 || engines_pick(w, 3) == 0)) {
            w->subgroup = lanes;
            engines_compare(w, lir, want, n, false);
        }
    w->subgroup = 0;
    engines_must(emit_spirv(lir, t.team, t.team_bytes), w);
    rlx_ir_module_destroy(lir);
}

rlx_lir_target engines_target(engines *w, bool wide)
{
    const int threads = 1 + (int)engines_pick(w, 4);
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = wide ? 16 : 8,
                            .vector_regs = wide ? 32 : 16,
                            .team = 1,
                            .threads = threads,
                            .l1_bytes = 512 << engines_pick(w, 7),
                            .l2_bytes = 4096 << engines_pick(w, 8),
                            .team_bytes = 2048 << engines_pick(w, 8),
                            .byte_tiles = wide && (w->code.features >> RLX_CPU_AMXINT8 & 1),
                            .raised_bytes = threads % 2};
}
