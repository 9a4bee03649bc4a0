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

#include "half.h"

/* Of softmax cross-entropy: rows in a group at most, along memory and across; how many vectors are added as they are, eight of
 * the targets of many classes, two of so few that an error stands out; how far ahead, in elements, memory is asked for; and how
 * many elements of a row are brought at once, beside exponentials and without; and how many a strip is, an even number of vectors
 * (measured). */
enum {
    FB_GROUP = 64,
    FB_ACROSS = 128,
    FB_TILE_ELEMENTS = FB_FEW_CLASSES * FB_LANES,
    FB_FOUR = 4,
    FB_EIGHT = 8,
    FB_TWO_UP_TO = 16,
    FB_AHEAD = 16384,
    FB_BROUGHT_PART = 256,
    FB_FIRST_PART = 1024,
    FB_TILE_AHEAD = 4096,
    FB_STRIP = 512
};

/* What torch limits p (1 - p) to, below, in the gradient of a probability: a float, in float64 too. */
#define FB_LIMIT ((REAL)1e-12)

/* Of a matrix to be transposed and its transpose, the one whose rows lie in pages of their own. */
enum { FB_NEITHER, FB_FROM, FB_TO };

/* Results, as a set. */
enum { FB_LOSS = 1, FB_GRAD = 2, FB_HESS = 4 };

/* What is known of probabilities. Ordinary ones are at least 2^-39, and either so far below 1 that no limit holds, or also
 * 1 itself, of floats, where one does. */
enum { FB_ANY_P, FB_UP_TO_1, FB_BELOW_1 };

/* Weights: none; those of samples; those that smoothing gives the two terms; pos_weight; all of these. */
enum { FB_UNWEIGHTED, FB_OF_SAMPLES, FB_SMOOTHED, FB_BALANCED, FB_OF_TERMS };

/* Of focal loss: none; with any gamma; the same of targets that are 0 or 1, and of ordinary logits; with a gamma of 2. */
enum { FB_NO_FOCAL, FB_POWER, FB_HARD_POWER, FB_SQUARE };

/* Before a loop whose output may be its input, element for element: no iteration depends on another one. */
#ifdef __clang__
#define FB_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define FB_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Before a loop of few iterations: vectorise it as it stands, do not unroll it first. */
#ifdef __clang__
#define FB_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define FB_ROLLED _Pragma("GCC unroll 1")
#endif

/* Before a loop whose iterations are all written out. */
#ifdef __clang__
#define FB_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define FB_UNROLLED _Pragma("GCC unroll 16")
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

#endif
