/* Targets that several classes have: rows of probabilities, or labels that are smoothed.
 *
 * With S the sum of a row's targets t, its loss is S log1p(rest) + sum t (max - x), its gradient S p - t. The latter is
 * as exact as p (S - t) - t (1 - p), which cancels nothing, where p <= 1/2: then S p is no more than twice the larger
 * term. Only a class that alone reaches the maximum may have more. Its entry is taken from the sum of all others' targets,
 * and so these are added apart. */

FB_INLINE REAL FN(target)(REAL given, REAL smoothing, REAL uniform)
{
    return FMA(given, 1 - smoothing, uniform);
}

/* t (max - x); of doubles by halves: the difference may overflow where the product does not. */
FB_INLINE double FN(target_product)(double t, REAL x, REAL max)
{
    const double product = sizeof(REAL) == sizeof(double) ? 2 * t * (max * 0.5 - x * 0.5)
                                                          : t * ((double)max - (double)x);
    return t == 0 || x == max ? 0 : product;
}

/* Whether a difference was infinite, or too large, or its product was 0 times infinity. */
FB_INLINE int FN(any_beyond)(const double *dot)
{
    int64_t beyond = 0;
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++)
        beyond |= fabs(dot[i]) < INFINITY ? 0 : 1;
    return beyond != 0;
}

/* The sum of t (max - x) of n classes that lie `apart`, where that matters: slow. t NULL: uniform is all of them. */
static double FN(careful_dot)(int64_t n, const REAL *t, const REAL *x, int64_t apart, double uniform,
                              REAL max)
{
    fb_sum total = {0, 0};
    for (int64_t i = 0; i < n; i++)
        fb_sum_add(&total, FN(target_product)(t ? t[i * apart] : uniform, x[i * apart], max));
    return fb_sum_value(total);
}

/* Whether the targets are what was given, as they lie. */
FB_INLINE int FN(targets_as_given)(const fb_rows *rows)
{
    return !rows->labels && rows->smoothing == 0 && !rows->class_weight;
}

/* The targets of classes start .. start + n of a row, smoothing and class weights in them; in t, if not as given. */
FB_INLINE const REAL *FN(targets_of)(const fb_rows *rows, int64_t row, int64_t label, int64_t start,
                                     int64_t n, REAL *t)
{
    const REAL smoothing = (REAL)rows->smoothing, uniform = (REAL)(rows->smoothing / (double)rows->classes);
    const REAL *weight = rows->class_weight;
    const REAL *given = rows->labels ? NULL
                                     : (const REAL *)rows->targets + row * rows->row_stride.targets + start;

    if (FN(targets_as_given)(rows))
        return given;
    for (int64_t i = 0; i < n && !given; i++) /* a loop of its own: see read_labels */
        t[i] = FN(target)(0, smoothing, uniform);
    for (int64_t i = 0; i < n && given; i++)
        t[i] = FN(target)(given[i], smoothing, uniform);
    if (rows->labels && label >= start && label < start + n)
        t[label - start] = FN(target)(1, smoothing, uniform);
    if (weight)
        for (int64_t i = 0; i < n; i++)
            t[i] *= weight[start + i];
    return t;
}

/* The sums of a block, added to those of its row. t NULL: as in careful_dot. */
FB_INLINE void FN(target_merge)(int64_t n, const REAL *t, const REAL *x, REAL max, int kind, double uniform,
                                FN(target_lanes) * lanes, FN(target_lanes) * row)
{
    if (FN(any_beyond)(lanes->sum[FN(DOT)])) {
        memset(lanes->sum[FN(DOT)], 0, sizeof lanes->sum[FN(DOT)]);
        memset(lanes->lost[FN(DOT)], 0, sizeof lanes->lost[FN(DOT)]);
        lanes->sum[FN(DOT)][0] = FN(careful_dot)(n, t, x, 1, uniform, max);
    }
    for (int k = 0; k < (kind == FN(SMOOTH) ? 1 : FN(SUMS)); k++)
        FN(merge_lanes)(lanes->sum[k], lanes->lost[k], row->sum[k], row->lost[k]);
}

/* A block of a row, added to its sums. */
FB_INLINE void FN(target_block)(int64_t n, const REAL *t, const REAL *x, REAL max_, int kind, double uniform,
                                FN(target_lanes) * row)
{
    const int64_t whole = n & -FB_LANES;
    FN(target_lanes) lanes FB_ALIGNED;
    FN(few_targets) few FB_ALIGNED;
    REAL max[FB_LANES] FB_ALIGNED, last[FB_LANES] FB_ALIGNED, last_t[FB_LANES] FB_ALIGNED;

    memset(&lanes, 0, sizeof lanes);
    memset(few, 0, sizeof few);
    for (int i = 0; i < FB_LANES; i++)
        max[i] = max_;
    for (int64_t start = 0; start < whole; start += FB_EIGHT * FB_LANES) {
        const int64_t end = whole - start < FB_EIGHT * FB_LANES ? whole : start + FB_EIGHT * FB_LANES;
        for (int64_t i = start; i < end; i += FB_LANES)
            FN(target_add)(t + i, x + i, max, kind, few);
        FN(target_flush)(few, kind, &lanes);
    }
    if (whole < n) { /* one more vector, filled up with what adds nothing */
        FN(read_tail)(n - whole, x + whole, max_, last);
        if (kind == FN(SOFT))
            FN(read_tail)(n - whole, t + whole, 0, last_t);
        FN(target_add)(last_t, last, max, kind, few);
        FN(target_flush)(few, kind, &lanes);
    }
    if (kind == FN(SMOOTH))
        for (int i = 0; i < FB_LANES; i++) {
            lanes.sum[FN(DOT)][i] *= uniform;
            lanes.lost[FN(DOT)][i] *= uniform;
        }
    FN(target_merge)(n, kind == FN(SOFT) ? t : NULL, x, max_, kind, uniform, &lanes, row);
}

