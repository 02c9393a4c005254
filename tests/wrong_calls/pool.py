"""Wrong values: a general pool, and what can be made of the value that would be right.

Each has a name, so that a call can be written down, made again, and made in another process.  Each is made afresh for
every call.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import pathlib
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class HostileError(Exception):
    """What the hostile objects raise: whoever lets it through has trusted an object."""


def _explode(*_: Any, **__: Any) -> Any:
    raise HostileError("a method of a hostile object was called")


class HostileArray:
    """Promises an array and explodes."""

    shape, ndim, dtype, size = (5, 3, 4), 3, np.dtype("float32"), 60
    __array__ = __len__ = __getitem__ = __iter__ = __float__ = __index__ = __bool__ = _explode


class HostileEquality:
    """Explodes when it is compared, ordered, hashed or shown."""

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __repr__ = __str__ = _explode


class EndlessLength:
    """Says that it has an enormous number of items."""

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> int:
        return index


class Duck:
    """Looks like an array and is none."""

    shape, ndim, dtype, size, T = (5, 3, 4), 3, np.dtype("float32"), 60, None

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ones((5, 3, 4), np.float32)


class Subclass(np.ndarray):
    """An array class of someone's own."""


class Count(int):
    """An integer of someone's own."""


def _structured() -> np.ndarray:
    return np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])


def _self_containing() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


#: The general pool.
VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "1": lambda: 1,
    "2": lambda: 2,
    "7": lambda: 7,
    "-1": lambda: -1,
    "-(10**30)": lambda: -(10**30),
    "10**12": lambda: 10**12,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "10**30": lambda: 10**30,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "int8": lambda: np.int8(-3),
    "uint8": lambda: np.uint8(200),
    "int64": lambda: np.int64(2),
    "bool_": lambda: np.bool_(True),
    "float16": lambda: np.float16(0.5),
    "float32": lambda: np.float32(0.25),
    "float64 nan": lambda: np.float64("nan"),
    "longdouble": lambda: np.longdouble("1e4000"),
    "subclass of int": lambda: Count(2),
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "-0.0": lambda: -0.0,
    "0.5": lambda: 0.5,
    "1.5": lambda: 1.5,
    "-2.5": lambda: -2.5,
    "1e308": lambda: 1e308,
    "1e-320": lambda: 1e-320,
    "1j": lambda: 1j,
    "Decimal": lambda: decimal.Decimal("0.1"),
    "Decimal sNaN": lambda: decimal.Decimal("sNaN"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "''": lambda: "",
    "'2'": lambda: "2",
    "'nan'": lambda: "nan",
    "'numpy'": lambda: "numpy",
    "'cupy'": lambda: "cupy",
    "'numpy:'": lambda: "numpy:",
    "'numpy:cuda'": lambda: "numpy:cuda",
    "'float16'": lambda: "float16",
    "'f4'": lambda: "f4",
    "'f4,f4'": lambda: "f4,f4",
    "'central'": lambda: "central",
    "'a\\nb'": lambda: "a\nb",
    "fullwidth digit": lambda: "３",
    "lone surrogate": lambda: "\ud800",
    "zero character": lambda: "a\0b",
    "long string": lambda: "x" * 100_000,
    "str_": lambda: np.str_("tanh"),
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"abc"),
    "memoryview": lambda: memoryview(b"abcd"),
    "[]": lambda: [],
    "[1, 2]": lambda: [1, 2],
    "[None]": lambda: [None],
    "['a']": lambda: ["a"],
    "[0.5, nan]": lambda: [0.5, float("nan")],
    "ragged": lambda: [[1, 2], [3]],
    "deep list": lambda: [[[[[[1]]]]]],
    "list in itself": _self_containing,
    "()": lambda: (),
    "(1,)": lambda: (1,),
    "(1, 2)": lambda: (1, 2),
    "(None, None)": lambda: (None, None),
    "set": lambda: {1, 2},
    "frozenset": lambda: frozenset("ab"),
    "{}": lambda: {},
    "{'a': 1}": lambda: {"a": 1},
    "{1: 2}": lambda: {1: 2},
    "OrderedDict": lambda: collections.OrderedDict(type="LSTM"),
    "generator": lambda: (k for k in range(3)),
    "iterator": lambda: iter([1, 2]),
    "range(3)": lambda: range(3),
    "range(0)": lambda: range(0),
    "range(9, 0, -1)": lambda: range(9, 0, -1),
    "range(2**70)": lambda: range(2**70),
    "slice": lambda: slice(None),
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "object": lambda: object(),
    "class": lambda: int,
    "numpy class": lambda: np.float64,
    "module": lambda: np,
    "function": lambda: lambda *a, **k: None,
    "exception": lambda: ValueError("x"),
    "namespace": lambda: types.SimpleNamespace(params={}, grads={}),
    "namespace of lists": lambda: types.SimpleNamespace(params={"w": [1.0]}, grads={"w": [1.0]}),
    "datetime": lambda: datetime.datetime(2024, 1, 1),
    "Path": lambda: pathlib.Path("no-such-file"),
    "folder": lambda: "/",
    "hostile array": HostileArray,
    "hostile equality": HostileEquality,
    "endless": EndlessLength,
    "duck array": Duck,
    "0-d": lambda: np.array(2.0, np.float32),
    "0-d int": lambda: np.array(2),
    "0-d object": lambda: np.array(None, dtype=object),
    "empty array": lambda: np.zeros((0,), np.float32),
    "empty 3-d": lambda: np.zeros((0, 3, 4), np.float32),
    "empty int": lambda: np.zeros((0,), int),
    "object array": lambda: np.array([1, "a", None], dtype=object),
    "string array": lambda: np.array(["a", "bc"]),
    "bool array": lambda: np.array([True, False, True]),
    "complex array": lambda: np.ones((5, 3, 4), np.complex64),
    "half array": lambda: np.ones((5, 3, 4), np.float16),
    "longdouble array": lambda: np.ones((5, 3, 4), np.longdouble),
    "datetime64": lambda: np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
    "timedelta64": lambda: np.array([1, 2], dtype="timedelta64[s]"),
    "structured": _structured,
    "record array": lambda: np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked": lambda: np.ma.masked_array(np.ones((5, 3, 4), np.float32), mask=True),
    "masked constant": lambda: np.ma.masked,
    "matrix": lambda: np.matrix([[1.0, 2.0], [3.0, 4.0]]),
    "64-d": lambda: np.ones((1,) * 32),
    "uint64 array": lambda: np.array([2**64 - 1, 1, 2], np.uint64),
}


