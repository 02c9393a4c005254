"""One forward and backward pass of a layer, with the value of every line of its gate functions.

The loss is one number made of the last output alone, so that what arrives at slot t has travelled T - t steps, and the
gradient of a slot is what the step after it sends back, and nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.errors import bad_input
from engine.explorer.recording import RecordedWork, recording
from engine.layers.recurrent import Recurrent
from engine.layers.tape import DirectionTape, DirectionTrace
from kernels.cells import Cell

#: Sizes of the small runs: all different.
STEPS, HIDDEN, INPUTS, PROJECTED = 16, 6, 3, 4
PLAIN = "numpy:reference"


class StepRun(NamedTuple):
    """One layer of one pass, row 0 of the batch.

    Attributes
    ----------
    cell : Cell
        The cell that ran.
    tape, trace : DirectionTape, DirectionTrace
        What forward and backward left, each with batch axis.
    records : tuple of RecordedWork
        One for each phase.
    shares : dict of str to ndarray
        For each weight of the layer (T,): the share of each step in its gradient; they add up to 1.
    units : ndarray
        Which hidden units the page shows, ascending.
    about : str
        Where the numbers come from, in words.
    labels : tuple of str
        What is read at each step; empty where there is nothing to read.
    title : str
        What the page calls it; empty: the cell's title.
    """

    cell: Cell
    tape: DirectionTape
    trace: DirectionTrace
    records: tuple[RecordedWork, ...]
    shares: dict[str, np.ndarray]
    units: np.ndarray
    about: str
    labels: tuple[str, ...] = ()
    title: str = ""

    @property
    def steps(self) -> int:
        """T."""
        return int(self.tape.x.shape[0])


def fill(layer: Recurrent, seed: int) -> None:
    """Give a layer random weights that move every gate and saturate none.

    Parameters
    ----------
    layer : Recurrent
        Its weights are overwritten; those with a first value of their own (gains) are spread around it.
    seed : int
        Of the random numbers.
    """
    rng = np.random.default_rng([seed, 7])
    first = {name: layer.cell.initial.get(name.partition("_l")[0], 0.0) for name in layer.params}
    layer.load_state_dict(
        {name: first[name] + rng.normal(scale=0.5, size=value.shape) for name, value in layer.params.items()}
    )


def small_run(cell: Cell, seed: int = 0) -> StepRun:
    """A small run of a cell with random weights and inputs.

    Parameters
    ----------
    cell : Cell
        Any cell of the registry, or one of your own.
    seed : int
        Of weights, inputs and of the gradient of the last output.

    Returns
    -------
    StepRun
        With T = 16 steps, D = 3 features and H = 6 units, all of which are shown.

    Examples
    --------
    >>> import engine
    >>> run = small_run(engine.cells()["gru"])
    >>> run.tape.h.shape, sorted(run.tape.gates)
    ((17, 1, 6), ['n', 'r', 'z'])
    """
    width = PROJECTED if cell.projected else 0
    layer = Recurrent(cell, INPUTS, HIDDEN, proj_size=width, backend=PLAIN, dtype="float64", seed=seed)
    fill(layer, seed)
    rng = np.random.default_rng([seed, 8])
    x = rng.normal(size=(STEPS, 1, INPUTS))
    dlast = rng.normal(size=(1, layer.widths[0]))
    about = f"random weights and inputs, seed {seed}"
    return run_of(layer, x, None, dlast, 0, np.arange(HIDDEN), about)


def run_of(
    layer: Recurrent, x: np.ndarray, state: Any, dlast: np.ndarray, which: int, units: np.ndarray | None, about: str
) -> StepRun:
    """Run a layer forward and backward and keep the value of every line.

    Parameters
    ----------
    layer : Recurrent
        Of any backend; a copy runs on the plain kernels in float64.  One direction.
    x : ndarray
        (T, 1, D) input, time first.
    state : tuple of ndarray or ndarray or None
        The initial state, as `Recurrent.forward` takes it.
    dlast : ndarray
        (1, P) gradient of the last output, where the other outputs get none; or (T, 1, P) of every output.
    which : int
        The layer of the stack that is shown.
    units : ndarray or None
        The units to show; None for those whose gradient is largest.
    about : str
        Where the numbers come from.

    Returns
    -------
    StepRun
        Of that layer.

    Raises
    ------
    InputError
        for a bidirectional layer.
    """
    if layer.bidirectional:
        hint = "the strip of time shows one direction"
        raise bad_input("layer", "a layer of one direction", "a bidirectional one", hint)
    ready = layer.backend.spec == PLAIN and layer.dtype == np.float64
    copy = layer if ready else layer.to(backend=PLAIN, dtype="float64")
    plain = copy._quiet
    dy = np.zeros((x.shape[0], 1, dlast.shape[-1]))
    dy[-1 if dlast.ndim == 2 else slice(None)] = dlast
    x, dy = (_laid_out(copy, values) for values in (x, dy))
    _, _, tape = copy.forward(x, state, training=False)
    trace = copy.backward_trace(tape, dy)
    shares = shares_of_steps(copy, tape, dy, trace.grads, f"_l{which}")
    copy._quiet, records = recording(plain)
    try:
        _, _, recorded = copy.forward(x, state, training=False)
        copy.backward_trace(recorded, dy)
    finally:
        copy._quiet = plain
    _keep_layer(records, which, copy.num_layers, tape.timeline.steps)
    found = trace.layers[which][0]
    if units is None:
        units = _loudest(found)
    return StepRun(plain, tape.layers[which][0], found, records, shares, units, about)


def shares_of_steps(
    layer: Recurrent, tape: Any, dy: np.ndarray, grads: dict[str, np.ndarray], end: str
) -> dict[str, np.ndarray]:
    """The share of each step in the gradient of each weight: they add up to 1.

    Step t adds g[t] to a weight's gradient g; its share is ``sum(g[t] * g) / sum(g * g)``.  A negative share pulls
    the other way.  The g[t] are those of the engine: backward over a window of one step.

    Parameters
    ----------
    layer : Recurrent
        One direction.
    tape : RecurrentTape
        Of its forward pass.
    dy : ndarray
        Gradient of the output, in its layout.
    grads : dict of str to ndarray
        The gradients of the whole pass.
    end : str
        How the names of the layer's weights end, such as ``_l0``.

    Returns
    -------
    dict of str to ndarray
        (T,) by the name of the weight without `end`; a weight whose gradient is 0 is left out.
    """
    dstate, T = None, tape.timeline.steps
    names = [name for name in grads if name.endswith(end) and np.any(grads[name])]
    names.sort(key=lambda name: not name.startswith("weight_hh"))  # the one that people ask about comes first
    shares = {name: np.zeros(T) for name in names}
    for t in range(T - 1, -1, -1):
        part = layer.backward_trace(layer.window(tape, t, t + 1), _step_of(layer, dy, t), dstate)
        dstate = part.dstate
        for name in names:
            whole = grads[name]
            shares[name][t] = np.sum(part.grads[name] * whole) / np.sum(whole * whole)
    return {name.removesuffix(end): values for name, values in shares.items()}


def _laid_out(layer: Recurrent, values: np.ndarray) -> np.ndarray:
    """Time-first values in the layer's layout."""
    return np.ascontiguousarray(values.swapaxes(0, 1)) if layer.batch_first else values


def _step_of(layer: Recurrent, values: np.ndarray, t: int) -> np.ndarray:
    """One step of values in the layer's layout."""
    return np.ascontiguousarray(values[:, t : t + 1] if layer.batch_first else values[t : t + 1])


def _loudest(trace: DirectionTrace, most: int = 8) -> np.ndarray:
    """The units with the largest gradient, each step counted alike."""
    dh = np.abs(trace.dh[:, 0])
    size = np.max(dh, axis=1, keepdims=True)
    weight = np.sum(np.divide(dh, size, out=np.zeros_like(dh), where=size > 0), axis=0)
    return np.sort(np.argsort(-weight)[:most])


def _keep_layer(records: tuple[RecordedWork, ...], which: int, layers: int, steps: int) -> None:
    """Leave in the records the calls of one layer, in the order of time: backward began at the top and at the end."""
    for pair in records:
        for record, at, order in ((pair.forward, which, 1), (pair.backward, layers - 1 - which, -1)):
            calls = slice(at * steps, (at + 1) * steps)
            record.given = {name: values[calls][::order] for name, values in record.given.items()}
            record.found = [values[calls][::order] for values in record.found]
