/* Binary cross-entropy, one element. a + a_low is the weight of the negative term, b of the positive: 1 - y and y, or these
 * with smoothing and pos_weight in them. */

/* What multiplies |x| in the loss, and is the gradient where x is infinite: the weight of the class that x speaks against.
 * By the sign bit: GCC would compute everything twice, for x >= 0 and for x < 0. */
FB_INLINE REAL FN(against)(REAL x, REAL a, REAL b)
{
    return (SIGNED_BITS)FN(to_bits)(x) < 0 ? b : a;
}

/* loss = (a + b) log1p(t) + c |x|, t = exp(-|x|), c = against(x). The sum keeps what its rounding loses, so only the last
 * operation rounds, and c, where a target is soft. ordinary: |x| is no more than 42. A pos_weight may make it infinite all the
 * same.
 *
 * Error, a hard target: 0.906 ULP at x = 4.470031, y = 1 (float), 0.879 at x = 7.519096668559545e-08, y = 0 (double). A soft
 * one: 1.50 at x = 127.97756469653586, y = 0.49991236523124954 (double). */
FB_INLINE REAL FN(bce_logits_loss)(REAL x, REAL c, FN(pair) twice_log, REAL a_plus_b, int weights,
                                   int ordinary)
{
    const int weighted = weights >= FB_SMOOTHED, finite = ordinary && weights < FB_BALANCED;
    /* 0 for an infinite logit that is right */
    const REAL distance = !ordinary && c == 0 ? 0 : FABS(x);
    const REAL half = weighted ? (REAL)0.5 * a_plus_b : (REAL)0.5;
    const REAL curve = half * twice_log.high;
    const REAL sum = FMA(c, distance, curve);
    const REAL part = FMA(-c, distance, sum), product = sum - part; /* c |x|, rounded */
    const REAL lost = FMA(c, distance, -product) + (curve - (sum - product));
    const REAL low = FMA(half, twice_log.low, weighted ? lost + FMA(half, twice_log.high, -curve) : lost);
    return !finite && sum == (REAL)INFINITY ? sum : sum + low;
}

/* d/dx = sign(x) (c - (a + b) u), u = t / (1 + t) the sigmoid of -|x|, rounded.
 *
 * Error, a hard target: 0.929 ULP at x = 5.8916016, y = 1 (float), 0.818 at x = -1.0252679656041943, y = 1 (double). A soft
 * one: 1.87 ULP of the larger term at x = 1.6845598, y = 0.45852152 (float). */
FB_INLINE REAL FN(bce_logits_grad)(REAL x, REAL c, REAL u, REAL a_plus_b, int weighted)
{
    const BITS sign = FN(to_bits)(x) & (BITS)1 << (sizeof(BITS) * 8 - 1);
    const REAL size = weighted ? FMA(-a_plus_b, u, c) : c - u;
    return FN(from_bits)(FN(to_bits)(size) ^ sign);
}

typedef struct {
    REAL loss, grad;
} FN(loss_grad);

/* Both, of a target 0 or 1 and an ordinary x: the same bits, in fewer operations. z is x, or -x where y = 1: the
 * loss is max(z, 0) + log1p(t), the gradient the sigmoid of z, or minus that where y = 1. */
FB_INLINE FN(loss_grad) FN(bce_logits_hard)(REAL x, REAL y, FN(sigmoid_parts) sigmoid, FN(pair) twice_log)
{
    const BITS sign = FN(to_bits)(y) << (sizeof(BITS) * 8 - 1 - MANTISSA_BITS); /* of 1, its lowest bit */
    const REAL z = FN(from_bits)(FN(to_bits)(x) ^ sign);
    const REAL straight = z > 0 ? z : 0, curve = (REAL)0.5 * twice_log.high;
    const REAL larger = straight > curve ? straight : curve, smaller = straight > curve ? curve : straight;
    const REAL sum = larger + smaller, lost = smaller - (sum - larger);
    const REAL size = (SIGNED_BITS)FN(to_bits)(z) < 0 ? sigmoid.u : 1 - sigmoid.u;
    const FN(loss_grad) result = {
        sum + FMA((REAL)0.5, twice_log.low, lost),
        FN(from_bits)(FN(to_bits)(size) ^ sign),
    };
    return result;
}

/* d2/dx2 = (a + b) t / (1 + t)^2, as the product of the sigmoids of x and of -x.
 * Error: 1.977 ULP at x = 6.9299145 (float), 1.988 at x = 17.3286794674325 (double). */
FB_INLINE REAL FN(bce_logits_hess)(REAL u, REAL a_plus_b)
{
    return a_plus_b * ((1 - u) * u);
}

