"""Functions that are inlined into compiled ones: compiled for one type of arguments once, and not made machine code."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from conftest import JIT_OFF
from numba.core import event

from kernels.cpu.compiling import compiled, inlined

pytestmark = pytest.mark.skipif(JIT_OFF, reason="nothing is compiled (NUMBA_DISABLE_JIT)")


class Counting(event.Listener):
    """How often each function was compiled."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.dispatchers: dict[str, Any] = {}

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        self.found[dispatcher.py_func.__name__] += 1
        self.dispatchers[dispatcher.py_func.__name__] = dispatcher

    def on_end(self, event: Any) -> None:
        pass


@inlined
def scaled(pair: Any, factor: Any, shift: Any = 0) -> Any:
    """A number written out in a call, also in a tuple or as a keyword, is no type of its own."""
    return (pair[0] + pair[1]) * factor + shift


@compiled()
def calls(x: Any) -> None:
    a, b = x[0], x[1]
    x[0] = scaled((a, b), b, shift=a) - scaled((2, a), 5, shift=7) * scaled((b, 3), a, shift=1)


def test_an_inlined_function_is_compiled_once_and_has_no_machine_code() -> None:
    counting, x = Counting(), np.array([3, 11], np.int64)
    calls._cache = type(calls._cache)(calls.py_func, "of this test")  # what an earlier run has left is not of this one
    calls._cache.flush()
    with event.install_listener("numba:compile", counting):
        calls(x)
    assert x[0] == (3 + 11) * 11 + 3 - ((2 + 3) * 5 + 7) * ((11 + 3) * 3 + 1)
    assert counting.found == {"calls": 1, "scaled": 1}
    (result,) = counting.dispatchers["scaled"].overloads.values()
    assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) == 0
    (result,) = calls.overloads.values()
    assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) != 0
