/* frontend/tokenizer_spm.c: sentencepiece's tokenizer.model, BPE with scores.
 *
 *   file        1 piece (often), 2 trainer, 3 normalizer         a protocol buffer: (number, value)
 *   piece       1 text, 2 score, 3 type
 *   trainer     3 model type, 35 byte fallback, 40 unknown id, 41 bos id, 42 eos id
 *   normalizer  1 name, 2 compiled rules, 3 space in front, 4 spaces squeezed, 5 spaces marked
 *
 * The numbers are those of sentencepiece_model.proto. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"

/* U+2581, which stands for a space. */
static const char mark[] = "\xe2\x96\x81";

/* Ranks order as scores do, the other way round: floats of one sign order as their bits. */
int32_t rlx_tokenizer_rank_of_score(float score)
{
    int32_t bits;
    score += 0.0f; /* of the zeros only one */
    memcpy(&bits, &score, sizeof bits);
    return -1 - (bits < 0 ? bits ^ INT32_MAX : bits);
}

void rlx_tokenizer_set_sentencepiece(rlx_tokenizer *t, bool squeeze, bool prefix)
{
    t->by_text = t->byte_fallback = t->fuse_unknown = t->decode_fallback = true;
    rlx_tokenizer_find_byte_ids(t);
    if (squeeze)
        t->normal[t->nnormal++].kind = RLX_NORMAL_SQUEEZE;
    if (prefix)
        t->normal[t->nnormal++] = (rlx_normal_step){.kind = RLX_NORMAL_PREPEND, .text = mark};
    t->normal[t->nnormal++] =
        (rlx_normal_step){.kind = RLX_NORMAL_REPLACE, .pattern = " ", .text = mark};
    t->decode_space = mark;
    t->decode_strip = prefix ? 1 : 0;
}

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
    *f = (field){0};
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

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED };
enum { MAX_PIECES = 1 << 24, MODEL_BPE = 2 };

typedef struct reader {
    rlx_tokenizer *t;
    const char *name;
    cursor file;
    int32_t npieces;
    uint64_t model_type, byte_fallback;
    int32_t unknown, bos, eos;
    bool prefix, squeeze, marks;
} reader;

static rlx_status malformed(const reader *r, const cursor *c)
{
    return RLX_FAIL(RLX_INVALID_FILE, "%s: no protocol buffer from byte %td on", r->name,
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
        case 35:
            r->byte_fallback = f.value;
            break;
        case 40:
            r->unknown = (int32_t)f.value;
            break;
        case 41:
            r->bos = (int32_t)f.value;
            break;
        case 42:
            r->eos = (int32_t)f.value;
            break;
        case 24:
            if (f.value)
                return RLX_FAIL(RLX_UNSUPPORTED, "%s: treat_whitespace_as_suffix is not offered",
                                r->name);
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
        if (f.number == 2 && f.bytes)
            return RLX_FAIL(RLX_UNSUPPORTED, "%s: a normalizer with compiled rules is not offered",
                            r->name);
        if (f.number == 3)
            r->prefix = f.value != 0;
        if (f.number == 4)
            r->squeeze = f.value != 0;
        if (f.number == 5)
            r->marks = f.value != 0;
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
        if (f.number == 1 && r->npieces++ == MAX_PIECES)
            return RLX_FAIL(RLX_INVALID_FILE, "%s: too many pieces", r->name);
        if (f.number == 2)
            RLX_TRY(read_trainer(r, &f));
        if (f.number == 3)
            RLX_TRY(read_normalizer(r, &f));
    }
    if (bad)
        return malformed(r, &c);
    if (!r->npieces)
        return RLX_FAIL(RLX_INVALID_FILE, "%s holds no pieces", r->name);
    if (r->model_type != MODEL_BPE)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s: model type %llu is not offered (BPE, 2, is)", r->name,
                        (unsigned long long)r->model_type);
    if (!r->marks)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s: escape_whitespaces false is not offered", r->name);
    return RLX_OK;
}

/* Control tokens are cut out of the text as it is; user-defined ones, as sentencepiece does, of
 * what the normalizer made of it. */
