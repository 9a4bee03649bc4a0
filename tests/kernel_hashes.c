/* Prints `<isa> <dtype> <kernel> <hash>` for every kernel of every instruction set that this machine runs, or of those
 * that are named as arguments: a hash of all that the kernel returns for a fixed set of inputs. Two builds that print
 * the same lines give the same bits. test_kernel_hashes.py compiles, runs and compares.
 *
 * The inputs depend on nothing but this file: they are made of integers, by operations that IEEE 754 fixes. (No
 * expression draws two random numbers: C does not say which comes first.) Those of each kernel begin at the same seed,
 * so that a new kernel moves no line but its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatch.h"
#include "labels.h"
#include "sum.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define ALIGNED __attribute__((aligned(64)))

enum { BLOCKS = 400, MOST = 1 << 16, ROOM = 5 * MOST };

/* What is being run. */
static const fb_kernels *kernels;
static const char *isa_name, *dtype_name;
static int is_double;

/* --- numbers ----------------------------------------------------------------------------------------------- */

static uint64_t state;

/* splitmix64 */
static uint64_t random_bits(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int64_t below(int64_t n)
{
    return (int64_t)((random_bits() >> 32) * (uint64_t)n >> 32);
}

static double from_bits(uint64_t bits, int as_double)
{
    const uint32_t half = (uint32_t)bits;
    double value;
    float single;
    memcpy(&value, &bits, sizeof value);
    memcpy(&single, &half, sizeof single);
    return as_double ? value : single;
}

/* The number of the type computed in that has these fields. An exponent of 0 is subnormal, of all ones infinite. */
static double real(uint64_t sign, uint64_t exponent, uint64_t mantissa)
{
    return is_double ? from_bits(sign << 63 | exponent << 52 | mantissa >> 12, 1)
                     : from_bits(sign << 31 | exponent << 23 | mantissa >> 41, 0);
}

/* A neighbour of a number, up to 4 steps further from 0. */
static double near(double value)
{
    const uint64_t steps = random_bits() % 5;
    const float single = (float)value;
    uint64_t bits;
    uint32_t half;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&half, &single, sizeof half);
    return is_double ? from_bits(bits + steps, 1) : from_bits(half + steps, 0);
}

/* Uniform in [0, 1). */
static double unit(void)
{
    return (double)(random_bits() >> 11) * 0x1p-53;
}

static double uniform(double wide)
{
    return (2 * unit() - 1) * wide;
}

/* Any finite number: all exponents are as likely. */
static double any_size(void)
{
    const uint64_t exponent = (uint64_t)below(is_double ? 2047 : 255), bits = random_bits();
    return real(bits & 1, exponent, bits);
}

/* Infinite, largest, smallest, zero; 8: NaN. */
static double special(int64_t i)
{
    const uint64_t top = is_double ? 2047 : 255, sign = (uint64_t)i & 1, ones = (uint64_t)-1;
    switch (i / 2) {
    case 0:
        return real(sign, 0, 0);
    case 1:
        return real(sign, top, 0);
    case 2:
        return real(sign, top - 1, ones);
    case 3:
        return real(sign, 0, (uint64_t)1 << 41 | 1 << 12); /* the smallest of floats, a small double */
    default:
        return real(0, top, (uint64_t)1 << 63);
    }
}

/* Where a kernel's error is largest, as its comments say, and where it takes another way. */
static const double LOGITS[] = {
    0.027028693, 87.68295,   7.5825224,  2.706468,     3.4194403626128,
    2.7070034,   0.10589027, 0.34265453, 1.2837105,    0x1p-24,
    0x1p-53,     25,         45,         103.278929,   103.972084,
    110,         87.33654,   88.722839,  708.396418,   709.782713,
    744.440072,  745.133219, 750,        0x1.62e43p-1, 0x1p-62,
    42.9751319,  17.3286795,
};
static const double PROBS[] = {
    0.30033174, 0.69966826, 0.0003298071, 4.447e-15, 0.70710678118654757, 0.29289321881345243, 0.5, 1e-12,
    1e-7,       3.72e-44,   0x1p-24,      0x1p-53,
};

