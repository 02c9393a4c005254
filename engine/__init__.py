"""A from-scratch recurrent engine: RNN, LSTM and GRU with hand-written backpropagation through time.

Public names are gathered here; `docs/notation.md` explains letters and shapes, `kernels/gates.py` holds the equations.
"""

from __future__ import annotations

import kernels as _kernels

if getattr(_kernels, "DISTRIBUTION", None) != "bptt-engine":
    _found = getattr(_kernels, "__file__", None) or list(_kernels.__path__)
    raise ImportError(
        f"the package 'kernels' found first ({_found}) is not the one of bptt-engine: another distribution or folder "
        "of that name comes first on the import path; remove it (pip uninstall kernels), or install bptt-engine into "
        "a virtual environment of its own"
    )

from engine.backend import Backend, available_backends, get_backend
from engine.checking import check_gradients, gradcheck
from engine.clipping import clip_grad_norm, clip_grad_value
from engine.errors import EngineError, InputError, InputTypeError
from engine.layers import GRU, LSTM, RNN, Dropout, Embedding, Linear, Sequential
from engine.losses import cross_entropy, mse
from engine.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from engine.truncation import truncated_bptt

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Backend",
    "Dropout",
    "Embedding",
    "EngineError",
    "InputError",
    "InputTypeError",
    "Linear",
    "RMSprop",
    "Sequential",
    "available_backends",
    "check_gradients",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "get_backend",
    "gradcheck",
    "mse",
    "truncated_bptt",
]

__version__ = "0.1.0"
