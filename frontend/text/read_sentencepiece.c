/* frontend/text/read_sentencepiece.c: sentencepiece's tokenizer.model: BPE or Unigram with scores.
 *
 *   file        1 piece (often), 2 trainer, 3 normalizer         a protocol buffer: (number, value)
 *   piece       1 text, 2 score, 3 type
 *   trainer     3 model type, 24 spaces behind words, 35 byte fallback; ids: 40 unknown, 41 bos, 42 eos
 *   normalizer  1 name, 2 compiled rules; spaces: 3 one in front, 4 squeezed, 5 marked
 *
 * The numbers are those of sentencepiece_model.proto. */
#include <math.h>
#include <string.h>

#include "frontend/text/normalize.h"
#include "frontend/text/read_json.h"

/* ---- protocol buffers */

typedef struct field {
    uint64_t number, value; /* value: of a number; the bits of a float */
    const uint8_t *data;    /* of bytes */
    size_t bytes;
} field;

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

static bool take_varint(cursor *c, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        uint8_t b = *c->at++;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return true;
    }
    return false;
}

static bool take_bytes(cursor *c, uint64_t n, field *f)
{
    if (n > (uint64_t)(c->end - c->at))
        return false;
    f->data = c->at;
    f->bytes = (size_t)n;
    c->at += n;
    return true;
}

/* The next field; false at the end, or (*bad) where there is none. */
static bool next_field(cursor *c, field *f, bool *bad)
{
    uint64_t tag, n;
    *f = (field){.data = c->at}; /* no bytes, but a place */
    if (c->at == c->end)
        return false;
    *bad = !take_varint(c, &tag);
    f->number = tag >> 3;
    if (*bad)
        return false;
    switch (tag & 7) {
    case 0:
        *bad = !take_varint(c, &f->value);
        break;
    case 1:
        *bad = !take_bytes(c, 8, f);
        break;
    case 2:
        *bad = !take_varint(c, &n) || !take_bytes(c, n, f);
        break;
    case 5:
        *bad = !take_bytes(c, 4, f);
        for (int i = 3; i >= 0 && !*bad; i--)
            f->value = f->value << 8 | f->data[i];
        break;
    default:
        *bad = true;
    }
    return !*bad;
}

/* ---- the file */

enum {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER_DEFINED,
    PIECE_UNUSED,
    PIECE_BYTE
};
enum { MODEL_UNIGRAM = 1, MODEL_BPE };

typedef struct reader {
    rlx_description *d;
    cursor file;
    int32_t npieces;
    uint64_t model_type;
    bool byte_fallback, suffix, prefix, squeeze, marks;
    bool once; /* prefix: in front of the whole text alone, not behind added tokens */
    int32_t unknown, bos, eos;
    field rules;
    float least, most; /* scores of normal pieces */
} reader;

static rlx_status malformed(const reader *r, const cursor *c)
{
    return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "no protocol buffer from byte %td on",
                                c->at - r->file.at);
}

static rlx_status read_trainer(reader *r, const field *part)
{
    cursor c = {part->data, part->data + part->bytes};
    field f;
    bool bad = false;
    while (next_field(&c, &f, &bad)) {
        switch (f.number) {
        case 3:
            r->model_type = f.value;
            break;
        case 24:
            r->suffix = f.value != 0;
            break;
        case 35:
            r->byte_fallback = f.value != 0;
            break;
        case 40:
            r->unknown = (int32_t)f.value;
            break;
        case 41:
            r->bos = (int32_t)f.value;
            break;
        case 42:
            r->eos = (int32_t)f.value;
        }
    }
    return bad ? malformed(r, &c) : RLX_OK;
}

static rlx_status read_normalizer(reader *r, const field *part)
{
    cursor c = {part->data, part->data + part->bytes};
    field f;
    bool bad = false;
    while (next_field(&c, &f, &bad)) {
        switch (f.number) {
        case 2:
            r->rules = f;
            break;
        case 3:
            r->prefix = f.value != 0;
            break;
        case 4:
            r->squeeze = f.value != 0;
            break;
        case 5:
            r->marks = f.value != 0;
        }
    }
    return bad ? malformed(r, &c) : RLX_OK;
}

