/* Softmax cross-entropy of class labels where the class axis is not the last one: rows are neighbours in memory, classes lie
 * apart, and a class of FB_LANES rows is a vector as it lies. Nothing is turned.
 *
 * Each step takes a few classes of all rows of the group, which lie together. Sums are taken in the order of rows that lie
 * the other way: the same bits. */

/* How many classes ahead memory is asked for: each lies in a page of its own, which the CPU does not foresee. */
enum { FN(CLASSES_AHEAD) = 16 };

/* The sums in progress of FB_LANES rows. Lane k has every FB_LANES-th class, as in exp_lanes; of few classes there is one. */
typedef struct {
    double sum[FB_LANES][FB_LANES], lost[FB_LANES][FB_LANES];
    double piece[FB_LANES][FB_LANES], piece_lost[FB_LANES][FB_LANES];
    REAL max[FB_LANES];
    SIGNED_BITS ties[FB_LANES];
} FN(across_sums);

FB_INLINE void FN(across_max)(const REAL *x, int64_t apart, int64_t classes, int64_t count, REAL *max)
{
    for (int64_t i = 0; i < count; i++)
        max[i] = (REAL)-INFINITY;
    for (int64_t c = 0; c < classes; c++, x += apart) {
        FN(fetch_class)(x, count, apart, c + FN(CLASSES_AHEAD) < classes ? FN(CLASSES_AHEAD) : 0);
        for (int64_t at = 0; at < count; at += FB_LANES)
            FN(max_add)(x + at, max + at);
    }
}

/* FB_LANES rows, or more: where their logits lie, and where exp(x - max) is kept; how far their classes lie apart, and how far
 * ahead memory is asked for. */
typedef struct {
    const REAL *x;
    REAL *e;
    int64_t x_apart, e_apart, x_ahead, e_ahead;
} FN(across_place);

/* Where a second-level cache holds a group and the next one, that is the next group (a tenth to a third less time, measured):
 * further rows, if the next class leaves room for them, or else what is behind the last class. Otherwise it is a few
 * classes on. */
FB_INLINE int64_t FN(across_ahead)(const fb_rows *rows, int64_t start, int64_t group, int64_t apart)
{
    if (rows->classes * group * (int64_t)sizeof(REAL) > 1 << 19)
        return FB_FOUR * FB_LANES * apart;
    return start + group < apart ? group : rows->classes * apart - start;
}

FB_INLINE FN(across_place) FN(vector_at)(FN(across_place) place, int64_t i)
{
    place.x += i * FB_LANES;
    place.e += i * FB_LANES;
    return place;
}

/* Of classes start .. stop every step-th, four at most: exp(x - max) and its sum. */
FB_INLINE void FN(across_four)(FN(across_place) place, int64_t start, int64_t stop, int64_t step,
                               FN(across_sums) * sums, double *sum, double *lost)
{
    REAL two[FB_LANES] FB_ALIGNED = {0}, max[FB_LANES] FB_ALIGNED;
    SIGNED_BITS ties[FB_LANES] FB_ALIGNED;
    memcpy(max, sums->max, sizeof max);
    memcpy(ties, sums->ties, sizeof ties);
    for (int64_t c = start; c < stop; c += step) {
        const REAL *x = place.x + c * place.x_apart;
        REAL *e = place.e + c * place.e_apart;
        FN(fetch_vector)(x + place.x_ahead);
        FN(fetch_vector)(e + place.e_ahead);
        FN(exp_add)(x, max, e, two, ties);
        if ((c - start) / step % 2 == 1 || c + step >= stop)
            FN(exp_flush)(two, sum, lost);
    }
    memcpy(sums->ties, ties, sizeof ties);
}

/* One step along a piece, of many classes. */
FB_INLINE void FN(across_step)(FN(across_place) place, int64_t start, int64_t whole, int64_t end,
                               FN(across_sums) * sums)
{
    const int64_t stop = whole - start < FB_FOUR * FB_LANES ? whole : start + FB_FOUR * FB_LANES;
    for (int64_t k = 0; k < FB_LANES && start < whole; k++)
        FN(across_four)(place, start + k, stop, FB_LANES, sums, sums->piece[k], sums->piece_lost[k]);
    for (int64_t c = whole; c < end && stop == whole; c++) /* what is no whole vector of a row */
        FN(across_four)(place, c, c + 1, 1, sums, sums->piece[c - whole], sums->piece_lost[c - whole]);
}

FB_INLINE void FN(begin_piece)(FN(across_sums) * sums)
{
    memset(sums->piece, 0, sizeof sums->piece);
    memset(sums->piece_lost, 0, sizeof sums->piece_lost);
}

