/* Softmax cross-entropy: rows in groups, whose labels, losses and factors are computed a row in a lane.
 *
 * Between these, rows of many classes are worked on one by one, along the row; rows of few classes in few_classes.inc.h,
 * a class of many rows at a time.
 *
 * Error, class labels, 2 to 2^18 classes, logits in +-20, shifted by 10^4 too: loss 2.48 ULP (float), 3.43 (double),
 * gradient and probabilities 2.82 and 3.37, Hessian 3.75 and 4.49. Soft rows: loss 2.47 and 3.48, gradient 3.70 and 5.27 ULP
 * of the larger of (sum - t) p and t (1 - p). Smoothed labels: loss 2.79 and 3.26, gradient 2.34 and 3.51. docs/accuracy.md has
 * the rows that reach these. */

#define FB_LOG FB_JOIN(log_over_one, f64, FB_ISA)
#define FB_PAIR FB_JOIN(pair, f64, FB_ISA)

/* What rows come to. */
typedef struct {
    int64_t label[FB_ACROSS];
    REAL given[FB_ACROSS],
        weight[FB_ACROSS]; /* the row's weight; and that of its class in it; 0: it is left out */
    REAL logit[FB_ACROSS], max[FB_ACROSS]; /* of the label; of all */
    SIGNED_BITS ties[FB_ACROSS];           /* how many classes reach max */
    double rest[FB_ACROSS];                /* see rest_of */
    double dot[FB_ACROSS];                 /* of soft targets and max - x */
    double top[FB_ACROSS],
        below[FB_ACROSS];    /* sums of soft targets: of classes that reach max, and of all others */
    REAL e_label[FB_ACROSS]; /* exp(logit - max) */
    /* Of the gradient: what multiplies e; the entry of the label or the maximum; what multiplies a target, or is added. */
    REAL factor[FB_ACROSS], entry[FB_ACROSS], pull[FB_ACROSS];
    REAL inverse[FB_ACROSS], others[FB_ACROSS]; /* 1 / (1 + rest), rest / (1 + rest) */
} FN(group);

FB_INLINE REAL *FN(row_of)(const void *rows, int64_t row, int64_t stride)
{
    return rows ? (REAL *)rows + row * stride : NULL;
}

/* A row of logits: as it lies, or where it is brought to. */
FB_INLINE REAL *FN(logits_of)(const fb_rows *rows, int64_t row)
{
    return FN(row_of)(rows->x, rows->bring ? row % FB_BROUGHT : row, rows->row_stride.x);
}

/* What logits are read from some elements later: as they lie, or what the next rows are converted from. */
FB_INLINE fb_later FN(logits_later)(const fb_rows *rows, int64_t row, int64_t at, int64_t ahead)
{
    const REAL *x = FN(logits_of)(rows, row) + at;
    fb_later later = {(const char *)(rows->bring ? x : x + ahead), FB_LANES * sizeof(REAL)};
    if (rows->origin.begin) {
        const int64_t after = row * rows->classes + at + (rows->bring ? ahead : rows->rows * rows->classes);
        later.begin = rows->origin.begin + after / FB_LANES * rows->origin.bytes;
        later.bytes = rows->origin.bytes;
    }
    return later;
}

/* The maximum of a row, which is brought first, if it is, part by part: each is used while the first-level cache holds it. */
FB_INLINE REAL FN(max_of_row)(const fb_rows *rows, int64_t row)
{
    REAL *x = FN(logits_of)(rows, row), max = (REAL)-INFINITY;
    const int64_t step = rows->bring ? FB_FIRST_PART : rows->classes;
    for (int64_t at = 0; at < rows->classes; at += step) {
        const int64_t n = rows->classes - at < step ? rows->classes - at : step;
        if (rows->bring)
            rows->bring(rows->source, row, at, n, x + at);
        const REAL of_part = FN(row_max)(n, x + at);
        max = of_part > max ? of_part : max;
    }
    return max;
}

/* What comes after the classes of a row from `at` on: exponentials e, soft targets t or NULL. */
FB_INLINE FN(later) FN(row_later)(const fb_rows *rows, int64_t row, int64_t at, const REAL *e, const REAL *t)
{
    const FN(later) later = {
        .x = FN(logits_later)(rows, row, at, FB_AHEAD),
        .e = e + FB_AHEAD,
        .t = t ? t + FB_AHEAD : NULL,
    };
    return later;
}