static rlx_status set_type(reader *r, int32_t id, uint64_t type)
{
    rlx_token *k = &r->t->tokens[id];
    bool user = type == PIECE_USER_DEFINED;
    if (type == PIECE_UNUSED)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s: piece %d is of type UNUSED, which is not offered",
                        r->name, id);
    if (type != PIECE_NORMAL && !user)
        k->rank = RLX_RANK_NEVER;
    k->special = type == PIECE_CONTROL || type == PIECE_UNKNOWN;
    if (!k->special && !user)
        return RLX_OK;
    rlx_added_token a = {.text = k->text, .bytes = k->text_bytes, .id = id};
    return rlx_tokenizer_add_added(r->t, user ? &r->t->normalized : &r->t->raw, &a);
}

static rlx_status read_piece(reader *r, int32_t id, const field *part)
{
    cursor c = {part->data, part->data + part->bytes};
    field f, text = {0};
    bool bad = false;
    float score = 0;
    uint64_t type = PIECE_NORMAL;
    while (next_field(&c, &f, &bad)) {
        if (f.number == 1)
            text = f;
        if (f.number == 2) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        }
        if (f.number == 3)
            type = f.value;
    }
    if (bad)
        return malformed(r, &c);
    if (!text.bytes || isnan(score))
        return RLX_FAIL(RLX_INVALID_FILE, "%s: piece %d has no text or no score", r->name, id);
    RLX_TRY(rlx_tokenizer_set_token(r->t, id, (const char *)text.data, text.bytes));
    r->t->tokens[id].rank = rlx_tokenizer_rank_of_score(score);
    return set_type(r, id, type);
}

static rlx_status read_pieces(reader *r)
{
    cursor c = r->file;
    field f;
    bool bad = false;
    int32_t id = 0;
    RLX_TRY(rlx_tokenizer_reserve(r->t, r->npieces, 0));
    while (next_field(&c, &f, &bad))
        if (f.number == 1)
            RLX_TRY(read_piece(r, id++, &f));
    return RLX_OK;
}

static rlx_status put_end(const reader *r, const char *what, int32_t id, int32_t *ids, int *n)
{
    if (id < 0 || id >= r->npieces)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: %s id %d; there are %d pieces", r->name, what, id,
                        r->npieces);
    ids[(*n)++] = id;
    return RLX_OK;
}

static rlx_status read_all(reader *r, const rlx_tokenizer_ends *ends)
{
    rlx_tokenizer *t = r->t;
    RLX_TRY(read_settings(r));
    RLX_TRY(read_pieces(r));
    t->unknown = r->unknown >= 0 && r->unknown < r->npieces ? r->unknown : -1;
    rlx_tokenizer_set_sentencepiece(t, r->squeeze, r->prefix);
    t->byte_fallback = r->byte_fallback != 0;
    if (ends->bos)
        RLX_TRY(put_end(r, "bos", r->bos, t->prefix, &t->nprefix));
    if (ends->eos)
        RLX_TRY(put_end(r, "eos", r->eos, t->suffix, &t->nsuffix));
    return rlx_tokenizer_finish(t);
}

rlx_status rlx_tokenizer_parse_sentencepiece(const void *data, size_t bytes, const char *name,
                                             const rlx_tokenizer_ends *ends, rlx_tokenizer **out)
{
    reader r = {.name = name,
                .file = {data, (const uint8_t *)data + bytes},
                .model_type = 1, /* the schema's defaults */
                .bos = 1,
                .eos = 2,
                .prefix = true,
                .squeeze = true,
                .marks = true};
    *out = NULL;
    RLX_TRY(rlx_tokenizer_create(&r.t));
    rlx_status st = read_all(&r, ends);
    if (st) {
        rlx_tokenizer_destroy(r.t);
        return st;
    }
    *out = r.t;
    return RLX_OK;
}

rlx_status rlx_tokenizer_load_sentencepiece(const char *path, const rlx_tokenizer_ends *ends,
                                            rlx_tokenizer **out)
{
    char *data;
    size_t bytes;
    RLX_TRY(rlx_file_read(path, &data, &bytes));
    rlx_status st = rlx_tokenizer_parse_sentencepiece(data, bytes, path, ends, out);
    free(data);
    return st;
}
