"""Buckets: which rows share a batch, how much of it is padding, and that neither changes a gradient."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.data import BatchSampler, Buckets, Packing
from engine.data.tagged import read_tagged
from engine.errors import InputError, InputTypeError
from engine.studies import run_study
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.objectives import make_objective
from engine.training.task import forward

TAGS = Path(os.environ.get("BPTT_TEST_DATA", "")) / "english_pos_tags.tsv"
WAYS = (0, 3, Buckets(pool=2), Buckets(width=2, steps=50))


def long_tailed(count: int, seed: int = 3) -> np.ndarray:
    """Lengths of which most are short and a few long."""
    return 1 + np.random.default_rng(seed).geometric(0.12, count)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=80),
    st.integers(1, 9),
    st.sampled_from([None, 4, Buckets(pool=3), Buckets(width=3, pool=2), Buckets(steps=37), Buckets(2, 0, 25)]),
    st.booleans(),
)
def test_every_row_once_in_every_epoch_and_equally_many_batches(
    lengths: list[int], size: int, buckets: Any, shuffle: bool
) -> None:
    sampler = BatchSampler(lengths, size, buckets, seed=5, shuffle=shuffle)
    for epoch in (0, 1, 7):
        batches = sampler.epoch(epoch)
        assert len(batches) == len(sampler)
        assert sorted(int(row) for batch in batches for row in batch) == list(range(len(lengths)))
        if isinstance(buckets, Buckets) and buckets.steps:
            for batch in batches:
                assert max(lengths[row] for row in batch) * len(batch) <= buckets.steps or len(batch) == 1
        else:
            assert sum(len(batch) != size for batch in batches) <= 1
    # Another sampler, asked for one batch alone, says the same: a resumed run needs its step and nothing else.
    step = 2 * len(sampler) - 1
    again = BatchSampler(lengths, size, buckets, seed=5, shuffle=shuffle)
    np.testing.assert_array_equal(again.rows(step), sampler.epoch(1)[-1])


def test_pools_mix_rows_of_every_length_and_pad_less_than_no_buckets() -> None:
    lengths = np.sort(long_tailed(600))
    plain, pools, all_rows = (BatchSampler(lengths, 8, way, seed=1) for way in (None, Buckets(pool=12), 1))
    company = {
        way: [{frozenset(map(int, batch)) for batch in sampler.epoch(epoch)} for epoch in (0, 1)]
        for way, sampler in (("pools", pools), ("all", all_rows))
    }
    assert not company["pools"][0] & company["pools"][1]
    longest = max(company["all"][0], key=max)  # the longest rows meet again and again without pools
    assert longest in company["all"][1]
    shares = [sampler.packing(0).wasted for sampler in (plain, pools, all_rows)]
    assert shares[0] > 2 * shares[1] > 2 * shares[2] > 0


def test_packing_counts_the_pads_of_any_steps() -> None:
    lengths = long_tailed(50)
    sampler = BatchSampler(lengths, 6, Buckets(pool=3), seed=2)
    start, stop = 5, 14  # from the first epoch into the second
    batches = (sampler.epoch(0) + sampler.epoch(1))[start:stop]
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    valid = sum(int(lengths[batch].sum()) for batch in batches)
    assert sampler.packing(start, stop) == Packing(valid, padded, 9)
    assert sampler.packing(start, stop).wasted == 1 - valid / padded
    assert sampler.packing(4, 4).wasted == 0
    assert BatchSampler([4] * 9, 2).packing(0).wasted == 0


def job(buckets: Any) -> ExamplesTask:
    """Tagging of rows of long-tailed lengths."""
    lengths, draw = long_tailed(60), np.random.default_rng(8)
    x = [draw.normal(size=(int(steps), 3)) for steps in lengths]
    y = [draw.integers(0, 5, int(steps)) for steps in lengths]
    own: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    model = engine.Sequential(engine.GRU(3, 4, bidirectional=True, **own), engine.Linear(8, 5, **own), seed=6, **own)
    loss = make_objective("cross_entropy")
    return ExamplesTask(model, Examples(model, loss, x, y), loss=loss, batch_size=7, buckets=buckets)


def gradient_of_an_epoch(task: ExamplesTask, epoch: int) -> dict[str, np.ndarray]:
    """The gradient of the loss summed over all targets of an epoch."""
    total = {name: np.zeros(grad.shape) for name, grad in task.model.grads.items()}
    for step in range(epoch * task.batches, (epoch + 1) * task.batches):
        out = forward(task, step, None)
        task.model.zero_grad()
        task.model.backward(out.tape, out.dy)
        for name, grad in task.model.grads.items():
            total[name] += out.positions * grad
    return total


@pytest.mark.parametrize("buckets", WAYS[1:], ids=str)
def test_buckets_change_no_gradient(buckets: Any) -> None:
    wanted = gradient_of_an_epoch(job(0), 0)
    found = gradient_of_an_epoch(job(buckets), 2)
    for name, grad in wanted.items():
        assert np.abs(grad).max() > 1e-3
        np.testing.assert_allclose(found[name], grad, rtol=1e-12, atol=1e-12 * np.abs(grad).max(), err_msg=name)


class StopAt(engine.Callback):
    """Ends a run within an epoch, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, progress: Any) -> None:
        if progress.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("buckets", WAYS, ids=str)
