/* Exponentials of many vectors, where registers hold all that is needed from the logit to the sums. */

typedef struct {
    REAL r[FB_LANES], k[FB_LANES];
} FN(reduced_lanes);

FB_INLINE void FN(exp_begin)(const REAL *x, const FN(peaks) * peaks, FN(reduced_lanes) * to)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const FN(reduced) reduced = FN(exp_reduce)(x[i], peaks->coarse[i], peaks->fine[i]);
        to->r[i] = reduced.r;
        to->k[i] = reduced.k;
    }
}

/* e = exp(x - max), and -1 where x is max: a class of its own, which the sum leaves out. e may be x. Those that are no ties
 * are taken from ties. */
FB_INLINE void FN(exp_end)(const REAL *x, const REAL *max, const FN(reduced_lanes) * from, REAL *e, REAL *two,
                           SIGNED_BITS *ties)
{
    REAL minus_1[FB_LANES] FB_ALIGNED;
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        minus_1[i] = FN(exp_minus_1)(from->r[i]);
    FB_CAT(fb_end_exp_, FB_DTYPE)(x, max, minus_1, from->k, e, two, ties);
}

FB_INLINE void FN(exp_add)(const REAL *x, const FN(peaks) * peaks, REAL *e, REAL *two, SIGNED_BITS *ties)
{
    FN(reduced_lanes) lanes FB_ALIGNED;
    FN(exp_begin)(x, peaks, &lanes);
    FN(exp_end)(x, peaks->max, &lanes, e, two, ties);
}

/* One vector and its sum. */
FB_INLINE void FN(exp_one)(const REAL *x, const FN(peaks) * peaks, REAL *e, double *sum, double *lost,
                           SIGNED_BITS *ties)
{
    REAL two[FB_LANES] FB_ALIGNED = {0};
    FN(exp_add)(x, peaks, e, two, ties);
    FN(exp_flush)(two, sum, lost);
}

/* exp_add of vectors that follow each other, n elements, with their sum. Between the two halves of an exponential begins the
 * next one: half as long chains of dependent operations keep more of them under way. */
FB_INLINE void FN(exp_vectors)(int64_t n, const REAL *x, const FN(peaks) * peaks, REAL *e, FN(later) later,
                               int brings, double *sum, double *lost, SIGNED_BITS *ties)
{
    FN(reduced_lanes) even FB_ALIGNED, odd FB_ALIGNED;
    REAL two[FB_LANES] FB_ALIGNED = {0};
    int64_t i = 0;
    if (n > 0)
        FN(exp_begin)(x, peaks, &even);
    for (; i + 2 * FB_LANES < n; i += 2 * FB_LANES) {
        const int64_t next = i + FB_LANES;
        FN(look_ahead)(later, i, brings);
        FN(exp_begin)(x + next, peaks, &odd);
        FN(exp_end)(x + i, peaks->max, &even, e + i, two, ties);
        FN(look_ahead)(later, next, brings);
        FN(exp_begin)(x + next + FB_LANES, peaks, &even);
        FN(exp_end)(x + next, peaks->max, &odd, e + next, two, ties);
        FN(exp_flush)(two, sum, lost);
    }
    if (i < n) {
        const int64_t next = i + FB_LANES;
        FN(look_ahead)(later, i, brings);
        FN(exp_end)(x + i, peaks->max, &even, e + i, two, ties);
        if (next < n) {
            FN(look_ahead)(later, next, brings);
            FN(exp_add)(x + next, peaks, e + next, two, ties);
        }
        FN(exp_flush)(two, sum, lost);
    }
}

/* exp_add of the vector at i, and what it and its targets come to. */
FB_INLINE void FN(soft_add)(int64_t i, const REAL *x, const REAL *t, const FN(peaks) * peaks, REAL *e,
                            FN(later) later, int brings, REAL *two, SIGNED_BITS *ties, FN(few_targets) few)
{
    FN(look_ahead)(later, i, brings);
    FN(target_add)(t + i, x + i, peaks->max, FN(SOFT), few);
    FN(exp_add)(x + i, peaks, e + i, two, ties);
}

/* exp_vectors with sums of targets; not in halves: with these, there would not be registers enough. */
FB_INLINE void FN(soft_vectors)(int64_t n, const REAL *x, const REAL *t, const FN(peaks) * peaks, REAL *e,
                                FN(later) later, int brings, double *sum, double *lost, SIGNED_BITS *ties,
                                FN(target_lanes) * sums)
{
    REAL two[FB_LANES] FB_ALIGNED = {0};
    FN(few_targets) few FB_ALIGNED = {{0}};
    int64_t stop;
    for (int64_t i = 0; i < n; i = stop) {
        stop = n - i < FB_EIGHT * FB_LANES ? n : i + FB_EIGHT * FB_LANES;
        for (; i + FB_LANES < stop; i += 2 * FB_LANES) {
            FN(soft_add)(i, x, t, peaks, e, later, brings, two, ties, few);
            FN(soft_add)(i + FB_LANES, x, t, peaks, e, later, brings, two, ties, few);
            FN(exp_flush)(two, sum, lost);
        }
        if (i < stop) {
            FN(soft_add)(i, x, t, peaks, e, later, brings, two, ties, few);
            FN(exp_flush)(two, sum, lost);
        }
        FN(target_flush)(few, FN(SOFT), sums);
    }
}
