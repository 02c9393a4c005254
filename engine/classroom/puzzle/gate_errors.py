"""How far off each gate's gradient is at each time step: backward's own values beside central differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.layers.recurrent import Recurrent
from engine.layers.rnn import layer_of
from engine.zoo import BugCase

#: Displacement of a pre-activation; with values of size 1 the error of the difference is about 1e-10.
STEP = 1e-5


def cotangents(case: BugCase, seed: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Random gradients of the output, (T, B, H), and of each final state, (1, B, H)."""
    rng = np.random.default_rng([seed, 7])
    y, last, _ = case.layer.forward(case.x, case.state, case.lengths)
    return rng.normal(size=y.shape), tuple(rng.normal(size=part.shape) for part in _parts(last))


def analytic(case: BugCase, dy: np.ndarray, dlast: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """What backward says: the gradient of each gate's pre-activation, (T, B, H).

    Call it while the bug is planted.
    """
    _, _, tape = case.layer.forward(case.x, case.state, case.lengths)
    trace = case.layer.backward_trace(tape, dy, dlast if len(dlast) > 1 else dlast[0])
    return {name: np.array(values) for name, values in trace.layers[0][0].gates.items()}


def numeric(case: BugCase, dy: np.ndarray, dlast: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """The same by central differences of the loss sum(dy * y) + sum(dlast * last), (T, B, H) for each gate.

    A pre-activation is no argument of the forward pass.  So the layer gets one more input for each row of weight_ih,
    with an identity matrix as its weights: what such an input is, is added to the pre-activation.  All displaced
    passes are rows of one batch.
    """
    layer, (T, B, D) = case.layer, case.x.shape
    rows = layer.params["weight_ih_l0"].shape[0]
    wide = _with_inputs_for_gates(layer, D, rows)
    count = T * rows
    x = np.zeros((T, count, B, D + rows))
    x[..., :D] = case.x[:, None]
    which = np.arange(count)
    state = tuple(np.tile(part, (1, count, 1)) for part in _parts(case.state))
    lengths = None if case.lengths is None else list(case.lengths) * count
    losses = []
    for sign in (1.0, -1.0):
        x[which // rows, which, :, D + which % rows] = sign * STEP
        y, last = wide.predict(x.reshape(T, count * B, -1), state if len(state) > 1 else state[0], lengths)
        loss = (y.reshape(T, count, B, -1) * dy[:, None]).sum(axis=(0, 3))
        for part, weights in zip(_parts(last), dlast, strict=True):
            loss += (part.reshape(count, B, -1) * weights).sum(axis=-1)
        losses.append(loss)
    slopes = (losses[0] - losses[1]) / (2.0 * STEP)  # (T * rows, B)
    gates = layer.cell.gates
    shaped = slopes.reshape(T, len(gates), rows // len(gates), B).transpose(1, 0, 3, 2)
    return dict(zip(gates, shaped, strict=True))


def gate_errors(analytic: dict[str, np.ndarray], numeric: dict[str, np.ndarray]) -> np.ndarray:
    """The largest error of each gate at each step, relative to the largest right value there.

    Returns
    -------
    np.ndarray
        (G, T), gates in the order of the dicts.
    """
    everywhere = max(float(np.abs(values).max()) for values in numeric.values())
    found = []
    for gate, right in numeric.items():
        size = np.abs(right).max(axis=(1, 2))
        gap = np.abs(analytic[gate] - right).max(axis=(1, 2))
        found.append(gap / np.where(size > 1e-6 * everywhere, size, everywhere))
    return np.array(found)


def _with_inputs_for_gates(layer: Recurrent, inputs: int, rows: int) -> Recurrent:
    """A copy of the layer with `rows` more inputs, each added to one pre-activation."""
    wide = layer_of(layer.cell.name, inputs + rows, layer.hidden_size, dtype="float64", backend="numpy:reference")
    values: dict[str, Any] = {name: np.array(value) for name, value in layer.params.items()}
    values["weight_ih_l0"] = np.concatenate([values["weight_ih_l0"], np.eye(rows)], axis=1)
    wide.load_state_dict(values)
    return wide


def _parts(state: Any) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)
