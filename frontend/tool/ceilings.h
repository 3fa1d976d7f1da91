/* frontend/tool/ceilings.h: what the machine could do at most, measured here and now: how fast
 * bytes are read, and how fast its arithmetic units multiply and add. Speeds are held against
 * these.
 *
 *   ceilings.c       trials on threads; reading
 *   ceiling_units.c  the units, each with a loop that keeps it busy out of registers
 */
#ifndef RLX_TOOL_CEILINGS_H
#define RLX_TOOL_CEILINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct byte_span {
    const char *data;
    size_t bytes;
} byte_span;

enum { CEILING_MAX_THREADS = 256, CEILING_MAX_UNITS = 16 };

double ceiling_now(void); /* seconds, monotonic */

/* Bytes per second of reading all spans `passes` times, every thread its own contiguous share, as
 * one stream and as several at once: the better one. The best of `trials` of each, with one more
 * before them to warm up. 0 when threads cannot be started. */
double ceiling_read(const byte_span *spans, size_t nspans, int threads, int passes, int trials);

/* A kind of instruction that multiplies and adds. */
typedef struct ceiling_unit {
    const char *name;    /* "int8 vpdpbusd 512" */
    const char *feature; /* of the CPU, as device names spell it */
    bool f32;            /* computes in f32: what exact mode is made of */
    uint64_t (*run)(void);
    double operations; /* of one run; a multiply-add is two */
} ceiling_unit;

/* The units that code for a device ("cpu:x86-64-v4+avx512vnni", as contexts name it; this machine
 * has its features) may use. Asks the operating system for AMX's tiles when they are among them.
 * Returns how many. */
size_t ceiling_units(const char *device, const ceiling_unit *out[CEILING_MAX_UNITS]);
/* All that this program has a loop for, whatever the machine. */
size_t ceiling_all_units(const ceiling_unit **out);

/* Operations per second of `threads` threads; the best of `trials`, each of some milliseconds.
 * 0 when threads cannot be started. */
double ceiling_unit_rate(const ceiling_unit *u, int threads, int trials);

#endif
