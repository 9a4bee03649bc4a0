/* Sums of a block, in float64, in an order that is fixed: lane i mod 16, then lanes in pairs. */

static void FN(add)(int64_t n, const void *values_, fb_lanes *lanes)
{
    const REAL *values = values_;
    double sum[FB_LANES] FB_ALIGNED, lost[FB_LANES] FB_ALIGNED;
    memcpy(sum, lanes->sum, sizeof sum);
    memcpy(lost, lanes->lost, sizeof lost);

    for (int64_t i = 0; i < n; i += FB_LANES) {
        FB_ROLLED
        for (int lane = 0; lane < FB_LANES; lane++) {
            const double value = values[i + lane];
            const double total = sum[lane] + value;
            if (sizeof(REAL) == sizeof(double)) { /* for float, 29 bits to spare make up for the rounding */
                const double part = total - sum[lane];
                lost[lane] += (sum[lane] - (total - part)) + (value - part);
            }
            sum[lane] = total;
        }
    }
    memcpy(lanes->sum, sum, sizeof sum);
    memcpy(lanes->lost, lost, sizeof lost);
}
