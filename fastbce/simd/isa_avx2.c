/* The kernels for x86-64 with AVX2 and FMA. */
#include "common.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define FB_ISA avx2
#define FB_VECTOR_BYTES 32
#include "real_f64.h"
#include "kernels.inc.h"
#include "real_f32.h"
#include "kernels.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const fb_isa fb_isa_avx2 = {"avx2", &fb_kernels_f32_avx2, &fb_kernels_f64_avx2};
#endif
