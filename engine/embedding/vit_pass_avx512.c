/* The same pass with vectors of sixteen numbers. */
#define LANES 16
#include "vit_pass.c"
