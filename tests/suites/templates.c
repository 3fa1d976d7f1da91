/* tests/suites/templates.c: every *.jinja of a folder, rendered for every context (the JSON files
 * of `contexts`, in the folder or beside it), is what Jinja2 made of the two, byte for byte, or
 * fails as it did. What that is, says goldens/TEMPLATE-CONTEXT.txt, or tests/jinja/templates.tsv,
 * or, for a folder that is in neither, tests/jinja/reference.py, where there is a Python with
 * Jinja2. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/base/hash.h"
#include "runtime/base/text.h"
#include "tests/suites/suites.h"

#define JINJA RLX_SOURCE_DIR "/tests/jinja/"

enum { NOW = 1700000000 }; /* as in reference.py, in UTC */

typedef struct folder {
    conformance *c;
    const char *dir;
    char contexts[PATH_CHARS];
    char *table, *asked; /* lines of templates.tsv, and what Python said; NULL: not there */
    bool has_asked;
} folder;

typedef struct file {
    char path[PATH_CHARS], name[PATH_CHARS]; /* the name without its ending */
    char *data;
    size_t bytes;
} file;

/* What one case gave. */
typedef struct rendering {
    char *text; /* NULL: it failed, with this: */
    size_t bytes;
    rlx_status failed;
} rendering;

static bool open_file(folder *f, const char *dir, const char *name, file *out)
{
    snprintf(out->path, sizeof out->path, "%s/%s", dir, name);
    snprintf(out->name, sizeof out->name, "%.*s", (int)(strrchr(name, '.') - name), name);
    return !case_broke(f->c, out->path, rlx_file_read(out->path, &out->data, &out->bytes));
}

/* ---- what is wanted */

/* The line of a table that begins with the key, behind it; NULL: none. */
static const char *find_line(const char *table, const char *key)
{
    const char *at = table ? strstr(table, key) : NULL;
    return at && (at == table || at[-1] == '\n') ? at + strlen(key) + 1 : NULL;
}

static void ask_python(folder *f)
{
    program p;
    f->has_asked = true;
    const char *const argv[] = {"/usr/bin/env", "python3", JINJA "reference.py",
                                "templates",    f->dir,    NULL};
    if (program_run(argv, &p) && p.code == 0) {
        f->asked = p.out;
        p.out = NULL;
    }
    program_deinit(&p);
}

/* "BYTES\tHASH\t...", or "error\tMESSAGE\t..."; NULL: nobody knows. */
static const char *find_wanted(folder *f, const file *template, const file *context)
{
    char key[65];
    rlx_hasher h;
    rlx_hasher_init(&h);
    rlx_hasher_add(&h, template->data, template->bytes);
    rlx_hasher_add(&h, context->data, context->bytes);
    rlx_hash_hex(rlx_hasher_finish(&h), key);
    const char *line = find_line(f->table, key);
    if (!line && !f->has_asked)
        ask_python(f);
    return line ? line : find_line(f->asked, key);
}

/* goldens/TEMPLATE-CONTEXT.txt; false: not there. */
static bool read_golden(const folder *f, const file *template, const file *context, char **text,
                        size_t *bytes)
{
    static const char *const places[] = {"goldens", "../goldens"};
    for (int i = 0; i < 2; i++) {
        char path[3 * PATH_CHARS];
        snprintf(path, sizeof path, "%s/%s/%s-%s.txt", f->dir, places[i], template->name,
                 context->name);
        rlx_status st = rlx_file_read(path, text, bytes);
        if (!st)
            return true;
        rlx_status_free(st);
    }
    return false;
}

/* ---- cases */

static void render(const file *template, const file *context, rendering *r)
{
    const rlx_template_options options = {.now = NOW};
    rlx_template *t;
    *r = (rendering){0};
    r->failed = rlx_template_parse(template->name, template->data, template->bytes, &t);
    if (!r->failed)
        r->failed = rlx_template_render(t, context->data, &options, &r->text, &r->bytes);
    rlx_template_destroy(t);
}

