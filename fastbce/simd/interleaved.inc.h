/* Steps of split.inc.h for a few rows that are interleaved: class c of row i is element c * rows + i. So lie rows across memory
 * with nothing between them, as a class axis that is not the last one leaves them.
 *
 * Vectors are filled as it comes. As many as there are rows, a turn, hold FB_LANES classes of each of them; element j of every turn
 * is of row j % rows, and its class is of lane j / rows. So each j has a maximum and a sum of its own, taken in the order of rows
 * that lie along memory: the same bits. */

/* The elements of a turn, and what may be read or written behind them. */
enum { FN(MOST_TURN) = (FB_INTERLEAVED + 1) * FB_LANES };

/* Of a piece: what is summed for each element of a turn; FB_LANES more can be read. */
typedef struct {
    double *sum, *lost;
    SIGNED_BITS *ties;
} FN(turn_sums);

FB_INLINE int64_t FN(turn_sums_size)(int64_t rows)
{
    return (rows + 1) * FB_LANES * (int64_t)(2 * sizeof(double) + sizeof(SIGNED_BITS));
}

FB_INLINE FN(turn_sums) FN(turn_sums_at)(void *memory, int64_t rows)
{
    const int64_t size = (rows + 1) * FB_LANES;
    double *sum = memory;
    const FN(turn_sums) sums = {sum, sum + size, (SIGNED_BITS *)(sum + 2 * size)};
    return sums;
}

/* What each row has, for each element of a turn: by the vector, of which the next one overwrites what is too much. */
FB_INLINE void FN(spread)(const REAL *of_row, int64_t rows, REAL *of_turn)
{
    for (int64_t k = 0; k < FB_LANES; k++)
        for (int64_t i = 0; i < rows; i += FB_LANES)
            memcpy(of_turn + k * rows + i, of_row + i, FB_LANES * sizeof(REAL));
}

/* A turn of n < FB_LANES classes, filled up. */
FB_INLINE void FN(read_turn)(const REAL *x, int64_t n, int64_t rows, REAL filling, REAL *turn)
{
    memcpy(turn, x, (size_t)(n * rows) * sizeof(REAL));
    for (int64_t j = n * rows; j < FB_LANES * rows; j++)
        turn[j] = filling;
}

/* The largest of n classes, of each row; and what fills the last vector of these, which means nothing. */
FB_INLINE void FN(interleaved_max)(const REAL *x, int64_t n, int64_t rows, REAL *max)
{
    const int64_t size = FB_LANES * rows, turns = n / FB_LANES, left = n % FB_LANES;
    REAL most[FN(MOST_TURN)] FB_ALIGNED, turn[FN(MOST_TURN)] FB_ALIGNED;
    FN(across_max)(x, size, turns, size, most);
    if (left > 0) {
        FN(read_turn)(x + turns * size, left, rows, (REAL)-INFINITY, turn);
        for (int64_t j = 0; j < size; j += FB_LANES)
            FN(max_add)(turn + j, most + j);
    }
    for (int64_t i = 0; i < rows; i += FB_LANES) {
        memcpy(max + i, most + i, FB_LANES * sizeof(REAL));
        for (int64_t k = 1; k < FB_LANES; k++)
            FN(max_add)(most + k * rows + i, max + i);
    }
}

/* exp(x - max) of n classes, and their sums. */
FB_INLINE void FN(interleaved_exp)(FN(across_place) place, int64_t n, int64_t rows, const REAL *max,
                                   FN(turn_sums) sums)
{
    const int64_t size = FB_LANES * rows, turns = n / FB_LANES, left = n % FB_LANES;
    REAL turn[FN(MOST_TURN)] FB_ALIGNED;
    FN(peaks) peaks[FB_INTERLEAVED] FB_ALIGNED;
    FN(spread)(max, rows, turn);
    for (int64_t v = 0; v < rows; v++)
        FN(set_peaks)(turn + v * FB_LANES, &peaks[v]);
    for (int64_t j = 0; j < size + FB_LANES; j++) {
        sums.sum[j] = sums.lost[j] = 0;
        sums.ties[j] = (SIGNED_BITS)(turns + (left > 0));
    }
    for (int64_t t = 0; t < turns; t += FB_EIGHT)
        for (int64_t v = 0, j = 0; v < rows; v++, j += FB_LANES)
            FN(across_some)(FN(vector_at)(place, j), t, turns - t < FB_EIGHT ? turns : t + FB_EIGHT, 1,
                            &peaks[v], sums.ties + j, sums.sum + j, sums.lost + j);
    if (left == 0)
        return;
    FN(read_turn)(place.x + turns * size, left, rows, (REAL)-INFINITY, turn);
    for (int64_t v = 0, j = 0; v < rows; v++, j += FB_LANES) {
        const FN(across_place) last = {.x = turn + j, .e = turn + j};
        FN(across_some)(last, 0, 1, 1, &peaks[v], sums.ties + j, sums.sum + j, sums.lost + j);
    }
    memcpy(place.e + turns * place.e_apart, turn, (size_t)(left * rows) * sizeof(REAL));
}

/* The sums of a piece, of rows start .. start + FB_LANES, added to those of the pieces before. (What is beyond the last row
 * is of no meaning.) */
FB_INLINE void FN(merge_turn)(FN(turn_sums) from, int64_t rows, int64_t start, FN(across_lanes) * to,
                              SIGNED_BITS *ties)
{
    for (int64_t k = 0; k < FB_LANES; k++) {
        const int64_t j = k * rows + start;
        FN(merge_lanes)(from.sum + j, from.lost + j, to->sum[k], to->lost[k]);
        for (int i = 0; i < FB_LANES; i++)
            ties[i] += from.ties[j + i];
    }
}

/* Probabilities, or with weights the gradient, of FB_LANES exponentials. */
FB_INLINE void FN(scale_vector)(const REAL *e, const REAL *factor, const REAL *weight, REAL *out)
{
    if (weight)
        FN(vector_grad)(e, factor, NULL, weight, out);
    else
        FN(vector_proba)(e, factor, out);
}

/* The same of n classes; factor and weight are those of the rows, and out may be e. */
FB_INLINE void FN(interleaved_scale)(int64_t n, int64_t rows, const REAL *e, const REAL *factor,
                                     const REAL *weight, REAL *out)
{
    const int64_t size = FB_LANES * rows, turns = n / FB_LANES, left = n % FB_LANES;
    REAL factors[FN(MOST_TURN)] FB_ALIGNED, weights[FN(MOST_TURN)] FB_ALIGNED, turn[FN(MOST_TURN)] FB_ALIGNED;
    FN(spread)(factor, rows, factors);
    if (weight)
        FN(spread)(weight, rows, weights);
    FN(read_turn)(e + turns * size, left, rows, 0, turn);
    for (int64_t t = 0; t < turns; t++)
        for (int64_t j = 0; j < size; j += FB_LANES)
            FN(scale_vector)(e + t * size + j, factors + j, weight ? weights + j : NULL, out + t * size + j);
    for (int64_t j = 0; j < left * rows; j += FB_LANES)
        FN(scale_vector)(turn + j, factors + j, weight ? weights + j : NULL, turn + j);
    memcpy(out + turns * size, turn, (size_t)(left * rows) * sizeof(REAL));
}
