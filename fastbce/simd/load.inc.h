/* Reading one dtype, FB_SOURCE, as the type computed in. Included once a dtype. FB_WIDEN, if defined, makes a number of
 * what is stored; FB_WIDEN_LANES, FB_LANES numbers of what follows each other, where the CPU has an instruction for it. */

#ifndef FB_WIDEN
#define FB_WIDEN(stored) stored
#endif

#define FB_OWN __builtin_types_compatible_p(FB_SOURCE, REAL)

FB_INLINE REAL FN(FB_CAT(read_, FB_SOURCE_NAME))(const char *at, int swapped, int targets)
{
    FB_SOURCE stored;
    memcpy(&stored, at, sizeof stored); /* any alignment */
    if (swapped)
        fb_reverse(&stored, sizeof stored);
    const __typeof__(FB_WIDEN(stored)) value = FB_WIDEN(stored);
    /* 32 bits of an integer convert faster than 64 */
    const int is_long = (FB_SOURCE)0.5 == 0 && sizeof value == sizeof(int64_t);
    if (targets) /* what is out of range must not be rounded into it */
        return value > 1 || value < 0 ? 2 : is_long ? (REAL)(int32_t)value : (REAL)value;
    return (REAL)value;
}

FB_INLINE void FN(FB_CAT(read_all_, FB_SOURCE_NAME))(int64_t n, const char *restrict from, int64_t stride,
                                                     int swapped, REAL *restrict to, int targets)
{
    const int64_t size = sizeof(FB_SOURCE);
#ifdef FB_WIDEN_LANES
    for (; n >= FB_LANES && stride == size && !swapped && !targets;
         n -= FB_LANES, from += FB_LANES * size, to += FB_LANES)
        FB_WIDEN_LANES(from, to);
#endif
    if (swapped)
        for (int64_t i = 0; i < n; i++)
            to[i] = FN(FB_CAT(read_, FB_SOURCE_NAME))(from + i * stride, 1, targets);
    else if (stride == size)
        for (int64_t i = 0; i < n; i++)
            to[i] = FN(FB_CAT(read_, FB_SOURCE_NAME))(from + i * size, 0, targets);
    else if (stride == 2 * size && FB_OWN) /* every other one, and backwards: as constants, they vectorise */
        for (int64_t i = 0; i < n; i++)
            to[i] = FN(FB_CAT(read_, FB_SOURCE_NAME))(from + i * 2 * size, 0, targets);
    else if (stride == -size && FB_OWN)
        for (int64_t i = 0; i < n; i++)
            to[i] = FN(FB_CAT(read_, FB_SOURCE_NAME))(from - i * size, 0, targets);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = FN(FB_CAT(read_, FB_SOURCE_NAME))(from + i * stride, 0, targets);
}

static void FN(FB_CAT(load_, FB_SOURCE_NAME))(int64_t n, const char *from, int64_t stride, int swapped,
                                              void *to)
{
    FN(FB_CAT(read_all_, FB_SOURCE_NAME))(n, from, stride, swapped, to, 0);
}

static void FN(FB_CAT(load_targets_, FB_SOURCE_NAME))(int64_t n, const char *from, int64_t stride,
                                                      int swapped, void *to)
{
    FN(FB_CAT(read_all_, FB_SOURCE_NAME))(n, from, stride, swapped, to, 1);
}

#undef FB_OWN
#undef FB_SOURCE
#undef FB_SOURCE_NAME
#undef FB_WIDEN
#undef FB_WIDEN_LANES
