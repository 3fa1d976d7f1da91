/* runtime/driver_code.h: what a device's driver made of an entry's code, as a file beside the entry.
 *
 *   magic, version | the entry's key | bytes of the driver's name, of its code | name | code | checksum over all before
 *
 * A driver trusts what it is given back, and crashes on some damage: nothing reaches it that is not what it gave. */
#ifndef RLX_RUNTIME_DRIVER_CODE_H
#define RLX_RUNTIME_DRIVER_CODE_H

#include "runtime/base/hash.h"
#include "runtime/base/text.h"

/* `driver`: the device, the driver and its version, as text. */
rlx_status rlx_driver_code_encode(const rlx_hash *entry, const char *driver, const void *code,
                                  size_t n, rlx_text *out);
/* Where the code is in the bytes of a file. `driver` NULL: whosever it is. RLX_INVALID_FILE: damaged, or another's. */
rlx_status rlx_driver_code_decode(const void *bytes, size_t size, const rlx_hash *entry,
                                  const char *driver, size_t *at, size_t *n);

#endif