/* exp_piece and target_block in one, where the logits stay what they are. */
FB_INLINE void FN(soft_piece)(int64_t n, const REAL *x, const REAL *t, REAL max, REAL *e,
                              FN(exp_lanes) * piece, FN(target_lanes) * row, FN(later) later)
{
    FN(target_lanes) lanes FB_ALIGNED;
    memset(&lanes, 0, sizeof lanes);
    FN(exp_piece)(n, x, t, max, e, piece, &lanes, later);
    FN(target_merge)(n, t, x, max, FN(SOFT), 0, &lanes, row);
}

/* A piece of a row. */
FB_INLINE void FN(target_piece)(const FN(group) * group, int64_t i, const fb_rows *rows, int64_t row,
                                int64_t at, int64_t n, int kind, FN(target_lanes) * lanes)
{
    const REAL *x = FN(logits_of)(rows, row);
    const double uniform = rows->smoothing / (double)rows->classes;
    REAL t[FB_BLOCK] FB_ALIGNED;
    const int64_t step = kind == FN(SMOOTH) || FN(targets_as_given)(rows) ? FB_PIECE : FB_BLOCK;
    for (int64_t start = at; start < at + n; start += step) {
        const int64_t size = at + n - start < step ? at + n - start : step;
        const REAL *targets = kind == FN(SOFT) ? FN(targets_of)(rows, row, group->label[i], start, size, t)
                                               : NULL;
        FN(target_block)(size, targets, x + start, group->max[i], kind, uniform, lanes);
    }
}

/* The sums of FB_LANES rows from the lanes of each. */
static void FN(target_totals)(const FN(target_lanes) * lanes, int kind, double *dot, double *top,
                              double *below)
{
    double *totals[FN(SUMS)] = {dot, top, below};
    double sum[FB_LANES][FB_LANES] FB_ALIGNED, lost[FB_LANES][FB_LANES] FB_ALIGNED;
    for (int k = 0; k < (kind == FN(SMOOTH) ? 1 : FN(SUMS)); k++) {
        FN(turn_lanes)(lanes->sum[k], lanes->lost[k], sizeof *lanes / sizeof(double), sum, lost);
        FN(fold_lanes)(sum, lost);
        for (int i = 0; i < FB_LANES; i++)
            totals[k][i] = FN(rounded)(sum[0][i], lost[0][i]);
    }
}

/* What e is less than at a class of p > 1/2, and nowhere else. */
FB_INLINE REAL FN(e_top)(double rest)
{
    return rest < 1 ? 0 : -2;
}

/* The gradient of one class, of p <= 1/2 and of any p. */
FB_INLINE REAL FN(target_value)(REAL e, REAL t, REAL factor, REAL pull)
{
    return FMA(FABS(e), factor, t * pull);
}

FB_INLINE REAL FN(target_entry)(REAL e, REAL t, REAL factor, REAL pull, REAL e_top, REAL entry)
{
    const REAL value = FN(target_value)(e, t, factor, pull);
    return e < e_top ? entry : value;
}

/* e and grad may be one. */
FB_INLINE void FN(target_grad)(const FN(group) * group, int64_t i, const fb_rows *rows, int64_t row,
                               const REAL *e, REAL *grad)
{
    const REAL factor = group->factor[i], pull = group->pull[i], entry = group->entry[i];
    const REAL e_top = FN(e_top)(group->rest[i]);
    REAL buffer[FB_BLOCK] FB_ALIGNED;

    for (int64_t start = 0; start < rows->classes; start += FB_BLOCK) {
        const int64_t n = rows->classes - start < FB_BLOCK ? rows->classes - start : FB_BLOCK;
        const REAL *t = FN(targets_of)(rows, row, group->label[i], start, n, buffer);
        if (e_top < 0) { /* no p is over 1/2, as a rule: a twentieth less time */
            FB_INDEPENDENT
            for (int64_t k = 0; k < n; k++)
                grad[start + k] = FN(target_value)(e[start + k], t[k], factor, pull);
            continue;
        }
        FB_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            grad[start + k] = FN(target_entry)(e[start + k], t[k], factor, pull, e_top, entry);
    }
}