static double logit(int64_t kind)
{
    const double sign = random_bits() >> 63 ? -1 : 1;
    switch (kind % 6) {
    case 0:
        return uniform(8);
    case 1:
        return uniform(is_double ? 750 : 110);
    case 2:
        return any_size();
    case 3: /* around the multiples of ln(2) / 2, where exp's reduction changes */
        return sign * near((double)below(is_double ? 2160 : 310) * 0x1.62e42fefa39efp-2);
    case 4:
        return sign * near(LOGITS[below(COUNT(LOGITS))]);
    default:
        return below(4) ? uniform(40) : special(below(9));
    }
}

/* In [0, 1]; never -0, which is no different from 0 but for the check of the range. */
static double fraction(int64_t kind)
{
    int64_t exponent;
    switch (kind % 5) {
    case 0:
        return unit();
    case 1: /* of any size */
        exponent = below(is_double ? 1023 : 127);
        return real(0, (uint64_t)exponent, random_bits());
    case 2: /* as close to 1 */
        exponent = is_double ? 969 + below(54) : 102 + below(25);
        return 1 - real(0, (uint64_t)exponent, random_bits());
    case 3:
        return near(PROBS[below(COUNT(PROBS))]);
    default:
        return (double)below(2);
    }
}

/* --- arrays ------------------------------------------------------------------------------------------------ */

/* Room for one element more: an array may begin beside its alignment. */
typedef char memory[(ROOM + 1) * sizeof(double)];
static memory x_memory ALIGNED, y_memory ALIGNED, weight_memory ALIGNED, pos_weight_memory ALIGNED;
static memory loss_memory ALIGNED, grad_memory ALIGNED, hess_memory ALIGNED, proba_memory ALIGNED;

/* Element i of an array of the type computed in. */
static void *at(void *array, int64_t i)
{
    return (char *)array + i * (is_double ? 8 : 4);
}

static void put(void *array, int64_t i, double value)
{
    const float single = (float)value;
    memcpy(at(array, i), is_double ? (const void *)&value : &single,
           is_double ? sizeof value : sizeof single);
}

/* --- the hash ---------------------------------------------------------------------------------------------- */

static uint64_t hash;

/* FNV-1a, but over whole numbers instead of bytes: 8 times as fast, and no less able to tell one difference. */
static void hash_bits(uint64_t bits)
{
    hash = (hash ^ bits) * 0x100000001b3u;
}

/* n floats, or doubles; every NaN counts as the same one. */
static void hash_numbers(int64_t n, const void *numbers, int as_double)
{
    const size_t size = as_double ? 8 : 4;
    const uint64_t infinity = (uint64_t)(as_double ? 0x7ff : 0xff) << (as_double ? 52 : 23);
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = 0; /* little-endian, as both x86-64 and AArch64 are */
        memcpy(&bits, (const char *)numbers + (size_t)i * size, size);
        const uint64_t magnitude = bits & ~((uint64_t)1 << (8 * size - 1));
        hash_bits(magnitude > infinity ? (uint64_t)-1 : bits);
    }
}

static void hash_reals(int64_t n, const void *reals)
{
    hash_numbers(n, reals, is_double);
}

static void begin(void)
{
    state = 20240229;
    hash = 0xcbf29ce484222325u;
}

static void end(const char *kernel, const char *more)
{
    printf("%s %s %s%s %016" PRIx64 "\n", isa_name, dtype_name, kernel, more, hash);
}

/* --- binary losses ----------------------------------------------------------------------------------------- */

enum { LOSS = 1, GRAD = 2, HESS = 4 };

typedef int (*block_kernel)(const fb_block *);

static double weight_of(int64_t i)
{
    return i % 13 == 0 ? 0 : i % 13 == 1 ? uniform(1) : i % 2 ? 1 : unit() * 3;
}

/* Weights, as a set; with none or both of them, smoothing. */
enum { OF_SAMPLES = 1, BALANCED = 2, WEIGHTED_TERMS = OF_SAMPLES | BALANCED };

