/* The kernels for any CPU. fma is a call of the C library where the CPU has no such instruction: slow, and the same bits. */
#include "common.h"

#define FB_ISA generic
#define FB_VECTOR_BYTES 16
#include "real_f64.h"
#include "kernels.inc.h"
#include "real_f32.h"
#include "kernels.inc.h"

const fb_isa fb_isa_generic = {"generic", &fb_kernels_f32_generic, &fb_kernels_f64_generic};
