/* The block loops of the loss of probabilities: the division, then the logarithm. Of hard targets one likelihood of each
 * element counts, of soft ones both. */

/* What is known of the probabilities of a block, and whether every target is 0 or 1. NaN is nothing of it. */
typedef struct {
    int probs, hard;
} FN(known);

/* Bits that are large if p is not ordinary, and the largest of those that are; in float, of 1. */
FB_INLINE BITS FN(beyond)(REAL p)
{
    return FN(to_bits)(p) - FN(to_bits)((REAL)0x1p-39);
}

FB_INLINE BITS FN(edge)(void)
{
    return FN(beyond)(1 - (REAL)0x1p-39);
}

FB_INLINE int FN(known_of)(BITS seen)
{
    if (FN(saw_above)(FN(edge)(), seen))
        return FB_ANY_P;
    return sizeof(REAL) == sizeof(float) && seen == FN(beyond)(1) ? FB_UP_TO_1 : FB_BELOW_1;
}

/* Likelihoods of a block, taken apart beside the division: there it costs nothing. In double there is even room to begin the
 * logarithms. */
enum { FN(BEGINS_LOG) = sizeof(REAL) == sizeof(double) };

/* From one array to the next. A multiple of 4 KB would put short blocks into the same sets of the first-level cache: up to a third
 * more time. */
enum { FN(KEPT) = FB_BLOCK + 8 * FB_LANES };

typedef struct {
    REAL lack[FN(KEPT)], power[FN(KEPT)], inverse[FN(KEPT)];
    REAL begun[FN(KEPT)], low[FN(KEPT)]; /* in float, minus_k and nothing */
} FN(likelihoods);

FB_INLINE void FN(keep)(FN(likelihood) z, REAL inverse, FN(likelihoods) * kept, int64_t i)
{
    const FN(pair) begun = FN(begin_surprise)(z);
    kept->lack[i] = z.lack;
    kept->power[i] = z.power;
    kept->inverse[i] = inverse;
    kept->begun[i] = FN(BEGINS_LOG) ? begun.high : z.minus_k;
    if (FN(BEGINS_LOG))
        kept->low[i] = begun.low;
}

FB_INLINE FN(likelihood) FN(kept)(const FN(likelihoods) * kept, int64_t i)
{
    FN(likelihood) z = {0, kept->lack[i], kept->power[i], kept->inverse[i], 0, {kept->begun[i], 0}};
    if (FN(BEGINS_LOG)) {
        z.begun.low = kept->low[i];
    } else {
        z.minus_k = kept->begun[i];
        z.begun = FN(begin_surprise)(z);
    }
    return z;
}

/* The divisions of hard targets; as exp of logits, a loop of its own, in which ordinary probabilities are supposed first. */
FB_INLINE FN(known) FN(hard_likelihoods)(const fb_block *block, int ordinary, FN(likelihoods) * result)
{
    const int64_t n = block->n & -FB_LANES; /* says that there is no tail */
    const REAL *x = block->x, *y = block->y;
    BITS seen[FB_LANES] FB_ALIGNED = {0}, different[FB_LANES] FB_ALIGNED = {0};

    for (int64_t begin = 0, end; begin < n; begin = end) {
        end = FN(begin_part)(block, begin, n);
        for (int64_t at = begin; at < end; at += FB_LANES) {
            FN(fetch_later)(block, at);
            FB_INDEPENDENT
            FB_ROLLED
            for (int i = 0; i < FB_LANES; i++) {
                const REAL given = x[at + i], target = y[at + i];
                const REAL p = ordinary ? given : given + 0; /* the logarithm of -0 is that of 0 */
                const FN(likelihood) z = FN(likelihood_of_hard)(p, target, ordinary);
                FN(keep)(z, 1 / z.m, result, at + i);
                seen[i] = FN(see)(seen[i], FN(beyond)(given), FN(edge)(), 1);
                different[i] |= FN(not_hard)(target);
            }
        }
    }
    const FN(known) known = {FN(known_of)(FN(seen_of)(seen)), FN(seen_of)(different) == 0};
    return known;
}

