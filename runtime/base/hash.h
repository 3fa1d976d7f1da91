/* runtime/base/hash.h: 256-bit content hash (BLAKE2b-256 by libsodium). */
#ifndef RLX_BASE_HASH_H
#define RLX_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct rlx_hash {
    uint8_t bytes[32];
} rlx_hash;

rlx_hash rlx_hash_bytes(const void *p, size_t n);

/* The same, of bytes that come in pieces. */
typedef struct rlx_hasher {
    _Alignas(64) uint8_t state[384];
} rlx_hasher;
void rlx_hasher_init(rlx_hasher *h);
void rlx_hasher_add(rlx_hasher *h, const void *p, size_t n);
rlx_hash rlx_hasher_finish(rlx_hasher *h);

void rlx_hash_hex(rlx_hash h, char out[65]);

#endif
