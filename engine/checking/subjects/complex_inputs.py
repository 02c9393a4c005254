"""Functions of complex arrays, as functions of their real and imaginary parts.

The gradient of a real loss with respect to a complex z = a + ib is dL/da + i dL/db, twice the derivative with respect
to the conjugate of z, as in PyTorch.  A complex dout is the same for an output.  So every complex number becomes two
real ones, in a last axis, and the checks of real functions apply.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.subjects.shapes import returned
from engine.checking.subjects.shapes.arguments import convention_of
from engine.checking.subjects.trees import kind, leaves, named_leaves, refill, transform
from engine.errors import bad_input

NOTE = "complex tensors have a last axis here: real and imaginary part; a gradient is dL/da + i dL/db, as in PyTorch"


def is_complex(inputs: Sequence[Any]) -> bool:
    """Whether some array or number of the inputs is complex."""
    return any(_is_complex(leaf) for leaf in leaves(list(inputs)))


def gives_complex(forward: Callable[..., Any], inputs: Sequence[Any]) -> bool:
    """Whether forward makes complex outputs of real inputs, as a Fourier transform does."""
    try:
        found = forward(*copy.deepcopy(list(inputs)))
    except Exception:  # the check itself says what is wrong
        return False
    return any(_is_complex(leaf) for leaf in leaves(found[:-1] if isinstance(found, tuple) else found))


def refuse_complex_step(method: str) -> None:
    """Raise for the complex step, which needs real arrays."""
    if method == "complex":
        raise bad_input("method", "another than 'complex' for complex arrays", "'complex'", "take 'central'")


def as_real(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any], names: Sequence[str]
) -> tuple[Callable[..., Any], Callable[..., Any], list[Any]]:
    """A pair of functions of real arrays, and its inputs; the real pair is right if the complex pair is."""
    first = forward(*copy.deepcopy(list(inputs)))
    convention = convention_of(backward, first)
    pattern = tuple(inputs)
    out_pattern = transform(
        lambda leaf: leaf if _is_complex(leaf) or isinstance(leaf, float) or kind(leaf) == "f" else None,
        convention.split(first)[0],
    )

    def real_forward(*values: Any) -> tuple[Any, Any]:
        out, cache = convention.split(forward(*_joined(values, pattern)))
        return _parted(out), cache

    def real_backward(dout: Any, cache: Any) -> tuple[Any, ...]:
        found = convention.call(backward, _joined(dout, out_pattern), cache)
        arranged = returned.by_argument(found, names, pattern, [True] * len(pattern))
        rows = zip(names, pattern, arranged, strict=True)
        return tuple(_gradient(name, given, gradient) for name, given, gradient in rows)

    return real_forward, real_backward, [_parted(one) for one in inputs]


def _is_complex(leaf: Any) -> bool:
    return isinstance(leaf, complex | np.complexfloating) or kind(leaf) == "c"


def _parted(nest: Any) -> Any:
    """The nest with each complex array as a real one with one more axis."""
    return transform(lambda leaf: _two(leaf) if _is_complex(leaf) else leaf, nest)


def _two(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return np.stack([array.real, array.imag], axis=-1)


def _joined(nest: Any, pattern: Any) -> Any:
    """The nest with complex arrays where the pattern has them."""
    own = iter(leaves(nest))

    def join(leaf: Any) -> Any:
        value = next(own)
        if not _is_complex(leaf):
            return value
        joined = value[..., 0] + 1j * value[..., 1]
        return joined if kind(leaf) == "c" and np.ndim(leaf) else type(leaf)(joined)

    return transform(join, pattern)


def _gradient(name: str, given: Any, gradient: Any) -> Any:
    found = dict(returned.by_leaf(given, gradient, name))
    parts = []
    for own, leaf in named_leaves(given, name):
        one = found.get(own)
        has_none = one is None or isinstance(one, returned.NotGiven)
        parts.append(_two(one) if _is_complex(leaf) and not has_none else one)
    return refill(given, iter(parts))
