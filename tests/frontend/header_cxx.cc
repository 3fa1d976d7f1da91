#include "frontend/rlx.h"

#include "tests/frontend/header_values.h"

const size_t header_values_cxx[] = RLX_HEADER_VALUES;