/* z = p or 1 - p, taken apart: z = 2^k (1 - lack), exactly, also of the 1 - p that was rounded. (There p < 1/2, and k is 0 or
 * -1.) minus_k is -k K_UNIT, power 2^-k, m is 1 - lack, rounded. For the caller to fill in: inverse, 1 / (1 - lack), and begun,
 * what begin_surprise gives. */
typedef struct {
    REAL minus_k, lack, power, inverse, m;
    FN(pair) begun;
} FN(likelihood);

FB_INLINE FN(likelihood) FN(likelihood_of)(REAL p, int positive, int ordinary)
{
    const FN(scaled) z = FN(scale)(positive ? p : 1 - p, ordinary);
    const REAL power = FN(power)(z);
    const FN(likelihood)
        result = {z.minus_k, positive ? 1 - z.m : FMA(p, power, 1 - power), power, 0, z.m, {0, 0}};
    return result;
}

/* The same for a target 0 or 1. By arithmetic: GCC would compute everything twice, for 0 and for 1. */
FB_INLINE FN(likelihood) FN(likelihood_of_hard)(REAL p, REAL y, int ordinary)
{
    if (!ordinary)
        return FN(likelihood_of)(p, y != 0, 0);
    const BITS sign = FN(to_bits)(y) << (sizeof(BITS) * 8 - 1 - MANTISSA_BITS); /* of 1, its lowest bit */
    const REAL a = 1 - y, signed_p = FN(from_bits)(FN(to_bits)(p) ^ sign);      /* p or, for 1, -p */
    const FN(scaled) z = FN(scale)(a - signed_p, 1);
    const REAL power = FN(power)(z);
    const FN(likelihood) result = {z.minus_k, FMA(signed_p, power, FMA(-a, power, 1)), power, 0, z.m, {0, 0}};
    return result;
}

/* number 2^-k, both normal, by their bits: where z.power is not needed otherwise, this is one operation less. */
FB_INLINE REAL FN(times_power)(REAL number, FN(likelihood) z)
{
    return FN(from_bits)(FN(to_bits)(number) + (FN(to_bits)(z.power) - FN(to_bits)(1)));
}

/* number / z, where that is not subnormal: by 1 - lack, where one step corrects what rounding took, then by a power of two. The
 * difference in the remainder is exact: rounded lies between number / 2 and number * 2. A number with a pos_weight in it may be
 * so large that rounded is infinite. */
FB_INLINE REAL FN(over_likelihood)(REAL number, FN(likelihood) z, int weights)
{
    const REAL rounded = number * z.inverse;
    const REAL remainder = FMA(rounded, z.lack, number - rounded);
    const REAL corrected = FMA(remainder, z.inverse, rounded);
    return (weights >= FB_BALANCED && rounded == (REAL)INFINITY ? rounded : corrected) * z.power;
}

/* number / q, with inverse near 1 / q, where one step corrects what rounding took; not of numbers that are so large or small that
 * the product is infinite or subnormal. */
FB_INLINE REAL FN(corrected_quotient)(REAL number, REAL q, REAL inverse)
{
    const REAL rounded = number * inverse;
    return FMA(FMA(-rounded, q, number), inverse, rounded);
}

/* Whether soft_likelihoods leaves 1 / p in the place of its power: where p is ordinary and no pos_weight, which may be anything,
 * multiplies the target. */
FB_INLINE int FN(has_inverse)(int weights, int ordinary)
{
    return ordinary && weights < FB_BALANCED;
}

/* -log z, in two steps. (To add -0 is nothing, also to a compiler that keeps the signs of zeros.) */
FB_INLINE FN(pair) FN(begin_surprise)(FN(likelihood) z)
{
    return FN(begin_log)(z.minus_k, z.lack, (REAL)-0.0);
}

FB_INLINE FN(pair) FN(end_surprise)(FN(likelihood) z)
{
    return FN(end_log)(z.begun, z.lack, z.inverse, 1);
}

/* The gradient of torch where its limit holds, where p (1 - p) < 1e-12. */
FB_INLINE REAL FN(bce_probs_at_limit)(REAL p, REAL a, REAL b, REAL a_low)
{
    /* a p - b q = (a + b) p - b = a - (a + b) q: of these the one that rounds only where it is large. By 2^40, about
     * 1 / floor, so that what is subnormal here is subnormal in the result, unless a pos_weight is so large that this might
     * overflow before it; and the quotient by a constant is a product, corrected once. */
    const int high = p > (REAL)0.5, large = a + b > (REAL)0x1p60;
    const REAL scale = large ? 1 : (REAL)0x1p40, scaled_floor = large ? FB_LIMIT : FB_LIMIT * (REAL)0x1p40;
    const REAL inverse_floor = large ? 1 / FB_LIMIT : 1 / (FB_LIMIT * (REAL)0x1p40);
    const REAL far = (high ? p - 1 : p) * scale, low = high ? a_low * scale : 0;
    const REAL difference = (high ? a : -b) * scale + FMA(far, a + b, low);
    const REAL rounded = difference * inverse_floor;
    const REAL corrected = FMA(FMA(-rounded, scaled_floor, difference), inverse_floor, rounded);
    return FABS(rounded) == (REAL)INFINITY ? rounded : corrected;
}

