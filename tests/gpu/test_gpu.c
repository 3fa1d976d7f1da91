/* The device code for NVIDIA's and AMD's drivers on drivers that stand for them (fake_driver.h): what is there and what is not, memory, code
 * that drivers make, graphs, and sessions whose results are the CPU's to the bit. */
#include <elf.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/cache.h"
#include "runtime/device_gpu_impl.h"
#include "tests/gpu/world.h"
#include "tests/vulkan/layers.h"

static fake_driver *drivers[RLX_GPU_KINDS];

static void expect_silence(const fake_driver *v)
{
    ck_assert_msg(!v->said()[0], "the driver says: %s", v->said());
    ck_assert_int_eq(v->live(), 0);
    ck_assert(!v->is_current());
}

/* ---- what is there */

/* In a process of its own: what is opened stays open. Whether there is none, as `part` says, however often it is asked for; true, too,
 * where there is a real one and none is expected. */
static bool has_none(rlx_gpu_kind k, const char *part, bool or_real)
{
    enum { TWICE = 2 };
    int code = 1;
    const pid_t pid = fork();
    if (pid == 0) {
        bool ok = true;
        for (int i = 0; i < TWICE; i++) {
            rlx_gpu_info *all;
            int n;
            rlx_status st = rlx_gpu_list(k, &all, &n);
            const bool says = st && rlx_status_code(st) == RLX_NOT_FOUND && !n && !all &&
                              strstr(rlx_status_message(st), part);
            const bool real = or_real && (!st || strncmp(rlx_status_message(st), "no ", 3) != 0);
            ok = ok && (says || real);
            if (!ok)
                fprintf(stderr, "not '%s': %s\n", part, st ? rlx_status_message(st) : "");
        }
        _exit(!ok);
    }
    ck_assert_int_eq(waitpid(pid, &code, 0), pid);
    return code == 0;
}

static void expect_none(rlx_gpu_kind k, const char *part)
{
    ck_assert(has_none(k, part, false));
}

/* Results of init, whatever they mean elsewhere. */
static void fail_init(rlx_gpu_kind k)
{
    static const struct {
        int result;
        const char *text;
    } cases[] = {{34, "Init: a stub library for linking, and no driver"},
                 {226, "Init: an error of the device that was contained"},
                 {304, "Init: a call of the operating system failed"},
                 {712, "Init: memory of the host is registered already"},
                 {804, "Init: the driver's compatibility package does not support this device"},
                 {805, "Init: no connection to the server that shares the device"},
                 {999, "Init: unknown error"},
                 {12345, "Init: result 12345"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drivers[k]->plan(&(fake_plan){.call = "init", .fails = 1, .result = cases[i].result});
        expect_none(k, cases[i].text);
    }
    drivers[k]->plan(NULL);
}

/* What is there and does not open is named, and not what is not there. */
static void expect_broken(void)
{
    char folder[] = "/tmp/rlx-broken-XXXXXX", command[1024], line[1024] = "";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(command, sizeof command,
             "echo broken > %s/libamdhip64.so.6; ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH=%s "
             "%s/bin/rlx devices | grep '^hip '; rm -r %s",
             folder, folder, RLX_BINARY_DIR, folder);
    FILE *f = popen(command, "r");
    ck_assert(f && fgets(line, sizeof line, f) && pclose(f) == 0);
    ck_assert_msg(strstr(line, "libamdhip64.so.6: file too short") != NULL, "%s", line);
}

/* Then ever less is wrong with one that stands for it. */
START_TEST(drivers_that_cannot_be_used)
{
    expect_broken();
    const struct {
        const char *absent, *old;
        int version;
    } says[] = {{"no NVIDIA driver: libcuda.so.1",
                 "the NVIDIA driver is too old: its version is 11030; 11040 (CUDA 11.4) is needed",
                 11030},
                {"no AMD driver: libamdhip64.so",
                 "the AMD driver is too old: its version is 50731921; 60000000 (HIP 6.0) is needed",
                 50731921}};
    for (int k = 0; k < RLX_GPU_KINDS; k++) {
        ck_assert(has_none((rlx_gpu_kind)k, says[k].absent, true));
        fake_driver *v = drivers[k] = world_open_driver((rlx_gpu_kind)k);
        const int version = v->version;
        fail_init((rlx_gpu_kind)k);
        v->version = says[k].version;
        expect_none((rlx_gpu_kind)k, says[k].old);
        v->version = version;
        v->devices = 0;
        expect_none((rlx_gpu_kind)k, "driver has no device");
        v->devices = FAKE_DEVICES;
        expect_silence(v);
    }
}
END_TEST

/* An update of the driver keeps its interface's version. */
START_TEST(builds_of_drivers)
{
    static const char *const cases[][2] = {
        {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
         "GCC version:  gcc version 12.2.0\n",
         "550.54.15"},
        {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n",
         "570.86.10"},
        {"NVRM version:\nGCC version:  gcc version 12.2.0\n", ""},
        {"", ""}};
    char path[] = "/tmp/rlx-build-XXXXXX", build[64] = "?";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = strlen(cases[i][0]);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(pwrite(fd, cases[i][0], n, 0), n);
        rlx_gpu_read_build(path, build, sizeof build);
        ck_assert_str_eq(build, cases[i][1]);
    }
    close(fd);
    remove(path);
    strcpy(build, "?");
    rlx_gpu_read_build(path, build, sizeof build);
    ck_assert_str_eq(build, "");
}
END_TEST

