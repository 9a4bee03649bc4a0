"""Calls in teams of threads, alone and from several Python threads, for ThreadSanitizer: make test-tsan.

It sees into what was compiled of fastbce, knows what Python locks order, and from Archer what OpenMP does.
"""

import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from attack import forms_of, options_for
from cases import inputs, losses_shape, same_bits

import fastbce as fb

# Just large enough for a team, where weights are summed first, too; of a single row each thread has pieces,
# and of rows of so many classes, where they lie across memory, or copies; or classes alternate there.
BINARY = [(40_001,), (4_001, 10)]  # in Fortran order, too, where two threads have parts of a row
SHAPES = {"cross_entropy": [(4_001, 10), (33_001, 2), (1, 40_001), (40, 10_001), (1_100, 160), (5, 8_001)]}
CALLERS = 8
WAVES = 4  # of callers: two of them have teams, and leave that to others when they end


def calls():
    """Form, first argument, targets, options, shapes of outputs."""
    rng = np.random.default_rng(0)
    for function in ("bce", "bce_with_logits", "sigmoid_focal_loss", "cross_entropy"):
        for shape in SHAPES.get(function, BINARY):
            first, targets = inputs(function, shape, np.float32)
            options = options_for(function, shape, rng)
            for form, of_losses, of_elements in forms_of(function):
                if shape[0] == 1 and "hess_out" in of_elements:
                    continue  # takes one thread
                outputs = dict.fromkeys(of_losses, losses_shape(function, shape))
                outputs |= dict.fromkeys(of_elements, shape)
                yield form, first, targets, {}, {}
                yield form, first, targets, options, outputs
                if function == "cross_entropy":
                    yield form, first.T.copy(), targets, {"axis": 0}, {}
                elif first.ndim == 2:
                    in_columns = dict.fromkeys(of_elements, shape)
                    yield form, np.asfortranarray(first), np.asfortranarray(targets), {}, in_columns


def results(call, num_threads):
    form, first, targets, options, shapes = call
    order = "F" if first.flags.fnc else "C"
    outputs = {name: np.empty(shape, first.dtype, order) for name, shape in shapes.items()}
    returned = form(first, targets, **options, **outputs, num_threads=num_threads)
    return [*(returned if isinstance(returned, tuple) else [returned]), *outputs.values()]


def check(call, num_threads, expected):
    assert all(map(same_bits, results(call, num_threads), expected)), (call[0].__name__, call[1].shape)


def others_time():
    """How long other threads than this one have worked, in seconds."""
    return time.process_time() - time.thread_time()


def in_teams(jobs):
    """Make each call until it has a team: after a late one, calls go without. Returns how many that took."""
    count = 0
    for call, expected in jobs:
        for num_threads in (2, 4):
            has_team = False
            while not has_team:
                before = others_time()
                check(call, num_threads, expected)
                has_team = others_time() - before > 1e-4
                count += 1
                assert count < 20_000, f"{call[0].__name__} of {call[1].shape}: no team"
    return count


def in_any_order(jobs, seed):
    """Returns how long this thread has worked."""
    rng = np.random.default_rng(seed)
    for k in rng.permutation(len(jobs)):
        call, expected = jobs[k]
        check(call, [None, 2, 4][rng.integers(3)], expected)
    return time.thread_time()


def main():
    assert fb.show_config("dicts")["openmp"]
    jobs = [(call, results(call, 1)) for call in calls()]
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(in_teams, jobs).result()
    before, of_callers, changes = others_time(), 0, 0
    for wave in range(WAVES):
        with ThreadPoolExecutor(CALLERS) as pool:
            pending = [pool.submit(in_any_order, jobs, CALLERS * wave + k) for k in range(CALLERS)]
            while wait(pending, 0.001).not_done:
                changes += 1
                fb.set_num_threads(1 + changes % 4)
                with fb.threads(2):
                    fb.show_config("dicts")
            of_callers += sum(caller.result() for caller in pending)
    in_their_teams = others_time() - before - of_callers
    assert in_their_teams > 0.01
    print(
        f"{alone} calls alone, {WAVES * CALLERS * len(jobs)} from {CALLERS} threads at once "
        f"({in_their_teams:.1f} s of work in their teams), {changes} changes of the number of threads"
    )


if __name__ == "__main__":
    main()
