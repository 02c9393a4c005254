"""The time loops on a GPU: our own CUDA kernels through CuPy, cuBLAS for the products.

`kernels.cuda.plan` decides for each layer and direction between one launch for the whole sequence, a product and a gate
kernel at each step, and plain array code; `kernels.reference` defines what all of them compute.  Nothing here waits for
the device or copies to the host.  Every kernel is tested on the CPU through a simulator; none has run on a GPU yet.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kernels import events
from kernels.cells import Adjoints, Cell, Run
from kernels.cuda import modules
from kernels.cuda.plan import Device, Pass, Plan, plan
from kernels.reference import ReferenceKernels

_NULL = np.uintp(0)  # a null pointer among a kernel's arguments
_INT = np.int32  # kernels get NumPy scalars of their own type, never bare Python numbers (rule 22)
_TICKET_STRIDE = 32  # a cache line for the counter of each group


class CudaKernels:
    """The kernel set ``cuda`` over CuPy.  See `kernels.StepKernels` for what a kernel set offers.

    Attributes
    ----------
    last_plan : the `Plan` of the last forward or backward that was run; None before, and where `reference` ran.
    fallback_reason : why plain array code runs in place of the kernels, with the mend; None where the kernels run.
    """

    name = "cuda"
    whole_layers = False

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.last_plan: Plan | None = None
        self.fallback_reason: str | None = None
        self._reference = ReferenceKernels(xp)
        self._modules: dict[tuple[str, str], Any] = {}
        self._failures: dict[tuple[str, Any], str] = {}
        self._functions: dict[tuple[str, str], Any] = {}
        self._devices: dict[int, Device] = {}

    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product of two 2-d arrays."""
        return self._reference.matmul(a, b)

    def forward(self, cell: Cell, pre: Any, weight_hh: Any, bias_hh: Any, h0: Any, c0: Any, lengths: Any = None) -> Run:
        """Run one layer and direction over all T steps; see `kernels.StepKernels.forward`."""
        ranks = ((pre, 3), (weight_hh, 2), (bias_hh, 1), (h0, 2), (c0, 2))
        way = self._way(cell, "forward", ranks, pre.shape[0], h0.shape)
        if way is None:
            return self._reference.forward(cell, pre, weight_hh, bias_hh, h0, c0, lengths)
        xp = self.xp
        (B, H), T, G, dtype = h0.shape, pre.shape[0], len(cell.gates), pre.dtype
        h = xp.empty((T + 1, B, H), dtype=dtype)
        h[0] = h0
        c = xp.empty((T + 1, B, H), dtype=dtype) if cell.has_c else None
        if c is not None:
            c[0] = c0
        gates = xp.empty((T, B, G, H), dtype=dtype)
        hidden_n = xp.empty((T, B, H), dtype=dtype) if cell.splits_n else None
        reset_h = xp.empty((B, H), dtype=dtype) if cell.resets_before else None
        weight_hh = xp.ascontiguousarray(weight_hh)
        buffers = self._arguments(
            xp.ascontiguousarray(pre), _contiguous(xp, bias_hh), h, c, gates, hidden_n, reset_h, self._lengths(lengths)
        )
        buffers += (_INT(B), _INT(H))
        if way.path == "persistent":
            self._launch_sequence(cell, "forward", way, buffers, weight_hh, T)
        else:
            self._step_forward(cell, buffers, weight_hh, h, reset_h, T)
        return Run(h, c, gates, hidden_n)

    def backward(
        self,
        cell: Cell,
        run: Run,
        weight_hh: Any,
        dy: Any,
        dh_last: Any,
        dc_last: Any,
        lengths: Any = None,
        trace: bool = False,
    ) -> Adjoints:
        """Walk the slots of `run` from the end to the start; see `kernels.StepKernels.backward`."""
        ranks = ((run.h, 3), (weight_hh, 2), (dy, 3), (dh_last, 2), (dc_last, 2))
        way = self._way(cell, "backward", ranks, run.gates.shape[0], run.h.shape[1:])
        if way is None:
            return self._reference.backward(cell, run, weight_hh, dy, dh_last, dc_last, lengths, trace)
        xp = self.xp
        T, B, G, H = run.gates.shape
        dtype = run.gates.dtype
        da = xp.empty((T, B, G, H), dtype=dtype)
        da_hidden = xp.empty((T, B, G, H), dtype=dtype) if cell.splits_n else da
        dh, dc = self._state_gradient(dh_last, B, H, dtype), None  # changed in place: dh0, dc0 at last
        if cell.has_c:
            dc = self._state_gradient(dc_last, B, H, dtype)
        dh_all = xp.empty((T + 1, B, H), dtype=dtype) if trace else None
        dc_all = xp.empty((T + 1, B, H), dtype=dtype) if trace and cell.has_c else None
        weight_hh = xp.ascontiguousarray(weight_hh)
        kept = (_contiguous(xp, array) for array in (*run, dy))
        buffers = self._arguments(*kept, da, da_hidden, dh, dc, dh_all, dc_all, self._lengths(lengths))
        buffers += (_INT(B), _INT(H))
        if way.path == "persistent":
            self._launch_sequence(cell, "backward", way, buffers, weight_hh, T)
        else:
            self._step_backward(cell, buffers, weight_hh, da, da_hidden, T)
        if dh_all is not None:
            dh_all[0] = dh
        if dc_all is not None:
            dc_all[0] = dc
        return Adjoints(da, da_hidden, dh, dc, dh_all, dc_all)

    # -- the paths ----------------------------------------------------------------------------------------------------

    def _way(self, cell: Cell, direction: str, ranks: Any, T: int, state: tuple[int, ...]) -> Pass | None:
        """The planned path, its module loaded; None for plain array code.

        `ranks` are the arguments with the number of axes that the kernels know.  A gradient check may add an axis of
        copies to any of them, or make it complex.
        """
        self.last_plan = None
        given = [(array.dtype, array.ndim == rank) for array, rank in ranks if array is not None]
        dtype = given[0][0]
        if self.fallback_reason is not None or any(each != (dtype, True) for each in given):
            return None
        B, H = state
        planned = self.plan(cell, B, H, T, dtype, self._device())
        way: Pass = getattr(planned, direction)
        if way.path == "persistent" and not self._loads(direction, dtype):
            way = Pass(
                "stepwise", f"the kernel of the whole sequence cannot be had: {self._failures[direction, dtype]}"
            )
            planned = planned._replace(**{direction: way})
        if way.path == "stepwise" and not self._loads("stepwise", dtype):
            self.fallback_reason = _mend(self._failures["stepwise", dtype])
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

    def _loads(self, module: str, dtype: Any) -> bool:
        """Whether the module compiles, which is tried once; where it does not, `_failures` says why."""
        key = (module, np.dtype(dtype).name)
        if key in self._modules:
            return True
        if (module, dtype) in self._failures:
            return False
        try:
            loaded = modules.load(self.xp, module, dtype)
            loaded.get_function(modules.names(module, dtype)[0]).max_dynamic_shared_size_bytes = 0  # compiles it
        except Exception as error:  # CuPy has a class for each layer that may fail
            if isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error):
                raise  # no fault of the kernels: there may be room the next time
            words = " ".join(str(error).split())[:200] or type(error).__name__
            warnings.warn(f"CUDA kernels {module!r} for {dtype}: {_mend(words)}", RuntimeWarning, stacklevel=2)
            self._failures[module, dtype] = words
            return False
        self._modules[key] = loaded
        return True

    def _function(self, module: str, name: str, dtype: Any) -> Any:
        key = (name, np.dtype(dtype).name)
        if key not in self._functions:
            self._functions[key] = self._modules[module, key[1]].get_function(name)
        return self._functions[key]

    def _launch_sequence(
        self, cell: Cell, direction: str, way: Pass, buffers: tuple[Any, ...], weight_hh: Any, T: int
    ) -> None:
        """The whole sequence in one cooperative launch."""
        kernel = self._function(direction, f"{cell.name}_{direction}_{way.row_tile}", weight_hh.dtype)
        kernel.max_dynamic_shared_size_bytes = way.shared_bytes
        tickets = self.xp.zeros(_TICKET_STRIDE * way.groups, dtype=np.uint32)
        sizes = (T, way.units, way.rows, way.parts, way.teams, way.lanes, way.tile)
        events.launched()
        kernel(
            (1, way.groups, way.slices),  # CuPy would shrink a grid of one axis that does not fit, and go on
            (way.threads,),
            (*buffers, weight_hh, tickets, *map(_INT, sizes)),
            shared_mem=way.shared_bytes,
        )

    def _step_forward(self, cell: Cell, buffers: tuple[Any, ...], weight_hh: Any, h: Any, reset_h: Any, T: int) -> None:
        """A product and a gate kernel at each step; two of each where the reset gate acts before the product."""
        xp = self.xp
        _, B, H = h.shape
        first = (len(cell.gates) - cell.resets_before) * H
        weight, weight_n = weight_hh[:first].T, weight_hh[first:].T
        product = xp.empty((B, first), dtype=h.dtype)
        product_n = xp.empty((B, H), dtype=h.dtype) if cell.resets_before else None
        for t in range(T):
            self._multiply(h[t], weight, out=product)
            self._launch_step(f"{cell.name}_step_forward", B * H, (*buffers, product, _INT(t)), h.dtype)
            if cell.resets_before:
                self._multiply(reset_h, weight_n, out=product_n)
                self._launch_step(f"{cell.name}_step_output", B * H, (*buffers, product_n, _INT(t)), h.dtype)

    def _step_backward(
        self, cell: Cell, buffers: tuple[Any, ...], weight_hh: Any, da: Any, da_hidden: Any, T: int
    ) -> None:
        """The same from the end.  A gate kernel first takes in the product of the step after it."""
        xp = self.xp
        _, B, G, H = da.shape
        first = (G - cell.resets_before) * H
        weight, weight_n = weight_hh[:first], weight_hh[first:]
        product = xp.empty((B, H), dtype=da.dtype)
        for t in range(T - 1, -1, -1):
            self._launch_step(f"{cell.name}_step_backward", B * H, (*buffers, product, _INT(t), _INT(T)), da.dtype)
            rows = da_hidden[t].reshape(B, G * H)
            if cell.resets_before:
                self._multiply(rows[:, first:], weight_n, out=product)
                self._launch_step(f"{cell.name}_step_reset", B * H, (*buffers, product, _INT(t)), da.dtype)
            self._multiply(rows[:, :first], weight, out=product)
        self._launch_step(f"{cell.name}_step_backward", B * H, (*buffers, product, _INT(-1), _INT(T)), da.dtype)

    def _multiply(self, a: Any, b: Any, out: Any) -> None:
        """A product by cuBLAS into memory that is there already."""
        events.launched()
        self.xp.matmul(a, b, out=out)

    def _launch_step(self, name: str, elements: int, arguments: tuple[Any, ...], dtype: Any) -> None:
        threads = min(256, self._device().max_threads)
        events.launched()
        self._function("stepwise", name, dtype)((-(-elements // threads),), (threads,), arguments)

    # -- arguments ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _arguments(*arrays: Any) -> tuple[Any, ...]:
        return tuple(_NULL if array is None else array for array in arrays)

    def _lengths(self, lengths: Any) -> Any:
        return None if lengths is None else self.xp.ascontiguousarray(lengths, dtype=np.int32)

    def _state_gradient(self, last: Any, B: int, H: int, dtype: Any) -> Any:
        if last is None:
            return self.xp.zeros((B, H), dtype=dtype)
        state = self.xp.empty((B, H), dtype=dtype)
        state[...] = last
        return state


def _contiguous(xp: Any, array: Any) -> Any:
    return None if array is None else xp.ascontiguousarray(array)


def _mend(words: str) -> str:
    """One line for kernels that could not be compiled or loaded: a slower path runs, which nobody should miss."""
    if "nvrtc" in words.lower():
        words = "CUDA's compiler NVRTC is missing or does not load"
        mend = "pip install 'bptt-engine[cuda12]' or 'bptt-engine[cuda13]', as the driver has it, brings it"
    else:
        words = f"the CUDA kernels do not compile here ({words})"
        mend = "kernels='reference' runs without them"
    return f"{words}: slower code runs instead; {mend}"
