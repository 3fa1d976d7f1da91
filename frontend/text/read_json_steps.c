/* frontend/text/read_json_steps.c: tokenizer.json: normalizer, pre_tokenizer, post_processor and
 * decoder, each a part or a Sequence of parts. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "frontend/text/normalize.h"
#include "frontend/text/read_json.h"
#include "frontend/text/unicode.h"

/* \w of the reference's other regular expressions. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}"

static rlx_status unsupported(rlx_json_reader *r, const char *part, const char *what)
{
    return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED, "%s \"%s\" is not offered", part,
                                what ? what : "(no type)");
}

static rlx_status missing(rlx_json_reader *r, const char *part, const char *key)
{
    return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s: there is no \"%s\"", part, key);
}

static const char *type_of(const cJSON *part)
{
    const char *type = cJSON_GetStringValue(rlx_json_get(part, "type"));
    return type ? type : "(no type)";
}

/* A text that must be there. */
static rlx_status need_text(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                            const char **out)
{
    *out = NULL;
    RLX_TRY(rlx_json_text(r, part, o, key, out));
    return *out ? RLX_OK : missing(r, part, key);
}

typedef rlx_status part_fn(rlx_json_reader *r, const cJSON *part);

/* Calls `read` for a part, or for each of a Sequence's members under `key`. */
static rlx_status each_of(rlx_json_reader *r, const cJSON *part, const char *key, part_fn *read)
{
    if (!part)
        return RLX_OK;
    if (!cJSON_IsObject(part))
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "a member of \"%s\" is no object", key);
    if (strcmp(type_of(part), "Sequence"))
        return read(r, part);
    const cJSON *v, *list = rlx_json_get(part, key);
    if (!cJSON_IsArray(list))
        return missing(r, "Sequence", key);
    cJSON_ArrayForEach(v, list) RLX_TRY(each_of(r, v, key, read));
    return RLX_OK;
}

/* {"String": ..} or {"Regex": ..} */
static rlx_status read_pattern(rlx_json_reader *r, const char *part, const cJSON *o, bool *regex,
                               rlx_span *out)
{
    const cJSON *pattern = rlx_json_get(o, "pattern");
    const char *text = NULL;
    RLX_TRY(rlx_json_text(r, part, pattern, "Regex", &text));
    *regex = text != NULL;
    RLX_TRY(rlx_json_text(r, part, pattern, "String", &text));
    if (!text)
        return missing(r, part, "pattern");
    if (!*text)
        return unsupported(r, part, "an empty pattern");
    *out = rlx_description_string(r->d, text);
    return RLX_OK;
}

/* ---- normalizer */

static rlx_status read_replace(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    const char *with;
    bool regex;
    RLX_TRY(rlx_description_add_normal(r->d, RLX_NORMAL_REPLACE, &s));
    RLX_TRY(read_pattern(r, "Replace", part, &regex, &s->a));
    RLX_TRY(need_text(r, "Replace", part, "content", &with));
    s->kind = regex ? RLX_NORMAL_REPLACE_REGEX : RLX_NORMAL_REPLACE;
    s->b = rlx_description_string(r->d, with);
    return RLX_OK;
}

static rlx_status read_prepend(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    const char *text;
    RLX_TRY(rlx_description_add_normal(r->d, RLX_NORMAL_PREPEND, &s));
    RLX_TRY(need_text(r, "Prepend", part, "prepend", &text));
    s->a = rlx_description_string(r->d, text);
    return RLX_OK;
}

static rlx_status read_strip(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    bool left = true, right = true;
    RLX_TRY(rlx_json_flag(r, "Strip", part, "strip_left", &left));
    RLX_TRY(rlx_json_flag(r, "Strip", part, "strip_right", &right));
    RLX_TRY(rlx_description_add_normal(r->d, RLX_NORMAL_STRIP, &s));
    s->flags = (left ? RLX_AT_LEFT : 0) | (right ? RLX_AT_RIGHT : 0);
    return RLX_OK;
}

