"""How the CPU kernels are compiled: options, disk cache, and functions that are compiled once for all their callers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import from_dtype, types
from numba.core import cgutils, config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, models, register_model

from kernels.cpu.announcing import KERNELS, entitle
from kernels.cpu.disk_cache import DiskCache
from kernels.cpu.pipeline import InlinedPart, Whole

#: Whether functions are compiled at all: not with ``NUMBA_DISABLE_JIT=1``.  In plain Python, threads have no barrier.
JIT = not getattr(config, "DISABLE_JIT", 0)

# error_model: NumPy's division, without Python's check for zero, which would keep a loop from being vectorised.
# fastmath "contract": a*b+c may become one fused operation; nothing else is reordered, NaN and inf keep their meaning.
# nogil: the loops touch no Python object, so other threads may run.
# _nrt: they allocate nothing, so no references are counted.
# pipeline_class: our own way through Numba and LLVM.
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"contract"},
    "nogil": True,
    "_nrt": False,
    "pipeline_class": Whole,
}

INLINED: Any = {
    **_OPTIONS,
    "forceinline": True,
    "no_cfunc_wrapper": True,
    "no_cpython_wrapper": True,
    "pipeline_class": InlinedPart,
}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a scalar function for use inside compiled loops: always inlined, else the loop would not be vectorised."""
    if JIT:
        infer_global(function, _Inlined(numba.njit(**INLINED)(function)))
    return function


class _Inlined(types.Dispatcher):
    """A function inside compiled code.  A number written out in a call counts as any number, or each compiled anew."""

    def __init__(self, dispatcher: Any) -> None:
        super().__init__(dispatcher)
        self._kept = dispatcher  # Numba itself holds it weakly

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The types of the call's arguments and result."""
        args = tuple([types.unliteral(argument) for argument in args])
        return super().get_call_type(context, args, {name: types.unliteral(kind) for name, kind in kws.items()})


register_model(_Inlined)(models.OpaqueModel)


def apart(function: Callable[..., Any]) -> Any:
    """Mark a function of pointers that do not overlap for use inside a compiled function."""
    dispatcher = numba.njit(**INLINED)(function)
    if JIT:
        dispatcher._compiler._customize_flags = _without_overlap
    return dispatcher


