"""The machinery of an optimiser, without its equation: buffers, scratch, the finite check, saving and loading.

A step never waits for the device.  The device itself computes a flag: whether all gradients are finite.  Every new
value is *selected* by that flag (``keep``), because multiplying by it would let NaN through.  A refused step leaves
weights, buffers and step count as they were.  It sets `Optimizer.nonfinite`, which is read at the next report (rule
16).

Finite gradients beyond the root of the dtype's range (1.8e19 in float32) overflow their squares: elements of Adagrad,
RMSprop and Adam then stand still for good, as in PyTorch.  Clipping by norm comes before the step and prevents it.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.backend.device_errors import explained
from engine.checks import describe, number
from engine.errors import bad_input, bad_type
from engine.optimizers.parameters import Number, parameters_of
from engine.plain_arrays import first_place

#: Arrays of a state that count, or add up squares.
NEVER_NEGATIVE = {"steps", "sum", "square_avg", "exp_avg_sq"}
#: ``keep(destination, new)`` copies where the step is finite.
Keep = Callable[[Any, Any], None]


class Room:
    """The working set of one parameter: its buffers by name, and scratch arrays of its shape."""

    def __init__(self, slots: dict[str, Any], scratch: list[Any], finite: Any) -> None:
        self.slots, self.finite = slots, finite
        self.a, self.b, self.g = scratch


class Optimizer:
    """What all optimisers share.

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    l1 : float
        Coupled penalty: ``l1*sign(w)`` is added to the gradient inside `step`.
    l2 : float
        Coupled penalty: ``l2*w`` is added to the gradient inside `step`.

    Attributes
    ----------
    steps : array of int
        The updates made, 0-d of the backend; refused ones are not counted.
    nonfinite : array of bool
        Whether an update was refused since the last `clear_nonfinite`, 0-d.  Reading its truth waits for the device.
    made, skipped : array of bool
        Whether the last call of `step` made an update, and whether it skipped one (`engine.LossScaler`), 0-d.
    """

    lr, l1, l2 = Number(settable=True), Number(), Number()

    @explained()
    def __init__(self, model: Any, lr: float, l1: float, l2: float) -> None:
        self.lr, self.l1, self.l2 = lr, l1, l2
        self.backend, self._all = parameters_of(model)
        #: Those that are trained: `step` and clipping look at these alone.
        self.parameters = list(self._all)
        self._scales = [1.0] * len(self._all)
        xp = self.backend.xp
        self.steps = xp.zeros((), dtype=np.int64)
        self.nonfinite = xp.zeros((), dtype=bool)
        self.made, self.skipped = xp.ones((), dtype=bool), xp.zeros((), dtype=bool)
        self._lay_out()

    def _slots(self) -> dict[str, float]:
        """Names of the buffers that every parameter has, as PyTorch calls them, with their first values."""
        return {}

    def _factors(self, t: Any) -> tuple[Any, ...]:
        """The factors of the equation that depend on the step number t (1 at the first), 0-d float64 on the device."""
        return ()

    def _update(self, keep: Keep, w: Any, g: Any, room: Room, factors: tuple[Any, ...]) -> None:
        """The equation: reads `w` and `g`, works in ``room.a`` and ``room.b``, writes only by ``keep(dst, new)``."""
        raise NotImplementedError

    # -- the step -----------------------------------------------------------------------------------------------------

    @explained()
    def step(self, guard: Any = None, forgive: Any = None) -> None:
        """Update all parameters in place, or none of them if a gradient or the guard is not finite.

        Parameters
        ----------
        guard : array, float or None
            A value that has to be finite too, such as the loss: a 0-d array of the backend or a Python float.
        forgive : array of bool or None
            Whether gradients that are not finite only `skipped` the update, and leave `nonfinite` as it is: a 0-d array
            of the backend, as `engine.LossScaler` has it.  None is no.
        """
        xp = self.backend.xp
        trained = [place for place, scale in enumerate(self._scales) if scale]
        pairs = [self._all[place].arrays(self.backend) for place in trained]
        rooms = [self._rooms[place] for place in trained]
        ok = self.made

        def keep(dst: Any, new: Any) -> None:
            xp.copyto(dst, new, where=ok)

        # What would warn here is either refused by the flag or selected away.
        with np.errstate(all="ignore"):
            self._judge(pairs, rooms, guard, forgive)
            refused = xp.logical_not(xp.logical_or(ok, self.skipped))
            xp.logical_or(self.nonfinite, refused, out=self.nonfinite)
            xp.add(self.steps, ok, out=self.steps)
            t, rate = xp.asarray(self.steps, dtype=np.float64), self.lr
            try:
                for scale in dict.fromkeys(self._scales[place] for place in trained):
                    vars(self)["lr"] = rate * scale
                    exact = self._factors(t)
                    members = [n for n, place in enumerate(trained) if self._scales[place] == scale]
                    # Cast once for each dtype: a 0-d float64 array would promote float32 arrays.
                    dtypes = {pairs[n][0].dtype for n in members}
                    factors = {dtype: tuple(xp.asarray(f, dtype=dtype) for f in exact) for dtype in dtypes}
                    for room, (w, grad) in ((rooms[n], pairs[n]) for n in members):
                        self._update(keep, w, self._coupled(room, w, grad), room, factors[w.dtype])
            finally:
                vars(self)["lr"] = rate
        for touch in {id(p.owner): getattr(p.owner, "touch", None) for p in self.parameters}.values():
            if touch is not None:
                touch()

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Give groups of parameters a learning rate of their own, as a factor of `lr`; 0 freezes them.

        A frozen parameter is not touched at all: no update, no penalty, no decay, and clipping does not count its
        gradient.  Its buffers stay as they are, so it goes on from there when it is unfrozen.

        Parameters
        ----------
        rates : mapping of str to float
            Patterns of names, as the shell has them (``"0.*"``, ``"*bias*"``), with factors >= 0.  The last pattern
            that fits a name counts; a name that none fits has the factor 1.  An empty mapping resets all.

        Raises
        ------
        InputError
            For a pattern that fits no parameter, or a factor that is no number >= 0.  Nothing has changed then.

        Examples
        --------
        >>> import engine
        >>> model = engine.Sequential(engine.GRU(2, 3), engine.Linear(3, 1))
        >>> optimizer = engine.Adam(model, lr=0.01)
        >>> optimizer.set_rates({"0.*": 0, "0.*_hh_*": 0.1})
        >>> [parameter.name for parameter in optimizer.parameters]
        ['0.weight_hh_l0', '0.bias_hh_l0', '1.weight', '1.bias']
        """
        if not isinstance(rates, Mapping):
            raise bad_type("rates", "a mapping from patterns of names to factors", describe(rates))
        scales = [1.0] * len(self._all)
        for pattern, factor in rates.items():
            if not isinstance(pattern, str):
                raise bad_type("rates", "patterns of names, as texts", describe(pattern))
            fitting = [place for place, known in enumerate(self._all) if fnmatch.fnmatchcase(known.name, pattern)]
            if not fitting:
                names = ", ".join(known.name for known in self._all)
                raise bad_input("rates", f"a pattern that fits one of {names}", repr(pattern))
            scale = number(f"rates[{pattern!r}]", factor)
            for place in fitting:
                scales[place] = scale
        if not any(scales):
            raise bad_input("rates", "a factor above 0 for some parameter", "0 for all", "there is nothing to train")
        self._scales = scales
        self.parameters = [known for known, scale in zip(self._all, scales, strict=True) if scale]

    def clear_nonfinite(self) -> None:
        """Forget refused updates: `nonfinite` is False again."""
        self.nonfinite[...] = False

    def _judge(self, pairs: list[tuple[Any, Any]], rooms: list[Room], guard: Any, forgive: Any) -> None:
        """Set the flags of this step: whether the guard and all gradients are finite, and whether it is skipped."""
        xp, ok = self.backend.xp, self.made
        if isinstance(guard, int | float | np.floating):
            ok[...] = isinstance(guard, int) or math.isfinite(guard)  # no float holds every int
        elif guard is None:
            ok[...] = True
        elif self.backend.is_array(guard) and guard.ndim == 0 and self.backend.dtype_of(guard).kind in "fiub":
            xp.isfinite(guard, out=ok)
        else:
            got = describe(guard) + (f" of shape {guard.shape}" if isinstance(guard, np.ndarray) else "")
            raise bad_type("guard", f"None, a number or a 0-d {self.backend.name} array", got)
        if forgive is not None:
            xp.logical_and(ok, forgive, out=self.skipped)
        for room, (_, grad) in zip(rooms, pairs, strict=True):
            xp.isfinite(grad, out=room.finite)
            xp.logical_and(ok, room.finite.all(), out=ok)
        self.skipped[...] = False if forgive is None else xp.logical_and(self.skipped, xp.logical_not(ok))

    def _coupled(self, room: Room, w: Any, grad: Any) -> Any:
        """grad + l2*w + l1*sign(w), in scratch."""
        if not (self.l1 or self.l2):
            return grad
        xp, g = self.backend.xp, room.g
        xp.multiply(w, self.l2, out=g)
        g += grad
        if self.l1:
            xp.sign(w, out=room.a)
            room.a *= self.l1
            g += room.a
        return g

    def _mix(self, old: Any, rate: float, new: Any, room: Room) -> Any:
        """rate*old + (1 - rate)*new, in ``room.a``; `new` may be ``room.b``."""
        xp = self.backend.xp
        xp.multiply(new, 1.0 - rate, out=room.b)
        xp.multiply(old, rate, out=room.a)
        room.a += room.b
        return room.a

    def _lay_out(self) -> None:
        """Make the buffers, and scratch as large as the largest parameter, which all parameters share."""
        xp = self.backend.xp
        weights = [parameter.arrays(self.backend)[0] for parameter in self._all]
        largest: dict[Any, int] = {}
        for w in weights:
            largest[w.dtype] = max(largest.get(w.dtype, 0), math.prod(w.shape))
        scratch = {dtype: [xp.empty(size, dtype=dtype) for _ in range(3)] for dtype, size in largest.items()}
        finite = xp.empty(max(largest.values()), dtype=bool)
        self._rooms = []
        for w in weights:
            slots = {slot: xp.full(w.shape, value, dtype=w.dtype) for slot, value in self._slots().items()}
            size = math.prod(w.shape)
            views = [flat[:size].reshape(w.shape) for flat in scratch[w.dtype]]
            self._rooms.append(Room(slots, views, finite[:size].reshape(w.shape)))

    # -- saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copy all that is needed to continue exactly: ``"type"``, every hyper-parameter, and the arrays.

        Returns
        -------
        dict
            Arrays are ``"steps"``, ``"nonfinite"`` and the buffers, such as ``"exp_avg.weight_ih_l0"``; all else is
            JSON-able.
        """
        scalars = {name: getattr(self, name) for name in self._numbers()}
        arrays = {name: self.backend.xp.copy(array) for name, array in self._arrays().items()}
        return {"type": type(self).__name__, **scalars, **arrays}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Continue from a saved state, hyper-parameters included; arrays may come from the host or another backend.

        Parameters
        ----------
        mapping : mapping of str to array
            What `state_dict` returned.

        Raises
        ------
        InputError
            For another optimiser's state, a missing or unknown name, a wrong shape or value.  Nothing has changed then.
        """
        if not isinstance(mapping, Mapping):
            raise bad_type("state_dict", "what state_dict() returned", describe(mapping))
        kind, numbers, arrays = type(self).__name__, self._numbers(), self._arrays()
        given = mapping.get("type")
        if not isinstance(given, str) or given != kind:
            raise bad_input("state_dict", f"the state of {kind}", f"type {describe(given)}")
        wanted = {"type", *numbers, *arrays}
        missing, unknown = sorted(wanted - mapping.keys()), sorted(map(str, mapping.keys() - wanted))
        if missing or unknown:
            parts = [f"missing {missing}"] * bool(missing) + [f"unknown {unknown}"] * bool(unknown)
            hint = "the model and the options that add buffers have to be those it was saved with"
            raise bad_input("state_dict", f"the names {sorted(wanted)}", " and ".join(parts), hint)
        scalars = {name: hyper.checked(mapping[name]) for name, hyper in numbers.items()}
        values = {name: self._incoming(name, mapping[name], array) for name, array in arrays.items()}
        self.__dict__.update(scalars)
        for name, array in arrays.items():
            array[...] = values[name]

    def _incoming(self, name: str, value: Any, array: Any) -> Any:
        host = backend_of(value, name).to_host(value)
        wanted = self.backend.dtype_of(array)
        if host.dtype.kind != wanted.kind:
            raise bad_type(name, f"dtype {wanted}", f"dtype {host.dtype}")
        # A file format without 0-d arrays gives them back as (1,).
        if host.shape != tuple(array.shape) and not (array.ndim == 0 and host.shape == (1,)):
            raise bad_input(name, f"shape {tuple(array.shape)}", f"shape {host.shape}")
        _require_possible(name, host, wanted)
        return self.backend.asarray(host.reshape(array.shape), dtype=array.dtype)

    def _arrays(self) -> dict[str, Any]:
        rooms = zip(self._all, self._rooms, strict=True)
        slots = {f"{slot}.{p.name}": array for p, room in rooms for slot, array in room.slots.items()}
        return {"steps": self.steps, "nonfinite": self.nonfinite, **slots}

    @classmethod
    def _numbers(cls) -> dict[str, Number]:
        return {name: h for base in reversed(cls.__mro__) for name, h in vars(base).items() if isinstance(h, Number)}

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._numbers())
        return f"{type(self).__name__}({values})"


def _require_possible(name: str, host: np.ndarray, dtype: np.dtype) -> None:
    """Raise for values that no step produces: NaN, a number beyond the dtype, a negative count or mean square."""
    with np.errstate(over="ignore"):  # a square that overflowed is infinite, and rightly so
        lost = np.isnan(host) | (np.isinf(host.astype(dtype)) & np.isfinite(host))
    kind = "a count" if dtype.kind in "iu" else "numbers"
    for wrong, expected in ((lost, f"{kind} within the range of {dtype}"), (host < 0, f"{kind} >= 0")):
        if wrong.any() and (wrong is lost or name.partition(".")[0] in NEVER_NEGATIVE):
            place = first_place(wrong)
            where = f"{host[place]} at index {place}" if host.size > 1 else f"{host[place]}"
            raise bad_input(name, expected, where, "load an earlier state")
