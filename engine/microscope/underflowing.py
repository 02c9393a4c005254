"""Which gradients half precision loses: by layer, gate and time step, without and with a loss scale."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.checks import describe, number, one_of
from engine.drawing import load_matplotlib, new_figure
from engine.errors import StorageError, bad_input, bad_type, sentence
from engine.layers import Recurrent
from engine.layers.base import Layer
from engine.microscope import passes
from engine.microscope.picture import COLUMNS, INK, SETTINGS, STYLES, require_a_picture
from engine.microscope.result import plain
from engine.microscope.tracing import model_names, objective_of
from engine.optimizers.loss_scaling import LARGEST
from kernels.rounding import ROUNDINGS

#: The smallest number of full accuracy, and the largest number.
_NORMAL = {"bf16": 2.0**-126, "fp16": 2.0**-14}
_LARGEST = {"bf16": 3.3895313892515355e38, "fp16": 65504.0}
#: A long sequence is shown in so many spans of steps.
_SPANS = 8
KINDS = ("zero", "subnormal", "overflow")


class Counts(NamedTuple):
    """The gradients of one gate's pre-activations at each step, counted over rows and units.

    Attributes
    ----------
    counted : numpy.ndarray (T,)
        Those that are not 0 in float32.
    zero, subnormal, overflow : numpy.ndarray (2, T)
        Of these: rounded to 0, rounded to a number of less than full accuracy, or infinite or NaN; without a scale, and
        with it.
    """

    counted: np.ndarray
    zero: np.ndarray
    subnormal: np.ndarray
    overflow: np.ndarray


@dataclass(frozen=True)
class Underflow:
    """What `engine.underflow` has counted.

    Attributes
    ----------
    precision : str
        ``"fp16"`` or ``"bf16"``.
    scale : float
        The loss scale of the second count.
    suggested : float
        The largest power of two by which no gradient is scaled past the largest number.
    layers : dict of str to dict of str to Counts
        By layer and direction, and by gate.
    """

    precision: str
    scale: float
    suggested: float
    layers: Mapping[str, Mapping[str, Counts]]

    def share(self, kind: str, layer: str | None = None, gate: str | None = None) -> tuple[float, float]:
        """The share of the gradients that are lost so, without and with the scale; 0 if there are none.

        Parameters
        ----------
        kind : {"zero", "subnormal", "overflow"}
            How they are lost.
        layer, gate : str or None
            Names; None is all of them.

        Returns
        -------
        tuple of two floats
            Without the scale, and with it.
        """
        one_of("kind", kind, KINDS)
        chosen = [
            counts
            for name, gates in self.layers.items()
            for key, counts in gates.items()
            if layer in (None, name) and gate in (None, key)
        ]
        if not chosen:
            raise bad_input("layer", f"some of {', '.join(self.layers)} and a gate of it", f"{layer!r} and {gate!r}")
        lost = sum(getattr(counts, kind).sum(axis=1) for counts in chosen)
        both = lost / max(1, sum(int(counts.counted.sum()) for counts in chosen))
        return float(both[0]), float(both[1])

    def by_step(self, kind: str, layer: str) -> np.ndarray:
        """The same for each time step over all gates of a layer and direction, (2, T); NaN where there are none.

        Parameters
        ----------
        kind : {"zero", "subnormal", "overflow"}
            How they are lost.
        layer : str
            Name of a layer and direction.

        Returns
        -------
        numpy.ndarray (2, T)
            Without the scale, and with it.
        """
        one_of("kind", kind, KINDS)
        one_of("layer", layer, tuple(self.layers))
        gates = self.layers[layer].values()
        counted = np.sum([counts.counted for counts in gates], axis=0)
        lost = np.sum([getattr(counts, kind) for counts in gates], axis=0)
        return np.asarray(np.where(counted > 0, lost / np.maximum(counted, 1), np.nan))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON has it: counts as lists."""
        layers = {
            name: {
                gate: {key: plain(values) for key, values in counts._asdict().items()} for gate, counts in gates.items()
            }
            for name, gates in self.layers.items()
        }
        totals = {kind: list(self.share(kind)) for kind in KINDS}
        return {
            "precision": self.precision,
            "scale": self.scale,
            "suggested": self.suggested,
            "shares": totals,
            "layers": layers,
        }

    def plot(self, path: Any = None) -> Any:
        """Draw the shares over time, a panel for each layer and direction.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write, its kind by its ending.

        Returns
        -------
        matplotlib.figure.Figure
            With a panel for each layer and direction, of the first four.
        """
        require_a_picture(path)
        names = list(self.layers)[:COLUMNS]
        with load_matplotlib().rc_context(SETTINGS):
            figure = new_figure(figsize=(2.0 + 4.4 * len(names), 3.8), layout="constrained")
            panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
            for panel, name in zip(panels, names, strict=True):
                self._draw(panel, name)
            panels[0].set_ylabel("share of the gradients, %")
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
            figure.suptitle(f"gradients that {self.precision} loses", color=INK)
            if path is not None:
                try:
                    figure.savefig(path, dpi=120)
                except (OSError, ValueError) as error:
                    reason = getattr(error, "strerror", None) or error
                    raise StorageError(sentence(os.fspath(path), "a file that can be written", reason)) from error
        return figure

    def _draw(self, panel: Any, name: str) -> None:
        lines = [("zero", 0, "to 0"), ("subnormal", 0, "subnormal")]
        lines += [("zero", 1, f"to 0, x {self.scale:g}"), ("overflow", 1, f"overflow, x {self.scale:g}")]
        for (kind, place, label), (colour, line, _) in zip(lines, STYLES, strict=False):
            share = 100 * self.by_step(kind, name)[place]
            panel.plot(np.arange(len(share)), share, color=colour, linestyle=line, lw=1.5, label=label)
        panel.set(title=name, xlabel="step t", ylim=(-3, 103))
        panel.xaxis.get_major_locator().set_params(integer=True)

    def __str__(self) -> str:
        return "\n".join(_table(self))