#include "soft_rows.inc.h"

/* Labels and whole weights of the rows from x on. Returns the first row whose label is wrong, or -1. */
FB_INLINE int64_t FN(read_labels)(FN(group) * group, const fb_rows *rows, const REAL *x, int64_t start,
                                  int64_t count, int kind)
{
    const REAL *class_weight = kind == FN(LABELS) ? rows->class_weight : NULL, *weights = rows->weight;
    const int64_t *labels = rows->labels;
    const int64_t row = rows->apart.x ? 1 : rows->row_stride.x, class = rows->apart.x ? rows->apart.x : 1;
    int64_t bad = -1, wrong = 0;
    /* Loops of their own: of a choice clang makes reads from NULL that a mask leaves out, each of which takes hundreds of cycles. */
    for (int64_t i = 0; i < count && !weights; i++)
        group->given[i] = 1;
    for (int64_t i = 0; i < count && weights; i++)
        group->given[i] = weights[start + i];
    for (int64_t i = 0; i < count && !labels; i++)
        group->label[i] = 0;
    for (int64_t i = 0; i < count && labels; i++) {
        group->label[i] = labels[start + i];
        wrong |= (uint64_t)group->label[i] >= (uint64_t)rows->classes ? 1 : 0;
    }
    for (int64_t i = count - 1; i >= 0 && wrong; i--)
        if (group->label[i] < 0 || group->label[i] >= rows->classes) {
            bad = group->given[i] != 0 ? start + i : bad;
            group->label[i] = 0;
            group->given[i] = 0;
        }
    for (int64_t i = 0; i < count; i++) {
        const int64_t label = group->label[i];
        group->weight[i] = group->given[i];
        group->logit[i] = rows->bring ? 0 : x[i * row + label * class];
    }
    /* A row that is left out has no class: its weight stays 0 beside one that is infinite or NaN. */
    for (int64_t i = 0; i < count && class_weight; i++)
        group->weight[i] *= group->given[i] != 0 ? class_weight[group->label[i]] : 1;
    return bad;
}