/* The newest code that a device takes and its driver knows. */
START_TEST(code_is_chosen_by_device_and_driver)
{
    static const struct {
        int major, minor, driver;
        const char *arch;
    } cases[] = {{7, 5, 12040, "sm_75"},  {8, 0, 12040, "sm_80"},  {8, 9, 12040, "sm_80"},
                 {9, 0, 12040, "sm_90a"}, {9, 0, 11080, "sm_90"},  {9, 0, 11040, "sm_80"},
                 {10, 0, 13000, "sm_90"}, {12, 0, 13000, "sm_90"}, {7, 0, 12040, ""}};
    fake_driver *v = drivers[RLX_GPU_CUDA];
    const int major = v->major, minor = v->minor;
    rlx_gpu_driver *opened;
    rlx_gpu_info info;
    EXPECT_OK(rlx_gpu_driver_open(RLX_GPU_CUDA, &opened));
    rlx_gpu_driver as = {.kind = opened->kind, .call = opened->call};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        v->major = cases[i].major;
        v->minor = cases[i].minor;
        as.version = cases[i].driver;
        EXPECT_OK(rlx_gpu_describe(&as, 1, &info));
        ck_assert_str_eq(info.arch, cases[i].arch);
        ck_assert_str_eq(info.why_not,
                         *info.arch ? "" : "has compute capability 7.0; 7.5 is needed");
    }
    ck_assert_str_eq(info.name, "Fake NVIDIA 1");
    static const char *const made[] = {
#define CUDA_TARGET(processor, ...) processor,
#include "jit/gpu_targets.def"
#undef CUDA_TARGET
    };
    for (size_t t = 0; t < sizeof made / sizeof *made; t++) { /* for nothing that no device takes */
        size_t i = 0;
        while (i < sizeof cases / sizeof *cases && strcmp(cases[i].arch, made[t]) != 0)
            i++;
        ck_assert_msg(i < sizeof cases / sizeof *cases, "no device takes %s", made[t]);
    }
    rlx_device *d;
    EXPECT_ERROR(rlx_gpu_open(&(rlx_gpu_options){.index = 1}, &d), RLX_UNSUPPORTED,
                 "Fake NVIDIA 1 has compute capability 7.0; 7.5 is needed");
    v->major = major;
    v->minor = minor;
    EXPECT_ERROR(rlx_gpu_open(&(rlx_gpu_options){.index = 2}, &d), RLX_NOT_FOUND,
                 "no device 2: the driver has 2");
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = RLX_GPU_HIP, .index = 1}, &d));
    ck_assert_str_eq(rlx_gpu_get_info(d)->arch, "gfx90a");
    rlx_device_destroy(d);
    expect_silence(v);
    expect_silence(drivers[RLX_GPU_HIP]);
}
END_TEST

