/* The IR parser under arbitrary text, for the level that FUZZ_LEVEL is: whatever it accepts and the
 * verifier too prints to text that reads back the same, and survives cloning and cleaning up. */
#include "hir/hir.h"
#include "lir/lir.h"
#include "mir/mir.h"
#include "tests/base/test_level.h"
#include "tests/fuzz/fuzz.h"

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
    if (size > FUZZ_MAX_BYTES)
        return 0;
    char *text = malloc(size + 1);
    rlx_dims *dims = rlx_dims_create();
    must(text && dims, "out of memory");
    memcpy(text, data, size);
    text[size] = 0;
    const rlx_ir_level *level = &FUZZ_LEVEL;
    rlx_ir_module *m = NULL;
    rlx_status st = rlx_ir_parse(level, dims, "fuzz", text, &m);
    if (!st) {
        st = rlx_ir_verify(m);
        if (!st && m->first)
            check_accepted(level, dims, m);
    }
    fuzz_end(st);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    free(text);
    return 0;
}
