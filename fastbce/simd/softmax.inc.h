/* Softmax of one row: its maximum, exp(x - maximum), and the sum of these. */

#define FB_TRANSPOSE FB_JOIN(transpose, f64, FB_ISA)

/* The last n < FB_LANES elements of a row, as a vector filled up. (A counter as wide as the elements: one mask.) */
FB_INLINE void FN(read_tail)(int64_t n_, const REAL *restrict from, REAL filling, REAL *restrict to)
{
    const SIGNED_BITS n = (SIGNED_BITS)n_;
    FB_ROLLED
    for (SIGNED_BITS i = 0; i < FB_LANES; i++)
        to[i] = i < n ? from[i] : filling;
}

FB_INLINE void FN(write_tail)(int64_t n_, const REAL *restrict from, REAL *restrict to)
{
    const SIGNED_BITS n = (SIGNED_BITS)n_;
    FB_ROLLED
    for (SIGNED_BITS i = 0; i < FB_LANES; i++)
        if (i < n)
            to[i] = from[i];
}

/* NaN is passed over. */
FB_INLINE void FN(max_add)(const REAL *x, REAL *best)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        best[i] = x[i] > best[i] ? x[i] : best[i];
}

/* The largest of FB_LANES values, which are overwritten. */
FB_INLINE REAL FN(max_of)(REAL *best)
{
    for (int half = FB_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            best[i] = best[i + half] > best[i] ? best[i + half] : best[i];
    return best[0];
}

/* The largest of n values. A NaN is passed over, unless all are: exp(NaN - max) brings it back. */
FB_INLINE REAL FN(row_max)(int64_t n, const REAL *x)
{
    const int64_t whole = n & -FB_LANES, two = whole & -(2 * FB_LANES);
    REAL best[FB_LANES] FB_ALIGNED,
        more[FB_LANES] FB_ALIGNED; /* two at a time: neither waits for the other */
    REAL last[FB_LANES] FB_ALIGNED;
    for (int i = 0; i < FB_LANES; i++)
        best[i] = more[i] = (REAL)-INFINITY;
    for (int64_t i = 0; i < two; i += 2 * FB_LANES) {
        FN(max_add)(x + i, best);
        FN(max_add)(x + i + FB_LANES, more);
    }
    if (two < whole)
        FN(max_add)(x + two, more);
    if (whole < n) {
        FN(read_tail)(n - whole, x + whole, (REAL)-INFINITY, last);
        FN(max_add)(last, best);
    }
    FN(max_add)(more, best);
    return FN(max_of)(best);
}

/* The maxima of FB_LANES rows, or that of one, FB_LANES times; each also as a sum, coarse + fine. Where x - coarse is not below
 * EXP_CUT, coarse is a multiple of any ULP that it may be rounded to. So (x - coarse) + coarse is not rounded, and what
 * rounding took is x minus that, minus fine: three operations, where that of x - max would take five. (Of an infinite maximum
 * fine is NaN, which nothing uses.) */
typedef struct {
    REAL max[FB_LANES], coarse[FB_LANES], fine[FB_LANES];
} FN(peaks);

FB_INLINE REAL FN(coarse)(REAL max)
{
    return FABS(max) < (REAL)COARSE_BELOW ? (max + COARSE_MAGIC) - COARSE_MAGIC : max;
}

FB_INLINE void FN(set_peaks)(const REAL *max, FN(peaks) * to)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        to->max[i] = max[i];
        to->coarse[i] = FN(coarse)(max[i]);
        to->fine[i] = max[i] - to->coarse[i];
    }
}

/* One by one: such copies GCC 12 keeps in registers. */
FB_INLINE void FN(copy_peaks)(const FN(peaks) * from, FN(peaks) * to)
{
    memcpy(to->max, from->max, sizeof to->max);
    memcpy(to->coarse, from->coarse, sizeof to->coarse);
    memcpy(to->fine, from->fine, sizeof to->fine);
}

/* What exp(x - max) is made of: k, 2^k, of which one is used, and what is left of x - max. */
typedef struct {
    REAL r, k, scale;
} FN(reduced);