static rlx_status read_bert_normalizer(rlx_json_reader *r, const cJSON *part)
{
    static const char name[] = "BertNormalizer";
    rlx_text_step *s = NULL;
    bool clean = true, cjk = true, lower = true;
    RLX_TRY(rlx_json_flag(r, name, part, "clean_text", &clean));
    RLX_TRY(rlx_json_flag(r, name, part, "handle_chinese_chars", &cjk));
    RLX_TRY(rlx_json_flag(r, name, part, "lowercase", &lower));
    bool marks = lower;
    RLX_TRY(rlx_json_flag(r, name, part, "strip_accents", &marks));
    RLX_TRY(rlx_description_add_normal(r->d, RLX_NORMAL_BERT, &s));
    s->flags = (clean ? RLX_BERT_CLEAN : 0) | (cjk ? RLX_BERT_CJK : 0) |
               (marks ? RLX_BERT_STRIP_MARKS : 0) | (lower ? RLX_BERT_LOWERCASE : 0);
    return RLX_OK;
}

/* The rules in base64. */
static rlx_status read_precompiled(rlx_json_reader *r, const cJSON *part)
{
    static const char name[] = "Precompiled";
    rlx_text_step *s = NULL;
    const char *text = NULL;
    size_t n;
    RLX_TRY(rlx_json_text(r, name, part, "precompiled_charsmap", &text));
    if (!text || !*text)
        return RLX_OK; /* no rules */
    if (r->d->settings.charsmap.bytes)
        return unsupported(r, "normalizer", "a second Precompiled");
    char *bytes = malloc(strlen(text));
    if (!bytes)
        return RLX_OOM();
    rlx_status st = RLX_OK;
    if (sodium_base642bin((unsigned char *)bytes, strlen(text), text, strlen(text), "\r\n", &n,
                          NULL, sodium_base64_VARIANT_ORIGINAL))
        st = RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s: precompiled_charsmap is no base64",
                                  name);
    if (!st)
        st = rlx_status_note(rlx_charsmap_check(bytes, n), __FILE__, __LINE__,
                             "reading precompiled_charsmap of %s", r->d->name);
    if (!st)
        r->d->settings.charsmap = rlx_description_text(r->d, bytes, n);
    free(bytes);
    RLX_TRY(st);
    return rlx_description_add_normal(r->d, RLX_NORMAL_CHARSMAP, &s);
}

static rlx_status read_normalizer(rlx_json_reader *r, const cJSON *part)
{
    static const struct {
        const char *type;
        part_fn *read; /* NULL: a step of this kind and n */
        rlx_normal_kind kind;
        uint32_t n;
    } kinds[] = {
        {"Prepend", read_prepend, 0, 0},
        {"Replace", read_replace, 0, 0},
        {"Strip", read_strip, 0, 0},
        {"BertNormalizer", read_bert_normalizer, 0, 0},
        {"Precompiled", read_precompiled, 0, 0},
        {"NFC", NULL, RLX_NORMAL_FORM, RLX_NFC},
        {"NFD", NULL, RLX_NORMAL_FORM, RLX_NFD},
        {"NFKC", NULL, RLX_NORMAL_FORM, RLX_NFKC},
        {"NFKD", NULL, RLX_NORMAL_FORM, RLX_NFKD},
        {"Lowercase", NULL, RLX_NORMAL_LOWERCASE, 0},
        {"StripAccents", NULL, RLX_NORMAL_STRIP_MARKS, 0},
        {"Nmt", NULL, RLX_NORMAL_NMT, 0},
        {"ByteLevel", NULL, RLX_NORMAL_BYTES, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        rlx_text_step *s = NULL;
        if (strcmp(kinds[i].type, type_of(part)))
            continue;
        if (kinds[i].read)
            return kinds[i].read(r, part);
        RLX_TRY(rlx_description_add_normal(r->d, kinds[i].kind, &s));
        s->n = kinds[i].n;
        return RLX_OK;
    }
    return unsupported(r, "normalizer", type_of(part));
}

/* ---- pre-tokenizer */

static rlx_status read_behavior(rlx_json_reader *r, const char *part, const cJSON *o,
                                rlx_text_step *s)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *how = NULL;
    RLX_TRY(rlx_json_text(r, part, o, "behavior", &how));
    for (uint16_t i = 0; how && i < 5; i++) {
        if (!strcmp(names[i], how)) {
            s->behavior = i; /* in the order of rlx_split_behavior */
            return RLX_OK;
        }
    }
    return how ? unsupported(r, "pre_tokenizer's behavior", how) : RLX_OK;
}

