/* runtime/base/hash.h: 256-bit content hash (BLAKE2b-256 by libsodium). */
#ifndef RLX_BASE_HASH_H
#define RLX_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct rlx_hash {
    uint8_t bytes[32];
} rlx_hash;

rlx_hash rlx_hash_bytes(const void *p, size_t n);
void rlx_hash_hex(rlx_hash h, char out[65]);

#endif