/* Rows that do not count. */
FB_INLINE void FN(fill_up)(FN(group) * group, int64_t count, int64_t padded)
{
    for (int64_t i = count; i < padded; i++) {
        group->label[i] = 0;
        group->weight[i] = group->given[i] = group->logit[i] = group->max[i] = group->e_label[i] = 0;
        group->rest[i] = group->dot[i] = group->top[i] = group->below[i] = 0;
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

/* a + b, and what its rounding took. */
FB_INLINE FB_PAIR FN(sum_of_two)(double a, double b)
{
    const double sum = a + b, part = sum - a, lost = (a - (sum - part)) + (b - part);
    const FB_PAIR result = {sum, fabs(sum) < INFINITY ? lost : 0};
    return result;
}

/* The sum of the targets; for float, float64 has bits to spare. */
FB_INLINE FB_PAIR FN(sum_of_targets)(const FN(group) * group, int64_t i, int kind)
{
    const FB_PAIR one = {1, 0}, rounded = {group->top[i] + group->below[i], 0};
    return kind != FN(SOFT)                ? one
           : sizeof(REAL) == sizeof(float) ? rounded
                                           : FN(sum_of_two)(group->top[i], group->below[i]);
}

/* sum log + dot; of doubles with what the steps before the last one round away, without which 4.84 ULP were found. */
FB_INLINE double FN(soft_loss)(FB_PAIR sum, FB_PAIR log, double dot)
{
    const double curve = log.high + log.low;
    if (sizeof(REAL) == sizeof(float))
        return fma(sum.high, curve, dot);
    const double product = sum.high * log.high, lost = fma(sum.high, log.high, -product);
    const FB_PAIR value = FN(sum_of_two)(product, dot);
    const double low = fma(sum.high, log.low, fma(sum.low, log.high, lost + value.low));
    /* log.high alone is up to a fifth larger than log: what is infinite here may be less in the end */
    return fabs(value.high) < INFINITY ? value.high + low : fma(sum.high, curve, dot);
}

/* Losses; and for the gradient factors for the row, and the entry that is taken from sums: never p - 1. */
FB_INLINE void FN(finish)(FN(group) * group, int64_t count, int kind, const fb_rows *rows, REAL *loss)
{
    const double uniform = rows->smoothing / (double)rows->classes, left = 1 - rows->smoothing;
    for (int64_t i = 0; i < count; i++) {
        const double max = group->max[i], logit = group->logit[i], rest = group->rest[i],
                     given = group->weight[i];
        const FN(one_plus) total = FN(one_plus_of)(rest);
        const double gap = logit == max ? 0 : max - logit;
        const FB_PAIR log = FB_LOG(total.sum, rest, total.lost, total.inverse);
        const double curve = rest == rest ? log.high + log.low : rest;
        const double e = group->e_label[i], others = e < 0 ? rest : 1 + (rest - e),
                     weight = given * rows->scale;
        double value = gap + curve, factor = weight, minus_entry = others;
        if (kind == FN(SMOOTH)) {
            const double dot = group->dot[i] + FN(target_product)(left, group->logit[i], group->max[i]);
            value = dot + curve;
            minus_entry = fma(left + uniform, others, -fabs(e) * (rows->smoothing - uniform));
            group->pull[i] = (REAL)(-uniform * weight);
        }
        if (kind == FN(SOFT)) {
            const FB_PAIR sum = FN(sum_of_targets)(group, i, kind);
            const double soft = FN(soft_loss)(sum, log, group->dot[i]);
            value = rest == rest ? soft : rest;
            factor = sizeof(REAL) == sizeof(float) ? sum.high * weight
                                                   : fma(sum.high, weight, sum.low * weight);
            minus_entry = fma(group->top[i], rest, -group->below[i]);
            group->pull[i] = (REAL)-weight;
        }
        loss[i] = given == 0 ? 0 : (REAL)(given * value + 0);
        group->factor[i] = (REAL)FN(over)(factor, total);
        /* not -FN(over)(...) * weight: GCC 12 takes the minus into the fma, where it makes another zero */
        group->entry[i] = given == 0 ? 0 : (REAL)(FN(over)(minus_entry, total) * -weight);
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

FB_INLINE REAL FN(hess_factor)(const FN(group) * group, int64_t i, int kind, double scale)
{
    return (REAL)(FN(sum_of_targets)(group, i, kind).high * (group->weight[i] * scale));
}

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
    REAL *grad = FN(row_of)(rows->grad, row, rows->row_stride.grad);
    REAL *proba = FN(row_of)(rows->proba, row, rows->row_stride.proba);
    return grad ? grad : proba ? proba : rows->scratch;
}

/* The softmax of a row, and the sums of its targets: of each piece before it, which may take the place of the logits; beside
 * it, where it does not and targets are as given, which saves reading both once more. best gets the largest logits of row
 * `next`, which is brought meanwhile, if it is; or is NULL. */
FB_INLINE void FN(begin_row)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t i, int kind,
                             int64_t next, REAL *best, FN(exp_lanes) * lanes, FN(target_lanes) * targets)
{
    const int64_t classes = rows->classes;
    const REAL *x = FN(logits_of)(rows, start + i);
    const REAL *t = kind == FN(SOFT) ? FN(row_of)(rows->targets, start + i, rows->row_stride.targets) : NULL;
    REAL *e = FN(row_exp)(rows, start + i);
    const int beside = kind == FN(SOFT) && FN(targets_as_given)(rows) && x != e;

    for (int64_t at = 0; at < classes; at += FB_PIECE) {
        const int64_t n = classes - at < FB_PIECE ? classes - at : FB_PIECE;
        FN(exp_lanes) piece;
        FN(later) later = FN(row_later)(rows, start + i, at, e + at, t ? t + at : NULL);
        if (best) {
            later.row = FN(logits_of)(rows, start + next) + at;
            later.best = best;
            later.brings = rows->bring && next > i ? rows : NULL;
            later.number = start + next;
            later.class = at;
        }
        if (kind != FN(LABELS) && !beside)
            FN(target_piece)(group, i, rows, start + i, at, n, kind, targets);
        if (beside)
            FN(soft_piece)(n, x + at, t + at, group->max[i], e + at, &piece, targets, later);
        else
            FN(exp_piece)(n, x + at, NULL, group->max[i], e + at, &piece, NULL, later);
        FN(exp_merge)(&piece, lanes);
    }
    group->e_label[i] = e[group->label[i]];
}

/* That of rows. The maximum of row i + 2 is found while row i is worked on, those of the first two before. For the last two
 * there is none left: they look at themselves, in vain, so that best is never NULL, which the loop would ask for each vector. */
FB_INLINE void FN(begin_rows)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t count, int kind)
{
    const int64_t padded = (count + FB_LANES - 1) & -FB_LANES;
    const int64_t first = count > 2 ? 2 : count;
    FN(exp_lanes) lanes[FB_GROUP] FB_ALIGNED;
    FN(target_lanes) targets[FB_GROUP] FB_ALIGNED;
    memset(lanes, 0, (size_t)padded * sizeof *lanes);
    if (kind != FN(LABELS))
        memset(targets, 0, (size_t)padded * sizeof *targets);
    for (int64_t i = 0; i < first; i++)
        group->max[i] = FN(max_of_row)(rows, start + i);
    for (int64_t i = 0; i < count; i++) {
        const int is_left_out = group->given[i] == 0 && !rows->proba;
        const int64_t next = i + 2 < count ? i + 2 : i;
        group->e_label[i] = 0;
        if (rows->bring)
            group->logit[i] = FN(logits_of)(rows, start + i)[group->label[i]];
        if (count > 2 && !is_left_out) {
            REAL best[FB_LANES] FB_ALIGNED;
            for (int k = 0; k < FB_LANES; k++)
                best[k] = (REAL)-INFINITY;
            FN(begin_row)(group, rows, start, i, kind, next, best, &lanes[i], &targets[i]);
            if (next > i)
                group->max[next] = FN(max_of)(best);
            continue;
        }
        if (!is_left_out)
            FN(begin_row)(group, rows, start, i, kind, i, NULL, &lanes[i], &targets[i]);
        if (next > i)
            group->max[next] = FN(max_of_row)(rows, start + next);
    }
    for (int64_t i = 0; i < padded; i += FB_LANES) {
        FN(exp_totals)(lanes + i, group->max + i, group->ties + i, group->rest + i);
        if (kind != FN(LABELS))
            FN(target_totals)(targets + i, kind, group->dot + i, group->top + i, group->below + i);
    }
}

/* Probabilities, Hessian and gradient. */
FB_INLINE void FN(end_rows)(const FN(group) * group, const fb_rows *rows, int64_t start, int64_t count,
                            int kind)
{
    const int64_t classes = rows->classes;
    for (int64_t i = 0; i < count; i++) {
        REAL *e = FN(row_exp)(rows, start + i);
        REAL *grad = FN(row_of)(rows->grad, start + i, rows->row_stride.grad);
        REAL *hess = FN(row_of)(rows->hess, start + i, rows->row_stride.hess);
        REAL *proba = FN(row_of)(rows->proba, start + i, rows->row_stride.proba);
        const REAL inverse = group->inverse[i], others = group->others[i];
        const int unique = group->ties[i] == 1;
        if (proba)
            FN(scale_row)(classes, e, inverse, 0, 0, proba);
        if (!grad)
            continue;
        if (group->weight[i] == 0) {
            memset(grad, 0, (size_t)classes * sizeof(REAL));
            if (hess)
                memset(hess, 0, (size_t)classes * sizeof(REAL));
            continue;
        }
        if (hess)
            FN(hess_row)(classes, e, inverse, others, unique, FN(hess_factor)(group, i, kind, rows->scale),
                         hess);
        if (kind == FN(SOFT)) {
            FN(target_grad)(group, i, rows, start + i, e, grad);
            continue;
        }
        FN(scale_row)(classes, e, group->factor[i], group->pull[i], kind == FN(SMOOTH), grad);
        grad[group->label[i]] = group->entry[i];
    }
}

/* How rows are worked on: see few_classes.inc.h and across.inc.h. */
enum { FN(ALONG), FN(TILES), FN(ACROSS), FN(ONE_ACROSS) };

/* Groups of rows. Returns the first row whose label is wrong, or -1. */
FB_INLINE int64_t FN(all_rows)(const fb_rows *rows, int way, int kind)
{
    FN(group) group FB_ALIGNED;
    REAL loss[FB_ACROSS] FB_ALIGNED;
    FN(tiles) tiles FB_ALIGNED; /* of rows of few classes */
    const int64_t row = (rows->classes + FB_LANES - 1) & -FB_LANES;
    int64_t bad = -1, most = FB_GROUP;
    if (way == FN(TILES) && FB_TILE_ELEMENTS / row < most)
        most = FB_TILE_ELEMENTS / row & -FB_LANES;
    if (way == FN(ALONG) && FB_GROUP_ELEMENTS / row < most)
        most = FB_GROUP_ELEMENTS / row > 1 ? FB_GROUP_ELEMENTS / row : 1;
    if (way == FN(ACROSS))
        most = FN(rows_across)(rows);
    if (way == FN(ONE_ACROSS))
        most = FB_LANES;

    for (int64_t next = 0; next < rows->rows; next += most) {
        /* Rows across memory that are less than a vector are done with some of those before. */
        const int across = way == FN(ACROSS) || way == FN(ONE_ACROSS);
        const int64_t last = across ? rows->rows - FB_LANES : next;
        const int64_t start = next < last ? next : last, left = rows->rows - start;
        const int64_t count = way == FN(ONE_ACROSS) || left > most ? most : left;
        const int64_t padded = (count + FB_LANES - 1) & -FB_LANES;
        FN(fill_up)(&group, count, padded);
        const REAL *x = (const REAL *)rows->x + start * (across ? 1 : rows->row_stride.x);
        const int64_t found = FN(read_labels)(&group, rows, x, start, count, kind);
        bad = bad < 0 ? found : bad;
        if (way == FN(TILES))
            FN(begin_tiles)(&tiles, &group, rows, start, count, kind);
        else if (way != FN(ALONG))
            FN(begin_across)(&group, rows, start, count, most);
        else
            FN(begin_rows)(&group, rows, start, count, kind);
        if (rows->class_weight && kind == FN(LABELS))
            FN(keep_nan)(&group, count);
        FN(finish)(&group, padded, kind, rows, loss);
        if (rows->hess || rows->proba)
            FN(shares)(&group, padded);
        memcpy((REAL *)rows->loss + start, loss, (size_t)count * sizeof(REAL));
        if (way == FN(TILES))
            FN(end_tiles)(&tiles, &group, rows, start, count, kind);
        else if (way != FN(ALONG))
            FN(end_across)(&group, rows, start, count);
        else
            FN(end_rows)(&group, rows, start, count, kind);
    }
    return bad;
}

static int64_t FN(few_labels)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(TILES), FN(LABELS));
}

