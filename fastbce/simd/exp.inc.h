/* exp(x), and exp(x + x_low), for x <= 0, as a high and a low part.
 *
 * Method: x = k ln 2 + r with |r| <= ln(2)/2, so exp(x) = 2^k (1 + r + r^2 q(r)). k ln 2 is subtracted with an fma and
 * leaves r exact; what is left of ln 2 is added to r, and to the sum of the rest, in which r is exact.
 * Domain: all x <= 0, -inf and NaN included. Subnormal results are rounded once.
 * Error, in ULP of the high part: of high + low, where both are normal, 0.46 at x = -5.89160013 (float), 0.26 at
 * x = -9.3470841247097667 (double). Of high alone half an ULP more. */

typedef struct {
    REAL high, low;
} FN(pair);

FB_INLINE BITS FN(to_bits)(REAL x)
{
    BITS bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FB_INLINE REAL FN(from_bits)(BITS bits)
{
    REAL x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* -|x| */
FB_INLINE REAL FN(minus_abs)(REAL x)
{
    return FN(from_bits)(FN(to_bits)(x) | (BITS)1 << (sizeof(BITS) * 8 - 1));
}

/* x is ordinary where exp(x) > 2^-100: there k needs no care, and the result, the same bits, costs less. */
FB_INLINE FN(pair) FN(exp_scaled)(REAL x, REAL x_low, int ordinary)
{
    const REAL shifted = FMA(x, (REAL)1.4426950408889634, ROUND_MAGIC);
    const REAL k = shifted - ROUND_MAGIC;
    const REAL r = FMA(k, -LN2, x);
    const REAL r_low = FMA(k, -LN2_REST, x_low);
    const REAL both = r + r_low, both2 = both * both;
    const REAL rest = FMA(both2, FN(exp_tail)(both, both2), r_low), minus_1 = r + rest;
    const BITS k_bits = FN(to_bits)(shifted) << MANTISSA_BITS, one = (BITS)EXPONENT_BIAS << MANTISSA_BITS;
    /* 2^k; in two steps: the first is normal for every k, the second rounds the subnormal ones */
    const REAL scale = ordinary ? FN(from_bits)(k_bits + one)
                                : FN(from_bits)(k_bits + one + ((BITS)64 << MANTISSA_BITS)) * (REAL)0x1p-64;
    const REAL high = FMA(minus_1, scale, scale), kept = FMA(minus_1, scale, scale - high);
    /* What rounding took from minus_1. For float every result was tried, and is good enough without. */
    const int is_double = sizeof(REAL) == sizeof(double);
    const REAL minus_1_low = (r - minus_1) + rest;
    const REAL low = is_double ? FMA(minus_1_low, scale, kept) : kept;
    if (ordinary) {
        const FN(pair) result = {high, low};
        return result;
    }
    /* Below EXP_CUT all of the above is meaningless, and not used; below EXP_LOW_CUT the low part might be subnormal, and is
     * added before. NaN is not below. */
    const REAL sum = 1 + minus_1, whole = sum + (((1 - sum) + minus_1) + minus_1_low);
    const REAL far = x < (REAL)EXP_CUT ? 0 : is_double ? whole * scale : high;
    const FN(pair) result = {x < (REAL)EXP_LOW_CUT ? far : high, x < (REAL)EXP_LOW_CUT ? 0 : low};
    return result;
}

/* exp(x + x_low) */
FB_INLINE FN(pair) FN(exp_sum)(REAL x, REAL x_low)
{
    return FN(exp_scaled)(x, x_low, 0);
}

/* exp(x) */
FB_INLINE FN(pair) FN(exp_pair)(REAL x, int ordinary)
{
    return FN(exp_scaled)(x, 0, ordinary);
}
