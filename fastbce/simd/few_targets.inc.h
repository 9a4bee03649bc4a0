/* Soft targets of a tile of rows, as those of a row in soft_rows.inc.h. */

/* The targets, their sum, and that of t (max - x), while the tile holds the logits. */
FB_INLINE void FN(tile_targets)(FN(tiles) * tiles, FN(group) * group, int64_t at, const fb_rows *rows,
                                int64_t first, int64_t n)
{
    const int64_t classes = rows->classes;
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)classes);
    const REAL *class_weight = rows->class_weight;
    FN(vector) *x = FN(tile_of)(tiles->e, at, classes), *targets = FN(tile_of)(tiles->t, at, classes);
    const REAL *next = FN(tile_ahead)(rows->labels ? rows->x : rows->targets, first, classes);
    double sum[FB_LANES] FB_ALIGNED = {0}, lost[FB_LANES] FB_ALIGNED = {0};
    double dot[FB_LANES] FB_ALIGNED = {0}, dot_lost[FB_LANES] FB_ALIGNED = {0};

    if (rows->labels) {
        memset(targets, 0, (size_t)classes * sizeof targets[0]);
        for (int64_t i = 0; i < n; i++)
            targets[group->label[at + i]][i] = 1;
    } else {
        FN(turn_in)(FN(row_of)(rows->targets, first, classes), n, classes, tiles->staged, targets[0]);
    }
    for (int64_t c = 0; c < classes; c++) {
        FN(fetch_vector)(next + c * FB_LANES);
        const REAL weight = class_weight ? class_weight[c] : 1;
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++)
            targets[c][i] = FN(target)(targets[c][i], smoothing, uniform) * weight;
        FN(target_add)(targets[c], x[c], group->max + at, sum, lost, dot, dot_lost);
    }
    for (int i = 0; i < FB_LANES; i++) { /* an infinite term is the sum; what it lost is NaN */
        group->sum[at + i] = sum[i];
        group->lost[at + i] = fabs(sum[i]) == INFINITY ? 0 : lost[i];
        group->dot[at + i] = fabs(dot[i]) == INFINITY ? dot[i] : dot[i] + dot_lost[i];
    }
}

/* The gradient in the place of exp(x - max). */
FB_INLINE void FN(tile_target_grad)(FN(vector) * e, const FN(vector) * targets, int64_t classes,
                                    const FN(group) * group, int64_t at, double scale)
{
    const REAL *inverse = group->inverse + at, *others = group->others + at;
    REAL factor[FB_LANES] FB_ALIGNED;
    for (int i = 0; i < FB_LANES; i++)
        factor[i] = (REAL)(group->weight[at + i] * scale);
    for (int64_t c = 0; c < classes; c++) {
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++) {
            const REAL value = FN(target_entry)(e[c][i], targets[c][i], group->sum[at + i],
                                                group->lost[at + i], inverse[i], others[i],
                                                group->ties[at + i] == 1, factor[i]);
            e[c][i] = group->weight[at + i] == 0 ? 0 : value;
        }
    }
}
