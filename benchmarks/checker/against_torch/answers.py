"""One check of the engine's, or of PyTorch's, as a function from a case to an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from engine.checking.subjects.trees import leaves, refill
from engine.zoo import BugCase

OURS = ("central", "complex", "adjoint")
THEIRS = ("slow", "fast")
PASSED, UNDECIDED, NOT_ASKED = "ok", "cannot tell", "cannot be asked"

Answer = dict[str, Any]


def ours(method: str) -> Callable[[BugCase], Answer]:
    """A check of the engine."""

    def check(case: BugCase) -> Answer:
        report = engine.gradcheck(
            case.layer, case.x, case.state, case.lengths, method=method, truncation=case.truncation
        )
        return {"verdict": report.verdict, "reason": str(report.diagnosis or report.cause)}

    return check


def theirs(mode: str) -> Callable[[BugCase], Answer]:
    """A check of PyTorch's."""
    import torch
    from torch.autograd.gradcheck import GradcheckError

    torch.set_num_threads(1)

    def check(case: BugCase) -> Answer:
        function, inputs = torch_function(torch, case)
        answer: Answer = {}
        for undefined in (True, False):  # what passes the first passes the second, which leaves one test out
            started = time.process_time()
            try:  # raise_exception=False does just this, and keeps the reason to itself
                torch.autograd.gradcheck(function, inputs, fast_mode=mode == "fast", check_undefined_grad=undefined)
                found = {"verdict": PASSED}
            except GradcheckError as error:
                found = {"verdict": "wrong", "reason": first_line(error)}
            except Exception as error:
                found = {"verdict": "raised", "reason": f"{type(error).__name__}: {first_line(error)}"}
            if undefined:
                answer = found | {"seconds": time.process_time() - started}
            answer["without undefined"] = found["verdict"]
            if found["verdict"] == PASSED:
                break
        return answer

    return check


def torch_function(torch: Any, case: BugCase) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A layer as a function of tensors, with the layer's own backward; and the tensors."""
    layer = case.layer
    names = list(layer.params)
    counters = layer.call_counters()
    has_x = case.x.dtype.kind == "f"  # token ids have no gradient
    arrays = [*layer.params.values(), *([case.x] if has_x else []), *leaves(case.state)]

    def write(weights: dict[str, np.ndarray]) -> None:
        for name, value in weights.items():
            layer.params[name][...] = value

    class Checked(torch.autograd.Function):  # type: ignore[misc, name-defined, unused-ignore]
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            values = [tensor.detach().numpy().copy() for tensor in tensors]  # PyTorch moves its tensors in place
            ctx.weights, rest = dict(zip(names, values, strict=False)), values[len(names) :]
            write(ctx.weights)
            layer.load_call_counters(counters)  # every pass draws the same dropout masks
            x = rest.pop(0) if has_x else case.x
            y, ctx.last, ctx.tape = layer.forward(x, refill(case.state, iter(rest)), case.lengths)
            return tuple(torch.from_numpy(array.copy()) for array in (y, *leaves(ctx.last)))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            write(ctx.weights)
            layer.zero_grad()
            dy, *dlast = (cotangent.contiguous().numpy() for cotangent in cotangents)  # None has become zeros
            dx, dstate = layer.backward(ctx.tape, dy, refill(ctx.last, iter(dlast)))
            found = [*(layer.grads[name] for name in names), *([dx] if has_x else []), *leaves(dstate)]
            return tuple(torch.from_numpy(np.array(array)) for array in found)

    return Checked.apply, tuple(torch.tensor(array, requires_grad=True) for array in arrays)


def first_line(error: Exception) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
