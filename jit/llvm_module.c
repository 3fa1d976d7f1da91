#include "jit/jit.h"
