/* frontend/tool/cmd_tokenize.c: text to ids, ids to text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

typedef struct tokenize {
    const char *model, *prompt, *file, *pre;
    bool ids, decode, plain, json;
    char *text; /* what was given */
    size_t bytes;
    rlx_tokenizer *tokenizer;
} tokenize;

/* ---- what comes in */

/* -p, -f or, without either, standard input, all of it. The exit code of a complaint, or -1. */
static int read_input(tokenize *k)
{
    if (k->prompt) {
        k->text = strdup(k->prompt);
        k->bytes = strlen(k->prompt);
        return k->text ? -1 : failure("tokenize: out of memory");
    }
    return read_text("tokenize: reading", k->file, &k->text, &k->bytes);
}

/* ---- ids to text */

static bool put_text(void *user, const char *utf8, size_t bytes)
{
    (void)user;
    return fwrite(utf8, 1, bytes, stdout) == bytes;
}

/* Numbers between anything of white space, commas and brackets. */
static int decode(const tokenize *k)
{
    rlx_token_stream s;
    rlx_token_stream_init(&s, k->tokenizer, true);
    for (const char *p = k->text, *end = k->text + k->bytes; p < end;) {
        char *next;
        if (isspace((unsigned char)*p) || strchr(",[]", *p)) {
            p++;
            continue;
        }
        long long id = strtoll(p, &next, 10);
        if (next == p)
            return failure("tokenize: byte %td is no number: \"%.20s\"", p - k->text, p);
        size_t n;
        if (id < 0 || id > INT32_MAX || !rlx_tokenizer_text(k->tokenizer, (int32_t)id, &n))
            return failure("tokenize: there is no token %lld", id);
        if (!rlx_token_stream_push(&s, (int32_t)id, put_text, NULL))
            break; /* finish_output tells */
        p = next;
    }
    rlx_token_stream_end(&s, put_text, NULL);
    return finish_output();
}

/* ---- text to ids */

/* A token's text; bytes that would steer the terminal, or are not UTF-8, as \xHH. */
static void put_token(const char *text, size_t n)
{
    putchar('"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ' || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void put_ids(const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        printf("%s%d", i ? " " : "", ids[i]);
    putchar('\n');
}

static void put_tokens(const tokenize *k, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        size_t bytes;
        const char *text = rlx_tokenizer_text(k->tokenizer, ids[i], &bytes);
        printf("%6d ", ids[i]);
        put_token(text, bytes);
        putchar('\n');
    }
}

static void put_json(const tokenize *k, const int32_t *ids, int64_t n)
{
    printf("{\"ids\": [");
    for (int64_t i = 0; i < n; i++)
        printf("%s%d", i ? ", " : "", ids[i]);
    printf("], \"tokens\": [");
    for (int64_t i = 0; i < n; i++) {
        size_t bytes;
        const char *text = rlx_tokenizer_text(k->tokenizer, ids[i], &bytes);
        if (i)
            printf(", ");
        put_json_text(text); /* tables end texts by a NUL */
    }
    printf("]}\n");
}

static int encode(const tokenize *k)
{
    int32_t *ids;
    int64_t n;
    int code = report(rlx_tokenizer_encode(k->tokenizer, k->text, k->bytes, !k->plain, &ids, &n));
    if (code != EXIT_OK)
        return code;
    if (k->json)
        put_json(k, ids, n);
    else if (k->ids)
        put_ids(ids, n);
    else
        put_tokens(k, ids, n);
    free(ids);
    return finish_output();
}

int command_tokenize(int argc, char **argv)
{
    tokenize k = {0};
    const option_spec options[] = {
        {"model", "m", OPTION_TEXT, "PATH", "the model (instead of MODEL)", &k.model},
        {"prompt", "p", OPTION_TEXT, "TEXT", "the text", &k.prompt},
        {"file", "f", OPTION_TEXT, "FILE", "the text's file; -: standard input (without -p)",
         &k.file},
        {"ids", NULL, OPTION_FLAG, NULL, "ids alone, on one line", &k.ids},
        {"decode", NULL, OPTION_FLAG, NULL, "the text is ids; prints what they stand for",
         &k.decode},
        {"no-special", NULL, OPTION_FLAG, NULL, "without the tokens around a text (bos, eos ..)",
         &k.plain},
        {"pre", NULL, OPTION_TEXT, "NAME",
         "the pattern of a list of ranks, or of a GGUF vocabulary: qwen2 ..", &k.pre},
        {"json", NULL, OPTION_FLAG, NULL, "for programs", &k.json},
    };
    const command_spec spec = {
        .name = "tokenize",
        .about = "text to token ids, one a line with its text, and back. MODEL: a directory, a\n"
                 ".gguf file, tokenizer.json, tokenizer.model, .tiktoken, vocab.json, vocab.txt",
        .positional = "MODEL",
        .target = &k.model,
        .options = options,
        .noptions = sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    if (!k.model)
        return usage_error("tokenize: no MODEL given; see rlx tokenize --help");
    if (k.prompt && k.file)
        return usage_error("tokenize: -p and -f are both given");
    if (k.decode && (k.ids || k.json))
        return usage_error("tokenize: --decode prints text, not %s", k.ids ? "ids" : "JSON");
    code =
        report(rlx_tokenizer_load(k.model, &(rlx_tokenizer_options){.pre = k.pre}, &k.tokenizer));
    if (code == EXIT_OK)
        code = read_input(&k);
    if (code < 0)
        code = k.decode ? decode(&k) : encode(&k);
    free(k.text);
    rlx_tokenizer_destroy(k.tokenizer);
    return code;
}
