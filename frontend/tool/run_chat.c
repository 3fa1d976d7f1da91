/* frontend/tool/run_chat.c: conversations. Each turn is rendered whole by the template; of its ids
 * the session keeps what it has in common with what was before, and computes the rest.
 *
 *   line of stdin --> messages --template--> prompt --encode--> ids --rewind, generate--> answer
 * --> messages
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/tool/run.h"

typedef struct conversation {
    runner *r;
    FILE *messages; /* the JSON list, without its end: written to .. */
    char *json;     /* .. this */
    size_t bytes;
    int count;
    int64_t lines; /* of stdin that were read */
    int32_t *ids;  /* of the last prompt and its answer */
    int64_t nids, cap_ids;
    bool short_of_memory;
} conversation;

/* ---- texts */

/* How many bytes the character at s has; 0: it is none, or NUL. */
static size_t character(const unsigned char *s, size_t n)
{
    const unsigned char c = s[0];
    const size_t bytes = c < 0x80 ? c != 0 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c > 0xf4 || bytes > n)
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    const bool bad = (c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] >= 0xa0) ||
                     (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] >= 0x90);
    return bad ? 0 : bytes;
}

/* -1, or the exit code after the complaint that `name` is no text. */
static int check_text(const char *name, const char *text, size_t bytes)
{
    size_t at = 0;
    for (size_t n = 1; n && at < bytes; at += n)
        n = character((const unsigned char *)text + at, bytes - at);
    if (at == bytes)
        return -1;
    return failure("run: %s: byte %zu is %s", name, at, text[at] ? "not UTF-8" : "NUL");
}

/* ---- messages */

static void begin_message(conversation *c)
{
    fputs(c->count++ ? ", " : "[", c->messages);
}

static void add_message(conversation *c, const char *role, const char *content)
{
    begin_message(c);
    fputs("{\"role\": ", c->messages);
    write_json_text(c->messages, role);
    fputs(", \"content\": ", c->messages);
    write_json_text(c->messages, content);
    fputs("}", c->messages);
}

/* A line of stdin: a text, or, with --json, a JSON string or a message. -1, or the exit code of a
 * complaint. */
static int add_line(conversation *c, const char *line)
{
    if (!c->r->options->json) {
        add_message(c, "user", line);
    } else if (*line == '{') {
        begin_message(c);
        fputs(line, c->messages);
    } else if (*line == '"') {
        begin_message(c);
        fprintf(c->messages, "{\"role\": \"user\", \"content\": %s}", line);
    } else {
        return failure("run: --json: a line of stdin is neither a JSON string nor an object: %.60s",
                       line);
    }
    return -1;
}

static rlx_status render(conversation *c, char **prompt)
{
    char *list = NULL;
    *prompt = NULL;
    if (fflush(c->messages) || asprintf(&list, "%s]", c->json) < 0) {
        c->short_of_memory = true;
        return RLX_OK;
    }
    rlx_status st = rlx_chat_render(c->r->chat, &(rlx_chat_options){.messages = list}, prompt);
    free(list);
    return st;
}

/* ---- what the session holds */

static void keep_id(void *user, int32_t id)
{
    conversation *c = user;
    if (c->nids == c->cap_ids) {
        int64_t cap = c->cap_ids ? 2 * c->cap_ids : 1024;
        int32_t *grown = realloc(c->ids, (size_t)cap * sizeof *grown);
        if (!grown) {
            c->short_of_memory = true;
            return;
        }
        c->ids = grown;
        c->cap_ids = cap;
    }
    c->ids[c->nids++] = id;
}

/* Goes back to what the ids have in common with what the session holds: *kept of them; one at least
 * is left to compute, and a session that cannot go back begins again. */
static rlx_status rewind_to(conversation *c, const int32_t *ids, int64_t n, int64_t *kept)
{
    rlx_session *s = c->r->session;
    int64_t most = rlx_session_past(s, 0), same = 0;
    most = most < c->nids ? most : c->nids;
    most = most < n - 1 ? most : n - 1;
    while (same < most && ids[same] == c->ids[same])
        same++;
    *kept = same;
    rlx_status st = rlx_session_rewind(s, 0, same);
    rlx_code code = rlx_status_code(st);
    if (code != RLX_EXHAUSTED && code != RLX_UNSUPPORTED)
        return st;
    rlx_status_free(st);
    *kept = 0;
    return rlx_session_rewind(s, 0, 0);
}

/* ---- a turn */

