/* Transposing: classes lie apart where the class axis is not the last one, and rows lie apart where a vector holds one
 * class of many rows. */

/* A square, transposed: GCC and clang make shuffles of this. */
FB_INLINE void FN(turn)(const REAL *restrict from, int64_t stride, REAL *restrict to)
{
    for (int i = 0; i < FB_LANES; i++)
        for (int k = 0; k < FB_LANES; k++)
            to[i * FB_LANES + k] = from[k * stride + i];
}

/* to[k][i] = from[i][k] for m x n elements, square by square. */
FB_INLINE void FN(turn_square)(int64_t m, int64_t n, const REAL *from, int64_t stride, REAL *to,
                               int64_t to_stride)
{
    REAL square[FB_LANES][FB_LANES] FB_ALIGNED;
    if (m >= FB_LANES && n >= FB_LANES) {
        FN(turn)(from, stride, square[0]);
        for (int64_t k = 0; k < FB_LANES; k++)
            memcpy(to + k * to_stride, square[k], sizeof square[k]);
    } else {
        for (int64_t k = 0; k < n && k < FB_LANES; k++)
            for (int64_t i = 0; i < m && i < FB_LANES; i++)
                to[k * to_stride + i] = from[i * stride + k];
    }
}

/* Rows of classes that lie across memory, next to each other; and back. Squares follow each other along memory. */
static void FN(turn_rows_in)(int64_t rows, int64_t classes, const void *from_, int64_t stride, void *to_)
{
    const REAL *from = from_;
    REAL *to = to_;
    for (int64_t c = 0; c < classes; c += FB_LANES)
        for (int64_t i = 0; i < rows; i += FB_LANES)
            FN(turn_square)(classes - c, rows - i, from + c * stride + i, stride, to + i * classes + c,
                            classes);
}

static void FN(turn_rows_out)(int64_t rows, int64_t classes, const void *from_, int64_t stride, void *to_)
{
    const REAL *from = from_;
    REAL *to = to_;
    for (int64_t c = 0; c < classes; c += FB_LANES)
        for (int64_t i = 0; i < rows; i += FB_LANES)
            FN(turn_square)(rows - i, classes - c, from + i * classes + c, classes, to + c * stride + i,
                            stride);
}
