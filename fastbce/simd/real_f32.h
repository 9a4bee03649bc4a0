/* float32: the names, constants and polynomials that the *.inc.h files take when they are compiled for float.
 * Coefficients: tools/fit_polynomials.py, which also prints the errors quoted here. */
#include "real_undef.h"

#define FB_DTYPE f32
#define REAL float
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
#define EXP_CUT -110.0f /* exp of less than this is 0: it is under half the smallest subnormal */
#define EXP_TINY -25.0f /* below it, 1 + exp is 1 to far beyond the last bit: low parts are dropped */
#define SMALLEST_NORMAL 0x1p-126f
#define SUBNORMAL_SCALE 0x1p24f /* makes a subnormal normal */
#define SUBNORMAL_BITS 24
#define FB_STORES_HALVES           /* float16 and bfloat16 are computed in float */
#define SQRT_HALF_BITS 0x3f3504f3u /* sqrt(1/2) */
#define LOG_LIMIT_BITS 26u         /* the largest number with a logarithm below -100: it is subnormal */

/* q in exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2, r2 = r^2; error of exp 2^-28.3 */
FB_INLINE float FN(exp_tail)(float r, float r2)
{
    const float q01 = fmaf(0x1.555492p-3f, r, 0x1.fffffcp-2f);
    const float q23 = fmaf(0x1.1239d6p-7f, r, 0x1.5558fp-5f);
    return fmaf(r2, fmaf(r2, 0x1.6a247ap-10f, q23), q01);
}

/* q in log(1 + t) = t - 11/32 t^2 + t^2 q(t - 1/2), 0 <= t <= 1; error of log 2^-27.5 */
FB_INLINE float FN(log1p_tail_unit)(float v)
{
    const float v2 = v * v;
    const float q01 = fmaf(0x1.6f0d76p-3f, v, -0x1.19b822p-5f);
    const float q23 = fmaf(0x1.a28586p-5f, v, -0x1.7de0bp-4f);
    const float q45 = fmaf(0x1.10e86ep-6f, v, -0x1.d9945ap-6f);
    const float q67 = fmaf(0x1.c6362cp-8f, v, -0x1.4d80bep-7f);
    return fmaf(v2, fmaf(v2, fmaf(v2, fmaf(v2, -0x1.b2f66cp-9f, q67), q45), q23), q01);
}

/* q in log(1 + f) = f - f^2 / 2 + f^2 q(f), sqrt(1/2) <= 1 + f <= sqrt(2); error of log 2^-27.6 */
FB_INLINE float FN(log1p_tail)(float f)
{
    const float f2 = f * f;
    const float q01 = fmaf(0x1.55555p-2f, f, 0x1.ac885ep-24f);
    const float q23 = fmaf(0x1.99a3cap-3f, f, -0x1.0003dap-2f);
    const float q45 = fmaf(0x1.2277e4p-3f, f, -0x1.54323p-3f);
    const float q67 = fmaf(0x1.081c36p-3f, f, -0x1.0ef92ap-3f);
    return fmaf(f2, fmaf(f2, fmaf(f2, fmaf(f2, -0x1.38c12ap-4f, q67), q45), q23), q01);
}
