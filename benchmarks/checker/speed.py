"""How long a check of someone's NumPy LSTM takes, beside PyTorch's checker on the same pair of functions.

    python -m benchmarks.checker.speed [--rounds 5] [--steps 10] [--units 16]

Each check is made in a process of its own, warm, on one thread; the checkers take turns, and medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
BATCH = 3

Check = Callable[[list[np.ndarray]], bool]


def main() -> None:
    """Take turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--units", type=int, default=16)
    parser.add_argument("--worker", choices=CHECKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(_measured(options)))
        return
    seconds: dict[str, list[float]] = {name: [] for name in CHECKERS}
    for _ in range(options.rounds):
        for name in CHECKERS:
            seconds[name].append(_in_a_process(name, options))
    inputs = problem(options.steps, options.units)
    print(f"LSTM, T={options.steps}, D=H={options.units}, B={BATCH}: {sum(one.size for one in inputs):,} entries")
    for name, found in seconds.items():
        print(f"{name:<42} {statistics.median(found):8.3f} s   ({min(found):.3f} to {max(found):.3f})")


def _in_a_process(name: str, options: argparse.Namespace) -> float:
    sizes = ["--steps", str(options.steps), "--units", str(options.units)]
    command = [sys.executable, "-m", "benchmarks.checker.speed", "--worker", name, *sizes]
    environment = os.environ | dict.fromkeys(THREADS, "1")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    if not found["right"]:
        raise SystemExit(f"{name} calls right code wrong")
    return float(found["seconds"])


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    check = CHECKERS[options.worker]
    check(problem(2, 3))  # imports, first calls
    inputs = problem(options.steps, options.units)
    started = time.perf_counter()
    right = check(inputs)
    return {"seconds": time.perf_counter() - started, "right": bool(right)}


# -- the pair, as its writer would have it -----------------------------------------------------------------------------


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-a))."""
    return 1 / (1 + np.exp(-a))


def forward(x: Any, h: Any, c: Any, W: Any, U: Any, b: Any) -> Any:
    """x (T, B, D), h and c (B, H), W (4H, D), U (4H, H), b (4H,): gates i, f, g, o."""
    size, steps, y = h.shape[1], [], np.zeros((len(x), *h.shape))
    for t in range(len(x)):
        a = x[t] @ W.T + h @ U.T + b
        i, f = sigmoid(a[:, :size]), sigmoid(a[:, size : 2 * size])
        g, o = np.tanh(a[:, 2 * size : 3 * size]), sigmoid(a[:, 3 * size :])
        h_prev, c_prev = h, c
        c = f * c + i * g
        s = np.tanh(c)
        h = o * s
        y[t] = h
        steps.append((x[t], h_prev, c_prev, i, f, g, o, s))
    return (y, h, c), (steps, W, U)


def backward(dout: Any, cache: Any) -> Any:
    """Gradients by all six."""
    (dy, dh, dc), (steps, W, U) = dout, cache
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    dx = np.zeros((len(steps), *steps[0][0].shape))
    for t in reversed(range(len(steps))):
        x_t, h_prev, c_prev, i, f, g, o, s = steps[t]
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - s * s)
        gates = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g * g), dh * s * o * (1 - o)]
        da = np.concatenate(gates, axis=1)
        dW += da.T @ x_t
        dU += da.T @ h_prev
        db += da.sum(axis=0)
        dx[t] = da @ W
        dh, dc = da @ U, dc * f
    return dx, dh, dc, dW, dU, db


def problem(steps: int, units: int) -> list[np.ndarray]:
    """Random inputs."""
    draw, near = np.random.default_rng(0), 1 / np.sqrt(units)
    states = [draw.normal(size=(BATCH, units)) for _ in range(2)]
    shapes = [(4 * units, units), (4 * units, units), (4 * units,)]
    return [draw.normal(size=(steps, BATCH, units)), *states, *(draw.uniform(-near, near, one) for one in shapes)]


# -- the checkers ------------------------------------------------------------------------------------------------------


def _ours(**options: Any) -> Check:
    def check(inputs: list[np.ndarray]) -> bool:
        import engine

        return bool(engine.check_gradients(forward, backward, inputs, **options).passed)

    return check


def _theirs(fast: bool) -> Check:
    def check(inputs: list[np.ndarray]) -> bool:
        import torch

        torch.set_num_threads(1)

        class Pair(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arrays: Any) -> Any:
                out, ctx.kept = forward(*(one.detach().numpy() for one in arrays))
                return tuple(torch.from_numpy(one.copy()) for one in out)

            @staticmethod
            def backward(ctx: Any, *douts: Any) -> Any:
                return tuple(torch.from_numpy(one) for one in backward([one.numpy() for one in douts], ctx.kept))

        tensors = [torch.tensor(one, requires_grad=True) for one in inputs]
        return bool(torch.autograd.gradcheck(Pair.apply, tensors, fast_mode=fast))

    return check


CHECKERS: dict[str, Check] = {
    "check_gradients, all entries": _ours(),
    "check_gradients, 'directional'": _ours(method="directional"),
    "check_gradients, seconds=0": _ours(seconds=0.0),
    "torch.autograd.gradcheck, slow": _theirs(fast=False),
    "torch.autograd.gradcheck, fast": _theirs(fast=True),
}


if __name__ == "__main__":
    main()
