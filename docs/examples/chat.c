/* A conversation as a prompt:  chat MODEL [TEMPLATE.jinja [MESSAGES]]
 *
 * Prints what the chat template of a model, or one of a file in its place ("-": the model's), makes
 * of messages, a JSON list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

static const char greeting[] = "[{\"role\": \"system\", \"content\": \"You are brief.\"},"
                               " {\"role\": \"user\", \"content\": \"Hello!\"}]";

static rlx_status render(const char *model, const char *template_path, const char *messages,
                         char **prompt)
{
    const rlx_chat_options options = {.messages = messages};
    rlx_chat *chat;
    rlx_status st = rlx_chat_load(model, &chat); /* reads templates and tokens, no weights */
    if (st)
        return st;
    if (strcmp(template_path, "-") != 0)
        st = rlx_chat_use(chat, template_path);
    for (int i = 0; i < rlx_chat_count(chat) && !st; i++)
        fprintf(stderr, "template %s, %zu bytes\n", rlx_chat_name(chat, i),
                strlen(rlx_chat_template(chat, i)));
    if (!st)
        st = rlx_chat_render(chat, &options, prompt);
    rlx_chat_destroy(chat);
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: chat MODEL [TEMPLATE.jinja [MESSAGES]]\n");
        return 2;
    }
    char *prompt = NULL;
    rlx_status st =
        render(argv[1], argc > 2 ? argv[2] : "-", argc > 3 ? argv[3] : greeting, &prompt);
    if (!st) {
        puts(prompt);
        free(prompt);
        return 0;
    }
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story ? story : rlx_status_message(st));
    free(story);
    rlx_status_free(st);
    return 1;
}
