/* The focal loss of one element, but for its factor alpha: u^gamma times the cross-entropy of the logit.
 *
 * Lin et al., Focal loss for dense object detection, 2017, with soft targets as torchvision takes them: a = 1 - y and
 * b = y, p and q the sigmoids of x and -x, u = a p + b q. Its gradient is u^gamma (a p - b q + gamma loss (a - b) p q / u).
 *
 * u = v / (1 + t), with v a sum of two terms that are not negative; so log u = log v - log1p(t) cancels nothing, and
 * where the target is hard v is 1 or t, and log v is 0 or -|x| exactly. But u^2 needs neither: gamma is 2 by default.
 *
 * ordinary: as logits are, and alpha is not 0. So nothing that counts is infinite, and t is not 0. */

typedef struct {
    REAL loss, grad;
} FN(focal_pair);

/* alpha times the rest: an alpha of 0 takes an infinite value away, and keeps a NaN. ordinary: there is no infinite one, and an
 * alpha of 1 makes 0 only of what is positive. */
FB_INLINE REAL FN(times)(REAL coefficient, REAL value, int ordinary)
{
    const REAL product = coefficient * value;
    return !ordinary && coefficient == 0 && value == value ? 0 : product;
}

/* u^gamma = exp(gamma log u), from log v */
FB_INLINE REAL FN(focal_power)(FN(pair) log_v, FN(pair) twice_log, REAL gamma)
{
    const REAL half = (REAL)0.5, log_high = half * twice_log.high, sum = log_v.high - log_high;
    const REAL part = sum - log_v.high;
    const REAL lost = ((log_v.high - (sum - part)) - (log_high + part)) +
                      FMA(-half, twice_log.low, log_v.low);
    const REAL high = sum + lost, low = (sum - high) + lost; /* so that low is a rounding error of high */
    const REAL exponent = gamma * high;
    const REAL exponent_low = FMA(gamma, high, -exponent) + gamma * low;
    return FN(exp_sum)(exponent, exponent_low).high;
}

/* log v */
FB_INLINE FN(pair) FN(focal_log)(REAL x, REAL v, REAL v_minus_1, int v_is_t)
{
    FN(scaled) scaled_v = FN(scale)(FABS(v), 0); /* v is negative where a target is out of range */
    scaled_v.inverse = 1 / scaled_v.m;
    const FN(pair) log_v = FN(log_near)(scaled_v, v_minus_1, 0);
    const REAL minus_abs = FN(minus_abs)(x);
    const REAL log_t = minus_abs < (REAL)-1e30 ? (REAL)-1e30 : minus_abs; /* times a gamma of 0: 0 */
    const FN(pair) result = {v_is_t ? log_t : log_v.high, v_is_t ? 0 : log_v.low};
    return result;
}

/* u^2, where p or q is the sigmoid s.u, and near and far multiply the other one and it: as a high and a low part. */
FB_INLINE FN(pair) FN(focal_square)(FN(sigmoid_parts) s, FN(pair) t, REAL near, REAL far)
{
    const REAL low = (((s.sum - t.high) - s.u) + s.lost) - t.low;
    const REAL other = 1 - s.u, other_low = ((1 - other) - s.u) - low;
    const REAL u = FMA(far, s.u, near * other), u_low = FMA(far, low, near * other_low);
    const REAL high = u * u;
    const FN(pair) result = {high, FMA(u + u, u_low, FMA(u, u, -high))};
    return result;
}

/* Error, gamma 0.5 to 5, |x| up to 10^4. A hard target: loss 3.33 ULP at x = -0.01859933413188168 (double), gradient 5.75 at
 * x = 0.3393247724083124 (double), y = 0, gamma = 5. A soft one: loss 14.9 at x = -1.3618318, y = 1.0391394e-05 (float),
 * gradient 15.8 ULP of the largest of its terms at x = -1.2664577, y = 0.0025015806 (float), gamma = 5. */
FB_INLINE FN(focal_pair)
    FN(focal_element)(REAL x, FN(pair) t, FN(sigmoid_parts) s, FN(pair) twice_log, REAL cross_entropy,
                      REAL cross_entropy_grad, REAL a, REAL b, REAL gamma, int kind, int ordinary)
{
    const REAL near = FN(against)(x, a, b), far = FN(against)(x, b, a); /* v = near + far t */
    const int v_is_t = near == 0;
    const REAL v = FMA(far, t.high, near);
    FN(pair) power = {0, 0};
    if (kind == FB_SQUARE) {
        power = FN(focal_square)(s, t, near, far);
    } else if (kind == FB_HARD_POWER) {
        const FN(pair) log_v = {far * FN(minus_abs)(x), 0};
        power.high = FN(focal_power)(log_v, twice_log, gamma);
    } else {
        const FN(pair) log_v = FN(focal_log)(x, v, -far * ((1 - t.high) - t.low), v_is_t);
        power.high = FN(focal_power)(log_v, twice_log, gamma);
    }
    /* p q / u = t / ((1 + t) v). An infinite loss comes with t = 0, and their product is 0. */
    const REAL ratio = kind == FB_HARD_POWER ? FMA(near, t.high, far) : v_is_t ? 1 : t.high / v;
    const REAL share = cross_entropy * (ratio * (1 - s.u));
    const REAL push = !ordinary && t.high == 0 && !v_is_t ? 0 : gamma * share;
    const REAL slope = FMA(push, a - b, cross_entropy_grad);
    const REAL loss = kind == FB_SQUARE ? FMA(power.high, cross_entropy, power.low * cross_entropy)
                                        : power.high * cross_entropy;
    const REAL grad = kind == FB_SQUARE ? FMA(power.high, slope, power.low * slope) : power.high * slope;
    const FN(focal_pair) result = {!ordinary && cross_entropy == (REAL)INFINITY ? cross_entropy : loss, grad};
    return result;
}