/* ---- memory */

static void check_memory(rlx_device *d, rlx_memory_use use)
{
    enum { BYTES = 100 };
    char in[BYTES], out[BYTES], want[BYTES];
    rlx_device_memory *m;
    for (int i = 0; i < BYTES; i++)
        in[i] = want[i] = (char)i;
    EXPECT_OK(d->fn->create_memory(d, BYTES, use, &m));
    ck_assert_int_eq(d->fn->map(m) == NULL, use == RLX_MEMORY_KEPT);
    EXPECT_OK(d->fn->write(d, m, 0, in, BYTES));
    EXPECT_OK(d->fn->write(d, m, 7, in, 0));
    EXPECT_OK(d->fn->copy(d, m, 50, 20, 10));
    EXPECT_OK(d->fn->clear(d, m, 91, 9));
    EXPECT_OK(d->fn->read(d, m, 0, out, BYTES));
    memcpy(want + 20, in + 50, 10);
    memset(want + 91, 0, 9);
    ck_assert_mem_eq(out, want, BYTES);
    d->fn->destroy_memory(d, m);
    EXPECT_OK(d->fn->create_memory(d, 0, use, &m));
    d->fn->destroy_memory(d, m);
    d->fn->destroy_memory(d, NULL);
    ck_assert_int_eq(d->used_bytes, 0);
}

START_TEST(memory_is_the_devices)
{
    rlx_device *d;
    rlx_device_memory *m;
    for (int k = 0; k < RLX_GPU_KINDS; k++) {
        const rlx_gpu_options o = {.kind = (rlx_gpu_kind)k, .index = 1};
        EXPECT_OK(rlx_gpu_open(&o, &d));
        check_memory(d, RLX_MEMORY_KEPT);
        check_memory(d, RLX_MEMORY_GIVEN);
        check_memory(d, RLX_MEMORY_TAKEN);
        ck_assert_int_eq(d->fn->room(d), FAKE_MEMORY);
        EXPECT_ERROR(d->fn->create_memory(d, FAKE_MEMORY + 1, RLX_MEMORY_KEPT, &m),
                     RLX_OUT_OF_MEMORY, "67108865 bytes on Fake ");
        EXPECT_OK(d->fn->create_memory(d, 1 << 20, RLX_MEMORY_KEPT, &m));
        ck_assert_int_eq(d->fn->room(d), FAKE_MEMORY - (1 << 20));
        d->fn->destroy_memory(d, m);
        rlx_device_destroy(d);
        expect_silence(drivers[k]);
    }
}
END_TEST

START_TEST(less_memory_may_be_asked_for)
{
    const rlx_device_needs needs = {.weights = 3 << 20, .arena = 1 << 20};
    rlx_device *d;
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.memory = 1 << 20}, &d));
    EXPECT_ERROR(rlx_device_check_room(d, &needs), RLX_OUT_OF_MEMORY,
                 "4.0 MiB are needed on Fake NVIDIA 0 (weights 3.0, states 0.0, arena 1.0), which "
                 "has 1.0 MiB, 1.0 of them free: 3.0 MiB are missing");
    rlx_device_destroy(d);
}
END_TEST

/* ---- names */

START_TEST(contexts_by_name)
{
    static const char *const wrong[][2] = {{"cuda:", "expected a number: cuda:0"},
                                           {"cuda:-1", "expected a number"},
                                           {"hip:0,range=4096", "expected hip:0,memory=64M"},
                                           {"cuda,range=4096", "step=graph, kernel or auto"},
                                           {"cuda,memory=0", "expected bytes"},
                                           {"cuba", "did you mean \"cuda\""}};
    rlx_context *cx;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = wrong[i][0]}, &cx),
                     RLX_INVALID_ARGUMENT, wrong[i][1]);
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "cuda:1,memory=4M", .no_cache = true}, &cx));
    ck_assert_str_eq(rlx_context_device(cx), "cuda:1,memory=4194304");
    rlx_context_destroy(cx);
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.device = "cuda", .no_cache = true}, &cx));
    ck_assert_str_eq(rlx_context_device(cx), "cuda:0");
    rlx_context_destroy(cx);
    EXPECT_ERROR(rlx_context_create(&(rlx_context_options){.device = "cuda:7"}, &cx), RLX_NOT_FOUND,
                 "no device 7: the driver has 2");
    expect_silence(drivers[RLX_GPU_CUDA]);
}
END_TEST