/* The first half of exp(x - max), max = coarse + fine. What rounding x - coarse takes is carried. */
FB_INLINE FN(reduced) FN(exp_reduce)(REAL x, REAL coarse, REAL fine)
{
    const REAL difference = x - coarse;
    const REAL lost = (x - (difference + coarse)) - fine;
    /* the low bits of shifted are the exponent of 2^(k + 64) */
    const REAL magic = ROUND_MAGIC + EXPONENT_BIAS + 64;
    const REAL shifted = FMA(difference, (REAL)1.4426950408889634, magic);
    const REAL k = shifted - magic;
    const REAL r = FMA(k, -LN2, difference) + FMA(k, -LN2_REST, lost);
    const REAL scale = FN(from_bits)(FN(to_bits)(shifted) << MANTISSA_BITS) * (REAL)0x1p-64;
    /* Below EXP_CUT r and scale are meaningless; k is not, and 2^k is less than half the smallest number. NaN is not below. */
    const int below = difference < (REAL)EXP_CUT;
    const FN(reduced) result = {below ? 0 : r, k, below ? 0 : scale};
    return result;
}

/* exp(r) - 1, as r + r^2 q(r). */
FB_INLINE REAL FN(exp_minus_1)(REAL r)
{
    const REAL r2 = r * r;
    return FMA(r2, FN(exp_tail)(r, r2), r);
}

/* The second half. As exp_sum, but the sum 1 + r + r^2 q(r) is rounded in r and in what stands beside 1, then once with the
 * scaling: a fifth less work. Error of both: 1.02 ULP at -38.9378586 - -11.559866 (float),
 * 1.06 at -4.0659144463524903 - 17.064159258354735 (double). */
FB_INLINE REAL FN(exp_reduced)(FN(reduced) reduced)
{
    return FMA(FN(exp_minus_1)(reduced.r), reduced.scale, reduced.scale);
}

FB_INLINE REAL FN(exp_difference)(REAL x, REAL max)
{
    const REAL coarse = FN(coarse)(max);
    return FN(exp_reduced)(FN(exp_reduce)(x, coarse, max - coarse));
}

/* A sum of exponentials in progress, lane by lane. Two at most are added as they are, which costs half an ULP of the sum;
 * sums of two are added in float64, for float64 with what rounding took. (Of four, three roundings may come together, and
 * where log1p(sum) is just below a power of two and sum above it, each counts twice.) */
typedef struct {
    double sum[FB_LANES], lost[FB_LANES];
    SIGNED_BITS ties[FB_LANES]; /* how many reached the maximum */
} FN(exp_lanes);

FB_INLINE void FN(exp_flush)(REAL *two, double *sum, double *lost)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const double value = two[i], total = sum[i] + value;
        if (sizeof(REAL) == sizeof(double)) { /* for float, 29 bits to spare make up for the rounding */
            const double part = total - sum[i];
            lost[i] += (sum[i] - (total - part)) + (value - part);
        }
        sum[i] = total;
        two[i] = 0;
    }
}

#include "target_sums.inc.h"

/* What comes later. Memory is asked for vector by vector, beside exponentials or their sums: all at once, it would be waited for.
 * There the maximum of a row to come is found, too. */
typedef struct {
    fb_later x;
    const REAL *e, *t;     /* t: or NULL */
    REAL *row;             /* logits of a row to come; */
    REAL *best;            /* the largest of them so far, lane by lane, or NULL */
    const fb_rows *brings; /* or NULL: they are there */
    int64_t number, class; /* of that row, and of the first of these classes */
    const char *near;      /* what will be brought next is converted from that */
} FN(later);

/* brings: whether later.brings is not NULL, as a constant: else each vector would ask.
 *
 * Memory that elements of another size are converted from goes no further than to the second-level cache: the copy is what
 * the first one has to hold, and the part that is converted next. */
FB_INLINE void FN(look_ahead)(FN(later) later, int64_t i, int brings)
{
    const int64_t own = FB_LANES * sizeof(REAL);
    const char *x = later.x.begin + i / FB_LANES * later.x.bytes;
    if (later.x.bytes == own) {
        FN(fetch_vector)((const REAL *)x);
    } else {
        for (int64_t line = 0; line < own; line += 64)
            __builtin_prefetch(x + line, 0, 2);
        for (int64_t line = own; line < 2 * own && later.x.bytes > own; line += 64)
            __builtin_prefetch(x + line, 0, 2);
    }
    for (int64_t line = 0; line < 2 * own && brings; line += 64)
        __builtin_prefetch(later.near + i / FB_LANES * later.x.bytes + line);
    FN(fetch_vector)(later.e + i);
    if (later.t)
        FN(fetch_vector)(later.t + i);
    if (later.best)
        FN(max_add)(later.row + i, later.best);
}

