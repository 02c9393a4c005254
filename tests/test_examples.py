"""Rows in memory as a task of training: batches, losses of rows and of steps, figures, and what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_cupy import use_backend

import engine
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.evaluation import predict_rows
from engine.training.examples.figures import best_path, edit_distance, make_figures
from engine.training.examples.objectives import make_objective
from engine.training.examples.rows import read_rows
from engine.training.task import forward

N, T, D, H, K = 23, 6, 3, 5, 4


def numbers_model(batch_first: bool = False, outputs: int = K, backend: Any = "numpy:reference") -> Any:
    options: dict[str, Any] = {"backend": backend, "dtype": "float64"}
    lstm = engine.LSTM(D, H, batch_first=batch_first, **options)
    return engine.Sequential(lstm, engine.Linear(H, outputs, **options), seed=3)


def ids_model(outputs: int = K) -> Any:
    options: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    parts = engine.Embedding(9, D, **options), engine.GRU(D, H, **options), engine.Linear(H, outputs, **options)
    return engine.Sequential(*parts, seed=3)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def ragged_ids(count: int = N, seed: int = 1, most: int = 9) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 9, length) for length in draw.integers(2, most, count)]


def job(model: Any, x: Any, y: Any, loss: Any, **options: Any) -> ExamplesTask:
    """A task that is validated on its own rows; options of `Examples` and of `ExamplesTask` together."""
    rows = {name: options.pop(name) for name in ("lengths", "mask", "weights") if name in options}
    examples = Examples(model, make_objective(loss), x, y, **rows)
    return ExamplesTask(model, examples, examples, loss=loss, **options)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_errors_of_rows_and_of_steps(per_step: bool, batch_first: bool) -> None:
    """Of one target a row the last valid step counts, of one a step every valid step, and nothing else."""
    model, lengths = numbers_model(batch_first), np.random.default_rng(5).integers(1, T + 1, N)
    x, y = random(N, T, D), random(N, T, K, seed=1) if per_step else random(N, K, seed=1)
    task = job(model, x, y, "mse", lengths=lengths, batch_size=7, shuffle=False)
    assert task.batches == 4
    seen = []
    for step in range(task.batches):
        out = forward(task, step, None)
        rows = range(7 * step, min(7 * step + 7, N))
        whole = [model.predict(x[n, None] if batch_first else x[n][:, None])[0].reshape(T, K) for n in rows]
        if per_step:
            errors = [whole[b][: lengths[n]] - y[n, : lengths[n]] for b, n in enumerate(rows)]
        else:
            errors = [whole[b][lengths[n] - 1, None] - y[n, None] for b, n in enumerate(rows)]
        count = sum(map(len, errors))
        assert out.positions == count
        assert float(out.loss) == pytest.approx(sum(np.square(e).sum() for e in errors) / (count * K), rel=1e-12)
        dy = out.dy if batch_first else out.dy.swapaxes(0, 1)
        for b, n in enumerate(rows):
            last = slice(0, lengths[n]) if per_step else slice(lengths[n] - 1, lengths[n])
            np.testing.assert_allclose(dy[b, last], 2 * errors[b] / (count * K), rtol=1e-9, atol=1e-15)
            rest = np.delete(dy[b], np.arange(len(dy[b]))[last], axis=0)
            assert not rest.any()
        seen.append((float(out.loss), count))
    found = task.validate().loss
    assert found == pytest.approx(sum(a * n for a, n in seen) / sum(n for _, n in seen), rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "outputs", "positions"),
    [((N,), 1, N), ((N, 1), 1, N), ((N, T), 1, N * T), ((N, T, 1), 1, N * T), ((N, K), K, N), ((N, T, K), K, N * T)],
)
def test_shapes_of_targets(shape: tuple[int, ...], outputs: int, positions: int) -> None:
    task = job(numbers_model(outputs=outputs), random(N, T, D), random(*shape, seed=2), "mse", batch_size=N)
    assert forward(task, 0, None).positions == positions


def test_a_list_of_rows_is_an_array_with_lengths() -> None:
    """Same loss, same gradients, whatever lies in the pads."""
    lengths = np.random.default_rng(5).integers(1, T + 1, N)
    rows = [random(n, D, seed=k) for k, n in enumerate(lengths)]
    targets = [random(n, K, seed=100 + k) for k, n in enumerate(lengths)]
    padded, wanted = np.full((N, T, D), np.nan), np.full((N, T, K), np.inf)
    for k, n in enumerate(lengths):
        padded[k, :n], wanted[k, :n] = rows[k], targets[k]
    found = []
    for x, y, given in ((rows, targets, {}), (padded, wanted, {"lengths": lengths})):
        model = numbers_model()
        task = job(model, x, y, "mse", batch_size=8, **given)
        out = forward(task, 2, None)
        model.backward(out.tape, out.dy)
        found.append((float(out.loss), {name: grad.copy() for name, grad in model.grads.items()}))
    assert found[0][0] == found[1][0]
    for name, grad in found[0][1].items():
        np.testing.assert_array_equal(grad, found[1][1][name])


def test_weights_of_rows_and_classes_and_a_mask() -> None:
    x, labels = ragged_ids(), np.random.default_rng(3).integers(0, K, N)
    model = ids_model()
    logits = np.stack([model.predict(row[:, None])[0][-1, 0] for row in x])
    nats = -log_softmax(logits)[np.arange(N), labels]
    weights, mask = np.abs(random(N, seed=4)), np.arange(N) % 3 > 0
    by_class = {0: 2.0, 2: 0.5}
    for options, factor in (
        ({"weights": weights}, weights),
        ({"mask": mask}, mask),
        ({"weights": weights, "mask": mask}, weights * mask),
        ({"weights": by_class}, np.array([2.0, 1.0, 0.5, 1.0])[labels]),
    ):
        task = job(model, x, labels, "cross_entropy", batch_size=9, **options)
        assert task.validate().loss == pytest.approx((nats * factor).sum() / factor.sum(), rel=1e-12)
    spoilt = np.where(mask, labels, -100)
    task = job(model, x, spoilt, "cross_entropy", batch_size=9, mask=mask)
    assert task.validate().loss == pytest.approx(nats[mask].mean(), rel=1e-12)


def test_ctc_takes_logits() -> None:
    """Its gradient by the logits, against central differences; rows are padded labels."""
    x = ragged_ids(5, most=7)
    labels = [np.array(row) for row in ([1], [2, 3], [], [3], [1, 2])]
    for n, row in enumerate(labels):
        x[n] = np.resize(x[n], max(len(x[n]), 2 * len(row) + 1))
    task = job(ids_model(), x, labels, "ctc", batch_size=5, shuffle=False, metrics=("edit_distance",))
    batch = task.batch(0)
    y, _ = task.model.predict(batch.x, None, batch.lengths)
    loss, dy, count = task.loss(y, batch)
    assert count == 5
    direction = random(*y.shape, seed=6)
    above, below = (task.loss(y + sign * 1e-5 * direction, batch)[0] for sign in (1, -1))
    assert float((dy * direction).sum()) == pytest.approx(float(above - below) / 2e-5, rel=1e-6)
    assert task.validate().loss == pytest.approx(float(loss), rel=1e-12)


def test_a_loss_of_ones_own() -> None:
    """It gets the outputs that have a target, and a mask where there is one."""

    def absolute(outputs: np.ndarray, targets: np.ndarray, mask: Any = None) -> tuple[Any, Any]:
        assert outputs.shape == targets.shape == (7, K)
        assert (mask is None) == (not masked)
        return np.abs(outputs - targets).mean(), np.sign(outputs - targets) / outputs.size

    for masked in (False, True):
        given = {"mask": np.arange(21) % 2 > 0} if masked else {}
        task = job(numbers_model(), random(21, T, D), random(21, K, seed=1), absolute, batch_size=7, **given)
        out = forward(task, 1, None)
        assert not out.dy[:-1].any()
        assert out.dy[-1].any()
    masked = False
    task = job(numbers_model(), random(7, T, D), random(7, K), lambda outputs, targets: outputs.sum(), batch_size=7)
    with pytest.raises(engine.InputTypeError, match=r"loss: expected a function that returns the pair"):
        forward(task, 0, None)


def test_a_model_with_one_output_a_row() -> None:
    """A layer that gives (B, K), as a pooling head does, is compared as it is."""

    class Pooled(engine.Linear):
        def predict(self, x: Any, *others: Any) -> tuple[Any, Any]:
            return super().predict(x.mean(axis=0))

        def forward(self, x: Any, *others: Any) -> tuple[Any, Any, Any]:
            return super().forward(x.mean(axis=0))

    model = Pooled(D, K, dtype="float64", backend="numpy:reference")
    x, y = random(N, T, D), np.random.default_rng(0).integers(0, K, N)
    task = job(model, x, y, "cross_entropy", batch_size=N, shuffle=False, metrics=("accuracy",))
    logits = x.mean(axis=1) @ model.params["weight"].T + model.params["bias"]
    found = task.validate()
    assert found.loss == pytest.approx(-log_softmax(logits)[np.arange(N), y].mean(), rel=1e-12)
    assert found.figures["accuracy"] == pytest.approx((logits.argmax(axis=1) == y).mean())
    with pytest.raises(engine.InputError, match=r"y: expected shape \(N,\) for one class a row"):
        job(model, x, np.zeros((N, T), int), "cross_entropy")


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"buckets": 2}, {"shuffle": False}, {"shuffle": False, "buckets": 3}])
def test_every_row_once_an_epoch(options: dict[str, Any]) -> None:
    x = ragged_ids(40)
    labels = np.arange(40) % 4
    x = [np.concatenate([[n % 9, n // 9], row]) for n, row in enumerate(x)]  # the row's number, to find it again
    task = job(ids_model(), x, labels, "cross_entropy", batch_size=7, **options)
    epochs = []
    for epoch in range(2):
        found = []
        for step in range(task.batches):
            batch = task.batch(epoch * task.batches + step)
            found += (batch.x[0] + 9 * batch.x[1]).tolist()
            assert (labels[found[-batch.x.shape[1] :]] == batch.targets).all()
        assert sorted(found) == list(range(40))
        epochs.append(found)
    assert (epochs[0] == epochs[1]) == (options.get("shuffle") is False)
    again = task.batch(3)
    np.testing.assert_array_equal(task.batch(3).x, again.x)
    assert not np.shares_memory(task.batch(3).x, again.x)
    if "buckets" in options:
        width = options["buckets"]
        for step in range(task.batches - 1):
            lengths = task.train.rows.lengths[task.order(0)[step]]
            assert len(set(-(-lengths // width))) <= 3
        assert sum(task.batch(s).x.size for s in range(6)) < sum(
            job(ids_model(), x, labels, "cross_entropy", batch_size=7).batch(s).x.size for s in range(6)
        )


def test_stateful_rows() -> None:
    """Row i of a batch goes on where row i of the batch before stopped; the epoch starts from zeros."""
    x, y = random(12, T, D), random(12, T, K, seed=1)
    model = numbers_model()
    task = job(model, x, y, "mse", batch_size=4, stateful=True)
    assert not task.shuffle
    state, losses = None, []
    for step in range(4):
        out = forward(task, step, state)
        state = out.state
        losses.append(float(out.loss))
    assert losses[3] == losses[0]
    long = x.reshape(3, 4, T, D).swapaxes(0, 1).reshape(4, 3 * T, D)
    whole = model.predict(long.swapaxes(0, 1))[0].reshape(3, T, 4, K).swapaxes(1, 2)  # (batch, row, T, K)
    wanted = np.square(whole - y.reshape(3, 4, T, K)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(losses[:3], wanted, rtol=1e-12)
    assert task.validate().loss == pytest.approx(wanted.mean(), rel=1e-12)
    for size, words in ((5, "x: expected a multiple of batch_size 5 as rows, for stateful=True, got 12 rows; "),):
        with pytest.raises(engine.InputError, match=words):
            job(model, x, y, "mse", batch_size=size, stateful=True)
    with pytest.raises(engine.InputError, match="buckets: expected 0 for stateful rows"):
        job(model, x, y, "mse", batch_size=4, stateful=True, buckets=2)


def test_outputs_of_rows_in_their_order() -> None:
    x, model = ragged_ids(80), ids_model()
    found = predict_rows(model, read_rows("x", x))
    assert isinstance(found, list)
    for row, output in zip(x, found, strict=True):
        np.testing.assert_allclose(output, model.predict(row[:, None])[0][:, 0], rtol=1e-12)
    whole = predict_rows(numbers_model(True), read_rows("x", random(70, T, D)))
    assert isinstance(whole, np.ndarray)
    assert whole.shape == (70, T, K)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "ctc"])
def test_on_a_device(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers as on the host."""
    found = []
    labels = {"cross_entropy": np.arange(N) % K, "mse": random(N, K, seed=1), "ctc": [[1 + n % 3] for n in range(N)]}
    for name in ("numpy", "look-alike"):
        model = numbers_model(backend=use_backend(name, monkeypatch))
        task = job(model, random(N, T, D), labels[loss], loss, lengths=[T - n % 3 for n in range(N)])
        out = forward(task, 0, None)
        model.backward(out.tape, out.dy)
        host = model.backend.to_host
        found.append([host(out.loss), task.validate().loss, *map(host, model.grads.values())])
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-15)


