/* Sums of a block, in float64, in an order that is fixed: lane i mod 32, then lanes in pairs. */

/* one is 1, which the compiler must not see: every other addition is then a multiplication too, for which a CPU may have
 * units of its own (Zen: 1.5 times as fast). */
FB_INLINE void FN(add_lanes)(int count, const REAL *values, double *sum, double *lost, double one)
{
    FB_ROLLED
    for (int lane = 0; lane < count; lane++) {
        const double value = values[lane];
        const int is_double = sizeof(REAL) == sizeof(double);
        const double total = is_double ? sum[lane] + value : fma(one, value, sum[lane]);
        if (is_double) { /* for float, 29 bits to spare make up for the rounding */
            const double part = fma(one, total, -sum[lane]);
            const double of_sum = fma(-one, total - part, sum[lane]);
            lost[lane] += fma(one, of_sum, value - part);
        }
        sum[lane] = total;
    }
}

/* Add n values, a multiple of FB_LANES, from lane 0 on. */
static void FN(add)(int64_t n, const void *values_, fb_lanes *lanes)
{
    static const volatile double ONE = 1;
    const REAL *values = values_;
    const double one = ONE;
    double sum[FB_SUM_LANES] FB_ALIGNED, lost[FB_SUM_LANES] FB_ALIGNED;
    memcpy(sum, lanes->sum, sizeof sum);
    if (sizeof(REAL) == sizeof(double))
        memcpy(lost, lanes->lost, sizeof lost);

    int64_t i = 0;
    for (; i + FB_SUM_LANES <= n; i += FB_SUM_LANES)
        FN(add_lanes)(FB_SUM_LANES, values + i, sum, lost, one);
    if (i < n)
        FN(add_lanes)(FB_LANES, values + i, sum, lost, one);
    memcpy(lanes->sum, sum, sizeof sum);
    if (sizeof(REAL) == sizeof(double))
        memcpy(lanes->lost, lost, sizeof lost);
}

static fb_sum FN(total)(const fb_lanes *lanes)
{
    double sum[FB_SUM_LANES], lost[FB_SUM_LANES];
    memcpy(sum, lanes->sum, sizeof sum);
    memcpy(lost, lanes->lost, sizeof lost);
    return fb_sum_lanes(sum, lost);
}

/* What add and total make of so few values, which need not go through memory: it would be a fifth of a small call. */
FB_INLINE fb_sum FN(sum_of)(int count, const REAL *values)
{
    double sum[FB_SUM_LANES] = {0}, lost[FB_SUM_LANES] = {0};
    for (int lane = 0; lane < count; lane++)
        sum[lane] += (double)values[lane];
    return fb_sum_lanes(sum, lost);
}

/* The sum of one block of n values, a multiple of FB_LANES. */
static fb_sum FN(sum)(int64_t n, const void *values)
{
    if (n == FB_LANES)
        return FN(sum_of)(FB_LANES, values);
    if (n == FB_SUM_LANES)
        return FN(sum_of)(FB_SUM_LANES, values);
    fb_lanes lanes = {{0}, {0}};
    FN(add)(n, values, &lanes);
    return FN(total)(&lanes);
}
