"""Hypothesis strategies for states, layers and whole gradient checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from engine.backend import Backend, check_dtype, get_backend
from engine.cell import cells
from engine.checking.strategies.sizes_and_arrays import Range, Sizes, generators, lengths, size_range, sizes
from engine.checks import describe, integer, one_of, switch
from engine.errors import bad_input, bad_type
from engine.layers import Sequential
from engine.layers.base import Layer
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import FIVE_CELLS, layer_of

#: The cells that `layers` draws from.
#: Standard deviation of the weights: every gate moves, and none saturates.
WEIGHT = 0.4


class Problem(NamedTuple):
    """What `engine.gradcheck` takes, in its order: ``engine.gradcheck(*problem)``."""

    layer: Any
    x: Any
    state: Any
    lengths: list[int] | None

    def __repr__(self) -> str:
        """The shape of the problem; hypothesis prints it, and thousands of digits say nothing."""
        config = self.layer.config()
        arguments = ", ".join(f"{name}={value!r}" for name, value in config["args"].items())
        state = "None" if self.state is None else "given"
        return f"Problem({config['type']}({arguments}), x {self.x.shape}, state {state}, lengths {self.lengths})"


def states(layer: Layer, batch: int, none: bool = True) -> st.SearchStrategy[Any]:
    """Draw an initial state in the structure, dtype and library of a layer.

    Parameters
    ----------
    layer : any layer of engine; one that carries no state gets None.
    batch : number of rows, B.
    none : whether None, which stands for zeros, is drawn too.

    Returns
    -------
    SearchStrategy
        of ``h`` or ``(h, c)``, each (L*N, B, H); of a tuple of these for a Sequential; of None.

    Examples
    --------
    >>> import engine
    >>> from hypothesis import given
    >>> layer = engine.LSTM(3, 5, num_layers=2)
    >>> @given(states(layer, batch=4, none=False))
    ... def test(state):
    ...     h, c = state
    ...     assert h.shape == c.shape == (2, 4, 5)
    >>> test()
    """
    if not isinstance(layer, Layer):
        raise bad_type("layer", "a layer of engine", describe(layer))
    batch = integer("batch", batch, 1)
    given = generators().map(lambda rng: _state(layer, batch, rng))
    return st.none() | given if switch("none", none) else given


def layers(
    kinds: str | Iterable[str] = FIVE_CELLS,
    max_layers: int = 2,
    *,
    D: Range = (1, 4),
    H: Range = (2, 5),
    dtype: Any = "float64",
    backend: str | Backend = "numpy:reference",
    **fixed: Any,
) -> st.SearchStrategy[Any]:
    """Draw a recurrent layer with random weights and options.

    Parameters
    ----------
    kinds : one or more of `engine.cells()`, own cells too; those of RNN, LSTM and GRU (``"gru_before"`` has its reset
        gate before the product) where it is not given.
    max_layers : most layers on top of one another.
    D, H : input features and hidden units: the smallest and the largest number, or the only one.
    dtype, backend : of the layer.
    fixed : options of the layer that are given instead of drawn, such as ``bidirectional=True``.  Drawn are ``bias``,
        ``batch_first`` and ``bidirectional``; between layers also ``dropout`` and ``variational``.

    Returns
    -------
    SearchStrategy
        of layers.

    Raises
    ------
    InputError, InputTypeError
        for an unknown kind or a bad range at once; for a bad option of the layer when one is drawn.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(layers(["lstm", "gru"], D=3, bidirectional=True))
    ... def test(layer):
    ...     assert layer.params["weight_ih_l0_reverse"].shape[1] == 3
    >>> test()
    """
    common = {"dtype": check_dtype(dtype).name, "backend": get_backend(backend)}
    most = integer("max_layers", max_layers, 1)
    return _layers(_kinds(kinds), most, size_range("D", D), size_range("H", H), common, fixed)


def problems(
    kinds: str | Iterable[str] = FIVE_CELLS,
    max_layers: int = 2,
    *,
    size: st.SearchStrategy[Sizes] | None = None,
    dtype: Any = "float64",
    backend: str | Backend = "numpy:reference",
    **fixed: Any,
) -> st.SearchStrategy[Problem]:
    """Draw a layer with an input, an initial state and lengths, ready for `engine.gradcheck`.

    State and lengths are None in some problems.  In the others one row at least has all T steps.

    Parameters
    ----------
    kinds, max_layers, dtype, backend, fixed : as for `layers`.
    size : where the sizes come from; None is ``sizes()``.

    Returns
    -------
    SearchStrategy
        of `Problem`, a named tuple ``(layer, x, state, lengths)``.

    Examples
    --------
    >>> import engine
    >>> from hypothesis import given
    >>> @given(problems("gru", size=sizes(T=(3, 5), H=(2, 4))))
    ... def test(problem):
    ...     assert engine.gradcheck(*problem, method="adjoint").passed
    >>> test()
    """
    drawn = sizes() if size is None else size
    if not isinstance(drawn, st.SearchStrategy):
        raise bad_type("size", "a strategy such as sizes()", describe(drawn))
    kinds = _kinds(kinds)
    layers(kinds, max_layers, dtype=dtype, backend=backend)  # refuses bad arguments now, not at the first draw
    return _problems(drawn, kinds, max_layers, {"dtype": dtype, "backend": backend, **fixed})


# -- how they are drawn ------------------------------------------------------------------------------------------------


@st.composite
def _layers(
    draw: st.DrawFn,
    kinds: tuple[str, ...],
    max_layers: int,
    D: tuple[int, int],
    H: tuple[int, int],
    common: dict[str, Any],
    fixed: dict[str, Any],
) -> Any:
    kind = draw(st.sampled_from(kinds))
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, max_layers)),
        "bias": not draw(st.booleans()),  # turned round: the plain layer is the one that hypothesis shrinks to
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        **common,
    }
    if options["num_layers"] > 1:
        options |= {"dropout": draw(st.sampled_from((0.0, 0.3))), "variational": draw(st.booleans())}
    seed = draw(st.integers(0, 2**32 - 1))  # of the weights, and of the dropout masks
    arguments = draw(st.integers(*D)), draw(st.integers(*H))
    options |= {"seed": seed} | fixed
    dropout = options.pop("dropout", 0.0)  # set below: that it has no effect on a single layer is no news here
    layer = layer_of(kind, *arguments, **options)
    layer.dropout = dropout
    rng = np.random.default_rng(seed)
    layer.load_state_dict({name: rng.normal(scale=WEIGHT, size=param.shape) for name, param in layer.params.items()})
    return layer


@st.composite
def _problems(
    draw: st.DrawFn, size: st.SearchStrategy[Sizes], kinds: Any, max_layers: int, options: dict[str, Any]
) -> Problem:
    T, B, D, H = draw(size)
    layer = draw(layers(kinds, max_layers, D=D, H=H, **options))
    rng = draw(generators())  # one for all arrays: no two of them are alike
    x = _normal(layer, (B, T, D) if layer.batch_first else (T, B, D), rng)
    state = _state(layer, B, rng) if draw(st.booleans()) else None
    rows = draw(st.none() | lengths(T, B))
    if rows is not None and T not in rows:
        rows[draw(st.integers(0, B - 1))] = T
    return Problem(layer, x, state, rows)


def _normal(layer: Layer, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    return layer.backend.asarray(rng.normal(size=shape), dtype=layer.dtype)


def _state(layer: Layer, batch: int, rng: np.random.Generator) -> Any:
    """A state of `layer`: an array, a pair, a tuple of such, or None."""
    if isinstance(layer, Sequential):
        return tuple(_state(part, batch, rng) for part in layer.layers)
    if not isinstance(layer, Recurrent):
        return None
    slots = layer.num_layers * layer.num_directions
    found = tuple(_normal(layer, (slots, batch, width), rng) for width in layer.widths)
    return found if len(found) > 1 else found[0]


def _kinds(kinds: Any) -> tuple[str, ...]:
    """One or more names of cells."""
    try:
        given = [kinds] if isinstance(kinds, str) else list(kinds)
    except Exception:  # nothing to go through, or an object that fails at it
        raise bad_type("kinds", f"some of {', '.join(map(repr, cells()))}", describe(kinds)) from None
    found = tuple(one_of("kinds", kind, tuple(cells())) for kind in given)
    if not found:
        raise bad_input("kinds", "at least one", "none")
    return found
