/* The kernels for x86-64 with AVX-512. */
#include "common.h"

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))),         \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")
#endif

/* FB_LANES halves. The values are those of half.h; so is a NaN, of which the instruction would keep more. */
FB_INLINE void fb_from_halves(const char *from, float *to)
{
    _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)));
}

FB_INLINE void fb_to_halves(const float *from, char *to)
{
    const __m512 value = _mm512_loadu_ps(from), nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512 sign = _mm512_and_ps(value, _mm512_set1_ps(-0.0f));
    const __m512 plain = _mm512_mask_or_ps(value, is_nan, sign, nan);
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(plain, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* exp_end, from e^r - 1 and k, of FB_LANES elements. Masks make -1 at the maximum, and leave it there, at no cost; for that, and
 * for 2^k, GCC 12 needs two instructions more. */
FB_INLINE void fb_end_exp_f32(const float *x, const float *max, const float *minus_1, const float *k,
                              float *e, float *two, int32_t *ties)
{
    const __m512 one = _mm512_set1_ps(1), sum = _mm512_loadu_ps(two);
    const __m512i count = _mm512_loadu_si512(ties);
    const __mmask16 other = _mm512_cmp_ps_mask(_mm512_loadu_ps(x), _mm512_loadu_ps(max), _CMP_NEQ_UQ);
    const __m512 scale = _mm512_mask_scalef_ps(_mm512_set1_ps(-1), other, one, _mm512_loadu_ps(k));
    const __m512 value = _mm512_mask3_fmadd_ps(_mm512_loadu_ps(minus_1), scale, scale, other);
    _mm512_storeu_si512(ties, _mm512_mask_sub_epi32(count, other, count, _mm512_set1_epi32(1)));
    _mm512_storeu_ps(two, _mm512_mask_add_ps(sum, other, sum, value));
    _mm512_storeu_ps(e, value);
}

FB_INLINE void fb_end_exp_f64(const double *x, const double *max, const double *minus_1, const double *k,
                              double *e, double *two, int64_t *ties)
{
    for (int i = 0; i < FB_LANES; i += 8) {
        const __m512d one = _mm512_set1_pd(1), sum = _mm512_loadu_pd(two + i);
        const __m512i count = _mm512_loadu_si512(ties + i);
        const __mmask8 other = _mm512_cmp_pd_mask(_mm512_loadu_pd(x + i), _mm512_loadu_pd(max + i),
                                                  _CMP_NEQ_UQ);
        const __m512d scale = _mm512_mask_scalef_pd(_mm512_set1_pd(-1), other, one, _mm512_loadu_pd(k + i));
        const __m512d value = _mm512_mask3_fmadd_pd(_mm512_loadu_pd(minus_1 + i), scale, scale, other);
        _mm512_storeu_si512(ties + i, _mm512_mask_sub_epi64(count, other, count, _mm512_set1_epi64(1)));
        _mm512_storeu_pd(two + i, _mm512_mask_add_pd(sum, other, sum, value));
        _mm512_storeu_pd(e + i, value);
    }
}

#define FB_END_EXP
#define FB_FROM_HALVES fb_from_halves
#define FB_TO_HALVES fb_to_halves
#define FB_CONVERTS_INT64
#define FB_MAXIMA_OF_64 1
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
