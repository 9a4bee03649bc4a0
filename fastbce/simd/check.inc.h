/* The small loops around a kernel: leaving elements out, repeating them, and finding the one that is wrong. */

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

/* The first element that counts and lies outside [0, 1], or -1. NaN is not outside. */
static int64_t FN(outside)(int64_t n, const void *values_, const void *weight_)
{
    const REAL *values = values_, *weight = weight_;
    for (int64_t i = 0; i < n; i++)
        if ((values[i] < 0 || values[i] > 1) && (!weight || weight[i] != 0))
            return i;
    return -1;
}