# -- made of the value that would be right -----------------------------------------------------------------------------


def _strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*a.shape[:-1], a.shape[-1] * 2), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _with(a: np.ndarray, value: Any) -> np.ndarray:
    copy = a.copy()
    copy.reshape(-1)[-1:] = value
    return copy


def _torch(a: np.ndarray, **options: Any) -> Any:
    """A tensor of PyTorch, where a program has it; else the array as a list."""
    torch = sys.modules.get("torch")
    if torch is None:
        return a.tolist()
    return torch.tensor(a, **options)


#: From an array, what keeps its numbers and what does not.
OF_ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "Fortran order": lambda a: np.asfortranarray(a),
    "strided": _strided,
    "reversed twice": lambda a: a[::-1].copy()[::-1],
    "read-only": _read_only,
    "unaligned": _unaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "subclass": lambda a: a.view(Subclass),
    "as float64": lambda a: a.astype(np.float64),
    "as float32": lambda a: a.astype(np.float32),
    "as float16": lambda a: a.astype(np.float16),
    "as complex": lambda a: a.astype(np.complex128),
    "as int32": lambda a: a.astype(np.int32),
    "as uint8": lambda a: np.abs(a).astype(np.uint8),
    "as bool": lambda a: a.astype(bool),
    "as objects": lambda a: a.astype(object),
    "as strings": lambda a: a.astype(str),
    "as list": lambda a: a.tolist(),
    "as tuple": lambda a: tuple(a.tolist()) if a.ndim else (a.item(),),
    "as bytes": lambda a: a.tobytes(),
    "as memoryview": lambda a: np.ascontiguousarray(a).data,
    "as matrix": lambda a: np.matrix(a.reshape(a.shape[0], -1)) if a.ndim else np.matrix(a),
    "as masked": lambda a: np.ma.masked_array(a, mask=np.zeros(a.shape, bool)),
    "all masked": lambda a: np.ma.masked_array(a, mask=np.ones(a.shape, bool)),
    "as tensor": _torch,
    "as tensor with gradient": lambda a: _torch(a, requires_grad=True) if a.dtype.kind == "f" else _torch(a),
    "as meta tensor": lambda a: _torch(a, device="meta"),
    "as pair": lambda a: (a, a),
    "in a list": lambda a: [a],
    "transposed": lambda a: a.T,
    "extra axis": lambda a: a[None],
    "last axis extra": lambda a: a[..., None],
    "first entry": lambda a: a[0] if a.ndim and len(a) else a,
    "no entries": lambda a: a[:0] if a.ndim else a[None][:0],
    "no columns": lambda a: a[..., :0] if a.ndim else a[None][:0],
    "one entry": lambda a: a[:1] if a.ndim else a[None],
    "one too many": lambda a: np.concatenate([a, a[:1]]) if a.ndim else np.stack([a, a]),
    "one too few": lambda a: a[:-1] if a.ndim else a[None][:0],
    "one column too many": lambda a: np.concatenate([a, a[..., :1]], axis=-1) if a.ndim else np.stack([a, a]),
    "one column too few": lambda a: a[..., :-1] if a.ndim else a[None][:0],
    "flat": lambda a: a.reshape(-1),
    "spread": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim and len(a) else a,
    "negative": lambda a: -a if a.dtype.kind in "if" else a,
    "holds nan": lambda a: _with(a, np.nan) if a.dtype.kind == "f" else a,
    "holds inf": lambda a: _with(a, np.inf) if a.dtype.kind == "f" else a,
    "holds the largest": lambda a: _with(a, np.finfo(a.dtype).max if a.dtype.kind == "f" else 2**31 - 1),
    "holds -1": lambda a: _with(a, -1) if a.dtype.kind in "if" else a,
    "holds a million": lambda a: _with(a, 10**6) if a.dtype.kind in "if" else a,
}
#: From a number, a switch or a string.
OF_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "as string": str,
    "as float": float,
    "as complex": complex,
    "as Decimal": lambda v: decimal.Decimal(v),
    "as int64": lambda v: np.int64(v),
    "as float16": lambda v: np.float16(v),
    "as float32": lambda v: np.float32(v),
    "as 0-d": np.array,
    "as array": lambda v: np.array([v]),
    "as list": lambda v: [v],
    "as pair": lambda v: (v, v),
    "as dict": lambda v: {v: v},
    "negative": lambda v: -v,
    "one more": lambda v: v + 1,
    "one less": lambda v: v - 1,
    "a half more": lambda v: v + 0.5,
    "a thousand times": lambda v: v * 1000,
}
OF_STRINGS: dict[str, Callable[[str], Any]] = {
    "capitals": str.upper,
    "with a blank": lambda s: s + " ",
    "with a line": lambda s: s + "\n",
    "cut": lambda s: s[:-1],
    "as bytes": lambda s: s.encode(),
    "as list": lambda s: [s],
    "as characters": list,
    "as str_": np.str_,
    "as array": lambda s: np.array(s),
    "as Path": pathlib.Path,
    "many times": lambda s: s * 1000,
    "in a dict": lambda s: {s: s},
}
OF_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "as list": list,
    "as tuple": tuple,
    "as iterator": iter,
    "as set of places": lambda s: set(range(len(s))),
    "as dict": lambda s: dict(enumerate(s)),
    "as objects": lambda s: np.array([*s, None], dtype=object)[:-1],
    "turned round": lambda s: type(s)(reversed(s)) if type(s) in (list, tuple) else s[::-1],
    "one less": lambda s: s[:-1],
    "one more": lambda s: [*s, *s[:1]],
    "twice": lambda s: [*s, *s],
    "in a list": lambda s: [s],
}
OF_MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "read-only": lambda m: types.MappingProxyType(dict(m)),
    "ordered": collections.OrderedDict,
    "pairs": lambda m: list(m.items()),
    "keys": list,
    "one less": lambda m: dict(list(m.items())[:-1]),
    "one more": lambda m: {**m, "stranger": 1.0},
    "a number as key": lambda m: {**m, 3: 1.0},
    "other keys": lambda m: {f"module.{key}": value for key, value in m.items()},
    "empty": lambda m: {},
}
OF_OBJECTS: dict[str, Callable[[Any], Any]] = {
    "its class": type,
    "in a list": lambda o: [o],
    "twice": lambda o: [o, o],
    "its name": repr,
    "its dict": lambda o: dict(vars(o)) if hasattr(o, "__dict__") else {},
}


