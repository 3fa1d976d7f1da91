#include "tests/jit/amd_objects.h"

#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/runtime/suite.h"

extern char **environ;

const amd_processor amd_processors[AMD_PROCESSORS] = {
    {"gfx942", 64, 512}, {"gfx1100", 32, 256}, {"gfx90a", 64, 512}, {"gfx1200", 32, 256}};

rlx_jit_target amd_target(int processor)
{
    return (rlx_jit_target){
        .kind = RLX_JIT_AMDGPU, .processor = amd_processors[processor].name, .team = AMD_TEAM};
}

void amd_read_kernels(subject *s, const char *file)
{
    char *text;
    size_t bytes;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/jit/kernels/%s", RLX_SOURCE_DIR, file);
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(s, path, text));
    free(text);
}
/* ---- other programs ---- */

int amd_run(char *const argv[], const char *output)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    if (output)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, 01101 /* write, new */,
                                         0600);
    const int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool amd_is_there(const char *program)
{
    char *argv[] = {(char *)program, "--version", NULL};
    const bool there = amd_run(argv, "/dev/null") == 0;
    if (!there)
        printf("skipped: %s is not on PATH\n", program);
    return there;
}

void amd_make_files(amd_files *f)
{
    strcpy(f->folder, "/tmp/rlx-test-XXXXXX");
    ck_assert(mkdtemp(f->folder) != NULL);
    snprintf(f->object, sizeof f->object, "%s/k.o", f->folder);
    snprintf(f->out, sizeof f->out, "%s/k.hsaco", f->folder);
    snprintf(f->text, sizeof f->text, "%s/text", f->folder);
}

void amd_remove_files(const amd_files *f)
{
    unlink(f->object);
    unlink(f->out);
    unlink(f->text);
    rmdir(f->folder);
}

void amd_write_file(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f != NULL && fwrite(data, 1, bytes, f) == bytes);
    fclose(f);
}
