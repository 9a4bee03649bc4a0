/* How the CPU rounds, whether it flushes subnormal numbers to zero, and which exceptions trap: the host may have
 * changed that, a library linked with -ffast-math does, and a thread inherits it from the one that starts it. Results
 * do not depend on it: arithmetic runs in the state that a process starts with, and the host's comes back after it.
 * The flags that say which exceptions occurred are left alone. */
#ifndef FASTBCE_FLOAT_STATE_H
#define FASTBCE_FLOAT_STATE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>

typedef struct {
    unsigned mxcsr;
    uint16_t x87; /* rounds what comes from long double */
} fb_float_state;

enum { FB_MXCSR = 0x1f80, FB_MXCSR_FLAGS = 0x3f, FB_X87 = 0x37f };

static inline int fb_is_default(fb_float_state state)
{
    return (state.mxcsr & ~FB_MXCSR_FLAGS) == FB_MXCSR && state.x87 == FB_X87;
}

static inline void fb_float_set(fb_float_state state)
{
    _mm_setcsr(state.mxcsr);
    __asm__ volatile("fldcw %0" : : "m"(state.x87));
}

static inline fb_float_state fb_float_default(void)
{
    fb_float_state state = {_mm_getcsr(), 0};
    __asm__ volatile("fnstcw %0" : "=m"(state.x87));
    if (!fb_is_default(state))
        fb_float_set((fb_float_state){FB_MXCSR | (state.mxcsr & FB_MXCSR_FLAGS), FB_X87});
    return state;
}

#elif defined(__aarch64__)

typedef struct {
    uint64_t fpcr; /* the default is 0; the flags are in another register */
} fb_float_state;

static inline int fb_is_default(fb_float_state state)
{
    return state.fpcr == 0;
}

static inline void fb_float_set(fb_float_state state)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(state.fpcr));
}

static inline fb_float_state fb_float_default(void)
{
    fb_float_state state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state.fpcr));
    if (!fb_is_default(state))
        fb_float_set((fb_float_state){0});
    return state;
}

#else
#include <fenv.h>

typedef fenv_t fb_float_state;

static inline int fb_is_default(fb_float_state state)
{
    return 0;
}

static inline void fb_float_set(fb_float_state state)
{
    fesetenv(&state);
}

static inline fb_float_state fb_float_default(void)
{
    fb_float_state state;
    fegetenv(&state);
    fesetenv(FE_DFL_ENV);
    return state;
}

#endif

/* Ends what fb_float_default began, which returned the state. */
static inline void fb_float_restore(fb_float_state state)
{
    if (!fb_is_default(state))
        fb_float_set(state);
}

#endif
