"""Hessian-vector products on the CuPy look-alike and on PyTorch's arrays: the numbers are those of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_cupy import installed

import engine
from engine.losses import curvature_of_cross_entropy
from engine.second_derivatives import largest_eigenvalues

KIND: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
LENGTHS = [3, 5, 0, 2]


def model() -> Any:
    """A model with both ways through recurrent layers, a tangent cell and dual numbers."""
    return engine.Sequential(
        engine.Embedding(6, 3, **KIND),
        engine.LSTM(3, 4, bidirectional=True, **KIND),
        engine.LayerNorm(8, **KIND),
        engine.Recurrent("layernorm_gru", 8, 3, zoneout=0.2, **KIND),
        engine.Pool("attention", 3, **KIND),
        engine.Linear(3, 2, **KIND),
    )


def product(made: Any) -> dict[str, np.ndarray]:
    """A product, and the largest eigenvalue, on the host."""
    rng, upload = np.random.default_rng(0), made.backend.asarray
    v = {name: upload(rng.normal(size=tuple(value.shape))) for name, value in made.params.items()}
    y, _, tape = made.forward(rng.integers(0, 6, (5, 4)), lengths=LENGTHS)
    dy, bend = engine.cross_entropy(y, rng.integers(0, 2, 4))[1], curvature_of_cross_entropy(y)
    found = engine.hvp(made, tape, dy, v, bend)
    hessian = engine.second_derivatives.Hessian(made, tape, dy, bend)
    top = largest_eigenvalues(hessian, made.params, steps=6)
    host = {name: made.backend.to_host(value) for name, value in found.items()}
    return host | {"eigenvalue": top.values}


def agree(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.device
@pytest.mark.parametrize("kernels", ["reference", "cuda"])
def test_on_the_look_alike(kernels: str) -> None:
    wanted = product(model())
    with installed():
        agree(product(model().to(backend=f"cupy:{kernels}")), wanted)


@pytest.mark.oracle
def test_on_pytorchs_arrays() -> None:
    agree(product(model().to(backend="torch")), product(model()))
