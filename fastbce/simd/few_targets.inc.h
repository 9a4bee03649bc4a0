/* The targets of a tile of rows, as those of a row in soft_rows.inc.h. */

/* Soft targets on their side, smoothing and class weights in them. */
FB_INLINE void FN(tile_targets)(FN(tiles) * tiles, const FN(group) * group, int64_t at, const fb_rows *rows,
                                int64_t first, int64_t n)
{
    const int64_t classes = rows->classes;
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)classes);
    const REAL *class_weight = rows->class_weight;
    FN(vector) *t = FN(tile_of)(tiles->t, at, classes);

    if (rows->labels) {
        memset(t, 0, (size_t)classes * sizeof t[0]);
        for (int64_t i = 0; i < n; i++)
            t[group->label[at + i]][i] = 1;
    } else {
        FN(turn_in)(FN(row_of)(rows->targets, first, rows->row_stride.targets), rows->row_stride.targets, n,
                    classes, tiles->staged, t[0]);
    }
    for (int64_t c = 0; c < classes && !FN(targets_as_given)(rows); c++) {
        const REAL weight = class_weight ? class_weight[c] : 1;
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++)
            t[c][i] = FN(target)(t[c][i], smoothing, uniform) * weight;
    }
}

/* Their sums, while the tile holds the logits. */
FB_INLINE void FN(tile_sums)(const FN(vector) * x, const FN(vector) * t, int64_t classes, int kind,
                             FN(group) * group, int64_t at, double uniform, const REAL *next)
{
    const REAL *max = group->max + at;
    const int64_t step = kind == FN(SOFT) && classes <= FB_TWO_UP_TO ? 2 : FB_FOUR;
    double *totals[FN(SUMS)] = {group->dot + at, group->top + at, group->below + at};
    FN(target_lanes) lanes FB_ALIGNED;
    FN(few_targets) few FB_ALIGNED;
    memset(&lanes, 0, sizeof lanes);
    memset(few, 0, sizeof few);
    for (int64_t start = 0; start < classes; start += step) {
        const int64_t end = classes - start < step ? classes : start + step;
        for (int64_t c = start; c < end; c++) {
            if (kind == FN(SOFT))
                FN(fetch_vector_near)(next + c * FB_LANES);
            FN(target_add)(t[c], x[c], max, kind, few);
        }
        FN(target_flush)(few, kind, &lanes);
    }
    for (int k = 0; k < (kind == FN(SMOOTH) ? 1 : FN(SUMS)); k++)
        for (int i = 0; i < FB_LANES; i++)
            totals[k][i] = FN(rounded)(lanes.sum[k][i], lanes.lost[k][i]);
    if (kind == FN(SMOOTH))
        for (int i = 0; i < FB_LANES; i++)
            group->dot[at + i] *= uniform;
    if (FN(any_beyond)(group->dot + at))
        for (int i = 0; i < FB_LANES; i++)
            if (!isfinite(group->dot[at + i]))
                group->dot[at + i] = FN(careful_dot)(classes, kind == FN(SOFT) ? t[0] + i : NULL, x[0] + i,
                                                     FB_LANES, uniform, max[i]);
}

/* The gradient in the place of exp(x - max). */
FB_INLINE void FN(tile_target_grad)(FN(vector) * e, const FN(vector) * t, int64_t classes,
                                    const FN(group) * group, int64_t at)
{
    const REAL *factor = group->factor + at, *pull = group->pull + at, *entry = group->entry + at;
    const REAL *weight = group->weight + at;
    REAL e_top[FB_LANES] FB_ALIGNED;
    for (int i = 0; i < FB_LANES; i++)
        e_top[i] = FN(e_top)(group->rest[at + i]);
    for (int64_t c = 0; c < classes; c++) {
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++) {
            const REAL value = FN(target_entry)(e[c][i], t[c][i], factor[i], pull[i], e_top[i], entry[i]);
            e[c][i] = weight[i] == 0 ? 0 : value;
        }
    }
}
