/* log of what is left of 1, and log1p of what exp gives. */

/* t, or 0 where its square might be subnormal, and too small to matter beside it. */
FB_INLINE REAL FN(squarable)(REAL t, int ordinary)
{
    return !ordinary && t < (REAL)0x1p-62 ? 0 : t;
}

/* Of t = exp(-|x|): u = t / (1 + t), which is the sigmoid of -|x|, rounded; and t + u as sum + lost. */
typedef struct {
    REAL u, sum, lost;
} FN(sigmoid_parts);

/* u = h + u_low. 1 + t need not be kept exactly: t - h (1 + t) = (t - h) - h t, where t - h is exact. As this, divided by 1 + t,
 * corrects h, an inverse that has 34 of 53 bits will do: eight operations, of which a division takes the time of 34 (measured).
 *
 * Begun are h and u_low: of what both halves need, and of what the second needs of the first, this is the least to store. */
FB_INLINE FN(pair) FN(begin_sigmoid)(FN(pair) t, int ordinary)
{
#ifdef FB_DIVIDES
    const REAL h = t.high / (1 + t.high), inverse = 1 - h;
#else
    const REAL near = FN(inverse_of_one_plus)(t.high), error = FMA(-near, 1 + t.high, 1);
    const REAL inverse = FMA(FMA(error, error, error), near, near), h = t.high * inverse;
#endif
    const REAL remainder = FMA(-h, FN(squarable)(t.high, ordinary), t.high - h);
    const FN(pair) result = {h, FMA(t.low, inverse, remainder) * inverse};
    return result;
}

FB_INLINE FN(sigmoid_parts) FN(end_sigmoid)(FN(pair) t, FN(pair) u)
{
    const REAL sum = t.high + u.high, lost = u.high - (sum - t.high);
    const FN(sigmoid_parts) result = {u.high + u.low, sum, lost + (t.low + u.low)};
    return result;
}

/* log(1 + t) for t in [0, 1], as half of a high part and half of a low one.
 *
 * Method: with s = log(1 + t), w = t u is 4 sinh(s/2)^2 and t + u is 2 sinh(s). So 2 s = (t + u) (1 + w q(w)): an even
 * function, which takes half the coefficients that a polynomial in t does. */
FB_INLINE FN(pair) FN(twice_log1p)(REAL t, FN(sigmoid_parts) s, int ordinary)
{
    const REAL w = FN(squarable)(t, ordinary) * s.u;
#ifdef FB_DIVIDES
    const REAL whole = s.sum; /* h is rounded */
#else
    const REAL whole = t + s.u;
#endif
    const FN(pair) result = {s.sum, FMA(FN(log_tail_unit)(w), w * whole, s.lost)};
    return result;
}

/* q = 2^k m, m in [sqrt(1/2), sqrt(2)), for q >= 0. minus_k is -k K_UNIT; inverse is 1 / m, for the caller to fill in; `over` +
 * its bits those of 1 / q, if that is normal. ordinary: q is normal. */
typedef struct {
    REAL m, minus_k, inverse;
    BITS over;
} FN(scaled);

FB_INLINE FN(scaled) FN(scale)(REAL q, int ordinary)
{
    const int subnormal = !ordinary && q < SMALLEST_NORMAL;
    const BITS bits = FN(to_bits)(subnormal ? q * SUBNORMAL_SCALE : q);
    const BITS one = (BITS)EXPONENT_BIAS << MANTISSA_BITS;
    const BITS biased = (bits + (one - SQRT_HALF_BITS)) >> MANTISSA_BITS; /* k + EXPONENT_BIAS */
    const BITS over = one - (biased << MANTISSA_BITS);
    const REAL m = FN(from_bits)(bits + over);
    /* An unsigned number below 2^MANTISSA_BITS becomes a float when its bits are those of 2^MANTISSA_BITS plus it. */
    const REAL magic = (REAL)((BITS)1 << MANTISSA_BITS);
    const REAL minus_k = K_UNIT == 1 ? (magic + EXPONENT_BIAS) - FN(from_bits)(biased | FN(to_bits)(magic))
                                     : (REAL)(SIGNED_BITS)over;
    const FN(scaled) result = {m, subnormal ? minus_k + SUBNORMAL_BITS * K_UNIT : minus_k, 0, over};
    return result;
}

/* 2^-k, of a q that is normal. */
FB_INLINE REAL FN(power)(FN(scaled) q)
{
    return FN(from_bits)(q.over + ((BITS)EXPONENT_BIAS << MANTISSA_BITS));
}

/* k ln 2 + f + rest, with k times K_UNIT given, as a high and a low part. */
FB_INLINE FN(pair) FN(begin_log)(REAL units, REAL f, REAL rest)
{
    const REAL sum = FMA(units, LN2_HEAD / K_UNIT, f);
    const REAL lost = FMA(units, LN2_HEAD / K_UNIT, -sum) + f; /* |k LN2_HEAD| > |f|, or k is 0 */
    const FN(pair) result = {sum, FMA(units, LN2_TAIL / K_UNIT, lost) + rest};
    return result;
}

/* log(2^k (1 + f)) plus rest, or, minus, -log(2^-k (1 - f)), from what begin_log makes of these; inverse is 1 / (1 + f) or
 * 1 / (1 - f).
 *
 * Method: k ln 2 + log(1 + f). As in twice_log1p, with w = f^2 / (1 + f): there f - w / 2 is sinh of what is looked for, which
 * is (f - w / 2) (1 + w q(w)). */
FB_INLINE FN(pair) FN(end_log)(FN(pair) begun, REAL f, REAL inverse, int minus)
{
    const REAL half = (minus ? (REAL)0.5 : (REAL)-0.5) * f, u = f * inverse, w = f * u;
    const FN(pair) result = {
        begun.high,
        FMA(half, u, FMA(FN(log_tail)(w) * w, FMA(half, u, f), begun.low)),
    };
    return result;
}

/* log(q + q_low), q_low a rounding error of q. Where q is near 1, log1p(exact) is taken: pass q - 1 as it was before q was
 * rounded, or q - 1 itself. Domain: q >= 0, subnormals included; log(0) comes out at -104 (float) or -745. NaN is the
 * caller's to keep. */
FB_INLINE FN(pair) FN(log_near)(FN(scaled) q, REAL exact, REAL q_low)
{
    const REAL f = q.minus_k == 0 ? exact : q.m - 1;
    const REAL rest = q.minus_k == 0 ? 0 : q_low * FN(from_bits)(FN(to_bits)(q.inverse) + q.over);
    return FN(end_log)(FN(begin_log)(-q.minus_k, f, rest), f, q.inverse, 0);
}

/* log(q + q_low), q >= 1 and finite; inverse is 1 / q, and exact is q + q_low - 1.
 * Error of high + low, rounded, where q = 1 + x: 0.920 ULP at x = 0.40839070198381611 (double). */
FB_INLINE FN(pair) FN(log_over_one)(REAL q, REAL exact, REAL q_low, REAL inverse)
{
    FN(scaled) scaled = FN(scale)(q, 1);
    scaled.inverse = FN(from_bits)(FN(to_bits)(inverse) - scaled.over);
    return FN(log_near)(scaled, exact, q_low);
}
