/* Softmax cross-entropy over few classes: a vector holds one class of many rows, not many classes of one.
 *
 * A tile of FB_TILE rows is turned on its side, so that each step is a loop over rows. Which rows share a tile changes
 * no bit: no step mixes them. */

typedef struct {
    /* The logits, then exp(x - max), or -1 at the maximum, then the gradient. */
    REAL e[FB_FEW_CLASSES][FB_TILE];
    REAL max[FB_TILE], weight[FB_TILE], inverse[FB_TILE], factor[FB_TILE], entry[FB_TILE], e_label[FB_TILE];
    double sum[FB_TILE], lost[FB_TILE], rest[FB_TILE];
    SIGNED_BITS ties[FB_TILE];
    int64_t label[FB_TILE];
} FN(tile);

FB_INLINE void FN(tile_turn_in)(FN(tile) * tile, const REAL *x, int64_t rows, int64_t classes)
{
    for (int64_t c = 0; c < classes; c++) {
        for (int64_t i = 0; i < rows; i++)
            tile->e[c][i] = x[i * classes + c];
        for (int64_t i = rows; i < FB_TILE; i++)
            tile->e[c][i] = 0;
    }
}

/* and out again */
FB_INLINE void FN(tile_turn_out)(const FN(tile) * tile, REAL *out, int64_t rows, int64_t classes)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < classes; c++)
            out[i * classes + c] = tile->e[c][i];
}

FB_INLINE void FN(tile_max)(FN(tile) * tile, int64_t classes)
{
    for (int i = 0; i < FB_TILE; i++)
        tile->max[i] = tile->e[0][i];
    for (int64_t c = 1; c < classes; c++)
        for (int i = 0; i < FB_TILE; i++)
            tile->max[i] = tile->e[c][i] > tile->max[i] ? tile->e[c][i] : tile->max[i];
}

FB_INLINE void FN(tile_softmax)(FN(tile) * tile, int64_t classes)
{
    for (int i = 0; i < FB_TILE; i++) {
        tile->sum[i] = tile->lost[i] = 0;
        tile->ties[i] = 0;
    }
    for (int64_t c = 0; c < classes; c++)
        for (int i = 0; i < FB_TILE; i++) {
            const int tie = tile->e[c][i] == tile->max[i];
            const REAL e = FN(exp_difference)(tile->e[c][i], tile->max[i]);
            const double value = tie ? 0 : e;
            const double sum = tile->sum[i] + value;
            if (sizeof(REAL) == sizeof(double)) {
                const double part = sum - tile->sum[i];
                tile->lost[i] += (tile->sum[i] - (sum - part)) + (value - part);
            }
            tile->sum[i] = sum;
            tile->ties[i] += tie;
            tile->e[c][i] = tie ? -1 : e;
        }
    for (int i = 0; i < FB_TILE; i++) {
        const REAL max = tile->max[i];
        const SIGNED_BITS ties = tile->ties[i];
        const double rest = tile->sum[i] + tile->lost[i] + (double)(ties - 1);
        const int no_limit = max == (REAL)-INFINITY || (max == (REAL)INFINITY && ties > 1);
        tile->rest[i] = no_limit || ties == 0 ? (double)NAN : rest; /* none reaches a maximum that is NaN */
    }
}

/* The labels and whole weights of the tile's rows. Returns the first row whose label is wrong, or -1. */
FB_INLINE int64_t FN(tile_labels)(FN(tile) * tile, const fb_rows *rows, int64_t start, int64_t count,
                                  int soft)
{
    const REAL *class_weight = soft ? NULL : rows->class_weight, *weights = rows->weight;
    int64_t bad = -1;
    for (int64_t i = 0; i < FB_TILE; i++) {
        REAL weight = i < count ? weights[start + i] : 0;
        int64_t label = weight != 0 && rows->labels ? rows->labels[start + i] : 0;
        if (label < 0 || label >= rows->classes) {
            bad = bad < 0 ? start + i : bad;
            label = 0;
            weight = 0;
        }
        tile->label[i] = label;
        tile->weight[i] = class_weight ? weight * class_weight[label] : weight;
        tile->entry[i] = tile->e[label][i]; /* the label's logit, now */
    }
    return bad;
}

/* A class of weight 0 does not leave its rows out: they keep a NaN. */
FB_INLINE void FN(tile_keep_nan)(FN(tile) * tile, const REAL *weights, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (tile->weight[i] == 0 && weights[i] != 0 && tile->rest[i] != tile->rest[i])
            tile->weight[i] = 1;
}

#include "few_targets.inc.h"

FB_INLINE void FN(tile_losses)(const FN(tile) * tile, const FN(tile_targets) * targets, REAL *loss, int soft)
{
    for (int i = 0; i < FB_TILE; i++) {
        const double max = tile->max[i], logit = tile->entry[i], rest = tile->rest[i];
        const double gap = soft ? targets->dot[i] : logit == max ? 0 : max - logit;
        const double curve = rest == rest ? FB_LOG1P(rest) : rest;
        const double value = soft ? fma(targets->sum[i] + targets->lost[i], curve, gap) : gap + curve;
        loss[i] = tile->weight[i] == 0 ? 0 : (REAL)(tile->weight[i] * value + 0);
    }
}