static rlx_status generate(conversation *c, const int32_t *ids, int64_t n, text_out *out,
                           rlx_generate_stats *stats, int64_t *kept)
{
    rlx_status st = rewind_to(c, ids, n, kept);
    if (st)
        return st;
    rlx_generate_options g = {
        .ids = ids + *kept, .nids = n - *kept, .on_token = keep_id, .on_token_user = c};
    run_fill(c->r, &g);
    c->nids = 0;
    for (int64_t i = 0; i < n; i++)
        keep_id(c, ids[i]);
    return run_generate(c->r, &g, out, stats);
}

static int print_answer(conversation *c, text_out *out, const char *text,
                        const rlx_generate_stats *stats, int64_t kept)
{
    if (c->r->options->json)
        run_print_json(c->r, "assistant", text, stats, kept);
    else
        run_end_text(out);
    if (out->error)
        return failure("writing the answer: %s", strerror(out->error));
    return c->short_of_memory ? failure("run: out of memory") : -1;
}

/* The answer to what was said so far. -1, or the exit code of a complaint. */
static int answer(conversation *c)
{
    char *prompt, *text = NULL;
    int32_t *ids = NULL;
    int64_t n = 0, kept = 0;
    size_t bytes;
    rlx_generate_stats stats;
    text_out out = {.quiet = c->r->options->json, .kept = open_memstream(&text, &bytes)};
    rlx_status st = render(c, &prompt);
    if (!st && prompt)
        st = rlx_model_encode(c->r->model, prompt, false, &ids, &n);
    c->short_of_memory |= !out.kept || (!st && !prompt);
    int code = -1;
    if (!st && !c->short_of_memory && !n)
        code = failure("run: the chat template made an empty prompt");
    if (!st && !c->short_of_memory && n)
        st = generate(c, ids, n, &out, &stats, &kept);
    if (out.kept && fclose(out.kept))
        c->short_of_memory = true;
    if (st)
        fflush(stdout);
    if (st)
        code = report(st);
    else if (code < 0)
        code = c->short_of_memory ? failure("run: out of memory")
                                  : print_answer(c, &out, text, &stats, kept);
    if (code < 0)
        add_message(c, "assistant", text);
    free(prompt);
    free(ids);
    free(text);
    return code;
}

/* ---- the loop */

static bool is_person(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

/* The next line that says something, without its end: its bytes; -1: there is none. */
static ssize_t read_line(conversation *c, char **line, size_t *cap)
{
    for (;;) {
        if (is_person())
            fputs("> ", stderr);
        ssize_t n = getline(line, cap, stdin);
        if (n < 0)
            return -1;
        c->lines++;
        while (n && ((*line)[n - 1] == '\n' || (*line)[n - 1] == '\r'))
            (*line)[--n] = 0;
        if (n)
            return n;
    }
}

/* -1, or the exit code of a complaint. A person sees it and says something else. */
static int take_line(conversation *c, const char *line, size_t bytes)
{
    char name[64];
    snprintf(name, sizeof name, "line %lld of stdin", (long long)c->lines);
    int code = check_text(name, line, bytes);
    if (code >= 0)
        return is_person() ? -1 : code;
    code = add_line(c, line);
    return code < 0 ? answer(c) : code;
}

static int converse(conversation *c, const char *prompt)
{
    const run_options *o = c->r->options;
    char *line = NULL;
    size_t cap = 0;
    ssize_t bytes;
    int code = o->system ? check_text("--system", o->system, strlen(o->system)) : -1;
    if (code < 0 && prompt)
        code = check_text("the prompt", prompt, strlen(prompt));
    if (code < 0 && o->system)
        add_message(c, "system", o->system);
    if (code < 0 && prompt) {
        add_message(c, "user", prompt);
        code = answer(c);
    }
    bool more = !prompt || o->chat;
    while (code < 0 && more && !run_interrupted() && (bytes = read_line(c, &line, &cap)) >= 0)
        code = take_line(c, line, (size_t)bytes);
    if (code < 0 && more && !run_interrupted() && ferror(stdin))
        code = failure("reading stdin: %s", strerror(errno));
    free(line);
    return code;
}

int run_chat(runner *r, const char *prompt)
{
    conversation c = {.r = r};
    c.messages = open_memstream(&c.json, &c.bytes);
    if (!c.messages)
        return failure("run: out of memory");
    int code = converse(&c, prompt);
    fclose(c.messages);
    free(c.json);
    free(c.ids);
    return code < 0 ? run_finish(r, 0) : code;
}
