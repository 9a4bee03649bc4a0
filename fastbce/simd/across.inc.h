/* Softmax cross-entropy of class labels where the class axis is not the last one: rows are neighbours in memory, classes lie
 * apart, and a class of FB_LANES rows is a vector as it lies. Nothing is turned.
 *
 * Each step takes a few classes of all rows of the group, which lie together. Sums are taken in the order of rows that lie
 * the other way: the same bits. */

/* How many classes ahead memory is asked for: each lies in a page of its own, which the CPU does not foresee. */
enum { FN(CLASSES_AHEAD) = 16 };

/* Sums of FB_LANES rows. Lane k has every FB_LANES-th class, as in exp_lanes; of few classes there is one. */
typedef struct {
    double sum[FB_LANES][FB_LANES], lost[FB_LANES][FB_LANES];
} FN(across_lanes);

/* Those of a piece, in progress; or of some of its lanes, and the ties of their classes. */
typedef struct {
    FN(peaks) peaks FB_ALIGNED;
    SIGNED_BITS ties[FB_LANES];
    FN(across_lanes) * lanes;
} FN(across_sums);

/* Of count rows, FB_LANES or more, how many vectors they are, and which row the i-th begins with: what is left goes with rows
 * before. */
FB_INLINE int64_t FN(vectors_of)(int64_t count)
{
    return (count + FB_LANES - 1) / FB_LANES;
}

FB_INLINE int64_t FN(vector_of)(int64_t i, int64_t count)
{
    return (i + 1) * FB_LANES <= count ? i * FB_LANES : count - FB_LANES;
}

/* The largest of all classes, of each of count rows. What fills no vector has one of its own until the end: the CPU waits
 * where a vector is read that overlaps one just written. */
FB_INLINE void FN(across_max)(const REAL *x, int64_t apart, int64_t classes, int64_t count, REAL *max)
{
    REAL rest[FB_LANES] FB_ALIGNED, best[FB_LANES] FB_ALIGNED;
    for (int64_t i = 0; i < count; i++)
        max[i] = (REAL)-INFINITY;
    for (int i = 0; i < FB_LANES; i++)
        rest[i] = (REAL)-INFINITY;
    for (int64_t c = 0; c < classes; c += FB_FOUR, x += FB_FOUR * apart) {
        const int64_t some = classes - c < FB_FOUR ? classes - c : FB_FOUR;
        for (int64_t k = 0; k < some; k++)
            FN(fetch_class)(x + k * apart, count, apart,
                            c + k + FN(CLASSES_AHEAD) < classes ? FN(CLASSES_AHEAD) : 0);
        for (int64_t at = 0; at < count; at += FB_LANES) {
            const int is_rest = at + FB_LANES > count;
            const REAL *from = is_rest ? x + count - FB_LANES : x + at;
            REAL *largest = is_rest ? rest : max + at;
            memcpy(best, largest, sizeof best);
            for (int64_t k = 0; k < some; k++)
                FN(max_add)(from + k * apart, best);
            memcpy(largest, best, sizeof best);
        }
    }
    if (count % FB_LANES != 0)
        memcpy(max + count - FB_LANES, rest, sizeof rest);
}

/* FB_LANES rows, or more: where their logits lie, and where exp(x - max) is kept; how far their classes lie apart, and how far
 * ahead memory is asked for. */
typedef struct {
    const REAL *x;
    REAL *e;
    int64_t x_apart, e_apart, x_ahead, e_ahead;
} FN(across_place);

/* Whether the second-level cache is one of 2 MB or more, which holds a group of many rows, and yet less than all rows. */
FB_INLINE int FN(far_across)(const fb_rows *rows)
{
    return rows->second_level >= 2 << 20 &&
           rows->classes * rows->apart.x * (int64_t)sizeof(REAL) >= rows->second_level;
}

/* The logits of a group, in bytes, where that cache holds the next one as well. */
enum { FN(FAR_BYTES) = 1 << 18 };

/* How many rows make a group (measured). Where they are far, as many as leave the next group room in that cache: the more of a
 * class lies together, the sooner it comes; but four cache lines at least, or as many rows as if there were room. Else, of many
 * classes, four cache lines where that cache is known to be small, or one vector at a time. */
FB_INLINE int64_t FN(rows_across)(const fb_rows *rows)
{
    const int64_t bytes = rows->classes * (int64_t)sizeof(REAL), fewest = 4 * 64 / sizeof(REAL);
    if (FN(far_across)(rows) && bytes * FB_ACROSS <= 3 << 16)
        return FB_ACROSS;
    if (FN(far_across)(rows))
        return bytes * FB_GROUP > FN(FAR_BYTES) && bytes * fewest <= FN(FAR_BYTES) ? fewest : FB_GROUP;
    if (rows->classes > 64 && rows->classes <= 1024 && rows->apart.x > 4 * FB_GROUP)
        return 0 < rows->second_level && rows->second_level < 1 << 20 ? fewest : FB_LANES;
    return FB_GROUP;
}

