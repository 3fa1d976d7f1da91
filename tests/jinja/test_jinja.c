/* tests/jinja/test_jinja.c: the template engine against what Jinja2 made of the same templates
 * (cases.json, by reference.py), its limits, and the JSON that it is given. */
#include <cjson/cJSON.h>
#include <locale.h>
#include <time.h>

#include "frontend/jinja/jinja.h"
#include "runtime/base/text.h"
#include "tests/base/suite.h"

#define CASES RLX_SOURCE_DIR "/tests/jinja/cases.json"

enum { NOW = 1700000000, LEAST_CASES = 1000 };

static rlx_status render_n(const char *text, size_t bytes, const char *json,
                           const rlx_jinja_limits *limits, char **out, size_t *n)
{
    rlx_jinja_template *t;
    *out = NULL;
    rlx_status st = rlx_jinja_parse("t.jinja", text, bytes, &t);
    const rlx_jinja_names given = {NULL, json, strlen(json)};
    if (!st)
        st = rlx_jinja_render(t, &given, 1, NOW, limits, out, n);
    rlx_jinja_destroy(t);
    return st;
}

static rlx_status render(const char *text, const char *json, const rlx_jinja_limits *limits,
                         char **out)
{
    size_t n;
    return render_n(text, strlen(text), json, limits, out, &n);
}

/* ---- what Jinja2 says */

static void check_case(const cJSON *c, const char *context)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(c, "template"));
    const char *want = cJSON_GetStringValue(cJSON_GetObjectItem(c, "text"));
    const char *error = cJSON_GetStringValue(cJSON_GetObjectItem(c, "error"));
    char *got;
    rlx_status st = render(text, context, NULL, &got);
    ck_assert_msg(want || error, "a case without an outcome: %s", text);
    if (error) {
        ck_assert_msg(st != NULL, "Jinja2 fails (%s), we give \"%s\": %s", error, got, text);
        ck_assert_msg(strstr(rlx_status_message(st), error) != NULL, "%s\nsays: %s\nnot: %s", text,
                      rlx_status_message(st), error);
        rlx_status_free(st);
    } else {
        ck_assert_msg(!st, "%s\nfails: %s", text, rlx_status_message(st));
        ck_assert_msg(!strcmp(got, want), "%s\ngives: %s\nnot:   %s", text, got, want);
    }
    free(got);
}

START_TEST(cases_are_as_jinja2_has_them)
{
    char *file;
    size_t bytes;
    assert_ok(rlx_file_read(CASES, &file, &bytes));
    cJSON *all = cJSON_Parse(file);
    ck_assert(all);
    /* The context as it is written: cJSON would forget which numbers are whole. */
    char *context = strstr(file, "\"context\": "), *end = strstr(file, ",\n\"cases\"");
    ck_assert(context && end);
    context = strndup(context + 11, (size_t)(end - context - 11));
    const cJSON *c;
    int n = 0;
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(all, "cases"))
    {
        check_case(c, context);
        n++;
    }
    ck_assert_int_ge(n, LEAST_CASES);
    free(context);
    cJSON_Delete(all);
    free(file);
}
END_TEST

/* ---- limits */

static void assert_refused(const char *text, rlx_code code, const char *part)
{
    char *got;
    rlx_jinja_limits limits = {.steps = 200000, .bytes = 4 << 20, .output_bytes = 1 << 16};
    assert_error(render(text, "{\"l\": [1, 2]}", &limits, &got), code, part);
    ck_assert_ptr_null(got);
}

START_TEST(limits_hold)
{
    assert_refused("{% set r = range(999)|list %}{% for a in r %}\n{% for b in r %}{% endfor %}"
                   "{% endfor %}",
                   RLX_EXHAUSTED, "t.jinja:2: rendering takes too many steps");
    assert_refused("{{ range(100001) }}", RLX_EXHAUSTED, "a range of more than 100000");
    assert_refused("{{ 'x' * 70000 }}", RLX_EXHAUSTED, "longer than 65536 bytes");
    assert_refused("{{ 'xxxxxxxxxxxxxxxx' * 100000000 }}", RLX_EXHAUSTED, "memory");
    assert_refused("{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}\n{% for a in range(99) %}\n"
                   "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                   RLX_EXHAUSTED, "t.jinja:3: rendering takes more than 4194304 bytes of memory");
    assert_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", RLX_EXHAUSTED,
                   "inside each other");
    assert_refused("{% for a in l recursive %}{{ loop(l) }}{% endfor %}", RLX_EXHAUSTED,
                   "inside each other");
    assert_refused("{{ l.append(l) }}{{ l }}", RLX_EXHAUSTED, "inside each other");
    assert_refused("{{ l.append(l) }}{{ l|tojson }}", RLX_EXHAUSTED, "inside each other");
    assert_refused("{% for a in l %}{{ l.append(a) }}{% endfor %}", RLX_EXHAUSTED, "");
    /* A list whose text has 2^60 elements; comparing it with its like. */
    assert_refused("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
                   "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
                   "{{ ns.a == ns.b }}",
                   RLX_EXHAUSTED, "steps");
    assert_refused("{{ ['a', 'b', 'c'] * 100000|int }}", RLX_EXHAUSTED, "");
    assert_refused("{{ '%9999999999d' % 1 }}", RLX_EXHAUSTED, "");
    assert_refused("{{ '{:999999999}'.format(1) }}", RLX_EXHAUSTED, "");
    assert_refused("{{ 9223372036854775807 + 1 }}", RLX_UNSUPPORTED, "beyond 64 bits");
}
END_TEST