static void run_blocks(const char *name, block_kernel kernel, int of_probs, int weights, int wanted, int clip)
{
    static const double gammas[] = {2, 0, 0.5, 1, 5}, alphas[] = {0.25, -1, 0, 1},
                        clips[] = {1e-7, 1e-15, 0.01};
    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        const int64_t n = k % 4 == 3 ? FB_LANES * (1 + below(FB_BLOCK / FB_LANES)) : FB_BLOCK;
        const int64_t first = k % 5 == 4; /* not aligned to a vector */
        const int in_place = k % 7 == 6;
        void *x = at(x_memory, first), *y = at(y_memory, first);
        void *weight = at(weight_memory, first), *pos_weight = at(pos_weight_memory, first);
        void *loss = at(loss_memory, first), *grad = at(grad_memory, first), *hess = at(hess_memory, first);
        for (int64_t i = 0; i < n; i++) {
            put(x, i, of_probs ? fraction(k) : logit(k));
            put(y, i, k % 3 == 0 ? (double)below(2) : k % 3 == 1 ? unit() : fraction(below(5)));
        }
        for (int64_t i = 0; k % 8 == 5 && i < 3; i++) { /* and few blocks with NaN or a target out of range */
            put(x, below(n), special(8));
            put(y, below(n), i ? special(8) : -0.5);
        }
        for (int64_t i = 0; weights && i < n; i++) {
            put(weight, i, weight_of(i + k));
            put(pos_weight, i, i % 7 ? unit() * 20 : 0);
        }
        const double low = clips[k % 3];
        const fb_block block = {
            .n = n,
            .x = x,
            .y = y,
            .weight = weights & OF_SAMPLES ? weight : NULL,
            .pos_weight = weights & BALANCED ? pos_weight : NULL,
            .loss = loss,
            .grad = !(wanted & GRAD) ? NULL
                    : in_place       ? x
                                     : grad,
            .hess = wanted & HESS ? hess : NULL,
            .scale = k % 2 ? 1 : 1.0 / 3,
            .smoothing = k % 4 < 2 || weights == OF_SAMPLES || weights == BALANCED ? 0 : 0.1,
            .alpha = alphas[k / 2 % 4],
            .gamma = gammas[k % 5],
            .clip_low = !clip       ? -1
                        : is_double ? low
                                    : (float)low,
            .clip_high = !clip       ? 0
                         : is_double ? 1 - low
                                     : (float)(1 - low),
        };
        hash_bits(kernel(&block) != 0);
        if (wanted & LOSS)
            hash_reals(n, loss);
        if (wanted & GRAD)
            hash_reals(n, block.grad);
        if (wanted & HESS)
            hash_reals(n, hess);
    }
    end(name, wanted & HESS ? "_hess" : wanted & GRAD ? "_grad" : "_loss");
}

static void binary_losses(void)
{
    static const int wanted[] = {LOSS, LOSS | GRAD, GRAD | HESS};
    for (int i = 0; i < 3; i++) {
        run_blocks("bce_logits", kernels->bce_logits, 0, 0, wanted[i], 0);
        run_blocks("bce_logits_weighted", kernels->bce_logits, 0, WEIGHTED_TERMS, wanted[i], 0);
        run_blocks("bce_logits_of_samples", kernels->bce_logits, 0, OF_SAMPLES, wanted[i], 0);
        run_blocks("bce_logits_balanced", kernels->bce_logits, 0, BALANCED, wanted[i], 0);
    }
    for (int i = 0; i < 2; i++) {
        run_blocks("focal", kernels->focal, 0, 0, wanted[i], 0);
        run_blocks("focal_of_samples", kernels->focal, 0, OF_SAMPLES, wanted[i], 0);
        for (int clip = 0; clip < 2; clip++) {
            const char *const *name = (const char *const[][4]){
                {"bce_probs", "bce_probs_of_samples", "bce_probs_balanced", "bce_probs_weighted"},
                {"bce_probs_clipped", "bce_probs_clipped_of_samples", "bce_probs_clipped_balanced",
                 "bce_probs_clipped_weighted"},
            }[clip];
            for (int weights = 0; weights < 4; weights++)
                run_blocks(name[weights], kernels->bce_probs, 1, weights, wanted[i], clip);
        }
    }
}

static void sigmoid(void)
{
    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        void *x = at(x_memory, k % 2), *proba = at(proba_memory, k % 2);
        for (int64_t i = 0; i < FB_BLOCK; i++)
            put(x, i, logit(k));
        kernels->sigmoid(FB_BLOCK, x, proba);
        hash_reals(FB_BLOCK, proba);
    }
    end("sigmoid", "");
}

/* --- softmax cross-entropy --------------------------------------------------------------------------------- */

enum { SOFT = 1, SMOOTH = 2, WEIGHTED = 4, WANT_GRAD = 8, WANT_HESS = 16, WANT_PROBA = 32 };

