/* Softmax cross-entropy over few classes, class labels: a vector holds one class of many rows, not many classes of one.
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

FB_INLINE void FN(tile_softmax)(FN(tile) * tile, int64_t classes)
{
    for (int i = 0; i < FB_TILE; i++) {
        tile->max[i] = tile->e[0][i];
        tile->sum[i] = tile->lost[i] = 0;
        tile->ties[i] = 0;
    }
    for (int64_t c = 1; c < classes; c++)
        for (int i = 0; i < FB_TILE; i++)
            tile->max[i] = tile->e[c][i] > tile->max[i] ? tile->e[c][i] : tile->max[i];
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
FB_INLINE int64_t FN(tile_labels)(FN(tile) * tile, const fb_rows *rows, int64_t start, int64_t count)
{
    const REAL *class_weight = rows->class_weight, *weights = rows->weight;
    int64_t bad = -1;
    for (int64_t i = 0; i < FB_TILE; i++) {
        REAL weight = i < count ? weights[start + i] : 0;
        int64_t label = weight != 0 ? rows->labels[start + i] : 0;
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

/* The diagonal of the Hessian, before the gradient takes the place of exp(x - max). */
FB_INLINE void FN(tile_hess)(const FN(tile) * tile, const fb_rows *rows, int64_t start, int64_t count)
{
    REAL *hess = (REAL *)rows->hess + start * rows->classes;
    REAL inverse[FB_TILE] FB_ALIGNED, others[FB_TILE] FB_ALIGNED, one_class[FB_TILE] FB_ALIGNED;
    for (int i = 0; i < FB_TILE; i++) {
        inverse[i] = (REAL)(1 / (1 + tile->rest[i]));
        others[i] = (REAL)(tile->rest[i] / (1 + tile->rest[i]));
    }
    for (int64_t c = 0; c < rows->classes; c++) {
        for (int i = 0; i < FB_TILE; i++) {
            const REAL e = tile->e[c][i], p = FABS(e) * inverse[i];
            const REAL value = p * FN(not_p)(p, e, tile->ties[i] == 1, others[i]) *
                               (REAL)(tile->weight[i] * rows->scale);
            one_class[i] = tile->weight[i] == 0 ? 0 : value;
        }
        for (int64_t i = 0; i < count; i++)
            hess[i * rows->classes + c] = one_class[i];
    }
}

static int64_t FN(few_classes)(const fb_rows *rows)
{
    const int64_t classes = rows->classes;
    int64_t bad = -1;
    FN(tile) tile FB_ALIGNED;

    for (int64_t start = 0; start < rows->rows; start += FB_TILE) {
        const int64_t count = rows->rows - start < FB_TILE ? rows->rows - start : FB_TILE;
        REAL *loss = (REAL *)rows->loss + start;
        FN(tile_turn_in)(&tile, (const REAL *)rows->x + start * classes, count, classes);
        const int64_t found = FN(tile_labels)(&tile, rows, start, count);
        bad = bad < 0 ? found : bad;
        FN(tile_softmax)(&tile, classes);
        if (rows->class_weight) /* a class of weight 0 does not leave its rows out: they keep a NaN */
            for (int64_t i = 0; i < count; i++)
                if (tile.weight[i] == 0 && ((const REAL *)rows->weight)[start + i] != 0 &&
                    tile.rest[i] != tile.rest[i])
                    tile.weight[i] = 1;

        REAL losses[FB_TILE] FB_ALIGNED;
        for (int i = 0; i < FB_TILE; i++) {
            const double max = tile.max[i], logit = tile.entry[i], rest = tile.rest[i];
            const double gap = logit == max ? 0 : max - logit;
            const double value = gap + FB_LOG1P(rest);
            losses[i] = tile.weight[i] == 0 ? 0 : (REAL)(tile.weight[i] * (rest == rest ? value : rest) + 0);
        }
        memcpy(loss, losses, (size_t)count * sizeof(REAL));

        if (rows->proba) {
            REAL *proba = (REAL *)rows->proba + start * classes;
            for (int i = 0; i < FB_TILE; i++)
                tile.inverse[i] = (REAL)(1 / (1 + tile.rest[i]));
            for (int64_t i = 0; i < count; i++)
                for (int64_t c = 0; c < classes; c++)
                    proba[i * classes + c] = FABS(tile.e[c][i]) * tile.inverse[i];
        }
        if (rows->hess)
            FN(tile_hess)(&tile, rows, start, count);
        if (rows->grad) {
            for (int i = 0; i < FB_TILE; i++) {
                const double total = 1 + tile.rest[i], weight = tile.weight[i] * rows->scale;
                tile.factor[i] = (REAL)(weight / total);
                tile.e_label[i] = tile.e[tile.label[i]][i];
            }
            for (int i = 0; i < FB_TILE;
                 i++) { /* the label's entry is minus the sum of the others', never p - 1 */
                const double e = tile.e_label[i], rest = tile.rest[i], weight = tile.weight[i] * rows->scale;
                const double others = e < 0 ? rest : 1 + (rest - e);
                tile.entry[i] = (REAL)(-(others / (1 + rest)) * weight);
            }
            for (int64_t c = 0; c < classes; c++)
                for (int i = 0; i < FB_TILE; i++)
                    tile.e[c][i] = tile.weight[i] == 0 ? 0 : FABS(tile.e[c][i]) * tile.factor[i];
            for (int i = 0; i < FB_TILE; i++)
                tile.e[tile.label[i]][i] = tile.weight[i] == 0 ? 0 : tile.entry[i];
            FN(tile_turn_out)(&tile, (REAL *)rows->grad + start * classes, count, classes);
        }
    }
    return bad;
}
