/* float64: the names, constants and polynomials that the *.inc.h files take when they are compiled for double.
 * Coefficients: tools/fit_polynomials.py, which also prints the errors quoted here. */
#include "real_undef.h"

#define FB_DTYPE f64
#define REAL double
#define REAL_BYTES 8
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
#ifdef FB_CONVERTS_INT64
#define K_UNIT 0x1p52 /* log takes k times this: that is what the bits of 2^k are, as an integer */
#else
#define K_UNIT 1.0
#endif
#define EXP_CUT -750.0      /* exp of less than this is 0: it is under half the smallest subnormal */
#define EXP_LOW_CUT -600.0  /* there exp is over 2^-866 */
#define COARSE_BELOW 512.0  /* from here on an ULP is one of EXP_CUT or more: see peaks of softmax.inc.h */
#define COARSE_MAGIC 1536.0 /* max + COARSE_MAGIC has an ULP of 2^-42, a multiple of that one */
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

/* q in s = sinh(s) (1 + w q(w)), w = 4 sinh(s/2)^2, 0 <= w <= 1/2; error of s 2^-56.8 */
FB_INLINE double FN(log_tail_unit)(double w)
{
    const double w2 = w * w, w4 = w2 * w2;
    const double q01 = fma(0x1.11111111089e1p-5, w, -0x1.55555555554fdp-3);
    const double q23 = fma(0x1.a019ff45eff2p-10, w, -0x1.d41d41cb2a099p-8);
    const double q45 = fma(0x1.5d24837fe7a82p-14, w, -0x1.7a45d4d163a3cp-12);
    const double q67 = fma(0x1.2d7e748442e6fp-18, w, -0x1.4560b1b6b1a35p-16);
    const double q89 = fma(0x1.28236e0e4ec07p-23, w, -0x1.011944fb5d518p-20);
    const double q03 = fma(q23, w2, q01), q47 = fma(q67, w2, q45);
    return fma(w4, fma(w4, q89, q47), q03);
}

/* q in s = sinh(s) (1 + w q(w)), w = 4 sinh(s/2)^2, 0 <= w <= 0.1214; error of s 2^-57.1 */
FB_INLINE double FN(log_tail)(double w)
{
    const double w2 = w * w;
    const double q01 = fma(0x1.11111110f1ca3p-5, w, -0x1.55555555554bdp-3);
    const double q23 = fma(0x1.a019dcb72e25ep-10, w, -0x1.d41d418e605d9p-8);
    const double q45 = fma(0x1.5b89338733eefp-14, w, -0x1.7a3bb73f3be01p-12);
    return fma(w2, fma(w2, fma(w2, -0x1.236c7154e33a1p-16, q45), q23), q01);
}

/* 1 / (1 + t), 0 <= t <= 1; relative error 2^-11.5 */
FB_INLINE double FN(inverse_of_one_plus)(double t)
{
    const double q = fma(fma(0x1.48964c584a0bdp-3, t, -0x1.1a5bcec85d7eap-1), t, 0x1.c291f5844f45ap-1);
    return fma(fma(q, t, -0x1.fa447c5ce9ee0p-1), t, 1);
}
