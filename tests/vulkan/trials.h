/* tests/vulkan/trials.h: what a device is used for, one thing after another, as functions whose calls into the driver are to fail in
 * turn. They run on `gpu` of layers.h, whatever kind of device it has. */
#ifndef RLX_TESTS_VULKAN_TRIALS_H
#define RLX_TESTS_VULKAN_TRIALS_H

#include "tests/vulkan/layers.h"

enum { TRIAL_TOKENS = 3 }; /* of steps from nothing */

typedef struct trial {
    rlx_session *s;   /* of three sequences; 1 holds text 0 */
    int64_t length;   /* of that */
    const char *file; /* what is saved */
    rlx_text entry;   /* the bytes of gpu.e */
    bool timed;       /* trial_session takes times of kernels */
} trial;

/* Makes the session, and does all of it once, so that what is made once is there. */
void trial_init(trial *t, int64_t length, const char *file);
/* Removes the file, too. */
void trial_deinit(trial *t);

/* Each takes a trial as `user`. */
rlx_status trial_load(void *user);    /* uploads, makes kernels */
rlx_status trial_session(void *user); /* makes states, arena and tape; runs */
rlx_status trial_fork(void *user);    /* sequence 0 is 1's, whose last page it copies to go on */
rlx_status trial_write(void *user);   /* saves sequence 1 */
rlx_status trial_read(void *user);    /* as sequence 2 */

#endif