def _table(found: Underflow) -> Iterator[str]:
    """The table: a row for each gate, then one for each span of steps."""
    yield f"gradients of pre-activations that {found.precision} loses, in per cent of those that are not 0"
    yield f"{'':<24} {'no scale':^30}   {f'x {found.scale:g}':^30}"
    heads = " ".join(f"{head:>10}" for head in ("to 0", "subnormal", "overflow"))
    yield f"{'layer':<12} {'gate':<11} {heads}   {heads}"
    for name, gates in found.layers.items():
        for gate in gates:
            yield f"{name:<12} {gate:<11} " + _six([found.share(kind, name, gate) for kind in KINDS])
    for name in found.layers:
        by_step = [found.by_step(kind, name) for kind in KINDS]
        steps = by_step[0].shape[1]
        yield f"{name}, all gates, by step:"
        for part in np.array_split(np.arange(steps), min(_SPANS, steps)):
            where = f"{part[0]}" if len(part) == 1 else f"{part[0]} to {part[-1]}"
            shares = [tuple(_mean(values[place, part]) for place in range(2)) for values in by_step]
            yield f"{'':<12} {where:<11} " + _six(shares)
    yield f"largest power of two without an overflow: {found.suggested:g}"


def _six(shares: list[Any]) -> str:
    cells = [f"{100 * share[place]:>10.2f}" for place in range(2) for share in shares]
    return " ".join(cells[:3]) + "   " + " ".join(cells[3:])


