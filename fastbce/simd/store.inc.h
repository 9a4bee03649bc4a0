/* Writing the type computed in as one dtype, FB_TARGET. Included once a dtype. FB_NARROW, if defined, makes of a number
 * what is stored; FB_NARROW_LANES, of FB_LANES numbers, where the CPU has an instruction for it. */

#ifndef FB_NARROW
#define FB_NARROW(value) (FB_TARGET)(value)
#endif

FB_INLINE void FN(FB_CAT(write_, FB_TARGET_NAME))(REAL value, char *to, int swapped)
{
    FB_TARGET stored = FB_NARROW(value);
    if (swapped)
        fb_reverse(&stored, sizeof stored);
    memcpy(to, &stored, sizeof stored); /* any alignment */
}

static void FN(FB_CAT(store_, FB_TARGET_NAME))(int64_t n, const void *from_, char *restrict to,
                                               int64_t stride, int swapped)
{
    const REAL *restrict from = from_;
    const int64_t size = sizeof(FB_TARGET);
#ifdef FB_NARROW_LANES
    for (; n >= FB_LANES && stride == size && !swapped;
         n -= FB_LANES, from += FB_LANES, to += FB_LANES * size)
        FB_NARROW_LANES(from, to);
#endif
    if (stride == size && !swapped)
        for (int64_t i = 0; i < n; i++)
            FN(FB_CAT(write_, FB_TARGET_NAME))(from[i], to + i * size, 0);
    else
        for (int64_t i = 0; i < n; i++)
            FN(FB_CAT(write_, FB_TARGET_NAME))(from[i], to + i * stride, swapped);
}

#undef FB_TARGET
#undef FB_TARGET_NAME
#undef FB_NARROW
#undef FB_NARROW_LANES
