"""What every layer shares: the protocol, attributes that stay, copies, descriptions, tapes."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend, check_dtype, get_backend
from engine.checks import describe, integer, switch
from engine.errors import bad_input, bad_type
from engine.layers import loading, saving, showing
from engine.layers.arrays import NamedArrays
from engine.layers.building import check_seed, guarded, known_names, text
from engine.layers.stepping import Stepping

_serial_numbers = itertools.count()


class Layer(Stepping):
    """Base of all layers.

    A layer speaks one protocol: ``forward(x, state, lengths, training) -> (y, state, tape)``, ``backward(tape, dy,
    dstate) -> (dx, dstate)``, ``predict(x, state, lengths) -> (y, state)``.

    Parameters
    ----------
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights and dropout masks; None means 0.

    Attributes
    ----------
    path : str
        The layer's place in a `Sequential`, such as ``"0"``; part of the key of its random numbers.
    call_counter : int
        How many forward passes have drawn a dropout mask; fresh masks need a fresh count, and a resumed run sets it
        back to where it was.
    row_offset : int
        The global row of local row 0, so that a shard of a batch draws the masks of its own rows.
    step_offset : int
        The step of the sequence that x begins with, so that a part of a sequence draws the masks of its own steps.
    """

    batch_first = False
    #: Whether y has a time axis where x has one: the layers behind a layer without get no lengths.
    keeps_time = True
    #: Whether the result for a row of a batch depends on its other rows in training.
    mixes_rows = False
    #: Called within a backward pass when gradients are what they will be: those of one of the stacked layers, by its
    #: number, or (None) all of them.
    on_gradients: Callable[[int | None], None] | None = None
    #: Arguments that `repr` shows even where they have their default value.
    always_shown: ClassVar[frozenset[str]] = frozenset()
    #: The constructor's arguments that shape the model, beside backend, dtype and seed.
    shaping: ClassVar[tuple[str, ...]] = ()
    #: Attributes that are set once, as the arrays are made for them: also those in `shaping` that are no setting.
    fixed: ClassVar[frozenset[str]] = frozenset({"backend", "dtype", "batch_first", "params", "grads", "buffers"})
    #: Attributes that may be set at any time, each with the check that its new value passes through.
    settings: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        "seed": lambda name, value: check_seed(value),
        "call_counter": lambda name, value: integer(name, value, 0),
        "row_offset": lambda name, value: integer(name, value, 0),
        "step_offset": lambda name, value: integer(name, value, 0),
        "path": text,
    }

    #: Whether NumPy does no arithmetic in a pass, so that there are no warnings to suppress.
    _silent = False

    def __init__(self, backend: str | Backend = "numpy", dtype: Any = "float32", seed: int | None = None) -> None:
        self.backend = get_backend(backend)
        self.dtype = check_dtype(dtype)
        self.seed = check_seed(seed)
        self.path = ""
        self.call_counter = 0
        self.row_offset = self.step_offset = 0
        self._params, self._grads = NamedArrays("params", self.backend), NamedArrays("grads", self.backend)
        self._buffers = NamedArrays("buffers", self.backend)
        self._lock = threading.RLock()
        self._serial = next(_serial_numbers)
        self._owner: weakref.ref[Any] | None = None
        self._checked: set[int] = set()
        self._follows_layout = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Complete `fixed`, and wrap every pass: a GPU's errors become the engine's own, and NumPy gives no warning."""
        super().__init_subclass__(**options)
        cls.fixed = cls.fixed | (set(cls.shaping) - cls.settings.keys())
        for name in ("forward", "backward", "backward_trace", "predict"):
            if name in vars(cls):
                setattr(cls, name, guarded(vars(cls)[name]))
        if "__init__" in vars(cls):
            cls.__init__ = known_names(cls.__init__, cls.__mro__[1].__init__)  # type: ignore[method-assign, misc]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fixed and (name in vars(self) or isinstance(getattr(type(self), name, None), property)):
            entries = name in ("params", "grads", "buffers")
            hint = f"assign its entries: {name}[...] = ..." if entries else "build another layer"
            raise bad_input(name, "no change after construction", describe(value), hint)
        check = self.settings.get(name)
        super().__setattr__(name, value if check is None else check(name, value))

    def __delattr__(self, name: str) -> None:
        if name in self.fixed or name in self.settings:
            raise bad_input(name, "an attribute that stays", "its deletion")
        super().__delattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()
        self._serial = next(_serial_numbers)  # a copy is another layer: it does not take the original's tapes

    # -- to be supplied by each layer ----------------------------------------------------------------------------------

    def _arguments(self) -> dict[str, Any]:
        """The constructor's arguments that shape the model, without backend, dtype and seed."""
        return {name: getattr(self, name) for name in self.shaping}

    def forward(self, x: Any, state: Any = None, lengths: Any = None, training: bool = True) -> tuple[Any, Any, Any]:
        """Run the layer.

        Parameters
        ----------
        x : array (T, B, D)
            The input, or (B, T, D) with ``batch_first``.
        state : array, tuple or None
            The state at the start; None means zeros.
        lengths : sequence of int or None
            (B,) valid steps of each row, on the host; None means T for all.
        training : bool
            Whether to draw dropout masks.

        Returns
        -------
        y : array
            The output.
        state : array, tuple or None
            The state at the end; None of a layer without state.
        tape : Tape
            What backward needs, by name.
        """
        raise NotImplementedError

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """Reverse `forward`: add to ``grads``, return the gradients of what was passed in.

        Parameters
        ----------
        tape : Tape
            What forward returned; it is only read.
        dy : array or None
            Gradient of y, in its shape; None means zeros.
        dstate : array, tuple or None
            Gradient of the state at the end, in its structure; None means zeros.

        Returns
        -------
        dx : array or None
            Gradient of x; None of an `Embedding`.
        dstate : array, tuple or None
            Gradient of the state at the start.
        """
        raise NotImplementedError

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run the layer without dropout and without a tape.

        Parameters
        ----------
        x, state, lengths : array, array and sequence of int
            As for `forward`.

        Returns
        -------
        y : array
            The output.
        state : array, tuple or None
            The state at the end.
        """
        raise NotImplementedError

    def window(self, tape: Any, start: int, stop: int) -> Any:
        """The part of a tape that holds the time steps ``start <= t < stop``, for truncated BPTT."""
        raise NotImplementedError

    # -- copies and descriptions --------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return showing.text_of(self)

    def _repr_html_(self) -> str:
        """The summary as a table for notebooks."""
        return self.summary()._repr_html_()

    def summary(self) -> showing.Summary:
        """A table of the layers: the call that builds each, the shape of its output, its number of parameters.

        Returns
        -------
        Summary
            ``print(model.summary())`` shows the table; a notebook shows it as HTML.
        """
        return showing.summary(self)

    def input_shape(self, width: int | None) -> str:
        """The shape of x in letters, where the layer before gives `width` features (None: not known)."""
        return showing.shape_of(self, width)

    def width_after(self, width: int | None) -> int | None:
        """The features of the output, where x has `width` of them (None: not known)."""
        return width

    def output_shape(self, width: int | None, timed: bool) -> str:
        """The shape of y in letters, where x has `width` features (None: not known) and, or not, a time axis."""
        return showing.shape_of(self, self.width_after(width), timed and self.keeps_time)

    def config(self) -> dict[str, Any]:
        """A JSON-able description from which `engine.layers.from_config` builds the same layer."""
        return {"type": type(self).__name__, "args": self._arguments()}

    def to(self, backend: str | Backend | None = None, dtype: Any = None) -> Any:
        """Copy the layer to another backend or dtype, with the same weights, buffers and counters and zero gradients.

        Parameters
        ----------
        backend : str, Backend or None
            Where the copy lives; None keeps the backend.
        dtype : str, dtype or None
            The dtype of the copy; None keeps it.

        Returns
        -------
        Layer
            The copy; the layer itself does not change.
        """
        copy = self._rebuilt(
            backend=self.backend if backend is None else backend,
            dtype=self.dtype if dtype is None else dtype,
            seed=self.seed,
        )
        copy.path, copy.call_counter = self.path, self.call_counter
        copy.row_offset, copy.step_offset = self.row_offset, self.step_offset
        copy._copy_in(loading.checked(copy.saved_arrays(), copy.dtype, self._on_host(), finite=False))
        return copy

    def save(self, path: Any) -> None:
        """Write the model to a file: its description, its weights, its seeds and dropout counters.

        `engine.load` builds it again.  The file is in the safetensors format; it appears whole or not at all.

        Parameters
        ----------
        path : str or path
            The file, such as ``"model.safetensors"``; one that is there is replaced.

        Raises
        ------
        InputTypeError
            For a model with a layer of your own class, which `engine.load` could not build.
        StorageError
            If the file cannot be written; one that was there is untouched.
        """
        saving.save(self, path)

    def _rebuilt(self, **given: Any) -> Any:
        """A new layer of the same arguments."""
        return type(self)(**self._arguments(), **given)

    def _on_host(self) -> dict[str, np.ndarray]:
        """Parameters and buffers in host memory, without a copy if they are there already."""
        return {name: self.backend.to_host(array) for name, array in self.saved_arrays().items()}

    def call_counters(self) -> dict[str, int]:
        """The dropout call counters by layer path, for a checkpoint."""
        return {self.path: self.call_counter}

    def load_call_counters(self, counters: Mapping[str, int]) -> None:
        """Set the dropout call counters back to saved values."""
        wanted = self.call_counters()
        if not isinstance(counters, Mapping):
            raise bad_type("counters", f"a mapping from the paths {sorted(wanted)} to counts", describe(counters))
        for path in wanted:
            if path not in counters:
                raise bad_input("counters", f"a counter for the layer at path {path!r}", describe(counters))
            integer(f"counters[{path!r}]", counters[path], 0)
        self._take_counters(counters)

    def _take_counters(self, counters: Mapping[str, int]) -> None:
        self.call_counter = counters[self.path]

    def _take_call(self) -> int:
        """The number of this pass, for its masks; the next one gets the next."""
        with self._lock:
            call = self.call_counter
            self.call_counter += 1
        return call

    def _layout(self, batch_first: bool | None) -> bool:
        """Set the axis order; with None, a `Sequential` sets it later from the neighbours."""
        self._follows_layout = batch_first is None
        return False if batch_first is None else switch("batch_first", batch_first)