static rlx_status read_split(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    bool regex, invert = false;
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_REGEX, &s));
    RLX_TRY(read_pattern(r, "Split", part, &regex, &s->a));
    RLX_TRY(read_behavior(r, "Split", part, s));
    RLX_TRY(rlx_json_flag(r, "Split", part, "invert", &invert));
    s->kind = regex ? RLX_SPLIT_REGEX : RLX_SPLIT_LITERAL;
    s->invert = invert;
    return RLX_OK;
}

static rlx_status read_byte_level(rlx_json_reader *r, const cJSON *part)
{
    static const char name[] = "ByteLevel";
    rlx_text_step *s = NULL;
    bool prefix = true, regex = true;
    for (uint32_t i = 0; i < r->d->settings.nsplit; i++)
        if (r->d->settings.split[i].kind == RLX_SPLIT_BYTES)
            return unsupported(r, "pre_tokenizer", "a second ByteLevel");
    RLX_TRY(rlx_json_flag(r, name, part, "add_prefix_space", &prefix));
    RLX_TRY(rlx_json_flag(r, name, part, "use_regex", &regex));
    if (prefix)
        RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_PREFIX, &s));
    if (regex)
        RLX_TRY(rlx_description_split_regex(r->d, rlx_text_pre_find("gpt-2")->patterns[0]));
    return rlx_description_add_split(r->d, RLX_SPLIT_BYTES, &s);
}

static rlx_status read_metaspace(rlx_json_reader *r, const cJSON *part)
{
    static const char name[] = "Metaspace";
    rlx_text_step *s = NULL;
    const char *scheme = NULL, *mark = NULL;
    bool prefix = true, split = true;
    RLX_TRY(rlx_json_text(r, name, part, "prepend_scheme", &scheme));
    RLX_TRY(need_text(r, name, part, "replacement", &mark));
    RLX_TRY(rlx_json_flag(r, name, part, "add_prefix_space", &prefix));
    RLX_TRY(rlx_json_flag(r, name, part, "split", &split));
    if (!*mark)
        return missing(r, name, "replacement");
    if (scheme && strcmp(scheme, "always") && strcmp(scheme, "first") && strcmp(scheme, "never"))
        return unsupported(r, "Metaspace's prepend_scheme", scheme);
    if (scheme)
        prefix = strcmp(scheme, "never") != 0;
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_METASPACE, &s));
    s->a = rlx_description_string(r->d, mark);
    s->flags = (prefix ? RLX_METASPACE_PREFIX : 0) | (split ? RLX_METASPACE_SPLIT : 0) |
               (scheme && !strcmp(scheme, "first") ? RLX_METASPACE_FIRST : 0);
    return RLX_OK;
}

static rlx_status read_classes(rlx_json_reader *r, rlx_char_class c, rlx_split_behavior b,
                               rlx_text_step **out)
{
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_CLASS, out));
    (*out)->n = c;
    (*out)->behavior = b;
    return RLX_OK;
}

static rlx_status read_bert_splits(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    (void)part;
    RLX_TRY(read_classes(r, RLX_CHAR_SPACE, RLX_SPLIT_REMOVED, &s));
    return read_classes(r, RLX_CHAR_PUNCTUATION, RLX_SPLIT_ISOLATED, &s);
}

static rlx_status read_whitespace_split(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    (void)part;
    return read_classes(r, RLX_CHAR_SPACE, RLX_SPLIT_REMOVED, &s);
}

