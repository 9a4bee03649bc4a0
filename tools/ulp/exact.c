/* The formulas of the losses in a wide type, and how far results are from them, in ULP of the results' format.
 *
 * Compiled by exact.py, twice: in double for results of float32 and narrower; with -DWIDE in 113 bits for those of
 * float64, as long double where that has them, else as __float128. Only for measurements: obvious, not fast. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* A double next to a power of two may stand for a value below it, where the ULP is half as large: it gets that one. */
#define NEARLY 0
#ifndef WIDE
typedef double real;
#define F(name) name
#undef NEARLY
#define NEARLY 0x1p-48
#elif LDBL_MANT_DIG >= 113
typedef long double real;
#define F(name) name##l
#else
#include <quadmath.h>
typedef __float128 real;
#define F(name) name##q
#endif

enum { LOSS, GRADIENT, HESSIAN, PROBABILITY, RESULTS };
enum { LOGITS, PROBS, FOCAL };

/* Of the results: bits of the mantissa, exponent of the smallest subnormal, and of what comes after the largest. */
typedef struct {
    int bits, least, beyond;
} format;

typedef struct {
    double smoothing, limit, alpha, gamma; /* limit: below p (1 - p) and with it the floor of -100; 0: none */
} options;

static real larger(real a, real b)
{
    return a > b ? a : b;
}

static real times(real coefficient, real term)
{
    return coefficient == 0 ? 0 : coefficient * term;
}

#ifdef WIDE
static int exponent_of(real value)
{
    int exponent;
    F(frexp)(value, &exponent);
    return exponent;
}

static real power_of_two(int exponent)
{
    return F(ldexp)(1, exponent);
}
#else /* the same from the bits, for speed; neither meets a subnormal double that matters */
static int exponent_of(real value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int)(bits >> 52 & 2047) - 1022;
}

