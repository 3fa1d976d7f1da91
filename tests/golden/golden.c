/* tests/golden/golden.c: runs every tests/golden/<level>/<name>.rlx.
 *
 * A file is one case, or several separated by a line `// ====`. A case is a head line, a module of
 * the folder's level, and, after a line `// ----`, the text that the head's action must give:
 *
 *   // cat         the module as it is printed; without `// ----` it must print as it stands
 *   // opt p1,p2   the module after these passes
 *   // lower       hir: the mir module that it lowers to;
 *                  mir: the lir module, for a CPU of eight lanes and symbols of at most 8
 *   // report      mir: the fusion report after the level's pipeline;
 *                  lir: the arena map of the last function, planned for symbols of at most 8
 *   // verify      nothing: the module must be wrong, and what is said about it stands on the line
 *                  that is to blame:   %1 = contract ...  // error: contract C2: ...
 *                  (for a message about no line in particular: // error-anywhere: ...)
 *
 * Every pass of an `opt` also reads its result's text back, and evaluates before and after it.
 * RLX_BLESS=1 writes what came out into the files. RLX_GOLDEN=part runs files whose path has it. */
#include <dirent.h>
#include <errno.h>

#include "hir/hir.h"
#include "tests/base/suite.h"
#include "tests/golden/diff.h"
#include "tests/lower/cpu_target.h"

#define ROOT RLX_SOURCE_DIR "/tests/golden"
enum { MAX_FILES = 512, LEAST_FILES = 20 };

/* ---- levels ---------------------------------------------------------------------------------- */

typedef struct golden_level {
    const rlx_ir_level *level;
    const rlx_pass *const *passes; /* ended by NULL */
    rlx_status (*report)(rlx_ir_module *m, rlx_text *out);
    rlx_pass_options options;
    rlx_status (*lower)(const rlx_ir_module *m, rlx_ir_module **out);
} golden_level;

static const rlx_pass *const mir_passes[] = {&rlx_mir_pass_fold_empty, &rlx_mir_pass_fold_views,
                                             &rlx_mir_pass_fuse_regions, &rlx_mir_pass_remove_dead,
                                             NULL};

static rlx_status mir_report(rlx_ir_module *m, rlx_text *out)
{
    RLX_TRY(rlx_mir_optimize(m));
    return rlx_mir_fusion_report(m, out);
}

static const rlx_pass *const lir_passes[] = {&rlx_lir_pass_expand_math, &rlx_lir_pass_plan_memory,
                                             NULL};
static const int64_t lir_upper[RLX_MAX_SYMBOLS] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
static const rlx_lir_plan_options lir_plan = {.upper = lir_upper};

static rlx_status lir_report(rlx_ir_module *m, rlx_text *out)
{
    rlx_pass_options options = {.options = &lir_plan};
    RLX_TRY(rlx_ir_run_passes(m, &rlx_lir_pass_plan_memory, 1, &options));
    return rlx_lir_print_plan(m, m->last->name, lir_upper, out);
}

static rlx_status mir_lower(const rlx_ir_module *m, rlx_ir_module **out)
{
    const rlx_lir_target target = cpu_target_of(512 << 10, 256 << 10);
    const rlx_mir_lower_options options = {.target = &target, .upper = lir_upper};
    rlx_ir_module *fused;
    RLX_TRY(rlx_ir_module_clone(m, &fused));
    rlx_status st = rlx_mir_optimize(fused);
    if (!st)
        st = rlx_mir_lower(fused, &options, out);
    rlx_ir_module_destroy(fused);
    return st;
}

static const rlx_pass *const no_passes[] = {NULL};

static const golden_level levels[] = {
    {&rlx_hir_level, no_passes, NULL, {0}, rlx_hir_lower},
    {&rlx_mir_level, mir_passes, mir_report, {.compare = rlx_mir_compare}, mir_lower},
    {&rlx_lir_level,
     lir_passes,
     lir_report,
     {.options = &lir_plan, .compare = rlx_lir_compare},
     NULL}};

/* The level that a module's first word names. */
static const golden_level *find_level(const char *text)
{
    size_t n = strcspn(text, " \n");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strlen(levels[i].level->name) == n && memcmp(levels[i].level->name, text, n) == 0)
            return &levels[i];
    return NULL;
}

/* ---- one case -------------------------------------------------------------------------------- */

