/* Sums over the targets of a row, as its softmax is computed: why these, see soft_rows.inc.h. */

/* What a row's targets are: its label; that, smoothed, where all classes have the same weight; one of each class. */
enum { FN(LABELS), FN(SMOOTH), FN(SOFT) };

/* The sums over a row in progress, in lanes as in exp_lanes: of t (max - x), of the targets of classes that reach the maximum,
 * which is one target, as a rule, and is not rounded then, and of all others'. Labels that are smoothed need only the first
 * one, and of max - x: t is the same but for the label. */
enum { FN(DOT), FN(TOP), FN(BELOW), FN(SUMS) };

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
            /* by bits: of choices GCC makes additions of either */
            const BITS given = FN(to_bits)(t[i]), below = given & -(BITS)(x[i] != max[i]);
            few[FN(DOT)][i] = FMA(-t[i], difference, few[FN(DOT)][i]);
            few[FN(TOP)][i] += FN(from_bits)(given ^ below);
            few[FN(BELOW)][i] += FN(from_bits)(below);
        }
    }
}

FB_INLINE void FN(target_flush)(FN(few_targets) few, int kind, FN(target_lanes) * lanes)
{
    for (int k = 0; k < (kind == FN(SMOOTH) ? 1 : FN(SUMS)); k++)
        FN(exp_flush)(few[k], lanes->sum[k], lanes->lost[k]);
}