static void fill_row(int64_t kind, int64_t classes, void *x)
{
    for (int64_t c = 0; c < classes; c++) {
        const double steps = (double)below(5);
        switch (kind % 7) {
        case 0:
            put(x, c, uniform(4));
            break;
        case 1:
            put(x, c, uniform(20));
            break;
        case 2:
            put(x, c, uniform(is_double ? 750 : 110));
            break;
        case 3: /* several reach the maximum, as 0 and as -0 */
            put(x, c, c % 2 ? -steps : steps - 4);
            break;
        case 4:
            put(x, c, any_size());
            break;
        case 5: /* absent classes */
            put(x, c, below(3) ? uniform(8) : special(3));
            break;
        default: /* few are not finite: else every such row is nan */
            put(x, c, below(classes) ? logit(below(5)) : special(below(9)));
        }
    }
}

static void run_rows(const char *name, int options, const int64_t *classes, int class_counts,
                     const char *how_many)
{
    static int64_t labels[MOST];
    static memory targets ALIGNED, class_weight ALIGNED, scratch ALIGNED;
    begin();
    for (int k = 0; k < 2 * class_counts; k++) {
        const int64_t n = classes[k / 2], rows = n <= FB_FEW_CLASSES ? 2 * 64 + 13 : 3 + 10000 / n;
        const int64_t first = k % 2;
        const int in_place = k % 4 == 1;
        void *x = at(x_memory, first), *weight = at(weight_memory, first);
        void *loss = at(loss_memory, first), *grad = at(grad_memory, first), *hess = at(hess_memory, first);
        void *proba = at(proba_memory, first);
        for (int64_t row = 0; row < rows; row++) {
            fill_row(row, n, at(x, row * n));
            labels[row] = row % 31 == 30 ? (row % 2 ? -1 : n) : below(n);
            put(weight, row, weight_of(row));
            for (int64_t c = 0; c < n; c++)
                put(at(targets, row * n), c, row % 3 ? unit() / (double)n : (double)(c == labels[row]));
            if (row % 29 == 28)
                put(at(targets, row * n), below(n), special(8));
        }
        for (int64_t c = 0; c < n; c++)
            put(class_weight, c, c % 5 == 4 ? 0 : unit() * 2);
        const fb_rows all = {
            .rows = rows,
            .classes = n,
            .x = x,
            .labels = options & SOFT ? NULL : labels,
            .targets = options & SOFT ? targets : NULL,
            .class_weight = options & WEIGHTED ? class_weight : NULL,
            .weight = weight,
            .smoothing = options & SMOOTH ? 0.1 : 0,
            .scale = k % 2 ? 1 : 1.0 / 3,
            .loss = loss,
            .grad = !(options & WANT_GRAD) ? NULL
                    : in_place             ? x
                                           : grad,
            .hess = options & WANT_HESS ? hess : NULL,
            .proba = options & WANT_PROBA ? proba : NULL,
            .scratch = scratch,
            .row_stride = {.x = n, .targets = n, .grad = n, .hess = n, .proba = n},
        };
        hash_bits((uint64_t)kernels->cross_entropy(&all));
        hash_reals(rows, loss);
        if (all.grad)
            hash_reals(rows * n, all.grad);
        if (all.hess)
            hash_reals(rows * n, all.hess);
        if (all.proba)
            hash_reals(rows * n, all.proba);
    }
    end(name, how_many);
}

/* Rows whose classes lie apart: runs of neighbours, used as they lie, one by one, or a class after the other, INTERLEAVED, or
 * copied, in groups, which changes no bit; nor does the second-level cache. Every other time logits begin beside a cache line, and
 * copied ones are overwritten. */
enum { INTERLEAVED = -1 };
static int64_t second_level; /* 0: not known */

