"""A user's pair of functions as the subject of a gradient check."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.diagnosis.patterns import shape_in_words
from engine.checking.subjects import function_promises
from engine.checking.subjects.leading_axis import LeadingAxis
from engine.checking.subjects.shapes import remarks, returned
from engine.checking.subjects.shapes.arguments import convention_of
from engine.checking.subjects.shapes.calling import called
from engine.checking.subjects.shapes.function_options import Shape
from engine.checking.subjects.shapes.gate_blocks import gates_by_name
from engine.checking.subjects.shapes.graph_gradients import GraphGradients, has_closures
from engine.checking.subjects.shapes.inputs import Inputs, chosen_names, free_entries
from engine.checking.subjects.shapes.insides import float_arrays
from engine.checking.subjects.subject import Part, Subject, draw_weights, split_weights
from engine.checking.subjects.trees import copied, kind, leaves, named_leaves, refill, transform
from engine.checking.verdicts import blind_spots
from engine.checking.verdicts.closeness import same
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, refuse_own_rules

A_LOSS = "backward takes no account of dout: right for a loss, where dout is 1"


class FunctionSubject(Subject):
    """``forward(*inputs) -> (out, cache)`` and ``backward(dout, cache)``; see `engine.check_gradients`."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: Sequence[Any],
        seed: int,
        shape: Shape,
    ) -> None:
        self.forward, self.backward, self.seed, self.shape = forward, backward, seed, shape
        self.inputs = Inputs(inputs, shape.names)
        super().__init__(self.inputs.backend)
        self.checked = chosen_names(shape.check, self.inputs)
        self.inputs.check_precision(self.checked)
        self.is_loss = False
        self._lost: dict[str, np.ndarray] = {}
        self._leading = LeadingAxis(self._on_host)
        given = self.inputs.given({})
        with called("forward", self.inputs.names, given):
            found = self.forward(*given)
        self.convention = shape.convention or convention_of(backward, found)
        out, cache = self.convention.split(found)
        self._read_outputs(out)
        self._read_parts(cache)
        self.warnings += blind_spots.blind_spots(self, self.parts)
        self._weigh()
        everything = function_promises.watch(self)
        self.claim([everything, *(self.pull(self.cotangents(group)) for group in range(1, len(self.groups)))])
        function_promises.look_again(self)

    # -- what is there -------------------------------------------------------------------------------------------------

    def _read_outputs(self, out: Any) -> None:
        """The float arrays of what forward returned; whole numbers beside them have no gradient."""
        self.out = transform(self._own_output, out)
        self.outputs = leaves(self.out)
        self.output_types = [type(leaf) for leaf in leaves(out) if self._own_output(leaf) is not None]
        if not self.outputs:
            raise bad_type("forward", "(out, cache) with a float array or a nest of arrays as out", describe(out))

    def _own_output(self, value: Any) -> Any:
        array = self._array(value)
        if kind(array) not in ("f", "i", "u", "b"):
            raise bad_type("forward", "float arrays as out", dtype_in_words(array.dtype))
        return copied(array) if kind(array) == "f" else None

    def _read_parts(self, cache: Any) -> None:
        """The inputs to check, without numbers for which backward gives no gradient."""
        free = free_entries(self.shape.fixed, self.inputs)
        named = [(name, array) for name, array in self.inputs.leaves() if name in self.checked]
        gates, axes = gates_by_name(dict(named), self.shape.gates, self.shape.gate_axis)
        for name, array in named:
            time_axis = _time_axis(array, self.shape.time_axis)
            own = (gates.get(name, ()), time_axis)
            kept = self._without_lost(name, array, free.get(name))
            self.parts.append(Part(name, array, *own, own_axes=True, gate_axis=axes.get(name, 0), free=kept))
        ones = [self.backend.xp.ones_like(out) for out in self.outputs]
        douts = [name for name, _ in named_leaves(self.out, "dout")]
        with called(
            "backward", [*douts, "cache"], [*ones, cache], dict(zip(self.shape.names, self.inputs.values, strict=True))
        ):
            gradients = self._returned(ones, cache)
        if self.shape.check is None:
            self.notes += remarks.on_whole_numbers(self.inputs, gradients)
        without = [part.name for part in self.parts if self._says_nothing(part.name, gradients)]
        self.parts = [part for part in self.parts if part.name not in without]
        if without:
            self.notes.append(f"not checked, as backward gives no gradient: {', '.join(without)}")
        closed = [
            name for name, leaf in self.inputs.leaves() if not kind(leaf) and next(float_arrays(leaf), None) is not None
        ]
        if closed:
            self.notes.append(f"not looked into: {', '.join(closed)}; arrays in a dict or a dataclass would be checked")
        if not self.parts:
            raise bad_input("backward", "a gradient for at least one input", "none")
        self.warnings += remarks.on_lost_inputs(self.inputs, self.parts)
        self._find_float32(cache, gradients)
        if len(self.outputs) == 1 and self.outputs[0].size == 1 and "dout" in self.convention.order:
            self._look_for_a_loss(ones)

    def _without_lost(self, name: str, array: Any, free: np.ndarray | None) -> np.ndarray | None:
        """Where entries are checked: not at the -inf of a mask among logits, or at a NaN; these stay what they are."""
        lost = ~np.isfinite(self.backend.to_host(array))
        if not lost.any():
            return free
        self._lost[name] = lost
        self.notes.append(f"not checked where {name} is not finite: {np.count_nonzero(lost)} of {lost.size} entries")
        return ~lost if free is None else free & ~lost

    def _says_nothing(self, name: str, gradients: dict[str, Any]) -> bool:
        found = gradients.get(name)
        return isinstance(found, returned.NotGiven) or (found is None and name in self.inputs.scalars)

    def _find_float32(self, cache: Any, gradients: dict[str, Any]) -> None:
        """Say where float64 inputs are met by float32 numbers, and be content with their precision."""
        own = self.shape.narrow or any(part.dtype != np.float64 for part in self.parts)
        found = [] if own else remarks.on_float32(self.backend, self.out, gradients, cache)
        self.narrow = own or bool(found)
        self.warnings += found

    def _look_for_a_loss(self, ones: list[Any]) -> None:
        """Whether backward takes no account of dout, which for a loss is 1."""
        first, second = (self.pull([one * factor for one in ones]) for factor in (1.0, 2.0))
        host = self.backend.to_host
        if any(host(one).any() for one in first.values()) and all(
            same(host(first[name]), host(second[name])) for name in first
        ):
            self.is_loss = True
            self.notes.append(A_LOSS)

    def _weigh(self) -> None:
        axes = [_time_axis(array, self.shape.time_axis) for array in self.outputs]
        names = [name for name, _ in named_leaves(self.out, "out")]
        weights = draw_weights(self.seed, self.outputs)
        if self._gives_a_loss():
            weights[:] = 1.0
        self.groups, self.weights = split_weights(weights, self.outputs, axes, names)

    def _gives_a_loss(self) -> bool:
        """Whether the output is a loss, whose dout is 1 for backward."""
        return self.is_loss or "dout" not in self.convention.order

    # -- forward -------------------------------------------------------------------------------------------------------

    def evaluate(self, replaced: dict[str, Any]) -> list[Any]:
        """The outputs with some inputs replaced; the functions get copies, which are theirs to spoil."""
        replaced = {name: self._with_lost(name, array) for name, array in replaced.items()}
        out, _ = self.call(self.inputs.given(replaced))
        return [array for array in map(self._array, leaves(out)) if kind(array) in ("f", "c")]

    def _with_lost(self, name: str, array: Any) -> Any:
        """An array in which what is not finite in the input is so again, also in each of a stack of them."""
        if name not in self._lost:
            return array
        xp, own = self.backend.xp, next(part.array for part in self.parts if part.name == name)
        return xp.where(xp.asarray(self._lost[name]), own, array)

    def probe(self, replaced: dict[str, Any]) -> np.ndarray:
        """Output values (N,); NaN where forward refuses inputs nearby, or gives outputs of another size there."""
        if any(kind(array) == "c" for array in replaced.values()):
            return self.flat(self.evaluate(replaced))  # what it makes of complex numbers is another question
        size = self.weights.shape[1]
        try:
            found = self.flat(self.evaluate(replaced))
        except Exception as error:  # an assertion about its inputs, a math.log
            self._note_refusal(f"raises {type(error).__name__}")
        else:
            if found.size == size:
                return found
            self._note_refusal("gives another number of outputs")
        return np.full(size, np.nan)

    def _note_refusal(self, what: str) -> None:
        note = f"forward {what} at inputs near these: such places are left out"
        if note not in self.notes:
            self.notes.append(note)

    def call(self, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        """Run forward; returns out and cache."""
        return self.convention.split(self.forward(*inputs))

    def displaced(self) -> FunctionSubject:
        """The functions at inputs nearby."""
        return self._at(self.nearby())

    def moderated(self) -> FunctionSubject:
        """The functions at inputs of moderate size."""
        generator = np.random.default_rng(9)
        return self._at(self._moved(lambda values: self.smaller(values, generator)))

    def _at(self, moved: dict[str, Any]) -> FunctionSubject:
        return FunctionSubject(self.forward, self.backward, self.inputs.given(moved), self.seed, self.shape)

    def nearby(self) -> dict[str, Any]:
        """The float inputs a little way off, each in a way of its own, so that ties come apart."""
        generator = np.random.default_rng([self.seed, 5])
        return self._moved(lambda values: values + generator.normal(scale=1e-2, size=values.shape))

    def _moved(self, move: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        floats = {name: array for name, array in self.inputs.leaves() if kind(array) == "f"}
        return {
            name: self.backend.asarray(move(self.backend.to_host(array)), array.dtype) for name, array in floats.items()
        }

    def beside(self) -> dict[str, np.ndarray]:
        """Whole numbers, and single floats, among the inputs."""
        named = [(name, self.backend.to_host(array)) for name, array in self.inputs.leaves() if kind(array)]
        return {name: array for name, array in named if array.dtype.kind in "iu" or array.size == 1}

    # -- backward ------------------------------------------------------------------------------------------------------

    def copies(self, name: str, stack: Any) -> list[Any] | None:
        """Outputs of many copies in one call, if the functions take an axis in front."""
        return self._leading.run(name, self.backend.to_host(stack))

    def _on_host(self, replaced: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As `evaluate`, from the host and to it."""
        found = self.evaluate({name: self.backend.asarray(values) for name, values in replaced.items()})
        return [np.array(self.backend.to_host(out)) for out in found]

    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """The gradients that backward claims, on a fresh cache."""
        _, cache = self.call(self.inputs.given({}))
        return self.gradients(cotangents, cache)

    def pull_as_it_is(self, cotangents: list[Any]) -> dict[str, Any]:
        """What backward gives, by the names of the inputs' arrays, for cotangents of any form."""
        _, cache = self.call(self.inputs.given({}))
        return self._returned(cotangents, cache)

    def pull_again(self) -> dict[str, Any] | None:
        """The gradients of a second call on the same cache; those in the nodes of a graph may add up until reset."""
        _, cache = self.call(self.inputs.given({}))
        nodes = GraphGradients(cache)
        self.gradients(self.cotangents(), cache)
        nodes.put_back()
        try:
            return self.gradients(self.cotangents(), cache)
        except Exception:  # a cache that is good for one use is no fault
            return None

    def blur(self, generator: np.random.Generator, group: int = 0, roundings: float = 1.0) -> dict[str, Any]:
        """Backward with cache and cotangents moved by a rounding; a cache that cannot be copied stays.

        Without arrays in the cache, or with closures that hold some, the inputs are moved in their place.
        """
        _, cache = self.call(self.inputs.given({}))
        if next(float_arrays(cache), None) is None or has_closures(cache):
            moved = {part.name: copied(part.array) for part in self.parts}
            self.jitter(moved.values(), generator, roundings=roundings)
            cache = self.call(self.inputs.given(moved))[1]
        else:
            try:
                cache = copy.deepcopy(cache)  # it may hold arrays that are not ours to change
            except Exception:
                cache = self.call(self.inputs.given({}))[1]
            else:
                self.jitter(float_arrays(cache), generator, roundings=roundings)
        cotangents = self.cotangents(group)
        self.jitter(cotangents, generator)
        return self.gradients(cotangents, cache)

    def gradients(self, cotangents: list[Any], cache: Any) -> dict[str, Any]:
        """Copies of the gradients of all parts: the arrays may be buffers that are used again."""
        found = self._returned(cotangents, cache)
        gradients = {part.name: self._as_gradient(part, found.get(part.name), found) for part in self.parts}
        if self._gives_a_loss():
            gradients = {name: self._array(one * cotangents[0]) for name, one in gradients.items()}
        return gradients

    def _returned(self, cotangents: list[Any], cache: Any) -> dict[str, Any]:
        """What backward gave, by the names of the inputs' arrays."""
        handed = [_as_given(one, kept) for one, kept in zip(cotangents, self.output_types, strict=True)]
        found = self.convention.call(self.backward, refill(self.out, iter(handed)), cache)
        if isinstance(found, types.GeneratorType):
            found = tuple(found)
        names, values = self.inputs.names, self.inputs.values
        if found is None:
            hint = "does it return what it computes?"
            raise bad_type("backward", f"a gradient for {self.checked[0]}", "None", hint)
        wanted = [any(own in self.checked for own, _ in named_leaves(v, n)) for n, v in zip(names, values, strict=True)]
        needed = [one and name not in self.inputs.scalars for one, name in zip(wanted, names, strict=True)]
        arranged = returned.by_argument(found, names, values, needed)
        parts: dict[str, Any] = {}
        for name, given, gradient in zip(names, values, arranged, strict=True):
            parts |= returned.by_leaf(given, gradient, name)
        return parts

    def _as_gradient(self, part: Part, value: Any, others: dict[str, Any] | None = None) -> Any:
        """The gradient as an array in the part's shape: zeros for None, NaN for a wrong shape."""
        xp = self.backend.xp
        if value is None or isinstance(value, returned.NotGiven):
            return xp.zeros_like(part.array)
        array = self._array(value, "backward")
        if kind(array) not in ("f", "i", "u"):
            got = f"{describe(value)} of {dtype_in_words(array.dtype)}"
            raise bad_type("backward", f"real numbers as the gradient of {part.name}", got)
        if part.name in self.inputs.scalars and array.size == 1:
            array = array.reshape(())  # a float has no axes to be wrong about
        if tuple(array.shape) != part.shape:
            order = remarks.on_the_order(self.parts, array.shape, others or {})
            shapes = f"shape {tuple(array.shape)} in place of {part.shape}"
            self.causes[part.name] = shapes + order if order else shape_in_words(tuple(array.shape), part.shape)
            return xp.full(part.shape, np.nan)
        return copied(array) if part.free is None else xp.where(xp.asarray(part.free), array, xp.zeros_like(array))

    def _array(self, value: Any, source: str = "forward") -> Any:
        """What a function returned as an array of the backend."""
        if self.backend.is_array(value):
            return value
        refuse_own_rules(source, value)
        try:
            return self.backend.xp.asarray(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # an object that is no array
            raise bad_type(source, "a function that returns arrays", f"one that returns {describe(value)}") from None


def _as_given(array: Any, kept: type) -> Any:
    """A cotangent in the form of its output: a number for a number."""
    if issubclass(kept, (float, np.generic)) and getattr(array, "ndim", None) == 0:
        return kept(array)
    return array


def _time_axis(array: Any, time_axis: int | None) -> int | None:
    return time_axis if time_axis is not None and getattr(array, "ndim", 0) >= 3 else None
