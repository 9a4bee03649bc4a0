/* Softmax cross-entropy of class labels where the class axis is not the last one, of many classes, with a gradient and no more:
 * rows as in across.inc.h, but in copies, of two groups at a time.
 *
 * While exponentials keep the CPU busy, the gradient of the group before is written, and the group after is read, and its maxima
 * found: each element comes from memory once and goes there once, all the while. And a copy lies together, where classes a power
 * of two apart would compete for the same few lines of the caches. Up to twice as fast (measured), where it is worth it: see
 * copied_rows of _routes.pyx. Sums are taken in the order of across.inc.h: the same bits. */

/* Classes of a step: two of each lane, which are added as in exp_piece. And how many classes ahead memory is asked for, at least:
 * fewer where a vector is one cache line, as in float, and it comes from the caches (a tenth less time, measured). */
enum { FN(COPIED_STEP) = 2 * FB_LANES, FN(COPIED_AHEAD) = 2 * FN(COPIED_STEP), FN(COPIED_AHEAD_NEAR) = 16 };
enum { FN(IS_LINE) = sizeof(REAL) * FB_LANES == 64 };

/* A group of rows: the i-th vector is copied to copy + i * classes * FB_LANES, class after class. */
typedef struct {
    int64_t start, count, vectors, next; /* next: where the group after it starts */
    const REAL *x;
    REAL *grad, *copy;
    FN(group) group;
    REAL max[FB_ACROSS]; /* vector by vector */
} FN(copied);

/* A vector of rows whose exponentials are computed. And what is done beside it: a vector of the group before, whose copy lies
 * `there`, goes to the gradient; then one of the group after takes its place. */
typedef struct {
    REAL *here, *there, *grad;
    const REAL *x;
    int64_t grad_apart, x_apart;
    /* How far ahead memory is asked for; and, where a vector is one cache line, how far that of the vector beside it lies, which is
     * asked for at once: twice as many lines of a page, half as often. (0, for the second of two, is the line that is read.) */
    int64_t grad_ahead, x_ahead, neighbour;
    const REAL *factor, *weight; /* of the group before */
    REAL *max;                   /* of the group after */
} FN(beside);

FB_INLINE void FN(fetch_beside)(FN(beside) beside, const REAL *vector)
{
    FN(fetch_vector)(vector);
    if (FN(IS_LINE))
        FN(fetch_vector)(vector + beside.neighbour);
}

/* factor, weight, max: copies of those of beside, which stay in registers. */
FB_INLINE void FN(work_beside)(FN(beside) beside, int64_t c, int writes, int reads, const REAL *factor,
                               const REAL *weight, REAL *max)
{
    REAL *there = beside.there + c * FB_LANES;
    if (writes) {
        REAL *grad = beside.grad + c * beside.grad_apart;
        FN(fetch_beside)(beside, grad + beside.grad_ahead);
        FN(vector_grad)(there, factor, NULL, weight, grad);
    }
    if (reads) {
        const REAL *x = beside.x + c * beside.x_apart;
        FN(fetch_beside)(beside, x + beside.x_ahead);
        FB_INDEPENDENT
        FB_ROLLED
        for (int i = 0; i < FB_LANES; i++) {
            there[i] = x[i];
            max[i] = x[i] > max[i] ? x[i] : max[i];
        }
    }
}

#ifndef FB_END_EXP
/* So many classes are read and written, then as many exponentials computed: memory has time in between. (All of a step at once
 * took up to 5 % more time in some runs, the same in others.) */
enum { FN(COPIED_PART) = 8 };
#endif

/* Exponentials from class c on, and n sums, the k-th of class c + k and, if they are two, of c + k + FB_LANES. No sums: only
 * what is beside n classes. */
