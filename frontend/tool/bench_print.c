/* frontend/tool/bench_print.c: rows of rlx bench as a table like llama-bench's, as JSON and as CSV.
 * The last two have the same fields, which bench/README.md explains. */
#include <stdio.h>
#include <string.h>

#include "frontend/tool/args.h"
#include "frontend/tool/bench.h"

struct bench_printer {
    const char *name;
    void (*head)(void);
    void (*row)(const bench_subject *s, const bench_row *r, bool first);
    void (*end)(void);
};

void bench_name_row(const bench_row *r, char *out, size_t bytes)
{
    int n = snprintf(out, bytes, "%s%lld", r->prompt ? "pp" : "tg",
                     (long long)(r->prompt ? r->prompt : r->tokens));
    if (r->batch > 1)
        n += snprintf(out + n, bytes - (size_t)n, " b%lld", (long long)r->batch);
    if (r->depth)
        snprintf(out + n, bytes - (size_t)n, " @ d%lld", (long long)r->depth);
}

/* ---- fields, for programs */

typedef struct field {
    const char *name, *text; /* NULL: a number */
    double number;
    int decimals;
} field;

enum { MAX_FIELDS = 32, MAX_NAME = 96 };

static int fill_fields(const bench_subject *s, const bench_row *r, char name[MAX_NAME],
                       field out[MAX_FIELDS])
{
    bench_name_row(r, name, MAX_NAME);
    const field fields[] = {
        {"model", s->model, 0, 0},
        {"family", s->family, 0, 0},
        {"weight_bytes", NULL, (double)s->weight_bytes, 0},
        {"parameters", NULL, (double)s->parameters, 0},
        {"device", s->device, 0, 0},
        {"precision", s->precision, 0, 0},
        {"type_k", s->type_k, 0, 0},
        {"type_v", s->type_v, 0, 0},
        {"test", name, 0, 0},
        {"threads", NULL, r->threads, 0},
        {"prompt", NULL, (double)r->prompt, 0},
        {"tokens", NULL, (double)r->tokens, 0},
        {"batch", NULL, (double)r->batch, 0},
        {"depth", NULL, (double)r->depth, 0},
        {"tokens_per_second", NULL, r->mean, 4},
        {"stddev", NULL, r->stddev, 4},
        {"median", NULL, r->median, 4},
        {"best", NULL, r->best, 4},
        {"bytes_per_second", NULL, r->median * r->bytes, 0},
        {"read_bytes_per_second", NULL, r->read_peak, 0},
        {"operations_per_second", NULL, r->median * r->operations, 0},
        {"f32_operations_per_second", NULL, r->f32_peak, 0},
        {"peak_unit", r->peak_unit, 0, 0},
        {"peak_operations_per_second", NULL, r->peak, 0},
    };
    memcpy(out, fields, sizeof fields);
    return (int)(sizeof fields / sizeof *fields);
}

/* ---- JSON */

static void json_head(void)
{
    printf("[");
}

static void json_kernels(const bench_row *r)
{
    printf(",\n   \"kernels\": [");
    for (int i = 0; i < r->nkernels; i++) {
        const bench_kernel *k = &r->kernels[i];
        printf("%s\n    {\"kernel\": ", i ? "," : "");
        put_json_text(k->name);
        printf(", \"launches\": %.0f, \"seconds\": %.9f, \"share\": %.6f, \"bytes_per_second\": "
               "%.0f, \"operations_per_second\": %.0f}",
               k->launches, k->seconds, k->share, k->bytes, k->operations);
    }
    printf("]");
}

static void json_row(const bench_subject *s, const bench_row *r, bool first)
{
    field f[MAX_FIELDS];
    char name[MAX_NAME];
    int n = fill_fields(s, r, name, f);
    printf("%s\n  {", first ? "" : ",");
    for (int i = 0; i < n; i++) {
        printf("%s\"%s\": ", i ? ", " : "", f[i].name);
        if (f[i].text)
            put_json_text(f[i].text);
        else
            printf("%.*f", f[i].decimals, f[i].number);
    }
    if (r->kernels)
        json_kernels(r);
    printf("}");
}

static void json_end(void)
{
    printf("\n]\n");
}

/* ---- CSV */

