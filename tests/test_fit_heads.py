"""`engine.fit` and `engine.evaluate` with a target, a loss and metrics for each head of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cupy import BACKENDS, use_backend
from refusals import refused

import engine
from engine.errors import NonFiniteError
from engine.losses import weighted_sum

fit: Any = engine.fit
PLAIN: dict[str, Any] = {"backend": "numpy:reference"}
N, T, D, H, K = 18, 5, 3, 4, 3
LOSS: dict[str, Any] = {"topic": "cross_entropy", "tag": ("cross_entropy", 0.3), "size": (engine.mse, 2.0)}


def network(dropout: float = 0.0, **options: Any) -> Any:
    """One class a row, one class a step, two numbers a row from outputs at each step."""
    given = {**PLAIN, **options}
    topic = engine.Sequential(engine.Pool("mean", **given), engine.Linear(H, 2, **given))
    heads = {"topic": topic, "tag": engine.Linear(H, K, **given), "size": engine.Linear(H, 2, **given)}
    return engine.Sequential(engine.GRU(D, H, **given), engine.Dropout(dropout, **given), engine.Heads(heads), seed=3)


def data(seed: int = 0) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    draw = np.random.default_rng(seed)
    x, lengths = draw.normal(size=(N, T, D)), draw.integers(2, T + 1, N)
    y = {
        "topic": (x[:, 0].sum(axis=-1) > 0).astype(int),
        "tag": draw.integers(0, K, (N, T)),
        "size": x[:, :2].sum(axis=1)[:, :2],
    }
    return x, y, lengths


def equal(one: Any, other: Any) -> bool:
    return all((value == other[name]).all() for name, value in one.items())


X, Y, LENGTHS = data()


@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_plain_loop(batch_first: bool) -> None:
    """Forward, weighted sum of the losses, backward, clip, step: the same weights to the last bit."""
    one, two = network(batch_first=batch_first), network(batch_first=batch_first)
    history = fit(one, X, Y, lengths=LENGTHS, loss=LOSS, epochs=3, batch_size=7, shuffle=False, clip=0.5, quiet=True)
    adam, both = (
        engine.Adam(two, lr=1e-3),
        weighted_sum({**LOSS, "topic": engine.cross_entropy, "tag": (engine.cross_entropy, 0.3)}),
    )
    losses = []
    for _ in range(3):
        total = 0.0
        for start in range(0, N, 7):
            part = slice(start, start + 7)
            n = LENGTHS[part]
            x, tags, sizes = X[part, : n.max()].astype(np.float32), Y["tag"][part, : n.max()].copy(), Y["size"][part]
            valid = np.arange(n.max()) < n[:, None]
            x[~valid] = 0
            if not batch_first:
                x, tags, valid = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (x, tags, valid))
            y, _, tape = two.forward(x, lengths=n)
            last = (np.arange(len(n)), n - 1) if batch_first else (n - 1, np.arange(len(n)))
            loss, dy = both(
                {**y, "size": y["size"][last]},
                {"topic": Y["topic"][part], "tag": tags, "size": sizes.astype(np.float32)},
                {"tag": valid},
            )
            dsize = np.zeros_like(y["size"])
            dsize[last] = dy["size"]
            two.zero_grad()
            two.backward(tape, {**dy, "size": dsize})
            engine.clip_grad_norm(adam, 0.5)
            adam.step(guard=loss)
            total += float(loss) * len(n)
        losses.append(total / N)
    assert equal(one.params, two.params)
    assert history.loss == pytest.approx(losses, rel=1e-6)


def test_history_and_evaluate() -> None:
    """Each head's loss and metrics, under the head's name; the total is their weighted sum."""
    model = network()
    metrics = {"topic": ["accuracy", "loss"], "size": ["rmse"]}
    options: dict[str, Any] = {"loss": LOSS, "metrics": metrics}
    held = (X[:6], {name: value[:6] for name, value in Y.items()}, LENGTHS[:6])
    history = fit(model, X, Y, lengths=LENGTHS, validation=held, epochs=4, quiet=True, **options)
    names = ["topic.loss", "topic.accuracy", "tag.loss", "size.loss", "size.rmse"]
    assert list(history.metrics) == names
    assert list(history.columns()) == ["epoch", "loss", "validation_loss", *names, "wasted_steps", "lr", "seconds"]
    found = engine.evaluate(model, held[0], held[1], lengths=held[2], **options)
    assert list(found) == ["loss", *names]
    assert {name: history.metrics[name][-1] for name in names} == {name: found[name] for name in names}
    assert history.validation_loss[-1] == found["loss"]
    total = found["topic.loss"] + 0.3 * found["tag.loss"] + 2.0 * found["size.loss"]
    assert found["loss"] == pytest.approx(total, rel=1e-12)
    y, _ = model.predict(np.ascontiguousarray(X[:6].swapaxes(0, 1), np.float32), lengths=LENGTHS[:6])
    valid = np.arange(T)[:, None] < LENGTHS[:6]
    assert found["tag.loss"] == pytest.approx(float(engine.cross_entropy(y["tag"], Y["tag"][:6].T, valid)[0]))
    assert found["topic.accuracy"] == (y["topic"].argmax(axis=-1) == Y["topic"][:6]).mean()
    assert found["size.rmse"] ** 2 == pytest.approx(found["size.loss"], rel=1e-6)


def test_without_validation_the_heads_are_measured_on_the_training_rows() -> None:
    model = network()
    history = fit(model, X, Y, lengths=LENGTHS, loss=LOSS, epochs=2, quiet=True)
    found = engine.evaluate(model, X, Y, lengths=LENGTHS, loss=LOSS)
    assert {name: values[-1] for name, values in history.metrics.items()} == {k: found[k] for k in history.metrics}
    assert (list(history.metrics), history.validation_loss) == (["topic.loss", "tag.loss", "size.loss"], [])


def test_the_head_beside_teaches_the_trunk() -> None:
    """A head of weight 0 stays as it is, and the trunk moves as without it."""
    heavy, light, alone = network(), network(), network()
    before = {name: param.copy() for name, param in heavy.params.items()}
    for model, weight in ((heavy, 1.0), (light, 0.0)):
        loss = {**LOSS, "tag": ("cross_entropy", weight)}
        fit(model, X, Y, loss=loss, epochs=2, clip=None, quiet=True)
    assert equal({"weight": before["2.tag.weight"]}, {"weight": light.params["2.tag.weight"]})
    assert not equal(light.params, heavy.params)
    fit(
        alone,
        X,
        {**Y, "tag": Y["tag"][::-1]},
        loss={**LOSS, "tag": ("cross_entropy", 0.0)},
        epochs=2,
        clip=None,
        quiet=True,
    )
    assert equal(alone.params, light.params)


def test_masks_and_weights_of_heads() -> None:
    """Each head has its own; an array of weights is for all heads."""
    model = network()
    mask = np.random.default_rng(3).random((N, T)) < 0.6
    rows = np.random.default_rng(4).random(N) + 0.1
    y = {**Y, "tag": np.where(mask, Y["tag"], 99)}
    options: dict[str, Any] = {"loss": LOSS, "mask": {"tag": mask}}
    plain = engine.evaluate(model, X, Y, loss=LOSS)
    masked = engine.evaluate(model, X, y, **options)
    weighted = engine.evaluate(model, X, y, weights={"topic": {0: 5.0}, "size": rows}, **options)
    all_rows = engine.evaluate(model, X, Y, loss=LOSS, weights=rows)
    out, _ = model.predict(np.ascontiguousarray(X.swapaxes(0, 1), np.float32))
    expected = float(engine.cross_entropy(out["tag"], Y["tag"].T, mask.T)[0])
    assert masked["tag.loss"] == pytest.approx(expected, rel=1e-6)
    assert masked["topic.loss"] == plain["topic.loss"]
    by_class = np.where(Y["topic"] == 0, 5.0, 1.0).astype(np.float32)
    expected = float(engine.cross_entropy(out["topic"], Y["topic"], by_class)[0])
    assert weighted["topic.loss"] == pytest.approx(expected, rel=1e-6)
    assert weighted["tag.loss"] == masked["tag.loss"]
    assert all_rows["size.loss"] == pytest.approx(weighted["size.loss"]) != pytest.approx(plain["size.loss"])
    history = fit(model, X, y, weights={"size": rows}, epochs=2, validation=0.3, quiet=True, **options)
    assert np.isfinite(history.validation_loss).all()


def test_a_weighted_sum_ragged_rows_and_other_losses() -> None:
    """`weighted_sum` is the same dict; CTC and a loss of the user's own stand beside each other."""
    one, two = network(), network()
    names = {"cross_entropy": engine.cross_entropy}
    pairs = {name: loss if isinstance(loss, tuple) else (loss, 1.0) for name, loss in LOSS.items()}
    both = weighted_sum({name: (names.get(loss, loss), weight) for name, (loss, weight) in pairs.items()})
    fit(one, X, Y, loss=LOSS, epochs=1, quiet=True)
    fit(two, X, Y, loss=both, epochs=1, quiet=True)
    assert equal(one.params, two.params)
    rows = [row[:length] for row, length in zip(X, LENGTHS, strict=True)]
    tags = [row[:length] for row, length in zip(Y["tag"], LENGTHS, strict=True)]
    letters = [[1 + int(label) % 2] for label in Y["topic"]]

    def absolute(outputs: Any, targets: Any) -> Any:
        return np.abs(outputs - targets).mean(), np.sign(outputs - targets) / outputs.size

    given = {"topic": Y["topic"], "tag": letters, "size": Y["size"]}
    loss = {"topic": "cross_entropy", "tag": "ctc", "size": absolute}
    history = fit(network(), rows, given, loss=loss, metrics={"tag": ["edit_distance"]}, epochs=6, quiet=True)
    assert history.loss[-1] < history.loss[0]
    padded = engine.evaluate(one, X, Y, lengths=LENGTHS, loss=LOSS)
    assert engine.evaluate(one, rows, {**Y, "tag": tags}, loss=LOSS) == pytest.approx(padded, rel=1e-6)


