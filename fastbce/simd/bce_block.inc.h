/* What the block loops of the binary losses share. Each loop is written once, and inlined for each case: weighted or not, which
 * results. */

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

/* Where targets are not hard, this shows early, as a rule. */
FB_INLINE int FN(begins_hard)(const REAL *y)
{
    BITS different = 0;
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        different |= FN(not_hard)(y[i]);
    return different == 0;
}
