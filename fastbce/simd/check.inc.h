/* The small loops around a kernel: leaving elements out, repeating them, and finding the one that is wrong. */

/* Whether any of many numbers is above a limit: their maximum tells; but of 64 bits, of which AVX-512 alone has maxima, signs do,
 * in half the operations. So it vectorises, where comparisons would not. any: numbers may be 2^63 and more, and the limit is
 * less; else they differ from it by less. */
#ifndef FB_MAXIMA_OF_64
#define FB_MAXIMA_OF_64 0
#endif
enum { FN(BY_SIGN) = sizeof(BITS) == 8 && !FB_MAXIMA_OF_64 };

FB_INLINE BITS FN(see)(BITS seen, BITS number, BITS limit, int any)
{
    if (FN(BY_SIGN))
        return seen | (limit - number) | (any ? number : 0);
    return number > seen ? number : seen;
}

FB_INLINE int FN(saw_above)(BITS limit, BITS seen)
{
    return FN(BY_SIGN) ? (SIGNED_BITS)seen < 0 : seen > limit;
}

/* The bits of a value that counts: above those of 1 if it is outside [0, 1]; also for -0 and NaN: the caller looks closer. */
FB_INLINE BITS FN(unit_bits)(REAL value, REAL weight)
{
    return FN(to_bits)(weight == 0 ? 1 : value); /* not 0: GCC would see that 0 is no maximum, and branch */
}

/* left = weight, but 0 where `where` is 0. It may be either of them. */
static void FN(mask)(int64_t n, const void *where_, const void *weight_, void *left_)
{
    const REAL *where = where_, *weight = weight_;
    REAL *left = left_;
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        left[i] = where[i] == 0 ? 0 : weight[i];
}

static void FN(fill)(int64_t n, double value, void *to_)
{
    REAL *to = to_;
    for (int64_t i = 0; i < n; i++)
        to[i] = (REAL)value;
}

static void FN(repeat)(int64_t n, int64_t first, int64_t times, const void *values_, void *to_)
{
    const REAL *values = values_;
    REAL *to = to_;
    for (int64_t i = 0, count = first; i < n; i += count, count = times) {
        const REAL value = *values++;
        const int64_t end = i + count < n ? i + count : n;
        for (int64_t at = i; at < end; at += FB_LANES) {
            FB_ROLLED
            for (int lane = 0; lane < FB_LANES; lane++)
                to[at + lane] = value;
        }
    }
}

/* Whether a value that counts may be outside [0, 1]. weight NULL: all count. (Loops of their own, see read_labels.) */
FB_INLINE int FN(maybe_outside)(int64_t n, const REAL *values, const REAL *weight)
{
    const BITS one = FN(to_bits)(1);
    BITS seen = 0;
    for (int64_t i = 0; i < n && !weight; i++)
        seen = FN(see)(seen, FN(to_bits)(values[i]), one, 1);
    for (int64_t i = 0; i < n && weight; i++)
        seen = FN(see)(seen, FN(unit_bits)(values[i], weight[i]), one, 1);
    return FN(saw_above)(one, seen);
}

/* The first element that counts and lies outside [0, 1], or -1. NaN is not outside. */
static int64_t FN(outside)(int64_t n, const void *values_, const void *weight_)
{
    const REAL *values = values_, *weight = weight_;
    const int maybe = FN(maybe_outside)(n, values, weight);
    for (int64_t i = 0; maybe && i < n; i++)
        if ((values[i] < 0 || values[i] > 1) && (!weight || weight[i] != 0))
            return i;
    return -1;
}