/* Counts the pieces and reads everything else. */
static rlx_status read_settings(reader *r)
{
    cursor c = r->file;
    field f;
    bool bad = false;
    while (next_field(&c, &f, &bad)) {
        if (f.number == 1 && r->npieces++ == RLX_MAX_TOKENS)
            return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s", "too many pieces");
        if (f.number == 2)
            RLX_TRY(read_trainer(r, &f));
        if (f.number == 3)
            RLX_TRY(read_normalizer(r, &f));
    }
    if (bad)
        return malformed(r, &c);
    if (!r->npieces)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s", "there are no pieces");
    if (r->model_type != MODEL_BPE && r->model_type != MODEL_UNIGRAM)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED,
                                    "model type %llu is not offered (Unigram, 1, and BPE, 2, are)",
                                    (unsigned long long)r->model_type);
    if (!r->rules.bytes)
        return RLX_OK;
    RLX_TRY_NOTE(rlx_charsmap_check((const char *)r->rules.data, r->rules.bytes),
                 "reading the normalizer of %s", r->d->name);
    r->d->settings.charsmap =
        rlx_description_text(r->d, (const char *)r->rules.data, r->rules.bytes);
    return RLX_OK;
}

/* ---- pieces */

typedef struct piece {
    field text;
    float score;
    uint64_t type;
} piece;

static rlx_status read_piece(reader *r, int32_t id, const field *part, piece *p)
{
    cursor c = {part->data, part->data + part->bytes};
    field f;
    bool bad = false;
    *p = (piece){.type = PIECE_NORMAL};
    while (next_field(&c, &f, &bad)) {
        if (f.number == 1)
            p->text = f;
        if (f.number == 2) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, sizeof p->score);
        }
        if (f.number == 3)
            p->type = f.value;
    }
    if (bad)
        return malformed(r, &c);
    if (!p->text.bytes || !isfinite(p->score))
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "piece %d has no text or no score", id);
    if (p->type < PIECE_NORMAL || p->type > PIECE_BYTE)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "piece %d has the unknown type %llu",
                                    id, (unsigned long long)p->type);
    return RLX_OK;
}

static rlx_status each_piece(reader *r, rlx_status (*use)(reader *r, int32_t id, const piece *p))
{
    cursor c = r->file;
    field f;
    piece p;
    bool bad = false;
    int32_t id = 0;
    while (next_field(&c, &f, &bad))
        if (f.number == 1) {
            RLX_TRY(read_piece(r, id, &f, &p));
            RLX_TRY(use(r, id++, &p));
        }
    return RLX_OK;
}

static rlx_status measure(reader *r, int32_t id, const piece *p)
{
    (void)id;
    if (p->type != PIECE_NORMAL)
        return RLX_OK;
    r->least = fminf(r->least, p->score);
    r->most = fmaxf(r->most, p->score);
    return RLX_OK;
}

/* Control tokens are cut out of the text as it is; user-defined ones, as sentencepiece does, of
 * what the normalizer made of it, by BPE; in Unigram they beat every other way. */
static rlx_status set_piece(reader *r, int32_t id, const piece *p)
{
    const char *text = (const char *)p->text.data;
    size_t n = p->text.bytes;
    bool user = p->type == PIECE_USER_DEFINED, bpe = r->model_type == MODEL_BPE;
    bool special = p->type == PIECE_CONTROL || p->type == PIECE_UNKNOWN;
    uint32_t flags = special                             ? RLX_TOKEN_SPECIAL
                     : p->type == PIECE_NORMAL || user   ? RLX_TOKEN_MODEL
                     : p->type == PIECE_UNUSED && bpe ? RLX_TOKEN_MODEL | RLX_TOKEN_UNUSED
                                                         : 0;
    RLX_TRY(rlx_description_set_token(r->d, id, text, n, flags));
    rlx_token *k = &r->d->tokens[id];
    if (bpe)
        k->rank = rlx_description_rank_of_score(p->score);
    else
        k->score = user ? (double)(float)((float)n * r->most - 0.1) : (double)p->score;
    if (!special && !user)
        return RLX_OK;
    return rlx_description_add_added(r->d, id, text, n, user ? RLX_ADDED_NORMALIZED : 0);
}

/* ---- tokenizer_config.json */

/* Classes that number pieces in another way than the file does. */
static rlx_status check_class(rlx_json_reader *r)
{
    static const char *const renumber[] = {"XLMRoberta", "Camembert", "MBart", "Nllb", "M2M100"};
    const char *name = NULL;
    RLX_TRY(rlx_json_text(r, "tokenizer_config.json", r->root, "tokenizer_class", &name));
    for (size_t i = 0; name && i < sizeof renumber / sizeof *renumber; i++)
        if (!strncmp(name, renumber[i], strlen(renumber[i])))
            return RLX_DESCRIPTION_FAIL(
                r->d, RLX_UNSUPPORTED,
                "tokenizer_class \"%s\" is not offered without a tokenizer.json", name);
    return RLX_OK;
}