static void run_across(const char *name, int64_t group_, const int64_t *classes, int class_counts,
                       int64_t runs, int64_t run, const char *more)
{
    static int64_t labels[MOST];
    static memory scratch ALIGNED, class_weight ALIGNED, state ALIGNED;
    const int interleaved = group_ == INTERLEAVED;
    const int64_t rows = runs * run, group = interleaved ? 0 : group_;
    begin();
    for (int k = 0; k < 2 * class_counts; k++) {
        const int64_t n = classes[k / 2];
        void *logits = at(x_memory, k % 2), *grad = k % 2 && group ? logits : grad_memory;
        int64_t wrong = -1;
        for (int64_t row = 0; row < rows; row++) {
            void *x = at(logits, row / run * n * run + row % run);
            fill_row(row, n, scratch);
            for (int64_t c = 0; c < n; c++)
                memcpy(at(x, c * run), at(scratch, c), is_double ? sizeof(double) : sizeof(float));
            labels[row] = row % 31 == 30 ? (row % 2 ? -1 : n) : below(n);
            put(weight_memory, row, weight_of(row));
        }
        for (int64_t c = 0; c < n; c++)
            put(class_weight, c, c % 5 == 4 ? 0 : unit() * 2);
        memset(loss_memory, -1, sizeof loss_memory); /* what another call has left there does not count */
        memset(grad_memory, -1, sizeof grad_memory);
        for (int64_t first = 0; first < rows; first += group ? rows : run) {
            const fb_rows all = {
                .rows = group ? rows : run,
                .classes = n,
                .x = at(logits, first * n),
                .labels = labels + first,
                .class_weight = k % 4 < 2 ? NULL : class_weight,
                .weight = at(weight_memory, first),
                .scale = 1.0 / 3,
                .loss = at(loss_memory, first),
                .grad = at(grad, first * n),
                .scratch = scratch,
                .apart = {.x = run, .grad = run},
                .group = group,
                .run = run,
                .x_beyond = n * run,
                .grad_beyond = n * run,
                .near = k % 2,
                .interleaved = interleaved,
                .second_level = second_level,
                .slices = 1,
                .parts = 1,
                .state = state,
            };
            const int64_t found = kernels->cross_entropy(&all);
            if (wrong < 0 && found >= 0)
                wrong = first + found;
        }
        hash_bits((uint64_t)wrong);
        hash_reals(rows, loss_memory);
        hash_reals(rows * n, grad);
    }
    end(name, more);
}

static void cross_entropy(void)
{
    static const struct {
        const char *name;
        int options;
    } calls[] = {
        {"cross_entropy_loss", 0},
        {"cross_entropy_proba", WANT_PROBA},
        {"cross_entropy_grad", WANT_GRAD},
        {"cross_entropy_hess", WANT_GRAD | WANT_HESS | WANT_PROBA},
        {"cross_entropy_weighted", WEIGHTED | WANT_GRAD | WANT_HESS},
        {"cross_entropy_smooth", SMOOTH | WANT_GRAD | WANT_HESS},
        {"cross_entropy_smooth_weighted", SMOOTH | WEIGHTED | WANT_GRAD | WANT_PROBA},
        {"cross_entropy_soft_loss", SOFT},
        {"cross_entropy_soft", SOFT | WANT_GRAD | WANT_HESS | WANT_PROBA},
        {"cross_entropy_soft_smooth_weighted", SOFT | SMOOTH | WEIGHTED | WANT_GRAD | WANT_HESS},
    };
    static const int64_t few[] = {1, 2, 3, 10, 33, FB_FEW_CLASSES},
                         many[] = {FB_FEW_CLASSES + 1, 1000, 20011};
    for (int i = 0; i < COUNT(calls); i++) {
        run_rows(calls[i].name, calls[i].options, few, COUNT(few), "_few");
        run_rows(calls[i].name, calls[i].options, many, COUNT(many), "_many");
    }
    static const int64_t some[] = {FB_FEW_CLASSES + 1, 333}, pieces[] = {FB_PIECE + FB_LANES + 1};
    run_across("cross_entropy_across", 0, few, COUNT(few), 2, 45, "_few");
    run_across("cross_entropy_across", 0, some, COUNT(some), 2, 45, "_many");
    run_across("cross_entropy_copied", 16, some, COUNT(some), 2, 45, "_16");
    run_across("cross_entropy_copied", 32, some, COUNT(some), 2, 45, "_32");
    run_across("cross_entropy_copied", 48, some, COUNT(some), 2, 45, "_48");
    run_across("cross_entropy_across", 0, some, COUNT(some), 1, 304, "_long");
    second_level = 1 << 19;
    run_across("cross_entropy_across", 0, some, COUNT(some), 1, 304, "_small_long");
    second_level = 0;
    run_across("cross_entropy_copied", 32, some, COUNT(some), 1, 304, "_long");
    run_across("cross_entropy_across", 0, pieces, COUNT(pieces), 2, 17, "_pieces");
    run_across("cross_entropy_copied", 16, pieces, COUNT(pieces), 2, 17, "_pieces");
    run_across("cross_entropy_interleaved", INTERLEAVED, pieces, COUNT(pieces), 2, 17, "_pieces");
    run_across("cross_entropy_interleaved", INTERLEAVED, some, COUNT(some), 3, 5, "_many");
}

