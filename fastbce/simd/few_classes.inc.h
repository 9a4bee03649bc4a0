/* Softmax cross-entropy over few classes: a vector holds one class of FB_LANES rows, not many classes of one.
 *
 * Rows are turned on their side, so that each step is a loop over rows. Which rows share a tile changes no bit: no step
 * mixes them. */

/* A group of rows: of each FB_LANES rows one tile, classes x FB_LANES. */
typedef struct {
    REAL e[FB_TILE_ELEMENTS]; /* the logits, then exp(x - max), or -1 at the maximum, then the gradient */
    REAL t[FB_TILE_ELEMENTS]; /* soft targets, smoothing and class weights in them */
    REAL out[FB_FEW_CLASSES * FB_LANES], staged[FB_FEW_CLASSES * FB_LANES];
} FN(tiles);

typedef REAL FN(vector)[FB_LANES];

/* The tile of the rows from `at` on. */
FB_INLINE FN(vector) * FN(tile_of)(REAL *tiles, int64_t at, int64_t classes)
{
    return (FN(vector) *)(tiles + at * ((classes + FB_LANES - 1) & -FB_LANES));
}

/* FB_LANES rows of 2 or 3 classes, on their side, and back: these numbers, as constants, vectorise as they stand. */
FB_INLINE void FN(turn_few)(int classes, const REAL *restrict from, REAL *restrict to, int back)
{
    for (int i = 0; i < FB_LANES; i++)
        for (int c = 0; c < classes; c++)
            if (back)
                to[i * classes + c] = from[c * FB_LANES + i];
            else
                to[c * FB_LANES + i] = from[i * classes + c];
}

/* Rows that lie so many elements apart. */
FB_INLINE void FN(copy_rows)(int64_t rows, int64_t classes, const REAL *from, int64_t stride, REAL *to,
                             int64_t to_stride)
{
    if (stride == classes && to_stride == classes) {
        memcpy(to, from, (size_t)(rows * classes) * sizeof(REAL));
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        memcpy(to + i * to_stride, from + i * stride, (size_t)classes * sizeof(REAL));
}

/* Whether such rows are better copied: less than a tile, or apart and too short to be turned where they lie. */
FB_INLINE int FN(is_staged)(int64_t rows, int64_t classes, int64_t stride)
{
    return rows < FB_LANES || (classes <= 3 && stride != classes);
}

/* Up to FB_LANES rows, on their side; what fills up the tile is 0. */
static void FN(turn_in)(const REAL *from, int64_t stride, int64_t rows, int64_t classes, REAL *staged,
                        REAL *tile)
{
    if (FN(is_staged)(rows, classes, stride)) {
        FN(copy_rows)(rows, classes, from, stride, staged, classes);
        memset(staged + rows * classes, 0, (size_t)((FB_LANES - rows) * classes) * sizeof(REAL));
        from = staged;
        stride = classes;
    }
    if (classes == 2)
        FN(turn_few)(2, from, tile, 0);
    else if (classes == 3)
        FN(turn_few)(3, from, tile, 0);
    else
        FN(transpose)(FB_LANES, classes, from, stride, tile, FB_LANES, FB_NEITHER);
}

/* And back. */
static void FN(turn_out)(const REAL *tile, int64_t rows, int64_t classes, REAL *staged, REAL *to,
                         int64_t stride)
{
    const int is_staged = FN(is_staged)(rows, classes, stride);
    REAL *whole = is_staged ? staged : to;
    if (classes == 2)
        FN(turn_few)(2, tile, whole, 1);
    else if (classes == 3)
        FN(turn_few)(3, tile, whole, 1);
    else
        FN(transpose)(classes, FB_LANES, tile, FB_LANES, whole, is_staged ? classes : stride, FB_NEITHER);
    if (is_staged)
        FN(copy_rows)(rows, classes, staged, classes, to, stride);
}

/* As fetch_vector, but no further than to the second-level cache: for what would crowd the first (measured). */
FB_INLINE void FN(fetch_vector_near)(const REAL *vector)
{
    for (size_t i = 0; i < FB_LANES; i += 64 / sizeof(REAL))
        __builtin_prefetch(vector + i, 0, 2);
}

/* How far ahead tiles are asked for; of very few classes this one: the CPU sees by itself what comes next. */
FB_INLINE int64_t FN(tile_ahead)(int64_t classes)
{
    return classes < 8 ? 0 : FB_TILE_AHEAD;
}

#include "few_targets.inc.h"

FB_INLINE void FN(tile_max)(const FN(vector) * x, int64_t classes, REAL *max)
{
    for (int i = 0; i < FB_LANES; i++)
        max[i] = x[0][i];
    for (int64_t c = 1; c < classes; c++) {
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++)
            max[i] = x[c][i] > max[i] ? x[c][i] : max[i];
    }
}

