#include "runtime/base/hash.h"

#include <sodium.h>

rlx_hash rlx_hash_bytes(const void *p, size_t n)
{
    static const unsigned char nothing[1];
    rlx_hash h;
    /* crypto_generichash needs no sodium_init: that only picks a faster implementation. */
    crypto_generichash(h.bytes, sizeof(h.bytes), n ? p : nothing, n, NULL, 0);
    return h;
}

void rlx_hash_hex(rlx_hash h, char out[65])
{
    sodium_bin2hex(out, 65, h.bytes, sizeof(h.bytes));
}