static rlx_status read_whitespace(rlx_json_reader *r, const cJSON *part)
{
    (void)part;
    RLX_TRY(rlx_description_split_regex(r->d, "[" WORD "]+|[^" WORD "\\s]+"));
    rlx_text_step *s = &r->d->settings.split[r->d->settings.nsplit - 1];
    s->behavior = RLX_SPLIT_REMOVED;
    s->invert = true;
    return RLX_OK;
}

static rlx_status read_punctuation(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    RLX_TRY(read_classes(r, RLX_CHAR_PUNCTUATION, RLX_SPLIT_ISOLATED, &s));
    return read_behavior(r, "Punctuation", part, s);
}

static rlx_status read_digits(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    bool alone = false;
    RLX_TRY(rlx_json_flag(r, "Digits", part, "individual_digits", &alone));
    return read_classes(r, RLX_CHAR_NUMBER, alone ? RLX_SPLIT_ISOLATED : RLX_SPLIT_CONTIGUOUS, &s);
}

static rlx_status read_delimiter(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    const char *text;
    RLX_TRY(need_text(r, "CharDelimiterSplit", part, "delimiter", &text));
    if (!*text)
        return missing(r, "CharDelimiterSplit", "delimiter");
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_LITERAL, &s));
    s->a = rlx_description_string(r->d, text);
    s->behavior = RLX_SPLIT_REMOVED;
    return RLX_OK;
}

/* A piece is what one script writes, with the spaces and unassigned characters behind it; those in
 * front of all are none of any. Common characters are a script, too, but U+30FC, which lengthens
 * vowels. */
static rlx_status read_scripts(rlx_json_reader *r, const cJSON *part)
{
    static const char pattern[] =
#define ANY "\\p{sc:Unknown}"
#define COMMON(name) "[^\\P{sc:" #name "}\\x{30fc} ](?:[^\\P{sc:" #name "}\\x{30fc}]|" ANY ")*|"
#define KANA(name)
#define SCRIPT(name) "\\p{sc:" #name "}[\\p{sc:" #name "} " ANY "]*|"
#include "frontend/text/scripts.def"
#undef COMMON
#undef KANA
#undef SCRIPT
#define COMMON(name)
#define KANA(name) "\\p{sc:" #name "}"
#define SCRIPT(name)
        "["
#include "frontend/text/scripts.def"
        "\\x{30fc}]["
#include "frontend/text/scripts.def"
        "\\x{30fc} " ANY "]*";
#undef COMMON
#undef KANA
#undef SCRIPT
#undef ANY
    (void)part;
    RLX_TRY(rlx_description_split_regex(r->d, pattern));
    rlx_text_step *s = &r->d->settings.split[r->d->settings.nsplit - 1];
    s->behavior = RLX_SPLIT_REMOVED;
    s->invert = true;
    return RLX_OK;
}

static rlx_status read_fixed_length(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_step *s = NULL;
    int64_t n = 5;
    RLX_TRY(rlx_json_int(r, "FixedLength", part, "length", 1, INT32_MAX, &n));
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_COUNT, &s));
    s->n = (uint32_t)n;
    return RLX_OK;
}

static const struct part_kind {
    const char *type;
    part_fn *read;
} pre_tokenizers[] = {
    {"ByteLevel", read_byte_level},
    {"Split", read_split},
    {"Metaspace", read_metaspace},
    {"BertPreTokenizer", read_bert_splits},
    {"WhitespaceSplit", read_whitespace_split},
    {"Whitespace", read_whitespace},
    {"Punctuation", read_punctuation},
    {"Digits", read_digits},
    {"CharDelimiterSplit", read_delimiter},
    {"FixedLength", read_fixed_length},
    {"UnicodeScripts", read_scripts},
};

static rlx_status read_kind(rlx_json_reader *r, const struct part_kind *kinds, size_t n,
                            const char *what, const cJSON *part)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(kinds[i].type, type_of(part)))
            return kinds[i].read(r, part);
    return unsupported(r, what, type_of(part));
}

static rlx_status read_pre_tokenizer(rlx_json_reader *r, const cJSON *part)
{
    return read_kind(r, pre_tokenizers, sizeof pre_tokenizers / sizeof *pre_tokenizers,
                     "pre_tokenizer", part);
}

