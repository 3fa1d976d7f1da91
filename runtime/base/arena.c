#include "runtime/base/arena.h"
