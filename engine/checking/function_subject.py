"""Anyone's own pair of functions as the subject of a gradient check."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.checking import blind_spots
from engine.checking.agreement import same
from engine.checking.nests import copied, dtype_of, float_arrays, kind, leaves, named_leaves, refill, transform
from engine.checking.subject import Part, Subject, draw_weights, split_weights
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, refuse_own_rules


class FunctionSubject(Subject):
    """``forward(*inputs) -> (out, cache)`` and ``backward(dout, cache)``; see `engine.check_gradients`."""

    def __init__(
        self,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[[Any, Any], Any],
        inputs: Sequence[Any],
        seed: int,
        time_axis: int | None,
    ) -> None:
        self.forward, self.backward, self.seed, self.time_axis = forward, backward, seed, time_axis
        floats = [leaf for leaf in leaves(list(inputs)) if kind(leaf) == "f"]
        if not floats:
            raise bad_input("inputs", "at least one float array", "none", "there is nothing to check")
        super().__init__(backend_of(floats[0], "inputs"))
        for array in floats:
            refuse_own_rules("inputs", array)
            if dtype_of(array) not in (np.float32, np.float64):
                raise bad_type("inputs", "arrays of float32 or float64", dtype_in_words(array.dtype))
        try:
            self.inputs = self._private(tuple(inputs))
        except TypeError:  # deepcopy has no way with it
            raise bad_type("inputs", "arrays, and what can be copied", "an object that cannot") from None
        for position, given in enumerate(self.inputs):
            for name, array in named_leaves(given, f"input {position}"):
                if kind(array) == "f":
                    self.parts.append(Part(name, array, time_axis=_time_axis(array, time_axis), own_axes=True))
        self.narrow = any(part.dtype != np.float64 for part in self.parts)
        self.warnings += blind_spots.blind_spots(self, self.parts)
        out, _ = self._call(self._private(self.inputs))
        self.out = transform(lambda value: copied(self._array(value)), out)
        self.outputs = leaves(self.out)
        if not self.outputs:
            raise bad_type("forward", "(out, cache) with an array or a nest of arrays as out", describe(out))
        for array in self.outputs:
            if kind(array) != "f":
                raise bad_type("forward", "float arrays as out", dtype_in_words(array.dtype))
        axes = [_time_axis(array, time_axis) for array in self.outputs]
        names = [name for name, _ in named_leaves(self.out, "out")]
        self.groups, self.weights = split_weights(draw_weights(seed, self.outputs), self.outputs, axes, names)
        self._watch()
        self.claim([self.pull(self.cotangents(group)) for group in range(len(self.groups))])

    def evaluate(self, replaced: dict[str, Any]) -> list[Any]:
        """The outputs with some inputs replaced; the functions get copies, which are theirs to spoil."""
        out, _ = self._call(self._with(replaced))
        return leaves(transform(self._array, out))

    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """The gradients that backward claims, on a fresh cache."""
        _, cache = self._call(self._with({}))
        self._call(
            transform(self._nearby, self.inputs)
        )  # a backward that reads the latest pass, and not its cache, shows
        return self._gradients(cotangents, cache)

    def pull_again(self) -> dict[str, Any] | None:
        """The gradients of a second call on the same cache."""
        _, cache = self._call(self._with({}))
        self._gradients(self.cotangents(), cache)
        try:
            return self._gradients(self.cotangents(), cache)
        except Exception:  # a cache that is good for one use is no fault
            return None

    def blur(self, generator: np.random.Generator, group: int = 0) -> dict[str, Any]:
        """Backward with cache and cotangents moved by a rounding; a cache that cannot be copied stays."""
        _, cache = self._call(self._with({}))
        try:
            cache = copy.deepcopy(cache)  # it may hold arrays that are not ours to change
        except Exception:
            cache = self._call(self._with({}))[1]
        else:
            for array in float_arrays(cache):
                self.jitter(array, float(np.finfo(array.dtype).eps), generator)
        cotangents = self.cotangents(group)
        for array in cotangents:
            self.jitter(array, float(np.finfo(array.dtype).eps), generator)
        return self._gradients(cotangents, cache)

    def displaced(self) -> FunctionSubject:
        """The functions at inputs nearby."""
        return self._at(self._nearby)

    def moderated(self) -> FunctionSubject:
        """The functions at inputs of moderate size."""
        return self._at(self._smaller)

    def _at(self, move: Callable[[Any], Any]) -> FunctionSubject:
        return FunctionSubject(self.forward, self.backward, transform(move, self.inputs), self.seed, self.time_axis)

    def _smaller(self, array: Any) -> Any:
        """A copy of an input, a float one made smaller."""
        if kind(array) != "f":
            return copy.deepcopy(array)
        return self.backend.asarray(self.smaller(self.backend.to_host(array)), array.dtype)

    def _nearby(self, array: Any) -> Any:
        """A copy of an input, a float one a little way off."""
        if kind(array) != "f":
            return copy.deepcopy(array)
        shift = np.random.default_rng([self.seed, 5]).normal(scale=1e-2, size=tuple(array.shape))
        return array + self.backend.asarray(shift, array.dtype)

    def _call(self, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        found = self.forward(*inputs)
        if not isinstance(found, tuple) or len(found) != 2:
            raise bad_type("forward", "a function that returns (out, cache)", f"one that returns {describe(found)}")
        return found

    def _watch(self) -> None:
        """Whether forward or backward writes into what it is given."""
        given = self._private(self.inputs)
        before = [self.backend.to_host(array).copy() for array in leaves(given) if kind(array)]
        _, cache = self._call(given)
        cotangents = self.cotangents()
        untouched = [self.backend.to_host(array).copy() for array in cotangents]
        self._gradients(cotangents, cache)
        after = [array for array in leaves(given) if kind(array)]
        if not all(same(old, self.backend.to_host(new)) for old, new in zip(before, after, strict=True)):
            self.trouble, self.causes[""] = "input mutated", "a function writes into its inputs"
        elif not all(same(old, self.backend.to_host(new)) for old, new in zip(untouched, cotangents, strict=True)):
            self.trouble, self.causes[""] = "input mutated", "backward writes into the gradient it is given"

    def _gradients(self, cotangents: list[Any], cache: Any) -> dict[str, Any]:
        found = self.backward(refill(self.out, iter(cotangents)), cache)
        if not isinstance(found, (tuple, list)):
            found = (found,)
        elif len(self.inputs) == 1 and isinstance(self.inputs[0], tuple) and len(found) != 1:
            found = (found,)  # the one input is a nest, and so is its gradient
        if len(found) != len(self.inputs):
            raise bad_input("backward", f"{len(self.inputs)} gradients, one for each input", f"{len(found)}")
        gradients: dict[str, Any] = {}
        for position, (given, gradient) in enumerate(zip(self.inputs, found, strict=True)):
            own = dict(named_leaves(gradient, f"input {position}"))
            for name, array in named_leaves(given, f"input {position}"):
                if kind(array) != "f":
                    continue
                if own.get(name) is None:
                    raise bad_type("backward", f"a gradient for {name}", "None", "only integer inputs have none")
                gradients[name] = copied(self._array(own[name], "backward"))  # it may be a buffer that is used again
                if kind(gradients[name]) not in ("f", "i", "u"):
                    got = f"{describe(own[name])} of {dtype_in_words(gradients[name].dtype)}"
                    raise bad_type("backward", f"real numbers as the gradient of {name}", got)
                if tuple(gradients[name].shape) != tuple(array.shape):
                    self.causes[name] = f"shape {tuple(gradients[name].shape)} in place of {tuple(array.shape)}"
                    gradients[name] = self.backend.xp.full(array.shape, np.nan)
        return gradients

    def _with(self, replaced: dict[str, Any]) -> tuple[Any, ...]:
        def fill(nest: Any, position: int) -> Any:
            named = named_leaves(nest, f"input {position}")
            return refill(nest, iter([self._private(replaced.get(name, array)) for name, array in named]))

        return tuple(fill(given, position) for position, given in enumerate(self.inputs))

    def _private(self, nest: Any) -> Any:
        """Contiguous copies: inputs that share memory, or lie in it with gaps, come apart."""
        return transform(lambda a: copied(a) if self.backend.is_array(a) else copy.deepcopy(a), nest)

    def _array(self, value: Any, source: str = "forward") -> Any:
        """What a function returned as an array of the backend."""
        if self.backend.is_array(value):
            return value
        refuse_own_rules(source, value)
        try:
            return self.backend.xp.asarray(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # an object that is no array
            raise bad_type(source, "a function that returns arrays", f"one that returns {describe(value)}") from None


def _time_axis(array: Any, time_axis: int | None) -> int | None:
    return time_axis if time_axis is not None and getattr(array, "ndim", 0) >= 3 else None