def test_a_source_of_batches() -> None:
    mask = np.random.default_rng(5).random((N, T)) < 0.7
    batches = [
        (
            X[k : k + 7],
            {name: value[k : k + 7] for name, value in Y.items()},
            LENGTHS[k : k + 7],
            {"tag": mask[k : k + 7]},
        )
        for k in range(0, N, 7)
    ]
    one, two = network(), network()
    options: dict[str, Any] = {"loss": LOSS, "metrics": {"tag": ["accuracy"]}}
    common: dict[str, Any] = {**options, "shuffle": False, "epochs": 2, "quiet": True}
    first = fit(one, batches, **common)
    second = fit(two, X, Y, lengths=LENGTHS, mask={"tag": mask}, batch_size=7, **common)
    assert equal(one.params, two.params)
    assert first.loss == second.loss
    assert first.metrics["tag.loss"] == pytest.approx(second.metrics["tag.loss"], rel=1e-6)
    found = engine.evaluate(one, batches, **options)
    assert found["tag.accuracy"] == first.metrics["tag.accuracy"][-1]
    fit(network(), batches, validation=batches[:1], **common)


@pytest.mark.parametrize("stateful", [False, True])
def test_resumed_to_the_last_bit(stateful: bool, tmp_path: Path) -> None:
    def run(out: str, epochs: int, resume: bool) -> tuple[Any, Any]:
        model = network(dropout=0.3)
        given: dict[str, Any] = {"out": tmp_path / out, "resume": resume, "loss": LOSS, "stateful": stateful}
        given |= {"metrics": {"size": ["mae"]}, "validation": 0.3, "batch_size": 6, "epochs": epochs, "quiet": True}
        return model, fit(model, X, Y, optimizer=engine.RMSprop(model, lr=0.01, momentum=0.5), **given)

    one, whole = run("whole", 4, False)
    run("parts", 1, False)
    two, parts = run("parts", 4, True)
    assert equal(one.params, two.params)
    assert (whole.loss, whole.metrics, whole.validation_loss) == (parts.loss, parts.metrics, parts.validation_loss)
    for name in ("last.safetensors", "best.safetensors", "run.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    y, _ = engine.load(tmp_path / "whole", **PLAIN).predict(np.zeros((T, 2, D), np.float32))
    assert list(y) == ["topic", "tag", "size"]
    change = {**LOSS, "tag": ("cross_entropy", 0.4)}
    with refused(engine.InputError, "resume: expected", "0.3 tag:cross_entropy", "0.4 tag:cross_entropy"):
        given: dict[str, Any] = {"validation": 0.3, "batch_size": 6, "stateful": stateful, "quiet": True}
        fit(network(dropout=0.3), X, Y, loss=change, out=tmp_path / "whole", resume=True, **given)


def test_other_targets_of_a_head_are_other_data(tmp_path: Path) -> None:
    fit(network(), X, Y, loss=LOSS, epochs=1, out=tmp_path / "run", quiet=True)
    other = {**Y, "tag": (Y["tag"] + 1) % K}
    with refused(engine.InputError, "resume: expected the data of the run"):
        fit(network(), X, other, loss=LOSS, epochs=2, out=tmp_path / "run", resume=True, quiet=True)


def without(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != name}


SINGLE: Any = engine.Sequential(engine.GRU(D, H, **PLAIN), engine.Linear(H, 1, **PLAIN))
HEADS = "['topic', 'tag', 'size']"

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: fit(network(), X, Y), f"loss: expected a dict with the loss of each head {HEADS}, got 'mse'; such as y="),
    (lambda: fit(network(), X, Y["topic"]), f"loss: expected a dict with the loss of each head {HEADS}, got 'mse'"),
    (
        lambda: fit(network(), X, Y, loss=without(LOSS, "tag")),
        f"loss: expected a loss for each of the heads {HEADS}, got none for 'tag'; of a head that is not to be trained",
    ),
    (
        lambda: fit(network(), X, without(Y, "size"), loss=LOSS),
        f"y: expected targets for each of the heads {HEADS}, got none for 'size'",
    ),
    (
        lambda: fit(network(), X, {**Y, "mood": Y["topic"]}, loss=LOSS),
        f"y: expected names of the heads {HEADS}, got 'mood'",
    ),
    (lambda: fit(network(), X, Y, loss={**LOSS, "mood": "mse"}), f"loss: expected names of the heads {HEADS}, got 'm"),
    (
        lambda: fit(network(), X, {**Y, "tag": Y["tag"][1:]}, loss=LOSS),
        "y['tag']: expected as many targets as the 18 rows of x, got 17",
    ),
    (
        lambda: fit(network(), X, Y["topic"], loss=LOSS),
        f"y: expected a dict with the targets of each head {HEADS}, got",
    ),
    (
        lambda: fit(network(), X, {**Y, "tag": Y["tag"] + K}, loss=LOSS),
        "y['tag']: expected classes in 0..2, the outputs of the model",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, validation=(X, without(Y, "tag"))),
        "y of validation: expected targets for each of the heads",
    ),
    (
        lambda: fit(network(), [(X, without(Y, "tag"))], loss=LOSS),
        "y of batch 0: expected targets for each of the heads",
    ),
    (lambda: fit(network(), X, Y, loss={**LOSS, "tag": "mae"}), "loss['tag']: expected one of 'mse', 'cross_entropy'"),
    (lambda: fit(network(), X, Y, loss={**LOSS, "tag": ("mse", -1)}), "loss['tag']: expected a number >= 0, got -1"),
    (
        lambda: fit(network(), X, Y, loss={**LOSS, "tag": lambda y, target: 1.0}),
        "loss['tag']: expected a function that returns the pair (loss, gradient), got 1.0",
    ),
    (
        lambda: fit(network(), X, Y, loss={**LOSS, "topic": (lambda y, target: (1.0, y[0]), 0.5)}),
        "loss['topic']: expected a function whose second result has the outputs' shape",
    ),
    (
        lambda: fit(network(), X, Y, loss=dict.fromkeys(LOSS, ("mse", 0))),
        "loss: expected some head with a weight above",
    ),
    (lambda: fit(network(), X, Y, loss={}), "loss: expected a loss for each head, got an empty dict"),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics=["accuracy"]),
        f"metrics: expected a dict with the metrics of heads {HEADS}",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics={"mood": ["accuracy"]}),
        f"metrics: expected names of the heads {HEADS}, got 'mood'",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics={"tag": ["auc"]}),
        "metrics['tag']: expected some of 'loss', 'acc",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics={"size": ["accuracy"]}, epochs=10**12),
        "metrics['size']: expected classes as targets for 'accuracy'",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics={"topic": ["mae"]}),
        "metrics['topic']: expected errors of targets in the output's shape, got 'mae' of classes",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, metrics={"tag": [lambda outputs, targets: "good"]}, quiet=True),
        "metrics['tag']: expected a number from the function '<lambda>', got 'good'; return one float",
    ),
    (lambda: fit(network(), X, Y, loss=LOSS, mask=np.ones(N)), f"mask: expected a dict by heads of {HEADS}, got"),
    (
        lambda: fit(network(), X, Y, loss=LOSS, mask={"tag": np.ones(N)}),
        "mask['tag']: expected shape (N, T) for targets",
    ),
    (lambda: fit(network(), X, Y, loss=LOSS, weights={0: 1.0}), f"weights: expected names of the heads {HEADS}, got 0"),
    (
        lambda: fit(network(), X, Y, loss=LOSS, weights={"size": {0: 1.0}}),
        "weights['size']: expected one number for each row",
    ),
    (
        lambda: fit(SINGLE, X, {"all": Y["size"]}, loss={"all": "mse"}),
        "model: expected one that ends in Heads, for targets by name, got one with a single output; give one y",
    ),
    (
        lambda: fit(network(), X, Y, loss=LOSS, shuffle=False, validation=0.2, mask={"topic": np.arange(N) < 3}),
        "mask['topic']: expected some target that counts among the rows to measure, got none",
    ),
    (lambda: engine.evaluate(network(), X, Y), f"loss: expected a dict with the loss of each head {HEADS}, got 'mse'"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_refused(call: Callable[[], Any], words: str) -> None:
    with refused(engine.InputError, words):
        call()


def test_a_loss_that_is_not_finite_names_the_head() -> None:
    model = network()
    model.params["2.size.weight"][...] = 1e30
    model.touch()
    with refused(NonFiniteError, "step 1 (epoch 1, batch 1 of 1): expected finite numbers, got infinity in the loss"):
        fit(model, X, Y, loss=LOSS, quiet=True)
    model.params["2.size.weight"][...] = 3e38
    model.touch()
    with refused(NonFiniteError, "the output 'size' of Heads (layer 2 of the model) at time step"):
        fit(model, X, Y, loss=LOSS, quiet=True)


@pytest.mark.parametrize("name", [*BACKENDS[1:], "torch"])
def test_every_backend_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    options: dict[str, Any] = {"lengths": LENGTHS, "loss": LOSS, "metrics": {"tag": ["f1"]}, "epochs": 2, "quiet": True}
    wanted = fit(network(dtype="float64"), X, Y, **options)
    found = fit(network(dtype="float64").to(backend=use_backend(name, monkeypatch)), X, Y, **options)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-12)
    for metric, values in wanted.metrics.items():
        assert found.metrics[metric] == pytest.approx(values, rel=1e-12)
