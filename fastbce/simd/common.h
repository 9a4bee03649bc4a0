/* What every instruction set's file includes before it opens its target region: standard headers, and the few
 * compiler-specific words. */
#ifndef FASTBCE_COMMON_H
#define FASTBCE_COMMON_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "sum.h"

/* The formulas are inlined into the block loops, or these do not vectorise. */
#define FB_INLINE static inline __attribute__((always_inline))
#define FB_ALIGNED __attribute__((aligned(64)))

/* Rows that few_classes.inc.h takes at once; and those that cross_entropy.inc.h does, if they have that few elements. */
enum { FB_TILE = 64, FB_GROUP = 8, FB_GROUP_ELEMENTS = 8192 };

/* Before a loop whose output may be its input, element for element: no iteration depends on another one. */
#ifdef __clang__
#define FB_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define FB_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Before a loop of few iterations: vectorise it as it stands, do not unroll it first. */
#ifdef __clang__
#define FB_ROLLED _Pragma("clang loop vectorize(enable)")
#else
#define FB_ROLLED _Pragma("GCC unroll 1")
#endif

/* FN(name): name with the dtype and the instruction set, so that a profile shows which one runs. */
#define FB_JOIN3(name, dtype, isa) fb_##name##_##dtype##_##isa
#define FB_JOIN(name, dtype, isa) FB_JOIN3(name, dtype, isa)
#define FN(name) FB_JOIN(name, FB_DTYPE, FB_ISA)
#define FB_CAT2(a, b) a##b
#define FB_CAT(a, b) FB_CAT2(a, b)

/* The other byte order. */
static inline void fb_reverse(void *value, size_t size)
{
    unsigned char *bytes = value;
    for (size_t i = 0; i < size / 2; i++) {
        const unsigned char byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
}

/* A half as a float, exactly. The exponent moves by 112; a subnormal half is so scaled as well, by the product. */
FB_INLINE float fb_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign | ((half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0); /* inf and NaN */
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
