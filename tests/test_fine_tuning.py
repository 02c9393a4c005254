"""Training that starts from a trained model: its weights, its vocabulary, frozen groups and rates of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, refused, tiny, write_text

import engine
from engine.data import Vocabulary
from engine.pretrained import pretrained_file, pretrained_names
from engine.training import read_checkpoint, run_training
from engine.training.config import make
from engine.training.fine_tuning import rates_at

NAMES = ["0.weight", "1.weight_ih_l0", "1.bias_hh_l0", "2.weight", "2.bias"]
MODEL: dict[str, Any] = {
    "backend": "numpy:reference",
    "hidden": 6,
    "embed": 5,
    "batch": 4,
    "sequence": 8,
    "steps": 6,
    "report_every": 2,
    "checkpoint_every": 2,
    "quiet": True,
}
START: dict[str, Any] = {key: value for key, value in MODEL.items() if key not in ("hidden", "embed")}


@pytest.fixture
def first(tmp_path: Path, blank_pictures: None) -> Path:
    """A trained character model."""
    run_training(tmp_path / "first", files=(str(write_text(tmp_path / "first.txt")),), **MODEL)
    return tmp_path / "first"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A text with characters that the first one lacks, and without some of its own."""
    path = tmp_path / "other.txt"
    path.write_text("Zeppeline über Käse: 7 oder 12?\n" * 40)
    return path


def weights(run: Path, which: str = "last") -> dict[str, np.ndarray]:
    return dict(read_checkpoint(run / f"{which}.safetensors").group("model"))


def characters(run: Path) -> str:
    return Vocabulary.from_json(read_checkpoint(run / "last.safetensors").meta["task"]["vocabulary"]).characters


def test_a_vocabulary_that_grows_keeps_what_it_knew(first: Path, other: Path, tmp_path: Path) -> None:
    # With a learning rate of nothing the first weights are still there at the end.
    run_training(tmp_path / "second", files=(str(other),), from_run=str(first), lr=1e-30, **START)
    old, new = weights(first, "best"), weights(tmp_path / "second")
    before, after = characters(first), characters(tmp_path / "second")
    assert set(before) < set(after)
    assert {"Z", "ü", "?"} <= set(after) - set(before)
    for name in old:
        if name in ("0.weight", "2.weight", "2.bias"):
            for place, character in enumerate(before):
                np.testing.assert_array_equal(new[name][after.index(character)], old[name][place])
        else:
            np.testing.assert_array_equal(new[name], old[name])
    assert np.abs(new["0.weight"][after.index("Z")]).max() > 0  # a first weight of its own


def test_sizes_come_from_the_run_and_may_not_differ(first: Path, other: Path, tmp_path: Path, capsys: Any) -> None:
    run_training(tmp_path / "second", files=(str(other),), from_run=str(first), **START)
    stored = json.loads((tmp_path / "second" / "run.json").read_text())["config"]
    assert (stored["hidden"], stored["embed"], stored["from_run"]) == (6, 5, str(first))
    said = refused(capsys, "train", other, "--from", first, "--hidden", 7, "--out", tmp_path / "third", "--steps", 2)
    assert "--from: expected a model with '1.weight_ih_l0' of shape (28, 5), got shape (24, 5)" in said
    assert "'No such file" in refused(capsys, "train", other, "--from", tmp_path / "none", "--out", tmp_path / "third")


def test_frozen_groups_stay_as_they_were(first: Path, other: Path, tmp_path: Path) -> None:
    options = {**START, "files": (str(other),), "from_run": str(first), "l2": 0.1, "dropout": 0.0}
    run_training(tmp_path / "second", freeze=("1.*",), **options)
    old, new = weights(first, "best"), weights(tmp_path / "second")
    for name, array in new.items():
        if name.startswith("1."):
            np.testing.assert_array_equal(array, old[name])
        else:
            assert not np.array_equal(array[: len(old[name])], old[name])


def test_gradual_unfreezing_resumes_as_it_would_have_gone_on(first: Path, other: Path, tmp_path: Path) -> None:
    options = {**START, "files": (str(other),), "from_run": str(first), "unfreeze_every": 3, "schedule": "constant"}
    run_training(tmp_path / "whole", **{**options, "steps": 8})
    for steps in (4, 8):
        run_training(tmp_path / "parts", resume=steps == 8, **{**options, "steps": steps})
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    run_training(tmp_path / "early", **{**options, "steps": 3})
    early, start = weights(tmp_path / "early"), weights(first, "best")
    np.testing.assert_array_equal(early["1.weight_hh_l0"], start["1.weight_hh_l0"])
    assert not np.array_equal(whole["1.weight_hh_l0"], start["1.weight_hh_l0"])


def test_layers_are_unfrozen_from_the_last_to_the_first() -> None:
    config = make("language", {"unfreeze_every": 10, "rates": ("1.*=0.5",), "freeze": ("*.bias",)})
    frozen = {step: {name for name, rate in rates_at(config, NAMES, step).items() if not rate} for step in (9, 10, 20)}
    assert frozen == {9: {"0.*", "1.*", "*.bias"}, 10: {"0.*", "*.bias"}, 20: {"*.bias"}}
    assert rates_at(config, NAMES, 20)["1.*"] == 0.5


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--rate", "0.*", "--rate: expected PATTERN=FACTOR with a factor >= 0, such as '0.*=0.1', got '0.*'"),
        ("--rate", "0.*=-1", "--rate: expected PATTERN=FACTOR"),
        ("--rate", "7.*=1", "--rate: expected a pattern that fits one of 0.weight, 1.weight_ih_l0"),
        ("--rate", "*=0", "--rate: expected a factor above 0 for some parameter, got 0 for all"),
        ("--freeze", "7.*", "--freeze: expected a pattern that fits one of 0.weight, 1.weight_ih_l0"),
        ("--freeze", "*", "--freeze: expected patterns that leave some parameter to train, got '*', which fits all"),
    ],
)
def test_patterns_are_checked(tmp_path: Path, capsys: Any, option: str, value: str, expected: str) -> None:
    text = write_text(tmp_path / "text.txt")
    arguments = ("train", text, "--out", tmp_path / "run", "--steps", 2, *tiny(), option, value)
    assert expected in refused(capsys, *arguments)


