/* runtime/cgroup.h: the CPU time that the process's control groups allow. Internal to runtime/. */
#ifndef RLX_RUNTIME_CGROUP_H
#define RLX_RUNTIME_CGROUP_H

/* Whole cores of the tightest quota among the process's groups and their ancestors, v1 and v2, at
 * least 1; 0 when there is none. A fraction is rounded down: a team that spins through its quota is
 * stopped for the rest of the period.
 *   membership  the text of /proc/self/cgroup
 *   mount       where the hierarchies are mounted: "/sys/fs/cgroup" */
int rlx_cgroup_cores(const char *membership, const char *mount);

#endif
