/* The kernels for AArch64, where NEON and fma are part of the base. */
#include "common.h"

#ifdef __aarch64__

#define FB_CONVERTS_INT64
#define FB_ISA neon
#define FB_VECTOR_BYTES 16
#include "real_f64.h"
#include "kernels.inc.h"
#include "real_f32.h"
#include "kernels.inc.h"

const fb_isa fb_isa_neon = {"neon", &fb_kernels_f32_neon, &fb_kernels_f64_neon};
#endif
