/* The block loops of the binary losses. Each is written once, and inlined for each case: weighted or not, which results.
 *
 * A loop over logits is three: exp, the sigmoid, and the rest. Short chains of dependent operations keep more elements
 * under way in the CPU at once (1.5 times faster, measured). What the second leaves to the third is little to store. */

FB_INLINE int FN(weights_of)(const fb_block *block)
{
    if (block->weight)
        return block->pos_weight ? FB_OF_TERMS : FB_OF_SAMPLES;
    if (block->pos_weight)
        return FB_BALANCED;
    return block->smoothing > 0 ? FB_SMOOTHED : FB_UNWEIGHTED;
}

/* Whether samples have weights. */
FB_INLINE int FN(has_weight)(int weights)
{
    return weights == FB_OF_SAMPLES || weights == FB_OF_TERMS;
}

/* What an element counts for: the two terms' weights a + a_low and b, and the weight of the whole. */
typedef struct {
    REAL a, b, weight, a_low;
} FN(terms);

FB_INLINE FN(terms) FN(element_terms)(const fb_block *block, int64_t i, REAL smoothing, int weights)
{
    const REAL y = ((const REAL *)block->y)[i];
    FN(terms) terms = {1 - y, y, 1, (1 - (1 - y)) - y};
    if (FN(has_weight)(weights))
        terms.weight = ((const REAL *)block->weight)[i];
    if (weights == FB_SMOOTHED || weights == FB_OF_TERMS) {
        const REAL unsmoothed = weights != FB_SMOOTHED && smoothing == 0;
        terms.a = FMA(1 - y, 1 - smoothing, smoothing / 2);
        terms.b = FMA(y, 1 - smoothing, smoothing / 2);
        terms.a_low *= unsmoothed; /* smoothing rounds by as much itself */
    }
    if (weights >= FB_BALANCED)
        terms.b *= ((const REAL *)block->pos_weight)[i];
    return terms;
}

FB_INLINE REAL FN(weigh)(REAL weight, REAL value, int weights)
{
    return !weights ? value : weight == 0 ? 0 : weight * value + 0; /* + 0: no negative zero */
}

FB_INLINE REAL FN(clip)(REAL x, REAL low, REAL high)
{
    return x < low ? low : x > high ? high : x;
}

/* Ask for the memory of FB_LANES elements. */
FB_INLINE void FN(fetch_vector)(const REAL *vector)
{
    for (size_t i = 0; i < FB_LANES; i += 64 / sizeof(REAL))
        __builtin_prefetch(vector + i);
}

/* Ask for what a part of a block to come is converted from: little at a time, or it would be waited for. Not inlined: loops of
 * blocks that are not converted would take a twentieth more time. */
static __attribute__((noinline)) void FN(fetch_sources)(const fb_block *block, int64_t begin, int64_t end)
{
    __asm__ volatile(""); /* else GCC sees no effect, and drops the call */
    for (int k = 0; k < block->laters; k++) {
        const fb_later later = block->later[k];
        for (int64_t at = begin / FB_LANES * later.bytes; at < end / FB_LANES * later.bytes; at += 64)
            __builtin_prefetch(later.begin + at);
    }
}

/* Memory is asked for between divisions (of logits in double: what replaces them), which leave units idle: this costs nothing,
 * and it is there when it is needed (a quarter less time on arrays beyond the caches, measured). They are done in
 * parts of so many elements. Returns where the part from `begin` on ends. */
FB_INLINE int64_t FN(begin_part)(const fb_block *block, int64_t begin, int64_t n)
{
    const int64_t end = begin + 4 * FB_LANES < n ? begin + 4 * FB_LANES : n;
    if (block->laters)
        FN(fetch_sources)(block, begin, end);
    return end;
}

/* High and low parts of a block. */
typedef struct {
    REAL high[FB_BLOCK], low[FB_BLOCK];
} FN(pairs);

/* 0 if y is 0 or 1, but not -0. One rounding, so that nothing else comes to 0. */
FB_INLINE BITS FN(not_hard)(REAL y)
{
    return FN(to_bits)(FMA(-y, y, y));
}

FB_INLINE BITS FN(seen_of)(const BITS *lanes)
{
    BITS seen = 0;
    for (int i = 0; i < FB_LANES; i++)
        seen = FN(BY_SIGN) ? seen | lanes[i] : lanes[i] > seen ? lanes[i] : seen;
    return seen;
}

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

/* What FB_LANES elements of a block to come read and write. */
FB_INLINE void FN(fetch_later)(const fb_block *block, int64_t at)
{
    const int64_t later = block->ahead + at;
    FN(fetch_vector)((const REAL *)block->x + later);
    FN(fetch_vector)((const REAL *)block->y + later);
    if (block->weight)
        FN(fetch_vector)((const REAL *)block->weight + later);
    if (block->grad)
        FN(fetch_vector)((const REAL *)block->grad + later);
    if (block->hess)
        FN(fetch_vector)((const REAL *)block->hess + later);
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

/* Where targets are not hard, this shows early, as a rule. */
FB_INLINE int FN(begins_hard)(const REAL *y)
{
    BITS different = 0;
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        different |= FN(not_hard)(y[i]);
    return different == 0;
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

/* The divisions of hard targets; as exp above, a loop of its own, in which ordinary probabilities are supposed first. */
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
        /* clipping is flat, but where there is a NaN, of whatever */
        const REAL kept = limits || p == x[i] || x[i] != x[i] || slope != slope ? slope : 0;
        loss[i] = FN(weigh)(w.weight, value, weights);
        if (want_grad)
            grad[i] = FN(weigh)(w.weight, kept, weights) * scale;
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
            grad[i] = clipped[i] == x[i] || x[i] != x[i] || slope[i] != slope[i] ? slope[i] : 0;
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
