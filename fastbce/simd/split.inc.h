/* Rows of many classes, of labels, by any number of threads: one that lies along memory, or FB_LANES and more across it, or a few
 * that are interleaved. Logits are not overwritten, and there is no Hessian.
 *
 * In steps, each done by all threads before the next one: maxima, by slices of the classes; exponentials and their sums, by
 * pieces of the classes and, across memory, parts of the lanes; what rows come to, by parts of the rows; gradient and
 * probabilities, by slices. (One thread brings the maxima of all slices together.) The last slice comes first: so each step begins
 * where the one before it ended, with what the caches still hold (up to a tenth less time, measured).
 * Rows across memory are worked on together, class after class, which is how they lie: a few at a time would touch every page
 * for each few (twice the time for 64, measured). The bits are those of all_rows. */

/* What the steps have to know of each other: of each row, see group; the maxima of each slice; and the sums of each piece, one
 * exp_lanes, or turn_sums, or across_lanes for each vector, behind which each part has across_sums for each vector. */
typedef struct {
    int64_t *label;
    REAL *weight, *factor, *entry, *inverse, *maxima;
    char *sums;
    size_t sums_size; /* of a piece */
    int64_t apart;    /* from the maxima of one slice to those of the next */
} FN(split);

/* Rows, up to whole cache lines of what is known of them. */
FB_INLINE int64_t FN(split_rows)(const fb_rows *rows)
{
    return (rows->rows + 63) & -64;
}

FB_INLINE size_t FN(split_sums_size)(const fb_rows *rows)
{
    if (rows->interleaved)
        return (size_t)FN(turn_sums_size)(rows->rows);
    const size_t of_vector = sizeof(FN(across_lanes)) + (size_t)rows->parts * sizeof(FN(across_sums));
    return rows->apart.x ? (size_t)FN(vectors_of)(rows->rows) * of_vector : sizeof(FN(exp_lanes));
}

FB_INLINE FN(split) FN(split_of)(const fb_rows *rows)
{
    const int64_t n = FN(split_rows)(rows);
    FN(split) split = {.label = rows->state, .apart = n, .sums_size = FN(split_sums_size)(rows)};
    split.weight = (REAL *)(split.label + n);
    split.factor = split.weight + n;
    split.entry = split.factor + n;
    split.inverse = split.entry + n;
    split.maxima = split.inverse + n;
    split.sums = (char *)(split.maxima + rows->slices * n);
    return split;
}

FB_INLINE int64_t FN(pieces_of)(const fb_rows *rows)
{
    return (rows->classes + FB_PIECE - 1) / FB_PIECE;
}

static size_t FN(split_size)(const fb_rows *rows)
{
    const size_t of_row = sizeof(int64_t) + (4 + (size_t)rows->slices) * sizeof(REAL);
    return (size_t)FN(split_rows)(rows) * of_row + (size_t)FN(pieces_of)(rows) * FN(split_sums_size)(rows);
}

/* Where a slice of the classes begins. */
FB_INLINE int64_t FN(slice_of)(const fb_rows *rows, int64_t slice)
{
    return rows->classes * slice / rows->slices;
}

/* Where one of so many parts of the rows begins, all whole vectors but the last. */
FB_INLINE int64_t FN(part_of)(const fb_rows *rows, int64_t part, int64_t parts)
{
    return part == parts ? rows->rows : rows->rows / FB_LANES * part / parts * FB_LANES;
}

static void FN(split_max)(const fb_rows *rows, int64_t slice)
{
    const int64_t first = FN(slice_of)(rows, slice), n = FN(slice_of)(rows, slice + 1) - first;
    const FN(split) split = FN(split_of)(rows);
    REAL *max = split.maxima + slice * split.apart;
    if (rows->interleaved)
        FN(interleaved_max)((const REAL *)rows->x + first * rows->rows, n, rows->rows, max);
    else if (rows->apart.x)
        FN(across_max)((const REAL *)rows->x + first * rows->apart.x, rows->apart.x, n, rows->rows, max);
    else
        *max = FN(row_max)(n, (const REAL *)rows->x + first);
}

/* The maxima of the rows take the place of those of the first slice. */
static void FN(split_maxima)(const fb_rows *rows)
{
    const FN(split) split = FN(split_of)(rows);
    REAL *max = split.maxima;
    for (int64_t slice = 1; slice < rows->slices; slice++) {
        const REAL *of_slice = max + slice * split.apart;
        for (int64_t i = 0; i < rows->rows; i++)
            max[i] = of_slice[i] > max[i] ? of_slice[i] : max[i];
    }
}

/* Not inlined: float64 would take a sixth more time (GCC 12). */
static __attribute__((noinline)) void FN(split_across)(FN(across_place) place, int64_t begin, int64_t end,
                                                       int64_t count, int64_t first, int64_t last,
                                                       FN(across_sums) * sums)
{
    FN(across_piece)(place, begin, end, count, first, last, sums);
}