static void csv_head(void)
{
    field f[MAX_FIELDS];
    char name[MAX_NAME];
    int n = fill_fields(&(bench_subject){0}, &(bench_row){0}, name, f);
    for (int i = 0; i < n; i++)
        printf("%s%s", i ? "," : "", f[i].name);
    putchar('\n');
}

static void put_csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void csv_row(const bench_subject *s, const bench_row *r, bool first)
{
    field f[MAX_FIELDS];
    char name[MAX_NAME];
    int n = fill_fields(s, r, name, f);
    (void)first;
    for (int i = 0; i < n; i++) {
        if (i)
            putchar(',');
        if (f[i].text)
            put_csv_text(f[i].text);
        else
            printf("%.*f", f[i].decimals, f[i].number);
    }
    putchar('\n');
}

static void no_end(void)
{
}

/* ---- a table */

static void md_head(void)
{
    printf("| model | size | params | device | threads | test | t/s | median | GB/s | of read | "
           "GFLOP/s | of f32 FMA | of the best unit |\n"
           "|---|---:|---:|---|---:|---|---:|---:|---:|---:|---:|---:|---:|\n");
}

static void put_size(double bytes)
{
    if (bytes >= 1 << 30)
        printf("%.2f GiB | ", bytes / (1 << 30));
    else
        printf("%.2f MiB | ", bytes / (1 << 20));
}

static void put_count(double n)
{
    if (n >= 1e9)
        printf("%.2f B | ", n / 1e9);
    else
        printf("%.2f M | ", n / 1e6);
}

/* "12.3% of 45.67 |"; what was not measured has no shares. */
static void put_share(double part, double whole, int decimals, const char *of)
{
    if (whole <= 0)
        printf(" |");
    else if (decimals < 0)
        printf(" %.1f%% |", 100 * part / whole);
    else
        printf(" %.1f%% of %.*f%s |", 100 * part / whole, decimals, whole / 1e9, of);
}

static void md_kernels(const bench_row *r)
{
    double rest = 1;
    printf("\n| kernel | launches | us | of the time | GB/s | of read | GFLOP/s | of f32 FMA | of "
           "the best unit |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < r->nkernels; i++) {
        const bench_kernel *k = &r->kernels[i];
        rest -= k->share;
        printf("| %s | %.0f | %.1f | %.1f%% | %.2f |", k->name, k->launches, 1e6 * k->seconds,
               100 * k->share, k->bytes / 1e9);
        put_share(k->bytes, r->read_peak, -1, "");
        printf(" %.1f |", k->operations / 1e9);
        put_share(k->operations, r->f32_peak, -1, "");
        put_share(k->operations, r->peak, -1, "");
        putchar('\n');
    }
    printf("| (waiting for others, between steps) | | | %.1f%% | | | | | |\n\n", 100 * rest);
}

static void md_row(const bench_subject *s, const bench_row *r, bool first)
{
    double bytes = r->median * r->bytes, operations = r->median * r->operations;
    char name[MAX_NAME], unit[64];
    (void)first;
    bench_name_row(r, name, sizeof name);
    printf("| %s | ", s->model);
    put_size((double)s->weight_bytes);
    put_count((double)s->parameters);
    snprintf(unit, sizeof unit, " (%s)", r->peak_unit);
    printf("%s | %d | %s | %.2f ± %.2f | %.2f | %.2f |", s->hardware, r->threads, name, r->mean,
           r->stddev, r->median, bytes / 1e9);
    put_share(bytes, r->read_peak, 2, "");
    printf(" %.1f |", operations / 1e9);
    put_share(operations, r->f32_peak, 0, "");
    put_share(operations, r->peak, 0, unit);
    putchar('\n');
    if (r->kernels)
        md_kernels(r);
}

/* ---- */

static const bench_printer printers[] = {
    {"md", md_head, md_row, no_end},
    {"json", json_head, json_row, json_end},
    {"csv", csv_head, csv_row, no_end},
};

const bench_printer *bench_printer_find(const char *name)
{
    for (size_t i = 0; i < sizeof printers / sizeof *printers; i++)
        if (!strcmp(printers[i].name, name))
            return &printers[i];
    return NULL;
}

void bench_print_head(const bench_printer *p)
{
    p->head();
}

void bench_print_row(const bench_printer *p, const bench_subject *s, const bench_row *r, bool first)
{
    p->row(s, r, first);
    fflush(stdout);
}

void bench_print_end(const bench_printer *p)
{
    p->end();
}