static const rlx_device_info *find_info(const char *name)
{
    static rlx_device_info info;
    for (int i = 0; i < rlx_device_count(); i++) {
        rlx_device_get_info(i, &info);
        if (!strcmp(info.name, name))
            return &info;
    }
    return NULL;
}

START_TEST(devices_are_listed)
{
    const rlx_device_info *i = find_info("cuda:1");
    ck_assert_ptr_nonnull(i);
    ck_assert_str_eq(i->description, "Fake NVIDIA 1, compute capability 7.5, CUDA 12.4");
    ck_assert_str_eq(i->target, "cuda:sm_75");
    ck_assert_int_eq(i->memory_bytes, FAKE_MEMORY);
    ck_assert_ptr_null(find_info("cuda:2"));
    ck_assert_ptr_null(find_info("cuda"));
    i = find_info("hip:0");
    ck_assert_ptr_nonnull(i);
    ck_assert_str_eq(i->description, "Fake AMD 0, gfx90a, HIP 6.1");
    ck_assert_str_eq(i->why_not, "");
    ck_assert_str_eq(rlx_device_why_none("hip"), "");
    ck_assert_ptr_null(rlx_device_why_none("cpu"));
}
END_TEST

/* In a process of its own, whose list is not made yet: devices of no use say why, and none of them is chosen. */
START_TEST(devices_of_no_use)
{
    fake_driver *hip = drivers[RLX_GPU_HIP], *cuda = drivers[RLX_GPU_CUDA];
    int code = 1;
    const pid_t pid = fork();
    if (pid == 0) {
        rlx_device_choice choice;
        const rlx_device_info *i;
        hip->first_arch = "gfx1036"; /* of number 0: there is no such target */
        cuda->plan(&(fake_plan){.call = "get_name", .fails = FAKE_FOREVER, .result = 101});
        rlx_status_free(rlx_context_parse_device("hip", &choice));
        bool ok = choice.gpu.index == 1 && *find_info("hip:0")->why_not;
        ok = ok && !*find_info("hip:0")->target && !*find_info("hip:1")->why_not;
        i = find_info("cuda:0");
        ok = ok && !strcmp(i->description, "a device without a name, CUDA 12.4");
        ok = ok && strstr(i->why_not, "no device of that number");
        _exit(!ok);
    }
    ck_assert_int_eq(waitpid(pid, &code, 0), pid);
    ck_assert_int_eq(code, 0);
}
END_TEST

/* ---- code */

/* What is made for the device itself, as its driver is given it: the driver finds its entry, team and arguments, and runs nothing. */
static void launch_as_it_says(rlx_gpu_kind kind, const char *device, const char *refusal)
{
    fake_driver *v = drivers[kind];
    const float *out;
    rlx_session *s;
    v->run = NULL;
    EXPECT_OK(
        rlx_context_create(&(rlx_context_options){.device = device, .no_cache = true}, &gpu.cx));
    layers_make_weights(&gpu.w);
    v->most = 16;
    EXPECT_ERROR(layers_compile(gpu.cx, gpu.w, &gpu.e), RLX_UNSUPPORTED, refusal);
    v->most = 1024; /* the code's team stands */
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    v->most = 0;
    EXPECT_OK(rlx_session_create(gpu.cx, &(rlx_session_options){.max_positions = 256}, &s));
    layers_put(0, 0, 0, 0, 3);
    v->plan(NULL);
    EXPECT_OK(layers_step(s, gpu.e, 3, &out));
    ck_assert_int_gt(v->launches(), 5);
    ck_assert_int_eq(v->count("run_graph"), 1);
    ck_assert_int_eq(v->count("wait"),
                     v->count("run_graph") + v->count("fill") + v->count("copy_from"));
    rlx_session_destroy(s);
    layers_close_gpu();
    v->run = world_run;
    expect_silence(v);
}

