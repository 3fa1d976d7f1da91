/* The loader: objects that the C compiler made run; damaged ones are refused. */
#include <elf.h>

#include "runtime/base/text.h"
#include "runtime/load_elf.h"
#include "runtime/program.h"
#include "tests/runtime/suite.h"

typedef struct object_file {
    char *data;
    size_t bytes;
} object_file;

static object_file read_object(const char *path)
{
    object_file f;
    EXPECT_OK(rlx_file_read(path, &f.data, &f.bytes));
    return f;
}

static rlx_status load_one(const char *name, const void *data, size_t bytes, rlx_elf_image **out)
{
    rlx_elf_object o = {name, data, bytes};
    return rlx_elf_image_create(&o, 1, out);
}

static void run_tables(const rlx_elf_image *image, size_t i)
{
    rlx_kernel_fn *fn;
    void *address = rlx_elf_image_get(image, i);
    memcpy(&fn, &address, sizeof(fn));
    int32_t y[8] = {0};
    void *buffers[] = {y};
    fn(buffers, NULL, 0, 1, NULL);
    static const int32_t want[8] = {7 + 2,   5 + 3,  'l' + 5,   -4 + 7,
                                    57 + 11, 3 + 13, 1006 + 17, 1007 + 19};
    ck_assert_mem_eq(y, want, sizeof(want));
}

START_TEST(kernels_run)
{
    static const char *const paths[] = {RLX_OBJECT_TABLES, RLX_OBJECT_TABLES_BARE,
                                        RLX_OBJECT_TABLES_DEBUG, RLX_OBJECT_TABLES_LARGE};
    for (int i = 0; i < 4; i++) {
        object_file f = read_object(paths[i]);
        rlx_elf_image *image;
        EXPECT_OK(load_one("tables", f.data, f.bytes, &image));
        memset(f.data, 0, f.bytes); /* not needed any more */
        free(f.data);
        run_tables(image, 0);
        rlx_elf_image_destroy(image);
    }
}
END_TEST

START_TEST(many_in_one_mapping)
{
    enum { N = 40 };
    object_file f = read_object(RLX_OBJECT_TABLES);
    char *odd = malloc(f.bytes + 1); /* entries hold objects at any address */
    memcpy(odd + 1, f.data, f.bytes);
    rlx_elf_object objects[N];
    for (int i = 0; i < N; i++)
        objects[i] = (rlx_elf_object){"tables", (uint8_t *)(i % 2 ? odd + 1 : f.data), f.bytes};
    rlx_elf_image *image;
    EXPECT_OK(rlx_elf_image_create(objects, N, &image));
    free(odd);
    free(f.data);
    char *low = rlx_elf_image_get(image, 0), *high = low;
    for (int i = 0; i < N; i++) {
        char *at = rlx_elf_image_get(image, (size_t)i);
        low = at < low ? at : low;
        high = at > high ? at : high;
        run_tables(image, (size_t)i);
    }
    ck_assert_uint_lt((size_t)(high - low), rlx_elf_image_bytes(image));
    rlx_elf_image_destroy(image);

    EXPECT_OK(rlx_elf_image_create(NULL, 0, &image));
    rlx_elf_image_destroy(image);
    rlx_elf_image_destroy(NULL);
}
END_TEST

/* A part may lie before or behind who calls it, and be called by many. */
START_TEST(objects_call_parts)
{
    object_file caller = read_object(RLX_OBJECT_CALLER), callee = read_object(RLX_OBJECT_CALLEE);
    const rlx_elf_object a = {"caller", (uint8_t *)caller.data, caller.bytes},
                         b = {"callee", (uint8_t *)callee.data, callee.bytes};
    const rlx_elf_object objects[] = {a, b, a};
    rlx_elf_image *image;
    EXPECT_OK(rlx_elf_image_create(objects, 3, &image));
    for (size_t i = 0; i < 3; i += 2) {
        double x = 20;
        void *buffers[] = {&x}, *address = rlx_elf_image_get(image, i);
        rlx_kernel_fn *fn;
        memcpy(&fn, &address, sizeof(fn));
        fn(buffers, NULL, 0, 1, NULL);
        ck_assert_double_eq(x, 41);
    }
    rlx_elf_image_destroy(image);
    EXPECT_ERROR(rlx_elf_image_create(&a, 1, &image), RLX_UNSUPPORTED,
                 "object of kernel caller calls 'callee', which is in no object");
    free(caller.data);
    free(callee.data);
}
END_TEST

