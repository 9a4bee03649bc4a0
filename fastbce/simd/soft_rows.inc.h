/* Rows of soft targets: probabilities, or labels that are smoothed; class weights are in them. */

FB_INLINE REAL FN(target)(REAL given, REAL smoothing, REAL uniform)
{
    return FMA(given, 1 - smoothing, uniform);
}

/* t (max - x), by halves: the difference may overflow where the product does not. */
FB_INLINE double FN(target_product)(REAL t, REAL x, REAL max)
{
    return t == 0 || x == max ? 0 : 2 * (double)t * (max * 0.5 - x * 0.5);
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

/* The sum over the row of t, and of t (max - x), which is what stands beside log1p(rest) in the loss. */
FB_INLINE void FN(target_sums)(FN(group) * group, int64_t i, const fb_rows *rows, int64_t row)
{
    const REAL *x = FN(row_of)(rows->x, row, rows->classes), max = group->max[i];
    fb_lanes t_lanes = {{0}, {0}}, dot_lanes = {{0}, {0}};
    REAL t[FB_BLOCK] FB_ALIGNED;
    double value[FB_BLOCK] FB_ALIGNED, product[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        const int64_t padded = (n + FB_LANES - 1) & -FB_LANES;
        FN(target_piece)(rows, row, group->label[i], start, n, t);
        for (int64_t k = 0; k < n; k++) {
            value[k] = t[k];
            product[k] = FN(target_product)(t[k], x[start + k], max);
        }
        for (int64_t k = n; k < padded; k++)
            value[k] = product[k] = 0;
        FB_JOIN(add, f64, FB_ISA)(padded, value, &t_lanes);
        FB_JOIN(add, f64, FB_ISA)(padded, product, &dot_lanes);
    }
    const fb_sum sum = fb_sum_lanes(&t_lanes);
    group->sum[i] = sum.sum;
    group->lost[i] = isfinite(sum.sum) ? sum.lost : 0;
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
