/* float32: the names, constants and polynomials that the *.inc.h files take when they are compiled for float.
 * Coefficients: tools/fit_polynomials.py, which also prints the errors quoted here. */
#include "real_undef.h"

#define FB_DTYPE f32
#define REAL float
#define REAL_BYTES 4
#define BITS uint32_t
#define SIGNED_BITS int32_t
#define FMA fmaf
#define FABS fabsf
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUND_MAGIC 0x1.8p23f /* x + ROUND_MAGIC has the integer nearest to x in its low bits */
#define LN2 0x1.62e43p-1f     /* ln 2 = LN2 + LN2_REST */
#define LN2_REST -0x1.05c61p-29f
#define LN2_HEAD 0x1.62e4p-1f /* 15 bits: k LN2_HEAD is exact; ln 2 = LN2_HEAD + LN2_TAIL */
#define LN2_TAIL 0x1.7f7d1cp-20f
#define K_UNIT 0x1p23f      /* log takes k times this: that is what the bits of 2^k are, as an integer */
#define EXP_CUT -110.0f     /* exp of less than this is 0: it is under half the smallest subnormal */
#define EXP_LOW_CUT -60.0f  /* there exp is over 2^-87 */
#define COARSE_BELOW 64.0f  /* from here on an ULP is one of EXP_CUT or more: see peaks of softmax.inc.h */
#define COARSE_MAGIC 192.0f /* max + COARSE_MAGIC has an ULP of 2^-16, a multiple of that one */
#define SMALLEST_NORMAL 0x1p-126f
#define SUBNORMAL_SCALE 0x1p24f /* makes a subnormal normal */
#define SUBNORMAL_BITS 24
#define FB_STORES_HALVES           /* float16 and bfloat16 are computed in float */
#define FB_DIVIDES                 /* 1 / (1 + t) takes no longer than what would replace it */
#define SQRT_HALF_BITS 0x3f3504f3u /* sqrt(1/2) */
#define LOG_LIMIT_BITS 26u         /* the largest number with a logarithm below -100: it is subnormal */

/* q in exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2, r2 = r^2; error of exp 2^-28.3 */
FB_INLINE float FN(exp_tail)(float r, float r2)
{
    const float q01 = fmaf(0x1.555492p-3f, r, 0x1.fffffcp-2f);
    const float q23 = fmaf(0x1.1239d6p-7f, r, 0x1.5558fp-5f);
    return fmaf(r2, fmaf(r2, 0x1.6a247ap-10f, q23), q01);
}

/* q in s = sinh(s) (1 + w q(w)), w = 4 sinh(s/2)^2, 0 <= w <= 1/2; error of s 2^-30.9 */
FB_INLINE float FN(log_tail_unit)(float w)
{
    const float q34 = fmaf(-0x1.1148p-12f, w, 0x1.92b094p-10f);
    return fmaf(fmaf(fmaf(q34, w, -0x1.d34ed6p-8f), w, 0x1.110e52p-5f), w, -0x1.55555p-3f);
}

/* q in s = sinh(s) (1 + w q(w)), w = 4 sinh(s/2)^2, 0 <= w <= 0.1214; error of s 2^-28.3 */
FB_INLINE float FN(log_tail)(float w)
{
    return fmaf(fmaf(-0x1.bcbffp-8f, w, 0x1.10dd1cp-5f), w, -0x1.555514p-3f);
}
