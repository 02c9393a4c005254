"""What a truncation leaves out of the gradient: its bias, parameter by parameter and over k2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.checks import describe, integer
from engine.drawing import load_matplotlib, new_figure
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.long_sequences.parts import require_sequence
from engine.truncation import truncated_bptt


class Bias(NamedTuple):
    """One parameter under one truncation.

    Attributes
    ----------
    name : str
        The parameter.
    k1, k2 : int
        The truncation.
    cosine : float
        Cosine of the angle between the truncated gradient and the full one; NaN if one of them is zero.
    ratio : float
        Norm of the truncated gradient, divided by that of the full one.
    error : float
        Norm of their difference, divided by that of the full one.
    """

    name: str
    k1: int
    k2: int
    cosine: float
    ratio: float
    error: float


@dataclass(frozen=True)
class TruncationBias:
    """What `truncation_bias` returns; printed, it is a table.

    Attributes
    ----------
    rows : tuple of Bias
        One for each parameter and each k2.
    """

    rows: tuple[Bias, ...]

    def __str__(self) -> str:
        width = max(9, *(len(row.name) for row in self.rows))
        lines = [f"{'parameter':<{width}}   k1    k2  cosine  norm ratio  error"]
        for name, k1, k2, cosine, ratio, error in self.rows:
            lines.append(f"{name:<{width}}  {k1:3}  {k2:4}  {cosine:6.3f}  {ratio:10.3f}  {error:5.3f}")
        return "\n".join(lines)

    __repr__ = __str__

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [row._asdict() for row in self.rows]

    def plot(self, path: Any = None) -> Any:
        """Draw cosine, norm ratio and error of each parameter over k2.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write, its kind by its ending.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        with load_matplotlib().rc_context({"font.size": 9, "axes.grid": True, "grid.color": "#e6e6e6"}):
            figure = new_figure(figsize=(11.0, 3.4), layout="constrained")
            for axes, field in zip(figure.subplots(1, 3), ("cosine", "ratio", "error"), strict=True):
                draw(axes, self.rows, field)
        if path is not None:
            figure.savefig(path)
        return figure


#: Colour, line and mark of a parameter: told apart in grey as well.
_STYLES = (("#1f5f99", "-", "o"), ("#c2500a", "--", "s"), ("#4a7a2c", "-.", "^"), ("#6b4a8a", ":", "D"))
_TITLES = {"cosine": "cosine to the full gradient", "ratio": "norm, of the full one", "error": "relative error"}


def draw(axes: Any, rows: Sequence[Bias], field: str) -> None:
    """One of the numbers of every parameter over k2."""
    for number, name in enumerate(dict.fromkeys(row.name for row in rows)):
        own = [row for row in rows if row.name == name]
        colour, line, mark = _STYLES[number % len(_STYLES)]
        values = [getattr(row, field) for row in own]
        axes.plot([row.k2 for row in own], values, line, color=colour, marker=mark, markersize=4, label=name)
    axes.set(title=_TITLES[field], xlabel="k2", xscale="log")
    axes.legend(fontsize=8, frameon=False)


def truncation_bias(
    layer: Layer,
    x: Any,
    loss: Callable[[Any], tuple[Any, Any]],
    k2: Sequence[int],
    k1: int | None = None,
    *,
    state: Any = None,
    names: Sequence[str] | None = None,
) -> TruncationBias:
    """Compare truncated gradients with the full one, parameter by parameter.

    A truncated gradient is not a noisy copy of the full one: its error does not average out over batches.

    Parameters
    ----------
    layer : Layer
        A layer or `Sequential` whose recurrent parts have one direction; its gradients stay as they are.
    x : array (T, B, D)
        Its input, or as the layer takes it.
    loss : callable
        From the output y of the whole sequence to the pair (loss, dy), as for `truncated_bptt`.
    k2 : sequence of int
        The truncations to try.
    k1 : int or None
        Steps between two backward passes; None means k2, so that the sequence is cut into chunks.
    state : array, tuple or None
        The initial state; None is zeros.
    names : sequence of str or None
        The parameters to compare; None means all.

    Returns
    -------
    TruncationBias
        ``print(bias)`` shows the table, ``bias.plot()`` the picture; ``bias.rows`` are the numbers.

    Raises
    ------
    InputError, InputTypeError
        For k2 below k1, a name that is no parameter's, and a bidirectional layer.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> lstm = engine.LSTM(2, 4, dtype="float64", seed=1)
    >>> x = np.random.default_rng(0).normal(size=(40, 3, 2))
    >>> loss = lambda y: engine.mse(y, np.ones_like(y))
    >>> print(engine.truncation_bias(lstm, x, loss, k2=[1, 4, 40], names=["weight_hh_l0"]))
    parameter      k1    k2  cosine  norm ratio  error
    weight_hh_l0    1     1   0.929       0.495  0.570
    weight_hh_l0    4     4   0.983       0.735  0.309
    weight_hh_l0   40    40   1.000       1.000  0.000
    """
    if not isinstance(layer, Layer):
        raise bad_type("layer", "a layer of engine", describe(layer))
    if not callable(loss) or isinstance(loss, type):
        raise bad_type("loss", "a function that returns the pair (loss, dy)", describe(loss))
    tried = [integer("k2", value, 1) for value in _several("k2", "truncations to try", k2)]
    pairs = [(value if k1 is None else integer("k1", k1, 1), value) for value in tried]
    wanted = list(layer.params) if names is None else _several("names", f"some of {sorted(layer.params)}", names)
    for name in wanted:
        if not isinstance(name, str) or name not in layer.params:
            raise bad_input("names", f"some of {sorted(layer.params)}", describe(name))
    require_sequence(layer, x)
    steps = x.shape[1 if layer.batch_first else 0]
    before, counters = {name: layer.backend.xp.copy(grad) for name, grad in layer.grads.items()}, layer.call_counters()

    def gradient(one: int, other: int) -> dict[str, np.ndarray]:
        layer.zero_grad()
        layer.load_call_counters(counters)  # the same masks
        truncated_bptt(layer, x, loss, one, other, state)
        return {name: np.array(layer.backend.to_host(layer.grads[name]), dtype=np.float64) for name in wanted}

    try:
        full = gradient(max(steps, 1), max(steps, 1))
        rows = [_beside(full, gradient(one, other), one, other) for one, other in pairs]
    finally:
        layer.load_call_counters(counters)
        for name, grad in before.items():
            layer.grads[name] = grad
    return TruncationBias(tuple(row for name in wanted for found in rows for row in found if row.name == name))


def _several(argument: str, what: str, given: Any) -> list[Any]:
    """A list with at least one entry."""
    if not isinstance(given, (list, tuple)):
        raise bad_type(argument, f"a list of {what}", describe(given))
    if not given:
        raise bad_input(argument, f"a list of {what}", "an empty one")
    return list(given)


def _beside(full: dict[str, np.ndarray], part: dict[str, np.ndarray], k1: int, k2: int) -> list[Bias]:
    """The rows of one truncation."""
    found = []
    for name, whole in full.items():
        other, norm = part[name], float(np.linalg.norm(whole))
        own = float(np.linalg.norm(other))
        cosine = float((whole * other).sum()) / (norm * own) if norm * own else float("nan")
        share = [value / norm if norm else float("nan") for value in (own, float(np.linalg.norm(whole - other)))]
        found.append(Bias(name, k1, k2, cosine, *share))
    return found