def makers(valid: Any) -> Mapping[str, Callable[[Any], Any]]:
    """What can be made of a value, by name."""
    if isinstance(valid, np.ndarray):
        return OF_ARRAYS
    if isinstance(valid, bool | int | float):
        return OF_NUMBERS
    if isinstance(valid, str):
        return OF_STRINGS
    if isinstance(valid, tuple | list | range):
        return OF_SEQUENCES
    if isinstance(valid, dict):
        return OF_MAPPINGS
    if valid is None or isinstance(valid, types.FunctionType):
        return {}
    return OF_OBJECTS


def parts(valid: Any) -> list[Any]:
    """Keys of what a tuple, a list or a dict holds, each of which can go wrong on its own."""
    if type(valid) in (tuple, list):
        return list(range(len(valid)))
    return list(valid) if type(valid) is dict else []


def make(recipe: tuple[Any, ...], valid: Any, extras: Mapping[str, Callable[[], Any]]) -> Any:
    """The wrong value of a recipe: ``(kind, name)`` of kind pool, made or extra, or ``("in", key, recipe)``.

    What cannot be made of this value is None.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy does not like its matrices any more
        return _made(recipe, valid, extras)


def _made(recipe: tuple[Any, ...], valid: Any, extras: Mapping[str, Callable[[], Any]]) -> Any:
    kind, name = recipe[:2]
    if kind == "pool":
        return VALUES[name]()
    if kind == "extra":
        return extras[name]()
    if kind == "made":
        try:
            with np.errstate(all="ignore"):
                return makers(valid)[name](valid)
        except (TypeError, ValueError, OverflowError, ArithmeticError, IndexError):
            return None
    wrong = make(tuple(recipe[2]), valid[name], {})
    if isinstance(valid, dict):
        return {**valid, name: wrong}
    return type(valid)(wrong if place == name else item for place, item in enumerate(valid))
