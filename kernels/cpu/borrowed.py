# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="call-arg,attr-defined"
"""Arrays that compiled code uses without counting references to them: the caller holds them until the call ends.

Numba counts a reference, by an atomic operation, whenever an array is taken out of a tuple or handed on.  In a small
time step that is as much work as the gates.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array


def borrowed(value: Any) -> Any:
    """The argument itself, an array or a tuple; use it only for arrays that the caller of a loop holds."""
    return value


def _without_owner(context, builder, kind, value):
    if isinstance(kind, types.Array):
        array = make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        found = [_without_owner(context, builder, *pair) for pair in zip(kind.types, parts, strict=True)]
        return context.make_tuple(builder, kind, found)
    return value


@intrinsic
def _borrow(typingctx, value):
    def codegen(context, builder, signature, args):
        return _without_owner(context, builder, signature.args[0], args[0])

    return value(value), codegen


@overload(borrowed)
def _borrowed_compiled(value):
    return lambda value: _borrow(value)
