#include "runtime/run_each.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "runtime/cpu.h"

typedef struct work {
    uint32_t n;
    rlx_status (*fn)(void *user, uint32_t i);
    void *user;
    _Atomic uint32_t next; /* that nobody has taken */
    pthread_mutex_t lock;  /* of the status */
    rlx_status status;     /* the first that failed */
} work;

/* Takes what is next until there is nothing, or something failed. */
static void *run(void *user)
{
    work *w = user;
    for (uint32_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;) {
        rlx_status st = w->fn(w->user, i);
        if (!st)
            continue;
        atomic_store(&w->next, w->n);
        pthread_mutex_lock(&w->lock);
        if (w->status)
            rlx_status_free(st);
        else
            w->status = st;
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

/* The calling thread works too. */
rlx_status rlx_run_each(uint32_t n, int threads, rlx_status (*fn)(void *user, uint32_t i),
                        void *user)
{
    enum { MOST = 64 };
    pthread_t thread[MOST];
    work w = {.n = n, .fn = fn, .user = user};
    int started = 0;
    threads = threads ? threads : rlx_cpu_host()->cores;
    threads = threads < MOST ? threads : MOST;
    threads = (uint32_t)threads < n ? threads : (int)n;
    pthread_mutex_init(&w.lock, NULL);
    while (started + 1 < threads && pthread_create(&thread[started], NULL, run, &w) == 0)
        started++;
    run(&w);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&w.lock);
    return w.status;
}
