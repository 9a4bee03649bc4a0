/* Softmax cross-entropy: rows in groups, whose labels, losses and factors are computed a row in a lane.
 *
 * Between these, rows of many classes are worked on one by one, along the row; rows of few classes in few_classes.inc.h,
 * a class of many rows at a time.
 *
 * Error, class labels, 2 to 2^18 classes, logits in +-20, shifted by 10^4 too: loss 3.26 ULP (float), 3.41 (double),
 * gradient and probabilities 3.02 and 3.77, Hessian 4.02 and 4.61. Soft rows: loss 3.01 and 4.50; gradient 6.26 and 6.89 ULP
 * of the larger of (sum - t) p and t (1 - p). docs/accuracy.md has the rows that reach these. */

#define FB_LOG FB_JOIN(log_over_one, f64, FB_ISA)

/* What rows come to. */
typedef struct {
    int64_t label[FB_GROUP];
    REAL given[FB_GROUP],
        weight[FB_GROUP]; /* the row's weight; and that of its class in it; 0: it is left out */
    REAL logit[FB_GROUP], max[FB_GROUP];    /* of the label; of all */
    SIGNED_BITS ties[FB_GROUP];             /* how many classes reach max */
    double rest[FB_GROUP];                  /* see rest_of */
    double sum[FB_GROUP], lost[FB_GROUP];   /* of soft targets */
    double dot[FB_GROUP];                   /* of soft targets and max - x */
    REAL e_label[FB_GROUP];                 /* exp(logit - max) */
    REAL factor[FB_GROUP], entry[FB_GROUP]; /* of the gradient of a label: what multiplies e; its own entry */
    REAL inverse[FB_GROUP], others[FB_GROUP]; /* 1 / (1 + rest), rest / (1 + rest) */
} FN(group);

/* Labels and whole weights. Returns the first row whose label is wrong, or -1. */
FB_INLINE int64_t FN(read_labels)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t count,
                                  int soft)
{
    const REAL *class_weight = soft ? NULL : rows->class_weight, *weights = rows->weight;
    const int64_t row = rows->apart.x ? 1 : rows->classes, class = rows->apart.x ? rows->apart.x : 1;
    const REAL *x = (const REAL *)rows->x + start * row;
    int64_t bad = -1;
    for (int64_t i = 0; i < count; i++) {
        REAL weight = weights ? weights[start + i] : 1;
        int64_t label = weight != 0 && rows->labels ? rows->labels[start + i] : 0;
        if (label < 0 || label >= rows->classes) {
            bad = bad < 0 ? start + i : bad;
            label = 0;
            weight = 0;
        }
        group->label[i] = label;
        group->given[i] = weight;
        group->weight[i] = class_weight ? weight * class_weight[label] : weight;
        group->logit[i] = x[i * row + label * class];
    }
    return bad;
}

/* Rows that do not count. */
FB_INLINE void FN(fill_up)(FN(group) * group, int64_t count, int64_t padded)
{
    for (int64_t i = count; i < padded; i++) {
        group->label[i] = 0;
        group->weight[i] = group->given[i] = group->logit[i] = group->max[i] = group->e_label[i] = 0;
        group->rest[i] = group->sum[i] = group->lost[i] = group->dot[i] = 0;
        group->ties[i] = 1;
    }
}

/* A class of weight 0 does not leave its rows out: they keep a NaN. */
FB_INLINE void FN(keep_nan)(FN(group) * group, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (group->weight[i] == 0 && group->given[i] != 0 && group->rest[i] != group->rest[i])
            group->weight[i] = 1;
}

/* 1 + rest, with what rounding took, and its inverse. */
typedef struct {
    double sum, lost, inverse;
} FN(one_plus);

FB_INLINE FN(one_plus) FN(one_plus_of)(double rest)
{
    const double sum = 1 + rest, part = sum - rest;
    const FN(one_plus) total = {sum, (rest - (sum - part)) + (1 - part), 1 / sum};
    return total;
}

/* number / total: one division serves for all; for float, float64 has bits to spare, for float64 a step corrects. */
FB_INLINE double FN(over)(double number, FN(one_plus) total)
{
    const double quotient = number * total.inverse;
    const double rest = fma(-quotient, total.sum, number) - quotient * total.lost;
    return sizeof(REAL) == sizeof(float) ? quotient : fma(rest, total.inverse, quotient);
}

/* Losses; and for the gradient of a label a factor for the row, and the label's own entry: minus the sum of the others',
 * never p - 1. */
FB_INLINE void FN(finish)(FN(group) * group, int64_t count, int soft, double scale, REAL *loss)
{
    for (int64_t i = 0; i < count; i++) {
        const double max = group->max[i], logit = group->logit[i], rest = group->rest[i],
                     given = group->weight[i];
        const FN(one_plus) total = FN(one_plus_of)(rest);
        const double gap = logit == max ? 0 : max - logit;
        const double log = FB_LOG(total.sum, rest, total.lost, total.inverse);
        const double curve = rest == rest ? log : rest;
        const double value = soft ? fma(group->sum[i] + group->lost[i], curve, group->dot[i]) : gap + curve;
        const double e = group->e_label[i], others = e < 0 ? rest : 1 + (rest - e), weight = given * scale;
        loss[i] = given == 0 ? 0 : (REAL)(given * value + 0);
        group->factor[i] = (REAL)FN(over)(weight, total);
        group->entry[i] = given == 0 ? 0 : (REAL)(-FN(over)(others, total) * weight);
    }
}

