"""Data-parallel training: the same losses and weights on any number of ranks, whatever the rows look like."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_cupy import installed

import engine
from engine.errors import InputError, RankError
from engine.parallel import Communicator, run_ranks
from engine.parallel.buckets import Buckets
from engine.parallel.scaling import Costs, Done, Link, bytes_sent, predicted_seconds, simulated_seconds
from engine.parallel.shards import part_of

KIND: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}


def rows(count: int, most: int = 7, width: int = 3) -> list[np.ndarray]:
    """Rows of unequal length."""
    draw = np.random.default_rng(5)
    return [draw.normal(size=(int(steps), width)) for steps in draw.integers(1, most + 1, count)]


def network(*last: Any, **options: Any) -> Any:
    """Two recurrent layers with all kinds of masks."""
    given = {**KIND, **options}
    lstm = engine.LSTM(3, 5, 2, dropout=0.3, zoneout=0.1, weight_dropout=0.2, **given)
    return engine.Sequential(lstm, engine.Dropout(0.2, **given), *(last or [engine.Linear(5, 2, **given)]), seed=3)


def steps_of_rows() -> tuple[Any, dict[str, Any]]:
    x = rows(23)
    return network(), {"x": x, "y": [row[:, :2] ** 2 for row in x], "batch_size": 7, "validation": 0.2, "patience": 2}


def weighted_classes() -> tuple[Any, dict[str, Any]]:
    draw = np.random.default_rng(1)
    given = {"x": rows(22), "y": draw.integers(0, 2, 22), "loss": "cross_entropy", "weights": draw.random(22)}
    return network(batch_first=True), {**given, "batch_size": 5, "buckets": 2, "metrics": ["f1"]}


def masked_heads() -> tuple[Any, dict[str, Any]]:
    heads = engine.Heads({"tag": engine.Linear(5, 3, **KIND), "score": engine.Linear(5, 1, **KIND)})
    draw = np.random.default_rng(2)
    x, mask = draw.normal(size=(12, 6, 3)), draw.random((12, 6)) < 0.2
    mask[0] = True
    given: dict[str, Any] = {"x": x, "y": {"tag": draw.integers(0, 3, (12, 6)), "score": x.sum(axis=(1, 2))}}
    given["loss"] = {"tag": ("cross_entropy", 0.3), "score": "mse"}
    return network(heads), {**given, "mask": {"tag": mask}, "batch_size": 5, "lengths": draw.integers(1, 7, 12)}


def labels() -> tuple[Any, dict[str, Any]]:
    x = rows(9, most=9)
    y = [np.arange(1, 1 + len(row) // 3) % 2 + 1 for row in x]
    return network(engine.Linear(5, 3, **KIND)), {"x": x, "y": y, "loss": "ctc", "batch_size": 4}


def stateful() -> tuple[Any, dict[str, Any]]:
    draw = np.random.default_rng(3)
    x = draw.normal(size=(15, 4, 3))
    return network(), {"x": x, "y": x[:, ::-1, :2], "stateful": True, "batch_size": 5}


def trained(case: Callable[[], tuple[Any, dict[str, Any]]], parallel: Any, epochs: int = 3) -> tuple[Any, Any]:
    """The history and the weights after a training."""
    model, given = case()
    optimizer = engine.Adam(model, lr=0.02, l2=1e-3)
    options: dict[str, Any] = {"epochs": epochs, "clip": 0.5, "optimizer": optimizer, "quiet": True}
    history = engine.fit(model, parallel=parallel, **options, **given)
    return history, {name: model.backend.to_host(param).copy() for name, param in model.params.items()}


@pytest.mark.parametrize("case", [steps_of_rows, weighted_classes, masked_heads, labels, stateful])
@pytest.mark.parametrize("size", [2, 7])
def test_ranks_train_as_one(case: Callable[[], Any], size: int) -> None:
    """Unequal shards, ranks without a row, rows of unequal length, masks, weights, carried states, dropout."""
    history, weights = trained(case, False)
    for other, found in run_ranks(size, functools.partial(trained, case)):
        np.testing.assert_allclose(other.loss, history.loss, rtol=1e-12)
        np.testing.assert_allclose(other.validation_loss, history.validation_loss, rtol=1e-12)
        for name, value in weights.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.device
def test_gradients_of_a_gpu_go_through_the_host() -> None:
    history, weights = trained(steps_of_rows, False)

    def on_device(communicator: Communicator) -> Any:
        model, given = steps_of_rows()
        moved = model.to(backend="cupy:reference")
        return trained(lambda: (moved, given), communicator)

    with installed():
        for other, found in run_ranks(2, on_device):
            np.testing.assert_allclose(other.loss, history.loss, rtol=1e-12)
            for name, value in weights.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_sums_are_equal_everywhere_and_their_bytes_as_predicted(size: int) -> None:
    def work(communicator: Communicator) -> tuple[dict[str, np.ndarray], int, int]:
        model = network(dtype="float32")
        draw = np.random.default_rng(communicator.rank)
        for name, grad in model.grads.items():
            model.grads[name] = draw.normal(size=grad.shape).astype(np.float32)
        buckets = Buckets(model, communicator, size=300)
        assert len(buckets.buckets) > 3
        buckets.finish()
        return {name: grad.copy() for name, grad in model.grads.items()}, communicator.sent, buckets.bytes

    found = run_ranks(size, work)
    draws = [np.random.default_rng(rank) for rank in range(size)]
    for name, grad in found[0][0].items():
        wanted = np.zeros(grad.shape, np.float32)
        for draw in draws:
            wanted += draw.normal(size=grad.shape).astype(np.float32)
        for other, sent, held in found:
            assert (other[name] == wanted).all()  # in the order of the ranks: to the bit
            assert sent == 2 * held * (size - 1) // size


def test_buckets_leave_while_backward_still_works_below() -> None:
    """The sum of the last layers has begun before backward of the first, and within a stack before its lower layer."""

    def work(communicator: Communicator) -> list[tuple[str, int]]:
        model = network(engine.Linear(5, 4, **KIND), engine.GRU(4, 3, 2, **KIND))
        buckets = Buckets(model, communicator, size=400)
        y, _, tape = model.forward(np.ones((4, 2, 3)))
        seen, ready = [], buckets.ready

        def watched(names: list[str]) -> None:
            ready(names)
            seen.append((names[0] if names else "", buckets._next))

        buckets.ready = watched  # type: ignore[method-assign]
        with buckets.following(model):
            model.backward(tape, np.ones_like(y))
        return seen

    seen = [(name.rpartition("_")[2], sent) for name, sent in run_ranks(2, work)[0] if name]
    assert [name for name, _ in seen] == ["l1", "l0", "l0", "2.weight", "l1", "l0", "l0"]
    sent = [begun for _, begun in seen]
    assert 0 < sent[0] < sent[3] < sent[4] < sent[5]


@pytest.mark.parametrize(("rows", "size"), [(10, 4), (3, 5), (1, 1), (8, 2)])
def test_every_row_is_in_one_part(rows: int, size: int) -> None:
    parts = [part_of(rows, rank, size) for rank in range(size)]
    assert [row for part in parts if not part.empty for row in range(part.start, part.stop)] == list(range(rows))
    assert all(0 <= part.start < part.stop <= rows for part in parts)


# -- what is refused, and what ends all -------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [lambda: engine.BatchNorm(5, **KIND), lambda: engine.BatchNormLSTM(5, 5, 9, **KIND)])
def test_layers_that_mix_rows_are_refused(layer: Callable[[], Any]) -> None:
    def case() -> tuple[Any, dict[str, Any]]:
        return network(layer(), engine.Linear(5, 2, **KIND)), steps_of_rows()[1]

    with pytest.raises(InputError, match="model: expected layers whose result for a row depends on that row alone"):
        run_ranks(2, functools.partial(trained, case))


def test_other_data_on_another_rank_is_refused() -> None:
    def work(communicator: Communicator) -> None:
        x = np.full((4, 3, 3), 1.0 + communicator.rank)
        engine.fit(network(), x, x[:, :, :2], parallel=communicator, quiet=True)

    with pytest.raises(InputError, match="x: expected the same on all ranks, got another one on rank 1"):
        run_ranks(3, work)


def test_a_rank_that_fails_ends_the_others() -> None:
    def work(communicator: Communicator) -> None:
        def loss(prediction: Any, target: Any) -> Any:
            if communicator.rank == 1:
                raise ArithmeticError("no more")
            return engine.mse(prediction, target)

        x = np.ones((4, 3, 3))
        try:
            engine.fit(network(), x, x[:, :, :2], loss=loss, parallel=communicator, quiet=True)
        except RankError as error:
            ended.append(str(error))
            raise

    ended: list[str] = []
    with pytest.raises(ArithmeticError, match="no more"):
        run_ranks(3, work)
    assert ended == ["bptt: rank 1: ArithmeticError: no more"] * 2


# -- the model of scaling ---------------------------------------------------------------------------------------------

COSTS = Costs(
    0.1,
    [Done(0.01, ("2.w",)), Done(0.2, ("1.w",)), Done(0.05, ("0.w",))],
    0.02,
    {"0.w": 1000, "1.w": 400_000, "2.w": 50_000},
)
LINK = Link("slow", 0.001, 10e6)


def test_the_model_by_hand() -> None:
    """Two machines: of each gradient half is sent, twice; the first two buckets leave while backward goes on."""
    top, middle, last = (0.001 + count * 4 / 2 / LINK.bandwidth for count in (50_000, 400_000, 1000))
    after = COSTS.seconds + 2 * (top + middle + last)
    assert predicted_seconds(COSTS, 2, LINK, bucket=1000, overlap=False) == pytest.approx(after)
    # Top: both operations end before backward of the middle layer does.  Middle: its exchange ends after backward has
    # ended, and the last one's waits for it; then the two sums are sent.
    exchanged = 0.31 + top + middle  # the top's sum begins when backward is done with the middle layer
    assert exchanged > 0.36
    wanted = exchanged + last + middle + last + COSTS.rest
    found = predicted_seconds(COSTS, 2, LINK, bucket=1000)
    assert found == pytest.approx(wanted)
    assert bytes_sent(COSTS, 2, bucket=1000) == 2 * 4 * (50_000 + 400_000 + 1000) // 2


def test_the_simulation_is_no_faster_than_the_model() -> None:
    """Sleeping threads are late, never early: what overlap hides is hidden in both."""
    for ranks in (1, 3):
        found = simulated_seconds(COSTS, ranks, LINK, bucket=100_000, steps=1)
        assert found > 0.99 * predicted_seconds(COSTS, ranks, LINK, bucket=100_000)
