/* The IR parser under arbitrary text: whatever it accepts and the verifier too prints to text that
 * reads back the same, and survives cloning and cleaning up. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/test_level.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static char *print(const rlx_ir_module *m)
{
    rlx_text t = {0};
    rlx_ir_print(m, 0, &t);
    char *s = rlx_text_take(&t);
    must(s != NULL, "out of memory");
    return s;
}

static void check_accepted(const rlx_ir_level *level, rlx_dims *dims, rlx_ir_module *m)
{
    char *once = print(m);
    rlx_ir_module *back = NULL, *copy = NULL;
    rlx_status st = rlx_ir_parse(level, dims, "back", once, &back);
    must(!st, "printed text is refused");
    char *twice = print(back);
    must(strcmp(once, twice) == 0, "printed text reads back differently");
    must(!rlx_ir_module_clone(m, &copy), "no clone");
    char *third = print(copy);
    must(strcmp(once, third) == 0, "a clone prints differently");
    rlx_hash a = rlx_ir_func_fingerprint(m->first), b = rlx_ir_func_fingerprint(copy->first);
    must(memcmp(&a, &b, sizeof(a)) == 0, "a clone has another fingerprint");
    rlx_ir_remove_dead(copy);
    must(!rlx_ir_verify(copy), "removing dead nodes broke the module");
    free(once);
    free(twice);
    free(third);
    rlx_ir_module_destroy(back);
    rlx_ir_module_destroy(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 16)
        return 0;
    char *text = malloc(size + 1);
    rlx_dims *dims = rlx_dims_create();
    must(text && dims, "out of memory");
    memcpy(text, data, size);
    text[size] = 0;
    const rlx_ir_level *level = strncmp(text, "lir", 3) == 0 ? &test_lir_level : &test_level;
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(level, dims, "fuzz", text, &m);
    if (!st) {
        st = rlx_ir_verify(m);
        if (!st && m->first)
            check_accepted(level, dims, m);
    }
    rlx_status_free(st);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    free(text);
    return 0;
}