/* What makes a probability of e, and of all but the maximum. */
FB_INLINE void FN(shares)(FN(group) * group, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const FN(one_plus) total = FN(one_plus_of)(group->rest[i]);
        group->inverse[i] = (REAL)FN(over)(1, total);
        group->others[i] = (REAL)FN(over)(group->rest[i], total);
    }
}

FB_INLINE REAL *FN(row_of)(const void *rows, int64_t row, int64_t classes)
{
    return rows ? (REAL *)rows + row * classes : NULL;
}

FB_INLINE REAL FN(hess_factor)(const FN(group) * group, int64_t i, int soft, double scale)
{
    return (REAL)((soft ? group->sum[i] + group->lost[i] : 1) * (group->weight[i] * scale));
}

#include "soft_rows.inc.h"
#include "few_classes.inc.h"
#include "across.inc.h"

/* hess = p (1 - p) factor, the diagonal of the Hessian. */
FB_INLINE void FN(hess_row)(int64_t n, const REAL *e, REAL inverse, REAL others, int unique, REAL factor,
                            REAL *hess)
{
    FB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const REAL p = FABS(e[i]) * inverse;
        hess[i] = p * FN(not_p)(p, e[i], unique, others) * factor;
    }
}

/* Where exp(x - max) is kept: where the gradient or the probabilities go, or else in the scratch row. */
FB_INLINE REAL *FN(row_exp)(const fb_rows *rows, int64_t row)
{
    const void *all = rows->grad ? rows->grad : rows->proba;
    return all ? FN(row_of)(all, row, rows->classes) : rows->scratch;
}

/* The softmax of rows, and before it the sums of soft targets. */
FB_INLINE void FN(begin_rows)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t count, int soft)
{
    const int64_t classes = rows->classes;
    FN(exp_lanes) lanes[FB_GROUP] FB_ALIGNED;
    memset(lanes, 0, (size_t)((count + FB_LANES - 1) & -FB_LANES) * sizeof *lanes);
    for (int64_t i = 0; i < count; i++)
        group->max[i] = FN(row_max)(classes, FN(row_of)(rows->x, start + i, classes));
    if (soft)
        for (int64_t i = 0; i < count; i++)
            FN(target_sums)(group, i, rows, start + i);
    for (int64_t i = 0; i < count; i++) {
        const REAL *x = FN(row_of)(rows->x, start + i, classes);
        REAL *e = FN(row_exp)(rows, start + i);
        group->e_label[i] = 0;
        if (group->given[i] == 0 && !rows->proba)
            continue;
        for (int64_t at = 0; at < classes; at += FB_PIECE) {
            const int64_t n = classes - at < FB_PIECE ? classes - at : FB_PIECE;
            FN(exp_lanes) piece;
            FN(exp_piece)(n, x + at, group->max[i], e + at, &piece);
            FN(exp_merge)(&piece, &lanes[i]);
        }
        group->e_label[i] = e[group->label[i]];
    }
    for (int64_t i = 0; i < count; i += FB_LANES)
        FN(exp_totals)(lanes + i, group->max + i, group->ties + i, group->rest + i);
}

/* Probabilities, Hessian and gradient. */
FB_INLINE void FN(end_rows)(const FN(group) * group, const fb_rows *rows, int64_t start, int64_t count,
                            int soft)
{
    const int64_t classes = rows->classes;
    for (int64_t i = 0; i < count; i++) {
        REAL *e = FN(row_exp)(rows, start + i), *grad = FN(row_of)(rows->grad, start + i, classes);
        REAL *hess = FN(row_of)(rows->hess, start + i, classes),
             *proba = FN(row_of)(rows->proba, start + i, classes);
        const REAL inverse = group->inverse[i], others = group->others[i];
        const int unique = group->ties[i] == 1;
        if (proba)
            FN(scale_row)(classes, e, inverse, proba);
        if (!grad)
            continue;
        if (group->weight[i] == 0) {
            memset(grad, 0, (size_t)classes * sizeof(REAL));
            if (hess)
                memset(hess, 0, (size_t)classes * sizeof(REAL));
            continue;
        }
        if (hess)
            FN(hess_row)(classes, e, inverse, others, unique, FN(hess_factor)(group, i, soft, rows->scale),
                         hess);
        if (soft) {
            FN(target_grad)(group, i, rows, start + i, e, grad);
        } else {
            FN(scale_row)(classes, e, group->factor[i], grad);
            grad[group->label[i]] = group->entry[i];
        }
    }
}

