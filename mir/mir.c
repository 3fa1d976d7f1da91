#include "mir/mir.h"
