"""Gradients of which each rank sends the largest entries alone: what arrives, what waits, what goes on."""

from __future__ import annotations

import functools
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, tiny, write_text
from test_parallel import network, steps_of_rows

import engine
from engine.errors import CheckpointError, InputError
from engine.parallel import Communicator, run_ranks
from engine.parallel.buckets import Buckets
from engine.parallel.compression import LargestEntries
from engine.training.checkpoint import read_file, write_checkpoint
from engine.training.fitting.fit_folder import check_fit


def gradients(model: Any, rank: int, step: int) -> dict[str, np.ndarray]:
    """Those that a rank computes at a step."""
    draw = np.random.default_rng([rank, step])
    return {name: draw.normal(size=grad.shape).astype(grad.dtype) for name, grad in model.grads.items()}


def sums(share: float, steps: int, communicator: Communicator, dtype: str = "float64") -> tuple[Any, ...]:
    """Of each step the gradients that a rank gets; what waits in it at last, and the bytes that it sent."""
    model = network(dtype=dtype)
    compression = LargestEntries(communicator, share, model)
    buckets = Buckets(model, communicator, 300, compression)
    found = []
    for step in range(steps):
        for name, grad in gradients(model, communicator.rank, step).items():
            model.grads[name][...] = grad
        buckets.finish()
        found.append({name: grad.copy() for name, grad in model.grads.items()})
    return found, compression.waiting, communicator.sent


@pytest.mark.parametrize("size", [2, 5])
def test_nothing_is_lost_and_all_ranks_have_the_same_bits(size: int) -> None:
    """What arrived in all steps and what still waits is the sum of all gradients."""
    steps, model = 6, network(dtype="float64")
    ranks = run_ranks(size, functools.partial(sums, 0.07, steps))
    for name in model.grads:
        arrived = np.sum([gradient[name] for gradient in ranks[0][0]], axis=0)
        waits = np.sum([waiting[name] for _, waiting, _ in ranks], axis=0).reshape(arrived.shape)
        wanted = np.sum([gradients(model, rank, step)[name] for rank in range(size) for step in range(steps)], axis=0)
        np.testing.assert_allclose(arrived + waits, wanted, rtol=0, atol=1e-12)
        assert waits.size < 10 or np.abs(waits).max() > 0.1
        for found, _, _ in ranks[1:]:
            assert all((own[name] == first[name]).all() for own, first in zip(found, ranks[0][0], strict=True))


def test_the_largest_entries_are_sent_and_their_bytes_as_predicted() -> None:
    """At the first step: of each parameter the k largest of each rank, 4 bytes for a place and 4 for a value."""
    model = network(dtype="float32")
    ranks = run_ranks(3, functools.partial(sums, 0.07, 1, dtype="float32"))
    counts = {name: math.ceil(0.07 * grad.size) for name, grad in model.grads.items()}
    for name, count in counts.items():
        wanted = np.zeros(model.grads[name].size, np.float32)
        for rank in range(3):
            own = gradients(model, rank, 0)[name].reshape(-1)
            largest = np.argsort(-np.abs(own))[:count]
            wanted[largest] += own[largest]
        assert (ranks[0][0][0][name].reshape(-1) == wanted).all()
    assert {sent for _, _, sent in ranks} == {8 * sum(counts.values()) * 2}


def test_not_a_number_arrives() -> None:
    def work(communicator: Communicator) -> bool:
        model = network()
        for name, grad in gradients(model, communicator.rank, 0).items():
            model.grads[name][...] = grad
        if communicator.rank == 1:
            model.grads["0.weight_hh_l1"][3, 2] = math.nan
        Buckets(model, communicator, 300, LargestEntries(communicator, 0.01, model)).finish()
        return bool(np.isnan(model.grads["0.weight_hh_l1"][3, 2]))

    assert run_ranks(3, work) == [True] * 3


# -- in a training ----------------------------------------------------------------------------------------------------


