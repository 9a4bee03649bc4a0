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

/* x is ordinary where exp(x) > 2^-100: there k needs no care, and the result, the same bits, costs less. extended: there is an
 * x_low. */
FB_INLINE FN(pair) FN(exp_scaled)(REAL x, REAL x_low, int extended, int ordinary)
{
    /* The low bits of shifted are the exponent of 2^k, or, where k needs care, of 2^(k + 64). */
    const REAL magic = ROUND_MAGIC + EXPONENT_BIAS + (ordinary ? 0 : 64);
    const REAL shifted = FMA(x, (REAL)1.4426950408889634, magic);
    const REAL k = shifted - magic;
    const REAL r = FMA(k, -LN2, x);
    const REAL r_low = extended ? FMA(k, -LN2_REST, x_low) : k * -LN2_REST;
    const REAL both = r + r_low, both2 = both * both;
    const REAL rest = FMA(both2, FN(exp_tail)(both, both2), r_low), minus_1 = r + rest;
    /* power is normal for every k, the product rounds those that are not. */
    const REAL power = FN(from_bits)(FN(to_bits)(shifted) << MANTISSA_BITS);
    const REAL scale = ordinary ? power : power * (REAL)0x1p-64;
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
    return FN(exp_scaled)(x, x_low, 1, 0);
}

/* exp(x) */
FB_INLINE FN(pair) FN(exp_pair)(REAL x, int ordinary)
{
    return FN(exp_scaled)(x, 0, 0, ordinary);
}
