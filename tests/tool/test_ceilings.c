/* tests/tool/test_ceilings.c: which of the machine's ceilings are measured for which device, and
 * that those of this machine are something. No speed is asserted. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/ceilings.h"

/* Names of the units of a device, AMX's apart: whether the system lends tiles is its own affair. */
static void has_units(const char *device, const char *wanted)
{
    const ceiling_unit *units[CEILING_MAX_UNITS];
    char names[512] = "";
    size_t n = ceiling_units(device, units);
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(names);
        if (!strstr(units[i]->name, "amx"))
            snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", units[i]->name);
    }
    ck_assert_str_eq(names, wanted);
}

START_TEST(units_of_devices)
{
    has_units("cpu:x86-64-v3", "f32 fma 256, int8 madd 256");
    has_units("cpu:x86-64-v3+avxvnni", "f32 fma 256, int8 madd 256, int8 vnni 256");
    has_units("cpu:x86-64-v4", "f32 fma 256, f32 fma 512, int8 madd 256, int8 madd 512");
    has_units(
        "cpu:x86-64-v4+avx512vnni+avx512bf16",
        "f32 fma 256, f32 fma 512, int8 madd 256, int8 madd 512, int8 vnni 512, bf16 dot 512");
    has_units("cpu:x86-64-v3+avx512f", "f32 fma 256, f32 fma 512, int8 madd 256");
}
END_TEST

/* What runs is chosen by the machine; the other loops are at least there. */
START_TEST(speeds_of_this_machine)
{
    const ceiling_unit *units;
    size_t n = ceiling_all_units(&units), ran = 0;
    for (size_t i = 0; i < n; i++) {
        bool here =
            !strcmp(units[i].feature, "x86-64-v3") ? __builtin_cpu_supports("avx2")
            : !strcmp(units[i].feature, "avx512f") ? __builtin_cpu_supports("avx512f")
            : !strcmp(units[i].feature, "avx512bw")
                ? __builtin_cpu_supports("avx512bw")
                : !strcmp(units[i].feature, "avx512vnni") && __builtin_cpu_supports("avx512vnni");
        if (!here) {
            printf("%s: compiled, not run: this machine is not known to have %s\n", units[i].name,
                   units[i].feature);
            continue;
        }
        for (int threads = 1; threads <= 2; threads++)
            ck_assert(ceiling_unit_rate(&units[i], threads, 1) > 0);
        ran++;
    }
    ck_assert_uint_ge(ran, 2);
}
END_TEST

/* Every byte of every span is read: the rate is of their sum, whatever the threads' shares. */
START_TEST(reading)
{
    enum { BYTES = 1 << 20 };
    char *data = calloc(1, BYTES);
    ck_assert_ptr_nonnull(data);
    const byte_span spans[] = {{data, 3}, {data + 64, 100000}, {data, BYTES}, {data + 1, 0}};
    for (int threads = 1; threads <= 3; threads++)
        ck_assert(ceiling_read(spans, 4, threads, 2, 1) > 0);
    free(data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ceilings");
    TCase *c = tcase_create("ceilings");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, units_of_devices);
    tcase_add_test(c, speeds_of_this_machine);
    tcase_add_test(c, reading);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r), ran = srunner_ntests_run(r);
    srunner_free(r);
    return failed || ran < 3;
}
