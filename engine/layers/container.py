"""What the models share that hold layers of any kind: one after another, or side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.backend import Backend
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers import loading
from engine.layers.base import Layer
from engine.layers.building import check_seed
from engine.layers.composite import Composite
from engine.layers.showing import Tape


@dataclass(frozen=True, repr=False)
class ContainerTape(Tape):
    """What a layer that holds others keeps for its backward pass.

    Attributes
    ----------
    tapes : tuple of Tape
        The tapes of the layers, in order.
    stamp : tuple of int
        Whose tape it is.
    """

    tapes: tuple[Any, ...]
    stamp: tuple[int, int]

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        for index, tape in enumerate(self.tapes):
            yield from ((f".tapes[{index}]{name}", array) for name, array in tape.entries())


class Container(Composite):
    """A layer that holds other layers, each under a name.

    Attributes
    ----------
    layers : tuple of Layer
        The layers.
    names : tuple of str
        Their names; the names of a layer's parameters, and its path, begin with it.
    """

    fixed = Layer.fixed | {"layers", "names"}
    #: Whether each of the layers gets the same x, and has an output of its own.
    side_by_side: ClassVar[bool] = False
    #: What messages call one of the layers.
    part: ClassVar[str] = "layer"
    layers: tuple[Layer, ...]
    names: tuple[str, ...]

    def _hold(self, named: Mapping[str, Any], backend: str | Backend | None, dtype: Any, seed: int | None) -> None:
        """Check the layers, and make them one model."""
        layers = tuple(named.values())
        for index, (name, layer) in enumerate(named.items()):
            title = f"{self.part} {name}"
            if not isinstance(layer, Layer):
                raise bad_type(title, "a layer of engine", describe(layer))
            if any(layer is other for other in layers[:index]):
                raise bad_input(title, "each layer once", "the same object again", "build a second layer")
        first = layers[0]
        super().__init__(first.backend if backend is None else backend, first.dtype if dtype is None else dtype, seed)
        for name, layer in named.items():
            self._require_fitting(f"{self.part} {name}", layer)
        self.layers, self.names = layers, tuple(named)
        self._settle_layout()
        self._seed_argument = None if seed is None else check_seed(seed)
        self._join(self._seed_argument)

    def _require_fitting(self, title: str, layer: Layer) -> None:
        """Raise unless the layer is free, and of this backend and dtype."""
        owner = layer._owner() if layer._owner is not None else None
        if owner is not None:
            expected = f"a layer of no other {type(owner).__name__}"
            raise bad_input(title, expected, "one that has a place already", "use layer.to()")
        if layer.backend.spec != self.backend.spec or layer.dtype != self.dtype:
            raise bad_input(
                title,
                f"backend {self.backend.spec} and dtype {self.dtype}",
                f"{layer.backend.spec} and {layer.dtype}",
                "move it with layer.to(backend=..., dtype=...)",
            )

    def _settle_layout(self) -> None:
        """Layers that were built without a layout get the layout of the others."""
        pairs = zip(self.names, self.layers, strict=True)
        explicit = {name: layer.batch_first for name, layer in pairs if not layer._follows_layout}
        if len(set(explicit.values())) > 1:
            raise bad_input(
                "batch_first", "one layout for all layers", f"by {self.part} {explicit}", "give it to all or to none"
            )
        self._follows_layout = not explicit
        if explicit:
            self._set_layout(next(iter(explicit.values())))

    def _set_layout(self, batch_first: bool) -> None:
        for layer in self.layers:
            if isinstance(layer, Container):
                layer._set_layout(batch_first)
            elif layer._follows_layout:
                vars(layer)["batch_first"] = batch_first

    def named_parts(self) -> list[tuple[str, Layer]]:
        """The layers with their names."""
        return list(zip(self.names, self.layers, strict=True))

    def _take_parts(self, parts: dict[str, Layer]) -> None:
        vars(self)["layers"] = tuple(parts.values())

    def check_tape(self, tape: Any) -> None:
        """Raise unless every layer's tape is good, before any of them is walked."""
        if id(tape) in self._checked:
            return
        super().check_tape(tape)
        for layer, part in zip(self.layers, tape.tapes, strict=True):
            layer.check_tape(part)

    def _split(self, name: str, state: Any) -> tuple[Any, ...]:
        if state is None:
            return (None,) * len(self.layers)
        if not isinstance(state, (tuple, list)) or len(state) != len(self.layers):
            got = describe(state) + (f" of {len(state)}" if isinstance(state, (tuple, list)) else "")
            raise bad_type(name, f"a tuple with one entry for each of the {len(self.layers)} layers", got)
        return tuple(state)

    # -- what concerns all layers together -----------------------------------------------------------------------------

    @property
    def batch_first(self) -> bool:  # type: ignore[override]
        """Whether the layers take (B, T, ...)."""
        return any(layer.batch_first for layer in self.layers)

    @property
    def keeps_time(self) -> bool:  # type: ignore[override]
        """Whether y has a time axis."""
        return all(layer.keeps_time for layer in self.layers)

    def _with(self, layers: list[Any]) -> Any:
        """A layer like this one that holds these."""
        raise NotImplementedError

    def to(self, backend: str | Backend | None = None, dtype: Any = None) -> Any:
        """A copy on another backend or in another dtype."""
        copy = self._with([layer.to(backend=backend, dtype=dtype) for layer in self.layers])
        copy._copy_in(loading.checked(copy.saved_arrays(), copy.dtype, self._on_host(), finite=False))
        copy.row_offset = self.row_offset
        return copy