/* ---- post-processor */

static rlx_status put_special(rlx_json_reader *r, const cJSON *part, const char *name, int32_t type,
                              rlx_text_template *t)
{
    const cJSON *v, *token = rlx_json_get(rlx_json_get(part, "special_tokens"), name);
    const cJSON *list = rlx_json_get(token, "ids");
    if (!cJSON_IsArray(list))
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                    "TemplateProcessing: special token \"%s\" has no ids", name);
    cJSON_ArrayForEach(v, list)
    {
        double id = cJSON_IsNumber(v) ? v->valuedouble : -1;
        if (!(id >= 0 && id < RLX_MAX_TOKENS))
            return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                        "TemplateProcessing: \"%s\" has no usable id", name);
        RLX_TRY(rlx_description_put_template(r->d, t, (int32_t)id, type));
    }
    return RLX_OK;
}

static rlx_status read_template(rlx_json_reader *r, const cJSON *part, const char *key,
                                rlx_text_template *t)
{
    static const char name[] = "TemplateProcessing";
    const cJSON *v, *list = rlx_json_get(part, key);
    bool has[2] = {false, false};
    if (!cJSON_IsArray(list))
        return missing(r, name, key);
    cJSON_ArrayForEach(v, list)
    {
        const cJSON *special = rlx_json_get(v, "SpecialToken");
        const cJSON *body = special ? special : rlx_json_get(v, "Sequence");
        const char *id;
        int64_t type = 0;
        RLX_TRY(need_text(r, name, body, "id", &id));
        RLX_TRY(rlx_json_int(r, name, body, "type_id", 0, INT32_MAX, &type));
        if (special) {
            RLX_TRY(put_special(r, part, id, (int32_t)type, t));
            continue;
        }
        bool second = !strcmp(id, "B");
        if (!second && strcmp(id, "A"))
            return unsupported(r, "TemplateProcessing's sequence", id);
        has[second] = true;
        RLX_TRY(rlx_description_put_template(r->d, t, second ? RLX_TEMPLATE_B : RLX_TEMPLATE_A,
                                             (int32_t)type));
    }
    if (!has[0] || (t == &r->d->settings.pair) != has[1])
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                    "%s: \"%s\" does not hold the texts it is for", name, key);
    return RLX_OK;
}

static rlx_status read_template_processing(rlx_json_reader *r, const cJSON *part)
{
    rlx_text_settings *s = &r->d->settings;
    if (s->single.n)
        return unsupported(r, "post_processor", "a second template");
    RLX_TRY(read_template(r, part, "single", &s->single));
    return rlx_json_get(part, "pair") ? read_template(r, part, "pair", &s->pair) : RLX_OK;
}

/* ["[SEP]", 102] */
static rlx_status read_named_id(rlx_json_reader *r, const cJSON *part, const char *key, int32_t *id)
{
    const cJSON *v = cJSON_GetArrayItem(rlx_json_get(part, key), 1);
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(d >= 0 && d < RLX_MAX_TOKENS))
        return missing(r, "post_processor", key);
    *id = (int32_t)d;
    return RLX_OK;
}

/* A [cls, sep] around each text; what lies between a pair, and B's type, differ. */
static rlx_status read_cls_sep(rlx_json_reader *r, const cJSON *part, bool roberta)
{
    rlx_text_settings *s = &r->d->settings;
    int32_t cls = 0, sep = 0, b = roberta ? 0 : 1;
    if (s->single.n)
        return unsupported(r, "post_processor", "a second template");
    RLX_TRY(read_named_id(r, part, "cls", &cls));
    RLX_TRY(read_named_id(r, part, "sep", &sep));
    const rlx_template_part single[] = {{cls, 0}, {RLX_TEMPLATE_A, 0}, {sep, 0}};
    const rlx_template_part pair[] = {{cls, 0}, {RLX_TEMPLATE_A, 0}, {sep, 0},
                                      {sep, 0}, {RLX_TEMPLATE_B, b}, {sep, b}};
    for (int i = 0; i < 3; i++)
        RLX_TRY(rlx_description_put_template(r->d, &s->single, single[i].what, single[i].type));
    for (int i = 0; i < 6; i++)
        if (i != 3 || roberta)
            RLX_TRY(rlx_description_put_template(r->d, &s->pair, pair[i].what, pair[i].type));
    return RLX_OK;
}

