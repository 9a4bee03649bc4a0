/* Which kernels this machine can run, asked once. Knows nothing of losses. */
#ifndef FASTBCE_DISPATCH_H
#define FASTBCE_DISPATCH_H

#include "kernels.h"

/* The i-th instruction set that was compiled and that the CPU and the system support, slowest first; NULL after the
 * last. The first is always generic. */
const fb_isa *fb_isa_supported(int i);

#endif