FB_INLINE int FN(bce_probs_hard_loop)(const fb_block *block, int weights, int want_grad, int probs,
                                      const FN(likelihoods) * likelihoods)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *x = block->x, *y = block->y;
    REAL *loss = block->loss, *grad = block->grad;
    const REAL scale = (REAL)block->scale;
    const BITS one = FN(to_bits)(1);
    BITS seen = 0;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const int positive = y[i] != 0;
        const REAL p = probs ? x[i] : x[i] + 0;
        const REAL weight = FN(has_weight)(weights) ? ((const REAL *)block->weight)[i] : 1;
        const REAL pos_weight = weights >= FB_BALANCED ? ((const REAL *)block->pos_weight)[i] : 1;
        /* What is not finite is not lost, as it would not be beside a soft target. */
        const REAL c = positive ? pos_weight : weights >= FB_BALANCED ? FMA(0, pos_weight, 1) : 1;
        const FN(likelihood) z = FN(kept)(likelihoods, i);
        if (!probs)
            seen = FN(see)(seen, FN(unit_bits)(x[i], weight), one, 1);
        const FN(loss_grad) both = FN(bce_probs_hard)(p, positive, c, z, probs, weights);
        loss[i] = FN(weigh)(weight, both.loss, weights);
        if (want_grad)
            grad[i] = FN(weigh)(weight, both.grad, weights) * scale;
    }
    return FN(saw_above)(one, seen);
}

/* Those of any targets, both from one division. Hard ones get the same bits as above, and for the term that does not count
 * any finite number. */
FB_INLINE int FN(soft_likelihoods)(const fb_block *block, int weights, int limits, int ordinary,
                                   FN(likelihoods) * of_p, FN(likelihoods) * of_q)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *x = block->x, *y = block->y;
    const REAL low = (REAL)block->clip_low, high = (REAL)block->clip_high;
    const REAL never = 2; /* what no target is */
    const int smoothed = weights == FB_OF_TERMS && block->smoothing > 0;
    const REAL hard_p = smoothed ? never : 1, hard_q = smoothed ? never : 0;
    BITS seen[FB_LANES] FB_ALIGNED = {0};

    for (int64_t begin = 0, end; begin < n; begin = end) {
        end = FN(begin_part)(block, begin, n);
        for (int64_t at = begin; at < end; at += FB_LANES) {
            FN(fetch_later)(block, at);
            FB_INDEPENDENT
            FB_ROLLED
            for (int i = 0; i < FB_LANES; i++) {
                const REAL given = x[at + i], target = y[at + i];
                const REAL p = ordinary ? given : limits ? given + 0 : FN(clip)(given, low, high);
                const FN(likelihood) z_p = FN(likelihood_of)(p, 1, ordinary);
                const FN(likelihood) z_q = FN(likelihood_of)(p, 0, ordinary);
                const REAL p_or_1 = weights != FB_SMOOTHED && target == hard_q ? 1 : z_p.m;
                const REAL q_or_1 = weights != FB_SMOOTHED && target == hard_p ? 1 : z_q.m;
                const REAL inverse = 1 / (p_or_1 * q_or_1);
                FN(keep)(z_p, q_or_1 * inverse, of_p, at + i);
                FN(keep)(z_q, p_or_1 * inverse, of_q, at + i);
                if (FN(has_inverse)(weights, ordinary))
                    of_p->power[at + i] = FN(times_power)(of_p->inverse[at + i], z_p); /* 1 / p */
                seen[i] = FN(see)(seen[i], FN(beyond)(given), FN(edge)(), 1);
            }
        }
    }
    return FN(known_of)(FN(seen_of)(seen)) == FB_BELOW_1;
}

