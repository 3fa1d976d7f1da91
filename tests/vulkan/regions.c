#include "tests/vulkan/regions.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hir/hir.h"
#include "tests/lower/tape_runner.h"
#include "tests/runtime/suite.h"

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 11;
}

/* ---- tensors ---- */

static int64_t live(const region *r, const char *symbol)
{
    int i = rlx_dim_symbol_index(r->dims, symbol);
    return i < 0 ? 0 : r->symbols[i];
}

/* Tokens of two sequences at rising positions, on both sides of a page's end. */
static void fill_ints(region *r, const char *name, int32_t *v, int64_t n)
{
    static const int32_t table[] = {4, 1, 0, 2, 5, 3};
    int32_t next[2] = {250, 600};
    for (int64_t i = 0; i < n; i++) {
        int32_t seq = i % 3 == 1;
        if (strcmp(name, "ids") == 0)
            v[i] = (int32_t)(next_random(&r->seed) % 11);
        else if (strcmp(name, "rows") == 0)
            v[i] = (int32_t)(live(r, "TOKENS") - 1 - i);
        else if (strcmp(name, "seq") == 0)
            v[i] = seq;
        else if (strcmp(name, "pos") == 0)
            v[i] = next[seq]++;
        else
            v[i] = table[i % 6];
    }
}

static rlx_eval_tensor *find(void *user, rlx_role role, const char *name)
{
    region *r = user;
    (void)role;
    for (int i = 0; i < r->ntensors; i++)
        if (strcmp(r->tensor[i].name, name) == 0)
            return &r->tensor[i];
    return NULL;
}

static void add_tensor(region *r, const char *name, const rlx_ir_type *type)
{
    if (find(r, RLX_ROLE_VALUE, name))
        return;
    ck_assert_int_lt(r->ntensors, REGION_MAX_TENSORS);
    rlx_eval_tensor *t = &r->tensor[r->ntensors++];
    *t = (rlx_eval_tensor){.name = strdup(name), .format = type->format, .rank = type->rank};
    int64_t elems = 1;
    for (int i = 0; i < type->rank; i++)
        elems *= t->dim[i] = rlx_dim_eval(r->dims, type->dim[i], r->symbols);
    t->data = malloc(rlx_format_bytes(t->format, elems) + 1);
    if (rlx_format_get(t->format)->kind == RLX_KIND_BLOCK)
        rlx_format_make_blocks(t->format, t->data, elems, next_random(&r->seed));
    else if (t->format == RLX_I32)
        fill_ints(r, name, t->data, elems);
    else
        for (int64_t i = 0; i < elems; i++)
            rlx_format_store(t->format, t->data, i,
                             (double)(int64_t)(next_random(&r->seed) % 20001 - 10000) * 4e-5);
}

static void add_tensors(region *r, const rlx_ir_module *hir)
{
    for (const rlx_ir_func *f = hir->first; f; f = f->next) {
        for (int i = 0; i < f->body->nargs; i++) {
            const char *symbol = f->arg_info[i].symbol;
            const char *hole = symbol ? strstr(symbol, "{}") : NULL;
            for (int layer = 0; symbol && layer < (hole ? REGION_LAYERS : 1); layer++) {
                char name[128];
                if (hole)
                    snprintf(name, sizeof name, "%.*s%d%s", (int)(hole - symbol), symbol, layer,
                             hole + 2);
                else
                    snprintf(name, sizeof name, "%s", symbol);
                add_tensor(r, name, &f->body->args[i]->type);
            }
        }
    }
}

/* ---- lowering ---- */

static void bind(region *r, const char *bindings)
{
    char name[64];
    long long value;
    int used;
    while (sscanf(bindings, " %63[A-Z]=%lld%n", name, &value, &used) == 2) {
        int i = rlx_dim_symbol_index(r->dims, name);
        ck_assert_msg(i >= 0, "%s: no symbol %s", r->path, name);
        r->symbols[i] = value;
        bindings += used;
    }
}

static const region_unit *unit_of_regions; /* NULL: none */

static void set_unit(const region_unit *u, rlx_lir_target *out)
{
    out->team_bytes = 16 << 10;
    out->byte_matrix.m = u->m;
    out->byte_matrix.n = u->n;
    out->byte_matrix.k = u->k;
    out->byte_matrix.lanes = u->lanes;
    out->byte_matrix.stored = true;
}

