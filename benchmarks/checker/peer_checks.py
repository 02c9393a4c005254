"""Other gradient checkers on the same pairs of functions, each in a process of its own.

    python -m benchmarks.checker.peer_checks torch kinks,zeros 2

prints one JSON object; one that is not installed, or does not work here, gives the reason.  They know two verdicts, so
"wrong" of right code is a false alarm wherever it stands, on kinks as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.checker import hard_cases
from benchmarks.checker.hard.case import HardCase, Pair


def _torch(fast: bool) -> Callable[[Pair], bool]:
    torch = import_module("torch")

    def passes(pair: Pair) -> bool:
        forward, backward, inputs = pair

        class Checked(torch.autograd.Function):  # type: ignore[misc, name-defined, unused-ignore]
            @staticmethod
            def forward(ctx: Any, *tensors: Any) -> Any:
                out, ctx.cache = forward(*(tensor.detach().numpy().copy() for tensor in tensors))
                return torch.from_numpy(np.array(out, dtype=np.float64))

            @staticmethod
            def backward(ctx: Any, dout: Any) -> Any:
                found = backward(dout.numpy().copy(), ctx.cache)
                found = found if isinstance(found, (tuple, list)) else (found,)
                return tuple(torch.from_numpy(np.array(one, dtype=np.float64)) for one in found)

        tensors = tuple(torch.from_numpy(np.array(one)).requires_grad_() for one in inputs)
        return bool(torch.autograd.gradcheck(Checked.apply, tensors, fast_mode=fast, raise_exception=False))

    return passes


def _autograd() -> Callable[[Pair], bool]:
    extend, tests = import_module("autograd.extend"), import_module("autograd.test_util")

    def passes(pair: Pair) -> bool:
        forward, backward, inputs = pair

        def gradient(number: int) -> Callable[..., Any]:
            def pull(ans: Any, *values: Any) -> Callable[[Any], Any]:
                def back(dout: Any) -> Any:
                    found = backward(np.array(dout), forward(*values)[1])
                    return np.asarray((found if isinstance(found, (tuple, list)) else (found,))[number])

                return back

            return pull

        checked = extend.primitive(lambda *values: forward(*values)[0])
        extend.defvjp(checked, *map(gradient, range(len(inputs))))
        try:
            tests.check_grads(checked, modes=["rev"], order=1)(*inputs)
        except AssertionError:
            return False
        return True

    return passes


def _jax() -> Callable[[Pair], bool]:
    jax, tests = import_module("jax"), import_module("jax.test_util")
    jax.config.update("jax_enable_x64", True)

    def passes(pair: Pair) -> bool:
        forward, backward, inputs = pair
        shapes = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in inputs)
        like = np.asarray(forward(*inputs)[0])
        out = jax.ShapeDtypeStruct(like.shape, like.dtype)

        def pull(dout: Any, *values: Any) -> Any:
            found = backward(np.array(dout), forward(*map(np.array, values))[1])
            return tuple(map(np.asarray, found if isinstance(found, (tuple, list)) else (found,)))

        @jax.custom_vjp
        def checked(*values: Any) -> Any:
            return jax.pure_callback(lambda *v: np.asarray(forward(*map(np.array, v))[0]), out, *values)

        checked.defvjp(lambda *v: (checked(*v), v), lambda v, d: jax.pure_callback(pull, shapes, d, *v))
        try:
            tests.check_grads(checked, tuple(inputs), order=1, modes=["rev"])
        except AssertionError:
            return False
        return True

    return passes


def _chainer() -> Callable[[Pair], bool]:
    chainer, checks = import_module("chainer"), import_module("chainer.gradient_check")

    def passes(pair: Pair) -> bool:
        forward, backward, inputs = pair

        class Checked(chainer.Function):  # type: ignore[misc, name-defined, unused-ignore]
            def forward(self, values: Any) -> Any:
                out, self.cache = forward(*values)
                return (np.asarray(out),)

            def backward(self, values: Any, douts: Any) -> Any:
                found = backward(douts[0], self.cache)
                return tuple(map(np.asarray, found if isinstance(found, (tuple, list)) else (found,)))

        dout = np.random.default_rng(1).normal(size=np.shape(forward(*inputs)[0]))
        try:
            checks.check_backward(lambda *v: Checked()(*v), tuple(inputs), dout, dtype=np.float64)
        except AssertionError:
            return False
        return True

    return passes


PEERS: dict[str, Callable[[], Callable[[Pair], bool]]] = {
    "torch": lambda: _torch(fast=False),
    "torch-fast": lambda: _torch(fast=True),
    "autograd": _autograd,
    "jax": _jax,
    "chainer": _chainer,
}


def numeric(case: HardCase) -> bool:
    """Whether a case is float64 arrays in, one array out: what every peer takes."""
    forward, _, inputs = case.make(hard_cases.generator(case, 0))
    plain = all(isinstance(one, np.ndarray) and one.dtype == np.float64 for one in inputs)
    return plain and isinstance(forward(*inputs)[0], (np.ndarray, np.floating))


def row(peer: str, families: str, seeds: int) -> str:
    """A line of the table: what a peer says of all numeric cases, or why it says nothing."""
    command = [sys.executable, "-m", "benchmarks.checker.peer_checks", peer, families, str(seeds)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"{peer:<24} not run: {reason}"
    count = json.loads(found.stdout)
    told = "".join(f"{count.get(one, 0):>{width}}" for one, width in (("ok", 13), ("error", 11), ("wrong", 14)))
    return f"{peer:<24}{sum(count.values()):>8}{told}"


def main(peer: str, families: str, seeds: str) -> None:
    """Check all numeric cases with one peer, and print what it says."""
    passes = PEERS[peer]()
    count: Counter[str] = Counter()
    for case in filter(numeric, hard_cases.cases(tuple(families.split(",")))):
        for seed in range(int(seeds)):
            with np.errstate(all="ignore"):
                try:
                    count["ok" if passes(case.make(hard_cases.generator(case, seed))) else "wrong"] += 1
                except Exception:  # a peer's own limits are its row's business
                    count["error"] += 1
    print(json.dumps(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
