/* runtime/load_elf.h: relocatable x86-64 objects to code that runs. Internal to runtime/. */
#ifndef RLX_RUNTIME_LOAD_ELF_H
#define RLX_RUNTIME_LOAD_ELF_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

/* One object file in memory, of any alignment, with the function that is wanted from it. */
typedef struct rlx_elf_object {
    const char *name; /* symbol of the function */
    const uint8_t *data;
    size_t bytes;
} rlx_elf_object;

/* All objects of a program in one mapping: written, then made executable, never both. */
typedef struct rlx_elf_image rlx_elf_image;

/* Loads and relocates `n` objects. They are code and constants that stand alone: writable data,
 * thread-local data and symbols that are no object's function are errors (RLX_UNSUPPORTED, naming section or symbol).
 * Every offset in the file is checked: RLX_INVALID_FILE names the object and what is wrong in it.
 * The objects may go away afterwards. */
rlx_status rlx_elf_image_create(const rlx_elf_object *objects, size_t n, rlx_elf_image **out);
void rlx_elf_image_destroy(rlx_elf_image *image); /* accepts NULL */
/* The address of object i's function. */
void *rlx_elf_image_get(const rlx_elf_image *image, size_t i);
size_t rlx_elf_image_function_bytes(const rlx_elf_image *image, size_t i);
size_t rlx_elf_image_bytes(const rlx_elf_image *image); /* mapped */

#endif
