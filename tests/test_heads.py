"""Several heads on one trunk, and the weighted sum of their losses: gradients, names, saving, masks, every backend."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import from_config
from engine.losses import weighted_sum

T, B, D, H = 5, 4, 3, 6
LENGTHS = [5, 0, 2, 4]
F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
MASK = np.arange(T)[:, None] < np.array(LENGTHS)
TARGETS = {"topic": np.array([1, 0, 1, 1]), "tag": np.random.default_rng(1).integers(0, 4, (T, B))}
MASKS = {"tag": MASK, "topic": np.array(LENGTHS) > 0}


def build(**options: Any) -> engine.Sequential:
    """A trunk with two heads: a class of the row, and a tag for each step."""
    options = {**F64, **options}
    topic = engine.Sequential(
        engine.Pool("mean", **options), engine.Dropout(0.2, **options), engine.Linear(H, 2, **options)
    )
    heads = engine.Heads({"topic": topic, "tag": engine.Linear(H, 4, **options)})
    model = engine.Sequential(engine.GRU(D, H, **options), heads, seed=2)
    rng = np.random.default_rng(8)
    model.load_state_dict({name: rng.normal(scale=0.5, size=value.shape) for name, value in model.params.items()})
    return model


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


LOSS = weighted_sum({"topic": (engine.cross_entropy, 1.0), "tag": (engine.cross_entropy, 0.3)})


@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "directional"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_into_the_shared_trunk(method: str, batch_first: bool) -> None:
    model = build()
    if batch_first:
        config = model.config()
        config["args"]["layers"][0]["args"]["batch_first"] = True
        for layer in [*config["args"]["layers"][1]["args"]["layers"][0]["args"]["layers"]]:
            layer["args"].pop("batch_first")
        config["args"]["layers"][1]["args"]["layers"][1]["args"].pop("batch_first")
        values = model.state_dict()
        model = from_config(config, **F64)  # type: ignore[assignment]
        model.load_state_dict(values)
        assert model.layers[1].batch_first
    x = draw(B, T, D) if batch_first else draw(T, B, D)
    report = engine.gradcheck(model, x, lengths=LENGTHS, method=method)
    assert report.passed, report
    assert {"0.weight_hh_l0", "1.topic.2.weight", "1.tag.bias", "x", "0.h0"} <= {row.name for row in report.rows}


def test_a_wrong_sum_of_the_heads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.Heads.backward

    def forgets_one(self: Any, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
        _, first = real(self, tape, dy, dstate)
        counts = {name: np.array(grad) for name, grad in self.grads.items()}
        alone = real(self, tape, {"tag": dy["tag"]}, dstate)[0]
        for name, grad in counts.items():
            self.grads[name][...] = grad
        return alone, first

    monkeypatch.setattr(engine.Heads, "backward", forgets_one)
    assert engine.gradcheck(build(), draw(T, B, D)).verdict == "wrong"


@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_the_weighted_sum_has_its_gradients(method: str) -> None:
    def forward(topic: Any, tag: Any) -> tuple[Any, Any]:
        return LOSS({"topic": topic, "tag": tag}, TARGETS, MASKS)

    report = engine.check_gradients(
        forward,
        lambda dout, grads: (dout * grads["topic"], dout * grads["tag"]),
        [draw(B, 2), draw(T, B, 4)],
        method=method,
    )
    assert report.passed, report
    outputs = {"topic": draw(B, 2), "tag": draw(T, B, 4)}
    each = LOSS.each(outputs, TARGETS, MASKS)
    assert distance(LOSS(outputs, TARGETS, MASKS)[0], each["topic"] + 0.3 * each["tag"]) <= 1e-15


@pytest.mark.oracle
def test_the_trunks_gradient_is_autograds(torch: ModuleType) -> None:
    trunk = engine.Linear(D, H, **F64)
    model = engine.Sequential(trunk, engine.Heads({"a": engine.Linear(H, 2, **F64), "b": engine.Linear(H, 4, **F64)}))
    x, targets = draw(B, D), {"a": TARGETS["topic"], "b": TARGETS["tag"][0]}
    y, _, tape = model.forward(x)
    loss, dy = weighted_sum({"a": engine.cross_entropy, "b": (engine.cross_entropy, 0.4)})(y, targets)
    dx, _ = model.backward(tape, dy)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in {"x": x, **model.params}.items()}
    hidden = leaves["x"] @ leaves["0.weight"].T + leaves["0.bias"]
    total = 0
    for name, weight in (("a", 1.0), ("b", 0.4)):
        logits = hidden @ leaves[f"1.{name}.weight"].T + leaves[f"1.{name}.bias"]
        total = total + weight * torch.nn.functional.cross_entropy(logits, torch.tensor(targets[name]))
    total.backward()  # type: ignore[attr-defined]
    assert distance(loss, total.item()) <= 1e-14  # type: ignore[attr-defined]
    for name, leaf in leaves.items():
        found = dx if name == "x" else model.grads[name]
        np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
def test_every_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    backend: Any = name if name == "torch" else use_backend(name, monkeypatch)

    def everything(model: Any, x: Any) -> list[Any]:
        y, _, tape = model.forward(x, lengths=LENGTHS)
        loss, dy = LOSS(y, TARGETS, MASKS)
        return [loss, *y.values(), *dy.values(), model.backward(tape, dy)[0], *model.grads.values()]

    model = build()
    moved = model.to(backend=backend)
    wanted = everything(model, draw(T, B, D))
    for one, other in zip(everything(moved, moved.backend.asarray(draw(T, B, D))), wanted, strict=True):
        assert distance(moved.backend.to_host(one), other) <= 1e-13


def test_it_is_saved_described_copied_and_shown(tmp_path: Path) -> None:
    model = build()
    model.forward(draw(T, B, D))  # draws a mask
    y, state = model.predict(draw(T, B, D), lengths=LENGTHS)
    model.save(tmp_path / "model.safetensors")
    again = from_config(json.loads(json.dumps(model.config(), sort_keys=True)), **F64)
    again.load_state_dict(model.state_dict())
    loaded = engine.load(tmp_path / "model.safetensors", backend="numpy:reference")
    for other in (again, model.to(), pickle.loads(pickle.dumps(model)), loaded):
        found, last = other.predict(draw(T, B, D), lengths=LENGTHS)
        assert list(found) == ["topic", "tag"]
        for name, value in y.items():
            np.testing.assert_array_equal(found[name], value)
        assert last[1] == state[1] == ((None, None, None), None)
    assert model.call_counters()["1.topic.1"] == 1
    first, second = (engine.Linear(4, 4, **F64) for _ in range(2))
    heads = engine.Heads({"first": first, "second": second})
    assert not np.array_equal(first.params["weight"], second.params["weight"])  # the name is part of the key
    assert str(heads.summary()).splitlines()[1].split()[0] == "first"
    shown = repr(model)
    assert "Heads({" in shown
    assert "'topic': Sequential(" in shown
    assert "# (B, 6) -> (B, 2), 14 parameters" in shown
    rows = {row.path: row.output for row in model.summary().rows}
    assert rows == {
        "0": "(T, B, 6)",
        "1.topic.0": "(B, 6)",
        "1.topic.1": "(B, 6)",
        "1.topic.2": "(B, 2)",
        "1.tag": "(T, B, 4)",
    }


def test_a_head_that_is_left_out_has_no_gradient() -> None:
    model = build()
    y, _, tape = model.forward(draw(T, B, D))
    model.backward(tape, {"tag": np.ones_like(y["tag"])})
    assert (model.grads["1.topic.2.weight"] == 0).all()
    assert (model.grads["1.tag.weight"] != 0).any()
    dx, _ = model.backward(tape)
    assert (dx == 0).all()


def test_an_auxiliary_head_learns_beside_the_main_one() -> None:
    model = build()
    adam, x = engine.Adam(model, lr=0.05), draw(T, B, D)
    losses = []
    for _ in range(40):
        y, _, tape = model.forward(x, lengths=LENGTHS)
        _, dy = LOSS(y, TARGETS, MASKS)
        model.zero_grad()
        model.backward(tape, dy)
        adam.step()
        losses.append(LOSS.each(model.predict(x, lengths=LENGTHS)[0], TARGETS, MASKS))
    for name in TARGETS:
        assert losses[-1][name] < 0.3 * losses[0][name]


LINEAR = engine.Linear(2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.Heads([LINEAR]), "heads: expected a mapping from names to layers, got a list"),  # type: ignore[arg-type]
        (lambda: engine.Heads({}), "heads: expected a name for each head, words without a dot, got 0 names of 0 heads"),
        (lambda: engine.Heads({"a.b": LINEAR}), "heads: expected a name for each head, words without a dot, got 'a.b'"),
        (lambda: engine.Heads({"a": 3}), "head a: expected a layer of engine, got 3"),  # type: ignore[dict-item]
        (lambda: engine.Heads({"a": LINEAR, "b": LINEAR}), "head b: expected each layer once, got the same object"),
        (
            lambda: engine.Heads({"a": engine.Linear(2, 2), "b": engine.Linear(2, 2, dtype="float64")}),
            "head b: expected backend numpy:",
        ),
        (
            lambda: build().backward(build().forward(draw(T, B, D))[2]),
            "tape: expected a tape of this layer, got a tape of another layer",
        ),
        (
            lambda: from_config({"type": "Heads", "args": {"layers": []}}),
            "config: expected a list of layers in a Heads",
        ),
        (
            lambda: from_config({"type": "Heads", "args": {"layers": [], "names": ["a"]}}),
            "heads: expected a name for each head, words without a dot, got 1 names of 0 heads",
        ),
        (lambda: weighted_sum({}), "losses: expected a mapping from heads to losses, got"),
        (lambda: weighted_sum({"a": ("mse", 1.0)}), "losses['a']: expected a function, or a pair of a function and"),
        (lambda: weighted_sum({"a": (engine.mse, -1.0)}), "losses['a']: expected a number >= 0, got -1.0"),
        (lambda: LOSS({"topic": 1}, {}), "outputs: expected an entry for each of ['topic', 'tag'], got none for 'tag'"),
        (lambda: LOSS({"topic": 1, "tag": 2}, [1]), "targets: expected a mapping by the names ['topic', 'tag'], got"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_gradients_of_unknown_heads_are_refused() -> None:
    model = build()
    tape = model.forward(draw(T, B, D))[2]
    with pytest.raises(engine.InputError, match=r"dy: expected some of the heads \['topic', 'tag'\], got 'label'"):
        model.backward(tape, {"label": draw(B, 2)})
    with pytest.raises(engine.InputError, match="dy: expected a mapping from"):
        model.backward(tape, draw(B, 2))
