"""The times in docs/reliability.md: ``.venv/bin/python tools/reliability.py``.

On a machine that does nothing else. What must hold without a clock is in the tests.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np

import fastbce as fb

THREADS = 32
CALLS = {
    "bce_with_logits, 1,000 float32": (1_000, 200),
    "bce_with_logits, 30,000 float32": (30_000, 20),
    "bce_with_logits, 1,000,000 float32": (1_000_000, 1),
    "cross_entropy, 2,000 x 100 float32": ((2_000, 100), 40),
}


def one_call(name, shape):
    x = np.random.default_rng(0).normal(scale=4, size=shape).astype(np.float32)
    if name.startswith("cross"):
        labels = np.zeros(shape[0], np.intp)
        return lambda: fb.cross_entropy_value_and_grad(x, labels)
    targets = x > 0
    return lambda: fb.bce_with_logits_value_and_grad(x, targets)


def seconds(work, threads):
    """From the first to the last of these threads that all do the same at once."""
    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def at_once(name, shape, times):
    """The time of 32 threads at once, relative to one that makes all of their calls; best of 30 each."""
    call = one_call(name, shape)
    one = all_of_them = np.inf
    for _ in range(30):
        one = min(one, seconds(lambda: [call() for _ in range(times * THREADS)], 1))
        all_of_them = min(all_of_them, seconds(lambda: [call() for _ in range(times)], THREADS))
    return all_of_them / one


INTERRUPTED = """
import os, signal, sys, time
import numpy as np
import fastbce as fb

def send():
    global sent
    time.sleep(0.5)
    sent = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)

import threading
x = np.broadcast_to(np.float32(0.5), 2**38)
threading.Thread(target=send).start()
try:
    fb.bce_with_logits(x, np.True_, num_threads=int(sys.argv[1]))
except KeyboardInterrupt:
    print(time.perf_counter() - sent)
"""


def interrupt_latency(num_threads):
    run = [sys.executable, "-c", INTERRUPTED, str(num_threads)]
    return max(float(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(5))


if __name__ == "__main__":
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(f"{os.cpu_count()} CPUs; {THREADS} threads at once / one after the other:")
    for name, (shape, times) in CALLS.items():
        print(f"  {name}: {at_once(name, shape, times):.2f}", flush=True)
    for num_threads in (1, 2):
        print(f"Ctrl-C in {num_threads} threads, the longest of 5: {interrupt_latency(num_threads):.2f} s")