FB_INLINE void FN(copied_classes)(FN(beside) beside, int64_t c, int64_t n, int are_two,
                                  FN(across_sums) * sums, int writes, int reads)
{
    REAL *first = sums ? beside.here + c * FB_LANES : NULL;
    REAL factor[FB_LANES] FB_ALIGNED, weight[FB_LANES] FB_ALIGNED, best[FB_LANES] FB_ALIGNED;
    SIGNED_BITS ties[FB_LANES] FB_ALIGNED;
    if (writes) {
        memcpy(factor, beside.factor, sizeof factor);
        memcpy(weight, beside.weight, sizeof weight);
    }
    if (reads)
        memcpy(best, beside.max, sizeof best);
    if (sums)
        memcpy(ties, sums->ties, sizeof ties);
#ifdef FB_END_EXP
    REAL two[FB_LANES] FB_ALIGNED = {0};
    FN(peaks) peaks FB_ALIGNED;
    if (sums)
        FN(copy_peaks)(&sums->peaks, &peaks);
    for (int64_t k = 0; k < n; k++) {
        FN(work_beside)(beside, c + k, writes, reads, factor, weight, best);
        if (!sums)
            continue;
        REAL *e = first + k * FB_LANES, *second = e + FB_LANES * FB_LANES;
        FN(exp_add)(e, &peaks, e, two, ties);
        if (are_two) {
            FN(work_beside)(beside, c + k + FB_LANES, writes, reads, factor, weight, best);
            FN(exp_add)(second, &peaks, second, two, ties);
        }
        FN(exp_flush)(two, sums->lanes->sum[k], sums->lanes->lost[k]);
    }
#else
    const int64_t all = are_two ? 2 * n : n;
    for (int64_t at = 0, stop; at < all; at = stop) {
        stop = all - at < FN(COPIED_PART) ? all : at + FN(COPIED_PART);
        for (int64_t k = at; k < stop; k++)
            FN(work_beside)(beside, c + k, writes, reads, factor, weight, best);
        if (sums) {
            REAL *e = first + at * FB_LANES;
            FN(exp_strip)(stop - at, e, FB_LANES, &sums->peaks, e, FB_LANES);
        }
    }
    for (int64_t k = 0; k < n && sums; k++) {
        const REAL *e = first + k * FB_LANES;
        FN(strip_add)(e, are_two ? e + FB_LANES * FB_LANES : NULL, sums->lanes->sum[k], sums->lanes->lost[k],
                      ties);
    }
#endif
    if (sums)
        memcpy(sums->ties, ties, sizeof ties);
    if (reads)
        memcpy(beside.max, best, sizeof best);
}

/* Classes c .. stop of a step. */
FB_INLINE void FN(copied_step)(FN(beside) beside, int64_t c, int64_t stop, FN(across_sums) * sums, int writes,
                               int reads)
{
    if (stop - c == FN(COPIED_STEP)) {
        FN(copied_classes)(beside, c, FB_LANES, 1, sums, writes, reads);
        return;
    }
    for (; c < stop; c += FB_LANES)
        FN(copied_classes)(beside, c, stop - c < FB_LANES ? stop - c : FB_LANES, 0, sums, writes, reads);
}

/* What is beside the i-th vector of a group, for the step that begins with class c. Behind the last class memory is asked for
 * rows further on. */
FB_INLINE FN(beside)
    FN(beside_of)(const fb_rows *rows, const FN(copied) * before, FN(copied) * after, int64_t c, int64_t i)
{
    const int64_t size = rows->classes * FB_LANES;
    const int64_t fewest = FN(IS_LINE) && rows->near ? FN(COPIED_AHEAD_NEAR) : FN(COPIED_AHEAD);
    /* so many more that no step has but some of its classes behind the last one */
    const int64_t ahead = fewest + (rows->classes - fewest) % FN(COPIED_STEP);
    const int is_last = c + ahead >= rows->classes;
    const int64_t classes_on = is_last ? ahead - rows->classes : ahead, rows_on = is_last ? rows->group : 0;
    FN(beside)
    beside = {.there = after->copy + i * size,
              .grad_apart = rows->apart.grad,
              .x_apart = rows->apart.x,
              .max = after->max + i * FB_LANES};
    if (i % 2 == 0 || !FN(IS_LINE)) {
        beside.grad_ahead = classes_on * rows->apart.grad + rows_on;
        beside.x_ahead = classes_on * rows->apart.x + rows_on;
        beside.neighbour = (i + 1) * FB_LANES < rows->group ? FB_LANES : 0;
    }
    if (i < before->vectors) {
        const int64_t row = FN(vector_of)(i, before->count);
        beside.grad = before->grad + row;
        beside.factor = before->group.factor + row;
        beside.weight = before->group.weight + row;
    }
    if (i < after->vectors)
        beside.x = after->x + FN(vector_of)(i, after->count);
    return beside;
}

