#include "tests/vulkan/trials.h"

#include <stdio.h>

#include "runtime/executable.h"

void trial_init(trial *t, int64_t length, const char *file)
{
    float out[HIDDEN];
    *t = (trial){.s = layers_make_session(&gpu, 3), .length = length, .file = file};
    EXPECT_OK(rlx_program_encode(rlx_executable_program(gpu.e), &t->entry));
    layers_say(t->s, gpu.e, 1, 0, 0, length, out);
    EXPECT_OK(trial_fork(t));
    EXPECT_OK(trial_write(t));
    EXPECT_OK(trial_read(t));
}

void trial_deinit(trial *t)
{
    rlx_session_destroy(t->s);
    rlx_text_deinit(&t->entry);
    remove(t->file);
}

rlx_status trial_load(void *user)
{
    const trial *t = user;
    rlx_weights *w;
    rlx_program *p;
    rlx_executable *e = NULL;
    layers_make_weights(&w);
    EXPECT_OK(rlx_program_decode(t->entry.data, t->entry.len, &p));
    rlx_status st = rlx_executable_create_on(gpu.cx->gpu, p, w, &e);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    return st;
}

rlx_status trial_session(void *user)
{
    const trial *t = user;
    rlx_session *s;
    const float *out;
    EXPECT_OK(rlx_session_create(
        gpu.cx, &(rlx_session_options){.max_positions = POSITIONS, .time_kernels = t->timed}, &s));
    layers_put(0, 0, 0, 0, TRIAL_TOKENS);
    rlx_status st = layers_step(s, gpu.e, TRIAL_TOKENS, &out);
    rlx_session_destroy(s);
    return st;
}

rlx_status trial_fork(void *user)
{
    const trial *t = user;
    const float *out;
    EXPECT_OK(rlx_session_rewind(t->s, 0, 0));
    EXPECT_OK(rlx_session_fork(t->s, 1, 0));
    layers_put(0, 0, 1, t->length, 1);
    return layers_step(t->s, gpu.e, 1, &out);
}

rlx_status trial_write(void *user)
{
    const trial *t = user;
    return rlx_session_write(t->s, 1, "layers", t->file);
}

rlx_status trial_read(void *user)
{
    const trial *t = user;
    EXPECT_OK(rlx_session_rewind(t->s, 2, 0));
    return rlx_session_read(t->s, 2, "layers", t->file);
}
