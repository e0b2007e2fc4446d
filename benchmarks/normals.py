"""Standard normals a second on one thread: kppstat's generator, NumPy's, and torch's where it is installed.

    python -m benchmarks.normals

Only kppstat's is a function of (seed, instance, tensor, element) with the same bits on every machine and for any
number of workers; NumPy's Philox generator is made anew for each tensor to come close.
"""

from __future__ import annotations

import time

import numpy as np

from kppstat.noise import normals


def best(draw, count, repeats=7):
    """Millions a second of processor time, the best of some repeats."""
    draw(0)
    least = np.inf
    for i in range(repeats):
        start = time.process_time()
        total = 0
        while total < 1 << 22:
            draw(i)
            total += count
        least = min(least, (time.process_time() - start) / total)
    return 1e-6 / least


def main():
    print("million a second")
    print(f"{'normals a tensor':>18} {'kppstat':>10} {'NumPy Philox':>14} {'NumPy PCG64':>12} {'torch':>8}")
    for count in (1_000, 60_000, 1 << 20):
        out = np.empty(count, np.float32)
        shared = np.random.default_rng(0)
        rates = [
            best(lambda i, count=count, out=out: normals(1, i, 0, count, out=out), count),
            best(
                lambda i, out=out: np.random.Generator(np.random.Philox(key=[1, i])).standard_normal(
                    dtype=np.float32, out=out
                ),
                count,
            ),
            best(lambda i, out=out, shared=shared: shared.standard_normal(dtype=np.float32, out=out), count),
        ]
        try:
            import torch
        except ImportError:
            rates.append(np.nan)
        else:
            torch.set_num_threads(1)
            tensor = torch.empty(count)
            rates.append(best(lambda i, tensor=tensor: tensor.normal_(), count))
        print(f"{count:18,} {rates[0]:10.0f} {rates[1]:14.0f} {rates[2]:12.0f} {rates[3]:8.0f}")


if __name__ == "__main__":
    main()
