#include "hir/hir.h"