/* The exponentials of a group, in its copy, and their sums. */
FB_INLINE void FN(copied_exp)(const fb_rows *rows, const FN(copied) * before, FN(copied) * here,
                              FN(copied) * after)
{
    const int64_t classes = rows->classes, vectors = here->vectors;
    FN(across_sums) sums[FB_ACROSS / FB_LANES] FB_ALIGNED;
    FN(across_lanes) lanes[FB_ACROSS / FB_LANES] FB_ALIGNED, total[FB_ACROSS / FB_LANES] FB_ALIGNED;
    SIGNED_BITS ties[FB_ACROSS / FB_LANES][FB_LANES] FB_ALIGNED;
    memset(total, 0, (size_t)vectors * sizeof *total);
    memset(ties, 0, (size_t)vectors * sizeof *ties);
    for (int64_t i = 0; i < vectors; i++) {
        FN(set_peaks)(here->max + i * FB_LANES, &sums[i].peaks);
        sums[i].lanes = &lanes[i];
    }
    for (int64_t begin = 0; begin < classes; begin += FB_PIECE) {
        const int64_t end = classes - begin < FB_PIECE ? classes : begin + FB_PIECE;
        const int64_t whole = begin + ((end - begin) & -FB_LANES);
        int64_t stop;
        for (int64_t i = 0; i < vectors; i++)
            FN(begin_sums)(&sums[i], end - begin, 0, FB_LANES);
        for (int64_t c = begin; c < end; c = stop) {
            const int64_t limit = c < whole ? whole : end;
            stop = limit - c < FN(COPIED_STEP) ? limit : c + FN(COPIED_STEP);
            for (int64_t i = 0; i < vectors; i++) {
                const int writes = i < before->vectors, reads = i < after->vectors;
                FN(beside) beside = FN(beside_of)(rows, before, after, c, i);
                beside.here = here->copy + i * classes * FB_LANES;
                if (writes && reads) /* as constants */
                    FN(copied_step)(beside, c, stop, &sums[i], 1, 1);
                else
                    FN(copied_step)(beside, c, stop, &sums[i], writes, reads);
            }
        }
        for (int64_t i = 0; i < vectors; i++)
            FN(merge_sums)(&sums[i], &total[i], ties[i]);
    }
    for (int64_t i = 0; i < vectors; i++) {
        const int64_t row = FN(vector_of)(i, here->count);
        memcpy(here->group.max + row, sums[i].peaks.max, sizeof sums[i].peaks.max);
        memcpy(here->group.ties + row, ties[i], sizeof ties[i]);
        FN(lane_totals)(total[i].sum, total[i].lost, sums[i].peaks.max, ties[i], here->group.rest + row);
    }
}

/* What is beside no exponentials, from the i-th vector on. */
FB_INLINE void FN(copied_alone)(const fb_rows *rows, const FN(copied) * before, FN(copied) * after, int64_t i)
{
    const int64_t classes = rows->classes;
    for (int64_t c = 0; c < classes; c += FN(COPIED_STEP)) {
        const int64_t n = classes - c < FN(COPIED_STEP) ? classes - c : FN(COPIED_STEP);
        for (int64_t k = i; k < before->vectors || k < after->vectors; k++)
            FN(copied_classes)(FN(beside_of)(rows, before, after, c, k), c, n, 0, NULL, k < before->vectors,
                               k < after->vectors);
    }
}

/* Runs of so many rows are worth a first group that is smaller. */
enum { FN(COPIED_LONG) = 16 * FB_LANES };