def _mean(values: np.ndarray) -> float:
    """The mean of those that are there."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


@np.errstate(all="ignore")
def underflow(
    model: Layer,
    x: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    dy: Any = None,
    loss: Callable[[Any], tuple[Any, Any]] | None = None,
    precision: str = "fp16",
    scale: float = 2.0**16,
    seed: int = 0,
) -> Underflow:
    """Count the gradients that a model in half precision loses, without and with a loss scale.

    Three copies of the model run forward and backward, without dropout: one in float32 says which gradients there are;
    two in `precision` say what becomes of them, one of these with the gradient of the loss times `scale`.  What is
    counted are the gradients of the gates' pre-activations, which products take as operands in backward.

    Parameters
    ----------
    model : Layer
        A recurrent layer with any cell, or a `Sequential` with recurrent layers in it, of any precision.
    x, state, lengths, dy, loss : array, array, sequence of int, array, callable
        As for `engine.trace`.
    precision : {"fp16", "bf16"}
        Of the copies' recurrent layers.
    scale : float
        The loss scale, a number > 0.
    seed : int
        As for `engine.trace`.

    Returns
    -------
    Underflow
        ``print`` shows it as a table, ``plot`` draws it over time, ``to_dict`` has all counts.

    Raises
    ------
    InputError, InputTypeError
        For arguments that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> lstm = engine.LSTM(3, 4, backend="numpy:reference")
    >>> x = np.random.default_rng(0).normal(size=(40, 2, 3)).astype(np.float32)
    >>> found = engine.underflow(lstm, x, loss=lambda y: engine.mse(y, np.zeros_like(y), normalizer=1e6))
    >>> lost, with_scale = found.share("zero")
    >>> lost > 0.5, with_scale
    (True, 0.0)
    """
    names = model_names(model)
    one_of("precision", precision, tuple(ROUNDINGS))
    factor = number("scale", scale)
    if not 0 < factor <= LARGEST:
        raise bad_input("scale", "a number > 0 and <= 2**30", describe(scale))
    if dy is not None and loss is not None:
        raise bad_input("loss", "None where dy is given", describe(loss), "give one of the two")
    if loss is not None and not callable(loss):
        raise bad_type("loss", "a function that returns the pair (loss, dy)", describe(loss))
    y, _, _ = model.forward(x, state, lengths, training=False)
    given = objective_of(model, y, lengths, dy, loss, seed).dy
    arguments = x, state, lengths, given
    exact = _flows(model, "float32", arguments, 1.0)
    plainly, scaled = (_flows(model, precision, arguments, by) for by in (1.0, factor))
    layers, largest = {}, 0.0
    for name in names:
        gates = {}
        for gate, values in exact[name].items():
            gates[gate] = _counts(values, (plainly[name][gate], scaled[name][gate]), precision)
            largest = max(largest, float(np.abs(values).max(initial=0.0)))
        layers[name] = gates
    room = _LARGEST[precision] / largest if largest > 0 else LARGEST
    suggested = float(min(LARGEST, 2.0 ** np.floor(np.log2(room))))
    return Underflow(precision, factor, suggested, layers)


def _flows(model: Layer, precision: str, arguments: tuple[Any, ...], scale: float) -> dict[str, dict[str, np.ndarray]]:
    """Gradients of the pre-activations (T, B, H) by layer and gate, from a copy of the model."""
    copy = model.to(backend=model.backend, dtype="float32")
    for leaf in passes.leaves(copy):
        if isinstance(leaf.layer, Recurrent):
            vars(leaf.layer)["precision"] = precision  # a copy that nobody else has seen, before its first pass
    cast = lambda value: _cast(copy, value)  # noqa: E731
    x, state, lengths, dy = arguments
    _, _, tape = copy.forward(cast(x), cast(state), lengths, training=False)
    found = passes.backward(passes.leaves(copy, tape), cast(dy) * cast(copy.backend.asarray(np.asarray(scale))))
    cells = {name: leaf.layer.cell for leaf in _recurrent(copy) for name, _ in passes.names_of(leaf)}
    return {name: dict(_by_gate(cells[name], flow)) for name, flow in found.items()}


def _recurrent(model: Layer) -> list[passes.Leaf]:
    return [leaf for leaf in passes.leaves(model) if isinstance(leaf.layer, Recurrent)]


def _cast(model: Layer, value: Any) -> Any:
    """An argument in the dtype of a copy; ids stay as they are."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(_cast(model, part) for part in value)
    if model.backend.is_array(value) and model.backend.dtype_of(value).kind != "f":
        return value
    return model.backend.asarray(value, dtype=model.dtype)


def _by_gate(cell: Any, flow: passes.Flow) -> Iterator[tuple[str, np.ndarray]]:
    for block, gate in enumerate(cell.gates):
        yield gate, flow.da[:, :, block]
        if flow.da_hidden is not flow.da and gate in cell.splits:
            yield f"{gate} hidden", flow.da_hidden[:, :, block]


def _counts(exact: np.ndarray, found: tuple[np.ndarray, ...], precision: str) -> Counts:
    """What becomes of the gradients of a gate, (T, B, H), in each of two passes."""
    there = exact.astype(np.float32) != 0
    lost: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for values in found:
        rounded = np.abs(ROUNDINGS[precision](np, values.astype(np.float32)))
        lost["zero"].append(rounded == 0)
        lost["subnormal"].append((rounded > 0) & (rounded < _NORMAL[precision]))
        lost["overflow"].append(~np.isfinite(rounded))
    counted = {kind: np.array([(there & part).sum(axis=(1, 2)) for part in parts]) for kind, parts in lost.items()}
    return Counts(there.sum(axis=(1, 2)), **counted)
