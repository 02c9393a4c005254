"""A layer as the subject of a gradient check: one of the engine's, or any object with the layer protocol.

The protocol: ``forward(x, state, lengths) -> (y, state, tape)``, ``backward(tape, dy, dstate) -> (dx, dstate)`` which
adds to ``grads``, and two dicts of arrays by the same names, ``params`` and ``grads``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.backend import get_backend
from engine.checking.diagnosis import layer_causes
from engine.checking.diagnosis.patterns import shape_in_words
from engine.checking.subjects import attending as attending  # it registers its layer
from engine.checking.subjects import batched, layer_promises
from engine.checking.subjects import over_time as over_time  # it registers its layers
from engine.checking.subjects.forward_mode import jvp
from engine.checking.subjects.layer_copies import adopt, check_protocol, lent, replaced_methods, two_copies, zero_grads
from engine.checking.subjects.naming import gates_of, spread, state_names
from engine.checking.subjects.shapes.insides import float_arrays
from engine.checking.subjects.subject import Part, Subject, draw_weights, split_weights
from engine.checking.subjects.trees import copied, kind, leaves, named_leaves, refill, transform
from engine.checking.verdicts import blind_spots
from engine.checking.verdicts.closeness import near, same
from engine.checks import describe
from engine.errors import bad_type
from engine.layers.base import Layer


class LayerSubject(Subject):
    """A layer with its arguments; `engine.gradcheck` explains them.

    There are two copies of the layer: `exact`, in float64, is evaluated; `checked` runs backward.
    """

    def __init__(self, layer: Any, x: Any, state: Any, lengths: Any, seed: int, dtype: str) -> None:
        check_protocol(layer)
        super().__init__(getattr(layer, "backend", None) or get_backend("numpy:reference"))
        self.dtype, self.lengths, self.seed = dtype, lengths, seed
        self._kept = [copied(array) for array in (*layer.params.values(), *layer.grads.values())]
        self.original = layer
        self.params_before: dict[str, Any] = {}
        if isinstance(layer, Layer):
            if replaced_methods(layer):
                dtype = self.dtype = layer.dtype.name  # the object itself is used, as it is
            self.narrow = dtype == "float32"
        else:
            self.narrow = any(getattr(param, "dtype", None) == np.float32 for param in layer.params.values())
        self.exact, self.checked = two_copies(layer, dtype)
        self.counters = layer.call_counters() if hasattr(layer, "call_counters") else None
        self.time_axis = 1 if getattr(layer, "batch_first", False) else 0
        self.x, self.state = self.cast(x, "float64"), self.cast(state, "float64")
        self.y, last, self.exact_tape = self.forward(self.exact, self.x, self.state)
        if self.state is None:  # the gradient with respect to zeros is checked at zeros
            self.state = transform(self.backend.xp.zeros_like, last)
        self.last = last
        self.state_names = state_names(self.exact, last)
        self._find_parts()
        weights = [part for part in self.parts if part.name in self.exact.params]
        self.warnings += [*blind_spots.blind_spots(self, weights), *blind_spots.tokens(self.x)]
        self.outputs = [copied(out) for out in self.evaluate({})]
        self._weigh(seed)
        self.has_tangent = self._knows_tangent()
        self.zeros_are_zeros = isinstance(layer, Layer)  # its tape holds what a saturated gate was rounded to
        self.can_copy = batched.known(layer) and self._copies_agree()
        self.tape = self._tape(self.checked)
        if dtype == "float64":  # forward mode is to walk the same trajectory as backward
            self.exact_tape = self.tape
        self._claim()

    def _find_parts(self) -> None:
        for name, param in self.exact.params.items():
            self.parts.append(Part(name, copied(param), gates_of(self.exact, name)))
        if kind(self.x) == "f":
            self.parts.append(Part("x", self.x, time_axis=self.time_axis if self.x.ndim > 2 else None))
        for name, array in zip(self.state_names, leaves(self.state), strict=True):
            self.parts.append(Part(name, array))

    def _weigh(self, seed: int) -> None:
        outputs = dict(named_leaves(self.y, "y"))
        names = [*outputs, *(f"final {name.rstrip('0123456789')}" for name in self.state_names)]
        tokens = kind(self.x) in ("i", "u") and self.x.ndim == 2 and getattr(self.exact, "keeps_time", True)
        axes = [self.time_axis if y.ndim > 2 or tokens else None for y in outputs.values()]
        axes += [None for _ in self.state_names]
        everything = draw_weights(seed, self.outputs)
        if self.narrow:  # rounding is measured for all outputs together, and in float32 that is no small matter
            self.weights = everything[:1]
        else:
            self.groups, self.weights = split_weights(everything, self.outputs, axes, names)

    def beside(self) -> dict[str, np.ndarray]:
        """Token ids, and the rate of a dropout."""
        found = {"x": np.asarray(self.backend.to_host(self.x))} if kind(self.x) in ("i", "u") else {}
        rates = {name: getattr(self.checked, name, None) for name in ("dropout", "p", "zoneout")}
        return found | {name: np.asarray(rate) for name, rate in rates.items() if isinstance(rate, float)}

    # -- forward -----------------------------------------------------------------------------------------------------

    def forward(self, model: Any, x: Any, state: Any) -> tuple[Any, Any, Any]:
        """y, state and tape of one of the copies; every pass draws the same dropout masks."""
        if self.counters is not None:
            model.load_call_counters(self.counters)
        given = (x, state) if self.lengths is None else (x, state, self.lengths)
        given = tuple(transform(copied, one) for one in given[:2]) + given[2:]
        before = [self.backend.to_host(array).copy() for array in leaves(given[:2])]
        found = model.forward(*(given if state is not None or self.lengths is not None else given[:1]))
        if not all(same(old, self.backend.to_host(new)) for old, new in zip(before, leaves(given[:2]), strict=True)):
            self.mutated = "forward writes into its arguments"
        if not isinstance(found, tuple) or len(found) != 3:
            hint = "an object with forward(x) and backward(dout) is checked by check_object"
            raise bad_type("layer.forward", "three things, (y, state, tape)", describe(found), hint)
        return found

    def evaluate(self, replaced: dict[str, Any]) -> list[Any]:
        """The outputs with some tensors replaced."""
        with lent(self.exact.params, replaced):
            return self._outputs(replaced.get("x", self.x), self._with_state(replaced))

    def _outputs(self, x: Any, state: Any) -> list[Any]:
        y, last, _ = self.forward(self.exact, x, state)
        return [*leaves(y), *leaves(last)]

    def _with_state(self, replaced: dict[str, Any]) -> Any:
        parts = zip(self.state_names, leaves(self.state), strict=True)
        return refill(self.state, iter([replaced.get(name, part) for name, part in parts]))

    def copies(self, name: str, stack: Any) -> list[Any] | None:
        """Outputs for K values of one tensor, in one pass of the plain kernels."""
        if not self.can_copy:
            return None
        params = {key: stack if key == name else value[None] for key, value in self.exact.params.items()}
        parts = zip(self.state_names, leaves(self.state), strict=True)
        state = refill(self.state, iter([stack if key == name else part[None] for key, part in parts]))
        x = stack if name == "x" else transform(lambda array: array[None], self.x)
        outputs = self._run_copies(params, x, state)
        return [self.backend.xp.broadcast_to(out, (len(stack), *out.shape[1:])) for out in outputs]

    def _run_copies(self, params: dict[str, Any], x: Any, state: Any) -> list[Any]:
        y, last = batched.run(self.exact, self.exact_tape, params, x, state)
        return [*leaves(y), *leaves(last)]

    def _copies_agree(self) -> bool:
        """Whether copies give what the layer's own forward gives: else that is run, one copy at a time."""
        self.can_copy = True
        found = self.run(self.parts[0], self.host(self.parts[0])[None])[0]
        own = self.flat(self.outputs)
        if near(found, own):
            return True
        # other kernels round otherwise: in a chaotic network that shows, as it does if the input is off by a rounding
        x = self.cast(self.x, "float64")
        self.jitter([x], np.random.default_rng(0))
        blurred = self.flat(self.evaluate({"x": x}))
        return float(np.max(np.abs(blurred - own))) > 0.1 * float(np.max(np.abs(found - own)))

    def _knows_tangent(self) -> bool:
        return isinstance(self.original, Layer)

    def tangent(self, directions: dict[str, Any]) -> list[Any]:
        """Tangents of the outputs."""
        zeros = self.backend.xp.zeros_like
        params_dot = {name: directions.get(name, zeros(param)) for name, param in self.exact.params.items()}
        parts = zip(self.state_names, leaves(self.state), strict=True)
        state_dot = refill(self.state, iter([directions.get(name, zeros(part)) for name, part in parts]))
        x_dot = directions.get("x", None if kind(self.x) in "iu" else zeros(self.x))
        y_dot, last_dot = jvp(self.exact, self.exact_tape, params_dot, x_dot, state_dot)
        return [*leaves(y_dot), *leaves(last_dot)]

    # -- backward ----------------------------------------------------------------------------------------------------

    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """The gradients that backward claims; one that it does not return counts as zeros."""
        zero_grads(self.checked)
        return self.pull_more(cotangents)

    def pull_more(self, cotangents: list[Any]) -> dict[str, Any]:
        """Backward on top of the gradients that are there; with a fresh tape and parameters if it spoils them."""
        tape = self._tape(self.checked) if self.mutated else self.tape
        found = self.backward(self.checked, tape, self.cast(cotangents, self.dtype))
        if self.mutated:
            self.restore_params()
        return found

    def restore_params(self) -> None:
        """Undo what backward has written into the parameters."""
        for name, param in self.checked.params.items():
            param[...] = self.params_before[name]
        if isinstance(self.checked, Layer):
            self.checked.touch()

    def backward(self, model: Any, tape: Any, cotangents: list[Any]) -> dict[str, Any]:
        """Backward on top of the gradients that are there."""
        found = model.backward(tape, *self._nests(cotangents))
        if not isinstance(found, tuple) or len(found) != 2:
            raise bad_type("layer.backward", "two things, (dx, dstate)", describe(found))
        return self.named(model, *found)

    def named(self, model: Any, dx: Any, dfirst: Any) -> dict[str, Any]:
        """All gradients by the names of the parts."""
        found = {name: copied(grad) for name, grad in model.grads.items()} | {"x": dx}
        found |= zip(self.state_names, spread(dfirst, self.last), strict=True)
        return {part.name: self._as_gradient(part, found.get(part.name)) for part in self.parts}

    def _as_gradient(self, part: Part, value: Any) -> Any:
        """What backward gave for a part: zeros for None, and NaN, which no tolerance passes, for a wrong shape."""
        xp = self.backend.xp
        if value is None:
            return xp.zeros_like(part.array)
        if tuple(np.shape(value)) != part.shape:
            self.causes[part.name] = shape_in_words(tuple(np.shape(value)), part.shape)
            return xp.full(part.shape, np.nan, dtype=part.array.dtype)
        return copied(value)  # it may be a buffer that is used again

    def put_back(self) -> None:
        """Leave the layer that was given as it was."""
        layer = self.original
        for array, value in zip((*layer.params.values(), *layer.grads.values()), self._kept, strict=True):
            array[...] = value
        if self.counters is not None:
            layer.load_call_counters(self.counters)

    def displaced(self) -> LayerSubject:
        """The layer at an input and a state nearby."""
        return self._of(self.original, *self._nearby())

    def moderated(self) -> LayerSubject | None:
        """A copy of the layer, its parameters and arguments made smaller."""
        if replaced_methods(self.original):  # no copy would run them
            return None
        layer, generator = two_copies(self.original, "float64")[0], np.random.default_rng(9)

        def smaller(array: Any) -> Any:
            if kind(array) != "f":
                return array
            return self.backend.asarray(self.smaller(self.backend.to_host(array), generator), array.dtype)

        for param in layer.params.values():
            param[...] = smaller(param)
        if isinstance(layer, Layer):
            layer.touch()
        return self._of(layer, *transform(smaller, (self.x, self.state)))

    def _of(self, layer: Any, x: Any, state: Any) -> LayerSubject:
        """The same check of another layer or at another place."""
        return LayerSubject(layer, x, state, self.lengths, self.seed, self.dtype)

    def _nearby(self) -> tuple[Any, Any]:
        generator = np.random.default_rng([self.seed, 5])

        def move(array: Any) -> Any:
            if kind(array) != "f":
                return array
            return array + self.backend.asarray(1e-2 * generator.normal(size=tuple(array.shape)))

        return transform(move, self.x), transform(move, self.state)

    def trace(self, cotangents: list[Any]) -> Any:
        """What backward has inside, step by step."""
        cotangents = self.cast(cotangents, self.dtype)
        return self.checked.backward_trace(self.tape, *self._nests(cotangents))

    def _nests(self, cotangents: list[Any]) -> tuple[Any, Any]:
        """The cotangents as forward gives y and the final state: several heads have a dict of outputs."""
        waiting = iter(cotangents)
        return refill(self.y, waiting), refill(self.last, waiting)

    def explain(self, block: Any) -> Iterable[str]:
        """Causes that the layer's inside gives away."""
        return layer_causes.explain(self, block)

    def with_full_rows(self) -> LayerSubject:
        """The same check without lengths."""
        return LayerSubject(self.original, self.x, self.state, None, 0, self.dtype)

    def blur(self, generator: np.random.Generator, group: int = 0, roundings: float = 1.0) -> dict[str, Any]:
        """Backward with tape and cotangents moved by a rounding; in float32 forward's numbers as well.

        In float64 forward stays as it was: the second opinions differentiate the same trajectory.  So its own rounding
        is no error of the gradient, not even in a chaotic network, where it grows without bound.
        """
        eps = roundings * float(np.finfo(self.dtype).eps)
        model = two_copies(self.original, self.dtype)[1]
        x, state = self.cast(self.x, self.dtype), self.cast(self.state, self.dtype)
        if self.dtype != "float64":
            self.jitter((*model.params.values(), *leaves(x), *leaves(state)), generator, eps)
            if isinstance(model, Layer):
                model.touch()
        tape = self._tape(model, x, state)
        params = {id(param) for param in model.params.values()}
        self.jitter([array for array in float_arrays(tape) if id(array) not in params], generator, eps)
        cotangents = self.cast(self.cotangents(group), self.dtype)
        self.jitter(cotangents, generator, eps)
        zero_grads(model)
        return self.backward(model, tape, cotangents)

    def _tape(self, model: Any, x: Any = None, state: Any = None) -> Any:
        """A tape for backward to read, of the trajectory that the second opinion sees.

        Compiled kernels round differently from plain ones.  In a chaotic network this grows until the two follow
        different trajectories, and right gradients of the one would be wrong for the other.
        """
        x = self.cast(self.x, self.dtype) if x is None else x
        state = self.cast(self.state, self.dtype) if state is None else state
        tape = self.forward(model, x, state)[2]
        # two forwards before a backward are legal: a backward that reads the latest pass, not its tape, shows itself
        self.forward(model, *self.cast(self._nearby(), self.dtype))
        if not self.can_copy or self.dtype != "float64" or self.backend.kernels.name == "reference":
            return tape
        plain = self.exact.to(backend=f"{self.backend.name}:reference")
        return adopt(self.forward(plain, x, state)[2], model)

    def _claim(self) -> None:
        first = layer_promises.watch(self)
        layer_promises.look_again(self, first)
        self.claim([first, *(self.pull(self.cotangents(group)) for group in range(1, len(self.groups)))])

    def cast(self, value: Any, dtype: str) -> Any:
        """A contiguous copy of an array or a nest of arrays, floats in the dtype asked for."""

        def one(array: Any) -> Any:
            host = self.backend.to_host(array) if self.backend.is_array(array) else np.asarray(array)
            return host if host.dtype.kind in "iu" else self.backend.asarray(np.array(host, order="C"), dtype=dtype)

        return transform(one, value)