/* The bucket is wider than what is live. */
static void lower(region *r, const rlx_ir_module *hir)
{
    rlx_lir_target target = {.unit = RLX_UNIT_GPU,
                             .vector_f32 = 1,
                             .vector_regs = 128,
                             .team = REGION_TEAM,
                             .threads = 8,
                             .l1_bytes = 64 << 10,
                             .l2_bytes = 4 << 20,
                             .team_bytes = 8 << 10};
    int64_t upper[RLX_MAX_SYMBOLS];
    rlx_ir_module *mir;
    rlx_lir_plan_report report;
    if (unit_of_regions)
        set_unit(unit_of_regions, &target);
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        upper[i] = r->symbols[i];
    upper[rlx_dim_symbol_index(r->dims, "TOKENS")] = live(r, "TOKENS") > 8 ? 128 : 8;
    EXPECT_OK(rlx_hir_lower(hir, &mir));
    EXPECT_OK(rlx_mir_choose_precision(mir, r->fast ? RLX_MIR_PREFILL : RLX_MIR_EXACT, &target));
    EXPECT_OK(rlx_mir_optimize(mir));
    rlx_mir_lower_options o = {.target = &target, .upper = upper};
    EXPECT_OK(rlx_mir_lower(mir, &o, &r->lir));
    EXPECT_OK(rlx_lir_check_plan(r->lir, "main", upper, &report));
    r->arena_bytes = report.arena_bytes;
    rlx_ir_module_destroy(mir);
}

static void visit_case(const char *path, const char *text, const char *bindings,
                       void (*visit)(void *user, const region *r), void *user)
{
    region r = {.path = path,
                .bindings = bindings,
                .exact = strstr(text, "// exact\n") != NULL,
                .fast = strstr(text, "// fast\n") != NULL,
                .seed = strlen(text)};
    rlx_ir_module *hir;
    r.dims = rlx_dims_create();
    EXPECT_OK(rlx_ir_parse(&rlx_hir_level, r.dims, path, text, &hir));
    EXPECT_OK(rlx_ir_verify(hir));
    bind(&r, bindings);
    add_tensors(&r, hir);
    lower(&r, hir);
    rlx_ir_module_destroy(hir);
    visit(user, &r);
    for (int i = 0; i < r.ntensors; i++) {
        free((char *)r.tensor[i].name);
        free(r.tensor[i].data);
    }
    rlx_ir_module_destroy(r.lir);
    rlx_dims_destroy(r.dims);
}

static int visit_file(const char *path, void (*visit)(void *user, const region *r), void *user)
{
    static const char mark[] = "// run";
    char *text;
    size_t bytes;
    int cases = 0;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    if (unit_of_regions && !strstr(text, "// fast\n"))
        text[0] = '\0';
    for (const char *line = text; strncmp(line, mark, sizeof mark - 1) == 0; cases++) {
        const char *end = strchr(line, '\n');
        char *bindings = strndup(line + sizeof mark - 1, (size_t)(end - line) - (sizeof mark - 1));
        visit_case(path, text, bindings, visit, user);
        free(bindings);
        line = end + 1;
    }
    free(text);
    return cases;
}

int regions_each(void (*visit)(void *user, const region *r), void *user)
{
    static const char dir[] = RLX_SOURCE_DIR "/tests/vulkan/regions";
    int cases = 0;
    DIR *d = opendir(dir);
    ck_assert_msg(d != NULL, "no directory %s", dir);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        size_t n = strlen(f->d_name);
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (n > 4 && strcmp(f->d_name + n - 4, ".rlx") == 0)
            cases += visit_file(path, visit, user);
    }
    closedir(d);
    return cases;
}

int regions_each_by_unit(const region_unit *unit, void (*visit)(void *user, const region *r),
                         void *user)
{
    unit_of_regions = unit;
    const int cases = regions_each(visit, user);
    unit_of_regions = NULL;
    return cases;
}

/* ---- running ---- */

typedef struct forward {
    const region *r;
    region_launch *launch;
    void *user;
} forward;

static rlx_status on_launch(void *user, const rlx_ir_func *kernel, const rlx_lir_buffer *buffers,
                            int nbuffers)
{
    const forward *f = user;
    return f->launch(f->user, f->r, kernel, buffers, nbuffers);
}

rlx_status region_run(const region *r, region_launch *launch, void *user)
{
    enum { MAX_RESULTS = 4 };
    const rlx_ir_func *main = rlx_ir_func_find(r->lir, "main");
    rlx_eval_tensor out[MAX_RESULTS];
    int n = 0;
    for (int i = 0; i < main->body->nargs; i++) {
        const rlx_ir_type *t = &main->body->args[i]->type;
        int64_t elems = 1;
        if (main->arg_info[i].role != RLX_ROLE_OUT)
            continue;
        ck_assert_int_lt(n, MAX_RESULTS);
        for (int k = 0; k < t->rank; k++)
            elems *= rlx_dim_eval(r->dims, t->dim[k], r->symbols);
        out[n++] = (rlx_eval_tensor){.data = calloc(1, rlx_format_bytes(t->format, elems))};
    }
    ck_assert_int_gt(n, 0);
    rlx_eval_env env = {.find = find, .user = (void *)r, .symbols = r->symbols};
    forward f = {.r = r, .launch = launch, .user = user};
    tape_run run = {.module = r->lir,
                    .env = &env,
                    .arena_bytes = (size_t)r->arena_bytes,
                    .launch = on_launch,
                    .user = &f};
    run.arena = aligned_alloc(64, (run.arena_bytes + 127) / 64 * 64);
    rlx_status st = tape_run_entry(&run, "main", out, n);
    for (int i = 0; i < n; i++)
        free(out[i].data);
    free(run.arena);
    return st;
}
