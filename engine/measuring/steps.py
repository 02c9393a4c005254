"""One step of the engine, of PyTorch, and of nothing but a matrix product, ready to be run again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

import numpy as np

from engine.measuring.timed_step import TimedStep


class NotApplicableError(Exception):
    """A library has nothing to be timed for a case; the message says why."""


@dataclass
class Step:
    """A step that is ready to run.

    Attributes
    ----------
    run : computes it; the results are there when it returns.
    values : computes it once more and gives the results by name (``"y"``, ``"dx"`` and the parameters' names), so that
        libraries can be compared.
    flops : what one run computes, where this is the library's choice and not the case's.
    """

    run: Callable[[], Any]
    values: Callable[[], dict[str, Any]]
    flops: float | None = None


@dataclass(frozen=True)
class Library:
    """A library that can be timed.

    Attributes
    ----------
    title : its name in tables.
    module : what is imported of it.
    build : makes the step of a case, for a number of threads.
    package : the distribution whose version is reported.
    environment : variables that its process needs for a number of threads, beside `machine.THREAD_VARIABLES`.
    """

    title: str
    module: str
    build: Callable[[TimedStep, int], Step]
    package: str
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda threads: {})

    def version(self) -> str:
        """The version of what is imported; a checkout on the path need not be installed."""
        own = getattr(import_module(self.module.partition(".")[0]), "__version__", None)
        return str(own or metadata.version(self.package))


def engine_layer(case: TimedStep, **options: Any) -> Any:
    """The engine's layer of a case, with the case's parameters; `options` : more of its constructor's arguments."""
    layer = getattr(import_module("engine.layers"), case.cell)(
        case.D, case.H, case.layers, bidirectional=case.bidirectional, **options
    )
    layer.load_state_dict(case.parameters())
    return layer


def engine_step(case: TimedStep, threads: int, **options: Any) -> Step:
    """A step of the engine; `options` : of `engine_layer`."""
    layer, x, lengths = engine_layer(case, **options), case.x(), case.lengths()
    if not case.training:
        return Step(lambda: layer.predict(x, None, lengths), lambda: {"y": layer.predict(x, None, lengths)[0]})
    dy = case.dy()

    def run() -> tuple[Any, Any]:
        layer.zero_grad()
        y, _, tape = layer.forward(x, None, lengths)
        dx, _ = layer.backward(tape, dy)
        return y, dx

    def values() -> dict[str, Any]:
        y, dx = run()
        return {"y": y, "dx": dx, **layer.grads}

    return Step(run, values)


def torch_step(
    case: TimedStep, threads: int, wrap: Callable[[Any], Any] = lambda layer: layer, dtype: str = "float32"
) -> Step:
    """A step of PyTorch; rows of different length go packed.

    Parameters
    ----------
    wrap : what is done to the layer before it is called, such as ``torch.compile``.
    dtype : of weights, input and cotangent: ``"float32"`` or ``"bfloat16"``.
    """
    torch = import_module("torch")  # in a process of its own, and nowhere else in the engine
    rnn = import_module("torch.nn.utils.rnn")
    torch.set_num_threads(threads)
    layer = getattr(torch.nn, case.cell)(case.D, case.H, case.layers, bidirectional=case.bidirectional)
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in case.parameters().items()})
    kind = getattr(torch, dtype)
    called = wrap(layer.to(kind))
    lengths = case.lengths()
    counts = None if lengths is None else torch.from_numpy(lengths)
    x = torch.from_numpy(case.x()).to(kind)

    def forward() -> Any:
        if counts is None:
            return called(x)[0]
        packed = rnn.pack_padded_sequence(x, counts)
        return rnn.pad_packed_sequence(called(packed)[0])[0]

    if not case.training:

        def predict() -> Any:
            with torch.inference_mode():
                return forward()

        return Step(predict, lambda: {"y": predict().float().numpy()})

    x.requires_grad_()
    dy = torch.from_numpy(case.dy()).to(kind)

    def run() -> Any:
        layer.zero_grad()
        x.grad = None
        y = forward()
        y.backward(dy)
        return y

    def values() -> dict[str, Any]:
        y = run().detach().float().numpy()
        grads = {name: parameter.grad.float().numpy() for name, parameter in layer.named_parameters()}
        return {"y": y, "dx": x.grad.float().numpy(), **grads}

    return Step(run, values)


_product: list[Step] = []


def product_step(case: TimedStep, threads: int) -> Step:
    """A square float32 matrix product of NumPy's, of the size that runs fastest: the best that this machine can do."""
    if not _product:
        fastest = 0.0
        for n in (512, 768, 1024, 1536):
            a, b, out = (np.full((n, n), 0.5, dtype=np.float32) for _ in range(3))
            run = _multiply(a, b, out)
            run()
            times = []
            for _ in range(4):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            flops = 2.0 * n**3
            if flops / min(times) > fastest:
                fastest = flops / min(times)
                _product[:] = [Step(run, dict, flops)]
    return _product[0]


def _multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], Any]:
    return lambda: np.matmul(a, b, out=out)


#: What ``bptt bench`` times.
LIBRARIES = {
    "engine": Library("engine", "engine.layers", engine_step, "bptt-engine"),
    "torch": Library("PyTorch", "torch", torch_step, "torch"),
    # Without the last, OpenBLAS's threads spin for a tenth of a second after a product, and everyone waits for them.
    "sgemm": Library("sgemm", "numpy", product_step, "numpy", lambda threads: {"OPENBLAS_THREAD_TIMEOUT": "20"}),
}
