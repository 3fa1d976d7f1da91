#include "tests/frontend/vocabulary.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

char *read_or_skip(const char *path, size_t *bytes)
{
    char *data;
    rlx_status st = rlx_file_read(path, &data, bytes);
    if (!st)
        return data;
    printf("skipped: %s is not there\n", path);
    rlx_status_free(st);
    return NULL;
}

static void set_token(vocabulary *v, int32_t id, const char *text)
{
    if (id >= v->ntokens) {
        v->token = realloc(v->token, ((size_t)id + 1) * sizeof *v->token);
        ck_assert_ptr_nonnull(v->token);
        memset(v->token + v->ntokens, 0, (size_t)(id + 1 - v->ntokens) * sizeof *v->token);
        v->ntokens = id + 1;
    }
    v->token[id] = strdup(text);
}

void vocabulary_add_control(vocabulary *v, const char *text)
{
    set_token(v, v->ntokens, text);
    v->ncontrol++;
}

static void add_merge(vocabulary *v, const char *text)
{
    if (!(v->nmerges & (v->nmerges + 1)))
        v->merge = realloc(v->merge, ((size_t)v->nmerges + 1) * 2 * sizeof *v->merge);
    ck_assert_ptr_nonnull(v->merge);
    v->merge[v->nmerges++] = strdup(text);
}

bool vocabulary_read_gpt2(vocabulary *v, const char *vocab_json, const char *merges_txt)
{
    size_t bytes;
    char *json = read_or_skip(vocab_json, &bytes), *save;
    char *merges = json ? read_or_skip(merges_txt, &bytes) : NULL;
    if (!merges)
        return false;
    cJSON *root = cJSON_Parse(json);
    ck_assert_ptr_nonnull(root);
    const cJSON *item;
    int32_t most = 0;
    cJSON_ArrayForEach(item, root) most = item->valueint > most ? item->valueint : most;
    v->token = calloc((size_t)most + 1, sizeof *v->token);
    v->ntokens = most + 1;
    cJSON_ArrayForEach(item, root) set_token(v, item->valueint, item->string);
    for (char *line = strtok_r(merges, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (strncmp(line, "#version", 8) != 0)
            add_merge(v, line);
    cJSON_Delete(root);
    free(json);
    free(merges);
    return true;
}

/* ---- tiktoken */

/* Bytes 0..255 as GPT-2's alphabet writes them: what prints in Latin-1 as itself, the others from
 * U+0100 on. */
static void put_byte(rlx_text *t, unsigned byte)
{
    unsigned c = byte, next = 0x100;
    for (unsigned b = 0; b <= 255; b++) {
        bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        if (!prints && b == byte)
            c = next;
        next += !prints;
    }
    if (c < 0x80)
        rlx_text_putf(t, "%c", (int)c);
    else
        rlx_text_putf(t, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
}

static void put_base64(rlx_text *out, const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < n && p[i] != '='; i++) {
        bits = bits << 6 | (unsigned)(strchr(digits, p[i]) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            put_byte(out, bits >> have & 0xff);
        }
    }
}

/* The two tokens of lower rank that a token is merged from: what merging leaves when only lower
 * ranks may merge. */
static void find_merge(vocabulary *v, const rlx_tokenizer *t, int32_t id)
{
    const char *text = v->token[id];
    size_t cut[256], n = 0; /* where parts begin */
    for (size_t i = 0; i < strlen(text); i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ck_assert_uint_lt(n, 255);
            cut[n++] = i;
        }
    cut[n] = strlen(text);
    while (n > 2) {
        size_t best = 0;
        int32_t rank = id;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[512];
            snprintf(pair, sizeof pair, "%.*s", (int)(cut[i + 2] - cut[i]), text + cut[i]);
            int32_t r = rlx_tokenizer_find(t, pair);
            if (r >= 0 && r < rank) {
                rank = r;
                best = i;
            }
        }
        if (rank == id)
            return; /* nothing makes this token */
        memmove(cut + best + 1, cut + best + 2, (n - best - 1) * sizeof *cut);
        n--;
    }
    if (n == 2) {
        char merge[512];
        snprintf(merge, sizeof merge, "%.*s %s", (int)cut[1], text, text + cut[1]);
        add_merge(v, merge);
    }
}

bool vocabulary_read_tiktoken(vocabulary *v, const char *path)
{
    size_t bytes;
    char *list = read_or_skip(path, &bytes), *save;
    if (!list)
        return false;
    int32_t lines = 0;
    for (const char *p = list; (p = strchr(p, '\n')); p++)
        lines++;
    v->token = calloc((size_t)lines, sizeof *v->token);
    v->ntokens = lines;
    for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        rlx_text token = {0};
        size_t n = strcspn(line, " ");
        put_base64(&token, line, n);
        set_token(v, (int32_t)strtol(line + n, NULL, 10), token.data);
        rlx_text_deinit(&token);
    }
    free(list);
    rlx_tokenizer *t = vocabulary_as_gguf(v, "gpt-2");
    for (int32_t id = 0; id < v->ntokens; id++)
        find_merge(v, t, id);
    rlx_tokenizer_destroy(t);
    return true;
}

