/* The block loops of losses of logits.
 *
 * A loop over logits is three: exp, the sigmoid, and the rest. Short chains of dependent operations keep more elements
 * under way in the CPU at once (1.5 times faster, measured). What the second leaves to the third is little to store. */

/* High and low parts of a block. */
typedef struct {
    REAL high[FB_BLOCK], low[FB_BLOCK];
} FN(pairs);

/* exp(-|x|) of a block, as it is computed for ordinary x or for any. Returns whether all were ordinary: no |x| is so large
 * that an exponential or its square is subnormal. */
FB_INLINE int FN(exp_loop)(const fb_block *block, int ordinary, FN(pairs) *restrict result)
{
    const int64_t n = block->n & -FB_LANES; /* says that there is no tail */
    const REAL *x = block->x;
    const BITS limit = FN(to_bits)(-42);
    BITS seen = 0;

    for (int64_t i = 0; i < n; i++) {
        const REAL distance = FN(minus_abs)(x[i]);
        const FN(pair) t = FN(exp_pair)(distance, ordinary);
        seen = FN(see)(seen, FN(to_bits)(distance), limit, 0);
        result->high[i] = t.high;
        result->low[i] = t.low;
    }
    return !FN(saw_above)(limit, seen);
}

/* What begins the sigmoids of a block. Returns whether all targets are 0 or 1, if it has to look. */
FB_INLINE int FN(sigmoid_loop)(const fb_block *block, int ordinary, int looks, const FN(pairs) * t,
                               FN(pairs) * result)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *y = block->y;
    BITS different[FB_LANES] FB_ALIGNED = {0};
    for (int64_t begin = 0, end; begin < n; begin = end) {
        end = FN(begin_part)(block, begin, n);
        for (int64_t at = begin; at < end; at += FB_LANES) {
            FN(fetch_later)(block, at);
            FB_INDEPENDENT
            FB_ROLLED
            for (int i = 0; i < FB_LANES; i++) {
                const FN(pair) both = {t->high[at + i], t->low[at + i]};
                const FN(pair) begun = FN(begin_sigmoid)(both, ordinary);
                result->high[at + i] = begun.high;
                result->low[at + i] = begun.low;
                if (looks)
                    different[i] |= FN(not_hard)(y[at + i]);
            }
        }
    }
    return looks && FN(seen_of)(different) == 0;
}

/* The rest, from t = exp(-|x|) and what begins its sigmoid. wanted: FB_LOSS, FB_GRAD, FB_HESS; hard: all targets are 0 or 1,
 * logits are ordinary, and there are no weights but those of samples. */
FB_INLINE int FN(logits_loop)(const fb_block *block, int focal, int weights, int wanted, int ordinary,
                              int hard, const FN(pairs) * ts, const FN(pairs) * sigmoids)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *x = block->x, *y = block->y;
    REAL *loss = block->loss, *grad = block->grad, *hess = block->hess;
    const REAL scale = (REAL)block->scale, smoothing = (REAL)block->smoothing;
    const REAL gamma = (REAL)(block->gamma < 1e30 ? block->gamma
                                                  : 1e30); /* so that no product with it overflows */
    const REAL positive = (REAL)(block->alpha < 0 ? 1 : block->alpha);
    const REAL negative = (REAL)(block->alpha < 0 ? 1 : 1 - block->alpha);
    const int weighted = weights >= FB_SMOOTHED;
    const BITS one = FN(to_bits)(1);
    BITS seen = 0;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const FN(pair) t = {ts->high[i], ts->low[i]}, begun = {sigmoids->high[i], sigmoids->low[i]};
        const FN(sigmoid_parts) sigmoid = FN(end_sigmoid)(t, begun);
        const FN(pair) twice_log = FN(twice_log1p)(t.high, sigmoid, ordinary);
        if (hard) {
            const REAL weight = weights ? ((const REAL *)block->weight)[i] : 1;
            const FN(loss_grad) both = FN(bce_logits_hard)(x[i], y[i], sigmoid, twice_log);
            if (wanted & FB_HESS)
                hess[i] = FN(weigh)(weight, FN(bce_logits_hess)(sigmoid.u, 1), weights);
            if (wanted & FB_LOSS)
                loss[i] = FN(weigh)(weight, both.loss, weights);
            if (wanted & FB_GRAD)
                grad[i] = FN(weigh)(weight, both.grad, weights) * scale;
            continue;
        }
        const FN(terms) w = FN(element_terms)(block, i, smoothing, weights);
        seen = FN(see)(seen, FN(unit_bits)(y[i], w.weight), one, 1);
        const REAL c = FN(against)(x[i], w.a, w.b), a_plus_b = weighted ? w.a + w.b : 1;
        REAL value = FN(bce_logits_loss)(x[i], c, twice_log, a_plus_b, weights, ordinary);
        REAL slope = FN(bce_logits_grad)(x[i], c, sigmoid.u, a_plus_b, weighted);
        if (focal) {
            const FN(focal_pair) both = FN(focal_element)(x[i], t, sigmoid, twice_log, value, slope, w.a, w.b,
                                                          gamma, focal, ordinary);
            const REAL balance = FMA(positive, w.b, negative * w.a);
            value = FN(times)(balance, both.loss, ordinary);
            slope = FN(times)(balance, both.grad, ordinary);
        }
        if (wanted & FB_HESS)
            hess[i] = FN(weigh)(w.weight,
                                FN(bce_logits_hess)(sigmoid.u, weighted       ? w.a + w.b
                                                               : y[i] == y[i] ? 1
                                                                              : y[i]),
                                weights);
        if (wanted & FB_LOSS)
            loss[i] = FN(weigh)(w.weight, value, weights);
        if (wanted & FB_GRAD)
            grad[i] = FN(weigh)(w.weight, slope, weights) * scale;
    }
    return FN(saw_above)(one, seen);
}

