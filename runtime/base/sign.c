#include "runtime/base/sign.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"

static const char secret_head[] = "rlx secret key 1 ", public_head[] = "rlx public key 1 ";
_Static_assert(sizeof(rlx_secret_key) == crypto_sign_SECRETKEYBYTES, "sodium's");
_Static_assert(sizeof(rlx_public_key) == crypto_sign_PUBLICKEYBYTES, "sodium's");
_Static_assert((int)RLX_SIGNATURE_BYTES == (int)crypto_sign_BYTES, "sodium's");

static rlx_status begin(void)
{
    return sodium_init() < 0 ? RLX_FAIL(RLX_INTERNAL, "libsodium does not begin") : RLX_OK;
}

/* Heap; NULL: no memory. */
static char *key_text(const char *head, const uint8_t *bytes, size_t n)
{
    char hex[2 * sizeof(rlx_secret_key) + 1];
    rlx_text t = {0};
    sodium_bin2hex(hex, sizeof hex, bytes, n);
    rlx_text_putf(&t, "%s%s\n", head, hex);
    sodium_memzero(hex, sizeof hex);
    return t.oom ? NULL : rlx_text_take(&t);
}

rlx_status rlx_sign_make_keys(char **secret, char **public)
{
    rlx_secret_key s;
    rlx_public_key p;
    RLX_TRY(begin());
    crypto_sign_keypair(p.bytes, s.bytes);
    *secret = key_text(secret_head, s.bytes, sizeof s.bytes);
    *public = key_text(public_head, p.bytes, sizeof p.bytes);
    sodium_memzero(&s, sizeof s);
    if (*secret && *public)
        return RLX_OK;
    free(*secret);
    free(*public);
    *secret = *public = NULL;
    return RLX_OOM();
}

static rlx_status read_key(const char *path, const char *head, uint8_t *bytes, size_t n)
{
    char *text;
    size_t len, got = 0;
    const char *end = NULL;
    RLX_TRY(begin());
    RLX_TRY(rlx_file_read(path, &text, &len));
    const size_t skip = strlen(head);
    const bool right =
        !strncmp(text, head, skip) &&
        !sodium_hex2bin(bytes, n, text + skip, strcspn(text + skip, "\n"), NULL, &got, &end) &&
        got == n && (*end == '\n' || !*end);
    sodium_memzero(text, len);
    free(text);
    if (right)
        return RLX_OK;
    sodium_memzero(bytes, n);
    return RLX_FAIL(RLX_INVALID_FILE, "%s is no \"%s...\"", path, head);
}

rlx_status rlx_sign_read_secret(const char *path, rlx_secret_key *out)
{
    return read_key(path, secret_head, out->bytes, sizeof out->bytes);
}

rlx_status rlx_sign_read_public(const char *path, rlx_public_key *out)
{
    return read_key(path, public_head, out->bytes, sizeof out->bytes);
}

void rlx_sign(const rlx_secret_key *key, const void *bytes, size_t n,
              uint8_t signature[RLX_SIGNATURE_BYTES])
{
    crypto_sign_detached(signature, NULL, bytes, n, key->bytes);
}

bool rlx_sign_verify(const rlx_public_key *key, const void *bytes, size_t n,
                     const uint8_t signature[RLX_SIGNATURE_BYTES])
{
    return !crypto_sign_verify_detached(signature, bytes, n, key->bytes);
}

void rlx_sign_wipe(void *bytes, size_t n)
{
    sodium_memzero(bytes, n);
}