# -- figures ----------------------------------------------------------------------------------------------------------


def over_batches(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    """The figure, built up in parts of unequal size."""
    (figure,) = make_figures([name])
    for part in np.split(np.arange(len(outputs)), [3, 4, 11]):
        figure.add(outputs[part], targets[part])
    return figure.value()


def test_figures_of_classes() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    outputs, targets = random(29, K), np.random.default_rng(2).integers(0, K - 1, 29)  # the last class never occurs
    answers = outputs.argmax(axis=1)
    assert over_batches("accuracy", outputs, targets) == pytest.approx(metrics.accuracy_score(targets, answers))
    assert over_batches("f1", outputs, targets) == pytest.approx(metrics.f1_score(targets, answers, average="macro"))
    probabilities = np.exp(log_softmax(outputs))
    nats = metrics.log_loss(targets, probabilities, labels=range(K))
    assert over_batches("perplexity", outputs, targets) == pytest.approx(math.exp(nats))


def test_figures_of_classes_by_counting() -> None:
    """The same by the definitions, without another library."""
    outputs, targets = random(29, K), np.random.default_rng(2).integers(0, K - 1, 29)
    answers = [max(range(K), key=lambda k: row[k]) for row in outputs]
    pairs = list(zip(answers, targets.tolist(), strict=True))
    assert over_batches("accuracy", outputs, targets) == sum(a == t for a, t in pairs) / 29
    scores = []
    for k in {a for a, _ in pairs} | {t for _, t in pairs}:
        hits = sum(a == t == k for a, t in pairs)
        precision = hits / max(1, sum(a == k for a, _ in pairs))
        recall = hits / max(1, sum(t == k for _, t in pairs))
        scores.append(0.0 if not hits else 2 * precision * recall / (precision + recall))
    assert over_batches("f1", outputs, targets) == pytest.approx(sum(scores) / len(scores))
    chances = [math.exp(row[t]) / sum(map(math.exp, row)) for row, t in zip(outputs, targets, strict=True)]
    assert over_batches("perplexity", outputs, targets) == pytest.approx(math.prod(chances) ** (-1 / 29))


def test_figures_of_numbers() -> None:
    outputs, targets = random(29, K), random(29, K, seed=1)
    errors = [p - t for p, t in zip(outputs.ravel().tolist(), targets.ravel().tolist(), strict=True)]
    assert over_batches("mae", outputs, targets) == pytest.approx(sum(map(abs, errors)) / len(errors))
    assert over_batches("rmse", outputs, targets) == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)))