/* --- sums -------------------------------------------------------------------------------------------------- */

static void sums(void)
{
    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        fb_lanes lanes = {{0}, {0}};
        for (int64_t part = 0; part < 3; part++) {
            const int64_t n = part == 1 ? FB_LANES * (1 + below(FB_BLOCK / FB_LANES)) : FB_BLOCK;
            for (int64_t i = 0; i < n; i++)
                put(x_memory, i, k % 3 == 0 ? uniform(40) : k % 3 == 1 ? any_size() * 0x1p-12 : unit());
            if (k % 32 == 31 && part == 2)
                put(x_memory, 77, special(2));
            kernels->add(n, x_memory, &lanes);
        }
        const fb_sum total = kernels->total(&lanes);
        const double results[] = {total.sum, total.lost, fb_sum_value(total)};
        for (int64_t n = FB_LANES; n <= FB_BLOCK; n *= 2) {
            const fb_sum sum = kernels->sum(n, x_memory);
            hash_numbers(2, (const double[]){sum.sum, sum.lost}, 1);
        }
        hash_numbers(FB_SUM_LANES, lanes.sum, 1);
        hash_numbers(FB_SUM_LANES, lanes.lost, 1);
        hash_numbers(3, results, 1);
    }
    end("sum", "");
}

/* --- reading and writing ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size;
} DTYPES[FB_DTYPES] = {
    [FB_BOOL] = {"bool", 1},     [FB_I8] = {"int8", 1},
    [FB_U8] = {"uint8", 1},      [FB_I16] = {"int16", 2},
    [FB_U16] = {"uint16", 2},    [FB_I32] = {"int32", 4},
    [FB_U32] = {"uint32", 4},    [FB_I64] = {"int64", 8},
    [FB_U64] = {"uint64", 8},    [FB_F16] = {"float16", 2},
    [FB_BF16] = {"bfloat16", 2}, [FB_F32] = {"float32", 4},
    [FB_F64] = {"float64", 8},   [FB_LONGDOUBLE] = {"longdouble", sizeof(long double)},
};

/* Element i of what is read, as its bytes lie in memory. */
static void make_stored(int dtype, int64_t i, char *to)
{
    const int small = i % 4 == 3;
    if (dtype == FB_F16 || dtype == FB_BF16) { /* all that there are */
        const uint16_t bits = (uint16_t)i;
        memcpy(to, &bits, sizeof bits);
    } else if (dtype == FB_F32) {
        const float value = small ? (float)below(3) : (float)from_bits(random_bits(), 0);
        memcpy(to, &value, sizeof value);
    } else if (dtype == FB_F64) {
        const double value = small ? unit() * 1.5 : from_bits(random_bits(), i % 2 == 0);
        memcpy(to, &value, sizeof value);
    } else if (dtype == FB_LONGDOUBLE) { /* its formats differ: a value that all of them have */
        const long double value = small ? unit() * 1.5 : from_bits(random_bits(), i % 2 == 0);
        memcpy(to, &value, sizeof value);
    } else { /* an integer */
        const int64_t shift = below(64);
        const uint64_t bits = small ? (uint64_t)below(3) : random_bits() >> shift;
        memcpy(to, &bits, DTYPES[dtype].size);
    }
}

static void reverse(char *bytes, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        const char byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
}

/* Next to each other, at an odd stride, and in the other byte order. */
static void run_load(fb_load load, int dtype, void *to, void (*add)(int64_t, const void *))
{
    static char from[MOST * (2 * sizeof(long double) + 1)];
    const size_t size = DTYPES[dtype].size;
    const int64_t n = dtype == FB_F16 || dtype == FB_BF16 ? MOST : 4096;
    begin();
    for (int way = 0; way < 3; way++) {
        const int64_t stride = (int64_t)(way ? 2 * size + 1 : size);
        for (int64_t i = 0; i < n; i++) {
            make_stored(dtype, i, from + i * stride);
            if (way == 2)
                reverse(from + i * stride, size);
        }
        load(n, from, stride, way == 2, to);
        add(n, to);
    }
}

