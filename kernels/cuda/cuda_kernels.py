"""The time loops on a GPU: our own CUDA kernels through CuPy, cuBLAS for the products.

`kernels.cuda.launches` decides for each layer and direction between one launch for the whole sequence, a product and a
gate kernel at each step, and plain array code; `kernels.reference` defines what all of them compute.  Nothing here
waits for the device or copies to the host.  Every kernel is tested on the CPU through a simulator; none has run on a
GPU yet.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels import events
from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.cuda import elements, modules
from kernels.cuda.launches import Device, Launch, LaunchPlan, plan
from kernels.cuda.parts import parts
from kernels.cuda.translate import symbol
from kernels.products import operand
from kernels.reference import ReferenceKernels

Array = Any  # of CuPy
Weights = Mapping[str, Any]

_NULL = np.uintp(0)  # a null pointer among a kernel's arguments
_INT = np.int32  # kernels get NumPy scalars of their own type, never bare Python numbers (rule 22)
_TICKET_STRIDE = 32  # a cache line for the counter of each group


class CudaKernels(ReferenceKernels):
    """The kernel set ``cuda`` over CuPy.  See `kernels.Kernels` for what a kernel set offers.

    Attributes
    ----------
    last_plan : the `LaunchPlan` of the last forward or backward that was run; None before, and where `reference` ran.
    fallback_reason : why plain array code runs instead of the last cell's kernels, with a hint; None if they run.
    """

    name = "cuda"
    steps_at_once = 256  # a launch for the whole sequence should not be cut into many

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.last_plan: LaunchPlan | None = None
        self.fallback_reason: str | None = None
        self._modules: dict[tuple[str, Cell, str], Any] = {}
        self._failures: dict[tuple[str, Cell, str], str] = {}
        self._functions: dict[tuple[str, Cell, str], Any] = {}
        self._devices: dict[int, Device] = {}

    def forward(self, given: Pass, pre: Array, states: tuple[Array, ...]) -> Run:
        """Run one layer and direction over all T steps; see `kernels.reference.ReferenceKernels.forward`."""
        cell, weights = given.cell, given.weights
        way = self._way(given, "forward", [(pre, 3), *((state, 2) for state in states)])
        if way is None:
            return super().forward(given, pre, states)
        xp, dtype = self.xp, pre.dtype
        (T, B, rows), G = pre.shape, len(cell.gates)
        H, P = rows // G, states[0].shape[1]
        slots = tuple(xp.empty((T + 1, *state.shape), dtype=dtype) for state in states)
        for buffer, state in zip(slots, states, strict=True):
            buffer[0] = state
        tape = {name: xp.empty((T, B, P if cell.is_narrow(name) else H), dtype=dtype) for name in cell.kept}
        run = Run(slots, xp.empty((T, B, G, H), dtype=dtype), tape)
        buffers = self._tape(cell, run) | self._common(given, run)
        buffers |= {"pre": xp.ascontiguousarray(pre), "bias": _contiguous(xp, weights.get("bias_hh"))}
        arguments = _in_order(elements.forward_fields(cell), buffers)
        if way.path == "persistent":
            self._launch_sequence(cell, "forward", way, arguments, weights["weight_hh"], T)
        else:
            self._step_forward(cell, arguments, weights, run)
        return run

    def backward(self, given: Pass, run: Run, dy: Array, dlast: tuple[Array, ...], trace: bool = False) -> Adjoints:
        """Walk the slots of `run` from the end to the start; see `kernels.reference.ReferenceKernels.backward`."""
        cell, weights = given.cell, given.weights
        arrays = [(run.gates, 4), *((slots, 3) for slots in run.states), (dy, 3), *((part, 2) for part in dlast)]
        way = self._way(given, "backward", arrays)
        if way is None:
            return super().backward(given, run, dy, dlast, trace)
        xp, (T, B, G, H), dtype = self.xp, run.gates.shape, run.gates.dtype
        da = xp.empty((T, B, G, H), dtype=dtype)
        da_hidden = xp.empty((T, B, G, H), dtype=dtype) if cell.splits else da
        dnext = tuple(self._state_gradient(last, slots) for last, slots in zip(dlast, run.states, strict=True))
        traces = tuple(xp.empty_like(slots) for slots in run.states) if trace else None
        own = {name: xp.empty((T, B, H), dtype=dtype) for name in cell.own}
        dprojected = None if cell.projected is None else xp.empty_like(run.h[1:])
        buffers = self._tape(cell, run) | self._common(given, run)
        buffers |= {"dy": _contiguous(xp, dy), "da": da, "da_hidden": da_hidden, "dprojected": dprojected}
        buffers |= {f"d{symbol(name)}": rows for name, rows in own.items()}
        for number, state in enumerate(map(symbol, cell.states)):
            buffers |= {f"d{state}_next": dnext[number], f"d{state}_all": traces and traces[number]}
        units = {"H": H, "P": run.h.shape[-1]}
        for name, width in elements.passed(cell).items():
            buffers[f"d{symbol(name)}_passed"] = xp.empty((B, units[width]), dtype=dtype)
        arguments = _in_order(elements.backward_fields(cell), buffers)
        if way.path == "persistent":
            self._launch_sequence(cell, "backward", way, arguments, weights["weight_hh"], T)
        else:
            self._step_backward(cell, arguments, weights, da_hidden, dprojected)
        for slots, first in zip(traces or (), dnext, strict=False):
            slots[0] = first
        own = {name: rows.sum(axis=(0, 1)) for name, rows in own.items()}
        return Adjoints(da, da_hidden, dnext, traces, own, dprojected)

    # -- the paths ----------------------------------------------------------------------------------------------------

    def _way(self, given: Pass, direction: str, arrays: list[tuple[Array, int]]) -> Launch | None:
        """The planned path, its module loaded; None for plain array code.

        `arrays` come with the number of axes that the kernels know; the first is (T, B, ...).  A gradient check
        may add an axis of copies to any of them, or make it complex.
        """
        self.last_plan = None
        if given.precision != "float32":  # the kernels do not round
            return None
        cell, weights, factors = given.cell, given.weights, given.factors
        tape = arrays[0][0]
        more = [(weights[name], 1) for name in cell.own] + [(factor, 3) for factor in factors.values()]
        more += [(weights.get(name), rank) for name, rank in (("weight_hh", 2), ("bias_hh", 1), ("weight_hr", 2))]
        if any(a is not None and (a.dtype, a.ndim) != (tape.dtype, rank) for a, rank in arrays + more):
            return None
        T, B = tape.shape[:2]
        H = tape.shape[-1] if direction == "backward" else tape.shape[-1] // len(cell.gates)
        planned = self.plan(cell, B, H, T, tape.dtype, self._device())
        way: Launch = getattr(planned, direction)
        if way.path == "persistent" and not self._loads(direction, cell, tape.dtype):
            failure = self._failures[direction, cell, tape.dtype.name]
            way = Launch("stepwise", f"the kernel of the whole sequence cannot be had: {failure}")
            planned = planned._replace(**{direction: way})
        self.fallback_reason = None
        if way.path == "stepwise" and not self._loads("stepwise", cell, tape.dtype):
            self.fallback_reason = _mend(self._failures["stepwise", cell, tape.dtype.name])
            return None
        if way.path == "plain":
            return None
        self.last_plan = planned
        return way

    def _device(self) -> Device:
        number = self.xp.cuda.Device().id
        if number not in self._devices:
            self._devices[number] = Device.of(self.xp)
        return self._devices[number]

    #: The planner; a test may put its own in place.
    plan = staticmethod(plan)

    def _loads(self, module: str, cell: Cell, dtype: Any) -> bool:
        """Whether the module compiles, which is tried once; where it does not, `_failures` says why."""
        key = (module, cell, dtype.name)
        if key in self._modules:
            return True
        if key in self._failures:
            return False
        try:
            loaded = modules.load(self.xp, module, cell, dtype)
            loaded.get_function(modules.names(module, cell, dtype)[0]).max_dynamic_shared_size_bytes = 0  # compiles it
        except Exception as error:  # CuPy has a class for each layer that may fail
            if isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error):
                raise  # no fault of the kernels: there may be room the next time
            words = " ".join(str(error).split())[:200] or type(error).__name__
            message = f"CUDA kernels {module!r} of {cell.name!r} for {dtype}: {_mend(words)}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            self._failures[key] = words
            return False
        self._modules[key] = loaded
        return True

    def _function(self, module: str, name: str, cell: Cell, dtype: Any) -> Any:
        key = (name, cell, dtype.name)
        if key not in self._functions:
            self._functions[key] = self._modules[module, cell, key[2]].get_function(f"{symbol(cell.name)}_{name}")
        return self._functions[key]

    def _launch_sequence(
        self, cell: Cell, direction: str, way: Launch, arguments: tuple[Any, ...], weight_hh: Array, T: int
    ) -> None:
        """The whole sequence in one cooperative launch."""
        kernel = self._function(direction, f"{direction}_{way.row_tile}", cell, weight_hh.dtype)
        kernel.max_dynamic_shared_size_bytes = way.shared_bytes
        tickets = self.xp.zeros(_TICKET_STRIDE * way.groups, dtype=np.uint32)
        sizes = (T, way.units, way.rows, way.parts, way.teams, way.lanes, way.tile)
        events.launched()
        kernel(
            (1, way.groups, way.slices),  # CuPy would shrink a grid of one axis that does not fit, and go on
            (way.threads,),
            (*arguments, self.xp.ascontiguousarray(weight_hh), tickets, *map(_INT, sizes)),
            shared_mem=way.shared_bytes,
        )

    def _step_forward(self, cell: Cell, arguments: tuple[Any, ...], weights: Weights, run: Run) -> None:
        """At each step a product and a gate kernel for each part."""
        T, B, _, H = run.gates.shape
        every, blocks = parts(cell), _blocks(cell, weights, H)
        launch = functools.partial(self._launch_step, cell, run.gates.dtype, arguments)
        sources: list[Array] = [part.source and operand(cell, run, part.source) for part in every]
        products = [self._buffer(block, 0, B) for block in blocks]
        for t in range(T):
            for part, block, source, product in zip(every, blocks, sources, products, strict=True):
                if block is not None:
                    self._multiply(source[t], block.T, out=product)
                launch(f"step_forward_{part.name}", run.h[0].size if part.narrow else B * H, product, _INT(t))

    def _step_backward(
        self, cell: Cell, arguments: tuple[Any, ...], weights: Weights, da_hidden: Array, dprojected: Array
    ) -> None:
        """The same from the end.  A step's first part takes in what came through the products of the step after it."""
        T, B, G, H = da_hidden.shape
        every, blocks = parts(cell), _blocks(cell, weights, H)
        launch = functools.partial(self._launch_step, cell, da_hidden.dtype, arguments)
        products = [self._buffer(block, 1, B) for block in blocks]
        late: dict[bool, list[Array]] = {False: [], True: []}  # for a state of H numbers, and for one of P
        for part, product in zip(every, products, strict=True):
            if part.source is not None and part.goes_back:
                late[cell.is_narrow(part.source.name)].append(product)
        sizes = {False: B * H, True: 0 if dprojected is None else dprojected[0].size}
        first = {part.name: next(iter(late[part.narrow]), None) for part in every if part.first_back}
        backward = list(zip(every, blocks, products, strict=True))[::-1]
        for t in range(T - 1, -1, -1):
            rows, above = da_hidden[t].reshape(B, G * H), None
            for part, block, product in backward:
                launch(f"step_backward_{part.name}", sizes[part.narrow], above, first.get(part.name), _INT(t), _INT(T))
                above = None if part.goes_back else product
                if block is not None:
                    da = dprojected[t] if part.name == "projection" else rows[:, part.first * H : part.last * H]
                    self._multiply(da, block, out=product)
            for one, *others in filter(None, late.values()):
                for other in others:
                    one += other
        for part in every:
            if first.get(part.name) is not None:
                launch(f"step_backward_{part.name}", sizes[part.narrow], None, first[part.name], _INT(-1), _INT(T))

    def _buffer(self, block: Array, axis: int, B: int) -> Array:
        """Room for a product with a block of the weights."""
        return None if block is None else self.xp.empty((B, block.shape[axis]), dtype=block.dtype)

    def _multiply(self, a: Array, b: Array, out: Array) -> None:
        """A product by cuBLAS into memory that is there already."""
        events.launched()
        self.xp.matmul(a, b, out=out)

    def _launch_step(
        self, cell: Cell, dtype: Any, arguments: tuple[Any, ...], name: str, size: int, *more: Any
    ) -> None:
        threads = min(256, self._device().max_threads)
        events.launched()
        kernel = self._function("stepwise", name, cell, dtype)
        kernel((-(-size // threads),), (threads,), (*arguments, *(_NULL if one is None else one for one in more)))

    # -- arguments ----------------------------------------------------------------------------------------------------

    def _tape(self, cell: Cell, run: Run) -> dict[str, Any]:
        """The buffers of a `Run` by the names that the kernels have for them."""
        found = {f"{symbol(state)}_all": slots for state, slots in zip(cell.states, run.states, strict=True)}
        found |= {f"kept_{symbol(name)}": values for name, values in run.kept.items()}
        return {name: _contiguous(self.xp, array) for name, array in (found | {"gates": run.gates}).items()}

    def _common(self, given: Pass, run: Run) -> dict[str, Any]:
        """The same of what both ways have."""
        cell, weights, lengths, factors = given.cell, given.weights, given.lengths, given.factors
        found: dict[str, Any] = {symbol(name): _contiguous(self.xp, weights[name]) for name in cell.own}
        for name in cell.given:
            factor = _contiguous(self.xp, factors[name])
            many = {f"steps_{symbol(name)}": factor.shape[0] > 1, f"rows_{symbol(name)}": factor.shape[1] > 1}
            found |= {symbol(name): factor} | {key: _INT(value) for key, value in many.items()}
        found["lengths"] = None if lengths is None else self.xp.ascontiguousarray(lengths, dtype=np.int32)
        sizes = {"B": run.gates.shape[1], "H": run.gates.shape[3], "P": run.h.shape[-1]}
        return found | {name: _INT(value) for name, value in sizes.items()}

    def _state_gradient(self, last: Array, slots: Array) -> Array:
        """What the final state receives, in memory that the kernels change in place: at last it is the first one's."""
        if last is None:
            return self.xp.zeros_like(slots[0])
        state = self.xp.empty_like(slots[0])
        state[...] = last
        return state


def _in_order(fields: list[elements.Field], buffers: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(_NULL if buffers[field.name] is None else buffers[field.name] for field in fields)


def _blocks(cell: Cell, weights: Weights, H: int) -> list[Array]:
    """For each part the weights that it multiplies with; None if it has no product."""
    found = []
    for part in parts(cell):
        if part.source is None or part.name == "projection":
            found.append(weights["weight_hr"] if part.name == "projection" else None)
        else:
            row = cell.recurrent.index(cell.gates[part.first]) * H
            found.append(weights["weight_hh"][row : row + (part.last - part.first) * H])
    return found


def _contiguous(xp: Any, array: Any) -> Any:
    return None if array is None else xp.ascontiguousarray(array)


def _mend(words: str) -> str:
    """One line for kernels that could not be compiled or loaded: a slower path runs, which nobody should miss."""
    if "nvrtc" in words.lower():
        words = "CUDA's compiler NVRTC is missing or does not load"
        hint = "pip install 'bptt-engine[cuda12]' or 'bptt-engine[cuda13]', as the driver has it, brings it"
    else:
        words = f"the CUDA kernels do not compile here ({words})"
        hint = "kernels='reference' runs without them"
    return f"{words}: slower code runs instead; {hint}"
