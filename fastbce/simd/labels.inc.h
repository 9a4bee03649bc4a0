/* Labels of one dtype, FB_SOURCE. Included once a dtype. */

static void FB_CAT(load_, FB_NAME)(int64_t n, const char *from, int64_t stride, int swapped, void *to_)
{
    int64_t *to = to_;
    for (int64_t i = 0; i < n; i++) {
        FB_SOURCE value;
        memcpy(&value, from + i * stride, sizeof value); /* any alignment, and read once */
        if (swapped)
            fb_reverse(&value, sizeof value);
        to[i] = FB_CONVERT(value);
    }
}

#undef FB_NAME
#undef FB_SOURCE
#undef FB_CONVERT