static int64_t FN(few_smooth)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(TILES), FN(SMOOTH));
}

static int64_t FN(few_soft)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(TILES), FN(SOFT));
}

static int64_t FN(many_labels)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ALONG), FN(LABELS));
}

static int64_t FN(many_smooth)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ALONG), FN(SMOOTH));
}

static int64_t FN(many_soft)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ALONG), FN(SOFT));
}

static int64_t FN(labels_across)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ACROSS), FN(LABELS));
}

static int64_t FN(labels_one_across)(const fb_rows *rows)
{
    return FN(all_rows)(rows, FN(ONE_ACROSS), FN(LABELS));
}

#include "copied.inc.h"
#include "interleaved.inc.h"
#include "split.inc.h"

static int64_t FN(cross_entropy)(const fb_rows *rows)
{
    const int smooth = rows->smoothing > 0, few = rows->classes <= FB_FEW_CLASSES;
    if (rows->classes == 0) /* then there are no rows either */
        return -1;
    if (rows->interleaved)
        return FN(labels_interleaved)(rows);
    if (rows->apart.x && rows->group > 0)
        return FN(labels_copied)(rows);
    if (rows->apart.x)
        return FN(rows_across)(rows) == FB_LANES ? FN(labels_one_across)(rows) : FN(labels_across)(rows);
    if (!rows->labels || (smooth && rows->class_weight))
        return few ? FN(few_soft)(rows) : FN(many_soft)(rows);
    if (smooth)
        return few ? FN(few_smooth)(rows) : FN(many_smooth)(rows);
    return few ? FN(few_labels)(rows) : FN(many_labels)(rows);
}

#undef FB_LOG
#undef FB_PAIR
