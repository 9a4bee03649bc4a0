/* Binary cross-entropy, one element. a + a_low is the weight of the negative term, b of the positive: 1 - y and y, or these
 * with smoothing and pos_weight in them. */

/* loss = (a + b) log1p(t) + (x >= 0 ? a : b) |x| and d/dx = (x >= 0 ? a - b t : a t - b) / (1 + t), t = exp(-|x|).
 *
 * Error, a hard target: loss 0.894 ULP at x = 0.027028693 (float), 0.935 at x = -1.9647750409274023e-08, y = 1 (double);
 * gradient 0.868 at x = -87.68295, 0.827 at x = 708.7313164109628, y = 1. A soft one: loss 1.991 at x = 7.9388433,
 * y = 0.49730423 (float); gradient 1.5 ULP of the larger term at x = 13.16979643010323, y = 1 - 2^-52 (double). The sum,
 * 1 + t and the quotient keep what their rounding loses, so only the last operation of each rounds. */
FB_INLINE REAL FN(bce_logits_loss)(REAL x, FN(pair) t, REAL a, REAL b, REAL a_plus_b)
{
    const REAL coefficient = x >= 0 ? a : b;
    const REAL linear = coefficient == 0 ? 0
                                         : coefficient * FABS(x); /* 0 for an infinite logit that is right */
    const FN(pair) log1p_t = FN(log1p_unit)(t, 1 / (1 + t.high));
    const REAL curve = a_plus_b * log1p_t.high;
    const REAL sum = linear + curve;
    const REAL part = sum - linear;
    const REAL lost = (linear - (sum - part)) + (curve - part);
    return sum == (REAL)INFINITY ? sum : sum + (a_plus_b * log1p_t.low + lost);
}

FB_INLINE REAL FN(bce_logits_grad)(REAL x, FN(pair) t, REAL a, REAL b, REAL a_low)
{
    const REAL constant = x >= 0 ? a : -b, slope = x >= 0 ? -b : a;
    const REAL u = t.high < (REAL)0x1p-62 ? 0 : t.high; /* no subnormal products */
    const REAL denominator = 1 + t.high;
    const REAL denominator_low = (u - (denominator - 1)) + t.low;
    const REAL inverse = 1 / denominator;
    const REAL numerator = FMA(slope, t.high, constant);
    const REAL quotient = numerator * inverse;
    const REAL remainder = FMA(-quotient, denominator_low, FMA(-quotient, denominator, numerator));
    const REAL lost = FMA(a_low, x >= 0 ? 1 : t.high, remainder);
    return FMA(FMA(slope, t.low, lost), inverse, quotient);
}

/* d2/dx2 = (a + b) t / (1 + t)^2, as the product of the sigmoids of x and of -x.
 * Error: 1.977 ULP at x = 6.9299145 (float), 1.988 at x = 17.3286794674325 (double). */
FB_INLINE REAL FN(bce_logits_hess)(FN(pair) t, REAL a_plus_b)
{
    return a_plus_b * (FN(bce_logits_grad)(0, t, 0, -1, 0) * FN(bce_logits_grad)(0, t, 1, 0, 0));
}

/* loss = -(a max(log1p(-p), -100) + b max(log p, -100)); limits: 1 for torch's two limits, 0 for clipped p.
 * Error, a hard target: 0.922 ULP at p = 0.30033174, y = 0 (float), 0.989 at p = 0.7054483907847704, y = 1 (double); a soft
 * one: 1.70 at p = 0.7046722712772033, y = 0.9999934460813359 (double). */
FB_INLINE REAL FN(bce_probs_loss)(REAL p, REAL a, REAL b, REAL a_low, int limits)
{
    const REAL q = 1 - p, q_low = (1 - q) - p;
    const FN(pair) log_p = FN(log_near_pair)(p, p - 1, 0);
    /* q_low / q: where q_low is not 0, p < 1/2 and 3 terms of 1 / (1 - p) are enough */
    const FN(pair) log_q = FN(log_near_pair)(q, -p, q_low * FMA(p, 1 + p, 1));
    REAL positive = 0 - log_p.high, positive_low = -log_p.low;
    REAL negative = 0 - log_q.high, negative_low = -log_q.low;
    const int positive_ends = limits ? FN(to_bits)(p) <= LOG_LIMIT_BITS : p == 0, negative_ends = q == 0;
    /* clipping may round to 0 or 1: then a term is infinite, and one of weight 0 is still 0 */
    const REAL end_p = limits ? 100 : b == 0 ? 0 : (REAL)INFINITY;
    const REAL end_q = limits ? 100 : a == 0 ? 0 : (REAL)INFINITY;
    positive = positive_ends ? end_p : positive;
    negative = negative_ends ? end_q : negative;
    positive_low = positive_ends ? 0 : positive_low;
    negative_low = negative_ends ? 0 : negative_low;
    const REAL low = FMA(a, negative_low, FMA(b, positive_low, limits ? a_low * negative : 0));
    const REAL loss = FMA(a, negative, FMA(b, positive, low));
    return p == p ? loss : p;
}

/* d/dp = (a p - b (1 - p)) / max(p (1 - p), 1e-12) = a / (1 - p) - b / p where the limit does not hold.
 * Error, a hard target: 0.500 ULP (float), 0.954 at p = 5.800915303666444e-14, y = 1 (double); a soft one: 1.731 ULP of the
 * larger term at p = 0.7538243591933175, y = 0.5084383989941638 (double). */
FB_INLINE REAL FN(bce_probs_grad)(REAL p, REAL a, REAL b, REAL a_low, int limits)
{
    const REAL q = 1 - p, q_low = (1 - q) - p;
    const REAL inverse = 1 / q;
    const REAL remainder = FMA(-inverse, q, 1) - inverse * q_low;
    const REAL negative = q_low == 0 ? inverse : FMA(remainder, inverse, inverse); /* also of q = 0 */
    const REAL positive = b / p;
    if (!limits) {
        const REAL slope = (a == 0 ? 0 : a * negative) - (b == 0 ? 0 : positive);
        return p == p ? slope : p;
    }
    /* a p - b q = (a + b) p - b = a - (a + b) q: of these the one that rounds only where it is large. By 2^40, about
     * 1 / floor, so that what is subnormal here is subnormal in the result; and the quotient by a constant is a product,
     * corrected once. */
    const int high = p > (REAL)0.5;
    const REAL floor = (REAL)1e-12, scale = (REAL)0x1p40, scaled_floor = floor * scale,
               inverse_floor = 1 / scaled_floor;
    const REAL far = (high ? -q : p) * scale, low = high ? a_low * scale : 0;
    const REAL difference = (high ? a : -b) * scale + FMA(far, a + b, low);
    const REAL rounded = difference * inverse_floor;
    const REAL at_limit = FMA(FMA(-rounded, scaled_floor, difference), inverse_floor, rounded);
    return p * q < floor ? at_limit : FMA(a, negative, FMA(a_low, negative, -positive));
}