/* Never writable and executable at once. */
START_TEST(code_is_read_only)
{
    object_file f = read_object(RLX_OBJECT_TABLES);
    rlx_elf_image *image;
    EXPECT_OK(load_one("tables", f.data, f.bytes, &image));
    free(f.data);
    uintptr_t at = (uintptr_t)rlx_elf_image_get(image, 0);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    bool seen = false;
    while (fgets(line, sizeof(line), maps)) {
        unsigned long lo, hi;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &lo, &hi, mode) == 3 && at >= lo && at < hi) {
            ck_assert_str_eq(mode, "r-xp");
            seen = true;
        }
    }
    fclose(maps);
    ck_assert(seen);
    rlx_elf_image_destroy(image);
}
END_TEST

START_TEST(refused_objects)
{
    rlx_elf_image *image;
    object_file f = read_object(RLX_OBJECT_TABLES);
    EXPECT_ERROR(load_one("chairs", f.data, f.bytes, &image), RLX_INVALID_FILE,
                 "object of kernel chairs: no function of that name");
    EXPECT_ERROR(load_one("tables", f.data, 63, &image), RLX_INVALID_FILE, "63 bytes are too few");
    EXPECT_ERROR(load_one("tables",
                          "#!/bin/sh .......................................................", 64,
                          &image),
                 RLX_INVALID_FILE, "not an ELF file");
    Elf64_Ehdr *h = (Elf64_Ehdr *)f.data;
    h->e_machine = EM_AARCH64;
    EXPECT_ERROR(load_one("tables", f.data, f.bytes, &image), RLX_INVALID_FILE, "machine 183");
    h->e_machine = EM_X86_64;
    h->e_type = ET_DYN;
    EXPECT_ERROR(load_one("tables", f.data, f.bytes, &image), RLX_INVALID_FILE, "type 3");
    free(f.data);

    f = read_object(RLX_OBJECT_UNDEFINED);
    EXPECT_ERROR(load_one("undefined", f.data, f.bytes, &image), RLX_UNSUPPORTED,
                 "'rlx_test_not_there', which is in no object");
    free(f.data);
    f = read_object(RLX_OBJECT_WRITABLE);
    EXPECT_ERROR(load_one("writable", f.data, f.bytes, &image), RLX_UNSUPPORTED,
                 "is writable data");
    free(f.data);
    f = read_object(RLX_OBJECT_TABLES_LOW);
    EXPECT_ERROR(load_one("tables", f.data, f.bytes, &image), RLX_INVALID_FILE, "does not reach");
    free(f.data);
}
END_TEST

START_TEST(damaged_objects)
{
    object_file f = read_object(RLX_OBJECT_TABLES_BARE);
    rlx_elf_image *image;
    int refused = 0;
    for (size_t n = 0; n < f.bytes; n++) {
        char *part = malloc(n ? n : 1);
        memcpy(part, f.data, n);
        EXPECT_ERROR(load_one("tables", part, n, &image), RLX_INVALID_FILE, "");
        free(part);
    }
    char *bad = malloc(f.bytes);
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (size_t i = 0; i < f.bytes; i++) {
        for (size_t v = 0; v < sizeof(values); v++) {
            memcpy(bad, f.data, f.bytes);
            bad[i] = (char)values[v];
            rlx_status st = load_one("tables", bad, f.bytes, &image);
            if (st)
                refused++;
            else
                rlx_elf_image_destroy(image);
            rlx_status_free(st);
        }
    }
    ck_assert_int_ge(refused, 500);
    free(bad);
    free(f.data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("load_elf");
    SUITE_TEST(s, "kernels run", kernels_run);
    SUITE_TEST(s, "many in one mapping", many_in_one_mapping);
    SUITE_TEST(s, "objects call parts", objects_call_parts);
    SUITE_TEST(s, "code is read only", code_is_read_only);
    SUITE_TEST(s, "refused objects", refused_objects);
    SUITE_TEST(s, "damaged objects", damaged_objects);
    return suite_run(s, 5);
}
