/* Labels of one dtype, FB_SOURCE. Included once a dtype. */

FB_INLINE int64_t FB_CAT(read_, FB_NAME)(const char *at, int swapped)
{
    FB_SOURCE value;
    memcpy(&value, at, sizeof value); /* any alignment, and read once */
    if (swapped)
        fb_reverse(&value, sizeof value);
    return FB_CONVERT(value);
}

static void FB_CAT(load_, FB_NAME)(int64_t n, const char *restrict from, int64_t stride, int swapped,
                                   void *to_)
{
    int64_t *restrict to = to_;
    const int64_t size = sizeof(FB_SOURCE);
    if (stride == size && !swapped)
        for (int64_t i = 0; i < n; i++)
            to[i] = FB_CAT(read_, FB_NAME)(from + i * size, 0);
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = FB_CAT(read_, FB_NAME)(from + i * stride, swapped);
}

#undef FB_NAME
#undef FB_SOURCE
#undef FB_CONVERT
