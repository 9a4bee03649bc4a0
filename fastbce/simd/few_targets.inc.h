/* Soft targets of a tile of rows, as the row of few_classes.inc.h: probabilities, or labels that are smoothed. */

typedef struct {
    REAL t[FB_FEW_CLASSES][FB_TILE];        /* smoothing and class weights in them */
    double sum[FB_TILE], lost[FB_TILE];     /* of t */
    double dot[FB_TILE], dot_lost[FB_TILE]; /* of t (max - x), which stands beside log1p(rest) in the loss */
} FN(tile_targets);

FB_INLINE void FN(tile_turn_targets)(FN(tile_targets) * targets, const FN(tile) * tile, const fb_rows *rows,
                                     int64_t start, int64_t count)
{
    const int64_t classes = rows->classes;
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)classes);
    const REAL *weight = rows->class_weight;
    const REAL *given = rows->labels ? NULL : (const REAL *)rows->targets + start * classes;

    for (int64_t c = 0; c < classes; c++) {
        for (int64_t i = 0; i < FB_TILE; i++)
            targets->t[c][i] = 0;
        if (given)
            for (int64_t i = 0; i < count; i++)
                targets->t[c][i] = given[i * classes + c];
        for (int64_t i = 0; i < FB_TILE; i++)
            targets->t[c][i] = FMA(targets->t[c][i], 1 - smoothing, uniform);
    }
    if (!given)
        for (int64_t i = 0; i < FB_TILE; i++)
            targets->t[tile->label[i]][i] = (1 - smoothing) + uniform;
    if (weight)
        for (int64_t c = 0; c < classes; c++)
            for (int64_t i = 0; i < FB_TILE; i++)
                targets->t[c][i] *= weight[c];
}

/* While the tile holds the logits, and their maximum. */
FB_INLINE void FN(tile_target_sums)(FN(tile_targets) * targets, const FN(tile) * tile, int64_t classes)
{
    for (int i = 0; i < FB_TILE; i++)
        targets->sum[i] = targets->lost[i] = targets->dot[i] = targets->dot_lost[i] = 0;
    for (int64_t c = 0; c < classes; c++)
        for (int i = 0; i < FB_TILE; i++) {
            const REAL t = targets->t[c][i], x = tile->e[c][i], max = tile->max[i];
            const double value = t, sum = targets->sum[i] + value, part = sum - targets->sum[i];
            targets->lost[i] += (targets->sum[i] - (sum - part)) + (value - part);
            targets->sum[i] = sum;
            /* t (max - x), by halves: the difference may overflow where the product does not */
            const double product = t == 0 || x == max ? 0 : 2 * value * (max * 0.5 - x * 0.5);
            const double dot = targets->dot[i] + product;
            if (sizeof(REAL) == sizeof(double)) { /* for float, 29 bits to spare make up for the rounding */
                const double dot_part = dot - targets->dot[i];
                targets->dot_lost[i] += (targets->dot[i] - (dot - dot_part)) + (product - dot_part);
            }
            targets->dot[i] = dot;
        }
    for (int i = 0; i < FB_TILE; i++) { /* an infinite term is the sum; what it lost is NaN */
        targets->dot[i] = fabs(targets->dot[i]) == INFINITY ? targets->dot[i]
                                                            : targets->dot[i] + targets->dot_lost[i];
        targets->lost[i] = fabs(targets->sum[i]) == INFINITY ? 0 : targets->lost[i];
    }
}

/* grad = (sum p - t) factor, taken as p (sum - t) - t (1 - p), which cancels nothing; in the place of exp(x - max). */
FB_INLINE void FN(tile_target_grad)(FN(tile) * tile, const FN(tile_targets) * targets, const fb_rows *rows)
{
    REAL others[FB_TILE] FB_ALIGNED;
    for (int i = 0; i < FB_TILE; i++) {
        tile->inverse[i] = (REAL)(1 / (1 + tile->rest[i]));
        others[i] = (REAL)(tile->rest[i] / (1 + tile->rest[i]));
        tile->factor[i] = (REAL)(tile->weight[i] * rows->scale);
    }
    for (int64_t c = 0; c < rows->classes; c++)
        for (int i = 0; i < FB_TILE; i++) {
            const REAL t = targets->t[c][i], e = tile->e[c][i], p = FABS(e) * tile->inverse[i];
            const REAL other_targets = (REAL)((targets->sum[i] - (double)t) + targets->lost[i]);
            const REAL not_p = FN(not_p)(p, e, tile->ties[i] == 1, others[i]);
            const REAL value = (p * other_targets - t * not_p) * tile->factor[i];
            tile->e[c][i] = tile->weight[i] == 0 ? 0 : value;
        }
}
