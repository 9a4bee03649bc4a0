/* log of what is left of 1, and log1p of what exp gives. */

/* log(1 + t) for t in [0, 1], as a high and a low part; inverse is 1 / (1 + t) to a few ULP.
 *
 * Method: t - 11/32 t^2 + t^2 q(t - 1/2). The constant lies near the middle of what multiplies t^2, so the polynomial
 * only adds a 16th of the result and its rounding does not matter.
 * Error of high + low, t = exp(x): 0.37 ULP at x = -0.0189364962 (float), 0.43 at x = -6.12366966e-05 (double). */
FB_INLINE FN(pair) FN(log1p_unit)(FN(pair) t, REAL inverse)
{
    const REAL c0 = (REAL)(-11.0 / 32);
    const REAL u = t.high < (REAL)0x1p-62 ? 0 : t.high; /* no subnormal squares */
    const REAL square = u * u;
    const REAL high = FMA(c0, square, t.high);
    const REAL lost = FMA(c0, square, t.high - high);
    const REAL tail = FN(log1p_tail_unit)(t.high - (REAL)0.5);
    const FN(pair) result = {high, FMA(square, tail, FMA(t.low, inverse, lost))};
    return result;
}

/* log(q) + rest as a high and a low part, for q >= 0, where log1p(q - 1) = log1p(exact) is wanted if q is near 1: pass q - 1 as it was before
 * q was rounded, or q - 1 itself.
 *
 * Method: q = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1: log q = k ln 2 + f - f^2 / 2 + f^2 q(f).
 * Domain: q >= 0, subnormals included; log(0) comes out at -104 (float) or -745, under every limit it is clamped to;
 * NaN is the caller's to keep.
 * Error of high + low, rounded: 0.922 ULP at q = 1 - 0.30033174 (float), 0.987 at q = 1 - 0.29446999371320792 (double). */
FB_INLINE FN(pair) FN(log_near_pair)(REAL q, REAL exact, REAL rest)
{
    const int subnormal = q < SMALLEST_NORMAL;
    const BITS bits = FN(to_bits)(subnormal ? q * SUBNORMAL_SCALE : q);
    const BITS one = (BITS)EXPONENT_BIAS << MANTISSA_BITS;
    const BITS biased = (bits + (one - SQRT_HALF_BITS)) >> MANTISSA_BITS; /* k + EXPONENT_BIAS */
    const REAL m = FN(from_bits)(bits - (biased << MANTISSA_BITS) + one);
    /* An unsigned number below 2^MANTISSA_BITS becomes a float when its bits are those of 2^MANTISSA_BITS plus it. */
    const REAL magic = (REAL)((BITS)1 << MANTISSA_BITS);
    const REAL k_normal = FN(from_bits)(biased | FN(to_bits)(magic)) - (magic + EXPONENT_BIAS);
    const REAL k = subnormal ? k_normal - SUBNORMAL_BITS : k_normal;
    const REAL f = k == 0 ? exact : m - 1;
    const REAL k_head = k * LN2_HEAD;
    const REAL sum = k_head + f;
    const REAL lost = (k_head - sum) + f; /* |k_head| > |f|, or k_head is 0 */
    const REAL small = lost + FMA(k, LN2_TAIL, k == 0 ? 0 : rest);
    const REAL square = f * f;
    const FN(pair) result = {sum, FMA(square, FN(log1p_tail)(f), FMA((REAL)-0.5, square, small))};
    return result;
}

/* The same, rounded. */
FB_INLINE REAL FN(log_near)(REAL q, REAL exact, REAL rest)
{
    const FN(pair) log = FN(log_near_pair)(q, exact, rest);
    return log.high + log.low;
}

/* log1p(x), x >= 0 and finite. Error: 0.825 ULP at x = 0.399652004 (float), 0.905 at x = 0.41144034786356842 (double). */
FB_INLINE REAL FN(log1p)(REAL x)
{
    const REAL q = 1 + x;
    const REAL part = q - x;
    const REAL q_low = (x - (q - part)) + (1 - part);
    return FN(log_near)(q, x, q_low / q);
}