/* A hard target: loss = -c max(log z, -100) and d/dp = -+c / max(z, 1e-12 / (1 - z)), with c the weight of its class. */
FB_INLINE FN(loss_grad)
    FN(bce_probs_hard)(REAL p, int positive, REAL c, FN(likelihood) z, int probs, int weights)
{
    const FN(pair) minus_log = FN(end_surprise)(z);
    const int ends_low = probs == FB_ANY_P && FN(to_bits)(p) <= LOG_LIMIT_BITS;
    const int ends_high = probs != FB_BELOW_1 && p == 1;
    const int ends = positive ? ends_low : ends_high;
    const REAL high = ends ? 100 : minus_log.high, low = ends ? 0 : minus_log.low;
    const REAL loss = FMA(c, high, c * low);

    const REAL size = FN(over_likelihood)(c, z, weights);
    const REAL slope = positive ? -size : size;
    const int is_limited = probs == FB_ANY_P ? p * (1 - p) < FB_LIMIT : ends_high;
    const int is_constant = probs != FB_ANY_P && weights < FB_BALANCED; /* p and c are 1 */
    const REAL limited = !is_constant ? FN(bce_probs_at_limit)(probs == FB_ANY_P ? p : 1, positive ? 0 : c,
                                                               positive ? c : 0, 0)
                         : positive   ? 0
                                      : FN(bce_probs_at_limit)(1, 1, 0, 0);
    const FN(loss_grad) result = {
        probs == FB_ANY_P && p != p ? p : loss,
        probs == FB_ANY_P && p != p ? p
        : is_limited                ? limited
                                    : slope,
    };
    return result;
}

/* loss = -(a max(log1p(-p), -100) + b max(log p, -100)); limits: 1 for torch's two limits, 0 for clipped p.
 * Error, a soft target: 1.72 ULP at p = 0.7066818095019562, y = 0.9999999999982466 (double); a hard one: 0.941 at
 * p = 0.2931969 (float), 0.969 at p = 0.29641626644241886 (double), y = 0. */
FB_INLINE REAL FN(bce_probs_loss)(REAL p, REAL a, REAL b, REAL a_low, FN(likelihood) of_p,
                                  FN(likelihood) of_q, int limits, int ordinary, int weights)
{
    const FN(pair) minus_log_p = FN(end_surprise)(of_p);
    const FN(pair) minus_log_q = FN(end_surprise)(of_q);
    REAL positive = minus_log_p.high, positive_low = minus_log_p.low;
    REAL negative = minus_log_q.high, negative_low = minus_log_q.low;
    if (ordinary) {
        const REAL positive_part = weights == FB_SMOOTHED ? b * positive_low
                                                          : FMA(b, positive_low, a_low * negative);
        return FMA(a, negative, FMA(b, positive, FMA(a, negative_low, positive_part)));
    }
    const int positive_ends = limits ? FN(to_bits)(p) <= LOG_LIMIT_BITS : p == 0, negative_ends = p == 1;
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

/* d/dp = (a p - b (1 - p)) / max(p (1 - p), 1e-12) = a / (1 - p) - b / p where the limit does not hold. has_inverse: of_p.power
 * is 1 / p.
 * Error, a hard target: 0.500 ULP (float), 0.954 at p = 5.800915303666444e-14, y = 1 (double); a soft one: 1.731
 * ULP of the larger term at p = 0.7538243591933175, y = 0.5084383989941638 (double). */
FB_INLINE REAL FN(bce_probs_grad)(REAL p, REAL a, REAL b, REAL a_low, FN(likelihood) of_p,
                                  FN(likelihood) of_q, int limits, int ordinary, int weights)
{
    const REAL q = 1 - p;
    if (!limits) {
        const REAL negative = a / q, positive = b / p;
        const REAL slope = (a == 0 ? 0 : negative) - (b == 0 ? 0 : positive);
        return p == p ? slope : p;
    }
    const REAL negative = FN(over_likelihood)(1, of_q, FB_UNWEIGHTED);
    const REAL positive = FN(has_inverse)(weights, ordinary) ? FN(corrected_quotient)(b, p, of_p.power)
                                                             : FN(over_likelihood)(b, of_p, weights);
    const REAL slope = FMA(a, negative, weights == FB_SMOOTHED ? -positive : FMA(a_low, negative, -positive));
    return !ordinary && p * q < FB_LIMIT ? FN(bce_probs_at_limit)(p, a, b, a_low) : slope;
}
