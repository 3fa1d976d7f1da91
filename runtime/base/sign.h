/* runtime/base/sign.h: signatures of bytes (Ed25519 by libsodium), with keys in files.
 *
 *   FILE      "rlx secret key 1 HEX", for its owner alone
 *   FILE.pub  "rlx public key 1 HEX", for whoever shall trust what the other signs */
#ifndef RLX_BASE_SIGN_H
#define RLX_BASE_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

enum { RLX_SIGNATURE_BYTES = 64 };
typedef struct rlx_secret_key {
    uint8_t bytes[64];
} rlx_secret_key;
typedef struct rlx_public_key {
    uint8_t bytes[32];
} rlx_public_key;

/* A new pair, as texts for their files; the caller wipes and frees them. */
rlx_status rlx_sign_make_keys(char **secret, char **public);
/* Errors name the path: RLX_IO, RLX_INVALID_FILE when it is no such key. */
rlx_status rlx_sign_read_secret(const char *path, rlx_secret_key *out);
rlx_status rlx_sign_read_public(const char *path, rlx_public_key *out);

void rlx_sign(const rlx_secret_key *key, const void *bytes, size_t n,
              uint8_t signature[RLX_SIGNATURE_BYTES]);
bool rlx_sign_verify(const rlx_public_key *key, const void *bytes, size_t n,
                     const uint8_t signature[RLX_SIGNATURE_BYTES]);
/* Overwrites what shall not stay in memory. */
void rlx_sign_wipe(void *bytes, size_t n);

#endif