void vocabulary_deinit(vocabulary *v)
{
    for (int32_t i = 0; i < v->ntokens; i++)
        free(v->token[i]);
    for (int32_t i = 0; i < v->nmerges; i++)
        free(v->merge[i]);
    free(v->token);
    free(v->merge);
}

/* ---- as files */

static rlx_tokenizer *must(rlx_status st, rlx_tokenizer *t)
{
    char *story = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(!st, "%s", story);
    return t;
}

static void put_quoted(rlx_text *t, const char *s)
{
    rlx_text_put(t, "\"");
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            rlx_text_putf(t, "\\%c", *s);
        else
            rlx_text_put_bytes(t, s, 1);
    rlx_text_put(t, "\"");
}

rlx_tokenizer *vocabulary_as_json(const vocabulary *v)
{
    rlx_text t = {0};
    int32_t normal = v->ntokens - v->ncontrol;
    rlx_text_put(&t, "{\"added_tokens\":[");
    for (int32_t id = normal; id < v->ntokens; id++) {
        rlx_text_putf(&t, "%s{\"id\":%d,\"special\":true,\"normalized\":false,\"content\":",
                      id > normal ? "," : "", id);
        put_quoted(&t, v->token[id]);
        rlx_text_put(&t, "}");
    }
    rlx_text_put(&t, "],\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                     "\"Split\",\"pattern\":{\"Regex\":");
    put_quoted(&t, v->pattern);
    rlx_text_putf(&t,
                  "},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
                  "false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{"
                  "\"type\":\"BPE\",\"ignore_merges\":%s,\"vocab\":{",
                  v->ignore_merges ? "true" : "false");
    for (int32_t id = 0, n = 0; id < normal; id++) {
        if (!v->token[id])
            continue;
        rlx_text_put(&t, n++ ? "," : "");
        put_quoted(&t, v->token[id]);
        rlx_text_putf(&t, ":%d", id);
    }
    rlx_text_put(&t, "},\"merges\":[");
    for (int32_t i = 0; i < v->nmerges; i++) {
        rlx_text_put(&t, i ? "," : "");
        put_quoted(&t, v->merge[i]);
    }
    rlx_text_put(&t, "]}}");
    rlx_tokenizer *made = NULL;
    rlx_status st = rlx_tokenizer_parse(t.data, "tokenizer.json", &made);
    rlx_text_deinit(&t);
    return must(st, made);
}

rlx_tokenizer *vocabulary_as_gguf(const vocabulary *v, const char *pre)
{
    gguf_file f = {0};
    gguf_string(&f, "tokenizer.ggml.model", "gpt2");
    gguf_string(&f, "tokenizer.ggml.pre", pre);
    gguf_array(&f, "tokenizer.ggml.tokens", RLX_GGUF_STRING, (uint64_t)v->ntokens);
    for (int32_t id = 0; id < v->ntokens; id++) {
        char unused[32];
        snprintf(unused, sizeof unused, "[PAD%d]", id);
        const char *text = v->token[id] ? v->token[id] : unused;
        gguf_put_text(&f.body, text, strlen(text));
    }
    gguf_array(&f, "tokenizer.ggml.token_type", RLX_GGUF_I32, (uint64_t)v->ntokens);
    for (int32_t id = 0; id < v->ntokens; id++)
        gguf_put_number(&f.body, id >= v->ntokens - v->ncontrol ? 3 : v->token[id] ? 1 : 5, 4);
    gguf_strings(&f, "tokenizer.ggml.merges", (const char *const *)v->merge, (uint64_t)v->nmerges);
    if (v->ncontrol)
        gguf_int(&f, "tokenizer.ggml.bos_token_id", (uint32_t)(v->ntokens - v->ncontrol));
    rlx_gguf *g = gguf_open(&f);
    rlx_tokenizer *made = NULL;
    rlx_status st = rlx_tokenizer_read_gguf(g, "vocabulary.gguf", &made);
    rlx_gguf_close(g);
    return must(st, made);
}