typedef struct golden_case {
    const char *file;
    int line;   /* of the head */
    char *head; /* without "// " */
    char *input;
    char *want; /* NULL: no such part */
} golden_case;

/* What must be there is a failure of the test when it is not. */
static char *take(const char *from, const char *to)
{
    char *s = strndup(from, (size_t)(to - from));
    ck_assert_ptr_nonnull(s);
    return s;
}

/* Where line `line` starts in text, or NULL. */
static const char *find_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *s = text; s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL)
        if (strncmp(s, line, n) == 0 && (s[n] == '\n' || s[n] == 0))
            return s;
    return NULL;
}

static golden_case read_case(const char *file, int line, const char *text)
{
    golden_case c = {.file = file, .line = line};
    ck_assert_msg(strncmp(text, "// ", 3) == 0, "%s:%d: a case begins with // and an action", file,
                  line);
    const char *body = text + strcspn(text, "\n");
    c.head = take(text + 3, body);
    body += *body == '\n';
    const char *cut = find_line(body, "// ----");
    c.input = take(body, cut ? cut : body + strlen(body));
    if (cut)
        c.want = take(cut + strlen("// ----\n"), cut + strlen(cut));
    return c;
}

static void free_case(golden_case *c)
{
    free(c->head);
    free(c->input);
    free(c->want);
}

static rlx_status run_listed(const golden_level *l, rlx_ir_module *m, const char *names)
{
    while (*names) {
        size_t n = strcspn(names, ",");
        const rlx_pass *found = NULL;
        for (int i = 0; l->passes[i]; i++)
            if (strlen(l->passes[i]->name) == n && memcmp(l->passes[i]->name, names, n) == 0)
                found = l->passes[i];
        if (!found)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "no pass '%.*s'", (int)n, names);
        RLX_TRY(rlx_ir_run_passes(m, found, 1, &l->options));
        names += n + (names[n] == ',');
    }
    return RLX_OK;
}

