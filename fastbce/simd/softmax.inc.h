/* Softmax of one row, in pieces of a block: its maximum, exp(x - maximum) and the sum of these. */

/* What a row comes to. */
typedef struct {
    REAL max;
    double rest;  /* the sum of exp(x - max) over all classes but one that reaches max */
    int64_t ties; /* how many reach it */
} FN(softmax);

/* The largest of n values. A NaN is returned or passed over: exp(NaN - max) brings it back.
 *
 * As integers: flipping the other bits of a negative float makes the order of the bits that of the values, and an
 * integer maximum vectorises without -ffast-math. */
FB_INLINE REAL FN(row_max)(int64_t n, const REAL *x)
{
    const SIGNED_BITS flip = (SIGNED_BITS)((BITS)-1 >> 1);
    SIGNED_BITS best = -flip - 1;
    for (int64_t i = 0; i < n; i++) {
        const SIGNED_BITS bits = (SIGNED_BITS)FN(to_bits)(x[i]);
        const SIGNED_BITS key = bits < 0 ? bits ^ flip : bits;
        best = key > best ? key : best;
    }
    return FN(from_bits)((BITS)(best < 0 ? best ^ flip : best));
}

/* exp(x - max); what rounding x - max loses is carried. Error: 0.672 ULP at 14.2643309 - 17.3821487 (float), 0.712 at
 * 9990.5351438682246 - 10019.981073302504 (double). */
FB_INLINE REAL FN(exp_difference)(REAL x, REAL max)
{
    const REAL difference = x - max;
    const REAL part = difference - x;
    const REAL lost = (x - (difference - part)) - (max + part);
    return FN(exp_sum)(difference, lost, 0).high;
}

/* e = exp(x - max), and -1 where x is max: a class of its own, which the sum leaves out, so it is 0 among the summands. e
 * may be x; n is a multiple of FB_LANES. Returns how many reach max. */
FB_INLINE int64_t FN(exp_piece)(int64_t n_, const REAL *x, REAL max, REAL *e, REAL *summands)
{
    const int64_t n = n_ & -FB_LANES;
    SIGNED_BITS ties = 0;
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const int tie = x[i] == max;
        const REAL value = FN(exp_difference)(x[i], max);
        ties += tie;
        summands[i] = tie ? 0 : value;
        e[i] = tie ? -1 : value;
    }
    return ties;
}

/* The same for a row of any length, and its sum. */
FB_INLINE FN(softmax) FN(exp_row)(int64_t n, const REAL *x, REAL *e)
{
    FN(softmax) row = {FN(row_max)(n, x), 0, 0};
    fb_lanes lanes = {{0}, {0}};
    REAL summands[FB_BLOCK] FB_ALIGNED, last[FB_LANES] FB_ALIGNED;

    for (int64_t start = 0; start < n; start += FB_BLOCK) {
        const int64_t left = n - start < FB_BLOCK ? n - start : FB_BLOCK;
        const int64_t whole = left & -FB_LANES, tail = left - whole;
        row.ties += FN(exp_piece)(whole, x + start, row.max, e + start, summands);
        if (tail) { /* one more vector, filled up with what adds nothing */
            const REAL *from = x + start + whole;
            REAL *to = e + start + whole;
            for (int64_t i = 0; i < FB_LANES; i++)
                last[i] = i < tail ? from[i] : (REAL)-INFINITY;
            row.ties += FN(exp_piece)(FB_LANES, last, row.max, last, summands + whole);
            for (int64_t i = 0; i < tail; i++)
                to[i] = last[i];
        }
        FN(add)(tail ? whole + FB_LANES : whole, summands, &lanes);
    }
    row.rest = fb_sum_value(fb_sum_lanes(&lanes)) + (double)(row.ties - 1);
    /* No limit exists where all are -inf, or where two are inf. (Padding adds ties to the former.) */
    if (row.max != row.max || row.max == (REAL)-INFINITY || (row.max == (REAL)INFINITY && row.ties > 1))
        row.rest = (double)NAN;
    return row;
}

/* 1 - p: of a maximum that is unique the sum of the others, for only that one may exceed 1/2. */
FB_INLINE REAL FN(not_p)(REAL p, REAL e, int unique, REAL others)
{
    return unique && e < 0 ? others : 1 - p;
}

/* out = |e| factor; out may be e */
FB_INLINE void FN(scale_row)(int64_t n, const REAL *e, REAL factor, REAL *out)
{
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        out[i] = FABS(e[i]) * factor;
}
