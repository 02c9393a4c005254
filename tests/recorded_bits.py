"""What the five oldest cells compute on the compiled kernels, to the last bit: cases and their digests.

``python tests/recorded_bits.py`` records the digests of the machine at hand in tests/recorded/bits.json.  What stands
there is from the kernels before cells were derived from their names, on an x86-64 processor with AVX-512 (Zen 4).
Sums run in one order on every processor; where a product and a sum become one operation is the compiler's choice.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.layers.rnn import FIVE_CELLS
from kernels.cells import Pass
from kernels.cpu.numba_kernels import NumbaKernels
from kernels.cpu.vector_width import REGISTERS
from kernels.gates import find

Array = Any
FILE = Path(__file__).parent / "recorded" / "bits.json"
SIZES = {"small": (9, 5, 7, 19), "chunks": (70, 6, 5, 32)}  # T, B, D, H; the second has several chunks
WAYS = ("full", "lengths", "bidirectional", "layers")
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def digest(name: str, dtype: str, size: str, way: str) -> str:
    """Digest of all that a layer gives: outputs, tape, gradients, traces."""
    T, B, D, H = SIZES[size]
    cell, rng = find(name), np.random.default_rng(5)
    G, states = len(cell.gates), len(cell.states)

    def draw(*shape: int) -> Array:
        return (0.4 * rng.normal(size=shape)).astype(dtype)

    lengths = rng.integers(0, T + 1, B) if way == "lengths" else None
    valid = np.ones((T, B, 1), bool) if lengths is None else np.arange(T)[:, None, None] < lengths[:, None]
    x, found = draw(T, B, D), hashlib.blake2b(digest_size=12)
    for _ in range(2 if way == "layers" else 1):
        ys = []
        for direction in range(2 if way == "bidirectional" else 1):
            shapes = (G * H, x.shape[2]), (G * H, H), (G * H,), (G * H,)
            weights = {key: draw(*shape) for key, shape in zip(NAMES, shapes, strict=True)}
            first, dlast = (tuple(draw(B, H) for _ in range(states)) for _ in range(2))
            dy = (draw(T, B, H) * valid).astype(dtype)
            ys.append(_run(cell, x[::-1] if direction else x, weights, first, lengths, dy, dlast, found))
        x = ys[0]
    return found.hexdigest()


def _run(
    cell: Any, x: Array, weights: dict[str, Array], first: Any, lengths: Array, dy: Array, dlast: Any, found: Any
) -> Array:
    kernels = NumbaKernels()
    given = Pass(cell, weights, lengths)
    run, y = kernels.forward_layer(given, x, first)
    alone = kernels.forward_layer(given, x, first, False)[1]
    grads = {name: np.zeros_like(value) for name, value in weights.items()}
    adjoints, dx = kernels.backward_layer(given, run, x, dy, dlast, grads, True)
    assert adjoints.traces is not None
    parts = [y, alone, run.h, run.gates, dx, adjoints.dstates[0], adjoints.traces[0], *grads.values()]
    if len(cell.states) > 1:
        parts += [run.states[1], adjoints.dstates[1], adjoints.traces[1]]
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    return y


def digests(name: str, dtype: str) -> dict[str, str]:
    """All cases of a cell and dtype."""
    return {f"{name}/{dtype}/{size}/{way}": digest(name, dtype, size, way) for size in SIZES for way in WAYS}


if __name__ == "__main__":
    every: dict[str, Any] = {}
    for cell_name in FIVE_CELLS:
        for number in ("float32", "float64"):
            every |= digests(cell_name, number)
    FILE.write_text(json.dumps({"register": REGISTERS.size, "digests": every}, indent=1) + "\n")
