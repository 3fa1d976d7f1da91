/* frontend/chat.c: a conversation to a prompt, by the templates of a model. */
#include "frontend/chat.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/jinja/jinja.h"
#include "runtime/base/text.h"

/* ---- handles */

rlx_status rlx_chat_load(const char *path, rlx_chat **out)
{
    *out = NULL;
    rlx_chat *c = calloc(1, sizeof *c);
    if (!c)
        return RLX_OOM();
    c->path = strdup(path);
    rlx_status st = c->path ? rlx_chat_read(c) : RLX_OOM();
    if (st)
        rlx_chat_destroy(c);
    else
        *out = c;
    return st;
}

static void free_source(rlx_chat_source *s)
{
    free(s->name);
    free(s->where);
    free(s->text);
}

void rlx_chat_destroy(rlx_chat *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->nsources; i++)
        free_source(&c->sources[i]);
    free(c->sources);
    free(c->tokens);
    free(c->path);
    free(c);
}

static int find_source(const rlx_chat *c, const char *name)
{
    for (int i = 0; i < c->nsources; i++)
        if (!strcmp(c->sources[i].name, name))
            return i;
    return -1;
}

rlx_status rlx_chat_add(rlx_chat *c, const char *name, const char *where, const char *text,
                        size_t bytes)
{
    if (bytes && memchr(text, 0, bytes))
        return RLX_FAIL(RLX_INVALID_FILE, "%s: a chat template with a NUL in it", where);
    rlx_chat_source s = {strdup(name), strdup(where), strndup(text, bytes)};
    int at = find_source(c, name);
    rlx_chat_source *grown = c->sources;
    if (at < 0)
        grown = realloc(c->sources, (size_t)(c->nsources + 1) * sizeof *grown);
    if (grown)
        c->sources = grown;
    if (!grown || !s.name || !s.where || !s.text) {
        free_source(&s);
        return RLX_OOM();
    }
    if (at < 0)
        at = c->nsources++;
    else
        free_source(&grown[at]);
    grown[at] = s;
    return RLX_OK;
}

rlx_status rlx_chat_use(rlx_chat *c, const char *path)
{
    char *text;
    size_t bytes;
    RLX_TRY_NOTE(rlx_file_read(path, &text, &bytes), "reading the chat template");
    for (int i = 0; i < c->nsources; i++)
        free_source(&c->sources[i]);
    c->nsources = 0;
    rlx_status st = rlx_chat_add(c, "default", path, text, bytes);
    free(text);
    return st;
}

int rlx_chat_count(const rlx_chat *c)
{
    return c->nsources;
}

const char *rlx_chat_name(const rlx_chat *c, int i)
{
    return c->sources[i].name;
}

const char *rlx_chat_template(const rlx_chat *c, int i)
{
    return c->sources[i].text;
}

/* ---- rendering */

static rlx_status choose_source(const rlx_chat *c, const rlx_chat_options *o,
                                const rlx_chat_source **out)
{
    const char *name = o->which ? o->which : "default";
    if (!o->which && o->tools && find_source(c, "tool_use") >= 0)
        name = "tool_use";
    int at = find_source(c, name);
    if (at >= 0) {
        *out = &c->sources[at];
        return RLX_OK;
    }
    rlx_text names = {0};
    for (int i = 0; i < c->nsources; i++)
        rlx_text_putf(&names, "%s%s", i ? ", " : "", c->sources[i].name);
    rlx_status st = c->nsources
                        ? RLX_FAIL(RLX_NOT_FOUND, "%s: no chat template \"%s\"; there are: %s",
                                   c->path, name, names.data ? names.data : "")
                        : RLX_FAIL(RLX_NOT_FOUND, "%s comes without a chat template", c->path);
    rlx_text_deinit(&names);
    return st;
}

static rlx_jinja_names given(const char *name, const char *json)
{
    json = json ? json : "null";
    return (rlx_jinja_names){name, json, strlen(json)};
}

rlx_status rlx_chat_render(const rlx_chat *c, const rlx_chat_options *o, char **text)
{
    const rlx_chat_source *source = NULL;
    rlx_jinja_template *t = NULL;
    size_t bytes;
    *text = NULL;
    if (!o->messages)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a conversation without messages");
    RLX_TRY(choose_source(c, o, &source));
    const rlx_jinja_names names[] = {
        given(NULL, c->tokens),
        given("messages", o->messages),
        given("tools", o->tools),
        given("documents", o->documents),
        given("add_generation_prompt", o->no_generation_prompt ? "false" : "true"),
        given(NULL, o->names ? o->names : "{}"),
    };
    rlx_status st = rlx_jinja_parse(source->where, source->text, strlen(source->text), &t);
    if (!st)
        st = rlx_jinja_render(t, names, sizeof names / sizeof *names, o->now ? o->now : -1, NULL,
                              text, &bytes);
    if (!st && strlen(*text) != bytes) {
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: the prompt has a NUL at byte %zu", source->where,
                      strlen(*text));
        free(*text);
        *text = NULL;
    }
    rlx_jinja_destroy(t);
    return st;
}
