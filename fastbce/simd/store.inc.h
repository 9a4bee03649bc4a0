/* Writing the type computed in as one dtype, FB_TARGET. Included once a dtype. */

static void FN(FB_CAT(store_, FB_TARGET_NAME))(int64_t n, const void *from_, char *restrict to,
                                               int64_t stride, int swapped)
{
    const REAL *restrict from = from_;
    for (int64_t i = 0; i < n; i++) {
        FB_TARGET value = (FB_TARGET)from[i];
        if (swapped)
            fb_reverse(&value, sizeof value);
        memcpy(to + i * stride, &value, sizeof value);
    }
}

#undef FB_TARGET
#undef FB_TARGET_NAME
