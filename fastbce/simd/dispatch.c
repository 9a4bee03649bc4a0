#include "dispatch.h"

#include <stddef.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif
#ifndef _WIN32
#include <unistd.h>
#endif

extern const fb_isa fb_isa_generic, fb_isa_avx2, fb_isa_avx512, fb_isa_neon;

#ifdef __x86_64__
/* F16C, of which __builtin_cpu_supports knows nothing in older compilers. */
static int has_halves(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & bit_F16C;
}
#endif

/* __builtin_cpu_supports asks CPUID, and XGETBV whether the system saves the registers. */
const fb_isa *fb_isa_supported(int i)
{
    const fb_isa *supported[4] = {&fb_isa_generic};
    int count = 1;
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_halves()) {
        supported[count++] = &fb_isa_avx2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
            supported[count++] = &fb_isa_avx512;
    }
#elif defined(__aarch64__)
    supported[count++] = &fb_isa_neon;
#endif
    return i >= 0 && i < count ? supported[i] : NULL;
}

#ifdef __x86_64__
/* As the CPU describes it, or 0. What the C library says of AMD's third level may be the sum of all there are, of which a core has
 * one. */
static int64_t described_size(int level)
{
    unsigned eax, ebx, ecx, edx, leaf = 4;
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & 1u << 22) /* AMD's leaf of the same form */
        leaf = 0x8000001d;
    /* no CPU has 16 caches; an emulated one may go on with the same for ever */
    for (unsigned i = 0; i < 16 && __get_cpuid_count(leaf, i, &eax, &ebx, &ecx, &edx) && (eax & 31) != 0; i++)
        if ((int)(eax >> 5 & 7) == level)
            return (int64_t)((ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) *
                   ((int64_t)ecx + 1); /* ways, partitions, bytes of a line, sets */
    return 0;
}
#endif

int64_t fb_cache_size(int level)
{
#ifdef __x86_64__
    const int64_t described = described_size(level);
    if (described > 0)
        return described;
#endif
#ifdef _SC_LEVEL2_CACHE_SIZE
    const long bytes = sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
    return bytes > 0 ? bytes : 0;
#else
    (void)level;
    return 0;
#endif
}
