#!/usr/bin/env python3
"""Fit the polynomials of fastbce/simd/real_f32.h and real_f64.h, and print them with their errors.

    .venv/bin/python tools/fit_polynomials.py

Each is the minimax polynomial of a function on an interval, found by Remez' exchange algorithm in 200-bit
arithmetic. The error that is made equal is weighted, so that the figure printed is the error of the final
result (of exp or of log), relative to that result. Needs mpmath.
"""

from mpmath import asinh, cos, exp, log, lu_solve, matrix, mp, mpf, pi, polyval, sinh, sqrt

mp.prec = 200


def remez(f, weight, lo, hi, degree):
    """Minimise max |weight(x) * (f(x) - P(x))| over [lo, hi].

    Return P's coefficients, lowest first, and that maximum.
    """
    n = degree + 2
    grid_size = 40 * n

    def chebyshev(i, of):
        return (lo + hi) / 2 - (hi - lo) / 2 * cos(pi * i / of)

    grid = [chebyshev(i, grid_size) for i in range(grid_size + 1)]
    values = [(f(x), weight(x)) for x in grid]
    points = [round(i * grid_size / (n - 1)) for i in range(n)]
    for _ in range(30):
        a, b = matrix(n, n), matrix(n, 1)
        for row, i in enumerate(points):
            value, w = values[i]
            for j in range(degree + 1):
                a[row, j] = w * grid[i] ** j
            a[row, degree + 1] = (-1) ** row
            b[row] = w * value
        solution = lu_solve(a, b)
        coefficients = list(solution[: degree + 1])
        highest_first = coefficients[::-1]
        error = [w * (value - polyval(highest_first, x)) for x, (value, w) in zip(grid, values, strict=True)]
        # the extremum of each run of one sign is the next reference point
        extrema = [0]
        for i in range(1, grid_size + 1):
            if (error[i] > 0) != (error[extrema[-1]] > 0):
                extrema.append(i)
            elif abs(error[i]) > abs(error[extrema[-1]]):
                extrema[-1] = i
        worst = max(abs(e) for e in error)
        if len(extrema) != n or worst < abs(solution[degree + 1]) * mpf("1.001"):
            return coefficients, worst
        points = extrema
    return coefficients, worst


def exp_tail(r):
    """q(r) in exp(r) = 1 + r + r^2 q(r)."""
    return (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -25 else mpf(1) / 2 + r / 6


def log_tail(w):
    """q(w) in s = sinh(s) (1 + w q(w)), w = 4 sinh(s/2)^2."""
    if w < mpf(10) ** -25:
        return -mpf(1) / 6
    s = 2 * asinh(sqrt(w) / 2)
    return (s / sinh(s) - 1) / w


def show(name, fit, single):
    coefficients, worst = fit
    bits = float(log(worst, 2))
    print(f"{name}: degree {len(coefficients) - 1}, relative error of the result 2^{bits:.2f}")
    for i, c in enumerate(coefficients):
        if single:  # the nearest float32, printed as C reads it
            mantissa, exponent = mp.frexp(c)
            value = float(mp.nint(mantissa * 2**24) * mpf(2) ** (int(exponent) - 24))
        else:
            value = float(c)
        print(f"  {i:2d}  {value.hex()}{'f' if single else ''}")
    print()


def main():
    tiny = mpf(2) ** -30
    half_ln2 = log(2) / 2 * (1 + mpf(2) ** -16)  # the reduced argument, with room for rounding k
    root = sqrt(mpf(2))
    for single in (True, False):
        print("float32" if single else "float64", "\n")
        show(
            "exp_tail, |r| <= ln(2)/2",
            remez(exp_tail, lambda r: r**2 / exp(r) + tiny**2, -half_ln2, half_ln2, 4 if single else 9),
            single,
        )

        def relative(w):
            return w / (1 + w * log_tail(w)) + tiny**2

        # log(1 + t), t in [0, 1]: w = t t/(1 + t)
        fit = remez(log_tail, relative, mpf(0), mpf(1) / 2, 4 if single else 9)
        show("log_tail_unit, w in [0, 1/2]", fit, single)
        # 1 + f in [sqrt(1/2), sqrt(2)]: w = f f/(1 + f)
        most = (root - 1) ** 2 / root * (1 + mpf(2) ** -16)
        fit = remez(log_tail, relative, mpf(0), most, 2 if single else 6)
        show(f"log_tail, w in [0, {float(most):.4f}]", fit, single)
        if not single:  # a first approximation of 1/(1 + t), exact for t = 0: 1 + t q(t)
            fit = remez(lambda t: -1 / (1 + t), lambda t: t * (1 + t) + tiny**2, mpf(0), mpf(1), 3)
            show("inverse_of_one_plus, t in [0, 1]", fit, single)
    print(f"ln(2): float32 {float(mp.nint(log(2) * 2**24) / 2**24).hex()}f, float64 {float(log(2)).hex()}")
    print(f"ln(2) less its float32: {float(log(2) - mp.nint(log(2) * 2**24) / 2**24).hex()}")
    print(f"ln(2) less its float64: {float(log(2) - mpf(float(log(2)))).hex()}")
    for bits in (15, 41):  # few enough bits that k ln(2) is exact
        head = mp.nint(log(2) * 2**bits) / 2**bits
        print(f"ln(2) in {bits} bits: {float(head).hex()}, and the rest {float(log(2) - head).hex()}")


if __name__ == "__main__":
    main()