/* Ten walks over a megabyte are more steps than are left. */
START_TEST(walks_over_text_are_steps)
{
    static const char *const walks[] = {"s.replace('b', 'c')",
                                        "s|replace('b', 'c')",
                                        "s.count('b')",
                                        "s.find('b')",
                                        "s.rfind('b')",
                                        "s.rfind('ba')",
                                        "'b' in s",
                                        "s.split('b')",
                                        "s.rsplit('b')",
                                        "s.partition('b')",
                                        "s.rpartition('b')",
                                        "s == t",
                                        "s < t",
                                        "{s: 1}",
                                        "s|int",
                                        "s|float",
                                        "s.startswith(t)",
                                        "s.endswith((t, t))",
                                        "s.removeprefix(t)",
                                        "s[1:]|length",
                                        "s[1:].ljust(1)",
                                        "u[500000]",
                                        "s|truncate(900000)"};
    for (size_t i = 0; i < sizeof walks / sizeof *walks; i++) {
        char text[512], *got;
        rlx_jinja_limits limits = {.steps = 400000};
        snprintf(text, sizeof text,
                 "{%% set s = 'a' * 1000000 %%}{%% set t = 'a' * 1000000 %%}"
                 "{%% set u = '\u00e9' * 500001 %%}"
                 "{%% for i in range(10) %%}{%% set x = %s %%}{%% endfor %%}",
                 walks[i]);
        rlx_status st = render(text, "{}", &limits, &got);
        ck_assert_msg(st != NULL, "no limit holds %s", walks[i]);
        assert_error(st, RLX_EXHAUSTED, "too many steps");
    }
}
END_TEST

static void gives(const char *text, const char *want)
{
    char *got;
    assert_ok(render(text, "{}", NULL, &got));
    ck_assert_str_eq(got, want);
    free(got);
}

START_TEST(what_tags_are)
{
    gives("{{ ('<' * 2500000)|striptags|length }}", "2500000"); /* at once */
    gives("{{ ('<!--' * 500000)|striptags|length }}", "2000000");
    gives("{{ ('<!--' * 500000 ~ '>')|striptags|length }}", "0");
    gives("{{ 'a<!-- > -->b<i>c</i>d<!--->e-->f<'|striptags }}", "abcdf<");
    gives("{{ 'a-->b<!-- c>d'|striptags }}", "a-->bd");
}
END_TEST

START_TEST(searches_over_many_blocks)
{
    gives("{% set s = 'a' * 200000 ~ 'bc' ~ 'a' * 65535 ~ 'bc' %}"
          "{{ [s.find('bc'), s.rfind('bc'), s.count('bc'), s.find('abca'), s.find('cb'), "
          "s.count('a' * 70000), s.find('', 3), s.rfind(''), s.split('bc')|length, "
          "s.find('bc', 200001), s.find('b', 265538), 'bc' in s, '' in ''] }}",
          "[200000, 265537, 2, 199999, -1, 2, 3, 265539, 3, 265537, -1, True, True]");
}
END_TEST

START_TEST(nesting_has_a_limit)
{
    static char text[20001];
    memset(text, 0, sizeof text);
    strcpy(text, "{{ ");
    memset(text + 3, '(', 9000);
    assert_refused(text, RLX_EXHAUSTED, "t.jinja:1: more than");
    for (int i = 0; i < 2000; i++)
        memcpy(text + 10 * (size_t)i, "{% if 1 %}", 10);
    assert_refused(text, RLX_EXHAUSTED, "t.jinja:1: nested more than");
    strcpy(text, "{{ 1");
    for (int i = 0; i < 3000; i++)
        strcpy(text + 4 + 3 * i, "+ 1");
    strcat(text, "}}");
    assert_refused(text, RLX_EXHAUSTED, "nested more than");
}
END_TEST

/* ---- messages, and what we refuse */

