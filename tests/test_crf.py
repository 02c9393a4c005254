"""The CRF: likelihood and best row against all rows of tags, gradients, PyTorch, every backend, refusals."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.layers import from_config
from engine.losses import crf, viterbi

T, B, K = 5, 4, 3
LENGTHS = [5, 0, 1, 3]
F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}


def build(K: int = K, **options: Any) -> engine.CRF:
    """A layer with random parameters that differ from each other."""
    layer, rng = engine.CRF(K, **{**F64, **options}), np.random.default_rng(K)
    for param in layer.params.values():
        param[...] = layer.backend.asarray(rng.normal(size=param.shape), dtype=layer.dtype)
    return layer


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def draw_tags(*shape: int, K: int = K) -> Any:
    return np.random.default_rng(4).integers(0, K, shape)


def every_row(layer: engine.CRF, x: Any, b: int, n: int) -> dict[tuple[int, ...], float]:
    """The definition: the score of each of the K^n rows of tags."""
    p = layer.params
    found = {}
    for row in itertools.product(range(layer.num_tags), repeat=n):
        pairs = sum(p["transitions"][i, j] for i, j in itertools.pairwise(row))
        found[row] = p["start"][row[0]] + p["end"][row[-1]] + pairs + sum(x[t, b, k] for t, k in enumerate(row))
    return found


# -- against the definition --------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), T=st.integers(1, 4), B=st.integers(1, 3), K=st.integers(1, 3), first=st.booleans())
def test_it_is_the_sum_over_all_rows_of_tags(seed: int, T: int, B: int, K: int, first: bool) -> None:
    rng = np.random.default_rng(seed)
    layer, x, tags = build(K, batch_first=first), 3 * rng.normal(size=(T, B, K)), rng.integers(0, K, (T, B))
    lengths = rng.integers(0, T + 1, B)
    y = layer.predict(x.swapaxes(0, 1) if first else x, lengths=lengths)[0]
    loss, dy = layer.loss(y, tags.T if first else tags, lengths=lengths)
    decoded, scores = layer.decode(y, lengths=lengths)
    decoded, dy = (decoded.T, dy.swapaxes(0, 1)) if first else (decoded, dy)
    total, steps = 0.0, max(1, int(lengths.sum()))
    for b, n in enumerate(lengths):
        assert (decoded[n:, b] == -1).all()
        assert (dy[n:, b] == 0).all()
        if n == 0:
            assert scores[b] == 0
            continue
        rows = every_row(layer, x, b, n)
        weights = {row: np.exp(score) for row, score in rows.items()}
        z = sum(weights.values())
        total += np.log(z) - rows[tuple(tags[:n, b])]
        np.testing.assert_allclose(scores[b], max(rows.values()), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rows[tuple(decoded[:n, b])], scores[b], rtol=1e-12, atol=1e-12)
        for t in range(1, n):  # the gradient is the probability of a pair, less what the tags say
            for i, j in itertools.product(range(K), repeat=2):
                chance = sum(weight for row, weight in weights.items() if row[t - 1 : t + 1] == (i, j)) / z
                right = (tags[t - 1, b], tags[t, b]) == (i, j)
                np.testing.assert_allclose(dy[t, b, i, j] * steps, chance - right, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(loss, total / steps, rtol=1e-12, atol=1e-12)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "directional"])
@pytest.mark.parametrize(("lengths", "batch_first"), [(None, False), (LENGTHS, True)])
def test_gradients_of_the_layer(method: str, lengths: Any, batch_first: bool) -> None:
    x = draw(B, T, K) if batch_first else draw(T, B, K)
    report = engine.gradcheck(build(batch_first=batch_first), x, lengths=lengths, method=method)
    assert report.passed, report
    assert {row.name for row in report.rows} == {"transitions", "start", "end", "x"}


@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_the_gradient_of_the_loss_is_its_derivative(method: str) -> None:
    mask, tags = np.arange(T)[:, None] < np.array(LENGTHS), draw_tags(T, B)

    def forward(scores: Any) -> tuple[Any, Any]:
        return engine.crf_loss(scores, tags, mask * np.array([0.5, 1.0, 2.0, 1.0]), 7.0)

    report = engine.check_gradients(forward, lambda dout, grad: (dout * grad,), [draw(T, B, K, K)], method=method)
    assert report.passed, report


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_whole_model_has_autograds_gradients(torch: ModuleType, dtype: str) -> None:
    """Through the layer and the loss; PyTorch runs the forward algorithm with lengths by itself."""
    layer, x, tags = build(dtype=dtype), draw(T, B, K).astype(dtype), draw_tags(T, B)
    y, _, tape = layer.forward(x, lengths=LENGTHS)
    loss, dy = layer.loss(y, tags, lengths=LENGTHS)
    dx, _ = layer.backward(tape, dy)
    found = {"x": dx, **layer.grads}

    values = {"x": x, **layer.params}
    leaves = {name: torch.tensor(np.asarray(value, "f8"), requires_grad=True) for name, value in values.items()}
    emissions, transitions, start, end = leaves.values()
    total: Any = 0.0
    for b, n in enumerate(LENGTHS):
        if n == 0:
            continue
        row, alpha = tags[:n, b], start + emissions[0, b]
        for t in range(1, n):
            alpha = torch.logsumexp(alpha[:, None] + transitions, dim=0) + emissions[t, b]
        score = start[row[0]] + end[row[-1]] + emissions[range(n), b, row].sum()
        total = total + torch.logsumexp(alpha + end, dim=0) - score - transitions[row[:-1], row[1:]].sum()
    (total / sum(LENGTHS)).backward()
    assert distance(loss, total.item() / sum(LENGTHS)) <= (1e-12 if dtype == "float64" else 1e-6)
    for name, leaf in leaves.items():
        assert found[name].dtype == dtype
        assert distance(found[name], leaf.grad.numpy()) <= (1e-13 if dtype == "float64" else 1e-6)


# -- every backend, extremes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
def test_every_backend(dtype: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    backend: Any = name if name == "torch" else use_backend(name, monkeypatch)
    x, tags = draw(T, B, K).astype(dtype), draw_tags(T, B)

    def everything(layer: Any, x: Any) -> list[Any]:
        y, _, tape = layer.forward(x, lengths=LENGTHS)
        loss, dy = layer.loss(y, tags, lengths=LENGTHS)
        return [y, loss, dy, layer.backward(tape, dy)[0], *layer.grads.values(), *layer.decode(y, lengths=LENGTHS)]

    wanted = everything(build(dtype=dtype), x)
    layer = build(dtype=dtype).to(backend=backend)
    for one, other in zip(everything(layer, layer.backend.asarray(x)), wanted, strict=True):
        assert layer.backend.dtype_of(one) == other.dtype
        assert distance(layer.backend.to_host(one), other) <= (1e-13 if dtype == "float64" else 1e-6)


def test_scores_of_ten_thousand_and_long_rows_stay_exact() -> None:
    scores, tags = 1e4 * draw(T, B, K, K), draw_tags(T, B)
    loss, gradient = engine.crf_loss(scores, tags)
    best, top = viterbi(scores)  # at such scores one row of tags has all the probability
    t, b = np.arange(T)[:, None], np.arange(B)
    own = scores[t, b, np.concatenate([np.zeros((1, B), int), tags[:-1]]), tags].sum(axis=0)
    np.testing.assert_allclose(loss * T * B, (top - own).sum(), rtol=1e-12)
    assert np.isfinite(gradient).all()
    assert engine.crf_loss(scores, best)[0] <= 1e-9
    long = draw(3000, 2, K, K)
    exact, gradient = engine.crf_loss(long, draw_tags(3000, 2))
    single, rounded = engine.crf_loss(long.astype("f"), draw_tags(3000, 2))
    assert distance(single, exact) <= 1e-6
    assert distance(rounded * 6000, gradient * 6000) <= 1e-5
    assert np.abs(gradient[1:].sum(axis=(2, 3))).max() <= 1e-16  # each step has one pair of tags


def two_chains() -> Any:
    """Scores of tags that never change: at first 0 is e^800 times as likely as 1, then it loses e^70 a step."""
    scores = np.full((14, 1, 2, 2), -1e4)
    scores[0, 0, 0] = 800.0, 0.0
    scores[1:, 0, 0, 0], scores[1:, 0, 1, 1] = -70.0, 0.0
    return scores


def forbidden(value: float) -> Any:
    """Random scores where tag 2 cannot come first, tag 0 cannot follow tag 1, and tag 1 cannot be last."""
    scores = draw(T, B, K, K, seed=7)
    scores[0, :, 0, 2] = scores[1:, :, 1, 0] = scores[-1, :, :, 1] = value
    return scores


EXTREMES: dict[str, tuple[Any, bool | None]] = {  # with what is expected: sums without logarithms, if that is the point
    "usual": (draw(T, B, K, K), True),
    "forbidden by -10,000": (forbidden(-1e4), True),
    "forbidden by -inf": (forbidden(-np.inf), True),
    "spread by 300": (100 * draw(T, B, K, K), None),
    "a tag that cannot be reached": (np.where(np.arange(K) == 1, -1e4, draw(T, B, K, K)), False),
    "two chains": (two_chains(), False),
    "huge": (1e4 * draw(T, B, K, K), False),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", EXTREMES)
def test_sums_without_logarithms_are_taken_only_where_they_are_exact(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, without = EXTREMES[name]
    (targets, top), scores, eps = viterbi(scores), scores.astype(dtype), float(np.finfo(dtype).eps)
    scaled, taken = crf._forward_scaled, []

    def watched(*args: Any) -> Any:
        found, exact = scaled(*args)
        taken.append(bool(exact))
        return found, exact

    monkeypatch.setattr(crf, "_forward_scaled", watched)
    loss, gradient = engine.crf_loss(scores, targets, normalizer=1.0)
    assert without is None or taken == [without]
    monkeypatch.setattr(crf, "_forward_scaled", lambda *args: (None, np.array(False)))
    exact, wanted = engine.crf_loss(scores.astype("float64"), targets, normalizer=1.0)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(loss, exact, rtol=8 * eps, atol=8 * eps * np.abs(top).max())  # log Z less a score
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=64 * eps)


def test_pads_masks_and_weights() -> None:
    scores, tags, mask = draw(T, B, K, K), draw_tags(T, B), np.arange(T)[:, None] < np.array(LENGTHS)
    want, gradient = engine.crf_loss(scores, tags, mask)
    scores[~mask], tags[~mask] = np.nan, -100
    got, dirty = engine.crf_loss(scores, tags, mask)
    assert got == want
    np.testing.assert_array_equal(dirty, gradient)
    kept = [0, 2, 3]
    alone = [engine.crf_loss(scores[:n, b : b + 1], tags[:n, b : b + 1])[0] * n for b, n in enumerate(LENGTHS) if n]
    assert distance(want * 9, sum(alone)) <= 1e-13
    weights = mask * np.array([2.0, 1.0, 0.0, 3.0])
    weighed = engine.crf_loss(scores, tags, weights, normalizer=1.0)[0]
    assert distance(weighed, sum(w * one for w, one in zip([2, 0, 3], alone, strict=True))) <= 1e-12
    assert len(kept) == len(alone)
    for nothing in (np.zeros((T, B), bool), np.zeros((T, B))):
        loss, gradient = engine.crf_loss(scores, tags, nothing)
        assert loss == 0
        assert (gradient == 0).all()
        assert (viterbi(scores, nothing)[0] == -1).all()


def test_no_steps_no_rows_one_tag() -> None:
    for shape in ((0, B), (T, 0), (1, 1)):
        for tags in (1, K):
            layer = build(tags)
            y, _, tape = layer.forward(np.zeros((*shape, tags)))
            loss, dy = layer.loss(y, np.zeros(shape, int))
            assert layer.backward(tape, dy)[0].shape == (*shape, tags)
            assert layer.decode(y)[0].shape == shape
            assert (loss == 0) == (shape != (1, 1) or tags == 1)


def test_the_end_of_a_model_that_learns_what_single_steps_cannot_tell() -> None:
    """Tags alternate, and the input says the first alone; the model is saved, described and built again."""
    model = engine.Sequential(engine.Linear(2, 2, **F64), engine.CRF(2, **F64))
    crf: Any = model.layers[-1]
    x, tags = np.zeros((6, 2, 2)), np.array([[0, 1]] * 6)
    x[0, [0, 1], [0, 1]], tags[1::2] = 1.0, [[1, 0]]
    adam = engine.Adam(model, lr=0.1)
    for _ in range(60):
        y, _, tape = model.forward(x)
        loss, dy = crf.loss(y, tags)
        model.zero_grad()
        model.backward(tape, dy)
        adam.step()
    assert loss < 0.05
    np.testing.assert_array_equal(crf.decode(model.predict(x)[0])[0], tags)
    assert "(T, B, 2) -> (T, B, 2, 2), 8 parameters" in repr(model)
    again: Any = from_config(model.config(), **F64)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(x)[0], model.predict(x)[0])


# -- bad input ---------------------------------------------------------------------------------------------------------

SCORES, TAGS = np.zeros((2, 3, 4, 4)), np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.CRF(0), "num_tags: expected an integer >= 1, got 0"),
        (
            lambda: engine.CRF(3).forward(np.ones((2, 3, 4), "f")),
            "x: expected shape (any, any, 3) (T, B, K), got shape",
        ),
        (lambda: engine.crf_loss(SCORES[0], TAGS), "scores: expected shape (T, B, K, K), got shape (3, 4, 4)"),
        (lambda: engine.crf_loss(SCORES, TAGS.T), "targets: expected shape (2, 3), that of the scores without"),
        (lambda: engine.crf_loss(SCORES, TAGS + 4), "targets: expected class indices in 0..3, got 4 at index (0, 0)"),
        (
            lambda: engine.crf_loss(SCORES, TAGS, np.array([[1, 0, 1], [1, 1, 1]], bool)),
            "mask: expected no hole and one weight in each row, got True at step 1 of row 1",
        ),
        (
            lambda: engine.crf_loss(SCORES, TAGS, np.array([[1.0, 0, 1], [2.0, 0, 1]])),
            "mask: expected no hole and one weight in each row, got 2.0 at step 1 of row 0",
        ),
        (lambda: viterbi(SCORES, np.ones((3, 2), bool)), "mask: expected the targets' shape (2, 3), got shape (3, 2)"),
        (
            lambda: engine.CRF(4).decode(SCORES, np.ones((2, 3), bool), lengths=[1, 2, 2]),
            "mask: expected None beside lengths, got both",
        ),
        (lambda: engine.CRF(4).decode(SCORES, lengths=[1, 3, 2]), "lengths: expected values in 0..2"),
        (
            lambda: engine.truncated_bptt(engine.CRF(3), np.ones((4, 2, 3), "f"), lambda y: (0.0, y), 2, 2),
            "layer: expected layers of single steps for truncated BPTT, got a CRF",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
