/* What this machine can run, and what it has, asked once. Knows nothing of losses. */
#ifndef FASTBCE_DISPATCH_H
#define FASTBCE_DISPATCH_H

#include "kernels.h"

/* The i-th instruction set that was compiled and that the CPU and the system support, slowest first; NULL after the
 * last. The first is always generic. */
const fb_isa *fb_isa_supported(int i);

/* How many bytes the cache of level 2, a core's own, or of level 3, which cores share, holds; 0 where the system does not say. */
int64_t fb_cache_size(int level);

#endif