FB_INLINE int FN(bce_probs_loop)(const fb_block *block, int weights, int want_grad, int limits, int ordinary,
                                 const FN(likelihoods) * ps, const FN(likelihoods) * qs)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *x = block->x, *y = block->y;
    REAL *loss = block->loss, *grad = block->grad;
    const REAL scale = (REAL)block->scale, smoothing = (REAL)block->smoothing;
    const REAL low = (REAL)block->clip_low, high = (REAL)block->clip_high;
    const BITS one = FN(to_bits)(1);
    BITS seen = 0;

    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const FN(terms) w = FN(element_terms)(block, i, smoothing, weights);
        /* ordinary probabilities are in [0, 1] */
        const BITS bits_y = FN(unit_bits)(y[i], w.weight);
        const BITS bits_x = ordinary ? 0 : FN(unit_bits)(x[i], w.weight);
        /* the larger one first: of one after the other GCC makes branches */
        seen = FN(BY_SIGN) ? FN(see)(FN(see)(seen, bits_y, one, 1), bits_x, one, 1)
                           : FN(see)(seen, bits_y > bits_x ? bits_y : bits_x, one, 1);
        const REAL p = ordinary ? x[i] : limits ? x[i] + 0 : FN(clip)(x[i], low, high);
        const FN(likelihood) of_p = FN(kept)(ps, i), of_q = FN(kept)(qs, i);
        const REAL value = FN(bce_probs_loss)(p, w.a, w.b, w.a_low, of_p, of_q, limits, ordinary, weights);
        const REAL slope =
            want_grad ? FN(bce_probs_grad)(p, w.a, w.b, w.a_low, of_p, of_q, limits, ordinary, weights) : 0;
        const REAL weighed = FN(weigh)(w.weight, value, weights);
        const REAL weighed_slope = FN(weigh)(w.weight, slope, weights) * scale;
        loss[i] = weighed;
        if (want_grad) /* clipping is flat, but where there is a NaN, of whatever */
            grad[i] = limits || p == x[i] || weighed != weighed ? weighed_slope : 0;
    }
    return FN(saw_above)(one, seen);
}

FB_INLINE int FN(bce_probs_soft_block)(const fb_block *block, int weights, int want_grad, int limits)
{
    FN(likelihoods) of_p FB_ALIGNED, of_q FB_ALIGNED;
    if (limits && (FN(soft_likelihoods)(block, weights, 1, 1, &of_p, &of_q) || block->clip_low >= 0))
        return FN(bce_probs_loop)(block, weights, want_grad, 1, 1, &of_p, &of_q);
    FN(soft_likelihoods)(block, weights, limits, 0, &of_p, &of_q);
    return FN(bce_probs_loop)(block, weights, want_grad, limits, 0, &of_p, &of_q);
}

/* A function of its own: inlined beside the hard targets, its loops are split by what is known of smoothing there, and not
 * vectorised. */
static __attribute__((noinline)) int FN(bce_probs_soft)(const fb_block *block, int limits)
{
    if (!limits) /* bce_probs brings weights with it */
        return block->grad ? FN(bce_probs_soft_block)(block, FB_OF_TERMS, 1, 0)
                           : FN(bce_probs_soft_block)(block, FB_OF_TERMS, 0, 0);
    switch (FN(weights_of)(block)) {
    case FB_UNWEIGHTED:
        return block->grad ? FN(bce_probs_soft_block)(block, FB_UNWEIGHTED, 1, 1)
                           : FN(bce_probs_soft_block)(block, FB_UNWEIGHTED, 0, 1);
    case FB_OF_SAMPLES:
        return block->grad ? FN(bce_probs_soft_block)(block, FB_OF_SAMPLES, 1, 1)
                           : FN(bce_probs_soft_block)(block, FB_OF_SAMPLES, 0, 1);
    case FB_SMOOTHED:
        return block->grad ? FN(bce_probs_soft_block)(block, FB_SMOOTHED, 1, 1)
                           : FN(bce_probs_soft_block)(block, FB_SMOOTHED, 0, 1);
    case FB_BALANCED:
        return block->grad ? FN(bce_probs_soft_block)(block, FB_BALANCED, 1, 1)
                           : FN(bce_probs_soft_block)(block, FB_BALANCED, 0, 1);
    default:
        return block->grad ? FN(bce_probs_soft_block)(block, FB_OF_TERMS, 1, 1)
                           : FN(bce_probs_soft_block)(block, FB_OF_TERMS, 0, 1);
    }
}