static rlx_status read_bert_processing(rlx_json_reader *r, const cJSON *part)
{
    return read_cls_sep(r, part, false);
}

static rlx_status read_roberta_processing(rlx_json_reader *r, const cJSON *part)
{
    return read_cls_sep(r, part, true);
}

static rlx_status ignore(rlx_json_reader *r, const cJSON *part)
{
    (void)r, (void)part;
    return RLX_OK; /* ByteLevel moves offsets, not ids */
}

static const struct part_kind post_processors[] = {
    {"TemplateProcessing", read_template_processing},
    {"BertProcessing", read_bert_processing},
    {"RobertaProcessing", read_roberta_processing},
    {"ByteLevel", ignore},
};

static rlx_status read_post_processor(rlx_json_reader *r, const cJSON *part)
{
    return read_kind(r, post_processors, sizeof post_processors / sizeof *post_processors,
                     "post_processor", part);
}

/* ---- decoder */

static rlx_status decode_bytes(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    (void)part;
    return rlx_description_add_decode(r->d, RLX_DECODE_BYTES, &s);
}

static rlx_status decode_fallback(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    (void)part;
    return rlx_description_add_decode(r->d, RLX_DECODE_FALLBACK, &s);
}

static rlx_status decode_metaspace(rlx_json_reader *r, const cJSON *part)
{
    static const char name[] = "Metaspace";
    rlx_decode_step *s = NULL;
    const char *mark, *scheme = NULL;
    bool prefix = true;
    RLX_TRY(need_text(r, name, part, "replacement", &mark));
    RLX_TRY(rlx_json_text(r, name, part, "prepend_scheme", &scheme));
    RLX_TRY(rlx_json_flag(r, name, part, "add_prefix_space", &prefix));
    if (scheme)
        prefix = strcmp(scheme, "never") != 0;
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_REPLACE, &s));
    s->a = rlx_description_string(r->d, mark);
    s->b = rlx_description_string(r->d, " ");
    r->d->settings.decode_first = prefix ? RLX_FIRST_NO_SPACE : RLX_FIRST_SAME;
    return RLX_OK;
}

static rlx_status decode_replace(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    const char *with;
    bool regex;
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_REPLACE, &s));
    RLX_TRY(read_pattern(r, "Replace", part, &regex, &s->a));
    RLX_TRY(need_text(r, "Replace", part, "content", &with));
    s->b = rlx_description_string(r->d, with);
    return regex ? unsupported(r, "decoder", "Replace with a regular expression") : RLX_OK;
}

static rlx_status decode_wordpiece(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    const char *prefix = "##";
    bool cleanup = true;
    RLX_TRY(rlx_json_text(r, "WordPiece", part, "prefix", &prefix));
    RLX_TRY(rlx_json_flag(r, "WordPiece", part, "cleanup", &cleanup));
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_WORDPIECE, &s));
    s->a = rlx_description_string(r->d, prefix);
    if (cleanup)
        RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_CLEANUP, &s));
    r->d->settings.decode_first = RLX_FIRST_WORDPIECE;
    return RLX_OK;
}

/* A word's last token is behind all but the text's end a space. */
static rlx_status decode_ends(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    const char *suffix = "</w>";
    RLX_TRY(rlx_json_text(r, "BPEDecoder", part, "suffix", &suffix));
    if (!*suffix)
        return unsupported(r, "decoder", "BPEDecoder with an empty suffix");
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_REPLACE, &s));
    s->a = rlx_description_string(r->d, suffix);
    s->b = rlx_description_string(r->d, " ");
    r->d->settings.decode_end = s->a;
    return RLX_OK;
}