/* e = exp(x - max) in place of x. */
FB_INLINE void FN(tile_softmax)(FN(vector) * e, int64_t classes, const REAL *max, SIGNED_BITS *ties,
                                double *rest, FN(later) later)
{
    double sum[FB_LANES] FB_ALIGNED, lost[FB_LANES] FB_ALIGNED;
    FN(peaks) peaks FB_ALIGNED;
    FN(set_peaks)(max, &peaks);
    for (int i = 0; i < FB_LANES; i++) {
        sum[i] = lost[i] = 0;
        ties[i] = (SIGNED_BITS)classes;
    }
    FN(exp_vectors)(classes * FB_LANES, e[0], &peaks, e[0], later, 0, sum, lost, ties);
    for (int i = 0; i < FB_LANES; i++)
        rest[i] = FN(rest_of)(sum[i], lost[i], max[i], ties[i]);
}

FB_INLINE void FN(begin_tiles)(FN(tiles) * tiles, FN(group) * group, const fb_rows *rows, int64_t start,
                               int64_t count, int kind)
{
    const int64_t classes = rows->classes, ahead = FN(tile_ahead)(classes);
    for (int64_t at = 0; at < count; at += FB_LANES) {
        const int64_t n = count - at < FB_LANES ? count - at : FB_LANES, first = start + at;
        const REAL *x = FN(row_of)(rows->x, first, rows->row_stride.x);
        const REAL *t = FN(row_of)(rows->targets, first, rows->row_stride.targets);
        const REAL *grad = FN(row_of)(rows->grad, first, rows->row_stride.grad);
        FN(vector) *e = FN(tile_of)(tiles->e, at, classes);
        FN(turn_in)(x, rows->row_stride.x, n, classes, tiles->staged, e[0]);
        FN(tile_max)(e, classes, group->max + at);
        if (kind == FN(SOFT))
            FN(tile_targets)(tiles, group, at, rows, first, n);
        if (kind != FN(LABELS))
            FN(tile_sums)(e, FN(tile_of)(tiles->t, at, classes), classes, kind, group, at,
                          rows->smoothing / (double)classes, (t ? t : x) + ahead);
        const FN(later) later = {
            .x = FN(logits_later)(rows, first, 0, ahead),
            .e = (grad ? grad : x) + ahead,
        };
        FN(tile_softmax)(e, classes, group->max + at, group->ties + at, group->rest + at, later);
        for (int64_t i = 0; i < n; i++)
            group->e_label[at + i] = e[group->label[at + i]][i];
    }
}

/* In what follows, class c of n rows, FB_LANES or more, lies at e + c * apart. The memory of a class to come is asked for,
 * `ahead` classes from here. What fills no vector is computed with rows before it: first, for those may be overwritten. */
FB_INLINE void FN(fetch_class)(const REAL *from, int64_t n, int64_t apart, int64_t ahead)
{
    for (int64_t i = 0; i < n && ahead > 0; i += FB_LANES)
        FN(fetch_vector)(from + ahead * apart + i);
}

/* The diagonal of the Hessian, p (1 - p) factor, of FB_LANES rows from row `at` of the group on. */
FB_INLINE void FN(vector_hess)(const REAL *e, const FN(group) * group, int64_t at, const REAL *factor,
                               REAL *hess)
{
    FB_INDEPENDENT
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const REAL p = FABS(e[i]) * group->inverse[at + i];
        const REAL value = p * FN(not_p)(p, e[i], group->ties[at + i] == 1, group->others[at + i]) *
                           factor[i];
        hess[i] = group->weight[at + i] == 0 ? 0 : value;
    }
}

FB_INLINE void FN(tile_hess)(int64_t n, const REAL *e, int64_t apart, int64_t classes,
                             const FN(group) * group, int64_t at, double scale, int kind, REAL *hess,
                             int64_t hess_apart, int64_t ahead)
{
    const int64_t whole = n & -FB_LANES, last = n - FB_LANES;
    REAL factor[FB_ACROSS] FB_ALIGNED, rest[FB_LANES] FB_ALIGNED;
    for (int64_t i = 0; i < n; i++)
        factor[i] = FN(hess_factor)(group, at + i, kind, scale);
    for (int64_t c = 0; c < classes; c++, e += apart, hess += hess_apart) {
        FN(fetch_class)(hess, n, hess_apart, ahead);
        if (whole < n)
            FN(vector_hess)(e + last, group, at + last, factor + last, rest);
        for (int64_t i = 0; i < whole; i += FB_LANES)
            FN(vector_hess)(e + i, group, at + i, factor + i, hess + i);
        if (whole < n)
            memcpy(hess + last, rest, sizeof rest);
    }
}

