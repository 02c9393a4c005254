"""Row functions of a user's own between a product and the gate functions: over the units, and over the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fake_cupy
import numpy as np
import pytest
from builders import distance, passes, random_arguments

import engine
from kernels import cells as registry

# mypy: disable-error-code="no-untyped-def"

LENGTHS = [4, 0, 3, 1]


def to_size_1(rows):
    return rows / np.sqrt(1e-3 + (rows * rows).mean(axis=1, keepdims=True))


def to_size_1_back(dout, rows, out):
    size = np.sqrt(1e-3 + (rows * rows).mean(axis=1, keepdims=True))
    return (dout - out * (dout * out).mean(axis=1, keepdims=True)) / size


def standard(rows):
    centred = rows - rows.mean(axis=0)
    return centred / np.sqrt(1e-2 + (centred * centred).mean(axis=0))


def standard_back(dout, rows, out):
    centred = rows - rows.mean(axis=0)
    size = np.sqrt(1e-2 + (centred * centred).mean(axis=0))
    return (dout - dout.mean(axis=0) - out * (dout * out).mean(axis=0)) / size


def forward(a_z, a_n, h_prev, sigmoid, tanh):
    z = sigmoid(a_z)
    n = tanh(a_n)
    h = z * h_prev + (1 - z) * n
    return z, n, h


def backward(dh, z, n, h_prev):
    da_z = dh * (h_prev - n) * z * (1 - z)  # h = z * h_prev + (1 - z) * n, z = sigmoid(a_z)
    da_n = dh * (1 - z) * (1 - n * n)  # h = z * h_prev + (1 - z) * n, n = tanh(a_n)
    dh_prev = dh * z  # h = z * h_prev + (1 - z) * n
    return da_z, da_n, dh_prev


def squashed(n, between_n):
    h = n * between_n
    return h


def squashed_back(dh, n, between_n):
    dn = dh * between_n  # h = n * between_n
    dbetween_n = dh * n  # h = n * between_n
    return dn, dbetween_n


def plain(a_n, tanh):
    n = tanh(a_n)
    return n


def plain_back(dn, n):
    da_n = dn * (1 - n * n)  # n = tanh(a_n)
    return da_n


UNITS, ROWS = (to_size_1, to_size_1_back), (standard, standard_back)
CELLS: dict[str, tuple[engine.Phase, ...]] = {
    "over_the_units": (engine.Phase("zn", forward, backward, between=UNITS),),
    "over_the_rows": (engine.Phase("zn", forward, backward, between=ROWS),),
    "of_a_value": (
        engine.Phase("n", plain, plain_back),
        engine.Phase("", squashed, squashed_back, source="n", between=ROWS),
    ),
}


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> Iterator[engine.Cell]:
    yield engine.Cell(request.param, *CELLS[request.param])
    registry._CELLS.pop(request.param)


def layer_of(cell: Any, **options: Any) -> Any:
    layer = engine.Recurrent(cell, 2, 3, backend="numpy:reference", dtype="float64", **options)
    rng = np.random.default_rng(8)
    layer.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in layer.params.items()})
    return layer


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "mixed"])
@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "rtrl"])
def test_every_oracle_takes_them(cell: engine.Cell, method: str, lengths: Any) -> None:
    """NumPy's functions, means along either axis; what stands past a row's end is not in a mean over the rows."""
    layer = layer_of(cell, bidirectional=True)
    x, state, _, _ = random_arguments(layer, 4, 4, seed=1)
    report = engine.gradcheck(layer, x, state, lengths, method=method)
    assert report.passed, report


def test_a_wrong_reverse_is_found(cell: engine.Cell) -> None:
    work = next(work for work in cell.works if work.between)
    assert work.between is not None
    right = UNITS if work.between.forward is to_size_1 else ROWS
    phases = [
        engine.Phase(p.gates, p.forward, p.backward, p.source, p.between and (right[0], lambda d, rows, out: d))
        for p in cell.phases
        if isinstance(p, engine.Phase)
    ]
    wrong = engine.Cell("wrong_rows", *phases)
    try:
        layer = layer_of(wrong)
        x, state, _, _ = random_arguments(layer, 4, 4, seed=1)
        verdicts = {m: engine.gradcheck(layer, x, state, method=m).verdict for m in ("central", "adjoint", "rtrl")}
        assert set(verdicts.values()) == {"wrong"}, verdicts
    finally:
        registry._CELLS.pop("wrong_rows")


def test_curvature_is_that_of_differences(cell: engine.Cell) -> None:
    layer = layer_of(cell)
    x, _, dy, _ = random_arguments(layer, 5, 4, seed=3)
    rng, start = np.random.default_rng(1), layer.state_dict()
    direction = {name: rng.normal(size=p.shape) for name, p in start.items()}
    found = engine.hvp(layer, layer.forward(x)[2], dy, direction)
    sides = []
    for step in (1e-5, -1e-5):
        layer.load_state_dict({name: p + step * direction[name] for name, p in start.items()})
        layer.zero_grad()
        layer.backward(layer.forward(x)[2], dy)
        sides.append({name: grad.copy() for name, grad in layer.grads.items()})
    for name, ahead in sides[0].items():
        assert distance(found[name], (ahead - sides[1][name]) / 2e-5) < 1e-6


def test_the_microscope_measures_jacobians_of_rows_that_stand_alone(cell: engine.Cell) -> None:
    layer = layer_of(cell)
    trace = engine.trace(layer, random_arguments(layer, 4, 4, seed=2)[0])
    assert (trace["l0"].jacobians is None) == (cell.name != "over_the_units")
    assert "h" in trace["l0"].states


@pytest.mark.device
def test_they_run_on_the_look_alike_of_cupy(cell: engine.Cell) -> None:
    host = layer_of(cell)
    arguments = random_arguments(host, 6, 4, seed=5)
    wanted = passes(host, *arguments, lengths=LENGTHS)
    with fake_cupy.installed():
        layer = host.to(backend="cupy:cuda")
        x, state, dy, dstate = (layer.backend.asarray(part) for part in arguments)
        found = passes(layer, x, state, dy, dstate, LENGTHS)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name].get(), value, rtol=1e-11, atol=1e-12, err_msg=name)
