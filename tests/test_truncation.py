"""Truncated BPTT (rule 12), against an oracle that cuts the sequence by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, distance, leaves, random_arguments
from hypothesis import given
from hypothesis import strategies as st

import engine


def squared(target: Any) -> Any:
    """A loss that weighs every step differently."""

    def loss(y: Any) -> tuple[Any, Any]:
        weights = np.arange(1.0, y.shape[0] + 1)[:, None, None]
        return (weights * (y - target) ** 2).sum(), 2 * weights * (y - target)

    return loss


def by_hand(layer: Any, x: Any, loss: Any, k1: int, k2: int, state: Any) -> tuple[dict[str, Any], Any]:
    """Each chunk's losses, from a forward pass that starts at most k2 steps before the chunk's end."""
    y, _, _ = layer.forward(x, state)
    dy = loss(y)[1]
    layer.zero_grad()
    dx = np.zeros_like(x)
    for start in range(0, len(x), k1):
        stop = min(start + k1, len(x))
        begin = max(0, stop - k2)
        carried = state
        if begin:
            _, carried, _ = layer.forward(x[:begin], state)
        _, _, tape = layer.forward(x[begin:stop], carried)
        part = np.zeros_like(dy[begin:stop])
        part[start - begin :] = dy[start:stop]
        dx_part, _ = layer.backward(tape, part)
        dx[begin:stop] += dx_part
    return {name: grad.copy() for name, grad in layer.grads.items()}, dx


@pytest.mark.parametrize("kind", FIVE_CELLS)
@given(T=st.integers(1, 9), k1=st.integers(1, 5), extra=st.integers(0, 5), layers=st.integers(1, 2))
def test_truncation_equals_the_definition(kind: str, T: int, k1: int, extra: int, layers: int) -> None:
    layer = build(kind, 3, 4, layers)
    x, state, target, _ = random_arguments(layer, T, 2, T + k1)
    wanted, dx = by_hand(layer, x, squared(target), k1, k1 + extra, state)
    layer.zero_grad()
    found = engine.truncated_bptt(layer, x, squared(target), k1, k1 + extra, state)
    for name, grad in layer.grads.items():
        assert distance(grad, wanted[name]) <= 1e-12, name
    assert distance(found.dx, dx) <= 1e-12
    y, last, _ = layer.forward(x, state)
    np.testing.assert_array_equal(found.y, y)
    np.testing.assert_array_equal(leaves(found.state)[0], leaves(last)[0])
    assert float(found.loss) == pytest.approx(float(squared(target)(y)[0]), rel=1e-14)


@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize(("k1", "k2"), [(1, 8), (3, 8), (8, 8), (5, 30)])
def test_reaching_back_to_the_start_is_full_bptt(kind: str, k1: int, k2: int) -> None:
    layer = build(kind, 3, 4, 2, backend="numpy:numba")
    x, state, target, _ = random_arguments(layer, 8, 3, 2)
    y, _, tape = layer.forward(x, state)
    dx, dstate = layer.backward(tape, squared(target)(y)[1])
    full = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    found = engine.truncated_bptt(layer, x, squared(target), k1, k2, state)
    for name, grad in layer.grads.items():
        assert distance(grad, full[name]) <= 1e-12, name
    assert distance(found.dx, dx) <= 1e-12
    for one, other in zip(leaves(found.dstate), leaves(dstate), strict=True):
        assert distance(one, other) <= 1e-12


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_whole_model_is_truncated_layer_by_layer(batch_first: bool) -> None:
    options: dict[str, Any] = {"dtype": "float64", "batch_first": batch_first}
    seq = engine.Sequential(
        engine.Embedding(7, 3, **options),
        engine.GRU(3, 4, **options),
        engine.Dropout(0.3, **options),
        engine.Linear(4, 7, **options),
    )
    ids = np.random.default_rng(0).integers(0, 7, (6, 2))
    targets = np.random.default_rng(1).integers(0, 7, (6, 2))
    ids, targets = (ids.T, targets.T) if batch_first else (ids, targets)

    def loss(logits: Any) -> tuple[Any, Any]:
        return engine.cross_entropy(logits, targets)

    gradients = []
    for k2 in (2, 6):
        seq.zero_grad()
        seq.load_call_counters(dict.fromkeys(seq.call_counters(), 0))
        result = engine.truncated_bptt(seq, ids, loss, 2, k2)
        assert result.dx is None
        gradients.append({name: grad.copy() for name, grad in seq.grads.items()})
    seq.zero_grad()
    seq.load_call_counters(dict.fromkeys(seq.call_counters(), 0))
    logits, _, tape = seq.forward(ids)
    seq.backward(tape, loss(logits)[1])
    for name, grad in seq.grads.items():
        assert distance(gradients[1][name], grad) <= 1e-12
    # what does not reach through time is not truncated, what does is
    assert distance(gradients[0]["3.weight"], seq.grads["3.weight"]) <= 1e-12
    assert distance(gradients[0]["1.weight_hh_l0"], seq.grads["1.weight_hh_l0"]) > 1e-4


def test_a_loss_that_returns_something_else_is_refused() -> None:
    layer = build("lstm", 2, 3)
    x, state, _, _ = random_arguments(layer, 5, 2)
    answers: list[tuple[Any, str]] = [
        (lambda y: 0.0, "loss: expected a function that returns the pair (loss, dy), got one that returns 0.0"),
        (lambda y: (0.0, y.astype(np.float32)), "dy of the loss: expected dtype float64, got dtype float32"),
        (lambda y: (0.0, y[:, :1]), "dy of the loss: expected shape (5, 2, 3) that of y, got shape (5, 1, 3)"),
    ]
    for loss, message in answers:
        with pytest.raises(engine.InputError) as caught:
            engine.truncated_bptt(layer, x, loss, 2, 4, state)
        assert str(caught.value).startswith(message)


def test_bad_spans_and_directions_are_refused() -> None:
    layer = build("lstm", 2, 3)
    x, state, target, _ = random_arguments(layer, 5, 2)
    with pytest.raises(engine.InputError, match="k2: expected at least k1 = 3, got 2"):
        engine.truncated_bptt(layer, x, squared(target), 3, 2, state)
    with pytest.raises(engine.InputError, match="k1: expected an integer >= 1, got 0"):
        engine.truncated_bptt(layer, x, squared(target), 0, 2, state)
    both_ways = build("lstm", 2, 3, bidirectional=True)
    with pytest.raises(
        engine.InputError, match="layer: expected one direction for truncated BPTT, got a bidirectional"
    ):
        engine.truncated_bptt(both_ways, x, lambda y: (0.0, y), 2, 3)