/* How many of n classes belong to lanes first .. last. */
FB_INLINE int64_t FN(classes_of)(int64_t n, int64_t first, int64_t last)
{
    const int64_t rest = n % FB_LANES, some = (rest < last ? rest : last) - first;
    return n / FB_LANES * (last - first) + (some > 0 ? some : 0);
}

/* The lanes of a piece; and, across memory, what a part of them has beside. */
FB_INLINE void *FN(lanes_of)(FN(split) split, int64_t piece)
{
    return split.sums + (size_t)piece * split.sums_size;
}

FB_INLINE FN(across_sums) * FN(sums_of)(FN(split) split, const fb_rows *rows, int64_t piece, int64_t part)
{
    const int64_t vectors = FN(vectors_of)(rows->rows);
    FN(across_lanes) *lanes = FN(lanes_of)(split, piece);
    return (FN(across_sums) *)(lanes + vectors) + part * vectors;
}

/* Of a part of the lanes; a row along memory has one. scratch: as many elements as a piece has classes, or as there are rows
 * across memory, used where neither gradient nor probabilities are wanted. */
static void FN(split_exp)(const fb_rows *rows, int64_t piece, int64_t part, void *scratch)
{
    const int64_t first = piece * FB_PIECE, left = rows->classes - first;
    const int64_t n = left < FB_PIECE ? left : FB_PIECE;
    const FN(split) split = FN(split_of)(rows);
    if (rows->interleaved) {
        REAL nowhere[FN(MOST_TURN)] FB_ALIGNED;
        FN(across_place) place = {.x = (const REAL *)rows->x + first * rows->rows};
        place.x_apart = FB_LANES * rows->rows;
        place.e = FN(across_exp)(rows, first * rows->rows, nowhere, &place.e_apart);
        place.e_apart *= FB_LANES;
        place.x_ahead = FB_EIGHT * place.x_apart;
        place.e_ahead = FB_EIGHT * place.e_apart;
        FN(interleaved_exp)(place, n, rows->rows, split.maxima,
                            FN(turn_sums_at)(FN(lanes_of)(split, piece), rows->rows));
    } else if (rows->apart.x) {
        const int64_t lane = FB_LANES * part / rows->parts, stop = FB_LANES * (part + 1) / rows->parts;
        FN(across_lanes) *lanes = FN(lanes_of)(split, piece);
        FN(across_sums) *sums = FN(sums_of)(split, rows, piece, part);
        FN(across_place) place = {.x = rows->x, .x_apart = rows->apart.x};
        place.e = FN(across_exp)(rows, 0, scratch, &place.e_apart);
        place.x_ahead = FB_FOUR * FB_LANES * place.x_apart;
        place.e_ahead = FB_FOUR * FB_LANES * place.e_apart;
        for (int64_t i = 0; i < FN(vectors_of)(rows->rows); i++) {
            FN(set_peaks)(split.maxima + FN(vector_of)(i, rows->rows), &sums[i].peaks);
            sums[i].lanes = &lanes[i];
            FN(begin_sums)(&sums[i], FN(classes_of)(n, lane, stop), lane, stop);
        }
        FN(split_across)(place, first, first + n, rows->rows, lane, stop, sums);
    } else {
        REAL *e = rows->grad ? rows->grad : rows->proba;
        e = e ? e + first : scratch;
        FN(exp_piece)(n, (const REAL *)rows->x + first, NULL, split.maxima[0], e, FN(lanes_of)(split, piece),
                      NULL, FN(row_later)(rows, 0, first, e, NULL));
    }
}

/* The sums of all pieces: of one row; */
FB_INLINE void FN(split_total)(const fb_rows *rows, FN(group) * group)
{
    const FN(split) split = FN(split_of)(rows);
    FN(exp_lanes) lanes[FB_LANES] FB_ALIGNED;
    memset(lanes, 0, sizeof lanes);
    for (int64_t piece = 0; piece < FN(pieces_of)(rows); piece++)
        FN(exp_merge)(FN(lanes_of)(split, piece), lanes);
    FN(exp_totals)(lanes, group->max, group->ties, group->rest);
}

/* of rows across memory, from `start` on: of that vector of them, or of up to FB_LANES that are interleaved. */
FB_INLINE void FN(split_totals)(const fb_rows *rows, int64_t start, int64_t vector, FN(group) * group)
{
    const FN(split) split = FN(split_of)(rows);
    FN(across_lanes) total FB_ALIGNED;
    memset(&total, 0, sizeof total);
    for (int k = 0; k < FB_LANES; k++)
        group->ties[k] = 0;
    for (int64_t piece = 0; piece < FN(pieces_of)(rows); piece++) {
        if (rows->interleaved) {
            FN(merge_turn)(FN(turn_sums_at)(FN(lanes_of)(split, piece), rows->rows), rows->rows, start,
                           &total, group->ties);
            continue;
        }
        FN(merge_sums)(FN(sums_of)(split, rows, piece, 0) + vector, &total, group->ties);
        for (int64_t part = 1; part < rows->parts; part++)
            for (int k = 0; k < FB_LANES; k++)
                group->ties[k] += FN(sums_of)(split, rows, piece, part)[vector].ties[k];
    }
    FN(lane_totals)(total.sum, total.lost, group->max, group->ties, group->rest);
}

