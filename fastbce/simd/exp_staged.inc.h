/* Exponentials of many vectors, where registers are few: a strip of them is taken through each step before the next one. A step's
 * constants stay in registers then, and little is stored beside multiplications and additions, where a store may cost as much as
 * two of these (Zen 3; a tenth less time than one vector after the other, measured). */

typedef struct {
    REAL r[FB_STRIP], scale[FB_STRIP];
} FN(reduced_strip);

/* The first halves of n vectors, so many elements apart. (Not inlined, as the second: the registers are then theirs.) */
static __attribute__((noinline)) void FN(strip_begin)(int64_t n, const REAL *x, int64_t apart,
                                                      const FN(peaks) * peaks, FN(reduced_strip) *restrict to)
{
    for (int64_t k = 0; k < n; k++, x += apart) {
        REAL *r = to->r + k * FB_LANES, *scale = to->scale + k * FB_LANES;
        FB_INDEPENDENT
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++) {
            const FN(reduced) reduced = FN(exp_reduce)(x[i], peaks->coarse[i], peaks->fine[i]);
            r[i] = reduced.r;
            scale[i] = reduced.scale;
        }
    }
}

static __attribute__((noinline)) void FN(strip_end)(int64_t n, const REAL *x, int64_t apart,
                                                    const FN(peaks) * peaks, const FN(reduced_strip) * from,
                                                    REAL *e, int64_t e_apart)
{
    for (int64_t k = 0; k < n; k++, x += apart, e += e_apart) {
        const REAL *r = from->r + k * FB_LANES, *scale = from->scale + k * FB_LANES;
        FB_INDEPENDENT
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++) {
            const FN(reduced) reduced = {r[i], 0, scale[i]};
            const REAL value = FN(exp_reduced)(reduced);
            e[i] = x[i] != peaks->max[i] ? value : -1;
        }
    }
}

/* e = exp(x - max) of n vectors, and -1 where x is max. e may be x, with the same apart. */
FB_INLINE void FN(exp_strip)(int64_t n, const REAL *x, int64_t apart, const FN(peaks) * peaks, REAL *e,
                             int64_t e_apart)
{
    FN(reduced_strip) strip FB_ALIGNED;
    FN(strip_begin)(n, x, apart, peaks, &strip);
    FN(strip_end)(n, x, apart, peaks, &strip, e, e_apart);
}

/* One of these vectors, or the sum of two, added to sum; but -1, a tie, is not. What is none is taken from ties. second: or
 * NULL. */
FB_INLINE void FN(strip_add)(const REAL *e, const REAL *second, double *sum, double *lost, SIGNED_BITS *ties)
{
    FB_INDEPENDENT
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const REAL one = e[i], other = second ? second[i] : -1;
        const SIGNED_BITS counts = -(SIGNED_BITS) !(one < 0), other_counts = -(SIGNED_BITS) !(other < 0);
        const REAL two = FN(from_bits)(FN(to_bits)(one) & (BITS)counts) +
                         FN(from_bits)(FN(to_bits)(other) & (BITS)other_counts);
        const double value = two, total = sum[i] + value;
        ties[i] += counts + other_counts;
        if (sizeof(REAL) == sizeof(double)) {
            const double part = total - sum[i];
            lost[i] += (sum[i] - (total - part)) + (value - part);
        }
        sum[i] = total;
    }
}

/* One vector and its sum. */
FB_INLINE void FN(exp_one)(const REAL *x, const FN(peaks) * peaks, REAL *e, double *sum, double *lost,
                           SIGNED_BITS *ties)
{
    FN(exp_strip)(1, x, 0, peaks, e, 0);
    FN(strip_add)(e, NULL, sum, lost, ties);
}

/* Vectors that follow each other, n elements, and their sum. */
FB_INLINE void FN(exp_vectors)(int64_t n, const REAL *x, const FN(peaks) * peaks, REAL *e, FN(later) later,
                               int brings, double *sum, double *lost, SIGNED_BITS *ties)
{
    for (int64_t at = 0, stop; at < n; at = stop) {
        int64_t i = at;
        stop = n - at < FB_STRIP ? n : at + FB_STRIP;
        FN(exp_strip)((stop - at) / FB_LANES, x + at, FB_LANES, peaks, e + at, FB_LANES);
        for (; i + FB_LANES < stop; i += 2 * FB_LANES) {
            FN(look_ahead)(later, i, brings);
            FN(look_ahead)(later, i + FB_LANES, brings);
            FN(strip_add)(e + i, e + i + FB_LANES, sum, lost, ties);
        }
        if (i < stop) {
            FN(look_ahead)(later, i, brings);
            FN(strip_add)(e + i, NULL, sum, lost, ties);
        }
    }
}

/* With sums of targets, of eight vectors at a time. */
FB_INLINE void FN(soft_vectors)(int64_t n, const REAL *x, const REAL *t, const FN(peaks) * peaks, REAL *e,
                                FN(later) later, int brings, double *sum, double *lost, SIGNED_BITS *ties,
                                FN(target_lanes) * sums)
{
    FN(few_targets) few FB_ALIGNED = {{0}};
    FN(exp_vectors)(n, x, peaks, e, later, brings, sum, lost, ties);
    for (int64_t i = 0, stop; i < n; i = stop) {
        stop = n - i < FB_EIGHT * FB_LANES ? n : i + FB_EIGHT * FB_LANES;
        for (int64_t at = i; at < stop; at += FB_LANES)
            FN(target_add)(t + at, x + at, peaks->max, FN(SOFT), few);
        FN(target_flush)(few, FN(SOFT), sums);
    }
}