FB_INLINE void FN(tile_proba)(FN(tile) * tile, REAL *proba, int64_t count, int64_t classes)
{
    for (int i = 0; i < FB_TILE; i++)
        tile->inverse[i] = (REAL)(1 / (1 + tile->rest[i]));
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < classes; c++)
            proba[i * classes + c] = FABS(tile->e[c][i]) * tile->inverse[i];
}

/* The diagonal of the Hessian, before the gradient takes the place of exp(x - max). */
FB_INLINE void FN(tile_hess)(const FN(tile) * tile, const FN(tile_targets) * targets, const fb_rows *rows,
                             int64_t start, int64_t count, int soft)
{
    REAL *hess = (REAL *)rows->hess + start * rows->classes;
    REAL inverse[FB_TILE] FB_ALIGNED, others[FB_TILE] FB_ALIGNED, one_class[FB_TILE] FB_ALIGNED;
    REAL factor[FB_TILE] FB_ALIGNED;
    for (int i = 0; i < FB_TILE; i++) {
        inverse[i] = (REAL)(1 / (1 + tile->rest[i]));
        others[i] = (REAL)(tile->rest[i] / (1 + tile->rest[i]));
        factor[i] = (REAL)((soft ? targets->sum[i] + targets->lost[i] : 1) * (tile->weight[i] * rows->scale));
    }
    for (int64_t c = 0; c < rows->classes; c++) {
        for (int i = 0; i < FB_TILE; i++) {
            const REAL e = tile->e[c][i], p = FABS(e) * inverse[i];
            const REAL value = p * FN(not_p)(p, e, tile->ties[i] == 1, others[i]) * factor[i];
            one_class[i] = tile->weight[i] == 0 ? 0 : value;
        }
        for (int64_t i = 0; i < count; i++)
            hess[i * rows->classes + c] = one_class[i];
    }
}

/* The gradient of class labels, in the place of exp(x - max). */
FB_INLINE void FN(tile_grad)(FN(tile) * tile, const fb_rows *rows)
{
    for (int i = 0; i < FB_TILE; i++) {
        const double total = 1 + tile->rest[i], weight = tile->weight[i] * rows->scale;
        tile->factor[i] = (REAL)(weight / total);
        tile->e_label[i] = tile->e[tile->label[i]][i];
    }
    for (int i = 0; i < FB_TILE; i++) { /* the label's entry is minus the sum of the others', never p - 1 */
        const double e = tile->e_label[i], rest = tile->rest[i], weight = tile->weight[i] * rows->scale;
        const double others = e < 0 ? rest : 1 + (rest - e);
        tile->entry[i] = (REAL)(-(others / (1 + rest)) * weight);
    }
    for (int64_t c = 0; c < rows->classes; c++)
        for (int i = 0; i < FB_TILE; i++)
            tile->e[c][i] = tile->weight[i] == 0 ? 0 : FABS(tile->e[c][i]) * tile->factor[i];
    for (int i = 0; i < FB_TILE; i++)
        tile->e[tile->label[i]][i] = tile->weight[i] == 0 ? 0 : tile->entry[i];
}

FB_INLINE int64_t FN(few_classes)(const fb_rows *rows, int soft)
{
    const int64_t classes = rows->classes;
    int64_t bad = -1;
    FN(tile) tile FB_ALIGNED;
    FN(tile_targets) targets FB_ALIGNED; /* of soft ones */

    for (int64_t start = 0; start < rows->rows; start += FB_TILE) {
        const int64_t count = rows->rows - start < FB_TILE ? rows->rows - start : FB_TILE;
        const REAL *weights = (const REAL *)rows->weight + start;
        REAL losses[FB_TILE] FB_ALIGNED;

        FN(tile_turn_in)(&tile, (const REAL *)rows->x + start * classes, count, classes);
        const int64_t found = FN(tile_labels)(&tile, rows, start, count, soft);
        bad = bad < 0 ? found : bad;
        FN(tile_max)(&tile, classes);
        if (soft) {
            FN(tile_turn_targets)(&targets, &tile, rows, start, count);
            FN(tile_target_sums)(&targets, &tile, classes);
        }
        FN(tile_softmax)(&tile, classes);
        if (rows->class_weight && !soft)
            FN(tile_keep_nan)(&tile, weights, count);

        FN(tile_losses)(&tile, &targets, losses, soft);
        memcpy((REAL *)rows->loss + start, losses, (size_t)count * sizeof(REAL));
        if (rows->proba)
            FN(tile_proba)(&tile, (REAL *)rows->proba + start * classes, count, classes);
        if (rows->hess)
            FN(tile_hess)(&tile, &targets, rows, start, count, soft);
        if (rows->grad) {
            if (soft)
                FN(tile_target_grad)(&tile, &targets, rows);
            else
                FN(tile_grad)(&tile, rows);
            FN(tile_turn_out)(&tile, (REAL *)rows->grad + start * classes, count, classes);
        }
    }
    return bad;
}

static int64_t FN(few_classes_labels)(const fb_rows *rows)
{
    return FN(few_classes)(rows, 0);
}

static int64_t FN(few_classes_soft)(const fb_rows *rows)
{
    return FN(few_classes)(rows, 1);
}
