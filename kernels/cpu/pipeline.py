# mypy: allow-untyped-calls
"""The way of a function of ours through Numba and LLVM: the steps it needs, each once.

Numba takes every function through all that some function may need.  The loops consist of some fifty small functions
that are inlined into a dozen, and Numba would optimise each of the fifty and make machine code of it, which nobody
calls: so compiling took twice as long.  Here

- a function that is inlined (`InlinedPart`) ends as LLVM's code, and is optimised as a part of its callers;
- a function that is called (`Whole`) is optimised once.  Numba does it three times, to find counts of references that
  cancel each other; our functions count none;
- the steps of Numba that rewrite closures, array expressions and `with` are left out: our functions contain none.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, GenericRewrites, IRProcessing, ReconstructSSA, TranslateByteCode

from kernels.cpu.vector_width import REGISTERS

_STEPS = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    GenericRewrites,  # a constant index into a tuple
    ReconstructSSA,
    NopythonTypeInference,
    PreLowerStripPhis,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
)


class _Library(JITCodeLibrary):
    """Where Numba gathers the code of one function; every function that comes in is told the width of vectors."""

    def add_ir_module(self, ir_module: ir.Module) -> None:
        for function in ir_module.functions:
            if not function.is_declaration:
                # past the set's own `add`, which knows only attributes without a value
                set.add(function.attributes, f'"prefer-vector-width"="{8 * REGISTERS.size}"')
        super().add_ir_module(ir_module)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        found = self._codegen._module_pass_manager()
        passes, *options = found if isinstance(found, tuple) else (found,)  # alone before Numba 0.62
        passes.run(self._final_module, *options)


class _PartLibrary(_Library):
    """The code of a function that is only inlined: nobody asks for its machine code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """The address of its machine code: none."""
        return 0

    @property
    def codegen(self) -> Any:
        """Who would note down the function's Python objects, were it to use any."""
        return _NoObjects


class _NoObjects:
    @staticmethod
    def set_env(name: str, objects: Any) -> None:
        """Do nothing."""


class Whole(CompilerBase):
    """Numba's compiler for a function that has machine code of its own: a `pipeline_class`."""

    library: type[_Library] = _Library

    def define_pipelines(self) -> Any:
        """The steps, and a library of our own to put the code in."""
        state = self.state
        if state.library is None:
            state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
        steps = PassManager("loops")
        for step in _STEPS:
            steps.add_pass(step, step.__name__)
        steps.finalize()
        return [steps]


class InlinedPart(Whole):
    """Numba's compiler for a function that is always inlined."""

    library = _PartLibrary