static void check_text(folder *f, const char *where, const rendering *r, const char *line)
{
    char hash[65];
    rlx_hash_hex(rlx_hash_bytes(r->text, r->bytes), hash);
    char *end;
    size_t bytes = strtoull(line, &end, 10);
    if (!strncmp(line, "error\t", 6))
        case_failed(f->c, where, "rendered, where Jinja2 fails: %.*s",
                    (int)strcspn(line + 6, "\t\n"), line + 6);
    else if (bytes != r->bytes || strncmp(end + 1, hash, 64) != 0)
        case_failed(f->c, where, "%zu bytes, of another hash than Jinja2's %zu: %.200s", r->bytes,
                    bytes, r->text);
    else
        case_passed(f->c);
}

static void check_failure(folder *f, const char *where, const rendering *r, const char *line)
{
    if (strncmp(line, "error\t", 6) != 0)
        case_failed(f->c, where, "%s", rlx_status_message(r->failed));
    else
        case_passed(f->c);
}

static void check_golden(folder *f, const char *where, const rendering *r, const char *want,
                         size_t bytes)
{
    size_t at = 0;
    while (r->text && at < bytes && at < r->bytes && want[at] == r->text[at])
        at++;
    if (r->failed)
        case_failed(f->c, where, "%s", rlx_status_message(r->failed));
    else if (at < bytes || at < r->bytes)
        case_failed(f->c, where, "at byte %zu: \"%.40s\", not \"%.40s\"", at, r->text + at,
                    want + at);
    else
        case_passed(f->c);
}

static void run_case(folder *f, const file *template, const file *context)
{
    char where[2 * PATH_CHARS + 4], *golden;
    size_t bytes;
    rendering r;
    snprintf(where, sizeof where, "%s, %s", template->path, context->name);
    render(template, context, &r);
    if (read_golden(f, template, context, &golden, &bytes)) {
        check_golden(f, where, &r, golden, bytes);
        free(golden);
    } else {
        const char *line = find_wanted(f, template, context);
        if (!line)
            case_skipped(f->c, where, "nothing says what Jinja2 makes of it: %s",
                         r.failed ? rlx_status_message(r.failed) : "it renders");
        else if (r.failed)
            check_failure(f, where, &r, line);
        else
            check_text(f, where, &r, line);
    }
    rlx_status_free(r.failed);
    free(r.text);
}

/* ---- folders */

static int is_template(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');
    return dot && !strcmp(dot, ".jinja");
}

static int is_context(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');
    return dot && !strcmp(dot, ".json");
}

static void run_template(folder *f, const char *name, struct dirent **contexts, int n)
{
    static file template, context;
    if (open_file(f, f->dir, name, &template))
        for (int i = 0; i < n; i++)
            if (open_file(f, f->contexts, contexts[i]->d_name, &context)) {
                run_case(f, &template, &context);
                free(context.data);
                context.data = NULL;
            }
    free(template.data);
    template.data = NULL;
}

void templates_run(conformance *c, const char *dir)
{
    static folder f;
    struct dirent **templates, **contexts = NULL;
    size_t bytes;
    f = (folder){.c = c, .dir = dir};
    int n = scandir(dir, &templates, is_template, alphasort), m = -1;
    for (int i = 0; i < 2 && m <= 0 && n > 0; i++) {
        snprintf(f.contexts, sizeof f.contexts, i ? "%s/../contexts" : "%s/contexts", dir);
        m = scandir(f.contexts, &contexts, is_context, alphasort);
    }
    setenv("TZ", "UTC", 1);
    tzset();
    if (n > 0 && m <= 0)
        case_failed(c, dir, "no contexts/*.json in it or beside it");
    else if (n > 0 && !case_broke(c, dir, rlx_file_read(JINJA "templates.tsv", &f.table, &bytes)))
        for (int i = 0; i < n; i++)
            run_template(&f, templates[i]->d_name, contexts, m);
    for (int i = 0; i < m; i++)
        free(contexts[i]);
    for (int i = 0; i < n; i++)
        free(templates[i]);
    if (m >= 0)
        free(contexts);
    if (n >= 0)
        free(templates);
    free(f.table);
    free(f.asked);
}
