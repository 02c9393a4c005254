"""CTC: against every alignment written out, against PyTorch, its gradient, every backend, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.errors import InputError, InputTypeError


def log_softmax(z: Any) -> Any:
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def problem(seed: int, T: int, B: int, K: int, blank: int = 0, scale: float = 2.0) -> tuple[Any, Any, Any, Any]:
    """Log-probabilities, and rows of labels (B, U) that fit their lengths; equal neighbours are common."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, T + 1, size=B)
    steps[rng.integers(B)] = T
    labels = rng.choice([k for k in range(K) if k != blank], size=(B, max(1, T // 2)))
    counts = []
    for row, n in zip(labels, steps, strict=True):
        fitting = [u for u in range(len(row) + 1) if u + int((row[1:u] == row[: max(u - 1, 0)]).sum()) <= n]
        counts.append(int(rng.choice(fitting)))
    return log_softmax(scale * rng.normal(size=(T, B, K))), labels, steps, np.array(counts)


def read(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """What an alignment says: repeats merged, then blanks left out."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def enumerated(log_probs: Any, labels: Any, steps: Any, counts: Any, blank: int) -> float:
    """The definition: a sum over all K^T ways to name every step."""
    K, total = log_probs.shape[2], 0.0
    for b, (row, n, u) in enumerate(zip(labels, steps, counts, strict=True)):
        paths = [path for path in itertools.product(range(K), repeat=int(n)) if read(path, blank) == tuple(row[:u])]
        chance = sum(math.exp(sum(log_probs[t, b, k] for t, k in enumerate(path))) for path in paths)
        total -= math.log(chance) / max(int(u), 1)
    return total / len(steps)


@given(seed=st.integers(0, 10_000), T=st.integers(1, 5), B=st.integers(1, 3), K=st.integers(2, 3), last=st.booleans())
def test_it_is_the_sum_over_all_alignments(seed: int, T: int, B: int, K: int, last: bool) -> None:
    blank = K - 1 if last else 0
    given = problem(seed, T, B, K, blank)
    loss, _ = engine.ctc_loss(*given, blank=blank)
    np.testing.assert_allclose(loss, enumerated(*given, blank), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_the_gradient_is_the_derivative(method: str) -> None:
    log_probs, *rest = problem(3, 7, 4, 5)

    def forward(log_probs: Any) -> tuple[Any, Any]:
        loss, gradient = engine.ctc_loss(log_probs, *rest)
        return loss, gradient

    report = engine.check_gradients(forward, lambda dout, gradient: (dout * gradient,), (log_probs,), method=method)
    assert report.verdict == "ok", report


def test_long_rows_do_not_underflow_and_float32_stays_close() -> None:
    given = problem(5, 400, 3, 6, scale=8.0)
    loss, gradient = engine.ctc_loss(*given)
    small, small_gradient = engine.ctc_loss(given[0].astype(np.float32), *given[1:])
    assert np.isfinite(loss)
    assert small.dtype == small_gradient.dtype == np.float32
    np.testing.assert_allclose(small, loss, rtol=1e-6)
    np.testing.assert_allclose(small_gradient, gradient, atol=2e-5)
    # one step of every alignment is one class: the weights of a valid step add up to the row's share
    steps, counts = given[2], given[3]
    share = -1 / (np.maximum(counts, 1) * 3)
    sums = gradient.sum(axis=2)
    np.testing.assert_allclose(sums, np.where(np.arange(400)[:, None] < steps, share, 0), rtol=1e-9, atol=1e-15)


def test_pads_are_not_looked_at() -> None:
    log_probs, labels, steps, counts = problem(8, 6, 4, 3)
    want, gradient = engine.ctc_loss(log_probs, labels, steps, counts)
    for b, (n, u) in enumerate(zip(steps, counts, strict=True)):
        log_probs[n:, b] = np.nan
        labels[b, u:] = -100
    got, dirty = engine.ctc_loss(log_probs, labels, steps, counts)
    assert got == want
    assert (dirty == gradient).all()
    joined = np.concatenate([row[:u] for row, u in zip(labels, counts, strict=True)])
    assert engine.ctc_loss(log_probs, joined, steps, counts)[0] == want


def test_a_row_without_an_alignment() -> None:
    log_probs, *_ = problem(1, 4, 3, 4)
    labels, steps, counts = [[1, 2, 0], [2, 2, 3], [3, 1, 2]], [4, 3, 4], [2, 3, 3]
    with refused(InputError, "targets: expected at most as many labels", "the 3 steps of row 1", "4 steps"):
        engine.ctc_loss(log_probs, labels, steps, counts)
    loss, gradient = engine.ctc_loss(log_probs, labels, steps, counts, zero_infinity=True)
    kept = [0, 2]
    alone, gradient_alone = engine.ctc_loss(
        log_probs[:, kept], np.array(labels)[kept], np.array(steps)[kept], np.array(counts)[kept]
    )
    np.testing.assert_allclose(loss, alone * 2 / 3, rtol=1e-14)  # the mean is over all three rows
    np.testing.assert_allclose(gradient[:, kept], gradient_alone * 2 / 3, rtol=1e-14)
    assert (gradient[:, 1] == 0).all()


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = use_backend(name, monkeypatch)
    log_probs, *rest = problem(11, 6, 4, 5)
    want, gradient = engine.ctc_loss(log_probs, *rest)
    loss, dlog_probs = engine.ctc_loss(backend.asarray(log_probs), *rest)
    np.testing.assert_allclose(backend.to_host(loss), want, rtol=1e-13)
    np.testing.assert_allclose(backend.to_host(dlog_probs), gradient, rtol=1e-12, atol=1e-16)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(12))
def test_it_is_pytorchs(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    log_probs, labels, steps, counts = problem(seed, 9, 5, 4, scale=4.0)
    steps[steps == 0] = 1  # PyTorch refuses a row without steps
    logits = torch.tensor(log_probs, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(
        torch.log_softmax(logits, -1), *map(torch.tensor, (labels, steps, counts)), zero_infinity=True
    )
    theirs.backward()
    loss, gradient = engine.ctc_loss(log_probs, labels, steps, counts, zero_infinity=True)
    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-10)
    through = gradient - np.exp(log_probs) * gradient.sum(axis=-1, keepdims=True)  # back through log-softmax
    np.testing.assert_allclose(through, logits.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_nothing_to_align() -> None:
    empty = np.zeros((0, 2, 3))
    loss, gradient = engine.ctc_loss(empty, np.zeros((2, 0), dtype=int), [0, 0], [0, 0])
    assert loss == 0
    assert gradient.shape == (0, 2, 3)
    loss, gradient = engine.ctc_loss(np.zeros((4, 0, 3)), np.zeros((0, 2), dtype=int), [], [])
    assert loss == 0
    assert gradient.shape == (4, 0, 3)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"log_probs": np.zeros((4, 3))}, InputError, ("log_probs: expected shape (T, B, K)",)),
        ({"log_probs": np.zeros((4, 2, 3), dtype=int)}, InputTypeError, ("log_probs: expected dtype float32",)),
        ({"targets": [[1, 3], [2, 1]]}, InputError, ("targets: expected class indices in 0..2", "3 at position 1")),
        ({"targets": [[1, 0], [2, 1]]}, InputError, ("targets: expected", "the blank at position 1 of row 0")),
        ({"targets": [[1.5, 1], [2, 1]]}, InputTypeError, ("targets: expected",)),
        ({"targets": [[1, 2, 1]]}, InputError, ("targets: expected shape (2, U)",)),
        ({"targets": [1, 2, 1]}, InputError, ("targets: expected 4 labels",)),
        ({"input_lengths": [4, 5]}, InputError, ("input_lengths: expected values in 0..4", "5 at row 1")),
        ({"input_lengths": [4]}, InputError, ("input_lengths: expected one for each of the 2 rows",)),
        ({"target_lengths": [2, -1]}, InputError, ("target_lengths: expected values 0 or more", "-1 at row 1")),
        ({"target_lengths": [2, 3]}, InputError, ("targets: expected shape (2, U) with U >= 3",)),
        ({"blank": 3}, InputError, ("blank: expected a class index in 0..2",)),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], words: tuple[str, ...]) -> None:
    good: dict[str, Any] = {
        "log_probs": np.zeros((4, 2, 3)),
        "targets": [[1, 2], [2, 1]],
        "input_lengths": [4, 3],
        "target_lengths": [2, 2],
    }
    with refused(error, *words):
        engine.ctc_loss(**good | change)