static rlx_status print_lowered(const golden_level *l, const rlx_ir_module *m, rlx_text *out)
{
    rlx_ir_module *lowered;
    RLX_TRY(l->lower(m, &lowered));
    rlx_ir_print(lowered, 0, out);
    rlx_ir_module_destroy(lowered);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* What the case's action makes of its module, as text. */
static rlx_status act(const golden_case *c, const golden_level *l, rlx_ir_module *m, rlx_text *out)
{
    if (strcmp(c->head, "report") == 0 && l->report)
        return l->report(m, out);
    if (strcmp(c->head, "lower") == 0 && l->lower)
        return print_lowered(l, m, out);
    if (strncmp(c->head, "opt ", 4) == 0)
        RLX_TRY(run_listed(l, m, c->head + 4));
    else if (strcmp(c->head, "cat") != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "no action '%s' for %s", c->head, l->level->name);
    rlx_ir_print(m, 0, out);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* ---- wrong modules --------------------------------------------------------------------------- */

/* Takes the expected message out of `input`, which becomes what is parsed: an error comment that
 * stands alone on its line becomes the place `here`. Returns the line that it stood on, 0 for none.
 */
static int take_message(char *input, const char *mark, char **message)
{
    char *at = strstr(input, mark);
    *message = NULL;
    if (!at)
        return 0;
    char *end = at + strcspn(at, "\n");
    *message = take(at + strlen(mark), end);
    int line = 1;
    char *start = input;
    for (char *s = input; s < at; s++)
        if (*s == '\n') {
            line++;
            start = s + 1;
        }
    char *place = strstr(start, "//");
    memset(at, ' ', (size_t)(end - at));
    if (place == at)
        memcpy(at, "// here", strlen("// here"));
    return line;
}

static void run_wrong(const golden_case *c, const golden_level *l, rlx_dims *dims)
{
    char *message, line_text[32] = "";
    int line = take_message(c->input, "// error: ", &message);
    if (!message)
        take_message(c->input, "// error-anywhere: ", &message);
    ck_assert_msg(message != NULL, "%s:%d: says no error", c->file, c->line);
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(l->level, dims, "text", c->input, &m);
    bool parsed = st == NULL;
    if (parsed)
        st = rlx_ir_verify(m);
    ck_assert_msg(st != NULL, "%s:%d: no error, expected: %s", c->file, c->line, message);
    char *story = rlx_status_text(st);
    ck_assert_msg(strstr(story, message) != NULL, "%s:%d: expected: %s\n  got: %s", c->file,
                  c->line, message, story);
    if (line && !parsed) {
        snprintf(line_text, sizeof line_text, "text:%d:", line);
        ck_assert_msg(strstr(story, line_text) != NULL, "%s:%d: not on line %d: %s", c->file,
                      c->line, line, story);
    }
    free(story);
    free(message);
    rlx_status_free(st);
    rlx_ir_module_destroy(m);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Runs a case. Appends it, with what came out, to `blessed`. */
static void run_case(golden_case *c, rlx_text *blessed)
{
    const golden_level *l = find_level(c->input);
    ck_assert_msg(l != NULL, "%s:%d: no level for this text", c->file, c->line);
    rlx_dims *dims = rlx_dims_create();
    rlx_text_putf(blessed, "// %s\n%s", c->head, c->input);
    if (strcmp(c->head, "verify") == 0) {
        run_wrong(c, l, dims);
        rlx_dims_destroy(dims);
        return;
    }
    rlx_text got = {0};
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(l->level, dims, c->file, c->input, &m);
    if (!st)
        st = rlx_ir_verify(m);
    if (!st)
        st = act(c, l, m, &got);
    assert_ok(rlx_status_note(st, __FILE__, __LINE__, "%s:%d", c->file, c->line));
    bool as_it_stands = strcmp(c->head, "cat") == 0 && !c->want;
    rlx_text diff = {0};
    diff_lines(as_it_stands ? c->input : c->want ? c->want : "", got.data, &diff);
    if (as_it_stands && diff.len)
        rlx_text_clear(blessed), rlx_text_putf(blessed, "// %s\n%s", c->head, got.data);
    else if (!as_it_stands)
        rlx_text_putf(blessed, "// ----\n%s", got.data);
    if (!getenv("RLX_BLESS"))
        ck_assert_msg(!diff.len, "%s:%d: %s\n%s(RLX_BLESS=1 RLX_GOLDEN=%s %s accepts it)", c->file,
                      c->line, c->head, diff.data, c->file,
                      RLX_BINARY_DIR "/tests/golden/test_golden");
    rlx_text_deinit(&diff);
    rlx_text_deinit(&got);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}

static char *paths[MAX_FILES];
static int npaths;

START_TEST(test_file)
{
    const char *path = paths[_i];
    char *text;
    size_t bytes;
    assert_ok(rlx_file_read(path, &text, &bytes));
    rlx_text blessed = {0};
    int line = 1;
    for (char *at = text; at;) {
        char *cut = (char *)find_line(at, "// ====");
        if (cut)
            *cut = 0;
        golden_case c = read_case(path, line, at);
        rlx_text part = {0};
        run_case(&c, &part);
        rlx_text_put(&blessed, part.data);
        rlx_text_put(&blessed, cut ? "// ====\n" : "");
        rlx_text_deinit(&part);
        free_case(&c);
        for (char *s = at; *s; s++)
            line += *s == '\n';
        line++;
        at = cut ? cut + strlen("// ====\n") : NULL;
    }
    if (getenv("RLX_BLESS")) {
        FILE *f = fopen(path, "w");
        ck_assert_msg(f && fwrite(blessed.data, 1, blessed.len, f) == blessed.len, "%s: %s", path,
                      strerror(errno));
        fclose(f);
    }
    rlx_text_deinit(&blessed);
    free(text);
}
END_TEST

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

static void find_files(const char *level)
{
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "%s/%s", ROOT, level);
    const char *only = getenv("RLX_GOLDEN");
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (has_suffix(path, ".rlx") && npaths < MAX_FILES && (!only || strstr(path, only)))
            paths[npaths++] = strdup(path);
    }
    if (d)
        closedir(d);
}

int main(void)
{
    setenv("RLX_CHECK", "text,eval", 0);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        find_files(levels[i].level->name);
    qsort(paths, (size_t)npaths, sizeof *paths, by_name);
    Suite *s = suite_create("golden");
    TCase *t = tcase_create("files");
    tcase_add_loop_test(t, test_file, 0, npaths);
    suite_add_tcase(s, t);
    int failed = run_suite(s, getenv("RLX_GOLDEN") ? 1 : LEAST_FILES);
    for (int i = 0; i < npaths; i++)
        free(paths[i]);
    return failed;
}