def trained(communicator: Any, share: float | None, epochs: int = 4, **options: Any) -> tuple[list[float], Any, int]:
    """Losses, weights and bytes sent of a training on several ranks."""
    model, given = steps_of_rows()
    given |= {"patience": 0, "validation": None, "optimizer": engine.Adam(model, lr=0.02), "quiet": True, **options}
    history = engine.fit(model, parallel=communicator, compress=share, epochs=epochs, **given)
    return history.loss, model.state_dict(), getattr(communicator, "sent", 0)


def test_all_entries_are_as_no_compression() -> None:
    plain, whole, some = (run_ranks(2, functools.partial(trained, share=share)) for share in (None, 1.0, 0.1))
    for name, weight in plain[0][1].items():
        np.testing.assert_allclose(whole[0][1][name], weight, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole[0][0], plain[0][0], rtol=1e-12)
    assert np.abs(np.subtract(some[0][0], plain[0][0])).max() > 1e-5
    assert some[0][0][-1] < some[0][0][0]
    assert some[0][0] == some[1][0]
    assert some[0][2] < plain[0][2] / 3


def test_a_resumed_run_goes_on_with_what_waits(tmp_path: Path) -> None:
    """With as many ranks as before to the bit; with another number the sum of what waits is the same."""
    folder, other = tmp_path / "run", tmp_path / "other"
    run = functools.partial(trained, share=0.1, out=folder)
    wanted = run_ranks(2, functools.partial(trained, share=0.1))
    run_ranks(2, functools.partial(run, epochs=2))
    shutil.copytree(folder, other)
    found = run_ranks(2, functools.partial(run, resume=True))
    assert found[0][0] == wanted[0][0]
    assert all((found[0][1][name] == weight).all() for name, weight in wanted[0][1].items())

    last = other / "last.safetensors"
    before = read_file(last, check_fit).group("unsent")
    run_ranks(3, functools.partial(run, epochs=2, out=other, resume=True))  # no step is left: it is saved again
    after = read_file(last, check_fit).group("unsent")
    for name, waits in before.items():
        assert (len(waits), len(after[name])) == (2, 3)
        np.testing.assert_allclose(after[name].sum(axis=0), waits.sum(axis=0), rtol=0, atol=1e-12)
    assert max(np.abs(waits).max() for waits in before.values()) > 1e-4
    again = run_ranks(3, functools.partial(run, out=other, resume=True))
    assert again[0][0][:2] == wanted[0][0][:2]
    assert again[0][0][2] != wanted[0][0][2]


def test_a_checkpoint_without_what_waits_is_refused(tmp_path: Path) -> None:
    run = functools.partial(trained, share=0.1, epochs=1, out=tmp_path / "run", resume=True)
    run_ranks(2, run)
    last = tmp_path / "run" / "last.safetensors"
    saved = read_file(last, check_fit)
    for change in ({}, {"unsent/1.weight": np.zeros((2, 1))}):
        arrays = {name: array for name, array in saved.arrays.items() if not name.startswith("unsent/")}
        write_checkpoint(last, arrays | change, saved.meta)
        with pytest.raises(CheckpointError, match="unsent/"):
            run_ranks(2, run)


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (1, {"share": 0.1}, "compress: expected several processes that train together, got one"),
        (2, {"share": 0.0}, "compress: expected None, or a number > 0 and at most 1, got 0.0"),
        (2, {"share": 1.5}, "compress: expected None, or a number > 0 and at most 1, got 1.5"),
        (2, {"share": math.nan}, "compress: expected a number"),
        (2, {"share": 0.1, "loss_scale": 8.0}, "compress: expected a loss that is not scaled"),
    ],
)
def test_what_cannot_be_compressed_is_refused(size: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run_ranks(size, functools.partial(trained, **options))
    if size == 1:
        with pytest.raises(InputError, match=words):
            trained(False, **options)


def test_the_command_refuses_it_in_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [write_text(tmp_path / "text.txt"), *tiny(), "--out", tmp_path / "run", "--quiet"]
    assert bptt("train", *words, "--compress", "0.1") == 2
    assert capsys.readouterr().err.startswith("bptt: --compress: expected several processes that train together, got")
    assert bptt("train", *words, "--compress", "1.5") == 2
    assert capsys.readouterr().err.startswith("bptt: --compress: expected at most 1, got 1.5")
    assert bptt("train", *words, "--steps", "2") == 0  # nothing was left behind
