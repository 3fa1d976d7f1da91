/* runtime/cgroup.c: quotas of control groups.
 *
 * A line of /proc/self/cgroup is `0::/path` (v2) or `number:controllers:/path` (v1). In a container
 * the path is often the host's and not there under the mount; the ancestors up to the root are, so
 * all that exist are asked and the tightest counts.
 */
#include "runtime/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

static bool read_line(const char *path, char *line, int bytes)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool ok = fgets(line, bytes, f) != NULL;
    fclose(f);
    return ok;
}

static int cores_of(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long cores = quota / period;
    return cores < 1 ? 1 : cores > 1 << 20 ? 0 : (int)cores;
}

/* v2: "max 100000" or "150000 100000". */
static int quota_v2(const char *dir)
{
    char path[PATH_BYTES + 32], line[128];
    snprintf(path, sizeof(path), "%s/cpu.max", dir);
    long long quota, period;
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld %lld", &quota, &period) != 2)
        return 0;
    return cores_of(quota, period);
}

/* v1: quota -1 means none. */
static int quota_v1(const char *dir)
{
    char path[PATH_BYTES + 32], line[128];
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir);
    if (!read_line(path, line, sizeof(line)))
        return 0;
    long long quota = strtoll(line, NULL, 10);
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
    if (!read_line(path, line, sizeof(line)))
        return 0;
    return cores_of(quota, strtoll(line, NULL, 10));
}

static int tighter(int a, int b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The tightest quota of `root/path` and everything above it up to `root`. */
static int walk_up(const char *root, const char *path, int (*quota)(const char *dir))
{
    char dir[PATH_BYTES];
    int n = snprintf(dir, sizeof(dir), "%s%s", root, path);
    if (n < 0 || n >= (int)sizeof(dir))
        return quota(root);
    int cores = 0;
    size_t root_len = strlen(root);
    for (;;) {
        cores = tighter(cores, quota(dir));
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < root_len)
            return cores;
        *slash = 0;
    }
}

static bool lists(const char *controllers, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = controllers; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        if (strncmp(s, name, n) == 0 && (s[n] == 0 || s[n] == ','))
            return true;
    return false;
}

static int line_cores(char *line, const char *mount)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return 0;
    *path++ = 0;
    controllers++;
    if (strcmp(path, "/") == 0)
        path = "";
    char root[PATH_BYTES];
    int cores = 0;
    if (!*controllers) { /* v2, alone or beside v1 */
        cores = walk_up(mount, path, quota_v2);
        snprintf(root, sizeof(root), "%s/unified", mount);
        cores = tighter(cores, walk_up(root, path, quota_v2));
    } else if (lists(controllers, "cpu")) {
        snprintf(root, sizeof(root), "%s/%s", mount, controllers); /* "cpu" or "cpu,cpuacct" */
        cores = walk_up(root, path, quota_v1);
        snprintf(root, sizeof(root), "%s/cpu", mount);
        cores = tighter(cores, walk_up(root, path, quota_v1));
    }
    return cores;
}

int rlx_cgroup_cores(const char *membership, const char *mount)
{
    int cores = 0;
    for (const char *s = membership; *s;) {
        size_t n = strcspn(s, "\n");
        char line[PATH_BYTES];
        if (n < sizeof(line)) {
            memcpy(line, s, n);
            line[n] = 0;
            cores = tighter(cores, line_cores(line, mount));
        }
        s += n + (s[n] == '\n');
    }
    return cores;
}