@pytest.mark.parametrize("kind", [engine.SGD, engine.Adagrad, engine.RMSprop, engine.Adam, engine.AdamW])
def test_a_group_with_a_rate_moves_as_with_that_learning_rate(kind: type[Any]) -> None:
    def stepped(lr: float, rates: dict[str, float]) -> dict[str, np.ndarray]:
        model = model_of()
        optimizer = kind(model, lr=lr, l2=0.01)
        optimizer.set_rates(rates)
        draw = np.random.default_rng(3)
        for _ in range(3):
            for grad in model.grads.values():
                grad[...] = draw.normal(size=grad.shape)
            optimizer.step()
        return {name: np.array(value) for name, value in model.params.items()}

    def model_of() -> engine.Sequential:
        return engine.Sequential(engine.GRU(2, 3, dtype="float64"), engine.Linear(3, 4, dtype="float64"), seed=1)

    start = {name: np.array(value) for name, value in model_of().params.items()}
    plain, slow = stepped(0.1, {}), stepped(0.01, {})
    mixed = stepped(0.1, {"0.*": 0.1, "1.bias": 0})
    for name, value in mixed.items():
        wanted = start if name == "1.bias" else slow if name.startswith("0.") else plain
        np.testing.assert_allclose(value, wanted[name], rtol=1e-13, err_msg=name)


def test_clipping_does_not_count_what_is_frozen() -> None:
    model = engine.Sequential(engine.Linear(2, 3, dtype="float64"), engine.Linear(3, 4, dtype="float64"))
    optimizer = engine.SGD(model, lr=1.0)
    optimizer.set_rates({"0.*": 0})
    for name, grad in model.grads.items():
        grad[...] = 1e6 if name.startswith("0.") else 1.0
    assert float(engine.clip_grad_norm(optimizer, 100.0)) == pytest.approx(np.sqrt(4 * 3 + 4))
    assert float(model.grads["0.weight"][0, 0]) == 1e6


def test_the_model_of_the_package_writes_and_can_be_started_from(
    other: Path, tmp_path: Path, blank_pictures: None
) -> None:
    options = {**START, "files": (str(other),), "from_run": "characters", "steps": 2, "batch": 2}
    result = run_training(tmp_path / "second", logs=("csv",), **options)
    assert result["step"] == 2
    stored = json.loads((tmp_path / "second" / "run.json").read_text())["config"]
    assert (stored["cell"], stored["hidden"], stored["from_run"]) == ("gru", 224, "characters")
    assert (tmp_path / "second" / "metrics.csv").read_text().startswith("kind,step,epoch,loss,bpc")
    assert bptt("sample", "characters", "--length", 5, "--backend", "numpy:reference") == 0


def test_transitions_between_tags_are_taken_over_by_tag(tmp_path: Path, blank_pictures: None) -> None:
    words = {
        "N": ("boat", "tide", "sand"),
        "V": ("lies", "goes", "comes"),
        "D": ("the", "a", "its"),
        "R": ("out", "in"),
    }

    def write(name: str, tags: str) -> str:
        draw = np.random.default_rng(len(tags))
        lines = []
        for _ in range(24):
            lines += [f"{draw.choice(words[tag])}\t{tag}" for tag in draw.choice(list(tags), 5)]
            lines.append("")
        (tmp_path / name).write_text("\n".join(lines))
        return str(tmp_path / name)

    options: dict[str, Any] = {"task": "tag", "backend": "numpy:reference", "quiet": True, "epochs": 1, "batch": 6}
    run_training(tmp_path / "first", data=write("a.tsv", "NVD"), hidden=5, embed=4, crf=True, **options)
    run_training(
        tmp_path / "second", data=write("b.tsv", "DNRV"), from_run=str(tmp_path / "first"), lr=1e-30, **options
    )
    (old, before), (new, after) = (
        (dict(checkpoint.group("model")), checkpoint.meta["task"]["labels"])
        for checkpoint in (
            read_checkpoint(tmp_path / run) for run in ("first/best.safetensors", "second/last.safetensors")
        )
    )
    (name,) = (name for name in old if name.endswith("transitions"))
    assert new[name].shape == (4, 4)
    for one in before:
        for two in before:
            assert new[name][after.index(one), after.index(two)] == old[name][before.index(one), before.index(two)]


def test_the_classifier_of_the_package_answers(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"a warm and funny film": "1", "a dull , endless mess": "0"}
    asked = [word for text in texts for word in ("--text", text)]
    assert bptt("predict", "reviews", *asked, "--backend", "numpy:reference", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["text"]: row["label"] for row in rows} == texts
    assert pretrained_names() == ["characters", "reviews"]
    assert sum(path.stat().st_size for name in pretrained_names() if (path := pretrained_file(name))) < 2_000_000
