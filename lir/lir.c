#include "lir/lir.h"
