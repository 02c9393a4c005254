"""PyTorch's own recurrent layers, cuDNN on a GPU: are the numbers the same, and what do they launch?"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.gpucheck.correctness import (
    LIMITS,
    DeviceCase,
    arguments,
    backend_for,
    build,
    first_line,
    passes,
    wanted,
)
from engine.measuring.side_by_side import relative

#: Cells that PyTorch has, by its class and nonlinearity.
CLASSES = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
}
#: PyTorch's dtype, and whether products may use TF32.
PRECISIONS = {
    "float64": ("float64", False),
    "float32": ("float32", False),
    "tf32": ("float32", True),
    "bfloat16": ("bfloat16", False),
    "float16": ("float16", False),
}


def reason_missing(device: str = "cuda") -> str | None:
    """Why PyTorch's layers cannot be run beside ours; None where they can."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    torch = importlib.import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} has no CUDA or finds no GPU"
    return None


@contextlib.contextmanager
def pinned(torch: ModuleType, tf32: bool) -> Iterator[None]:
    """TF32 for products and in cuDNN, on or off, whatever it was before."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = tf32
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def layer_of(torch: ModuleType, kind: str, D: int, H: int, bidirectional: bool, precision: str, device: str) -> Any:
    """PyTorch's layer with weights of its own."""
    name, options = CLASSES[kind]
    dtype = getattr(torch, PRECISIONS[precision][0])
    return getattr(torch.nn, name)(D, H, bidirectional=bidirectional, dtype=dtype, device=device, **options)


def results(torch: ModuleType, case: DeviceCase, precision: str, device: str) -> dict[str, np.ndarray]:
    """What PyTorch's layer computes of a case, by the names of `correctness.passes`."""
    source = build(case, "numpy:reference", "float64")
    layer = layer_of(torch, case.kind, case.shape[2], case.shape[3], case.bidirectional, precision, device)
    dtype = getattr(torch, PRECISIONS[precision][0])
    layer.load_state_dict({name: torch.from_numpy(value).to(dtype) for name, value in source.params.items()})

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(move, value))
        return torch.from_numpy(value).to(device=device, dtype=dtype).requires_grad_()

    x, state, dy, dstate = map(move, arguments(case, source))
    with pinned(torch, PRECISIONS[precision][1]):
        y, last = layer(x, state)
        lasts, firsts = (value if isinstance(value, tuple) else (value,) for value in (last, state))
        dlasts = dstate if isinstance(dstate, tuple) else (dstate,)
        torch.autograd.backward([y, *lasts], [dy.detach(), *(value.detach() for value in dlasts)])
    found = {"y": y, "dx": x.grad}
    found |= {f"{letter}_n": value for letter, value in zip("hc", lasts, strict=False)}
    found |= {f"d{letter}_0": value.grad for letter, value in zip("hc", firsts, strict=False)}
    found |= {f"d {name}": parameter.grad for name, parameter in layer.named_parameters()}
    return {name: value.detach().cpu().double().numpy() for name, value in found.items()}


def agreement(
    shapes: tuple[tuple[int, int, int, int], ...] = ((6, 5, 4, 7), (20, 9, 33, 130)), device: str = "cuda"
) -> Iterator[dict[str, Any]]:
    """Ours beside PyTorch's on the device: a row for each cell, direction and dtype.

    In float64 and float32 the two have to agree to twice the limits of `correctness`.  For TF32, bfloat16 and float16
    there is nothing of ours yet: the row has PyTorch's own error against float64 NumPy, twice which ours may have.
    """
    torch = importlib.import_module("torch")
    for shape, kind, bidirectional, precision in itertools.product(shapes, CLASSES, (False, True), PRECISIONS):
        case = DeviceCase(kind, shape, bidirectional, mixed=False)
        row: dict[str, Any] = {"case": str(case), "dtype": precision}
        try:
            theirs, right = results(torch, case, precision, device), wanted(case)
            row["theirs_against_float64"] = max(relative(theirs[name], value) for name, value in right.items())
            if precision not in LIMITS:
                yield {**row, "status": "not built", "limit_of_ours": 2 * row["theirs_against_float64"]}
                continue
            backend = backend_for("planned")
            layer = build(case, backend, precision)
            ours = passes(layer, arguments(case, layer), None)
            errors = {name: relative(backend.to_host(ours[name]), value) for name, value in theirs.items()}
            row["at"], row["worst"] = max(errors.items(), key=lambda item: item[1])
            row["limit"] = 2 * LIMITS[precision]
            yield {**row, "status": "ok" if row["worst"] <= row["limit"] else "wrong"}
        except Exception as error:  # as in `correctness.check`
            yield {**row, "status": "failed", "error": first_line(error)}


def kernel_names(torch: ModuleType, run: Callable[[], Any]) -> list[str]:
    """Names of the kernels that a step launches on the device, each once, the longest-running first.

    The profiler sees those of the whole process: CuPy's, cuBLAS's and ours as well as PyTorch's.
    """
    run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    times: dict[str, float] = {}
    for event in profile.key_averages():
        spent = getattr(event, "device_time_total", None) or getattr(event, "cuda_time_total", 0.0)
        if spent:
            times[event.key] = times.get(event.key, 0.0) + float(spent)
    return [name[:120] for name in sorted(times, key=lambda name: -times[name])]