/* Where that cache holds a group and the next one, memory is asked for the next group ahead (a tenth to a third less time,
 * measured): further rows, if the next class leaves room for them, or else what is behind the last class. Otherwise it is a
 * few classes on. */
FB_INLINE int64_t FN(across_ahead)(const fb_rows *rows, int64_t start, int64_t count, int64_t group,
                                   int64_t apart)
{
    const int64_t most = FN(far_across)(rows) ? FN(FAR_BYTES) : 1 << 19;
    if (rows->classes * count * (int64_t)sizeof(REAL) > most)
        return FB_FOUR * FB_LANES * apart;
    return start + group < apart ? group : rows->classes * apart - start;
}

FB_INLINE FN(across_place) FN(vector_at)(FN(across_place) place, int64_t row)
{
    place.x += row;
    place.e += row;
    return place;
}

/* Of classes start .. stop every step-th, eight at most: exp(x - max), and added to its sum. */
FB_INLINE void FN(across_some)(FN(across_place) place, int64_t start, int64_t stop, int64_t step,
                               const FN(peaks) * peaks_, SIGNED_BITS *ties_, double *sum, double *lost)
{
    const REAL *x = place.x + start * place.x_apart;
    REAL *e = place.e + start * place.e_apart;
    const int64_t n = (stop - start + step - 1) / step, x_apart = step * place.x_apart,
                  e_apart = step * place.e_apart;
#ifdef FB_END_EXP
    REAL two[FB_LANES] FB_ALIGNED = {0};
    FN(peaks) peaks FB_ALIGNED;
    SIGNED_BITS ties[FB_LANES] FB_ALIGNED;
    FN(copy_peaks)(peaks_, &peaks);
    memcpy(ties, ties_, sizeof ties);
    for (int64_t k = 0; k < n; k++, x += x_apart, e += e_apart) {
        FN(fetch_vector)(x + place.x_ahead);
        FN(fetch_vector)(e + place.e_ahead);
        FN(exp_add)(x, &peaks, e, two, ties);
        if (k % 2 == 1 || k + 1 == n)
            FN(exp_flush)(two, sum, lost);
    }
    memcpy(ties_, ties, sizeof ties);
#else
    REAL own[FB_EIGHT * FB_LANES] FB_ALIGNED; /* of what goes to one place, where nothing reads it */
    const int is_own = e_apart == 0 && n > 1;
    const int64_t some_apart = is_own ? FB_LANES : e_apart;
    REAL *some = is_own ? own : e;
    for (int64_t k = 0; k < n; k++) {
        FN(fetch_vector)(x + k * x_apart + place.x_ahead);
        FN(fetch_vector)(e + k * e_apart + place.e_ahead);
    }
    FN(exp_strip)(n, x, x_apart, peaks_, some, some_apart);
    for (int64_t k = 0; k < n; k += 2)
        FN(strip_add)(some + k * some_apart, k + 1 < n ? some + (k + 1) * some_apart : NULL, sum, lost,
                      ties_);
#endif
}

/* Nothing is summed yet, of so many classes in lanes first .. last. */
FB_INLINE void FN(begin_sums)(FN(across_sums) * sums, int64_t classes, int64_t first, int64_t last)
{
    const size_t bytes = (size_t)(last - first) * sizeof sums->lanes->sum[0];
    memset(sums->lanes->sum[first], 0, bytes);
    memset(sums->lanes->lost[first], 0, bytes);
    for (int k = 0; k < FB_LANES; k++)
        sums->ties[k] = (SIGNED_BITS)classes;
}

/* exp(x - max) of a piece of count rows, added to its sums: all rows of a class, before the next one, for they are neighbours.
 * What fills no vector of a row is a step of its own, as in exp_piece. Of lanes first .. last: all, or a thread's. */
FB_INLINE void FN(across_piece)(FN(across_place) place, int64_t begin, int64_t end, int64_t count,
                                int64_t first, int64_t last, FN(across_sums) * sums)
{
    const int64_t whole = begin + ((end - begin) & -FB_LANES), last_row = count - FB_LANES;
    int64_t stop;
    for (int64_t c = begin; c < end; c = stop) {
        const int64_t limit = c < whole ? whole : end;
        stop = limit - c < FB_FOUR * FB_LANES ? limit : c + FB_FOUR * FB_LANES;
        for (int64_t k = first; k < last && c + k < stop; k++) {
            FN(across_sums) *one = sums;
            for (int64_t row = 0; row < count; row += FB_LANES, one++)
                FN(across_some)(FN(vector_at)(place, row < last_row ? row : last_row), c + k, stop, FB_LANES,
                                &one->peaks, one->ties, one->lanes->sum[k], one->lanes->lost[k]);
        }
    }
}

