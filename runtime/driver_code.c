#include "runtime/driver_code.h"

#include <string.h>

static const char magic[8] = {'r', 'l', 'x', 'd', 'r', 'i', 'v', '1'};

enum {
    AT_ENTRY = sizeof magic,
    AT_NAME_BYTES = AT_ENTRY + sizeof(rlx_hash),
    AT_CODE_BYTES = AT_NAME_BYTES + 8,
    AT_NAME = AT_CODE_BYTES + 8,
    CHECKSUM_BYTES = sizeof(rlx_hash),
    MOST_NAME = 256
};

static void put64(rlx_text *t, uint64_t v)
{
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> 8 * i);
    rlx_text_put_bytes(t, b, sizeof b);
}

static uint64_t get64(const uint8_t *b)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)b[i] << 8 * i;
    return v;
}

rlx_status rlx_driver_code_encode(const rlx_hash *entry, const char *driver, const void *code,
                                  size_t n, rlx_text *out)
{
    const size_t start = out->len;
    rlx_text_put_bytes(out, magic, sizeof magic);
    rlx_text_put_bytes(out, entry->bytes, sizeof entry->bytes);
    put64(out, strlen(driver));
    put64(out, n);
    rlx_text_put(out, driver);
    rlx_text_put_bytes(out, code, n);
    if (out->oom)
        return RLX_OOM();
    const rlx_hash sum = rlx_hash_bytes(out->data + start, out->len - start);
    rlx_text_put_bytes(out, sum.bytes, sizeof sum.bytes);
    return out->oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_driver_code_decode(const void *bytes, size_t size, const rlx_hash *entry,
                                  const char *driver, size_t *at, size_t *n)
{
    const uint8_t *b = bytes;
    if (size < AT_NAME + CHECKSUM_BYTES || memcmp(b, magic, sizeof magic) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "%zu bytes that are no code of a driver", size);
    const rlx_hash sum = rlx_hash_bytes(b, size - CHECKSUM_BYTES);
    if (memcmp(sum.bytes, b + size - CHECKSUM_BYTES, CHECKSUM_BYTES) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "the checksum of %zu bytes does not match", size);
    const size_t room = size - AT_NAME - CHECKSUM_BYTES;
    const uint64_t name = get64(b + AT_NAME_BYTES), code = get64(b + AT_CODE_BYTES);
    if (name > MOST_NAME || name > room || code != room - name)
        return RLX_FAIL(RLX_INVALID_FILE, "%zu bytes do not hold a name of %llu and code of %llu",
                        size, (unsigned long long)name, (unsigned long long)code);
    if (memcmp(b + AT_ENTRY, entry->bytes, sizeof entry->bytes) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "it was made of another entry");
    if (driver && (strlen(driver) != name || memcmp(b + AT_NAME, driver, (size_t)name) != 0))
        return RLX_FAIL(RLX_INVALID_FILE, "it was made by %.*s, wanted is %s", (int)name,
                        (const char *)b + AT_NAME, driver);
    *at = AT_NAME + (size_t)name;
    *n = (size_t)code;
    return RLX_OK;
}
