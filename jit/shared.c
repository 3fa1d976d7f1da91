#include "jit/shared.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    rlx_hash key;
    bool given;
    int64_t last; /* number of the last that had come when it was given */
    rlx_text code;
    struct entry *next;
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static entry *entries;          /* of what is compiled now: some tens */
static rlx_jit_sharer *sharers; /* between enter and leave, the last to come first */
static int64_t came;

static entry **find(const rlx_hash *key)
{
    entry **at = &entries;
    while (*at && memcmp(&(*at)->key, key, sizeof *key) != 0)
        at = &(*at)->next;
    return at;
}

static void drop(entry **at)
{
    entry *e = *at;
    *at = e->next;
    rlx_text_deinit(&e->code);
    free(e);
}

void rlx_jit_shared_enter(rlx_jit_sharer *s)
{
    pthread_mutex_lock(&lock);
    *s = (rlx_jit_sharer){.number = ++came, .next = sharers};
    sharers = s;
    pthread_mutex_unlock(&lock);
}

/* Those who come later find code too, but do not make it stay: programs that overlap without end
 * would keep everything. */
void rlx_jit_shared_leave(rlx_jit_sharer *s)
{
    int64_t first = INT64_MAX; /* of those who are left */
    pthread_mutex_lock(&lock);
    rlx_jit_sharer **at = &sharers;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    for (const rlx_jit_sharer *left = sharers; left; left = left->next)
        first = left->number;
    for (entry **e = &entries; *e;)
        if ((*e)->given && (*e)->last < first)
            drop(e);
        else
            e = &(*e)->next;
    pthread_mutex_unlock(&lock);
}

rlx_jit_claim rlx_jit_shared_claim(const rlx_hash *key, bool wait, rlx_text *code)
{
    rlx_jit_claim claim = RLX_JIT_MINE;
    pthread_mutex_lock(&lock);
    entry *e = *find(key);
    while (wait && e && !e->given) {
        pthread_cond_wait(&changed, &lock);
        e = *find(key);
    }
    if (e && e->given) {
        rlx_text_put_bytes(code, e->code.data, e->code.len);
        claim = RLX_JIT_COPY;
    } else if (e) {
        claim = RLX_JIT_BUSY;
    } else if ((e = calloc(1, sizeof *e))) { /* else it is compiled, and nobody hears of it */
        *e = (entry){.key = *key, .next = entries};
        entries = e;
    }
    pthread_mutex_unlock(&lock);
    return claim;
}

void rlx_jit_shared_give(const rlx_hash *key, const rlx_text *code)
{
    pthread_mutex_lock(&lock);
    entry **at = find(key), *e = *at;
    if (e && !e->given) {
        if (code)
            rlx_text_put_bytes(&e->code, code->data, code->len);
        e->given = code && !e->code.oom;
        e->last = came;
        if (!e->given)
            drop(at);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
