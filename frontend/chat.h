/* frontend/chat.h: what a model's files say about conversations. */
#ifndef RLX_FRONTEND_CHAT_H
#define RLX_FRONTEND_CHAT_H

#include "frontend/rlx.h"

typedef struct rlx_chat_source {
    char *name;  /* "default" */
    char *where; /* file, or metadata key, for messages */
    char *text;
} rlx_chat_source;

struct rlx_chat {
    char *path; /* MODEL */
    rlx_chat_source *sources;
    int nsources;
    char *tokens; /* JSON: {"bos_token": "<s>", ...} */
};

/* Fills sources and tokens by what MODEL's files have (chat_files.c). */
rlx_status rlx_chat_read(rlx_chat *c);
/* Appends a template; one of that name is replaced. The texts are copied. */
rlx_status rlx_chat_add(rlx_chat *c, const char *name, const char *where, const char *text,
                        size_t bytes);

#endif
