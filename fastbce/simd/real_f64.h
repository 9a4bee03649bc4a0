/* float64: the names, constants and polynomials that the *.inc.h files take when they are compiled for double.
 * Coefficients: tools/fit_polynomials.py, which also prints the errors quoted here. */
#include "real_undef.h"

#define FB_DTYPE f64
#define REAL double
#define BITS uint64_t
#define SIGNED_BITS int64_t
#define FMA fma
#define FABS fabs
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUND_MAGIC 0x1.8p52     /* x + ROUND_MAGIC has the integer nearest to x in its low bits */
#define LN2 0x1.62e42fefa39efp-1 /* ln 2 = LN2 + LN2_REST */
#define LN2_REST 0x1.abc9e3b39803fp-56
#define LN2_HEAD 0x1.62e42fefa4p-1 /* 41 bits: k LN2_HEAD is exact; ln 2 = LN2_HEAD + LN2_TAIL */
#define LN2_TAIL -0x1.8432a1b0e2634p-43
#define EXP_CUT -750.0 /* exp of less than this is 0: it is under half the smallest subnormal */
#define EXP_TINY -45.0 /* below it, 1 + exp is 1 to far beyond the last bit: low parts are dropped */
#define SMALLEST_NORMAL 0x1p-1022
#define SUBNORMAL_SCALE 0x1p54 /* makes a subnormal normal */
#define SUBNORMAL_BITS 54
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdu /* sqrt(1/2) */
#define LOG_LIMIT_BITS 0x36ea8c1f14e2af5cu /* the largest number with a logarithm below -100 */

/* q in exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2, r2 = r^2; error of exp 2^-57.9 */
FB_INLINE double FN(exp_tail)(double r, double r2)
{
    const double r4 = r2 * r2;
    const double q01 = fma(0x1.55555555554fap-3, r, 0x1.000000000000ap-1);
    const double q23 = fma(0x1.1111111127b82p-7, r, 0x1.5555555550889p-5);
    const double q45 = fma(0x1.a01a012a70f1ap-13, r, 0x1.6c16c1842715dp-10);
    const double q67 = fma(0x1.71df252b17368p-19, r, 0x1.a0199a14fefc1p-16);
    const double q89 = fma(0x1.ad7f92dc3ceb3p-26, r, 0x1.28ad6a7722b9dp-22);
    const double q03 = fma(q23, r2, q01), q47 = fma(q67, r2, q45);
    return fma(r4, fma(r4, q89, q47), q03);
}

/* q in log(1 + t) = t - 11/32 t^2 + t^2 q(t - 1/2), 0 <= t <= 1; error of log 2^-56.5 */
FB_INLINE double FN(log1p_tail_unit)(double v)
{
    const double v2 = v * v, v4 = v2 * v2, v8 = v4 * v4;
    const double q01 = fma(0x1.6f0d7bd624beep-3, v, -0x1.19b82680cf681p-5);
    const double q23 = fma(0x1.a279c04c78329p-5, v, -0x1.7ddf1fe86ababp-4);
    const double q45 = fma(0x1.131116fc39947p-6, v, -0x1.da348248882b3p-6);
    const double q67 = fma(0x1.84904ec059436p-8, v, -0x1.44ba45d9afb8bp-7);
    const double q89 = fma(0x1.1ebd459c6f30cp-9, v, -0x1.d5faf1e0d4067p-9);
    const double q10_11 = fma(0x1.b3dcf865b15d9p-11, v, -0x1.6075f5a2764f8p-10);
    const double q12_13 = fma(0x1.532dbeeccd6f5p-12, v, -0x1.0ed0b533330ddp-11);
    const double q14_15 = fma(0x1.0715dface330dp-13, v, -0x1.ada9af5a4cd5fp-13);
    const double q16_17 = fma(0x1.ba76219e06d41p-15, v, -0x1.2a298bb1f536ep-14);
    const double q18_19 = fma(0x1.a8f57e27f6b0ep-16, v, -0x1.ace174f38d736p-15);
    const double q03 = fma(q23, v2, q01), q47 = fma(q67, v2, q45);
    const double q8_11 = fma(q10_11, v2, q89), q12_15 = fma(q14_15, v2, q12_13);
    const double q16_19 = fma(q18_19, v2, q16_17);
    const double q07 = fma(q47, v4, q03), q8_15 = fma(q12_15, v4, q8_11);
    return fma(v8, fma(v8, q16_19, q8_15), q07);
}

/* q in log(1 + f) = f - f^2 / 2 + f^2 q(f), sqrt(1/2) <= 1 + f <= sqrt(2); error of log 2^-56.3 */
FB_INLINE double FN(log1p_tail)(double f)
{
    const double f2 = f * f, f4 = f2 * f2, f8 = f4 * f4;
    const double q01 = fma(0x1.555555555555ep-2, f, -0x1.85a61ad740a12p-51);
    const double q23 = fma(0x1.9999999995638p-3, f, -0x1.fffffffffc851p-3);
    const double q45 = fma(0x1.249249287c30dp-3, f, -0x1.55555557aa5bap-3);
    const double q67 = fma(0x1.c71c6ebbd69efp-4, f, -0x1.fffffe95d57adp-4);
    const double q89 = fma(0x1.745db3451cf7dp-4, f, -0x1.9999d45e3b664p-4);
    const double q10_11 = fma(0x1.3b020379856bbp-4, f, -0x1.554fe57d5d3afp-4);
    const double q12_13 = fma(0x1.123cf83546228p-4, f, -0x1.24daaa19798dfp-4);
    const double q14_15 = fma(0x1.cb377613dec6bp-5, f, -0x1.fc6a3cc0befccp-5);
    const double q16_17 = fma(0x1.0eb5931031d19p-4, f, -0x1.c73a1d5a65a8p-5);
    const double q18_19 = fma(0x1.de8319482f9d9p-6, f, -0x1.06e6296329cccp-4);
    const double q03 = fma(q23, f2, q01), q47 = fma(q67, f2, q45);
    const double q8_11 = fma(q10_11, f2, q89), q12_15 = fma(q14_15, f2, q12_13);
    const double q16_19 = fma(q18_19, f2, q16_17);
    const double q07 = fma(q47, f4, q03), q8_15 = fma(q12_15, f4, q8_11);
    return fma(f8, fma(f8, q16_19, q8_15), q07);
}