START_TEST(ptx_is_launched_as_it_says)
{
    launch_as_it_says(RLX_GPU_CUDA, "cuda:1", "takes more than Fake NVIDIA 1 has: 16 are its most");
}
END_TEST

START_TEST(code_objects_are_launched_as_they_say)
{
    launch_as_it_says(RLX_GPU_HIP, "hip:1", "takes more than Fake AMD 1 has: 16 are its most");
}
END_TEST

static int warned;

static void count_warning(void *user, const char *message)
{
    (void)user;
    warned += strstr(message, "code of the driver") != NULL;
}

/* How many kernels the driver compiled. */
static int64_t load_again(const rlx_text *entry)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    rlx_program *p;
    rlx_executable *e;
    v->plan(NULL);
    EXPECT_OK(rlx_program_decode(entry->data, entry->len, &p));
    EXPECT_OK(rlx_executable_create_on(gpu.cx->gpu, p, gpu.w, &e));
    rlx_executable_destroy(e);
    return v->count("finish_linking");
}

START_TEST(drivers_code_is_kept)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    char folder[] = "/tmp/rlx-drivers-XXXXXX", command[64];
    rlx_text entry = {0};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "cuda",
                               .cache = {.folder = folder, .warn = count_warning}},
        &gpu.cx));
    rlx_gpu *g = rlx_gpu_of(gpu.cx->gpu);
    layers_make_weights(&gpu.w);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    const rlx_program *p = rlx_executable_program(gpu.e);
    const int64_t all = p->nkernels;
    EXPECT_OK(rlx_program_encode(p, &entry));
    ck_assert_int_eq(load_again(&entry), 0); /* compiling made it */
    size_t n;
    uint8_t *code = rlx_cache_get_driver_code(g->base.cache, &p->key, g->code_name, &n);
    ck_assert_ptr_nonnull(code);
    code[0] ^= 1; /* under a right checksum: a kernel of another length */
    rlx_cache_put_driver_code(g->base.cache, &p->key, g->code_name, code, n);
    ck_assert_int_eq(load_again(&entry), all);
    ck_assert_int_eq(warned, 1);
    ck_assert_int_eq(load_again(&entry), 0);
    code[0] ^= 1;
    code[8] ^= 1; /* what the driver knows of it */
    rlx_cache_put_driver_code(g->base.cache, &p->key, g->code_name, code, n);
    ck_assert_int_eq(load_again(&entry), all);
    ck_assert_int_eq(warned, 2);
    ck_assert_int_eq(load_again(&entry), 0);
    code[8] ^= 1;
    char *entry_name = memmem(code, n, ".entry ", 7);
    ck_assert_ptr_nonnull(entry_name);
    entry_name[7] ^= 1; /* a kernel that the program has is not in it */
    rlx_cache_put_driver_code(g->base.cache, &p->key, g->code_name, code, n);
    ck_assert_int_eq(load_again(&entry), all);
    ck_assert_int_eq(warned, 3);
    ck_assert_int_eq(load_again(&entry), 0);
    ck_assert_ptr_nonnull(strstr(g->code_name, "capability 7.5"));
    g->code_name[0] = 'C'; /* as after another driver was installed */
    ck_assert_int_eq(load_again(&entry), all);
    ck_assert_int_eq(load_again(&entry), 0);
    ck_assert_int_eq(warned, 3);
    free(code);
    rlx_text_deinit(&entry);
    layers_close_gpu();
    v->plan(NULL);
    expect_silence(v);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static pthread_t caller;
static _Atomic int others;