/* One token for neighbours that are the same, and nothing for the one that parts them. */
static rlx_status decode_ctc(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    const char *pad = "<pad>", *delimiter = "|";
    bool cleanup = true;
    RLX_TRY(rlx_json_text(r, "CTC", part, "pad_token", &pad));
    RLX_TRY(rlx_json_text(r, "CTC", part, "word_delimiter_token", &delimiter));
    RLX_TRY(rlx_json_flag(r, "CTC", part, "cleanup", &cleanup));
    if (r->d->settings.ndecode)
        return unsupported(r, "decoder", "CTC behind another step");
    r->d->settings.decode_collapse = true;
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_REPLACE, &s));
    s->a = rlx_description_string(r->d, pad);
    s->b = rlx_description_string(r->d, "");
    if (!cleanup)
        return RLX_OK;
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_CLEANUP, &s));
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_REPLACE, &s));
    s->a = rlx_description_string(r->d, delimiter);
    s->b = rlx_description_string(r->d, " ");
    return RLX_OK;
}

static bool fuses(const cJSON *part)
{
    return !strcmp(type_of(part), "Fuse");
}

/* Is a part of the decoder behind a Fuse, which makes one token of all? */
static bool is_fused(const cJSON *part)
{
    for (const cJSON *p = part->prev; p && p->next; p = p->prev) /* the first's prev is the last */
        if (fuses(p))
            return true;
    return false;
}

static rlx_status decode_strip(rlx_json_reader *r, const cJSON *part)
{
    rlx_decode_step *s = NULL;
    const char *what;
    int64_t start = 0, stop = 0;
    RLX_TRY(need_text(r, "Strip", part, "content", &what));
    RLX_TRY(rlx_json_int(r, "Strip", part, "start", 0, INT32_MAX, &start));
    RLX_TRY(rlx_json_int(r, "Strip", part, "stop", 0, INT32_MAX, &stop));
    if (!is_fused(part)) {
        RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_STRIP, &s));
        s->a = rlx_description_string(r->d, what);
        s->n = (uint32_t)start;
        s->m = (uint32_t)stop;
        return RLX_OK;
    }
    if (strcmp(what, " ") || stop)
        return unsupported(r, "decoder", "Strip of anything but the text's leading spaces");
    r->d->settings.decode_first = RLX_FIRST_STRIP;
    r->d->settings.decode_strip = (uint32_t)start;
    return RLX_OK;
}

static const struct part_kind decoders[] = {
    {"ByteLevel", decode_bytes},
    {"Metaspace", decode_metaspace},
    {"Replace", decode_replace},
    {"WordPiece", decode_wordpiece},
    {"ByteFallback", decode_fallback},
    {"Strip", decode_strip},
    {"BPEDecoder", decode_ends},
    {"CTC", decode_ctc},
    {"Fuse", ignore},
};

static rlx_status read_decoder(rlx_json_reader *r, const cJSON *part)
{
    if (!fuses(part) && is_fused(part) && strcmp(type_of(part), "Strip"))
        return unsupported(r, "decoder behind Fuse", type_of(part));
    return read_kind(r, decoders, sizeof decoders / sizeof *decoders, "decoder", part);
}

/* Without a decoder tokens are joined by spaces. */
static rlx_status read_decoders(rlx_json_reader *r)
{
    rlx_decode_step *s = NULL;
    const cJSON *decoder = rlx_json_get(r->root, "decoder");
    if (decoder)
        return each_of(r, decoder, "decoders", read_decoder);
    RLX_TRY(rlx_description_add_decode(r->d, RLX_DECODE_SPACE, &s));
    r->d->settings.decode_first = RLX_FIRST_STRIP;
    r->d->settings.decode_strip = 1;
    return RLX_OK;
}

rlx_status rlx_json_read_steps(rlx_json_reader *r)
{
    RLX_TRY(each_of(r, rlx_json_get(r->root, "normalizer"), "normalizers", read_normalizer));
    RLX_TRY(
        each_of(r, rlx_json_get(r->root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer));
    RLX_TRY(each_of(r, rlx_json_get(r->root, "post_processor"), "processors", read_post_processor));
    return read_decoders(r);
}
