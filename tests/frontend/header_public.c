#include "frontend/rlx.h" /* first and alone: it must need nothing */

#include "tests/frontend/header_values.h"

const size_t header_values_public[] = RLX_HEADER_VALUES;
const int header_values_count = sizeof header_values_public / sizeof *header_values_public;