static void count_others(void *user)
{
    (void)user;
    others += !pthread_equal(pthread_self(), caller);
    usleep(2000); /* another thread would be there by then, and take the next one */
}

/* Kernels are made by no more threads than the context has. */
START_TEST(kernels_are_made_by_the_contexts_threads)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    caller = pthread_self();
    others = 0;
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "cuda", .threads = 1, .no_cache = true}, &gpu.cx));
    layers_make_weights(&gpu.w);
    v->plan(&(fake_plan){.call = "load_module", .fails = FAKE_FOREVER, .meanwhile = count_others});
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
    ck_assert_int_gt(v->count("load_module"), 4);
    ck_assert_int_eq(others, 0);
    v->plan(NULL);
    layers_close_gpu();
    expect_silence(v);
}
END_TEST

/* What its compiler says is in the story. */
START_TEST(code_that_a_driver_refuses)
{
    rlx_device *d;
    rlx_device_kernels *k;
    rlx_program_kernel kernel = {
        .name = "k", .code = (const uint8_t *)"nothing", .code_bytes = 7, .nbuffers = 1};
    rlx_program p = {.name = "p",
                     .target = "cuda:sm_75",
                     .code_kind = RLX_CODE_PTX,
                     .kernels = &kernel,
                     .nkernels = 1};
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){0}, &d));
    EXPECT_ERROR(d->fn->create_kernels(d, &p, &k), RLX_UNSUPPORTED,
                 "fake log: no entry in the image");
    EXPECT_ERROR(d->fn->create_kernels(d, &p, &k), RLX_UNSUPPORTED, "kernel @k for cuda:sm_75");
    p.code_kind = RLX_CODE_SPIRV;
    EXPECT_ERROR(d->fn->create_kernels(d, &p, &k), RLX_UNSUPPORTED,
                 "program 'p' is code for cuda:sm_75, not for Fake NVIDIA 0");
    rlx_device_destroy(d);
    expect_silence(drivers[RLX_GPU_CUDA]);
}
END_TEST

/* A code object of nothing but a note's team, as the device takes it. */
static void refuse_note(rlx_device *d, const char *value, size_t bytes, rlx_code code,
                        const char *says)
{
    static const char word[] = ".max_flat_workgroup_size";
    struct {
        Elf64_Ehdr head;
        char note[40];
    } object = {.head = {.e_ident = ELFMAG}};
    rlx_device_kernels *k;
    rlx_program_kernel kernel = {.name = "k",
                                 .code = (const uint8_t *)&object,
                                 .code_bytes = sizeof object.head + sizeof word - 1 + bytes,
                                 .nbuffers = 1};
    rlx_program p = {.name = "p",
                     .target = "hip:gfx942",
                     .code_kind = RLX_CODE_HSACO,
                     .kernels = &kernel,
                     .nkernels = 1};
    memcpy(object.note, word, sizeof word - 1);
    memcpy(object.note + sizeof word - 1, value, bytes);
    object.head.e_shoff = kernel.code_bytes;
    EXPECT_ERROR(d->fn->create_kernels(d, &p, &k), code, says);
}

/* A team that is not what low bytes of it are, and what is no number, or not all there. */
START_TEST(notes_of_no_use)
{
    fake_driver *v = drivers[RLX_GPU_HIP];
    rlx_device *d;
    v->most = 1024;
    EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = RLX_GPU_HIP}, &d));
    refuse_note(d, "\xce\x01\x00\x00\x40", 5, RLX_UNSUPPORTED, "a team of 16777280 invocations");
    refuse_note(d, "\xce\xff\xff\xff\xff", 5, RLX_UNSUPPORTED, "a team of 2147483647 invocations");
    refuse_note(d, "\xcf\x00\x00\x00\x01\x00\x00\x00\x40", 9, RLX_UNSUPPORTED,
                "a team of 2147483647 invocations");
    refuse_note(d,
                "\xa3"
                "128",
                4, RLX_INVALID_FILE, ".max_flat_workgroup_size is no integer");
    refuse_note(d, "\xcd\x01", 2, RLX_INVALID_FILE, ".max_flat_workgroup_size is no integer");
    refuse_note(d, "", 0, RLX_INVALID_FILE, ".max_flat_workgroup_size is no integer");
    rlx_device_destroy(d);
    v->most = 0;
    expect_silence(v);
}
END_TEST