/* The sums of a piece, added to those of the pieces before. */
FB_INLINE void FN(merge_sums)(const FN(across_sums) * sums, FN(across_lanes) * lanes, SIGNED_BITS *ties)
{
    for (int k = 0; k < FB_LANES; k++) {
        FN(merge_lanes)(sums->lanes->sum[k], sums->lanes->lost[k], lanes->sum[k], lanes->lost[k]);
        ties[k] += sums->ties[k];
    }
}

/* Where exp(x - max) is kept, and how far apart its classes lie: all in one place, if nothing but the loss is wanted. */
FB_INLINE REAL *FN(across_exp)(const fb_rows *rows, int64_t first, REAL *nowhere, int64_t *apart)
{
    *apart = rows->grad ? rows->apart.grad : rows->proba ? rows->apart.proba : 0;
    return rows->grad ? (REAL *)rows->grad + first : rows->proba ? (REAL *)rows->proba + first : nowhere;
}

/* The exponentials of the labels. */
FB_INLINE void FN(label_exp)(FN(group) * group, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const REAL value = FN(exp_difference)(group->logit[i], group->max[i]);
        group->e_label[i] = group->logit[i] == group->max[i] ? -1 : value;
    }
}

/* count rows, FB_LANES or more, of a group of up to most. */
FB_INLINE void FN(begin_across)(FN(group) * group, const fb_rows *rows, int64_t start, int64_t count,
                                int64_t most)
{
    const int64_t classes = rows->classes, vectors = FN(vectors_of)(count);
    FN(across_sums) sums[FB_ACROSS / FB_LANES] FB_ALIGNED;
    FN(across_lanes) lanes[FB_ACROSS / FB_LANES] FB_ALIGNED, total[FB_ACROSS / FB_LANES] FB_ALIGNED;
    REAL nowhere[FB_ACROSS] FB_ALIGNED;
    FN(across_place) place = {.x = (const REAL *)rows->x + start, .x_apart = rows->apart.x};
    place.e = FN(across_exp)(rows, start, nowhere, &place.e_apart);
    place.x_ahead = FN(across_ahead)(rows, start, count, most, place.x_apart);
    place.e_ahead = FN(across_ahead)(rows, start, count, most, place.e_apart);

    FN(across_max)(place.x, place.x_apart, classes, count, group->max);
    for (int64_t i = 0; i < vectors; i++) {
        FN(set_peaks)(group->max + FN(vector_of)(i, count), &sums[i].peaks);
        sums[i].lanes = &lanes[i];
    }
    if (classes <= FB_FEW_CLASSES) {
        for (int64_t i = 0; i < vectors; i++)
            FN(begin_sums)(&sums[i], classes, 0, 1);
        for (int64_t c = 0; c < classes; c += FB_FOUR)
            for (int64_t i = 0; i < vectors; i++)
                FN(across_some)(FN(vector_at)(place, FN(vector_of)(i, count)), c,
                                c + FB_FOUR < classes ? c + FB_FOUR : classes, 1, &sums[i].peaks,
                                sums[i].ties, lanes[i].sum[0], lanes[i].lost[0]);
        for (int64_t i = 0; i < vectors; i++) {
            const int64_t row = FN(vector_of)(i, count);
            memcpy(group->ties + row, sums[i].ties, sizeof sums[i].ties);
            for (int k = 0; k < FB_LANES; k++)
                group->rest[row + k] = FN(rest_of)(lanes[i].sum[0][k], lanes[i].lost[0][k],
                                                   sums[i].peaks.max[k], sums[i].ties[k]);
        }
    } else {
        SIGNED_BITS ties[FB_ACROSS / FB_LANES][FB_LANES] FB_ALIGNED; /* rows of two vectors count once */
        memset(total, 0, (size_t)vectors * sizeof *total);
        memset(ties, 0, (size_t)vectors * sizeof *ties);
        for (int64_t begin = 0; begin < classes; begin += FB_PIECE) {
            const int64_t end = classes - begin < FB_PIECE ? classes : begin + FB_PIECE;
            for (int64_t i = 0; i < vectors; i++)
                FN(begin_sums)(&sums[i], end - begin, 0, FB_LANES);
            FN(across_piece)(place, begin, end, count, 0, FB_LANES, sums);
            for (int64_t i = 0; i < vectors; i++)
                FN(merge_sums)(&sums[i], &total[i], ties[i]);
        }
        for (int64_t i = 0; i < vectors; i++) {
            const int64_t row = FN(vector_of)(i, count);
            FN(lane_totals)(total[i].sum, total[i].lost, sums[i].peaks.max, ties[i], group->rest + row);
            memcpy(group->ties + row, ties[i], sizeof ties[i]);
        }
    }
    FN(label_exp)(group, count);
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
    if (!rows->grad)
        return;
    FN(tile_grad)(count, e, apart, classes, group->factor, NULL, group->weight, ahead);
    for (int64_t i = 0; i < count; i++)
        e[group->label[i] * apart + i] = group->entry[i];
}