static real power_of_two(int exponent)
{
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    real value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
#endif

/* |actual - exact| in ULP of `of`; an infinite result counts as the power of two after the largest float. */
static double units(double actual, real exact, real of, const format *f)
{
    if (actual != actual || exact != exact)
        return actual != actual && exact != exact ? 0 : INFINITY;
    real value = actual;
    if (isinf(actual)) {
        const real beyond = power_of_two(f->beyond);
        if (F(fabs)(exact) >= beyond)
            return (actual > 0) == (exact > 0) ? 0 : INFINITY;
        value = actual > 0 ? beyond : -beyond;
    }
    const int exponent = of == 0 ? f->least : exponent_of(of * (1 - NEARLY)) - f->bits;
    return (double)(F(fabs)(value - exact) * power_of_two(exponent > f->least ? -exponent : -f->least));
}

typedef struct {
    real value[RESULTS], of[RESULTS];
} results;

static results logits(double x, double y, double weight, const options *o)
{
    const real smooth = o->smoothing, a = (1 - (real)y) * (1 - smooth) + smooth / 2;
    const real b = weight * (y * (1 - smooth) + smooth / 2);
    const real t = F(exp)(-F(fabs)((real)x)), curve = F(log1p)(t);
    const real p = (x >= 0 ? 1 : t) / (1 + t), q = (x >= 0 ? t : 1) / (1 + t);
    const real loss = times(a, (x > 0 ? x : 0) + curve) + times(b, (x < 0 ? -x : 0) + curve);
    const results r = {{loss, a * p - b * q, (a + b) * p * q, p},
                       {loss, larger(a * p, b * q), (a + b) * p * q, p}};
    return r;
}

static results probs(double x, double y, double weight, const options *o)
{
    const real smooth = o->smoothing, a = (1 - (real)y) * (1 - smooth) + smooth / 2;
    const real b = weight * (y * (1 - smooth) + smooth / 2);
    const real p = x, q = 1 - p, limit = o->limit;
    real positive = -F(log)(p), negative = -F(log1p)(-p);
    if (limit > 0) {
        positive = positive > 100 ? 100 : positive;
        negative = negative > 100 ? 100 : negative;
    }
    const real divisor = larger(p * q, limit), loss = times(b, positive) + times(a, negative);
    const real push = a * p / divisor, pull = b * q / divisor;
    const results r = {{loss, push - pull, 0, 0}, {loss, larger(push, pull), 1, 1}};
    return r;
}

static results focal(double x, double y, double weight, const options *o)
{
    const options plain = {0, 0, 0, 0};
    const results bce = logits(x, y, 1, &plain);
    const real t = F(exp)(-F(fabs)((real)x)), a = 1 - (real)y, b = y;
    const real p = (x >= 0 ? 1 : t) / (1 + t), q = (x >= 0 ? t : 1) / (1 + t), u = a * p + b * q;
    const real balance = o->alpha < 0 ? 1 : o->alpha * b + (1 - (real)o->alpha) * a;
    const real whole = weight * balance * F(pow)(u, o->gamma);
    const real push = times(o->gamma * (a - b) * (u == 0 ? 1 : p * q / u), bce.value[LOSS]);
    const real up = a * p + (push > 0 ? push : 0), down = b * q - (push < 0 ? push : 0);
    const real loss = times(whole, bce.value[LOSS]);
    const results r = {{loss, whole * (up - down), 0, p}, {loss, whole * larger(up, down), 1, p}};
    return r;
}

/* actual and error: an array of n for each of RESULTS, or NULL. */
void elements(int kind, int64_t n, const double *x, const double *y, const double *weight, const options *o,
              const format *f, const double *const *actual, double *const *error)
{
    for (int64_t i = 0; i < n; i++) {
        const double w = weight ? weight[i] : 1;
        const results r = kind == LOGITS  ? logits(x[i], y[i], w, o)
                          : kind == PROBS ? probs(x[i], y[i], w, o)
                                          : focal(x[i], y[i], w, o);
        for (int k = 0; k < RESULTS; k++)
            if (actual[k])
                error[k][i] = units(actual[k][i], r.value[k], r.of[k], f);
    }
}

static real target_of(const int64_t *label, const double *target, int64_t row, int64_t classes, int64_t j,
                      const options *o)
{
    const real given = label ? j == label[row] : (real)target[row * classes + j];
    return given * (1 - (real)o->smoothing) + (real)o->smoothing / classes;
}

/* Rows of softmax cross-entropy, with labels or with a row of probabilities each. error: the worst of each row. */
void rows(int64_t n, int64_t classes, const double *x_, const int64_t *label, const double *target,
          const options *o, const format *f, const double *const *actual, double *const *error)
{
    for (int64_t row = 0; row < n; row++) {
        const double *x = x_ + row * classes;
        int64_t top = 0;
        real rest = 0, sum = 0, loss = 0;
        for (int64_t j = 1; j < classes; j++)
            top = x[j] > x[top] ? j : top;
        for (int64_t j = 0; j < classes; j++)
            rest += j == top ? 0 : F(exp)((real)x[j] - x[top]);
        for (int k = 0; k < RESULTS; k++)
            if (actual[k])
                error[k][row] = 0;
        const real curve = F(log1p)(rest), total = 1 + rest;
        for (int64_t j = 0; j < classes; j++) {
            const real y = target_of(label, target, row, classes, j, o);
            sum += y;
            loss += times(y, ((real)x[top] - x[j]) + curve);
        }
        for (int64_t j = 0; j < classes; j++) {
            const real y = target_of(label, target, row, classes, j, o);
            const real e = j == top ? 1 : F(exp)((real)x[j] - x[top]), p = e / total;
            const real not_p = (j == top ? rest : total - e) / total;
            real others = sum - y;
            if (others < y) { /* at most once in a row: added up, not subtracted */
                others = 0;
                for (int64_t i = 0; i < classes; i++)
                    others += i == j ? 0 : target_of(label, target, row, classes, i, o);
            }
            const real push = others * p, pull = y * not_p;
            const real value[] = {loss, push - pull, sum * p * not_p, p};
            const real of[] = {loss, larger(push, pull), value[HESSIAN], p};
            for (int k = GRADIENT; k < RESULTS; k++)
                if (actual[k]) {
                    const double far = units(actual[k][row * classes + j], value[k], of[k], f);
                    error[k][row] = far > error[k][row] ? far : error[k][row];
                }
        }
        if (actual[LOSS])
            error[LOSS][row] = units(actual[LOSS][row], loss, loss, f);
    }
}