/* Losses, and what the gradient needs, of one of so many parts. Returns the first row whose label is wrong, or -1. */
static int64_t FN(split_end)(const fb_rows *rows, int64_t part, int64_t parts)
{
    const FN(split) split = FN(split_of)(rows);
    const int64_t from = FN(part_of)(rows, part, parts), all = FN(part_of)(rows, part + 1, parts) - from;
    FN(group) group FB_ALIGNED;
    REAL loss[FB_LANES] FB_ALIGNED;
    int64_t bad = -1;
    for (int64_t i = 0; i < FN(vectors_of)(all); i++) {
        const int64_t count = all < FB_LANES ? all : FB_LANES;
        const int64_t start = from + (all < FB_LANES ? 0 : FN(vector_of)(i, all));
        FN(fill_up)(&group, count, FB_LANES);
        const int64_t found = FN(read_labels)(&group, rows, (const REAL *)rows->x + start, start, count,
                                              FN(LABELS));
        bad = bad < 0 ? found : bad;
        memcpy(group.max, split.maxima + start, (size_t)count * sizeof(REAL));
        if (rows->apart.x)
            FN(split_totals)(rows, start, from / FB_LANES + i, &group);
        else
            FN(split_total)(rows, &group);
        FN(label_exp)(&group, count);
        if (rows->class_weight)
            FN(keep_nan)(&group, count);
        FN(finish)(&group, FB_LANES, FN(LABELS), rows, loss);
        FN(shares)(&group, FB_LANES);
        memcpy((REAL *)rows->loss + start, loss, (size_t)count * sizeof(REAL));
        memcpy(split.label + start, group.label, (size_t)count * sizeof *group.label);
        memcpy(split.weight + start, group.weight, (size_t)count * sizeof(REAL));
        memcpy(split.factor + start, group.factor, (size_t)count * sizeof(REAL));
        memcpy(split.entry + start, group.entry, (size_t)count * sizeof(REAL));
        memcpy(split.inverse + start, group.inverse, (size_t)count * sizeof(REAL));
    }
    return bad;
}

/* Probabilities and gradient, of n classes of a row. */
FB_INLINE void FN(scale_piece)(FN(split) split, int64_t n, const REAL *e, REAL *grad, REAL *proba)
{
    if (proba)
        FN(scale_row)(n, e, split.inverse[0], 0, 0, proba);
    if (grad && split.weight[0] == 0)
        memset(grad, 0, (size_t)n * sizeof(REAL));
    else if (grad)
        FN(scale_row)(n, e, split.factor[0], 0, 0, grad);
}

static void FN(split_scale)(const fb_rows *rows, int64_t slice)
{
    const FN(split) split = FN(split_of)(rows);
    const int64_t first = FN(slice_of)(rows, slice), end = FN(slice_of)(rows, slice + 1), n = end - first;
    const int64_t across = rows->apart.x != 0, grad_apart = across ? rows->apart.grad : 1;
    REAL *grad = rows->grad ? (REAL *)rows->grad + first * grad_apart : NULL;
    REAL *proba = rows->proba ? (REAL *)rows->proba + first * (across ? rows->apart.proba : 1) : NULL;
    REAL *e = grad ? grad : proba;
    if (!across)
        FN(scale_piece)(split, n, e, grad, proba);
    else if (rows->interleaved) {
        if (proba)
            FN(interleaved_scale)(n, rows->rows, e, split.inverse, NULL, proba);
        if (grad)
            FN(interleaved_scale)(n, rows->rows, e, split.factor, split.weight, grad);
    } else {
        if (proba)
            FN(tile_proba)(rows->rows, e, grad ? grad_apart : rows->apart.proba, n, split.inverse, proba,
                           rows->apart.proba, FN(CLASSES_AHEAD));
        if (grad)
            FN(tile_grad)(rows->rows, e, grad_apart, n, split.factor, NULL, split.weight, FN(CLASSES_AHEAD));
    }
    for (int64_t i = 0; i < rows->rows && grad; i++)
        if (split.label[i] >= first && split.label[i] < end)
            grad[(split.label[i] - first) * grad_apart + i] = split.entry[i];
}

/* Interleaved rows, step by step. */
static int64_t FN(labels_interleaved)(const fb_rows *rows)
{
    FN(split_max)(rows, 0);
    for (int64_t piece = 0; piece < FN(pieces_of)(rows); piece++)
        FN(split_exp)(rows, piece, 0, NULL);
    const int64_t bad = FN(split_end)(rows, 0, 1);
    FN(split_scale)(rows, 0);
    return bad;
}
