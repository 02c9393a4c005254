"""Echo state networks (Jaeger 2001): a recurrent layer that stays as it was drawn, and a read-out by least squares.

The recurrent layer, the reservoir, turns the past of its input into many different signals, its echoes.  Only a linear
layer on top is fitted, in one step, by ridge regression.  Nothing goes back through time.

    model = engine.Sequential(engine.reservoir(1, 400), engine.Linear(400, 1, dtype="float64"))
    engine.fit_readout(model, x, y, washout=100)
    future = engine.free_run(model, x, steps=84)

`fit_readout` and `free_run` take every model: a trained LSTM runs freely too, and its last layer can be fitted anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backend import Backend
from engine.checks import describe, instance, integer, number
from engine.errors import bad_input
from engine.layers import Linear, Recurrent, Sequential
from engine.layers.base import Layer
from engine.layers.timeline import check_lengths


def reservoir(
    input_size: int,
    hidden_size: int,
    *,
    spectral_radius: float = 0.95,
    leak: float = 1.0,
    density: float = 0.1,
    input_scale: float = 1.0,
    bias_scale: float = 0.1,
    batch_first: bool = False,
    backend: str | Backend = "numpy",
    dtype: Any = "float64",
    seed: int | None = None,
) -> Recurrent:
    """A recurrent layer of leaky units with random weights that need no training.

    ``h = (1 - leak) * h_prev + leak * tanh(W_ih x + b + W_hh h_prev)`` (Jaeger and others 2007).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    spectral_radius : float
        The largest absolute eigenvalue of W_hh.  Near 1 the reservoir remembers long; below 1 it forgets where it
        started, in practice, though that is no proof (Jaeger 2001, proposition 3).
    leak : float
        How far a unit goes to its new value in one step, above 0 and at most 1; 1 is the plain RNN.
    density : float
        The share of the entries of W_hh that are not 0, above 0 and at most 1.
    input_scale : float
        Entries of W_ih are drawn from ``[-input_scale, input_scale]``.
    bias_scale : float
        Entries of b are drawn from ``[-bias_scale, bias_scale]``: units that differ at rest give different echoes.
    batch_first : bool
        Whether x and y are (B, T, ...) instead of (T, B, ...).
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float64"``, or ``"float32"``, in which a read-out can be no better than about 1e-3.
    seed : int or None
        Other seeds draw other weights; None means 0.

    Returns
    -------
    Recurrent
        A layer of the cell ``"leaky_rnn"``, with every method of a layer.

    Raises
    ------
    InputError, InputTypeError
        For an argument out of range, or a density at which no unit hears another.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> layer = engine.reservoir(1, 50, spectral_radius=0.8, leak=0.5)
    >>> round(float(np.abs(np.linalg.eigvals(layer.params["weight_hh_l0"])).max()), 6)
    0.8
    """
    radius = number("spectral_radius", spectral_radius)
    shares = {name: number(name, value) for name, value in (("leak", leak), ("density", density))}
    for name, value in shares.items():
        if not 0.0 < value <= 1.0:
            raise bad_input(name, "a number above 0 and at most 1", describe(value))
    scales = number("input_scale", input_scale), number("bias_scale", bias_scale)
    layer = Recurrent(
        "leaky_rnn", input_size, hidden_size, batch_first=batch_first, backend=backend, dtype=dtype, seed=seed
    )
    rng, units = np.random.default_rng(layer.seed), layer.hidden_size
    recurrent = rng.uniform(-1.0, 1.0, size=(units, units)) * (rng.random((units, units)) < shares["density"])
    largest = float(np.abs(np.linalg.eigvals(recurrent)).max())
    if largest < 1e-9:  # not exactly 0, as eigenvalues are rounded
        raise bad_input("density", f"enough for a loop among {units} units", describe(density), "raise it")
    zeros, bias = np.zeros(units), scales[1] * rng.uniform(-1.0, 1.0, size=units)
    weights = {
        "weight_ih_l0": scales[0] * rng.uniform(-1.0, 1.0, size=(units, layer.input_size)),
        "weight_hh_l0": recurrent * (radius / largest),
        "bias_ih_l0": bias,
        "bias_hh_l0": zeros,
        "p_leak_l0": zeros + shares["leak"],
    }
    layer.load_state_dict(weights)
    return layer


def fit_readout(
    model: Sequential, x: Any, y: Any, *, ridge: float = 1e-8, washout: int = 100, lengths: Any = None
) -> float:
    """Set the last layer's weights by ridge regression; every other layer stays as it is.

    It minimises ``sum (output - y)^2 + ridge * sum weight^2`` over all steps past the washout, in float64 on the host,
    by the least squares of NumPy (LAPACK's ``gelsd``), which never squares the condition number.

    Parameters
    ----------
    model : Sequential
        Any model whose last layer is a `Linear`.
    x : array (T, B, D)
        The input, in the model's own layout.
    y : array (T, B, K)
        What the model should give at each step.
    ridge : float
        The penalty; 0 is plain least squares.  The bias is not penalised.
    washout : int
        Steps at the start of each row that do not count: the state there still depends on where it began.
    lengths : sequence of int or None
        (B,) the valid steps of each row; None means all.

    Returns
    -------
    float
        The root of the mean squared error over the steps that count.

    Raises
    ------
    InputError, InputTypeError
        For another model, arrays that do not fit or hold NaN, or a washout that leaves no step.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> wave = np.sin(0.3 * np.arange(300))[:, None, None]
    >>> model = engine.Sequential(engine.reservoir(1, 30), engine.Linear(30, 1, dtype="float64"))
    >>> engine.fit_readout(model, wave[:-1], wave[1:], washout=50) < 1e-3
    True
    """
    instance("model", model, Sequential, "an engine.Sequential")
    readout = model.layers[-1]
    if not isinstance(readout, Linear) or len(model.layers) < 2:
        raise bad_input("model", "a Sequential whose last layer is a Linear", f"one that ends in {describe(readout)}")
    ridge, washout = number("ridge", ridge), integer("washout", washout, 0)
    states = _states(model, x, lengths)
    model.backend.require("y", y, dtype=model.dtype, shape=(*states.shape[:2], readout.out_features), axes="as x")
    counted = _counted(states.shape[:2], model.batch_first, washout, lengths)
    features = model.backend.to_host(states).astype(np.float64)[counted]
    targets = model.backend.to_host(y).astype(np.float64)[counted]
    for name, values in (("x", features), ("y", targets)):
        if not np.isfinite(values).all():
            raise bad_input(name, "finite numbers", "NaN or infinity past the washout", "fill or leave out these steps")
    weight, bias = _ridge(features, targets, ridge, readout.bias)
    readout.load_state_dict({"weight": weight.T} | ({"bias": bias} if readout.bias else {}))
    return float(np.sqrt(np.mean((features @ weight + bias - targets) ** 2)))


def free_run(model: Layer, x: Any, steps: int, state: Any = None) -> Any:
    """Let a model that foretells its own next input go on by itself.

    It reads x, the known past; its last output is the first value of the future.  Then each output is its next input.

    Parameters
    ----------
    model : Layer
        Any model with as many outputs as inputs that runs forward in time.
    x : array (T, B, D)
        The known past, at least one step, in the model's own layout.
    steps : int
        How many values to give.
    state : tuple, array or None
        The state before x; None means zeros.

    Returns
    -------
    array (steps, B, D)
        The future, in the layout of x.

    Raises
    ------
    InputError, InputTypeError
        For a model of another width or of two directions, or an x without steps.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> wave = np.sin(0.3 * np.arange(400))[:, None, None]
    >>> model = engine.Sequential(engine.reservoir(1, 30), engine.Linear(30, 1, dtype="float64"))
    >>> error = engine.fit_readout(model, wave[:299], wave[1:300], ridge=1e-10)
    >>> future = engine.free_run(model, wave[:300], steps=100)
    >>> float(abs(future - wave[300:]).max()) < 0.05
    True
    """
    instance("model", model, Layer, "a layer or model of engine")
    steps = integer("steps", steps, 1)
    if any(getattr(layer, "bidirectional", False) for layer in getattr(model, "layers", (model,))):
        raise bad_input("model", "one that runs forward in time", "a bidirectional one", "it would need the future")
    known, state = model.predict(x, state)
    time = 1 if model.batch_first else 0
    if known.ndim != 3 or known.shape[time] == 0 or known.shape[-1] != x.shape[-1]:
        expected = "x and output (T, B, D) with T >= 1 and the same D"
        raise bad_input("model", expected, f"x {tuple(x.shape)} and output {tuple(known.shape)}")
    last = known[:, -1] if time else known[-1]
    stepper = model.stepper(len(last), state)
    shape = (*known.shape[:time], steps, *known.shape[time + 1 :])
    future = model.backend.empty(shape, model.dtype)
    for step in range(steps):
        (future[:, step] if time else future[step])[...] = last
        if step + 1 < steps:
            last = stepper(last)
    return future


def _states(model: Sequential, x: Any, lengths: Any) -> Any:
    """What the last layer reads: (T, B, H), in the model's layout."""
    for layer in model.layers[:-1]:
        x, _ = layer.predict(x, None, lengths)
    if x.ndim != 3:
        raise bad_input("x", "an input with steps and rows, (T, B, D)", f"one that gives states of {x.ndim} axes")
    return x


def _counted(shape: tuple[int, int], batch_first: bool, washout: int, lengths: Any) -> NDArray[np.bool_]:
    """Which steps count, bool (T, B) or (B, T)."""
    steps, rows = shape[::-1] if batch_first else shape
    ends = np.full(rows, steps) if lengths is None else check_lengths(lengths, steps, rows)
    time = np.arange(steps)[:, np.newaxis]
    counted = (time >= washout) & (time < ends)
    if not counted.any():
        raise bad_input("washout", f"fewer than the {steps} steps of x", describe(washout), "no step is left to fit")
    return counted.T if batch_first else counted


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64], ridge: float, with_bias: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (H, K) and bias (K,) of ridge regression from features (M, H) to targets (M, K)."""
    center, level = features.mean(axis=0) * with_bias, targets.mean(axis=0) * with_bias
    penalty = np.sqrt(ridge) * np.eye(features.shape[1])
    rows = np.concatenate([features - center, penalty]) if ridge else features - center
    sought = np.concatenate([targets - level, np.zeros((len(rows) - len(targets), targets.shape[1]))])
    weight = np.linalg.lstsq(rows, sought, rcond=None)[0]
    return weight, level - center @ weight
