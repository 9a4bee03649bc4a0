/* The end of a sum: 32 lanes to one number, and numbers to their sum, with what rounding took kept beside it. */
#ifndef FASTBCE_SUM_H
#define FASTBCE_SUM_H

#include <math.h>
#include <string.h>

#include "kernels.h"

/* Add value, exactly: Knuth's two-sum. */
static inline void fb_sum_add(fb_sum *total, double value)
{
    const double sum = total->sum + value;
    const double part = sum - total->sum;
    total->lost += (total->sum - (sum - part)) + (value - part);
    total->sum = sum;
}

/* Add the second half of the lanes to the first. Inlined, with constants, so that it vectorises. */
static inline __attribute__((always_inline)) void fb_fold(int half, double *sum, double *lost, int keeps)
{
    for (int lane = 0; lane < half; lane++) {
        const double value = sum[lane + half], total = sum[lane] + value, part = total - sum[lane];
        if (keeps)
            lost[lane] += lost[lane + half] + ((sum[lane] - (total - part)) + (value - part));
        sum[lane] = total;
    }
}

/* The lanes, in pairs: 16 sums of two, then 8, 4, 2 and 1; keeps: with what rounding takes. Inlined, too: for the instruction
 * set of the kernel. */
static inline __attribute__((always_inline)) fb_sum fb_sum_lanes(double *sum, double *lost, int keeps)
{
    fb_fold(16, sum, lost, keeps);
    fb_fold(8, sum, lost, keeps);
    fb_fold(4, sum, lost, keeps);
    fb_fold(2, sum, lost, keeps);
    fb_fold(1, sum, lost, keeps);
    const fb_sum result = {sum[0], keeps ? lost[0] : 0};
    return result;
}

/* The sum rounded once. What was lost is nan when a term is infinite: the infinity is the sum. */
static inline double fb_sum_value(fb_sum total)
{
    return isfinite(total.sum) ? total.sum + total.lost : total.sum;
}

#endif