FB_INLINE void FN(vector_proba)(const REAL *e, const REAL *inverse, REAL *proba)
{
    FB_INDEPENDENT
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        proba[i] = FABS(e[i]) * inverse[i];
}

FB_INLINE void FN(tile_proba)(int64_t n, const REAL *e, int64_t apart, int64_t classes, const REAL *inverse,
                              REAL *proba, int64_t proba_apart, int64_t ahead)
{
    const int64_t whole = n & -FB_LANES, last = n - FB_LANES;
    REAL rest[FB_LANES] FB_ALIGNED;
    for (int64_t c = 0; c < classes; c++, e += apart, proba += proba_apart) {
        FN(fetch_class)(proba, n, proba_apart, ahead);
        if (whole < n)
            FN(vector_proba)(e + last, inverse + last, rest);
        for (int64_t i = 0; i < whole; i += FB_LANES)
            FN(vector_proba)(e + i, inverse + i, proba + i);
        if (whole < n)
            memcpy(proba + last, rest, sizeof rest);
    }
}

/* The gradient of class labels, but for the entries of the labels. pull: smoothed ones; or NULL. */
FB_INLINE void FN(vector_grad)(const REAL *e, const REAL *factor, const REAL *pull, const REAL *weight,
                               REAL *grad)
{
    FB_INDEPENDENT
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const REAL value = FN(scaled_exp)(e[i], factor[i], pull ? pull[i] : 0, pull != NULL);
        grad[i] = weight[i] == 0 ? 0 : value;
    }
}

/* The same in the place of exp(x - max). */
FB_INLINE void FN(tile_grad)(int64_t n, REAL *e, int64_t apart, int64_t classes, const REAL *factor,
                             const REAL *pull, const REAL *weight, int64_t ahead)
{
    const int64_t whole = n & -FB_LANES, last = n - FB_LANES;
    REAL rest[FB_LANES] FB_ALIGNED;
    for (int64_t c = 0; c < classes; c++, e += apart) {
        FN(fetch_class)(e, n, apart, ahead);
        if (whole < n)
            FN(vector_grad)(e + last, factor + last, pull ? pull + last : NULL, weight + last, rest);
        for (int64_t i = 0; i < whole; i += FB_LANES)
            FN(vector_grad)(e + i, factor + i, pull ? pull + i : NULL, weight + i, e + i);
        if (whole < n)
            memcpy(e + last, rest, sizeof rest);
    }
}

FB_INLINE void FN(end_tiles)(FN(tiles) * tiles, const FN(group) * group, const fb_rows *rows, int64_t start,
                             int64_t count, int kind)
{
    const int64_t classes = rows->classes;
    for (int64_t at = 0; at < count; at += FB_LANES) {
        const int64_t n = count - at < FB_LANES ? count - at : FB_LANES, first = start + at;
        FN(vector) *e = FN(tile_of)(tiles->e, at, classes);
        if (rows->proba) {
            FN(tile_proba)(FB_LANES, e[0], FB_LANES, classes, group->inverse + at, tiles->out, FB_LANES, 0);
            FN(turn_out)(tiles->out, n, classes, tiles->staged,
                         FN(row_of)(rows->proba, first, rows->row_stride.proba), rows->row_stride.proba);
        }
        if (rows->hess) {
            FN(tile_hess)(FB_LANES, e[0], FB_LANES, classes, group, at, rows->scale, kind, tiles->out,
                          FB_LANES, 0);
            FN(turn_out)(tiles->out, n, classes, tiles->staged,
                         FN(row_of)(rows->hess, first, rows->row_stride.hess), rows->row_stride.hess);
        }
        if (rows->grad) {
            if (kind == FN(SOFT))
                FN(tile_target_grad)(e, FN(tile_of)(tiles->t, at, classes), classes, group, at);
            else {
                FN(tile_grad)(FB_LANES, e[0], FB_LANES, classes, group->factor + at,
                              kind == FN(SMOOTH) ? group->pull + at : NULL, group->weight + at, 0);
                for (int64_t i = 0; i < FB_LANES; i++)
                    e[group->label[at + i]][i] = group->entry[at + i];
            }
            FN(turn_out)(e[0], n, classes, tiles->staged,
                         FN(row_of)(rows->grad, first, rows->row_stride.grad), rows->row_stride.grad);
        }
    }
}
