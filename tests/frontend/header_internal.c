#include "runtime/cache.h"
#include "runtime/runtime.h"

#include "tests/frontend/header_values.h"

const size_t header_values_internal[] = RLX_HEADER_VALUES;
