/* The kernels for x86-64 with AVX2, FMA and F16C. */
#include "common.h"

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

/* FB_LANES halves. The values are those of half.h; so is a NaN, of which the instruction would keep more. */
FB_INLINE void fb_from_halves(const char *from, float *to)
{
    FB_UNROLLED
    for (int i = 0; i < FB_LANES; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 2 * i))));
}

FB_INLINE void fb_to_halves(const float *from, char *to)
{
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), signs = _mm256_set1_ps(-0.0f);
    FB_UNROLLED
    for (int i = 0; i < FB_LANES; i += 8) {
        const __m256 value = _mm256_loadu_ps(from + i), is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
        const __m256 plain = _mm256_blendv_ps(value, _mm256_or_ps(_mm256_and_ps(value, signs), nan), is_nan);
        _mm_storeu_si128((__m128i *)(to + 2 * i),
                         _mm256_cvtps_ph(plain, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}

#define FB_FROM_HALVES fb_from_halves
#define FB_TO_HALVES fb_to_halves

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