/* ---- sessions */

static void open_gpu(const char *device, const char *layers)
{
    EXPECT_OK(world_open(
        &(rlx_context_options){.device = device, .device_layers = layers, .no_cache = true},
        &gpu.cx));
    layers_make_weights(&gpu.w);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
}

static void check_same(rlx_gpu_kind k, const char *device, const char *layers)
{
    float want[TALK][HIDDEN], got[TALK][HIDDEN];
    fake_driver *v = drivers[k];
    layers_talk(&cpu, want);
    v->plan(NULL);
    open_gpu(device, layers);
    layers_talk(&gpu, got);
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert_int_gt(v->launches(), 0);
    ck_assert_int_gt(v->beside(), 0); /* queries, keys and values */
    layers_close_gpu();
    world_forget_code();
    expect_silence(v);
}

START_TEST(sessions_give_the_cpus_bits)
{
    check_same(RLX_GPU_CUDA, "cuda:1", NULL);
    check_same(RLX_GPU_CUDA, "cuda:0", "1");
    check_same(RLX_GPU_HIP, "hip:1", NULL);
}
END_TEST

/* One call for each step once a tape is recorded. */
START_TEST(a_step_is_one_graph)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    const float *out;
    open_gpu("cuda", NULL);
    rlx_session *s = layers_make_session(&gpu, 1);
    layers_put(0, 0, 0, 0, 2);
    EXPECT_OK(layers_step(s, gpu.e, 2, &out));
    v->plan(NULL);
    layers_put(0, 0, 0, 2, 1);
    EXPECT_OK(layers_step(s, gpu.e, 1, &out));
    ck_assert_int_eq(v->count("run_graph"), 1);
    ck_assert_int_eq(v->count("copy_from"), 1); /* of an output that is large in its bucket */
    ck_assert_int_eq(v->count("wait"), 2);
    ck_assert_int_eq(v->count("launch") + v->count("copy_to") + v->count("allocate"), 0);
    rlx_session_destroy(s);
    layers_close_gpu();
    expect_silence(v);
}
END_TEST

/* The drivers that stand for the real ones see a wait that is missing: work has not run, and what it uses may not go. */
START_TEST(a_missing_wait_is_seen)
{
    for (int k = 0; k < RLX_GPU_KINDS; k++) {
        fake_driver *v = drivers[k];
        rlx_device *d;
        rlx_device_memory *m;
        rlx_gpu_scope scope;
        char in[8] = "written", out[8];
        EXPECT_OK(rlx_gpu_open(&(rlx_gpu_options){.kind = (rlx_gpu_kind)k, .index = 1}, &d));
        rlx_gpu *g = rlx_gpu_of(d);
        EXPECT_OK(d->fn->create_memory(d, sizeof in, RLX_MEMORY_KEPT, &m));
        EXPECT_OK(rlx_gpu_enter(g, &scope));
        const rlx_gpu_calls *call = &g->driver->call;
        rlx_gpu_graph graph;
        rlx_gpu_exec exec;
        ck_assert_int_eq(call->begin_capture(g->copies, RLX_GPU_CAPTURE_RELAXED), 0);
        ck_assert_int_eq(call->copy_to(m->at, in, sizeof in, g->copies), 0);
        ck_assert_int_eq(call->end_capture(g->copies, &graph), 0);
        ck_assert_int_eq(call->make_exec(&exec, graph, 0), 0);
        ck_assert_int_eq(call->destroy_graph(graph), 0);
        ck_assert_int_eq(call->run_graph(exec, g->copies), 0);
        ck_assert_int_ne(memcmp((const void *)(uintptr_t)m->at, in, sizeof in), 0);
        ck_assert_int_ne(call->destroy_exec(exec), 0);
        ck_assert_int_ne(call->release(m->at), 0);
        ck_assert_ptr_nonnull(strstr(v->said(), "a exec goes before work with it is done\n"
                                                "memory goes before work with it is done\n"));
        v->hush();
        ck_assert_int_eq(call->wait(g->copies), 0);
        ck_assert_int_eq(call->destroy_exec(exec), 0);
        rlx_gpu_leave(g, &scope);
        EXPECT_OK(d->fn->read(d, m, 0, out, sizeof out));
        ck_assert_str_eq(out, in);
        d->fn->destroy_memory(d, m);
        rlx_device_destroy(d);
        expect_silence(v);
    }
}
END_TEST