START_TEST(errors_name_template_and_line)
{
    assert_refused("a\n\n{{ raise_exception('roles must alternate') }}", RLX_INVALID_ARGUMENT,
                   "t.jinja:3: roles must alternate");
    assert_refused("a\n{{ x.y.z }}", RLX_INVALID_ARGUMENT, "t.jinja:2: 'x' is undefined");
    assert_refused("a\n{% if %}", RLX_INVALID_FILE, "t.jinja:2: expected an expression");
    assert_refused("\n\n{{ 'a }}", RLX_INVALID_FILE, "t.jinja:3: the string has no end");
    assert_refused("{% include 'a' %}", RLX_UNSUPPORTED, "t.jinja:1: 'include' is not offered");
    assert_refused("{{ lipsum() }}", RLX_UNSUPPORTED, "lipsum() is not offered");
    assert_refused("{{ l|random }}", RLX_UNSUPPORTED, "the filter 'random' is not offered");
    assert_refused("a\n\xff", RLX_INVALID_FILE, "t.jinja:2: not UTF-8");
    assert_refused("{{ ''.__class__.mro }}", RLX_INVALID_ARGUMENT, "has no attribute '__class__'");
}
END_TEST

/* ---- JSON */

static void assert_json(const char *json, const char *want)
{
    char *got, text[300];
    snprintf(text, sizeof text, "{\"v\": %s}", json);
    assert_ok(render("{{ v }}", text, NULL, &got));
    ck_assert_str_eq(got, want);
    free(got);
}

static void assert_bad_json(const char *json, const char *part)
{
    char *got;
    assert_error(render("x", json, NULL, &got), RLX_INVALID_ARGUMENT, part);
}

START_TEST(json_is_read_as_python_reads_it)
{
    assert_json("1", "1");
    assert_json("1.0", "1.0");
    assert_json("-0", "0");
    assert_json("-0.0", "-0.0");
    assert_json("1e3", "1000.0");
    assert_json("9223372036854775807", "9223372036854775807");
    assert_json("-9223372036854775808", "-9223372036854775808");
    assert_json(" [ 1 , [ ] , { } , null , true ] ", "[1, [], {}, None, True]");
    assert_json("\"\\u00e9\\ud83d\\ude00\\n\\/\"", "\xc3\xa9\xf0\x9f\x98\x80\n/");
    assert_json("{\"a\": 1, \"b\": 2, \"a\": 3}", "{'a': 3, 'b': 2}");
    assert_bad_json("", "not JSON at byte 0: no value");
    assert_bad_json("[1]", "no JSON object");
    assert_bad_json("{\"a\": 01}", "no value");
    assert_bad_json("{\"a\": 1,}", "byte 8: expected a key");
    assert_bad_json("{\"a\" 1}", "expected :");
    assert_bad_json("{\"a\": \"\\ud83d\"}", "a wrong escape");
    assert_bad_json("{\"a\": \"x", "a string has no end");
    assert_bad_json("{\"a\": 9223372036854775808}", "an integer beyond 64 bits");
    assert_bad_json("{} x", "something follows");
    assert_bad_json("{\"a\": \"\x01\"}", "a control character");
    assert_bad_json("{\"a\": \"\xff\"}", "not UTF-8");
}
END_TEST

START_TEST(a_nul_is_a_character)
{
    static const char text[] = "{{ v|length }}{{ v }}";
    char *got;
    size_t n;
    assert_ok(render_n(text, sizeof text - 1, "{\"v\": \"a\\u0000b\"}", NULL, &got, &n));
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(got, "3a\0b", 5);
    free(got);
}
END_TEST

/* A locale with a comma in its numbers changes nothing. */
START_TEST(numbers_have_points)
{
    char *got;
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        printf("skipped: there is no locale de_DE.UTF-8\n");
    assert_ok(render("{{ 1.5 }} {{ '%.2f' % 2.25 }} {{ '3.5'|float }}", "{}", NULL, &got));
    setlocale(LC_ALL, "C");
    ck_assert_str_eq(got, "1.5 2.25 3.5");
    free(got);
}
END_TEST

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    Suite *s = suite_create("jinja");
    TCase *t = tcase_create("jinja");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, cases_are_as_jinja2_has_them);
    tcase_add_test(t, limits_hold);
    tcase_add_test(t, walks_over_text_are_steps);
    tcase_add_test(t, what_tags_are);
    tcase_add_test(t, searches_over_many_blocks);
    tcase_add_test(t, nesting_has_a_limit);
    tcase_add_test(t, errors_name_template_and_line);
    tcase_add_test(t, json_is_read_as_python_reads_it);
    tcase_add_test(t, a_nul_is_a_character);
    tcase_add_test(t, numbers_have_points);
    suite_add_tcase(s, t);
    return run_suite(s, 10);
}
