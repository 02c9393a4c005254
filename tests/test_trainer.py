"""The training loop: what it computes, when it stops, and what it does about numbers that are not finite."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, metrics, write_text
from fake_cuda import counts
from fake_cupy import use_backend
from refusals import refused

import engine
from engine.backend import Backend
from engine.data import Vocabulary, split
from engine.errors import CheckpointError, InputError, NonFiniteError
from engine.tasks.language import LanguageModel, mean_loss
from engine.training import Trainer, load_model, open_run, read_checkpoint, run_training, sample, write_checkpoint
from engine.training.config import make
from engine.training.metrics import MetricsLog, read_metrics
from engine.training.progress import LiveReporter, Moment, PlainReporter, Reporter, clock, describe
from engine.training.session import make_task
from engine.training.task import Batch, Validation

TINY: dict[str, Any] = {
    "backend": "numpy:reference",
    "hidden": 6,
    "embed": 5,
    "batch": 4,
    "sequence": 8,
    "report_every": 5,
    "validate_every": 10,
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "tides.txt")


def begin(out: Path, text: Path, reporter: Reporter | None = None, **options: Any) -> Trainer:
    """A trainer that has not started yet.  The directory's lock is let go: a test has it for itself."""
    with open_run(out, None, {**TINY, "files": (str(text),), **options}, resume=False) as run:
        trainer = Trainer(run, make_task(run.config), reporter or Reporter())
    out.mkdir()  # an empty directory was tidied away
    return trainer


# -- what is computed -------------------------------------------------------------------------------------------------


def test_it_learns(text: Path, tmp_path: Path) -> None:
    result = run_training(
        tmp_path / "run", quiet=True, files=(str(text),), steps=300, lr=0.02, **{**TINY, "hidden": 16}
    )
    losses = [r["bpc"] for r in metrics(tmp_path / "run") if r["kind"] == "validation"]
    assert losses[0] > 3.5
    assert losses[-1] < 2.2
    assert result["validation"]["bpc"] == min(losses)
    assert result["ending"] == "complete"