static void loads(void)
{
    for (int dtype = 0; dtype < FB_DTYPES; dtype++) {
        run_load(kernels->load[dtype], dtype, x_memory, hash_reals);
        end("load_", DTYPES[dtype].name);
        run_load(kernels->load_targets[dtype], dtype, x_memory, hash_reals);
        end("load_targets_", DTYPES[dtype].name);
    }
}

/* Numbers of any size, and such that a narrower type has a half-way case next to them. */
static double to_be_stored(int64_t i)
{
    static const uint64_t tails[] = {0, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1fff};
    if (i % 3 == 0)
        return logit(i / 3);
    if (is_double)
        return near((double)(float)uniform(2));
    const uint64_t exponent = 85 + (uint64_t)below(66), bits = random_bits();
    const uint64_t tail = tails[below(COUNT(tails))];
    return from_bits((bits & 1) << 31 | exponent << 23 | (bits & 0x7f0000) | tail, 0);
}

static void stores(void)
{
    static char to[MOST * 17];
    for (int dtype = 0; dtype < FB_DTYPES; dtype++) {
        const size_t size = DTYPES[dtype].size;
        if (!kernels->store[dtype])
            continue;
        begin();
        for (int way = 0; way < 3; way++) {
            const int64_t stride = (int64_t)(way ? 2 * size + 1 : size), n = 16384;
            for (int64_t i = 0; i < n; i++)
                put(x_memory, i, to_be_stored(i));
            kernels->store[dtype](n, x_memory, to, stride, way == 2);
            for (int64_t i = 0; i < n; i++) {
                uint64_t bits = 0;
                if (way == 2)
                    reverse(to + i * stride, size);
                memcpy(&bits, to + i * stride, size);
                if (dtype == FB_F32 || dtype == FB_F64)
                    hash_numbers(1, &bits, dtype == FB_F64);
                else
                    hash_bits(bits);
            }
        }
        end("store_", DTYPES[dtype].name);
    }
}

static void hash_labels(int64_t n, const void *labels)
{
    for (int64_t i = 0; i < n; i++)
        hash_bits((uint64_t)((const int64_t *)labels)[i]);
}

static void loads_of_labels(void)
{
    static int64_t to[MOST];
    for (int dtype = 0; dtype < FB_DTYPES; dtype++) {
        run_load(fb_load_labels[dtype], dtype, to, hash_labels);
        end("load_labels_", DTYPES[dtype].name);
    }
}

static void small_loops(void)
{
    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        for (int64_t i = 0; i < FB_BLOCK; i++) {
            put(x_memory, i, logit(5));
            put(weight_memory, i, logit(5));
        }
        kernels->mask(FB_BLOCK, x_memory, weight_memory, weight_memory);
        hash_reals(FB_BLOCK, weight_memory);
    }
    end("mask", "");

    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        const int64_t n = 1 + below(FB_BLOCK);
        kernels->fill(n, from_bits(random_bits(), 1), x_memory);
        hash_reals(n, x_memory);
    }
    end("fill", "");

    begin();
    for (int64_t k = 0; k < BLOCKS; k++) {
        const int64_t n = 1 + below(FB_BLOCK);
        for (int64_t i = 0; i < n; i++) {
            put(x_memory, i, below(64) ? fraction(i) : logit(i));
            put(weight_memory, i, (double)below(3));
        }
        hash_bits((uint64_t)kernels->outside(n, x_memory, k % 2 ? weight_memory : NULL));
    }
    end("outside", "");
}

static int is_wanted(const char *name, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return count == 1;
}

int main(int count, char **names)
{
    const fb_isa *isa;
    for (int i = 0; (isa = fb_isa_supported(i)); i++) {
        if (!is_wanted(isa->name, count, names))
            continue;
        isa_name = isa->name;
        for (is_double = 0; is_double < 2; is_double++) {
            dtype_name = is_double ? "float64" : "float32";
            kernels = is_double ? isa->f64 : isa->f32;
            binary_losses();
            sigmoid();
            cross_entropy();
            sums();
            loads();
            stores();
            small_loops();
        }
    }
    if (is_wanted("any", count, names)) { /* compiled once, for all of them */
        isa_name = "any";
        dtype_name = "int64";
        loads_of_labels();
    }
    return 0;
}
