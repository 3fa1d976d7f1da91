/* tests/frontend/test_header.c: rlx.h stands alone in C17 and C++ (by compiling), says the same as
 * the library's own headers (functions: by including both), and every function that it declares is
 * in the library. */
#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/context.h" /* both worlds in one file: prototypes must agree */
#include "tests/frontend/header_values.h"

START_TEST(says_the_same)
{
    ck_assert_int_ge(header_values_count, 35);
    for (int i = 0; i < header_values_count; i++) {
        ck_assert_msg(header_values_public[i] == header_values_internal[i], "value %d differs", i);
        ck_assert_msg(header_values_public[i] == header_values_cxx[i], "value %d differs in C++",
                      i);
    }
}
END_TEST

/* The name that a declaration "RLX_API type name(" declares. */
static bool declared_name(const char *line, char *name, size_t size)
{
    const char *open = strchr(line, '(');
    if (strncmp(line, "RLX_API ", 8) || !open)
        return false;
    const char *start = open;
    while (start > line && start[-1] != ' ' && start[-1] != '*')
        start--;
    size_t n = (size_t)(open - start);
    ck_assert_uint_lt(n, size);
    memcpy(name, start, n);
    name[n] = 0;
    return true;
}

START_TEST(declares_what_the_library_has)
{
    void *library = dlopen(RLX_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    char *text;
    size_t bytes;
    ck_assert_ptr_null(rlx_file_read(RLX_SOURCE_DIR "/frontend/rlx.h", &text, &bytes));
    int found = 0;
    char name[128], *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (declared_name(line, name, sizeof name)) {
            ck_assert_msg(dlsym(library, name) != NULL, "%s is not in the library", name);
            found++;
        }
    ck_assert_int_ge(found, 50);
    ck_assert_ptr_null(dlsym(library, "rlx_hir_lower")); /* and nothing of the inside */
    free(text);
    dlclose(library);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("header");
    TCase *c = tcase_create("header");
    tcase_add_test(c, says_the_same);
    tcase_add_test(c, declares_what_the_library_has);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 2;
    srunner_free(r);
    return bad;
}