/* How many rows of a run lie before the first whole cache line, where all classes begin at the same place of one. (NumPy's
 * large arrays begin 16 bytes after a line. Else each vector would take two, a sixth more time, measured.) */
FB_INLINE int64_t FN(before_line)(const fb_rows *rows, const REAL *x)
{
    const int64_t line = 64 / sizeof(REAL);
    if (rows->run < FN(COPIED_LONG) || rows->apart.x % line != 0)
        return 0;
    return (int64_t)((-(uintptr_t)x & 63) / sizeof(REAL));
}

/* The group that starts with a row, which is none if that is the end. A run's last rows, if they fill no vector, are done with
 * some of those before; its first ones, if they lie before a cache line, with some of those after: also if logits are
 * overwritten, for a group is read before the gradient of its neighbour is written. */
FB_INLINE void FN(begin_copied)(const fb_rows *rows, int64_t start, FN(copied) * to)
{
    const int64_t run = start / rows->run, at = start % rows->run, left = rows->run - at;
    const REAL *x = (const REAL *)rows->x + run * rows->x_beyond;
    const int64_t before = at == 0 ? FN(before_line)(rows, x) : 0;
    const int64_t most = before > 0 ? before + rows->group - FB_LANES : rows->group;
    const int64_t new = left < most ? left : most, again = new < FB_LANES && at > 0 ? FB_LANES - new : 0;
    to->vectors = to->count = 0;
    to->next = start + new;
    if (start >= rows->rows)
        return;
    to->start = start - again;
    to->count = new < FB_LANES ? FB_LANES : new;
    to->vectors = FN(vectors_of)(to->count);
    to->x = x + at - again;
    to->grad = (REAL *)rows->grad + run * rows->grad_beyond + at - again;
    for (int64_t i = 0; i < to->vectors * FB_LANES; i++)
        to->max[i] = (REAL)-INFINITY;
}

/* The entries of the labels. */
FB_INLINE void FN(write_entries)(const fb_rows *rows, const FN(copied) * from)
{
    for (int64_t i = 0; i < from->count; i++)
        from->grad[from->group.label[i] * rows->apart.grad + i] = from->group.entry[i];
}

/* Groups of rows, each copied to where the one before the one before it was. Returns the first row whose label is wrong, or -1. */
static int64_t FN(labels_copied)(const fb_rows *rows)
{
    FN(copied) groups[3] FB_ALIGNED;
    FN(copied) *before = &groups[0], *here = &groups[1], *after = &groups[2];
    REAL loss[FB_ACROSS] FB_ALIGNED;
    int64_t bad = -1;
    here->copy = rows->scratch;
    before->copy = here->copy + rows->classes * rows->group;
    FN(begin_copied)(rows, rows->rows, before);
    FN(begin_copied)(rows, 0, here);
    FN(copied_alone)(rows, before, here, 0);
    while (here->count > 0) {
        const int64_t count = here->count, padded = (count + FB_LANES - 1) & -FB_LANES;
        FN(group) *group = &here->group;
        /* Labels read their logits before anything is written: the gradient of the group before may take the place of some. */
        FN(fill_up)(group, count, padded);
        const int64_t found = FN(read_labels)(group, rows, here->x, here->start, count, FN(LABELS));
        bad = bad < 0 ? found : bad;
        after->copy = before->copy;
        FN(begin_copied)(rows, here->next, after);
        FN(copied_alone)(rows, before, after, here->vectors);
        FN(copied_exp)(rows, before, here, after);
        FN(write_entries)(rows, before);
        FN(label_exp)(group, count);
        if (rows->class_weight)
            FN(keep_nan)(group, count);
        FN(finish)(group, padded, FN(LABELS), rows, loss);
        memcpy((REAL *)rows->loss + here->start, loss, (size_t)count * sizeof(REAL));
        FN(copied) *spare = before;
        before = here;
        here = after;
        after = spare;
    }
    here->copy = before->copy;
    FN(copied_alone)(rows, before, here, 0);
    FN(write_entries)(rows, before);
    return bad;
}
