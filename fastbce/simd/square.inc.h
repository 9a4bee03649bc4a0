/* A square of FB_SIDE x FB_SIDE elements, transposed in registers, and all squares of a matrix. */

#define FB_ROW FB_JOIN(FB_CAT(row_, FB_SIDE), FB_DTYPE, FB_ISA)
#define FB_INDEX FB_JOIN(FB_CAT(index_, FB_SIDE), FB_DTYPE, FB_ISA)
#define FB_TURN FB_JOIN(FB_CAT(turn_, FB_SIDE), FB_DTYPE, FB_ISA)
#define FB_TURN_ALL FB_JOIN(FB_CAT(turn_all_, FB_SIDE), FB_DTYPE, FB_ISA)

typedef REAL FB_ROW __attribute__((vector_size(FB_SIDE * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef SIGNED_BITS FB_INDEX __attribute__((vector_size(FB_SIDE * sizeof(REAL)), unused));

/* Of rows i and i + h, what lies on the wrong side of the diagonal changes places, in runs of h elements. */
#define FB_EXCHANGE(h, low, high)                                                                            \
    FB_UNROLLED                                                                                              \
    for (int i = 0; i < FB_SIDE; i++)                                                                        \
        if (!(i & (h))) {                                                                                    \
            const FB_ROW a = row[i], b = row[i + (h)];                                                       \
            row[i] = FB_SHUFFLE(FB_INDEX, a, b, FB_CAT(FB_ALL_, FB_SIDE)(low, h));                           \
            row[i + (h)] = FB_SHUFFLE(FB_INDEX, a, b, FB_CAT(FB_ALL_, FB_SIDE)(high, h));                    \
        }

FB_INLINE void FB_TURN(const REAL *from, int64_t stride, REAL *to, int64_t to_stride)
{
    FB_ROW row[FB_SIDE];
    FB_UNROLLED
    for (int i = 0; i < FB_SIDE; i++)
        row[i] = *(const FB_ROW *)(from + i * stride);
    FB_EXCHANGE(1, FB_FIRST_LOW, FB_FIRST_HIGH)
#if FB_SIDE > 2
    FB_EXCHANGE(2, FB_LOW, FB_HIGH)
#endif
#if FB_SIDE > 4
    FB_EXCHANGE(4, FB_LOW, FB_HIGH)
#endif
#if FB_SIDE > 8
    FB_EXCHANGE(8, FB_LOW, FB_HIGH)
#endif
    FB_UNROLLED
    for (int i = 0; i < FB_SIDE; i++)
        *(FB_ROW *)(to + FB_PLACE(i) * to_stride) = row[i];
}

/* m rows of n, neither less than FB_SIDE. The last squares overlap the ones before. apart: FB_FROM if the rows of `from`
 * lie in pages of their own, then squares follow each other along these, and the next ones are asked for; FB_TO for `to`. */
FB_INLINE void FB_TURN_ALL(int64_t m, int64_t n, const REAL *from, int64_t stride, REAL *to,
                           int64_t to_stride, int apart)
{
    const int64_t outer = apart == FB_FROM ? m : n, inner = apart == FB_FROM ? n : m;
    for (int64_t a = 0; a < outer; a += FB_SIDE)
        for (int64_t b = 0; b < inner; b += FB_SIDE) {
            const int64_t row = apart == FB_FROM ? a : b, column = apart == FB_FROM ? b : a;
            const int64_t i = row < m - FB_SIDE ? row : m - FB_SIDE;
            const int64_t k = column < n - FB_SIDE ? column : n - FB_SIDE;
            for (int j = 0; j < FB_SIDE && apart == FB_FROM && i + FB_SIDE + j < m; j++)
                __builtin_prefetch(from + (i + FB_SIDE + j) * stride + k);
            for (int j = 0; j < FB_SIDE && apart == FB_TO && k + FB_SIDE + j < n; j++)
                __builtin_prefetch(to + (k + FB_SIDE + j) * to_stride + i, 1);
            FB_TURN(from + i * stride + k, stride, to + k * to_stride + i, to_stride);
        }
}

#undef FB_ROW
#undef FB_INDEX
#undef FB_TURN
#undef FB_TURN_ALL
#undef FB_EXCHANGE
#undef FB_SIDE
