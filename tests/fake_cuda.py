"""The half of the CuPy look-alike below its arrays: counts, memory, device, and kernels run by the host simulator.

Everything that a test may turn is an attribute of `machine`: a limit to the memory, an allocation or a compilation that
is to fail, the numbers of the device.
"""

from __future__ import annotations

import math
import types
import warnings
from collections import Counter
from typing import Any

import numpy as np

from kernels import events


class Counts:
    """What has happened since `reset`.  The look-alike sees everything, also what goes past the engine's backend."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start from zero."""
        self.launches = self.kernel_launches = self.waits = 0
        self.uploads = self.upload_bytes = self.downloads = self.download_bytes = 0
        self.allocations = self.allocated_bytes = 0

    def launch(self) -> None:
        """The library starts something on the device."""
        self.launches += 1
        events.operated()

    def wait(self) -> None:
        """The host reads one number: nothing of the engine's sees that, so the ledger is told."""
        self.waits += 1
        events.waited()

    def upload(self, host: np.ndarray) -> None:
        """A copy to the device; a single number is no copy but a fill, as in CuPy."""
        if host.ndim == 0:
            self.launch()
        else:
            self.uploads += 1
            self.upload_bytes += host.nbytes

    def download(self, host: np.ndarray) -> None:
        """A copy to the host, which waits."""
        self.downloads += 1
        self.download_bytes += host.nbytes
        self.waits += 1


counts = Counts()


class OutOfMemoryError(MemoryError):
    """As CuPy words it."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        bound = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{bound}).")


class CompileException(Exception):  # noqa: N818  (as CuPy calls it)
    """What NVRTC has against a source."""


class CUDARuntimeError(RuntimeError):
    """What the CUDA runtime refuses."""


class CUDADriverError(RuntimeError):
    """What the CUDA driver refuses."""


# Each is known by the module that it has in CuPy.
OutOfMemoryError.__module__ = "cupy.cuda.memory"
CompileException.__module__ = "cupy.cuda.compiler"
CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"
CUDADriverError.__module__ = "cupy_backends.cuda.api.driver"


#: Numbers (cudaDeviceAttr) and values of the attributes that a planner may ask for.
ATTRIBUTES = {
    "MaxThreadsPerBlock": (1, 1024),
    "MaxSharedMemoryPerBlock": (8, 49152),
    "WarpSize": (10, 32),
    "MaxRegistersPerBlock": (12, 65536),
    "MultiProcessorCount": (16, 8),
    "L2CacheSize": (38, 50 << 20),
    "MaxThreadsPerMultiProcessor": (39, 2048),
    "MaxSharedMemoryPerMultiprocessor": (81, 233472),
    "MaxRegistersPerMultiprocessor": (82, 65536),
    "CooperativeLaunch": (95, 1),
    "MaxSharedMemoryPerBlockOptin": (97, 232448),
}
TOTAL_MEMORY = 80 << 30


class Machine:
    """What a test may turn; `reset` makes it an ordinary device with 8 multiprocessors of compute capability 9.0."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """An ordinary device, nothing allocated."""
        self.limit = 0  # bytes; 0 is no limit
        self.fail_at: int | None = None  # so many allocations more succeed, then none
        self.compile_error: Exception | None = None
        self.seed = 0  # of the simulator's schedule, and of which of several writers to one place comes last
        #: What a device says of itself, by CUDA's name of the attribute and with the attribute's number.
        self.capability = (9, 0)
        self.attributes = {name: value for name, (_, value) in ATTRIBUTES.items()}
        self.free: Counter[int] = Counter()
        self.used = self.total = 0
        self.hooks: dict[str, MemoryHook] = {}
        self.generator = np.random.default_rng(0)


class MemoryHook:
    """Told of allocations while it is entered; CuPy's hook has six methods, of which one is called here."""

    name = "MemoryHook"

    def __enter__(self) -> MemoryHook:
        if self.name in machine.hooks:
            raise KeyError(f"memory hook {self.name} already exists")
        machine.hooks[self.name] = self
        return self

    def __exit__(self, *_: Any) -> None:
        del machine.hooks[self.name]

    def alloc_postprocess(self, **event: Any) -> None:
        """After memory was taken from the driver: what the pool could not serve."""


