/* Softmax cross-entropy, row by row; few_classes.inc.h takes rows of few classes a tile at a time.
 *
 * Error, class labels, 2 to 2^18 classes, logits in +-20, shifted by 10^4 too: loss 1.47 ULP (float), 2.52 (double),
 * gradient and probabilities 2.15 and 3.35, Hessian 3.46 and 5.38. Soft rows: loss 1.49 and 3.81; gradient 5.26 and 7.71 ULP
 * of the larger of (sum - t) p and t (1 - p). docs/accuracy.md has the rows that reach these. */

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
FB_INLINE void FN(target_sums)(const fb_rows *rows, int64_t row, int64_t label, const REAL *x, fb_sum *sum,
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
    *sum = fb_sum_lanes(&t_lanes);
    *dot = fb_sum_value(fb_sum_lanes(&dot_lanes));
}

/* grad = (sum p - t) factor, taken as p (sum - t) - t (1 - p), which cancels nothing. e and grad may be one. */
FB_INLINE void FN(target_grad)(const fb_rows *rows, int64_t row, int64_t label, const FN(softmax) * softmax,
                               fb_sum sum, const REAL *e, double factor, REAL *grad)
{
    const REAL inverse = (REAL)(1 / (1 + softmax->rest)),
               others = (REAL)(softmax->rest / (1 + softmax->rest));
    const int unique = softmax->ties == 1;
    const REAL scale = (REAL)factor;
    const double lost = isfinite(sum.sum) ? sum.lost : 0; /* which may be all that the others have */
    REAL t[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        FN(target_piece)(rows, row, label, start, n, t);
        FB_INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            const REAL p = FABS(e[start + i]) * inverse;
            const REAL not_p = FN(not_p)(p, e[start + i], unique, others);
            const REAL other_targets = (REAL)((sum.sum - (double)t[i]) + lost);
            grad[start + i] = (p * other_targets - t[i] * not_p) * scale;
        }
    }
}

/* hess = p (1 - p) factor, the diagonal of the Hessian. */
FB_INLINE void FN(hess_row)(int64_t n, const REAL *e, const FN(softmax) * softmax, double factor, REAL *hess)
{
    const REAL inverse = (REAL)(1 / (1 + softmax->rest));
    const REAL others = (REAL)(softmax->rest / (1 + softmax->rest)), scale = (REAL)factor;
    const int unique = softmax->ties == 1;
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const REAL p = FABS(e[i]) * inverse;
        hess[i] = p * FN(not_p)(p, e[i], unique, others) * scale;
    }
}

/* What a row comes to before its gradient is written. */
typedef struct {
    FN(softmax) softmax;
    int64_t label;
    REAL weight; /* the whole weight; 0: the row is left out */
    int bad;     /* its label is out of range */
    fb_sum sum;  /* of target_sums; 1 for a plain label */
    double dot;  /* of target_sums; max - x[label] for a plain label */
} FN(row);

FB_INLINE REAL *FN(row_of)(const void *rows, int64_t row, int64_t classes)
{
    return rows ? (REAL *)rows + row * classes : NULL;
}

/* Where exp(x - max) is kept: where the gradient or the probabilities go, or else in the scratch row. */
FB_INLINE REAL *FN(row_exp)(const fb_rows *rows, int64_t row)
{
    const void *all = rows->grad ? rows->grad : rows->proba;
    return all ? FN(row_of)(all, row, rows->classes) : rows->scratch;
}

FB_INLINE FN(row) FN(begin_row)(const fb_rows *rows, int64_t row, int soft)
{
    const REAL *x = FN(row_of)(rows->x, row, rows->classes), *class_weight = rows->class_weight;
    FN(row) state = {.weight = ((const REAL *)rows->weight)[row], .sum = {1, 0}};

    state.label = rows->labels && state.weight != 0 ? rows->labels[row] : 0;
    state.bad = state.label < 0 || state.label >= rows->classes;
    if (state.bad)
        state.label = state.weight = 0;
    if (state.weight == 0 && !rows->proba)
        return state;
    const int left_out = state.weight == 0;
    if (class_weight && !soft)
        state.weight *= class_weight[state.label];
    if (soft && state.weight != 0)
        FN(target_sums)(rows, row, state.label, x, &state.sum, &state.dot);
    const REAL x_label = x[state.label]; /* before the gradient takes its place */
    state.softmax = FN(exp_row)(rows->classes, x, FN(row_exp)(rows, row));
    if (state.weight == 0 && !left_out && state.softmax.rest != state.softmax.rest)
        state.weight = 1; /* a class of weight 0 does not leave its rows out: they keep a NaN */
    if (!soft)
        state.dot = x_label == state.softmax.max ? 0 : (double)state.softmax.max - (double)x_label;
    return state;
}

