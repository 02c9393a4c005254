"""Arrays of other libraries, taken over by DLPack: shared memory where it can be, and one sentence where it cannot."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engine


class Foreign:
    """An array of a library that the engine has never heard of."""

    def __init__(self, array: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_memory_is_shared_unless_a_copy_is_asked_for_or_needed() -> None:
    source = np.arange(6.0).reshape(2, 3)
    shared = engine.asarray(Foreign(source))
    copied = engine.asarray(Foreign(source), copy=True)
    converted = engine.asarray(Foreign(source), dtype="float32")
    source[0, 0] = 9.0
    assert shared[0, 0] == 9.0
    assert copied[0, 0] == converted[0, 0] == 0.0
    assert converted.dtype == np.float32
    assert engine.asarray(source) is source
    assert engine.asarray([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]


def test_what_is_refused_is_told_in_one_sentence() -> None:
    x = np.ones(3)
    refused: dict[str, dict[str, Any]] = {
        "copy=False says, for float32": {"x": Foreign(x), "dtype": "float32", "copy": False},
        "expected an array on CPU, the device of numpy, got one on a device": {"x": Foreign(x, (2, 0))},
        "its mask would be lost": {"x": np.ma.ones(3)},
        "expected an array of numbers, got dtype <U1": {"x": np.array(["a"])},
        "expected numbers, got dtype object": {"x": object()},
        "copy: expected True or False": {"x": x, "copy": "no"},
    }
    for words, arguments in refused.items():
        with pytest.raises(engine.InputError) as caught:
            engine.asarray(**arguments)
        assert words in str(caught.value)


@pytest.mark.oracle
def test_between_torch_and_numpy(torch: ModuleType) -> None:
    pytest.importorskip("array_api_compat", reason="array-api-compat absent: pip install 'bptt-engine[torch]'")
    x = np.arange(4, dtype=np.float32)
    tensor: Any = engine.asarray(x, "torch")
    back = engine.asarray(tensor)
    tensor += 1
    assert x.tolist() == back.tolist() == [1, 2, 3, 4]
    fixed = x.copy()
    fixed.flags.writeable = False
    own: Any = engine.asarray(fixed, "torch")
    own += 1
    assert fixed.tolist() == [1, 2, 3, 4]
    with pytest.raises(engine.InputTypeError, match=r"x\.detach\(\)"):
        engine.asarray(torch.ones(2, requires_grad=True))
    with pytest.raises(engine.InputTypeError, match="take over by DLPack"):
        engine.asarray(torch.ones(2, dtype=torch.bfloat16))