MemoryHook.__module__ = "cupy.cuda.memory_hook"
machine = Machine()


class Block:
    """Device memory from the pool, which gets it back when the last array in it is gone."""

    def __init__(self, size: int) -> None:
        self.room = 0
        if size == 0:
            return
        counts.allocations += 1
        counts.allocated_bytes += size
        if machine.fail_at is not None:
            machine.fail_at -= 1
            if machine.fail_at < 0:
                raise OutOfMemoryError(size, machine.total, machine.limit)
        room = -(-size // 512) * 512
        if machine.free[room]:
            machine.free[room] -= 1
        elif machine.limit and machine.total + room > machine.limit:
            raise OutOfMemoryError(size, machine.total, machine.limit)
        else:
            machine.total += room
            for hook in machine.hooks.values():
                hook.alloc_postprocess(device_id=0, mem_size=room, mem_ptr=1)
        machine.used += room
        self.room, self._free = room, machine.free

    def __del__(self) -> None:
        if self.room and self._free is machine.free:
            machine.free[self.room] += 1
            machine.used -= self.room


class MemoryPool:
    """The pool's figures."""

    def used_bytes(self) -> int:
        """In arrays."""
        return machine.used

    def total_bytes(self) -> int:
        """Taken from the driver."""
        return machine.total

    def free_all_blocks(self) -> None:
        """Give back what no array is in."""
        machine.total = machine.used
        machine.free.clear()

    def set_limit(self, size: int | None = None) -> None:
        """The most to take from the driver."""
        machine.limit = size or 0

    def get_limit(self) -> int:
        """The most to take from the driver; 0 is no limit."""
        return machine.limit


class Device:
    """The one device."""

    def __init__(self, device: int = 0) -> None:
        self.id = device

    attributes = property(lambda self: dict(machine.attributes))
    compute_capability = property(lambda self: "{}{}".format(*machine.capability))
    mem_info = property(lambda self: _memory())

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def use(self) -> None:
        """It is in use already."""

    def synchronize(self) -> None:
        """Wait for everything."""
        counts.wait()


class Stream:
    """The one queue of work, which is always done."""

    null: Stream
    ptr = 0

    def synchronize(self) -> None:
        """Wait for everything in the queue."""
        counts.wait()


Stream.null = Stream()


class Event:
    """A mark in the queue."""

    def record(self, stream: Any = None) -> None:
        """Set the mark."""

    def synchronize(self) -> None:
        """Wait until the mark has been reached."""
        counts.wait()


def _attribute(attribute: int, device: int) -> int:
    return next(machine.attributes[name] for name, (number, _) in ATTRIBUTES.items() if number == attribute)


def _properties(device: int) -> dict[str, Any]:
    limits = machine.attributes
    return {
        "name": b"look-alike",
        "totalGlobalMem": TOTAL_MEMORY,
        "major": machine.capability[0],
        "minor": machine.capability[1],
        "multiProcessorCount": limits["MultiProcessorCount"],
        "sharedMemPerBlock": limits["MaxSharedMemoryPerBlock"],
        "sharedMemPerBlockOptin": limits["MaxSharedMemoryPerBlockOptin"],
    }


def _memory() -> tuple[int, int]:
    """Bytes that are free, and all."""
    return TOTAL_MEMORY - machine.total, TOTAL_MEMORY


runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDevice=lambda: 0,
    getDeviceCount=lambda: 1,
    getDeviceProperties=_properties,
    deviceGetAttribute=_attribute,
    deviceSynchronize=counts.wait,
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    memGetInfo=_memory,
)