/* The loss from log1p(rest), the probabilities and the gradient. */
FB_INLINE void FN(end_row)(const fb_rows *rows, int64_t row, int soft, const FN(row) * state, double curve)
{
    const int64_t classes = rows->classes;
    const double rest = state->softmax.rest, total = 1 + rest, factor = (double)state->weight * rows->scale;
    REAL *e = FN(row_exp)(rows, row), *loss = (REAL *)rows->loss + row;
    REAL *grad = FN(row_of)(rows->grad, row, classes), *proba = FN(row_of)(rows->proba, row, classes);
    REAL *hess = FN(row_of)(rows->hess, row, classes);

    if (proba)
        FN(scale_row)(classes, e, (REAL)(1 / total), proba);
    const double value = fma(fb_sum_value(state->sum), rest == rest ? curve : rest, state->dot);
    *loss = state->weight == 0 ? 0 : (REAL)(state->weight * value + 0);
    if (!grad)
        return;
    if (hess)
        FN(hess_row)(classes, e, &state->softmax, fb_sum_value(state->sum) * factor, hess);
    if (state->weight == 0) {
        memset(grad, 0, (size_t)classes * sizeof(REAL));
        if (hess)
            memset(hess, 0, (size_t)classes * sizeof(REAL));
    } else if (soft)
        FN(target_grad)(rows, row, state->label, &state->softmax, state->sum, e, factor, grad);
    else {
        /* the label's entry is minus the sum of the others', never p - 1 */
        const REAL e_label = e[state->label];
        const double others = e_label < 0 ? rest : 1 + (rest - (double)e_label);
        FN(scale_row)(classes, e, (REAL)(factor / total), grad);
        grad[state->label] = (REAL)(-(others / total) * factor);
    }
}

/* A few rows at a time: while the sum of one row is still adding up, the next one begins. */
FB_INLINE int64_t FN(many_classes)(const fb_rows *rows, int soft)
{
    FN(row) states[FB_GROUP];
    double rest[FB_GROUP], curve[FB_GROUP];
    int64_t group = FB_GROUP_ELEMENTS / rows->classes, bad = -1;
    group = group < 1 ? 1 : group > FB_GROUP ? FB_GROUP : group;

    memset(rest, 0, sizeof rest);
    for (int64_t start = 0; start < rows->rows; start += group) {
        const int64_t count = rows->rows - start < group ? rows->rows - start : group;
        for (int64_t i = 0; i < count; i++) {
            states[i] = FN(begin_row)(rows, start + i, soft);
            rest[i] = states[i].softmax.rest;
            if (states[i].bad && bad < 0)
                bad = start + i;
        }
        FB_ROLLED
        for (int i = 0; i < FB_GROUP; i++)
            curve[i] = FB_LOG1P(rest[i]);
        for (int64_t i = 0; i < count; i++)
            FN(end_row)(rows, start + i, soft, &states[i], curve[i]);
    }
    return bad;
}

static int64_t FN(cross_entropy)(const fb_rows *rows)
{
    if (rows->classes == 0) /* then there are no rows either */
        return -1;
    const int soft = !rows->labels || rows->smoothing > 0;
    if (soft && rows->classes * (int64_t)sizeof(REAL) <= FB_FEW_SOFT_BYTES)
        return FN(few_classes_soft)(rows);
    if (!soft && rows->classes <= FB_FEW_CLASSES)
        return FN(few_classes_labels)(rows);
    return soft ? FN(many_classes)(rows, 1) : FN(many_classes)(rows, 0);
}

#undef FB_LOG1P
