"""A from-scratch recurrent engine: RNN, LSTM and GRU with hand-written backpropagation through time.

Public names are gathered here; `docs/notation.md` explains letters and shapes, `kernels/gates/` holds the equations.
"""

# ruff: noqa: F401  (the names under TYPE_CHECKING are public)

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import kernels as _kernels

if getattr(_kernels, "DISTRIBUTION", None) != "bptt-engine":
    _found = getattr(_kernels, "__file__", None) or list(_kernels.__path__)
    raise ImportError(
        f"the package 'kernels' found first ({_found}) is not the one of bptt-engine: another distribution or folder "
        "of that name comes first on the import path; remove it (pip uninstall kernels), or install bptt-engine into "
        "a virtual environment of its own"
    )

if TYPE_CHECKING:
    from engine.backend import Backend, asarray, available_backends, get_backend
    from engine.cell import Cell, Phase, Projection, cells
    from engine.checking.assertions import assert_gradients
    from engine.checking.check import check_gradients, gradcheck
    from engine.checking.forward_of_users import check_jvp
    from engine.checking.objects import check_object
    from engine.checking.second_order import check_hessian, gradgradcheck
    from engine.data.corpus import open_tokens, prepare_tokens
    from engine.echo_state import fit_readout, free_run, reservoir
    from engine.errors import EngineError, InputError, InputTypeError
    from engine.exchange import export_keras, export_onnx, import_keras, import_onnx
    from engine.layers import (
        CRF,
        GRU,
        LSTM,
        RNN,
        Activation,
        Attention,
        BatchNorm,
        BatchNormLSTM,
        Dropout,
        Embedding,
        Heads,
        LayerNorm,
        Linear,
        Pool,
        Recurrent,
        Sequential,
        Translator,
    )
    from engine.ledgers import Ledger, ledger
    from engine.long_sequences import memory_of, recompute, segmented_bptt, truncation_bias, windowed_bptt
    from engine.losses import crf_loss, cross_entropy, ctc_loss, mse
    from engine.losses.activity import activation_regularization, temporal_activation_regularization
    from engine.microscope import Trace, trace, underflow
    from engine.optimizers.adam import Adam, AdamW
    from engine.optimizers.averaging import WeightAverage
    from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
    from engine.optimizers.gradient_noise import add_gradient_noise
    from engine.optimizers.loss_scaling import LossScaler
    from engine.optimizers.rules import SGD, Adagrad, RMSprop
    from engine.own_outputs import scheduled_sampling
    from engine.search.rates import find_learning_rate
    from engine.search.search import Search
    from engine.search.tune import tune
    from engine.second_derivatives import hvp
    from engine.thread_count import get_num_threads, set_num_threads
    from engine.training import Callback, History, evaluate, fit, load
    from engine.truncation import truncated_bptt

#: Where the public names live.  Each is imported at its first use: the command imports this file, and must set the
#: threads of NumPy's BLAS before NumPy is imported.
_HOMES = {
    "backend": ("Backend", "asarray", "available_backends", "get_backend"),
    "cell": ("Cell", "Phase", "Projection", "cells"),
    "checking.check": ("check_gradients", "gradcheck"),
    "checking.forward_of_users": ("check_jvp",),
    "checking.objects": ("check_object",),
    "checking.second_order": ("check_hessian", "gradgradcheck"),
    "checking.assertions": ("assert_gradients",),
    "data.corpus": ("open_tokens", "prepare_tokens"),
    "echo_state": ("fit_readout", "free_run", "reservoir"),
    "errors": ("EngineError", "InputError", "InputTypeError"),
    "exchange": ("export_keras", "export_onnx", "import_keras", "import_onnx"),
    "layers": (
        "CRF",
        "GRU",
        "LSTM",
        "RNN",
        "Activation",
        "Attention",
        "BatchNorm",
        "BatchNormLSTM",
        "Dropout",
        "Embedding",
        "Heads",
        "LayerNorm",
        "Linear",
        "Pool",
        "Recurrent",
        "Sequential",
        "Translator",
    ),
    "ledgers": ("Ledger", "ledger"),
    "long_sequences": ("memory_of", "recompute", "segmented_bptt", "truncation_bias", "windowed_bptt"),
    "losses": ("crf_loss", "cross_entropy", "ctc_loss", "mse"),
    "losses.activity": ("activation_regularization", "temporal_activation_regularization"),
    "microscope": ("Trace", "trace", "underflow"),
    "optimizers": (
        "SGD",
        "Adagrad",
        "Adam",
        "AdamW",
        "RMSprop",
        "LossScaler",
        "WeightAverage",
        "add_gradient_noise",
        "clip_grad_norm",
        "clip_grad_value",
    ),
    "own_outputs": ("scheduled_sampling",),
    "search.rates": ("find_learning_rate",),
    "search.search": ("Search",),
    "search.tune": ("tune",),
    "second_derivatives": ("hvp",),
    "thread_count": ("get_num_threads", "set_num_threads"),
    "training": ("Callback", "History", "evaluate", "fit", "load"),
    "truncation": ("truncated_bptt",),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker that saw this would let any name through

    def __getattr__(name: str) -> Any:
        for home, names in _HOMES.items():
            if name in names:
                return globals().setdefault(name, getattr(importlib.import_module(f"engine.{home}"), name))
        if not name.startswith("_") and importlib.util.find_spec(f"engine.{name}") is not None:
            return importlib.import_module(f"engine.{name}")  # engine.layers, after a bare `import engine`
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
