/* tests/gpu/fake_driver.h: GPUs' drivers without GPUs, for tests: libcuda.so.1 and libamdhip64.so of one source.
 *
 * What they stand for has two devices of 64 MB. Memory is the host's. Work in a stream waits until somebody waits for it, and the
 * launches of a graph run in the worst order that its edges allow; kernels are called back. Every call is held to what the real drivers want of
 * it: the right context or device is current, handles are alive, addresses lie in memory; what is wrong is said, and is an error. A test opens
 * a library by its path: the program's dlopen of the same name then finds it, wherever there is a real one. */
#ifndef RLX_TESTS_GPU_FAKE_DRIVER_H
#define RLX_TESTS_GPU_FAKE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAKE_DEVICES = 2, FAKE_UNITS = 3, FAKE_RESIDENT = 2, FAKE_MEMORY = 64 << 20 };

/* A launch, as a device would get it: `image` is what the module was loaded from. */
typedef struct fake_kernel_launch {
    const void *image;
    size_t bytes;
    const char *kernel;
    unsigned teams, team;
    void *const *addresses; /* nbuffers, then the symbols */
    int nbuffers;
    bool together; /* all teams have to be there at once */
} fake_kernel_launch;

typedef struct fake_plan {
    const char *
        call; /* "allocate", as gpu_calls.def has it; NULL: any but those that give back. Kept by address */
    int64_t passes; /* of these calls, from now on, before the first that fails */
    int64_t fails;  /* of those that follow; then all pass again */
    int result;
    bool ends;                     /* the device: all calls fail so until it is reset */
    void (*meanwhile)(void *user); /* in place of failing: before the call goes on; may be NULL */
    void *user;
} fake_plan;

enum { FAKE_FOREVER = 1 << 30 };

/* What the library exports as rlx_fake_driver. */
typedef struct fake_driver {
    /* What it seems to be; set before it is opened. */
    int version, major, minor, devices;
    const char *arch, *first_arch; /* AMD's name of the processor; of number 0, NULL: the same */
    int team;                      /* of kernels whose code does not say it */
    int most;                      /* that a function\'s team may have; 0: what it is made for */
    int resident; /* teams that run side by side on a unit; 0: FAKE_RESIDENT; less: none do */
    void (*run)(void *user, const fake_kernel_launch *l); /* NULL: nothing runs */
    void *user;

    void (*plan)(const fake_plan *p);   /* NULL: all pass */
    int64_t (*failed)(void);            /* calls, since the plan was made */
    const char *(*last)(void);          /* the last that failed, by its maker's name; NULL: none */
    int64_t (*count)(const char *call); /* since the plan was made */
    int64_t (*live)(void);              /* objects that were made and not given back */
    const char *(*said)(void);          /* what was wrong, a line each; "": nothing */
    void (*hush)(void);                 /* forgets that */
    bool (*is_current)(void);  /* the calling thread has a device, or another than its first */
    int64_t (*launches)(void); /* that ran, since the plan was made */
    int64_t (*beside)(
        void); /* pairs of launches that no edge of their graph orders, of graphs made since then */
} fake_driver;

#endif