def compiled(
    title: str = KERNELS, overlapping: bool = False, key: str = "", wrapped: bool = True
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on first use and keep the result on disk.

    Parameters
    ----------
    title : its name, for the line that is printed while it compiles.
    overlapping : whether two of its arrays may share memory.
    key : the text of all that the function encloses, if it is written out anew for each cell.
    wrapped : whether Python calls it.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = _OPTIONS | {"no_cfunc_wrapper": True, "no_cpython_wrapper": not wrapped}
        dispatcher = numba.njit(**options)(function)
        if JIT:
            entitle(dispatcher, title)
            if not overlapping:
                dispatcher._compiler._customize_flags = _without_overlap
            with contextlib.suppress(RuntimeError):  # no folder that can be written to: compiled at every start
                dispatcher._cache = DiskCache(function, _SOURCES, key)
        return dispatcher

    return decorate


class Shared:
    """A function that is compiled by itself, once for each dtype; other compiled code calls it by a symbol or address.

    Numba copies all that a function calls into its machine code.  The tiles of a product would be compiled once more
    for each function on the way to them: that was two thirds of the time that compiling took.

    Parameters
    ----------
    kinds : of its arguments: ``int``, ``rows`` a pointer to integers, ``numbers`` a pointer to numbers of the dtype,
        ``number`` one of them, or a tuple of kinds.
    options : of `compiled`.
    """

    def __init__(self, function: Any, kinds: tuple[Any, ...], **options: Any) -> None:
        self._name, self._kinds = f"bptt_engine_{function.__name__}", kinds
        self.dispatcher = compiled(wrapped=False, **options)(function)
        self._addresses: dict[Any, int] = {}

    def symbol(self, number: Any) -> str:
        """The name by which it is called."""
        return f"{self._name}_{number}"

    def address(self, dtype: Any) -> Any:
        """Compile it, or load it from disk, and give its symbol a meaning; in plain Python, the function itself."""
        if not JIT:
            return self.dispatcher
        with global_compiler_lock:  # another thread of Python may be here too
            if dtype not in self._addresses:
                number = from_dtype(dtype)
                arguments = tuple(_type(kind, number) for kind in self._kinds)
                self.dispatcher.compile(arguments)
                found = self.dispatcher.overloads[arguments]
                self._addresses[dtype] = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
                llvm.add_symbol(self.symbol(number), self._addresses[dtype])
            return self._addresses[dtype]


_SHARED: list[Shared] = []
_READY: dict[Any, int] = {}  # by dtype, how many of them were compiled


def shared(*kinds: Any, result: str = "nothing", **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function that several loops call: see `Shared`.  It may call shared functions that stand before it."""

    def decorate(function: Callable[..., Any]) -> Any:
        if JIT:
            entry = Shared(function, kinds, **options)
            _SHARED.append(entry)

            def callee(context: Any, builder: Any, kind: Any, signature: Any, args: Any) -> Any:
                name = entry.symbol(_number_of(signature.args))
                return cgutils.get_or_insert_function(builder.module, kind, name), signature.args, args

            _declare(function, kinds, result, callee)
        return function

    return decorate


def by_address(*kinds: Any) -> Callable[..., None]:
    """A function that calls the function whose address is its first argument, with the others."""

    def call(function: Any, *arguments: Any) -> None:
        function(*arguments)

    def callee(context: Any, builder: Any, kind: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], kind.as_pointer()), signature.args[1:], args[1:]

    _declare(call, ("int", *kinds), "nothing", callee, given=1)
    return call


def ready(dtype: Any) -> None:
    """Have every shared function compiled for a dtype: no loop may be compiled, or loaded from disk, before."""
    if _READY.get(dtype) != len(_SHARED):
        for entry in _SHARED:
            entry.address(dtype)
        _READY[dtype] = len(_SHARED)


def _type(kind: Any, number: Any) -> Any:
    if isinstance(kind, tuple):
        return types.BaseTuple.from_types([_type(part, number) for part in kind])
    known = {"int": types.int64, "rows": types.CPointer(types.int64), "numbers": types.CPointer(number)}
    return {"nothing": types.none, "number": number, **known}[kind]


def _number_of(arguments: Any) -> Any:
    """The type of number that the arguments have, or point to."""
    for argument in arguments:
        parts = getattr(argument, "types", None)  # of a tuple
        found = _number_of(parts) if parts else getattr(argument, "dtype", argument)
        if isinstance(found, types.Float):
            return found
    return None


def _declare(function: Any, kinds: tuple[Any, ...], result: str, callee: Any, given: int = 0) -> None:
    """Tell Numba the types of a function, and how to call it; the first `given` arguments are not handed on."""

    class _Template(AbstractTemplate):
        key = function

        def generic(self, arguments: Any, names: Any) -> Any:
            number = _number_of(arguments)
            return signature(_type(result, number), *(_type(kind, number) for kind in kinds))

    infer_global(function, types.Function(_Template))

    @lower_builtin(function, types.VarArg(types.Any))
    def call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(sig.return_type, sig.args[given:])
        target, argument_types, values = callee(context, builder, kind, sig, args)
        status, found = convention.call_function(builder, target, sig.return_type, argument_types, values)
        with cgutils.if_unlikely(builder, status.is_error):  # memory is full
            convention.return_status_propagate(builder, status)
        return found


def _without_overlap(flags: Any) -> Any:
    """Promise the compiler that no two array arguments overlap.

    Without it, every pair of arrays in a loop needs a check at run time, and past eight such checks the loop is left
    scalar: a factor of two for a whole LSTM pass.  The callers in `numba_kernels` keep the promise.
    """
    flags.noalias = True
    return flags


def _hash_of_sources() -> str:
    digest = hashlib.blake2b(digest_size=16)
    kernels = Path(__file__).parent.parent
    for path in sorted([*kernels.glob("*.py"), *kernels.glob("cpu/*.py"), *kernels.glob("gates/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_SOURCES = _hash_of_sources()
