"""Weights from any source, checked before any of them is copied: names, shapes, numbers.

Arrays of every library become NumPy's here, without a copy if they have the layer's dtype already.  Half precision is
accepted: float32 holds each of its values exactly.  Arrays that only look like numbers are refused (the bits of
bfloat16 in an integer array, a tensor of the meta device).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.backend.device_errors import first_line
from engine.checks import describe
from engine.errors import EngineError, bad_input, bad_type
from engine.layers import loading_hints
from engine.plain_arrays import first_place, host_view, is_half, is_tensor, refuse_own_rules, refuse_unreadable

#: How to read two bytes that hold half precision.
_FROM_BITS = ".view('float16') if it is float16; (value.astype('uint32') << 16).view('float32') if uint16 of bfloat16"


def checked(params: Mapping[str, Any], dtype: np.dtype, mapping: Any, finite: bool = True) -> dict[str, np.ndarray]:
    """The arrays of a state dict, on the host and in the layer's dtype.

    Parameters
    ----------
    params : the parameters and buffers that they are for, by name.
    finite : refuse NaN and infinity, with the name and the index; off for a copy of a layer, which may hold anything.

    Returns
    -------
    arrays by the names of `params`; they may be views of what was given, but not of `params`.
    """
    shapes = {name: tuple(param.shape) for name, param in params.items()}
    if not isinstance(mapping, Mapping):
        raise bad_type(
            "state_dict", "a mapping from names to arrays", describe(mapping), loading_hints.not_a_mapping(mapping)
        )
    if mapping.keys() != shapes.keys():
        raise _wrong_names(shapes, mapping)
    hosts = {name: _numbers(name, mapping[name], finite) for name in shapes}
    for name, host in hosts.items():
        if host.shape != shapes[name]:
            hint = loading_hints.of_shape(name, host.shape, shapes, hosts)
            raise bad_input(name, f"shape {shapes[name]}", f"shape {host.shape}", hint)
        if _counts(params[name]) and host.dtype.kind == "f":
            raise bad_type(name, "an array of integers, as it counts something", f"dtype {host.dtype}")
    own = [view for name, param in params.items() if (view := host_view(name, param)) is not None]
    dtypes = {name: np.dtype(np.int64) if _counts(params[name]) else dtype for name in shapes}
    return {name: _in_dtype(name, hosts.pop(name), dtypes[name], own) for name in shapes}


def _counts(array: Any) -> bool:
    """Whether the array holds integers: those keep their dtype in a layer of any other."""
    return "int" in str(array.dtype)


def _wrong_names(shapes: Mapping[str, tuple[int, ...]], mapping: Mapping[Any, Any]) -> Exception:
    missing = [name for name in sorted(shapes) if name not in mapping]
    unknown = sorted((name for name in mapping if name not in shapes), key=str)
    parts = [f"missing {_listed(missing)}"] * bool(missing) + [f"unknown {_listed(unknown)}"] * bool(unknown)
    expected = f"the names {_listed(sorted(shapes))}"
    return bad_input("state_dict", expected, " and ".join(parts), loading_hints.of_names(shapes, mapping))


def _listed(names: list[Any], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(map(describe, names[:most]))
    return f"[{shown}]" if len(names) <= most else f"[{shown}, and {len(names) - most} more]"


def _in_dtype(name: str, host: np.ndarray, dtype: np.dtype, own: list[np.ndarray]) -> np.ndarray:
    """The array in the layer's dtype; a copy if it is a view of the layer's own arrays, which are written to."""
    with np.errstate(over="ignore", under="ignore"):
        value = host.astype(dtype, copy=False)
    if value is not host and (np.isinf(value) & np.isfinite(host)).any():
        raise bad_input(name, f"values within the range of {dtype}", "larger ones", "load it as float64")
    return value.copy() if any(np.may_share_memory(value, param) for param in own) else value


def _numbers(name: str, value: Any, finite: bool) -> np.ndarray:
    """Any library's array as a NumPy array of real numbers."""
    array = _on_host(name, value)
    if array.dtype.kind == "V" and array.dtype.type.__module__ == "ml_dtypes":
        array = array.astype(np.float32)  # NumPy has no bfloat16 of its own; it is an upper half of a float32
    if array.dtype.itemsize == 2 and array.dtype.kind in "iuV":
        got = f"dtype {array.dtype}, which may be the bits of half precision"
        raise bad_type(name, "an array of real numbers", got, f"read them with value{_FROM_BITS}")
    if array.dtype.itemsize == 1 and array.dtype.kind in "iu":
        hint = "multiply the scale in first: (value.astype('float32') - zero_point) * scale"
        raise bad_type(name, "an array of real numbers", f"dtype {array.dtype}, as of quantised weights", hint)
    if array.dtype.kind not in "fiu":
        raise bad_type(name, "an array of real numbers", f"dtype {array.dtype}")
    if finite and array.dtype.kind == "f":
        good = np.isfinite(array)
        if not good.all():
            place = first_place(~good)
            where = f"{array[place]} at index {place}" if place else str(array[place])
            hint = "the run that wrote it had gone wrong: load weights from before that"
            raise bad_input(name, "finite numbers", where, hint)
    return array


def _on_host(name: str, value: Any) -> np.ndarray:
    refuse_own_rules(name, value, "an array of real numbers")
    try:
        if is_tensor(value):
            refuse_unreadable(name, value)
            held = not is_half(value.dtype) and not str(value.dtype).startswith("torch.float8")
            found: np.ndarray = (value if held else value.float()).numpy(force=True)
            return found
        if hasattr(value, "get") and not isinstance(value, (np.ndarray, Mapping)):  # CuPy's
            value = value.get()
        return np.asarray(value)
    except EngineError:
        raise
    except Exception as error:  # an object of someone's own may raise anything
        got = f"{describe(value)}: {first_line(error)}"
        raise bad_type(name, "an array of real numbers", got) from None
