/* Sums of a block, in float64, in an order that is fixed: lane i mod 32, then lanes in pairs. */

/* Of so few floats, 29 bits to spare make up for what rounding takes. */
enum { FN(KEEPS_LOST) = sizeof(REAL) == sizeof(double) };

/* one is 1, which the compiler must not see: every other addition is then a multiplication too, for which a CPU may have
 * units of its own (Zen: 1.5 times as fast). */
FB_INLINE void FN(add_lanes)(int count, const REAL *values, double *sum, double *lost, double one)
{
    FB_ROLLED
    for (int lane = 0; lane < count; lane++) {
        const double value = values[lane];
        const double total = FN(KEEPS_LOST) ? sum[lane] + value : fma(one, value, sum[lane]);
        if (FN(KEEPS_LOST)) {
            const double part = fma(one, total, -sum[lane]);
            const double of_sum = fma(-one, total - part, sum[lane]);
            lost[lane] += fma(one, of_sum, value - part);
        }
        sum[lane] = total;
    }
}

/* Add n values, a multiple of FB_LANES, from lane 0 on. */
FB_INLINE void FN(add_to)(int64_t n, const REAL *values, double *restrict sum, double *restrict lost)
{
    static const volatile double ONE = 1;
    const double one = ONE;
    int64_t i = 0;
    for (; i + FB_SUM_LANES <= n; i += FB_SUM_LANES)
        FN(add_lanes)(FB_SUM_LANES, values + i, sum, lost, one);
    if (i < n)
        FN(add_lanes)(FB_LANES, values + i, sum, lost, one);
}

static void FN(add)(int64_t n, const void *values, fb_lanes *lanes)
{
    FN(add_to)(n, values, lanes->sum, lanes->lost);
}

static fb_sum FN(total)(const fb_lanes *lanes)
{
    double sum[FB_SUM_LANES], lost[FB_SUM_LANES];
    memcpy(sum, lanes->sum, sizeof sum);
    memcpy(lost, lanes->lost, sizeof lost);
    return fb_sum_lanes(sum, lost, FN(KEEPS_LOST));
}

/* What add and total make of so few values, which need not go through memory: it would be a fifth of a small call. */
FB_INLINE fb_sum FN(sum_of)(int count, const REAL *values)
{
    double sum[FB_SUM_LANES] = {0}, lost[FB_SUM_LANES] = {0};
    for (int lane = 0; lane < count; lane++)
        sum[lane] += (double)values[lane];
    return fb_sum_lanes(sum, lost, FN(KEEPS_LOST));
}

/* The sum of one block of n values, a multiple of FB_LANES. */
static fb_sum FN(sum)(int64_t n, const void *values)
{
    if (n == FB_LANES)
        return FN(sum_of)(FB_LANES, values);
    if (n == FB_SUM_LANES)
        return FN(sum_of)(FB_SUM_LANES, values);
    double sum[FB_SUM_LANES] FB_ALIGNED = {0}, lost[FB_SUM_LANES] FB_ALIGNED = {0};
    FN(add_to)(n, values, sum, lost);
    return fb_sum_lanes(sum, lost, FN(KEEPS_LOST));
}
