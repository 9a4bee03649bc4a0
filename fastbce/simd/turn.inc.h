/* Transposing: classes lie apart where the class axis is not the last one, and rows lie apart where a vector holds one
 * class of many rows. */

/* The elements of a and b, by index, b's from FB_SIDE on. */
#if defined(__clang__) || __GNUC__ >= 12
#define FB_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FB_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

#define FB_LOW(j, h) ((j) & (h) ? FB_SIDE + (j) - (h) : (j))
#define FB_HIGH(j, h) ((j) & (h) ? FB_SIDE + (j) : (j) + (h))

/* The first exchange, of single elements. Every instruction set has it for two doubles. For four floats they have a zip
 * instead, which leaves rows 1 and 2 of four in each other's place. */
#define FB_ZIP(j, from) (((j) & 1 ? FB_SIDE : 0) + ((j) & ~3) + ((j) >> 1 & 1) + (from))
#define FB_FIRST_LOW(j, h) (sizeof(REAL) == 4 ? FB_ZIP(j, 0) : FB_LOW(j, h))
#define FB_FIRST_HIGH(j, h) (sizeof(REAL) == 4 ? FB_ZIP(j, 2) : FB_HIGH(j, h))
#define FB_PLACE(i) (sizeof(REAL) == 4 ? ((i) & ~3) + ((i) & 1) * 2 + ((i) >> 1 & 1) : (i))

#define FB_ALL_2(f, h) f(0, h), f(1, h)
#define FB_ALL_4(f, h) FB_ALL_2(f, h), f(2, h), f(3, h)
#define FB_ALL_8(f, h) FB_ALL_4(f, h), f(4, h), f(5, h), f(6, h), f(7, h)
#define FB_ALL_16(f, h)                                                                                      \
    FB_ALL_8(f, h), f(8, h), f(9, h), f(10, h), f(11, h), f(12, h), f(13, h), f(14, h), f(15, h)

#define FB_WIDEST (FB_VECTOR_BYTES / REAL_BYTES)
#if FB_WIDEST >= 16
#define FB_SIDE 16
#include "square.inc.h"
#endif
#if FB_WIDEST >= 8
#define FB_SIDE 8
#include "square.inc.h"
#endif
#if FB_WIDEST >= 4
#define FB_SIDE 4
#include "square.inc.h"
#endif
#if REAL_BYTES == 8
#define FB_SIDE 2
#include "square.inc.h"
#endif

/* to[k][i] = from[i][k] for m rows of n, by squares of that side, or element by element. apart: as in square.inc.h. */
FB_INLINE void FN(turn_by)(int64_t side, int64_t m, int64_t n, const REAL *from, int64_t stride, REAL *to,
                           int64_t to_stride, int apart)
{
#if FB_WIDEST >= 16
    if (side >= 16) {
        FN(turn_all_16)(m, n, from, stride, to, to_stride, apart);
        return;
    }
#endif
#if FB_WIDEST >= 8
    if (side >= 8) {
        FN(turn_all_8)(m, n, from, stride, to, to_stride, apart);
        return;
    }
#endif
#if FB_WIDEST >= 4
    if (side >= 4) {
        FN(turn_all_4)(m, n, from, stride, to, to_stride, apart);
        return;
    }
#endif
#if REAL_BYTES == 8
    if (side >= 2) {
        FN(turn_all_2)(m, n, from, stride, to, to_stride, apart);
        return;
    }
#endif
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < m; i++)
            to[k * to_stride + i] = from[i * stride + k];
}

/* The same by the largest squares, but what fills no more than half of one by smaller ones. */
FB_INLINE void FN(transpose)(int64_t m, int64_t n, const REAL *from, int64_t stride, REAL *to,
                             int64_t to_stride, int apart)
{
    const int64_t least = m < n ? m : n, smallest = 16 / REAL_BYTES;
    int64_t side = FB_WIDEST;
    while (side > least && side > 1)
        side /= 2;
    const int64_t half = side / 2, rows = m % side, columns = n % side;
    if (half >= smallest && apart == FB_NEITHER && columns > 0 && columns <= half) {
        FN(turn_by)(side, m, n - columns, from, stride, to, to_stride, apart);
        FN(turn_by)(half, m, half, from + n - half, stride, to + (n - half) * to_stride, to_stride, apart);
    } else if (half >= smallest && apart == FB_NEITHER && rows > 0 && rows <= half) {
        FN(turn_by)(side, m - rows, n, from, stride, to, to_stride, apart);
        FN(turn_by)(half, half, n, from + (m - half) * stride, stride, to + m - half, to_stride, apart);
    } else
        FN(turn_by)(side, m, n, from, stride, to, to_stride, apart);
}

/* Rows of classes that lie across memory, next to each other; and back. */
static void FN(turn_rows_in)(int64_t rows, int64_t classes, const void *from, int64_t stride, void *to)
{
    FN(transpose)(classes, rows, from, stride, to, classes, FB_FROM);
}

static void FN(turn_rows_out)(int64_t rows, int64_t classes, const void *from, int64_t stride, void *to)
{
    FN(transpose)(rows, classes, from, classes, to, stride, FB_TO);
}

#undef FB_SHUFFLE
#undef FB_LOW
#undef FB_HIGH
#undef FB_ZIP
#undef FB_FIRST_LOW
#undef FB_FIRST_HIGH
#undef FB_PLACE
#undef FB_ALL_2
#undef FB_ALL_4
#undef FB_ALL_8
#undef FB_ALL_16
#undef FB_WIDEST