def distance_by_search(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The length of the shortest way of single edits, found by widening a circle of words around `one`."""
    circle, steps = {one}, 0
    while other not in circle:
        steps += 1
        longer = {w[:i] + (c,) + w[i:] for w in circle for i in range(len(w) + 1) for c in range(3)}
        shorter = {w[:i] + w[i + 1 :] for w in circle for i in range(len(w))}
        changed = {w[:i] + (c,) + w[i + 1 :] for w in circle for i in range(len(w)) for c in range(3)}
        circle |= longer | shorter | changed
    return steps


def test_edit_distance_against_a_search() -> None:
    words = [w for n in range(4) for w in itertools.product(range(3), repeat=n)]
    draw = np.random.default_rng(0)
    for first, second in draw.integers(0, len(words), (60, 2)):
        assert edit_distance(words[first], words[second]) == distance_by_search(words[first], words[second])
    (figure,) = make_figures(["edit_distance"])
    figure.add([[1, 2], [0]], [[1, 2, 2], [1, 1]])
    figure.add([[]], [[2]])
    assert figure.value() == (1 + 2 + 1) / 6


def test_best_path_joins_repeats_and_drops_blanks() -> None:
    paths = np.array([[1, 1, 0, 1, 2, 2], [0, 0, 3, 3, 3, 1]])  # (B, T)
    outputs = np.eye(K)[paths.T]
    assert best_path(outputs, np.array([6, 5])) == [[1, 1, 2], [3]]


def test_figures_see_valid_positions_alone() -> None:
    """For every layout the figure is that of the rows one by one."""
    x = ragged_ids()
    tags = [np.random.default_rng(n).integers(0, K, len(row)) for n, row in enumerate(x)]
    model = ids_model()
    answers = [model.predict(row[:, None])[0][:, 0].argmax(axis=1) for row in x]
    edits = sum(edit_distance(a.tolist(), t.tolist()) for a, t in zip(answers, tags, strict=True))
    right = np.concatenate([a == t for a, t in zip(answers, tags, strict=True)])

    def share(outputs: np.ndarray, targets: np.ndarray) -> float:
        return float((outputs.argmax(axis=1) != targets).mean())

    metrics = ("accuracy", "edit_distance", share)
    found = job(model, x, tags, "cross_entropy", metrics=metrics, batch_size=5).validate().figures
    assert found == pytest.approx(
        {"accuracy": right.mean(), "edit_distance": edits / len(right), "share": 1 - right.mean()}
    )


# -- what is refused --------------------------------------------------------------------------------------------------

X, Y = random(N, T, D), random(N, K, seed=1)


def with_bad(value: float) -> np.ndarray:
    bad = X.copy()
    bad[4, 2, 1] = value
    return bad


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: job(numbers_model(), X[0], Y, "mse"),
        r"x: expected numbers \(N, T, D\), or ids \(N, T\), the rows first, got shape \(6, 3\)",
    ),
    (lambda: job(numbers_model(), X[:0], Y[:0], "mse"), "x: expected at least one row, step and feature"),
    (lambda: job(numbers_model(), [], [], "mse"), "x: expected at least one row, got an empty list"),
    (lambda: job(numbers_model(), X, Y[:-1], "mse"), "y: expected as many targets as the 23 rows of x, got 22"),
    (lambda: job(numbers_model(), X, None, "mse"), "y: expected targets"),
    (
        lambda: job(numbers_model(), X, Y[:, :2], "mse"),
        r"y: expected shape \(N, 4\) for one target a row, or \(N, 6, 4\)",
    ),
    (
        lambda: job(numbers_model(), with_bad(np.nan), Y, "mse"),
        r"x: expected finite numbers that float64 holds, got nan at index \[4, 2, 1\]",
    ),
    (lambda: job(numbers_model(), with_bad(np.inf), Y, "mse"), r"got inf at index \[4, 2, 1\]; scale"),
    (lambda: job(numbers_model(), list(with_bad(np.nan)), Y, "mse"), r"got nan at index \[4, 2, 1\]"),
    (lambda: job(numbers_model(), X, np.where(Y == Y[2, 1], np.nan, Y), "mse"), "y: expected finite numbers"),
    (
        lambda: job(numbers_model(), [X[0], X[1][:, :2]], Y[:2], "mse"),
        r"x\[1\]: expected shape \(t, 3\) as in x\[0\], got shape \(6, 2\)",
    ),
    (lambda: job(numbers_model(), [X[0], X[1][:0]], Y[:2], "mse"), r"x\[1\]: expected a row of at least one step"),
    (
        lambda: job(numbers_model(), X, Y[:, 0], "cross_entropy"),
        r"y: expected classes as integers 0, 1, 2, ..., got dtype float64; number the classes",
    ),
    (
        lambda: job(numbers_model(), X, np.eye(K)[np.arange(N) % K], "cross_entropy"),
        r"of one-hot rows take y.argmax\(axis=-1\)",
    ),
    (lambda: job(numbers_model(), X, ["a"] * N, "cross_entropy"), "y: expected classes as integers"),
    (
        lambda: job(numbers_model(), X, np.arange(N) % 5, "cross_entropy"),
        r"y: expected classes in 0..3, the outputs of the model, got 4 at index 4",
    ),
    (
        lambda: job(ids_model(), ragged_ids(3), [[0, 1]] * 2 + [[2]], "cross_entropy"),
        r"y\[0\]: expected \d targets, one for each step",
    ),
    (lambda: job(ids_model(), ["a b", "c"], [0, 1], "cross_entropy"), r"x\[0\]: expected an array of numbers or ids"),
    (
        lambda: job(numbers_model(), X, Y, "mse", lengths=[T + 1] * N),
        r"lengths: expected values in 1..6, got 7 at row 0",
    ),
    (lambda: job(numbers_model(), X, Y, "mse", lengths=[1] * (N - 1)), "lengths: expected one for each of the 23 rows"),
    (lambda: job(numbers_model(), list(X), Y, "mse", lengths=[1] * N), "lengths: expected None beside a list"),
    (
        lambda: job(numbers_model(), X, Y, "mse", mask=np.ones((N, T))),
        r"mask: expected shape \(N,\) for targets of rows",
    ),
    (lambda: job(numbers_model(), X, Y, "mse", mask=-np.ones(N)), "mask: expected finite weights >= 0, got -1.0"),
    (lambda: job(numbers_model(), X, Y, "mse", mask=np.zeros(N)), "mask: expected some value above 0"),
    (lambda: job(numbers_model(), X, Y, "mse", weights=[1.0] * 3), "weights: expected one for each of the 23 rows"),
    (lambda: job(numbers_model(), X, Y, "mse", weights={0: 1.0}), "weights: expected one number for each row"),
    (lambda: job(numbers_model(), X, Y, "mae"), "loss: expected one of 'mse', 'cross_entropy', 'ctc', 'binary_cross_"),
    (lambda: job(numbers_model(), X, Y, "mse", metrics=("f2",)), "metrics: expected some of 'loss', 'accuracy'"),
    (lambda: job(numbers_model(), X, Y, "mse", metrics=("rmse", "rmse")), "metrics: expected each once"),
    (
        lambda: job(numbers_model(), X, Y, "mse", metrics=("accuracy",)).validate(),
        "metrics: expected classes as targets for 'accuracy'",
    ),
    (
        lambda: job(numbers_model(), X, np.arange(N) % K, "cross_entropy", metrics=("mae",)).validate(),
        "metrics: expected errors of targets",
    ),
    (
        lambda: job(ids_model(), ragged_ids(3), [[1], [2], [1] * 9], "ctc"),
        r"y\[2\]: expected labels that fit into the \d steps of the row",
    ),
    (lambda: job(ids_model(), ragged_ids(3), [[1], [0], [1]], "ctc"), r"y\[1\]: expected labels in 1..3, got 0 to 0"),
    (lambda: job(ids_model(), X, Y, "mse"), "x: expected integer token ids"),
    (lambda: job(numbers_model(), X[..., :2], Y, "mse"), "x: expected"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(engine.InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
