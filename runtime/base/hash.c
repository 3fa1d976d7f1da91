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

_Static_assert(sizeof(rlx_hasher) >= sizeof(crypto_generichash_state), "a hasher holds sodium's");

static crypto_generichash_state *sodium_state(rlx_hasher *h)
{
    return (crypto_generichash_state *)(void *)h->state;
}

void rlx_hasher_init(rlx_hasher *h)
{
    crypto_generichash_init(sodium_state(h), NULL, 0, sizeof(rlx_hash));
}

void rlx_hasher_add(rlx_hasher *h, const void *p, size_t n)
{
    if (n)
        crypto_generichash_update(sodium_state(h), p, n);
}

rlx_hash rlx_hasher_finish(rlx_hasher *h)
{
    rlx_hash out;
    crypto_generichash_final(sodium_state(h), out.bytes, sizeof(out.bytes));
    return out;
}

void rlx_hash_hex(rlx_hash h, char out[65])
{
    sodium_bin2hex(out, 65, h.bytes, sizeof(h.bytes));
}