/* What comes after the part from `at` on, n classes, where a row to come is brought: as many of that, now. */
FB_INLINE FN(later) FN(later_part)(FN(later) later, int64_t at, int64_t n)
{
    const fb_rows *rows = later.brings;
    const int64_t first = later.class + at;
    later.x.begin += at / FB_LANES * later.x.bytes;
    later.e += at;
    later.t += later.t ? at : 0;
    later.row += at;
    rows->bring(rows->source, later.number, first, n, later.row);
    later.near = (const char *)later.row; /* of no use, but there: where the origin is not known */
    if (rows->origin.begin)
        later.near = rows->origin.begin +
                     (later.number * rows->classes + first + n) * rows->origin.bytes / FB_LANES;
    return later;
}

/* The same results, by what suits the registers. AVX-512 has 32, as wide as FB_LANES floats; the others, NEON as well (not
 * measured), need two or more for each vector. */
#ifdef FB_END_EXP
#include "exp_fused.inc.h"
#else
#include "exp_staged.inc.h"
#endif

/* The vectors from `at` on, with sums of targets if there are any. */
FB_INLINE void FN(exp_part)(int64_t at, int64_t n, const REAL *x, const REAL *t, const FN(peaks) * peaks,
                            REAL *e, FN(later) later, int brings, double *sum, double *lost,
                            SIGNED_BITS *ties, FN(target_lanes) * sums)
{
    if (sums)
        FN(soft_vectors)(n, x + at, t + at, peaks, e + at, later, brings, sum, lost, ties, sums);
    else
        FN(exp_vectors)(n, x + at, peaks, e + at, later, brings, sum, lost, ties);
}

/* e = exp(x - max) for a piece of a row, and its sum. e may be x. If sums is not NULL, t are the targets of that piece, and
 * added up there. */
FB_INLINE void FN(exp_piece)(int64_t n, const REAL *x, const REAL *t, REAL max_, REAL *e,
                             FN(exp_lanes) * lanes, FN(target_lanes) * sums, FN(later) later)
{
    const int64_t whole = n & -FB_LANES;
    double sum[FB_LANES] FB_ALIGNED, lost[FB_LANES] FB_ALIGNED;
    SIGNED_BITS ties[FB_LANES] FB_ALIGNED;
    FN(peaks) peaks FB_ALIGNED;
    REAL max[FB_LANES] FB_ALIGNED, last[FB_LANES] FB_ALIGNED;

    for (int i = 0; i < FB_LANES; i++) {
        max[i] = max_;
        ties[i] = (SIGNED_BITS)((n + FB_LANES - 1) / FB_LANES);
    }
    FN(set_peaks)(max, &peaks);
    memset(sum, 0, sizeof sum);
    memset(lost, 0, sizeof lost);
    if (later.brings)
        for (int64_t at = 0, stop; at < n; at = stop) {
            stop = n - at > FB_BROUGHT_PART ? at + FB_BROUGHT_PART : n;
            FN(exp_part)(at, (stop & -FB_LANES) - at, x, t, &peaks, e, FN(later_part)(later, at, stop - at),
                         1, sum, lost, ties, sums);
        }
    else
        FN(exp_part)(0, whole, x, t, &peaks, e, later, 0, sum, lost, ties, sums);
    if (whole < n) { /* one more vector, filled up with what adds nothing */
        if (sums) {
            REAL last_t[FB_LANES] FB_ALIGNED;
            FN(few_targets) few FB_ALIGNED = {{0}};
            FN(read_tail)(n - whole, x + whole, max_, last);
            FN(read_tail)(n - whole, t + whole, 0, last_t);
            FN(target_add)(last_t, last, max, FN(SOFT), few);
            FN(target_flush)(few, FN(SOFT), sums);
        }
        if (later.best) {
            FN(read_tail)(n - whole, later.row + whole, (REAL)-INFINITY, last);
            FN(max_add)(last, later.best);
        }
        FN(read_tail)(n - whole, x + whole, (REAL)-INFINITY, last);
        FN(exp_one)(last, &peaks, last, sum, lost, ties);
        FN(write_tail)(n - whole, last, e + whole);
    }
    memcpy(lanes->sum, sum, sizeof sum);
    memcpy(lanes->lost, lost, sizeof lost);
    memcpy(lanes->ties, ties, sizeof ties);
}

/* FB_LANES sums, added to as many. */
FB_INLINE void FN(merge_lanes)(const double *from, const double *from_lost, double *sum, double *lost)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const double value = from[i], total = sum[i] + value;
        if (sizeof(REAL) == sizeof(double)) {
            const double part = total - sum[i];
            lost[i] += from_lost[i] + ((sum[i] - (total - part)) + (value - part));
        }
        sum[i] = total;
    }
}