def test_a_run_cut_off_within_an_epoch_goes_on_to_the_byte(tmp_path: Path, buckets: Any) -> None:
    lengths, draw = long_tailed(40), np.random.default_rng(4)
    x = [draw.normal(size=(int(steps), 2)) for steps in lengths]
    y = draw.normal(size=(40, 3))

    def train(out: str, stop: int = 0, resume: bool = False) -> engine.History:
        own: dict[str, Any] = {"backend": "numpy:reference"}
        layers = engine.LSTM(2, 3, **own), engine.Dropout(0.3, **own), engine.Linear(3, 3, **own)
        model = engine.Sequential(*layers, seed=2, **own)
        settings: dict[str, Any] = {"epochs": 3, "batch_size": 6, "buckets": buckets, "checkpoint_every": 2, "seed": 9}
        callbacks = [StopAt(stop)] if stop else []
        return engine.fit(model, x, y, out=tmp_path / out, resume=resume, callbacks=callbacks, quiet=True, **settings)

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", stop=11)
    found = train("cut", resume=True)
    assert (found.loss, found.wasted_steps) == (whole.loss, whole.wasted_steps)
    last = [(tmp_path / out / "last.safetensors").read_bytes() for out in ("cut", "whole")]
    assert last[0] == last[1]
    assert [set(map(type, whole.wasted_steps)), len(whole.wasted_steps)] == [{float}, 3]
    assert list(whole.columns()) == ["epoch", "loss", "wasted_steps", "lr", "seconds"]
    with refused(InputError, "resume: expected buckets"):
        buckets = 2
        train("cut", resume=True)


@pytest.mark.skipif(not TAGS.is_file(), reason="BPTT_TEST_DATA has no english_pos_tags.tsv")
def test_tagged_sentences_waste_less_than_a_twentieth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = [len(words) for words in read_tagged(str(TAGS)).words]
    plain, *others = (BatchSampler(lengths, 16, way, seed=3) for way in (0, 1, Buckets(steps=200), Buckets(pool=100)))
    assert plain.packing(0).wasted > 0.6
    for sampler in others:
        assert all(sampler.packing(epoch * len(sampler)).wasted < 0.05 for epoch in range(3))
    small = ["--steps", 6, "--hidden", 3, "--embed", 2, "--backend", "numpy:reference", "--validate-every", 6]
    given_ = ["train", "--task", "tag", "--data", TAGS, "--report-every", 3, "--json", *small]
    assert bptt(*given_, "--out", tmp_path / "run") == 0
    shown = capsys.readouterr()
    assert 0 < json.loads(shown.out)["wasted_steps"] < 0.05
    assert "steps of an epoch are pads, in 113 batches" in shown.err
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["wasted_steps"] < 0.05 for line in lines if line["kind"] == "train")
    for options, words in (
        (["--buckets", 0, "--bucket-pool", 4], "--bucket-pool: expected 0 with --buckets 0, got 4"),
        (["--batch-steps", 90, "--bucket-pool", 4], "--bucket-pool: expected 0 with --batch-steps, got 4"),
    ):
        assert bptt(*given_, "--out", tmp_path / "other", *options) == 2
        assert words in capsys.readouterr().err


@pytest.mark.proof
def test_the_study_of_buckets() -> None:
    result, record = run_study("buckets", quick=True)
    assert record["command"] == "bptt study buckets --quick"
    rows = {str(row[0]): row[1:] for row in result.rows}
    assert list(rows) == ["none", "sorted", "buckets", "pools", "packed"]
    wasted = {name: float(row[1] or 0) for name, row in rows.items()}
    assert wasted["packed"] < wasted["buckets"] == wasted["sorted"] < wasted["pools"] < wasted["none"]
    assert all(0 < float(row[4] or 0) < 2 for row in rows.values())


def test_refusals() -> None:
    with refused(InputError, "width: expected an integer >= 1, got 0"):
        Buckets(width=0)
    with refused(InputError, "pool: expected 0 with a budget of steps, got 3; the number of batches would differ"):
        Buckets(pool=3, steps=100)
    with refused(InputError, "lengths: expected integers in 0..2147483647, got -2 at index 1"):
        BatchSampler([3, -2], 4)
    with refused(InputTypeError, "buckets: expected an integer >= 0, got 'short'", "engine.data.Buckets"):
        BatchSampler([3, 2], 4, "short")
    with refused(InputError, "step: expected a step of a sampler that has rows, got 0"):
        BatchSampler([], 4).rows(0)
    with refused(InputError, "stop: expected start .. start + 100000, as start is 5, got 2"):
        BatchSampler([3, 2], 4).packing(5, 2)