@pytest.mark.parametrize(("clip", "clip_value"), [(0.1, 0.0), (0.1, 0.01), (0.0, 0.0)])
def test_a_step_is_what_its_parts_make(text: Path, tmp_path: Path, clip: float, clip_value: float) -> None:
    """Eleven steps, over the end of an epoch, against the same written out by hand."""
    options: dict[str, Any] = {
        "steps": 11,
        "batch": 10,
        "sequence": 60,
        "clip": clip,
        "clip_value": clip_value,
        "schedule": "constant",
    }
    trainer = begin(tmp_path / "run", text, None, **options)
    task = trainer.task
    assert isinstance(task, LanguageModel)
    ids = task.vocabulary.encode(text.read_text())
    train, _ = split(ids, 0.1)
    model = engine.Sequential(
        engine.Embedding(len(task.vocabulary), 5, backend="numpy:reference"),
        engine.LSTM(5, 6, backend="numpy:reference"),
        engine.Linear(6, len(task.vocabulary), backend="numpy:reference"),
        seed=0,
    )
    optimizer = engine.Adam(model, lr=3e-3)
    lane = (len(train) - 1) // 10
    inputs, targets = train[: lane * 10].reshape(10, lane).T, train[1 : lane * 10 + 1].reshape(10, lane).T
    losses, norms, state, at = [], [], None, 0
    for _ in range(11):
        if at >= lane:
            state, at = None, 0  # a new epoch
        y, state, tape = model.forward(inputs[at : at + 60], state)
        loss, dy = engine.cross_entropy(y, np.ascontiguousarray(targets[at : at + 60]))
        model.zero_grad()
        model.backward(tape, dy)
        if clip_value:
            engine.clip_grad_value(model, clip_value)
        norms.append(float(engine.clip_grad_norm(model, clip or math.inf)))
        optimizer.step()
        losses.append((float(loss), len(y)))
        at += 60
    assert max(norms) > 0.1  # clipping has something to do
    outcome = trainer.train()
    assert task.batches == -(-lane // 60) < 11
    for name, value in model.params.items():
        np.testing.assert_array_equal(task.model.params[name], value)
    records = [r for r in metrics(tmp_path / "run") if r["kind"] == "train"]
    assert [r["step"] for r in records] == [5, 10, 11]
    for record, part in zip(records, (slice(0, 5), slice(5, 10), slice(10, 11)), strict=True):
        mean = sum(loss * steps for loss, steps in losses[part]) / sum(steps for _, steps in losses[part])
        assert record["loss"] == pytest.approx(mean, rel=1e-6)  # over positions: the last chunk is shorter
        assert record["bpc"] == pytest.approx(mean / math.log(2), rel=1e-6)
        assert record["grad_norm"] == pytest.approx(np.mean(norms[part]), rel=1e-6)
        assert record["lr"] == 3e-3
    assert outcome.best_loss == mean_loss(model, task.validation_ids)


def test_validation_covers_every_position_once(text: Path, tmp_path: Path) -> None:
    task = begin(tmp_path / "run", text, steps=1, dropout=0.5, layers=2).task
    assert isinstance(task, LanguageModel)
    ids = task.validation_ids
    counters = task.model.call_counters()
    # One lane is the plain definition: one pass over everything.
    y, _ = task.model.predict(ids[:-1, None])
    expected, _ = engine.cross_entropy(y, ids[1:, None])
    assert mean_loss(task.model, ids, lanes=1) == pytest.approx(float(expected), rel=1e-6)
    # More lanes: the same targets, each lane from zeros.
    for lanes in (2, 7, 32, len(ids) - 1, len(ids) + 5):
        length = -(-(len(ids) - 1) // min(lanes, len(ids) - 1))
        total = 0.0
        for start in range(0, len(ids) - 1, length):
            part = ids[start : start + length + 1]
            y, _ = task.model.predict(part[:-1, None])
            loss, _ = engine.cross_entropy(y, part[1:, None])
            total += float(loss) * (len(part) - 1)
        assert mean_loss(task.model, ids, lanes) == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert task.model.call_counters() == counters  # no dropout


def test_dropout_draws_new_masks_at_every_step(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, steps=7, dropout=0.3, layers=2)
    trainer.train()
    # The recurrent layers and the dropout before the output count their own calls.
    assert [count for count in trainer.task.model.call_counters().values() if count] == [7, 7]


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"schedule": "constant"}, [1.0] * 6),
        ({"schedule": "cosine"}, [(1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)]),
        ({"schedule": "step"}, [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule": "constant", "warmup": 3}, [1 / 3, 5 / 9, 7 / 9, 1, 1, 1]),
    ],
)
def test_schedules(text: Path, tmp_path: Path, options: dict[str, Any], rates: list[float]) -> None:
    begin(tmp_path / "run", text, steps=6, lr=0.01, **{**options, "report_every": 1}).train()
    got = [r["lr"] for r in metrics(tmp_path / "run") if r["kind"] == "train"]
    np.testing.assert_allclose(got, 0.01 * np.array(rates), rtol=1e-12)


def test_a_budget_in_minutes(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, minutes=0.02)
    outcome = trainer.train()
    assert outcome.seconds >= 1.2
    rates = [r["lr"] for r in metrics(tmp_path / "run") if r["kind"] == "train"]
    # the cosine comes down with the time, at whatever speed; at its very end, where it is 0, a late step may flutter
    assert all(later <= rate + 1e-3 * rates[0] for rate, later in itertools.pairwise(rates))
    assert rates[-1] < rates[0] / 2


def test_a_budget_in_epochs(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, epochs=0.5)
    assert trainer.train().step == math.ceil(0.5 * trainer.task.batches)


# -- when it waits for the device -------------------------------------------------------------------------------------