static rlx_status read_config(reader *r, rlx_json_reader *config)
{
    static const char file[] = "tokenizer_config.json";
    bool legacy = true;
    RLX_TRY(check_class(config));
    RLX_TRY(rlx_json_flag(config, file, config->root, "legacy", &legacy));
    RLX_TRY(rlx_json_flag(config, file, config->root, "add_prefix_space", &r->prefix));
    r->once = !legacy;
    if (r->once && r->suffix)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED, "%s",
                                    "legacy false of tokenizer_config.json is not offered with "
                                    "spaces behind words");
    return RLX_OK;
}

/* Tokens around a text: Llama's bos before BPE, T5's eos behind Unigram, unless the config says
 * otherwise. */
static rlx_status set_ends(const reader *r, rlx_json_reader *config)
{
    bool bos = r->model_type == MODEL_BPE, eos = !bos;
    RLX_TRY(rlx_json_flag(config, "tokenizer_config.json", config->root, "add_bos_token", &bos));
    RLX_TRY(rlx_json_flag(config, "tokenizer_config.json", config->root, "add_eos_token", &eos));
    const struct {
        const char *what;
        bool wanted;
        int32_t id;
    } ends[] = {{"bos", bos, r->bos}, {"eos", eos, r->eos}};
    for (int i = 0; i < 2; i++)
        if (ends[i].wanted && (ends[i].id < 0 || ends[i].id >= r->npieces))
            return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s id %d; there are %d pieces",
                                        ends[i].what, ends[i].id, r->npieces);
    return rlx_description_set_ends(r->d, bos ? r->bos : -1, eos ? r->eos : -1);
}

/* ---- spaces */

static rlx_status set_spaces(const reader *r)
{
    rlx_text_settings *s = &r->d->settings;
    rlx_text_step *first = NULL;
    bool always = r->prefix && !r->once;
    RLX_TRY(rlx_description_set_sentencepiece(
        r->d, (always ? RLX_SPM_PREFIX : 0) | (r->squeeze ? RLX_SPM_SQUEEZE : 0) |
                  (r->marks ? RLX_SPM_MARKS : 0) | (r->suffix ? RLX_SPM_SUFFIX : 0) |
                  (r->once ? RLX_SPM_KEEP : 0)));
    if (!r->prefix || !r->once)
        return RLX_OK;
    RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_METASPACE, &first));
    first->a = rlx_description_string(r->d, r->marks ? "\xe2\x96\x81" : " ");
    first->flags = RLX_METASPACE_PREFIX | RLX_METASPACE_FIRST;
    s->decode_first = RLX_FIRST_STRIP;
    s->decode_strip = 1;
    return RLX_OK;
}

/* ---- the whole */

/* What an unknown character costs beyond the worst piece. */
enum { UNKNOWN_PENALTY = 10 };

static rlx_status read_all(reader *r, const struct cJSON *json)
{
    rlx_text_settings *s = &r->d->settings;
    rlx_json_reader config = {.d = r->d, .root = json};
    RLX_TRY(read_settings(r));
    RLX_TRY(read_config(r, &config));
    s->model = r->model_type == MODEL_BPE ? RLX_MODEL_BPE : RLX_MODEL_UNIGRAM;
    int32_t max_id = r->npieces - 1;
    RLX_TRY(rlx_config_max_id(r->d, json, &max_id));
    RLX_TRY(rlx_description_reserve(r->d, (int64_t)max_id + 1));
    RLX_TRY(each_piece(r, measure));
    RLX_TRY(rlx_config_add_tokens(r->d, json, false)); /* before the pieces: its flags count */
    RLX_TRY(each_piece(r, set_piece));
    s->unknown = r->unknown >= 0 && r->unknown < r->npieces ? r->unknown : -1;
    s->unknown_score = (double)(r->least - UNKNOWN_PENALTY);
    s->byte_fallback = r->byte_fallback;
    RLX_TRY(set_spaces(r));
    return set_ends(r, &config);
}

rlx_status rlx_read_sentencepiece(rlx_description *d, const void *data, size_t bytes,
                                  const struct cJSON *config)
{
    reader r = {.d = d,
                .file = {data, (const uint8_t *)data + bytes},
                .model_type = MODEL_UNIGRAM, /* the schema's defaults */
                .bos = 1,
                .eos = 2,
                .prefix = true,
                .squeeze = true,
                .marks = true,
                .least = INFINITY,
                .most = -INFINITY};
    return read_all(&r, config);
}
