/* jit/host_team.h: running a GPU's way of emitting on the host; for tests. */
#ifndef RLX_JIT_HOST_TEAM_H
#define RLX_JIT_HOST_TEAM_H

#include <stdint.h>

/* What a kernel that was compiled for a CPU target with `team` > 1 gets as its memory: one per
 * invocation of the team. All of a team's invocations must reach every barrier. */
typedef struct rlx_host_invocation {
    int32_t thread;    /* 0..team-1 */
    void *team_memory; /* 48 KiB, aligned to 64, shared by the team */
    void (*barrier)(struct rlx_host_invocation *self);
    /* What invocation `from`, of the same subgroup, calls it with as x at the same time. */
    int32_t (*take)(struct rlx_host_invocation *self, int32_t x, int32_t from);
    /* Of a step in one launch (llvm_step.c), whose teams run beside each other; one invocation of each calls them. One more has come;
     * and how many have, now: it is called until there are enough. */
    void (*arrive)(struct rlx_host_invocation *self, uint32_t *counter);
    uint32_t (*look)(struct rlx_host_invocation *self, const uint32_t *counter);
} rlx_host_invocation;

#endif
