/* The kernels for x86-64 with AVX-512. */
#include "common.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))),         \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")
#endif

#define FB_ISA avx512
#define FB_VECTOR_BYTES 64
#include "real_f64.h"
#include "kernels.inc.h"
#include "real_f32.h"
#include "kernels.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const fb_isa fb_isa_avx512 = {"avx512", &fb_kernels_f32_avx512, &fb_kernels_f64_avx512};
#endif
