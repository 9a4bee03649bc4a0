/* The block loops of the binary losses. Each is written once, and inlined for each case: weighted or not, which results.
 *
 * exp comes in a loop of its own: half the chain of dependent operations, so twice as many elements are under way in
 * the CPU at once (1.5 times faster, measured). */

/* What an element counts for: the two terms' weights a + a_low and b, and the weight of the whole. */
typedef struct {
    REAL a, b, weight, a_low;
} FN(terms);

FB_INLINE FN(terms) FN(element_terms)(const fb_block *block, int64_t i, int weighted)
{
    const REAL y = ((const REAL *)block->y)[i];
    FN(terms) terms = {1 - y, y, 1, (1 - (1 - y)) - y};
    if (weighted) {
        const REAL smoothing = (REAL)block->smoothing;
        const REAL unsmoothed = smoothing == 0;
        terms.a = FMA(1 - y, 1 - smoothing, smoothing / 2);
        terms.b = ((const REAL *)block->pos_weight)[i] * FMA(y, 1 - smoothing, smoothing / 2);
        terms.weight = ((const REAL *)block->weight)[i];
        terms.a_low *= unsmoothed; /* smoothing rounds by as much itself */
    }
    return terms;
}

FB_INLINE REAL FN(weigh)(REAL weight, REAL value, int weighted)
{
    return !weighted ? value : weight == 0 ? 0 : weight * value + 0; /* + 0: no negative zero */
}

/* The bits of a value that counts: beyond those of 1 if it is outside [0, 1]; also for -0 and NaN: the caller looks
 * closer. As a maximum of integers it vectorises. */
FB_INLINE BITS FN(unit_bits)(REAL value, REAL weight)
{
    return FN(to_bits)(weight == 0 ? 1 : value); /* not 0: GCC would see that 0 is no maximum, and branch */
}

FB_INLINE REAL FN(clip)(REAL x, REAL low, REAL high)
{
    return x < low ? low : x > high ? high : x;
}

/* wanted: FB_LOSS, FB_GRAD, FB_HESS. */
FB_INLINE int FN(logits_loop)(const fb_block *block, int focal, int weighted, int wanted)
{
    const int64_t n = block->n & -FB_LANES; /* says that there is no tail */
    const REAL *x = block->x, *y = block->y;
    REAL *loss = block->loss, *grad = block->grad, *hess = block->hess;
    const REAL scale = (REAL)block->scale;
    const REAL gamma = (REAL)(block->gamma < 1e30 ? block->gamma
                                                  : 1e30); /* so that no product with it overflows */
    const REAL positive = (REAL)(block->alpha < 0 ? 1 : block->alpha);
    const REAL negative = (REAL)(block->alpha < 0 ? 1 : 1 - block->alpha);
    REAL high[FB_BLOCK] FB_ALIGNED, low[FB_BLOCK] FB_ALIGNED;
    BITS largest = 0;

    for (int64_t i = 0; i < n; i++) {
        const FN(pair) t = FN(exp_pair)(FN(minus_abs)(x[i]));
        high[i] = t.high;
        low[i] = t.low;
    }
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const FN(pair) t = {high[i], low[i]};
        FN(terms) w = FN(element_terms)(block, i, weighted);
        const BITS bits = FN(unit_bits)(y[i], w.weight);
        largest = bits > largest ? bits : largest;
        REAL value = 0, slope = 0;
        if (focal) {
            const FN(focal_pair) both = FN(focal_element)(x[i], t, w.a, w.b, w.a_low, gamma);
            const REAL balance = FMA(positive, w.b, negative * w.a);
            value = FN(times)(balance, both.loss);
            slope = FN(times)(balance, both.grad);
        } else {
            value = FN(bce_logits_loss)(x[i], t, w.a, w.b, weighted ? w.a + w.b : 1);
            slope = FN(bce_logits_grad)(x[i], t, w.a, w.b, w.a_low);
        }
        if (wanted & FB_HESS)
            hess[i] = FN(weigh)(w.weight,
                                FN(bce_logits_hess)(t, weighted       ? w.a + w.b
                                                       : y[i] == y[i] ? 1
                                                                      : y[i]),
                                weighted);
        if (wanted & FB_LOSS)
            loss[i] = FN(weigh)(w.weight, value, weighted);
        if (wanted & FB_GRAD)
            grad[i] = FN(weigh)(w.weight, slope, weighted) * scale;
    }
    return largest > FN(to_bits)(1);
}

FB_INLINE int FN(bce_probs_loop)(const fb_block *block, int weighted, int want_grad, int limits)
{
    const int64_t n = block->n & -FB_LANES; /* says that there is no tail */
    const REAL *x = block->x, *y = block->y;
    REAL *loss = block->loss, *grad = block->grad;
    const REAL scale = (REAL)block->scale, low = (REAL)block->clip_low, high = (REAL)block->clip_high;
    BITS largest = 0;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const FN(terms) w = FN(element_terms)(block, i, weighted);
        const BITS bits_y = FN(unit_bits)(y[i], w.weight), bits_x = FN(unit_bits)(x[i], w.weight);
        const BITS bits = bits_y > bits_x ? bits_y : bits_x;
        largest = bits > largest ? bits : largest;
        const REAL p = limits ? x[i] + 0
                              : FN(clip)(x[i], low, high); /* + 0: the logarithm of -0 is that of 0 */
        const REAL value = FN(bce_probs_loss)(p, w.a, w.b, w.a_low, limits);
        const REAL slope = want_grad ? FN(bce_probs_grad)(p, w.a, w.b, w.a_low, limits) : 0;
        const REAL kept = limits || p == x[i] || x[i] != x[i] ? slope : 0; /* clipping is flat */
        loss[i] = FN(weigh)(w.weight, value, weighted);
        if (want_grad)
            grad[i] = FN(weigh)(w.weight, kept, weighted) * scale;
    }
    return largest > FN(to_bits)(1);
}

FB_INLINE int FN(logits_block)(const fb_block *block, int focal, int weighted)
{
    if (block->hess && !focal)
        return FN(logits_loop)(block, focal, weighted, FB_GRAD | FB_HESS);
    return block->grad ? FN(logits_loop)(block, focal, weighted, FB_LOSS | FB_GRAD)
                       : FN(logits_loop)(block, focal, weighted, FB_LOSS);
}

static int FN(bce_logits)(const fb_block *block)
{
    return block->weight ? FN(logits_block)(block, 0, 1) : FN(logits_block)(block, 0, 0);
}

static int FN(focal)(const fb_block *block)
{
    return FN(logits_block)(block, 1, 1); /* the caller brings weights with it */
}

static int FN(bce_probs)(const fb_block *block)
{
    if (block->clip_low >= 0) /* the caller brings weights with it */
        return block->grad ? FN(bce_probs_loop)(block, 1, 1, 0) : FN(bce_probs_loop)(block, 1, 0, 0);
    if (block->weight)
        return block->grad ? FN(bce_probs_loop)(block, 1, 1, 1) : FN(bce_probs_loop)(block, 1, 0, 1);
    return block->grad ? FN(bce_probs_loop)(block, 0, 1, 1) : FN(bce_probs_loop)(block, 0, 0, 1);
}

static void FN(sigmoid)(int64_t count, const void *x_, void *proba_)
{
    const int64_t n = count & -FB_LANES;
    const REAL *x = x_;
    REAL *proba = proba_;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) { /* the gradient for target 0, and as exact */
        const FN(pair) t = FN(exp_pair)(FN(minus_abs)(x[i]));
        proba[i] = FN(bce_logits_grad)(x[i], t, 1, 0, 0);
    }
}
