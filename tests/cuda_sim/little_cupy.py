"""Just enough of CuPy, on NumPy arrays, to run `kernels.cuda.cuda_kernels.CudaKernels` through the simulator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from cuda_sim.hostkernel import HostKernel, build


class LittleCupy:
    """An `xp`: NumPy, with a `RawModule` that simulates and a device of any size.

    Parameters
    ----------
    seed : of the schedule of the simulated threads.
    check : look for races and the like; it costs time and memory by the square of the threads.
    limits : of the device; see `kernels.cuda.launches.Device`.
    """

    def __init__(self, seed: int = 0, check: bool = True, **limits: int) -> None:
        self.seed, self.check = seed, check
        self.launches: list[tuple[str, tuple[int, ...]]] = []
        attributes = {
            "MultiProcessorCount": 6,
            "MaxSharedMemoryPerBlockOptin": 4096,
            "MaxThreadsPerBlock": 32,
            "MaxRegistersPerMultiprocessor": 65536,
            "CooperativeLaunch": 1,
        }
        assert set(limits) <= set(attributes)
        device = SimpleNamespace(id=0, compute_capability="90", attributes={**attributes, **limits})
        self.cuda = SimpleNamespace(Device=lambda: device)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def RawModule(self, *, code: str, options: tuple[str, ...] = (), enable_cooperative_groups: bool = False) -> Any:
        """As `cupy.RawModule`."""
        library = build(code, options)

        def get_function(name: str) -> Any:
            return _Kernel(HostKernel(library, name, self.seed, self.check), enable_cooperative_groups, self)

        return SimpleNamespace(get_function=get_function)


class _Kernel:
    def __init__(self, kernel: HostKernel, cooperative: bool, xp: LittleCupy) -> None:
        self.kernel, self.cooperative, self.xp = kernel, cooperative, xp
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        limits = self.xp.cuda.Device().attributes
        blocks, threads = int(np.prod(grid)), int(np.prod(block))
        assert shared_mem <= min(self.max_dynamic_shared_size_bytes, limits["MaxSharedMemoryPerBlockOptin"])
        assert threads <= limits["MaxThreadsPerBlock"]
        assert not self.cooperative or blocks <= limits["MultiProcessorCount"], "the grid is not resident at once"
        self.xp.launches.append((self.kernel.name, tuple(grid)))
        self.kernel(grid, block, args, shared_mem=shared_mem, cooperative=self.cooperative)
