/* Sums over the targets of a row, as its softmax is computed: why these, see soft_rows.inc.h. */

/* What a row's targets are: its label; that, smoothed, where all classes have the same weight; one of each class. */
enum { FN(LABELS), FN(SMOOTH), FN(SOFT) };

/* The sums over a row in progress, in lanes as in exp_lanes: of t (max - x), of all targets, and of those of classes
 * that do not reach the maximum. Labels that are smoothed need only the first one, and of max - x: t is the same but for
 * the label. */
enum { FN(DOT), FN(ALL), FN(BELOW), FN(SUMS) };

typedef struct {
    double sum[FN(SUMS)][FB_LANES], lost[FN(SUMS)][FB_LANES];
} FN(target_lanes);

/* Of few vectors, as they are: two or four of a tile of rows, eight of a row of many classes. */
typedef REAL FN(few_targets)[FN(SUMS)][FB_LANES];

/* One vector more. */
FB_INLINE void FN(target_add)(const REAL *t, const REAL *x, const REAL *max, int kind, FN(few_targets) few)
{
    FB_ROLLED
    for (int i = 0; i < FB_LANES; i++) {
        const REAL difference = x[i] - max[i];
        if (kind == FN(SMOOTH)) {
            few[FN(DOT)][i] -= difference;
        } else {
            const int tie = x[i] == max[i];
            few[FN(DOT)][i] = FMA(-t[i], difference, few[FN(DOT)][i]);
            few[FN(ALL)][i] += t[i];
            few[FN(BELOW)][i] += tie ? 0 : t[i];
        }
    }
}

FB_INLINE void FN(target_flush)(FN(few_targets) few, int kind, FN(target_lanes) * lanes)
{
    for (int k = 0; k < (kind == FN(SMOOTH) ? 1 : FN(SUMS)); k++)
        FN(exp_flush)(few[k], lanes->sum[k], lanes->lost[k]);
}