/* The same bits, kernel by kernel; the fake clock ticks once for each event. */
START_TEST(times_are_taken)
{
    fake_driver *v = drivers[RLX_GPU_CUDA];
    rlx_session *s;
    rlx_kernel_time t;
    float want[HIDDEN], got[HIDDEN];
    open_gpu("cuda", NULL);
    rlx_session *plain = layers_make_session(&gpu, 1);
    layers_say(plain, gpu.e, 0, 0, 0, 3, want);
    rlx_session_destroy(plain);
    EXPECT_OK(rlx_session_create(
        gpu.cx, &(rlx_session_options){.max_positions = POSITIONS, .time_kernels = true}, &s));
    v->plan(NULL);
    layers_say(s, gpu.e, 0, 0, 0, 3, got);
    EXPECT_BITS(got, want);
    ck_assert_int_eq(v->count("run_graph"), 0);
    rlx_session_kernel_at(s, 0, &t);
    ck_assert_double_eq_tol(t.seconds, 1e-3 * (double)t.launches, 1e-9);
    rlx_session_destroy(s);
    layers_close_gpu();
    expect_silence(v);
}
END_TEST

int main(void)
{
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cpu.cx));
    layers_make_weights(&cpu.w);
    EXPECT_OK(layers_compile(cpu.cx, cpu.w, &cpu.e));
    Suite *s = suite_create("gpu");
    SUITE_TEST(s, "drivers_that_cannot_be_used", drivers_that_cannot_be_used); /* first */
    SUITE_TEST(s, "builds_of_drivers", builds_of_drivers);
    SUITE_TEST(s, "code_is_chosen_by_device_and_driver", code_is_chosen_by_device_and_driver);
    SUITE_TEST(s, "devices_of_no_use", devices_of_no_use); /* before any is listed here */
    SUITE_TEST(s, "memory_is_the_devices", memory_is_the_devices);
    SUITE_TEST(s, "less_memory_may_be_asked_for", less_memory_may_be_asked_for);
    SUITE_TEST(s, "contexts_by_name", contexts_by_name);
    SUITE_TEST(s, "devices_are_listed", devices_are_listed);
    SUITE_TEST(s, "ptx_is_launched_as_it_says", ptx_is_launched_as_it_says);
    SUITE_TEST(s, "code_objects_are_launched_as_they_say", code_objects_are_launched_as_they_say);
    SUITE_TEST(s, "kernels_are_made_by_the_contexts_threads",
               kernels_are_made_by_the_contexts_threads);
    SUITE_TEST(s, "drivers_code_is_kept", drivers_code_is_kept);
    SUITE_TEST(s, "code_that_a_driver_refuses", code_that_a_driver_refuses);
    SUITE_TEST(s, "notes_of_no_use", notes_of_no_use);
    SUITE_TEST(s, "sessions_give_the_cpus_bits", sessions_give_the_cpus_bits);
    SUITE_TEST(s, "a_step_is_one_graph", a_step_is_one_graph);
    SUITE_TEST(s, "a_missing_wait_is_seen", a_missing_wait_is_seen);
    SUITE_TEST(s, "times_are_taken", times_are_taken);
    const int code = suite_run(s, 18);
    rlx_executable_destroy(cpu.e);
    rlx_context_destroy(cpu.cx);
    rlx_weights_destroy(cpu.w);
    world_forget_code();
    return code;
}
