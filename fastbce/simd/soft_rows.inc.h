/* Rows of soft targets: probabilities, or labels that are smoothed; class weights are in them. */

FB_INLINE REAL FN(target)(REAL given, REAL smoothing, REAL uniform)
{
    return FMA(given, 1 - smoothing, uniform);
}

/* t (max - x); of doubles by halves: the difference may overflow where the product does not. */
FB_INLINE double FN(target_product)(REAL t, REAL x, REAL max)
{
    const double product = sizeof(REAL) == sizeof(double) ? 2 * (double)t * (max * 0.5 - x * 0.5)
                                                          : (double)t * ((double)max - (double)x);
    return t == 0 || x == max ? 0 : product;
}

/* One vector of targets, added to their sum and to that of t (max - x), which is what stands beside log1p(rest) in the
 * loss. */
FB_INLINE void FN(target_add)(const REAL *t, const REAL *x, const REAL *max, double *sum, double *lost,
                              double *dot, double *dot_lost)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const double value = t[i], total = sum[i] + value, part = total - sum[i];
        const double product = FN(target_product)(t[i], x[i], max[i]), dot_total = dot[i] + product;
        lost[i] += (sum[i] - (total - part)) + (value - part);
        sum[i] = total;
        if (sizeof(REAL) == sizeof(double)) { /* for float, 29 bits to spare make up for the rounding */
            const double dot_part = dot_total - dot[i];
            dot_lost[i] += (dot[i] - (dot_total - dot_part)) + (product - dot_part);
        }
        dot[i] = dot_total;
    }
}

/* grad = (sum p - t) factor, taken as p (sum - t) - t (1 - p), which cancels nothing. */
FB_INLINE REAL FN(target_entry)(REAL e, REAL t, double sum, double lost, REAL inverse, REAL others,
                                int unique, REAL factor)
{
    const REAL p = FABS(e) * inverse;
    const REAL other_targets = (REAL)((sum - (double)t) + lost);
    return (p * other_targets - t * FN(not_p)(p, e, unique, others)) * factor;
}

/* The targets of classes start .. start + n of a row, smoothing and class weights in them. */
FB_INLINE void FN(target_piece)(const fb_rows *rows, int64_t row, int64_t label, int64_t start, int64_t n,
                                REAL *t)
{
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)rows->classes);
    const REAL *weight = rows->class_weight;
    const REAL *given = rows->labels ? NULL : (const REAL *)rows->targets + row * rows->classes + start;

    for (int64_t i = 0; i < n; i++)
        t[i] = FN(target)(given ? given[i] : 0, smoothing, uniform);
    if (rows->labels && label >= start && label < start + n)
        t[label - start] = FN(target)(1, smoothing, uniform);
    if (weight)
        for (int64_t i = 0; i < n; i++)
            t[i] *= weight[start + i];
}

/* The sums over the row. */
FB_INLINE void FN(target_sums)(FN(group) * group, int64_t i, const fb_rows *rows, int64_t row)
{
    const REAL *x = FN(row_of)(rows->x, row, rows->classes);
    fb_lanes t_lanes = {{0}, {0}}, dot_lanes = {{0}, {0}};
    double sum[FB_LANES] FB_ALIGNED, lost[FB_LANES] FB_ALIGNED;
    double dot[FB_LANES] FB_ALIGNED, dot_lost[FB_LANES] FB_ALIGNED;
    REAL t[FB_BLOCK] FB_ALIGNED, max[FB_LANES] FB_ALIGNED, last[FB_LANES] FB_ALIGNED;

    for (int k = 0; k < FB_LANES; k++) {
        sum[k] = lost[k] = dot[k] = dot_lost[k] = 0;
        max[k] = group->max[i];
    }
    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        const int64_t whole = n & -FB_LANES;
        FN(target_piece)(rows, row, group->label[i], start, n, t);
        for (int64_t k = 0; k < whole; k += FB_LANES)
            FN(target_add)(t + k, x + start + k, max, sum, lost, dot, dot_lost);
        if (whole < n) {
            FN(read_tail)(n - whole, x + start + whole, 0, last);
            for (int64_t k = n; k < whole + FB_LANES; k++)
                t[k] = 0;
            FN(target_add)(t + whole, last, max, sum, lost, dot, dot_lost);
        }
    }
    memcpy(t_lanes.sum, sum, sizeof sum);
    memcpy(t_lanes.lost, lost, sizeof lost);
    memcpy(dot_lanes.sum, dot, sizeof dot);
    memcpy(dot_lanes.lost, dot_lost, sizeof dot_lost);
    const fb_sum total = fb_sum_lanes(&t_lanes);
    group->sum[i] = total.sum;
    group->lost[i] = isfinite(total.sum) ? total.lost : 0;
    group->dot[i] = fb_sum_value(fb_sum_lanes(&dot_lanes));
}

/* e and grad may be one. */
FB_INLINE void FN(target_grad)(const FN(group) * group, int64_t i, const fb_rows *rows, int64_t row,
                               const REAL *e, REAL *grad)
{
    const double sum = group->sum[i], lost = group->lost[i];
    const REAL inverse = group->inverse[i], others = group->others[i];
    const REAL factor = (REAL)(group->weight[i] * rows->scale);
    const int unique = group->ties[i] == 1;
    REAL t[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        FN(target_piece)(rows, row, group->label[i], start, n, t);
        FB_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            grad[start + k] = FN(target_entry)(e[start + k], t[k], sum, lost, inverse, others, unique,
                                               factor);
    }
}