class RawKernel:
    """A kernel of a `RawModule`, run by the host simulator; stricter than CuPy in that it refuses bare numbers."""

    def __init__(self, library: Any, name: str, cooperative: bool) -> None:
        from cuda_sim.hostkernel import HostKernel

        self.name, self.enable_cooperative_groups = name, cooperative
        # without the detector of races, ten times as fast: tests/test_cuda_*.py run every kernel with it
        self._run = HostKernel(library, name, machine.seed, check=False)
        self._shared = machine.attributes["MaxSharedMemoryPerBlock"]
        self.max_threads_per_block, self.num_regs = 1024, 64
        self.shared_size_bytes = self.local_size_bytes = self.const_size_bytes = 0

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The most shared memory that a launch may ask for; more than the device has is refused at once."""
        return self._shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > machine.attributes["MaxSharedMemoryPerBlockOptin"]:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._shared = size

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0) -> None:
        hosts = []
        for arg in args:
            if hasattr(arg, "_host"):
                hosts.append(arg._host)
            elif isinstance(arg, np.generic):
                hosts.append(arg)
            else:  # CuPy would take a bare number for a long or a double, whatever the kernel expects (rule 22)
                raise TypeError(f"Unsupported type {type(arg)}")
        threads = math.prod(block)
        if shared_mem > self._shared or threads > machine.attributes["MaxThreadsPerBlock"]:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if self.enable_cooperative_groups:
            grid = _cooperative(grid, threads, shared_mem)
        counts.kernel_launches += 1
        self._run(tuple(grid), tuple(block), hosts, shared_mem=shared_mem, cooperative=self.enable_cooperative_groups)


def _cooperative(grid: tuple[int, ...], threads: int, shared_mem: int) -> tuple[int, ...]:
    """The grid that CuPy launches: all blocks have to be resident at once.  A kernel here takes 128 registers."""
    limits = machine.attributes
    each = min(
        limits["MaxThreadsPerMultiProcessor"] // threads,
        limits["MaxRegistersPerMultiprocessor"] // (128 * threads),
        limits["MaxSharedMemoryPerMultiprocessor"] // (shared_mem + 1024),
    )
    most, blocks = each * limits["MultiProcessorCount"], math.prod(grid)
    if blocks <= most:
        return grid
    if math.prod(grid[1:]) == 1:
        warnings.warn(
            f"The grid size will be reduced from {blocks} to {most}, as the specified grid size exceeds the limit.",
            stacklevel=3,
        )
        return (most,)
    raise ValueError(f"The specified grid size ({' * '.join(map(str, grid))}) exceeds the limit ({most}).")


class RawModule:
    """CUDA C++ source, compiled by the host's compiler when a function is first asked for."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        self.code, self.options, self.backend = code, tuple(options), backend
        self.file_path, self.enable_cooperative_groups = path, enable_cooperative_groups
        self._library: Any = None

    def compile(self, log_stream: Any = None) -> None:
        """Compile now."""
        if machine.compile_error is not None:
            raise machine.compile_error
        from cuda_sim import hostkernel

        self._library = self._library or hostkernel.build(self.code or "", self.options)

    def get_function(self, name: str) -> RawKernel:
        """A kernel by its name."""
        self.compile()
        return RawKernel(self._library, name, self.enable_cooperative_groups)


def module() -> types.ModuleType:
    """``cupy.cuda``."""
    cuda: Any = types.ModuleType("cupy.cuda")
    cuda.is_available = lambda: True
    cuda.Device, cuda.Stream, cuda.Event, cuda.MemoryHook, cuda.runtime = Device, Stream, Event, MemoryHook, runtime
    cuda.get_current_stream = lambda: Stream.null
    cuda.get_elapsed_time = lambda start, end: 0.0
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda.compiler = types.SimpleNamespace(CompileException=CompileException)
    cuda.driver = types.SimpleNamespace(CUDADriverError=CUDADriverError)
    found: types.ModuleType = cuda
    return found