FB_INLINE int FN(logits_results)(const fb_block *block, int focal, int weights, int ordinary, int hard,
                                 const FN(pairs) * t, const FN(pairs) * sigmoids)
{
    if (block->hess && !focal)
        return FN(logits_loop)(block, focal, weights, FB_GRAD | FB_HESS, ordinary, hard, t, sigmoids);
    if (block->grad)
        return FN(logits_loop)(block, focal, weights, FB_LOSS | FB_GRAD, ordinary, hard, t, sigmoids);
    return FN(logits_loop)(block, focal, weights, FB_LOSS, ordinary, hard, t, sigmoids);
}

FB_INLINE int FN(logits_after_exp)(const fb_block *block, int focal, int weights, int ordinary,
                                   const FN(pairs) * t)
{
    FN(pairs) sigmoids FB_ALIGNED;
    const int looks = ordinary && !focal && weights < FB_SMOOTHED;
    const int hard = FN(sigmoid_loop)(block, ordinary, looks, t, &sigmoids);
    if (looks && hard) /* looks is a constant: of other cases no loop is made */
        return FN(logits_results)(block, focal, weights, ordinary, 1, t, &sigmoids);
    return FN(logits_results)(block, focal, weights, ordinary, 0, t, &sigmoids);
}

/* That logits are ordinary is supposed first, and seen when it is too late: they nearly always are. */
FB_INLINE int FN(logits_block)(const fb_block *block, int weights)
{
    FN(pairs) t FB_ALIGNED;
    if (FN(exp_loop)(block, 1, &t))
        return FN(logits_after_exp)(block, FB_NO_FOCAL, weights, 1, &t);
    FN(exp_loop)(block, 0, &t);
    return FN(logits_after_exp)(block, FB_NO_FOCAL, weights, 0, &t);
}

static int FN(bce_logits)(const fb_block *block)
{
    switch (FN(weights_of)(block)) {
    case FB_UNWEIGHTED:
        return FN(logits_block)(block, FB_UNWEIGHTED);
    case FB_OF_SAMPLES:
        return FN(logits_block)(block, FB_OF_SAMPLES);
    case FB_SMOOTHED:
        return FN(logits_block)(block, FB_SMOOTHED);
    case FB_BALANCED:
        return FN(logits_block)(block, FB_BALANCED);
    default:
        return FN(logits_block)(block, FB_OF_TERMS);
    }
}

FB_INLINE int FN(are_hard)(const fb_block *block)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *y = block->y;
    BITS different = 0;
    if (!FN(begins_hard)(y))
        return 0;
    for (int64_t i = 0; i < n; i++)
        different |= FN(not_hard)(y[i]);
    return different == 0;
}

/* Of hard targets, any gamma but 2 takes a third to a half less time; 2 gains nothing from them, on AVX-512 (measured). An alpha that is
 * 0, as it is computed with, makes a zero of a negative slope that has to be +0. */
FB_INLINE int FN(focal_block)(const fb_block *block, int weights)
{
    FN(pairs) t FB_ALIGNED;
    const int square = block->gamma == 2, balanced = (REAL)block->alpha != 0;
    if (balanced && (square || FN(are_hard)(block)) && FN(exp_loop)(block, 1, &t))
        return square ? FN(logits_after_exp)(block, FB_SQUARE, weights, 1, &t)
                      : FN(logits_after_exp)(block, FB_HARD_POWER, weights, 1, &t);
    FN(exp_loop)(block, 0, &t);
    return square ? FN(logits_after_exp)(block, FB_SQUARE, weights, 0, &t)
                  : FN(logits_after_exp)(block, FB_POWER, weights, 0, &t);
}

static int FN(focal)(const fb_block *block)
{
    return block->weight ? FN(focal_block)(block, FB_OF_SAMPLES) : FN(focal_block)(block, FB_UNWEIGHTED);
}

static void FN(sigmoid)(int64_t count, const void *x_, void *proba_)
{
    const int64_t n = count & -FB_LANES;
    const REAL *x = x_;
    REAL *proba = proba_;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const FN(pair) t = FN(exp_pair)(FN(minus_abs)(x[i]), 0);
        const FN(sigmoid_parts) s = FN(end_sigmoid)(t, FN(begin_sigmoid)(t, 0));
        proba[i] = FN(bce_logits_grad)(x[i], FN(against)(x[i], 1, 0), s.u, 1, 0); /* as for target 0 */
    }
}
