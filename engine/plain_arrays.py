"""What counts as an array: one check for inputs, targets, lengths, ids, masks, states and weights alike.

An array of a subclass may mask, transpose or label its numbers, and the engine would lose that without a word.  So
every function that takes arrays refuses it here.  A tensor on the CPU is memory of the host, and is checked as NumPy's
arrays are.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_type

#: NumPy's array classes that have no rules of their own.
PLAIN = (np.ndarray, np.memmap)
#: The kinds of dtypes that hold numbers.
NUMBERS = "biufc"
_HALVES = {"float16", "bfloat16", "half", "fp16", "bf16"}


def has_own_rules(obj: Any) -> bool:
    """Whether `obj` is an array of a subclass that may compute otherwise than its library's plain ones."""
    if isinstance(obj, np.ndarray):
        return type(obj) not in PLAIN
    return any("__torch_dispatch__" in vars(base) for base in _above_tensor(obj.__class__) or ())


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a PyTorch tensor; PyTorch is not imported to find out."""
    return _above_tensor(obj.__class__) is not None


@functools.lru_cache(maxsize=100)
def _above_tensor(kind: type) -> tuple[type, ...] | None:
    """The classes that stand before ``torch.Tensor`` among the bases of a class; None if it is no tensor's."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)  # who has a tensor has imported it
    return kind.__mro__[: kind.__mro__.index(tensor)] if tensor in kind.__mro__ else None


def refuse_own_rules(argument: str, obj: Any, expected: str = "a plain array") -> None:
    """Raise if `obj` is an array with rules of its own: a masked array, a matrix, or another subclass."""
    if not has_own_rules(obj):
        return
    hint = f"pass np.asarray({argument})" if isinstance(obj, np.ndarray) else "pass a plain torch.Tensor"
    if isinstance(obj, np.ma.MaskedArray):
        hint = f"its mask would be lost: pass {argument}.filled(...), and say what counts with mask= or lengths="
    raise bad_type(argument, expected, describe(obj), hint)


def refuse_unreadable(argument: str, obj: Any) -> None:
    """Raise for a tensor that holds no plain numbers to compute with: meta, sparse, quantised, recorded by autograd."""
    if not is_tensor(obj):
        return
    if obj.is_meta:
        hint = "load or make it on a device that holds numbers, such as device='cpu'"
        raise bad_type(argument, "a tensor with numbers in it", "a meta tensor, which has a shape alone", hint)
    if obj.is_quantized:
        raise bad_type(argument, "a tensor of plain numbers", "a quantised one", f"use {argument}.dequantize()")
    if str(obj.layout) != "torch.strided":
        raise bad_type(argument, "a dense tensor", f"one of layout {obj.layout}", f"use {argument}.to_dense()")


def refuse_autograd(argument: str, obj: Any) -> None:
    """Raise if another library records what is done with the array: the gradients here are written by hand."""
    if getattr(obj, "requires_grad", False):
        got = "one with requires_grad=True"
        raise bad_type(argument, "an array that autograd does not follow", got, f"use {argument}.detach()")


def host_view(argument: str, obj: Any, expected: str = "a plain array") -> np.ndarray | None:
    """A plain array on the host, or a tensor on the CPU, as a NumPy view; None for anything else.

    Raises
    ------
    InputTypeError
        for an array with rules of its own.
    """
    refuse_own_rules(argument, obj, expected)
    if isinstance(obj, np.ndarray):
        return obj
    if not is_tensor(obj) or obj.device.type != "cpu":
        return None
    refuse_autograd(argument, obj)
    refuse_unreadable(argument, obj)
    try:
        found: np.ndarray = obj.numpy(force=True)  # forced: also where a flip of sign is still to be done
    except TypeError:  # a dtype that NumPy has not, such as bfloat16
        raise bad_type(argument, "a dtype that NumPy has too", dtype_in_words(obj.dtype)) from None
    return found


def numbers(argument: str, value: Any) -> np.ndarray:
    """An array of numbers from anything on the host: an array, a tensor on the CPU, a list, a number."""
    found = host_view(argument, value)
    return _made(argument, value, "numbers on the host", "give rows of one length") if found is None else found


MOST_AXES = 64  # of a NumPy array


def host_integers(argument: str, value: Any, expected: str, hint: str, hosted: str = "") -> np.ndarray:
    """Integers on the host: a NumPy array or a tensor on the CPU without a copy; a list becomes an array.

    Parameters
    ----------
    expected, hint : of the error, such as ``"integer token ids"``.
    hosted : the words for the expected argument if the given one is an array on a device; None means `expected`.
    """
    found = host_view(argument, value, expected)
    if found is None:
        found = _made(argument, value, expected, hint, hosted)
        if found.size == 0 and isinstance(value, list | tuple | range):
            found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        what = "" if hasattr(value, "dtype") else f"{type(value).__name__} of "
        raise bad_type(argument, expected, what + dtype_in_words(found.dtype), hint)
    if _holds_truth(value):  # NumPy has made 0 and 1 of them
        raise bad_type(argument, expected, f"a {type(value).__name__} with True or False in it", hint)
    return found


def _made(argument: str, value: Any, expected: str, hint: str, hosted: str = "") -> np.ndarray:
    """The array that NumPy makes of a value."""
    _look_into(argument, value, expected)
    try:
        return np.asarray(value)
    except Exception:  # an object of someone's own may raise anything
        if hasattr(value, "device"):
            raise bad_type(argument, hosted or expected, "a device array", "copy it to the host first") from None
        raise bad_type(argument, expected, f"{describe(value)} of no one shape", hint) from None


def _look_into(argument: str, value: Any, expected: str, depth: int = 0) -> None:
    """Raise if a list holds arrays with rules of their own, at any depth: NumPy would drop these rules."""
    if depth > MOST_AXES:  # deeper than any array: a list that holds itself, say
        raise bad_type(argument, expected, f"{type(value).__name__}s in each other, more than {MOST_AXES} deep")
    if isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, list | tuple):
                _look_into(argument, item, expected, depth + 1)
            else:
                refuse_own_rules(argument, item, expected)


def _holds_truth(value: Any) -> bool:
    """Whether a list, at any depth, mixes True or False with other things."""
    if isinstance(value, list | tuple):
        return any(map(_holds_truth, value))
    return isinstance(value, bool | np.bool_)


def is_half(dtype: Any) -> bool:
    """Whether a dtype, of any library or by its name, is one of half precision."""
    try:
        name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
        return str(name).rpartition(".")[2] in _HALVES
    except Exception:  # an integer of thousands of digits, an object that does not let itself be shown
        return False


def dtype_in_words(dtype: Any) -> str:
    """A dtype for an error message; half precision is called by that name."""
    return f"dtype {dtype}" + (" (half precision)" if is_half(dtype) else "")


def first_place(wrong: np.ndarray) -> tuple[int, ...]:
    """The index of the first True."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
