/* tests/frontend/header_values.h: what rlx.h and the library's own headers declare twice, as
 * numbers. Included by a file that knows rlx.h only and by one that knows the others only; a test
 * compares the two lists. */
#ifndef RLX_TESTS_HEADER_VALUES_H
#define RLX_TESTS_HEADER_VALUES_H

#include <stddef.h>

#define RLX_HEADER_VALUES                                                                         \
    {                                                                                             \
        RLX_CODE_OK, RLX_INVALID_ARGUMENT, RLX_INVALID_IR, RLX_INVALID_FILE, RLX_NOT_FOUND,       \
            RLX_UNSUPPORTED, RLX_OUT_OF_MEMORY, RLX_IO, RLX_EXHAUSTED, RLX_CANCELLED,             \
            RLX_INTERNAL, RLX_FORMAT_NONE, RLX_F32, RLX_F64, RLX_F16, RLX_BF16, RLX_I8, RLX_I16,  \
            RLX_I32, RLX_I64, RLX_U8, RLX_BOOL, RLX_FORMAT_COUNT, sizeof(rlx_tensor),             \
            offsetof(rlx_tensor, name), offsetof(rlx_tensor, format), offsetof(rlx_tensor, rank), \
            offsetof(rlx_tensor, dim), offsetof(rlx_tensor, data), offsetof(rlx_tensor, bytes),   \
            sizeof(((rlx_tensor *)0)->dim), sizeof(rlx_session_options),                          \
            offsetof(rlx_session_options, max_positions),                                         \
            offsetof(rlx_session_options, max_sequences), sizeof(rlx_status),                     \
            sizeof(rlx_tensor_origin), offsetof(rlx_tensor_origin, offset),                       \
            sizeof(rlx_cache_options), offsetof(rlx_cache_options, folder),                       \
            offsetof(rlx_cache_options, system_folder), offsetof(rlx_cache_options, trusted_key), \
            offsetof(rlx_cache_options, max_bytes), offsetof(rlx_cache_options, shared),          \
            offsetof(rlx_cache_options, warn), offsetof(rlx_cache_options, warn_user),            \
            sizeof(rlx_cache_entry), offsetof(rlx_cache_entry, bytes),                            \
            offsetof(rlx_cache_entry, used), offsetof(rlx_cache_entry, system),                   \
            sizeof(rlx_cache_stats), offsetof(rlx_cache_stats, misses),                           \
            offsetof(rlx_cache_stats, written), offsetof(rlx_cache_stats, damaged)                \
    }

#ifdef __cplusplus
extern "C" {
#endif
extern const size_t header_values_public[], header_values_internal[], header_values_cxx[];
extern const int header_values_count;
#ifdef __cplusplus
}
#endif

#endif
