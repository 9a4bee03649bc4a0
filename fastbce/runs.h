/* Short runs of bytes, the same distance from each other: they are copied by pieces of a constant size, of which the last one may
 * overlap the one before. memcpy would take longer to begin than to copy. */
#ifndef FASTBCE_RUNS_H
#define FASTBCE_RUNS_H

#include <stdint.h>
#include <string.h>

static inline void fb_copy_run(int64_t bytes, const char *from, char *to)
{
    if (bytes >= 16) {
        for (int64_t i = 0; i < bytes - 16; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + bytes - 16, from + bytes - 16, 16);
    } else if (bytes >= 8) {
        memcpy(to, from, 8);
        memcpy(to + bytes - 8, from + bytes - 8, 8);
    } else {
        memcpy(to, from, 4); /* of one float */
    }
}

/* So many bytes of runs that are `run` bytes long and lie `stride` bytes apart, from byte `first` of the first of them on, to the
 * buffer; or, where they are not read, from it. */
static inline void fb_copy_runs(char *array, int64_t stride, int64_t run, int64_t first, int64_t bytes,
                                char *buffer, int read)
{
    for (int64_t left = bytes, n; left > 0; left -= n, buffer += n, array += stride, first = 0) {
        n = run - first < left ? run - first : left;
        if (read)
            fb_copy_run(n, array + first, buffer);
        else
            fb_copy_run(n, buffer, array + first);
    }
}

#endif