def test_the_loss_is_read_once_a_report(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = begin(tmp_path / "run", text, steps=24, report_every=8, validate_every=100, checkpoint_every=100)
    reads: list[int] = []
    real = Backend.to_host

    def to_host(self: Backend, array: Any) -> Any:
        reads.append(trainer.state.step)
        return real(self, array)

    monkeypatch.setattr(Backend, "to_host", to_host)
    trainer.train()
    assert set(reads) == {8, 16, 24}
    assert reads.count(8) == 3  # flag, loss, norm: read one after the other, with no work in between


def test_no_step_waits_for_the_device(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole trainer on the CuPy look-alike, which counts every wait, the hidden ones too (rule 20)."""
    backend = use_backend("look-alike", monkeypatch)
    with open_run(tmp_path / "run", None, {**TINY, "files": (str(text),), "steps": 12}, resume=False) as run:
        trainer = Trainer(run, LanguageModel(run.config, backend), Reporter())
    (tmp_path / "run").mkdir()
    waits: list[int] = []
    real = Trainer._step

    def step(self: Trainer) -> None:
        before = counts.waits
        real(self)
        waits.append(counts.waits - before)

    monkeypatch.setattr(Trainer, "_step", step)
    trainer.train()
    assert waits == [0] * 12
    assert counts.waits > 0  # the reports were read somehow
    begin(tmp_path / "plain", text, steps=12).train()
    assert metrics(tmp_path / "run") == metrics(tmp_path / "plain")  # the same kernels, the same numbers


def test_metrics_reach_the_disk_before_the_checkpoint_that_counts_them(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    trainer = begin(tmp_path / "run", text, steps=10, validate_every=100)
    real_sync, real_write = MetricsLog.sync, write_checkpoint

    def sync(self: MetricsLog) -> None:
        calls.append(f"sync {self.lines}")
        real_sync(self)

    def write(path: Path, arrays: Any, meta: Any) -> None:
        calls.append(f"{path.name} {meta.get('metrics_lines')}")
        real_write(path, arrays, meta)

    monkeypatch.setattr(MetricsLog, "sync", sync)
    monkeypatch.setattr("engine.training.keeping.write_checkpoint", write)
    trainer.train()
    assert calls == ["best.safetensors None", "sync 3", "last.safetensors 3"]


# -- when it stops ----------------------------------------------------------------------------------------------------


def test_early_stopping(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, steps=1000, patience=3)
    losses = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    trainer.task.validate = lambda: Validation(next(losses))  # type: ignore[method-assign]
    outcome = trainer.train()
    assert (outcome.ending, outcome.step, outcome.best_loss, outcome.best_step) == ("stopped early", 50, 2.0, 20)
    assert [r["best"] for r in metrics(tmp_path / "run") if r["kind"] == "validation"] == [True, True] + [False] * 3
    best = read_checkpoint(tmp_path / "run" / "best.safetensors")
    assert best.meta["trainer"]["step"] == 20


def test_the_best_weights_are_those_of_the_best_validation(text: Path, tmp_path: Path) -> None:
    begin(tmp_path / "run", text, steps=40, lr=0.3, optimizer="sgd", momentum=0.9).train()
    best = read_checkpoint(tmp_path / "run" / "best.safetensors")
    model = load_model(best, engine.get_backend("numpy:reference"))
    vocabulary = Vocabulary.from_text(text.read_text())
    _, ids = split(vocabulary.encode(text.read_text()), 0.1)
    assert mean_loss(model, ids) == best.meta["trainer"]["best_loss"]


def test_a_stop_that_is_asked_for(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, steps=1000)
    trainer.stop = lambda: trainer.state.step == 13
    assert trainer.train().ending == "interrupted"
    assert read_checkpoint(tmp_path / "run" / "last.safetensors").meta["trainer"]["step"] == 13
    assert [r["step"] for r in metrics(tmp_path / "run")] == [5, 10, 10]  # nothing but what belongs there


# -- NaN and infinity (rule 16) ---------------------------------------------------------------------------------------


def poison(trainer: Trainer, at: int, where: str, index: tuple[Any, ...], value: float) -> dict[str, np.ndarray]:
    """Make one number of step `at` bad, on every replay too; returns where the weights before it will be put."""
    model: Any = trainer.task.model
    weights: dict[str, np.ndarray] = {}
    real_batch, real_loss = trainer.task.batch, trainer.task.loss
    lstm: Any = model.layers[1]
    real_forward, real_trace = lstm.forward, lstm.backward_trace
    current: list[int] = [0]
    outputs: list[np.ndarray] = []

    def batch(step: int) -> Any:
        current[0] = step
        if step == at and not weights:
            weights.update({name: param.copy() for name, param in model.params.items()})
        return real_batch(step)

    def loss(y: Any, batch: Batch) -> Any:
        value_, dy, count = real_loss(y, batch)
        if current[0] == at and where == "gradient":
            dy[index] = value
        return value_, dy, count

    def forward(*args: Any, **kwargs: Any) -> Any:
        y, state, tape = real_forward(*args, **kwargs)
        if current[0] == at:
            outputs.append(y.copy())
            np.testing.assert_array_equal(outputs[0], y)  # a replay is the same pass: state, dropout and all
        if current[0] == at and where == "hidden":
            tape.layers[1][0].run.h[1:][index] = value
            tape.layers[1][0].run.gates[7] = value  # bad too, but later
            y[index] = value
        return y, state, tape

    def backward_trace(*args: Any, **kwargs: Any) -> Any:
        trace = real_trace(*args, **kwargs)
        trace.layers[1][0].adjoints.da[index] = value
        return trace

    def backward(tape: Any, dy: Any, dstate: Any = None) -> Any:
        trace = real_trace(tape, dy)
        lstm.grads["weight_hh_l1"] += value if current[0] == at else 0.0
        return trace.dx, trace.dstate

    trainer.task.batch, trainer.task.loss = batch, loss  # type: ignore[method-assign]
    lstm.forward = forward
    if where == "adjoint":
        lstm.backward, lstm.backward_trace = backward, backward_trace
    return weights


@pytest.mark.parametrize(
    ("where", "index", "value", "words"),
    [
        (
            "hidden",
            (3, 1, 2),
            np.nan,
            r"NaN in hidden state h of LSTM \(layer 1 of the model\), layer 1 at time step 3",
        ),
        # Forward, bad numbers spread to later steps; backward, to earlier ones.
        ("hidden", (slice(2, 8), 0, 0), np.inf, r"infinity in hidden state h of LSTM .* at time step 2"),
        ("adjoint", (slice(0, 5), 0, 1, 0), np.nan, r"NaN in gradient of gate 'f' of LSTM .*, layer 1 at time step 4"),
        ("gradient", (5, 2, 1), np.nan, r"NaN in the gradient of the model's output at time step 5"),
        ("gradient", (2, 2, 1), -np.inf, r"infinity in the gradient of the model's output at time step 2"),
        # Finite, but too large for the sum that comes next.
        ("gradient", (6, slice(None), slice(None)), 3e38, r"infinity in the gradient of parameter '3\.\w+'"),
    ],
)
def test_a_bad_number_is_named_and_never_reaches_the_weights(
    text: Path, tmp_path: Path, where: str, index: tuple[Any, ...], value: float, words: str
) -> None:
    out = tmp_path / "run"
    trainer = begin(out, text, steps=40, checkpoint_every=10, dropout=0.2, layers=2)
    before = poison(trainer, 22, where, index, value)
    with pytest.raises(NonFiniteError) as caught:
        trainer.train()
    message = str(caught.value)
    assert re.search(rf"^step 23 \(epoch 1, batch 23 of \d+\): expected finite numbers, got {words}; ", message), (
        message
    )
    assert trainer.state.step == 25  # at the next report
    for name, param in trainer.task.model.params.items():
        np.testing.assert_array_equal(param, before[name])  # as they were before the bad step, steps 24 and 25 too
    assert read_checkpoint(out / "last.safetensors").meta["trainer"]["step"] == 20
    assert max(record["step"] for record in metrics(out)) == 20


def test_a_learning_rate_that_blows_up(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, steps=50, lr=3e38, optimizer="sgd", momentum=0.9, clip=0.0)
    with refused(NonFiniteError, "expected finite numbers, got ", "; the update was not made: lower --lr"):
        trainer.train()


def test_a_validation_that_is_not_finite(text: Path, tmp_path: Path) -> None:
    trainer = begin(tmp_path / "run", text, steps=50)
    trainer.task.validate = lambda: Validation(math.nan)  # type: ignore[method-assign]
    with refused(NonFiniteError, "step 10: expected a finite validation loss, got nan; lower --lr"):
        trainer.train()


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected an integer >= 1, got 0"),
        ({"steps": 2.5}, "steps: expected an integer >= 1, got 2.5"),
        ({"steps": True}, "steps: expected an integer >= 1, got True"),
        ({"minutes": math.nan}, "minutes: expected a finite number > 0, got nan"),
        ({"epochs": math.inf}, "epochs: expected a finite number > 0, got inf"),
        ({"steps": 5, "minutes": 1}, "steps: expected one of steps, epochs, minutes, got steps and minutes; keep one"),
        ({"steps": 10**30}, "steps: expected at most 1,000,000,000,000, got "),
        ({"epochs": 1e300}, "epochs: expected at most 1,000,000,000, got 1e+300"),
        ({"epochs": 10**400}, "epochs: expected a finite number > 0, got an integer of "),
        ({"minutes": 1e308}, "minutes: expected at most 10,000,000, got 1e+308"),
        ({"layers": 10**6}, "layers: expected at most 1,000, got 1000000"),
        ({"batch": 2**70}, "batch: expected at most "),
        ({"files": 3}, "files: expected a list of a string, got 3"),
        ({"backend": None}, "backend: expected a string, got None"),
        ({"lr": None}, "lr: expected a finite number > 0, got None"),
        ({"lr": -1}, "lr: expected a finite number > 0, got -1"),
        ({"lr": "fast"}, "lr: expected a finite number > 0, got 'fast'"),
        ({"dropout": 1.0}, "dropout: expected a finite number >= 0 and < 1, got 1.0"),
        ({"cell": "transformer"}, "cell: expected one of lstm, gru, rnn, coupled_lstm, "),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        (
            {"momentum": 0.9},
            "momentum: expected an optimiser that has one (sgd, rmsprop), got another; add optimizer sgd",
        ),
        (
            {"weight_decay": 0.1, "optimizer": "sgd"},
            "weight_decay: expected an optimiser that has one (adamw), got another",
        ),
        ({"horizon": 3, "season": 12}, "horizon, season: expected no such option for the task 'language', got one"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with refused(InputError, message):
        make("language", options)


@pytest.mark.parametrize("sizes", [{"hidden": 10**9}, {"embed": 10**12}, {"layers": 1000, "hidden": 10**5}])
def test_models_that_no_machine_holds(text: Path, tmp_path: Path, sizes: dict[str, int]) -> None:
    with refused(
        InputError,
        "hidden: expected enough memory for the model (this machine has ",
        " parameters, which need at least",
    ):
        run_training(tmp_path / "run", quiet=True, files=(str(text),), steps=1, **{**TINY, **sizes})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--minutes", "\u0663"), ("--steps", "\uff11"), ("--steps", "1_000"), ("--lr", "1_0"), ("--epochs", "0x10")],
)
def test_numbers_in_other_digits(option: str, value: str, text: Path, tmp_path: Path) -> None:
    result = bptt("train", text, "--out", tmp_path / "run", option, value)
    assert result == 2
    assert not (tmp_path / "run").exists()


def test_options_go_through_json() -> None:
    config = make("language", {"files": ("a", "b"), "minutes": 2, "dropout": 0.5})
    assert type(config).from_json(config.to_json()) == config
    with refused(InputError, "config: expected the options of this release, got a difference in 'tempo'"):
        type(config).from_json({**config.to_json(), "tempo": 1})


# -- progress ---------------------------------------------------------------------------------------------------------

RECORD = {"kind": "train", "step": 40, "loss": 1.5, "bpc": 2.164, "timing": {"positions_per_s": 20480.4}}


def test_progress_in_plain_lines(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path / "run", text, PlainReporter("characters"), steps=10).train()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(r"step 5/10  loss \d\.\d+  \d\.\d+ bits per character  [\d,]+ characters/s  0:0\d left\n", err)
    assert "\x1b" not in err


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LiveReporter("characters")
    moment = Moment(40, 100, 0.4, 65.0)
    reporter.tick(moment)
    reporter.report(RECORD, moment)
    reporter.report({"kind": "validation", "bpc": 2.0, "best": True}, moment)
    reporter.note("[not markup]")
    reporter.close()
    out, err = capsys.readouterr()
    assert out == ""
    for words in ("2.164 bits per character", "validation 2.000 bits", "(best so far)", "[not markup]", "1:05 left"):
        assert words in " ".join(err.split()), err


def test_further_figures_of_a_validation(text: Path, tmp_path: Path) -> None:
    """They are written beside the loss and read back; one that is not finite is null, as JSON has no infinity."""
    trainer = begin(tmp_path / "run", text, steps=10)
    trainer.task.validate = lambda: Validation(2.0, {"accuracy": 0.75, "odds": math.inf})  # type: ignore[method-assign]
    trainer.train()
    path = tmp_path / "run" / "metrics.jsonl"
    record = read_metrics(path, "bpc")[-1]
    assert (record["loss"], record["accuracy"], record["odds"]) == (2.0, 0.75, None)
    words = "validation 2.885 bits per character  accuracy 0.750  odds infinite  (best so far)"
    assert describe(record, "characters") == words
    del record["bpc"]
    assert describe(record, "x") == "validation loss 2.0000  accuracy 0.750  odds infinite  (best so far)"
    path.write_text(path.read_text().replace("0.75", '"good"'))
    with pytest.raises(CheckpointError, match="accuracy"):
        read_metrics(path, "bpc")


def test_words_of_progress() -> None:
    assert describe(RECORD, "characters") == "loss 1.5000  2.164 bits per character  20,480 characters/s"
    assert [clock(s) for s in (None, 7, 750, 11100, math.nan)] == ["-:--", "0:07", "12:30", "3:05:00", "-:--"]


# -- samples ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def writer() -> tuple[engine.Sequential, Vocabulary]:
    vocabulary = Vocabulary("abc\n")
    model = engine.Sequential(engine.Embedding(4, 3), engine.GRU(3, 5), engine.Linear(5, 4), seed=3).to(
        backend="numpy:reference"
    )
    model.params["2.weight"][...] *= 4
    return model, vocabulary


#: In one of many runs NumPy's matmul raised the "invalid" flag in these two, which make thousands of tiny products.
#: Half a million repetitions did not raise it again and gave the same bits: the cause is not known.
flag_once_seen = pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")


def text_of(writer: tuple[engine.Sequential, Vocabulary], length: int = 60, **options: Any) -> str:
    return "".join(sample(*writer, length, **options))


@flag_once_seen
def test_samples_follow_the_model(writer: tuple[engine.Sequential, Vocabulary]) -> None:
    model, vocabulary = writer
    # The frequencies of the first character after a prompt are the model's probabilities.
    y, _ = model.predict(vocabulary.encode("ab")[:, None])
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(y[-1, 0].astype(float) / temperature)
        expected /= expected.sum()
        drawn = [text_of(writer, 1, prompt="ab", seed=s, temperature=temperature) for s in range(1000)]
        got = np.array([drawn.count(character) for character in vocabulary.characters]) / 1000
        np.testing.assert_allclose(got, expected, atol=5 * np.sqrt(0.25 / 1000))


def test_samples_are_repeatable_and_carry_the_state(writer: tuple[engine.Sequential, Vocabulary]) -> None:
    assert text_of(writer, seed=5) == text_of(writer, seed=5) != text_of(writer, seed=6)
    greedy = text_of(writer, temperature=0.0, prompt="abca")
    assert text_of(writer, 20, temperature=0.0, prompt="abca" + greedy[:40]) == greedy[40:]
    assert text_of(writer, top_k=1, prompt="abca") == greedy
    assert text_of(writer, temperature=1e-300, prompt="abca") == greedy


@flag_once_seen
def test_top_k_leaves_k(writer: tuple[engine.Sequential, Vocabulary]) -> None:
    model, vocabulary = writer
    y, _ = model.predict(vocabulary.encode("ab")[:, None])
    likeliest = {vocabulary.characters[index] for index in np.argsort(-y[-1, 0])[:2]}
    assert {text_of(writer, 1, prompt="ab", top_k=2, seed=s, temperature=5.0) for s in range(100)} == likeliest
    assert len({text_of(writer, 1, prompt="ab", top_k=99, seed=s, temperature=5.0) for s in range(100)}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length: expected an integer >= 1, got 0"),
        ({"temperature": -1.0}, "temperature: expected a number >= 0, got -1.0; 0 takes the likeliest"),
        ({"temperature": math.nan}, "temperature: expected a number >= 0, got nan"),
        ({"top_k": -1}, "top_k: expected an integer >= 0, got -1"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"prompt": "abz"}, "prompt: expected only the 4 characters of the vocabulary, got 'z' (U+007A) at position 2"),
    ],
)
def test_impossible_samples(
    writer: tuple[engine.Sequential, Vocabulary], options: dict[str, Any], message: str
) -> None:
    with refused(InputError, message):
        text_of(writer, **options)
