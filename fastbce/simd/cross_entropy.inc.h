/* Softmax cross-entropy, row by row, as in SPEC section 3. */

#define FB_LOG1P FB_JOIN(log1p, f64, FB_ISA)

#include "few_classes.inc.h"

/* The targets of classes start .. start + n of a row, smoothing and class weights in them. */
FB_INLINE void FN(target_piece)(const fb_rows *rows, int64_t row, int64_t label, int64_t start, int64_t n,
                                REAL *t)
{
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)rows->classes);
    const REAL *weight = rows->class_weight;
    const REAL *given = rows->labels ? NULL : (const REAL *)rows->targets + row * rows->classes + start;

    for (int64_t i = 0; i < n; i++)
        t[i] = FMA(given ? given[i] : 0, 1 - smoothing, uniform);
    if (rows->labels && label >= start && label < start + n)
        t[label - start] = (1 - smoothing) + uniform;
    if (weight)
        for (int64_t i = 0; i < n; i++)
            t[i] *= weight[start + i];
}

/* The sum over the row of t, and of t (max - x), which is what stands beside log1p(rest) in the loss. */
FB_INLINE void FN(target_sums)(const fb_rows *rows, int64_t row, int64_t label, const REAL *x, double *sum,
                               double *dot)
{
    const REAL max = FN(row_max)(rows->classes, x);
    fb_lanes t_lanes = {{0}, {0}}, dot_lanes = {{0}, {0}};
    REAL t[FB_BLOCK] FB_ALIGNED;
    double value[FB_BLOCK] FB_ALIGNED, product[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        const int64_t padded = (n + FB_LANES - 1) & -FB_LANES;
        FN(target_piece)(rows, row, label, start, n, t);
        for (int64_t i = 0; i < n; i++) {
            const REAL at = x[start + i];
            value[i] = t[i];
            /* t (max - x), by halves: the difference may overflow where the product does not */
            product[i] = t[i] == 0 || at == max ? 0 : 2 * (double)t[i] * (max * 0.5 - at * 0.5);
        }
        for (int64_t i = n; i < padded; i++)
            value[i] = product[i] = 0;
        FB_JOIN(add, f64, FB_ISA)(padded, value, &t_lanes);
        FB_JOIN(add, f64, FB_ISA)(padded, product, &dot_lanes);
    }
    *sum = fb_sum_value(fb_sum_lanes(&t_lanes));
    *dot = fb_sum_value(fb_sum_lanes(&dot_lanes));
}

/* grad = (sum p - t) factor, taken as p (sum - t) - t (1 - p), which cancels nothing. e and grad may be one. */
FB_INLINE void FN(target_grad)(const fb_rows *rows, int64_t row, int64_t label, const FN(softmax) * softmax,
                               double sum, const REAL *e, double factor, REAL *grad)
{
    const REAL inverse = (REAL)(1 / (1 + softmax->rest)),
               others = (REAL)(softmax->rest / (1 + softmax->rest));
    const int unique = softmax->ties == 1;
    const REAL scale = (REAL)factor;
    REAL t[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        FN(target_piece)(rows, row, label, start, n, t);
        FB_INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            const REAL p = FABS(e[start + i]) * inverse;
            const REAL not_p = unique && e[start + i] < 0 ? others
                                                          : 1 - p; /* p <= 1/2 but for a unique maximum */
            const REAL other_targets = (REAL)(sum - (double)t[i]);
            grad[start + i] = (p * other_targets - t[i] * not_p) * scale;
        }
    }
}

static int64_t FN(cross_entropy)(const fb_rows *rows)
{
    const int64_t classes = rows->classes;
    const int soft = !rows->labels || rows->smoothing > 0;
    const REAL *class_weight = rows->class_weight, *weights = rows->weight;
    REAL *losses = rows->loss;
    int64_t bad = -1;

    if (!soft && classes <= FB_FEW_CLASSES && classes > 0)
        return FN(few_classes)(rows);
    for (int64_t row = 0; row < rows->rows; row++) {
        const REAL *x = (const REAL *)rows->x + row * classes;
        REAL *grad = rows->grad ? (REAL *)rows->grad + row * classes : NULL;
        REAL *proba = rows->proba ? (REAL *)rows->proba + row * classes : NULL;
        REAL *e = grad ? grad : proba ? proba : rows->scratch;
        REAL weight = weights[row];
        int64_t label = rows->labels && weight != 0 ? rows->labels[row] : 0;

        if (label < 0 || label >= classes) {
            bad = bad < 0 ? row : bad;
            label = 0;
            weight = 0;
        }
        if (class_weight && !soft)
            weight *= class_weight[label];
        const int counts = weight != 0 && classes > 0;
        if (!counts && !proba) {
            losses[row] = 0;
            if (grad)
                memset(grad, 0, (size_t)classes * sizeof(REAL));
            continue;
        }

        double sum = 1, dot = 0;
        if (soft && counts)
            FN(target_sums)(rows, row, label, x, &sum, &dot);
        const REAL x_label = classes ? x[label] : 0; /* before the gradient takes its place */
        const FN(softmax) softmax = FN(exp_row)(classes, x, e);
        const double total = 1 + softmax.rest;
        if (proba)
            FN(scale_row)(classes, e, (REAL)(1 / total), proba);
        if (!counts) {
            losses[row] = 0;
            if (grad)
                memset(grad, 0, (size_t)classes * sizeof(REAL));
            continue;
        }

        const double curve = softmax.rest != softmax.rest ? softmax.rest : FB_LOG1P(softmax.rest);
        const double factor = (double)weight * rows->scale;
        if (soft) {
            losses[row] = (REAL)(weight * (dot + sum * curve) + 0);
            if (grad)
                FN(target_grad)(rows, row, label, &softmax, sum, e, factor, grad);
        } else {
            const int largest = x_label == softmax.max;
            const double gap = largest ? 0 : (double)softmax.max - (double)x_label;
            losses[row] = (REAL)(weight * (gap + curve) + 0);
            if (grad) {
                /* the label's entry is minus the sum of the others', never p - 1 */
                const double others = largest ? softmax.rest : 1 + (softmax.rest - (double)e[label]);
                FN(scale_row)(classes, e, (REAL)(factor / total), grad);
                grad[label] = (REAL)(-(others / total) * factor);
            }
        }
    }
    return bad;
}

#undef FB_LOG1P