/* The sum of a piece, added to that of its row. */
FB_INLINE void FN(exp_merge)(const FN(exp_lanes) * piece, FN(exp_lanes) * lanes)
{
    FN(merge_lanes)(piece->sum, piece->lost, lanes->sum, lanes->lost);
    for (int i = 0; i < FB_LANES; i++)
        lanes->ties[i] += piece->ties[i];
}

/* A sum, rounded once. An infinite term is the sum; what it lost is NaN. */
FB_INLINE double FN(rounded)(double sum, double lost)
{
    return fabs(sum) < INFINITY ? sum + lost : sum;
}

/* The sum over all classes but one that reaches max. No limit exists where all are -inf, or where two are inf. (What
 * fills up the last vector adds ties to the former.) None reaches a maximum that is NaN. */
FB_INLINE double FN(rest_of)(double sum, double lost, REAL max, SIGNED_BITS ties)
{
    const int no_limit = ties == 0 || max == (REAL)-INFINITY || (max == (REAL)INFINITY && ties > 1);
    return no_limit ? (double)NAN : FN(rounded)(sum, lost) + (double)(ties - 1);
}

/* sum[0][i] = the sum of row i, of FB_LANES rows: sum[k][i] is its lane k. In pairs: 8 sums of two, then 4, 2 and 1. */
FB_INLINE void FN(fold_lanes)(double (*sum)[FB_LANES], double (*lost)[FB_LANES])
{
    for (int half = FB_LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++)
            FN(merge_lanes)(sum[lane + half], lost[lane + half], sum[lane], lost[lane]);
}

FB_INLINE void FN(lane_totals)(double (*sum)[FB_LANES], double (*lost)[FB_LANES], const REAL *max,
                               const SIGNED_BITS *ties, double *rest)
{
    FN(fold_lanes)(sum, lost);
    for (int i = 0; i < FB_LANES; i++)
        rest[i] = FN(rest_of)(sum[0][i], lost[0][i], max[i], ties[i]);
}

/* The lanes of FB_LANES rows, stride from each to the next, as fold_lanes takes them. */
FB_INLINE void FN(turn_lanes)(const double *from_sum, const double *from_lost, int64_t stride,
                              double (*sum)[FB_LANES], double (*lost)[FB_LANES])
{
    FB_TRANSPOSE(FB_LANES, FB_LANES, from_sum, stride, sum[0], FB_LANES, FB_NEITHER);
    if (sizeof(REAL) == sizeof(double))
        FB_TRANSPOSE(FB_LANES, FB_LANES, from_lost, stride, lost[0], FB_LANES, FB_NEITHER);
    else
        memset(lost, 0, FB_LANES * sizeof *lost);
}

/* The sums of exponentials from the lanes of each row. */
static void FN(exp_totals)(const FN(exp_lanes) * lanes, const REAL *max, SIGNED_BITS *ties, double *rest)
{
    double sum[FB_LANES][FB_LANES] FB_ALIGNED, lost[FB_LANES][FB_LANES] FB_ALIGNED;
    FN(turn_lanes)(lanes->sum, lanes->lost, sizeof *lanes / sizeof(double), sum, lost);
    for (int i = 0; i < FB_LANES; i++) {
        SIGNED_BITS count = 0;
        FB_ROLLED
        for (int lane = 0; lane < FB_LANES; lane++)
            count += lanes[i].ties[lane];
        ties[i] = count;
    }
    FN(lane_totals)(sum, lost, max, ties, rest);
}

/* 1 - p: of a maximum that is unique the sum of the others, for only that one may exceed 1/2. */
FB_INLINE REAL FN(not_p)(REAL p, REAL e, int unique, REAL others)
{
    return unique && e < 0 ? others : 1 - p;
}

FB_INLINE REAL FN(scaled_exp)(REAL e, REAL factor, REAL offset, int has_offset)
{
    return has_offset ? FMA(FABS(e), factor, offset) : FABS(e) * factor;
}

/* out = |e| factor, + offset if there is one; out may be e */
FB_INLINE void FN(scale_row)(int64_t n, const REAL *e, REAL factor, REAL offset, int has_offset, REAL *out)
{
    const int64_t whole = n & -FB_LANES;
    REAL last[FB_LANES] FB_ALIGNED;
    FB_INDEPENDENT
    for (int64_t i = 0; i < whole; i++)
        out[i] = FN(scaled_exp)(e[i], factor, offset, has_offset);
    FN(read_tail)(n - whole, e + whole, 0, last);
    for (int i = 0; i < FB_LANES; i++)
        last[i] = FN(scaled_exp)(last[i], factor, offset, has_offset);
    FN(write_tail)(n - whole, last, out + whole);
}

#undef FB_TRANSPOSE