FB_INLINE int FN(bce_probs_hard_block)(const fb_block *block, int weights, int want_grad)
{
    FN(likelihoods) likelihoods FB_ALIGNED;
    if (!FN(begins_hard)(block->y))
        return FN(bce_probs_soft)(block, 1);
    const FN(known) known = FN(hard_likelihoods)(block, 1, &likelihoods);
    if (!known.hard)
        return FN(bce_probs_soft)(block, 1);
    if (known.probs == FB_BELOW_1 || block->clip_low >= 0)
        return FN(bce_probs_hard_loop)(block, weights, want_grad, FB_BELOW_1, &likelihoods);
    if (sizeof(REAL) == sizeof(float) && known.probs == FB_UP_TO_1)
        return FN(bce_probs_hard_loop)(block, weights, want_grad, FB_UP_TO_1, &likelihoods);
    FN(hard_likelihoods)(block, 0, &likelihoods);
    return FN(bce_probs_hard_loop)(block, weights, want_grad, FB_ANY_P, &likelihoods);
}

/* Of probabilities that are ordinary, or have been clipped to what is. */
static int FN(bce_probs_unclipped)(const fb_block *block)
{
    const int weights = FN(weights_of)(block);
    if (weights >= FB_SMOOTHED && block->smoothing > 0)
        return FN(bce_probs_soft)(block, 1);
    switch (weights) {
    case FB_UNWEIGHTED:
        return block->grad ? FN(bce_probs_hard_block)(block, FB_UNWEIGHTED, 1)
                           : FN(bce_probs_hard_block)(block, FB_UNWEIGHTED, 0);
    case FB_OF_SAMPLES:
        return block->grad ? FN(bce_probs_hard_block)(block, FB_OF_SAMPLES, 1)
                           : FN(bce_probs_hard_block)(block, FB_OF_SAMPLES, 0);
    case FB_BALANCED:
        return block->grad ? FN(bce_probs_hard_block)(block, FB_BALANCED, 1)
                           : FN(bce_probs_hard_block)(block, FB_BALANCED, 0);
    default:
        return block->grad ? FN(bce_probs_hard_block)(block, FB_OF_TERMS, 1)
                           : FN(bce_probs_hard_block)(block, FB_OF_TERMS, 0);
    }
}

/* To bounds between which nothing is subnormal or 0, and no limit holds: then all are ordinary, and are computed as such. Where
 * clipping moved one, the gradient is 0; NaN stays, also that of a target or a weight. */
static __attribute__((noinline)) int FN(bce_probs_clipped)(const fb_block *block)
{
    const int64_t n = block->n & -FB_LANES;
    const REAL *x = block->x, *weight = block->weight;
    const REAL low = (REAL)block->clip_low, high = (REAL)block->clip_high;
    REAL *loss = block->loss, *grad = block->grad;
    REAL clipped[FB_BLOCK] FB_ALIGNED, slope[FB_BLOCK] FB_ALIGNED;

    for (int64_t at = 0; block->ahead && at < n; at += FB_LANES) {
        FN(fetch_vector)(x + block->ahead + at);
        if (grad)
            FN(fetch_vector)(grad + block->ahead + at);
    }
    for (int64_t i = 0; i < n; i++)
        clipped[i] = x[i] > low ? x[i] < high ? x[i] : high : low; /* also what is NaN */
    fb_block inner = *block;
    inner.x = clipped;
    inner.grad = grad ? slope : NULL;
    const int outside = FN(maybe_outside)(n, x, weight), targets_outside = FN(bce_probs_unclipped)(&inner);

    for (int64_t i = 0; outside && i < n; i++) {
        const int stays = x[i] != x[i] && !(weight && weight[i] == 0);
        loss[i] = stays ? x[i] : loss[i];
        slope[i] = stays ? x[i] : slope[i];
    }
    if (grad) {
        FB_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            grad[i] = clipped[i] == x[i] || loss[i] != loss[i] ? slope[i] : 0;
    }
    return outside || targets_outside;
}

static int FN(bce_probs)(const fb_block *block)
{
    if (block->clip_low < 0)
        return FN(bce_probs_unclipped)(block);
    if (block->clip_low >= 0x1p-60 && (REAL)block->clip_high < 1)
        return FN(bce_probs_clipped)(block);
    REAL ones[FB_BLOCK] FB_ALIGNED;
    fb_block inner = *block;
    FN(fill)(block->n, 1, ones);
    inner.weight = block->weight ? block->weight : ones;
    inner.pos_weight = block->pos_weight ? block->pos_weight : ones;
    return FN(bce_probs_soft)(&inner, 0);
}