/* The sum of a piece, added to that of the rows. */
FB_INLINE void FN(end_piece)(FN(across_sums) * sums)
{
    for (int k = 0; k < FB_LANES; k++)
        FN(merge_lanes)(sums->piece[k], sums->piece_lost[k], sums->sum[k], sums->lost[k]);
}

/* Where exp(x - max) is kept, and how far apart its classes lie: all in one place, if nothing but the loss is wanted. */
FB_INLINE REAL *FN(across_exp)(const fb_rows *rows, int64_t first, REAL *nowhere, int64_t *apart)
{
    *apart = rows->grad ? rows->apart.grad : rows->proba ? rows->apart.proba : 0;
    return rows->grad ? (REAL *)rows->grad + first : rows->proba ? (REAL *)rows->proba + first : nowhere;
}

/* count rows, of a group of up to most. */
FB_INLINE void FN(begin_across)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t count,
                                int64_t most)
{
    const int64_t classes = rows->classes, vectors = count / FB_LANES;
    FN(across_sums) sums[FB_GROUP / FB_LANES] FB_ALIGNED;
    REAL nowhere[FB_GROUP] FB_ALIGNED;
    FN(across_place) place = {.x = (const REAL *)rows->x + start, .x_apart = rows->apart.x};
    place.e = FN(across_exp)(rows, start, nowhere, &place.e_apart);
    place.x_ahead = FN(across_ahead)(rows, start, most, place.x_apart);
    place.e_ahead = FN(across_ahead)(rows, start, most, place.e_apart);

    const int few = classes <= FB_FEW_CLASSES;
    FN(across_max)(place.x, place.x_apart, classes, count, group->max);
    for (int64_t i = 0; i < vectors; i++) {
        memset(sums[i].sum, 0, few ? sizeof sums[i].sum[0] : sizeof sums[i].sum);
        memset(sums[i].lost, 0, few ? sizeof sums[i].lost[0] : sizeof sums[i].lost);
        for (int k = 0; k < FB_LANES; k++)
            sums[i].ties[k] = (SIGNED_BITS)classes;
        memcpy(sums[i].max, group->max + i * FB_LANES, sizeof sums[i].max);
        if (!few)
            FN(begin_piece)(&sums[i]);
    }
    for (int64_t c = 0; c < classes && few; c += FB_FOUR)
        for (int64_t i = 0; i < vectors; i++)
            FN(across_four)(FN(vector_at)(place, i), c, c + FB_FOUR < classes ? c + FB_FOUR : classes, 1,
                            &sums[i], sums[i].sum[0], sums[i].lost[0]);
    for (int64_t begin = 0; begin < classes && !few; begin += FB_PIECE) {
        const int64_t end = classes - begin < FB_PIECE ? classes : begin + FB_PIECE;
        const int64_t whole = begin + ((end - begin) & -FB_LANES);
        for (int64_t c = begin; c < (whole > begin ? whole : end); c += FB_FOUR * FB_LANES)
            for (int64_t i = 0; i < vectors; i++)
                FN(across_step)(FN(vector_at)(place, i), c, whole, end, &sums[i]);
        for (int64_t i = 0; i < vectors; i++) {
            FN(end_piece)(&sums[i]);
            FN(begin_piece)(&sums[i]);
        }
    }
    for (int64_t i = 0; i < vectors; i++) {
        double *rest = group->rest + i * FB_LANES;
        memcpy(group->ties + i * FB_LANES, sums[i].ties, sizeof sums[i].ties);
        if (few)
            for (int k = 0; k < FB_LANES; k++)
                rest[k] = FN(rest_of)(sums[i].sum[0][k], sums[i].lost[0][k], sums[i].max[k], sums[i].ties[k]);
        else
            FN(lane_totals)(sums[i].sum, sums[i].lost, sums[i].max, sums[i].ties, rest);
    }
    for (int64_t i = 0; i < count; i++) {
        const REAL value = FN(exp_difference)(group->logit[i], group->max[i]);
        group->e_label[i] = group->logit[i] == group->max[i] ? -1 : value;
    }
}

FB_INLINE void FN(end_across)(const FN(group) * group, const fb_rows *rows, int64_t start, int64_t count)
{
    const int64_t classes = rows->classes, ahead = FN(CLASSES_AHEAD);
    int64_t apart;
    REAL *e = FN(across_exp)(rows, start, NULL, &apart);
    if (rows->hess) /* before the place of e is taken */
        FN(tile_hess)(count, e, apart, classes, group, 0, rows->scale, FN(LABELS), (REAL *)rows->hess + start,
                      rows->apart.hess, ahead);
    if (rows->proba)
        FN(tile_proba)(count, e, apart, classes, group->inverse, (REAL *)rows->proba + start,
                       rows->apart.proba, ahead);
    if (rows->grad)
        FN(tile_grad)(count, e, apart, classes, group, 0, FN(LABELS), ahead);
}