/* How rows are worked on: see few_classes.inc.h and across.inc.h. */
enum { FN(ALONG), FN(TILES), FN(ACROSS) };

/* Groups of rows. Returns the first row whose label is wrong, or -1. */
FB_INLINE int64_t FN(all_rows)(const fb_rows *rows, int way, int soft)
{
    FN(group) group FB_ALIGNED;
    REAL loss[FB_GROUP] FB_ALIGNED;
    FN(tiles) tiles FB_ALIGNED; /* of rows of few classes */
    const int64_t row = (rows->classes + FB_LANES - 1) & -FB_LANES;
    int64_t bad = -1, most = FB_GROUP;
    if (way == FN(TILES) && FB_TILE_ELEMENTS / row < most)
        most = FB_TILE_ELEMENTS / row & -FB_LANES;
    if (way == FN(ALONG) && FB_GROUP_ELEMENTS / row < most)
        most = FB_GROUP_ELEMENTS / row > 1 ? FB_GROUP_ELEMENTS / row : 1;

    for (int64_t start = 0; start < rows->rows; start += most) {
        const int64_t count = rows->rows - start < most ? rows->rows - start : most;
        const int64_t padded = (count + FB_LANES - 1) & -FB_LANES;
        FN(fill_up)(&group, count, padded);
        const int64_t found = FN(read_labels)(&group, rows, start, count, soft);
        bad = bad < 0 ? found : bad;
        if (way == FN(TILES))
            FN(begin_tiles)(&tiles, &group, rows, start, count, soft);
        else if (way == FN(ACROSS))
            FN(begin_across)(&group, rows, start, count);
        else
            FN(begin_rows)(&group, rows, start, count, soft);
        if (rows->class_weight && !soft)
            FN(keep_nan)(&group, count);
        FN(finish)(&group, padded, soft, rows->scale, loss);
        if (soft || rows->hess || rows->proba)
            FN(shares)(&group, padded);
        memcpy((REAL *)rows->loss + start, loss, (size_t)count * sizeof(REAL));
        if (way == FN(TILES))
            FN(end_tiles)(&tiles, &group, rows, start, count, soft);
        else if (way == FN(ACROSS))
            FN(end_across)(&group, rows, start, count);
        else
            FN(end_rows)(&group, rows, start, count, soft);
    }
    return bad;
}

/* One row of labels, its pieces by several threads: the largest logit, exponentials and their sum, what the row comes to,
 * and gradient or probabilities. The bits are those of all_rows. */
static double FN(piece_max)(int64_t n, const void *x)
{
    return FN(row_max)(n, x);
}

static void FN(piece_exp)(int64_t n, const void *x, double max, void *e, void *sums, int64_t piece)
{
    FN(exp_piece)(n, x, (REAL)max, e, (FN(exp_lanes) *)sums + piece);
}

static void FN(piece_scale)(int64_t n, const void *e, double factor, void *out)
{
    FN(scale_row)(n, e, (REAL)factor, out);
}

static int64_t FN(end_pieces)(const fb_rows *rows, double max, const void *e, const void *sums,
                              int64_t pieces, fb_row *row)
{
    FN(group) group FB_ALIGNED;
    FN(exp_lanes) lanes[FB_LANES] FB_ALIGNED;
    REAL loss[FB_GROUP] FB_ALIGNED;
    memset(lanes, 0, sizeof lanes);
    for (int64_t i = 0; i < pieces; i++)
        FN(exp_merge)((const FN(exp_lanes) *)sums + i, lanes);
    FN(fill_up)(&group, 0, FB_LANES);
    const int64_t bad = FN(read_labels)(&group, rows, 0, 1, 0);
    group.max[0] = (REAL)max;
    group.e_label[0] = ((const REAL *)e)[group.label[0]];
    FN(exp_totals)(lanes, group.max, group.ties, group.rest);
    if (rows->class_weight)
        FN(keep_nan)(&group, 1);
    FN(finish)(&group, FB_LANES, 0, rows->scale, loss);
    FN(shares)(&group, FB_LANES);
    memcpy(rows->loss, loss, sizeof(REAL));
    *row = (fb_row){group.label[0], group.weight[0] == 0, group.factor[0], group.entry[0], group.inverse[0]};
    return bad;
}

static int64_t FN(few_labels)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(TILES), 0);
}

static int64_t FN(few_soft)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(TILES), 1);
}

static int64_t FN(many_labels)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ALONG), 0);
}

static int64_t FN(many_soft)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ALONG), 1);
}

static int64_t FN(labels_across)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ACROSS), 0);
}

static int64_t FN(cross_entropy)(const fb_rows *rows)
{
    if (rows->classes == 0) /* then there are no rows either */
        return -1;
    const int soft = !rows->labels || rows->smoothing > 0;
    if (rows->apart.x)
        return FN(labels_across)(rows);
    if (rows->classes <= FB_FEW_CLASSES)
        return soft ? FN(few_soft)(rows) : FN(few_labels)(rows);
    return soft ? FN(many_soft)(rows) : FN(many_labels)(rows);
}

#undef FB_LOG
