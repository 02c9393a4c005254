"""Batches: contiguous lanes, orders that can be resumed, buckets, padding, forecasting windows and their parts."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from refusals import refused

from engine.data import (
    WindowBatches,
    Windows,
    bucket_by_length,
    chronological_split,
    contiguous_batches,
    pad_sequences,
    shuffled_order,
    split_windows,
    windows,
)
from engine.errors import DataError, InputError, InputTypeError

# --- contiguous lanes -----------------------------------------------------------------------------------------------

STREAMS = st.tuples(st.integers(2, 400), st.integers(1, 9), st.integers(1, 13))


@given(STREAMS)
def test_every_id_but_the_first_is_a_target_once_and_follows_its_input(sizes: tuple[int, int, int]) -> None:
    count, batch_size, steps = sizes
    assume(count > batch_size)
    ids = np.arange(100, 100 + count, dtype=np.int32)  # all different, so that a value tells its place
    batches = contiguous_batches(ids, batch_size, steps, allow_short=True)
    seen = list(batches)
    assert len(seen) == len(batches)
    targets = np.concatenate([batch.targets.ravel() for batch in seen])
    kept = count - batches.dropped
    assert 0 <= batches.dropped < batch_size
    assert sorted(targets.tolist()) == ids[1:kept].tolist()
    assert batches.tokens == targets.size == kept - 1
    for batch in seen:
        assert (batch.targets == batch.inputs + 1).all()


@given(STREAMS)
def test_lanes_continue_from_batch_to_batch(sizes: tuple[int, int, int]) -> None:
    count, batch_size, steps = sizes
    assume(count > batch_size)
    ids = np.random.default_rng(count).integers(0, 50, count).astype(np.int32)
    batches = contiguous_batches(ids, batch_size, steps, allow_short=True)
    lanes = np.concatenate([batch.inputs for batch in batches])  # (L, B)
    length = batches.lane_length
    assert lanes.shape == (length, batch_size)
    for lane in range(batch_size):
        assert lanes[:, lane].tolist() == ids[lane * length : (lane + 1) * length].tolist()
    for before, after in pairwise(batches):
        assert before.targets[-1].tolist() == after.inputs[0].tolist()
    # All chunks are full but perhaps the last.
    shapes = [batch.inputs.shape for batch in batches]
    assert all(shape == (steps, batch_size) for shape in shapes[:-1])
    assert shapes[-1] == (length - (len(shapes) - 1) * steps, batch_size)
    assert 1 <= shapes[-1][0] <= steps


def test_a_worked_example() -> None:
    batches = contiguous_batches(list(range(12)), 2, 3)
    assert (len(batches), batches.lane_length, batches.dropped, batches.tokens) == (2, 5, 1, 10)
    assert batches.batch(0).inputs.tolist() == [[0, 5], [1, 6], [2, 7]]
    assert batches.batch(1).inputs.tolist() == [[3, 8], [4, 9]]
    assert batches.batch(1).targets.tolist() == [[4, 9], [5, 10]]


def test_batches_are_random_access_fresh_int32_and_contiguous() -> None:
    ids = np.random.default_rng(3).integers(0, 9, 97)
    batches = contiguous_batches(ids, 4, 7)
    kept = [batch.inputs.copy() for batch in batches]
    for index in (2, 0, 3, 2):
        batch = batches.batch(index)
        assert (batch.inputs == kept[index]).all()
        for array in batch:
            assert array.dtype == np.int32
            assert array.flags.c_contiguous
            array[:] = -1  # may not reach the stream
    assert (batches.batch(2).inputs == kept[2]).all()
    # One lane of one step: where a view of the stream would already have the right layout.
    tiny = contiguous_batches(np.array([1, 2, 3], dtype=np.int32), 1, 2)
    tiny.batch(0).inputs[:] = 9
    assert tiny.batch(0).inputs.tolist() == [[1], [2]]


@given(STREAMS, st.booleans())
def test_a_stream_too_short_is_refused_and_the_sizes_offered_work(sizes: tuple[int, int, int], short: bool) -> None:
    count, batch_size, steps = sizes
    need = batch_size * (1 if short else steps) + 1
    if count >= need:
        assert len(contiguous_batches(range(count), batch_size, steps, allow_short=short)) >= 1
        return
    with pytest.raises(InputError) as caught:
        contiguous_batches(range(count), batch_size, steps, allow_short=short)
    message = str(caught.value)
    assert f"= {need} ids, got {count}; give more text" in message
    if "lower batch_size to" in message:
        offered = int(message.split("lower batch_size to ")[1].split()[0])
        assert len(contiguous_batches(range(count), offered, steps, allow_short=short)) == math.ceil(
            (count - 1) // offered / steps
        )
        with pytest.raises(InputError):
            contiguous_batches(range(count), offered + 1, steps, allow_short=short)
    if "lower steps to" in message:
        offered = int(message.split("lower steps to ")[1].split()[0])
        contiguous_batches(range(count), batch_size, offered, allow_short=short)
        with pytest.raises(InputError):
            contiguous_batches(range(count), batch_size, offered + 1, allow_short=short)
    assert "lower" in message


def test_contiguous_refusals() -> None:
    with refused(InputError, "ids: expected at least batch_size * steps + 1 = 13 ids, got 9; give more text, or lower"):
        contiguous_batches(range(9), 4, 3)
    with refused(InputError, "batch_size + 1 = 5 ids, got 4; give more text, or lower batch_size to 3 or less"):
        contiguous_batches(range(4), 4, 3, allow_short=True)
    with refused(InputError, "got 4; give more text, or lower both (batch_size 1 allows steps up to 3)"):
        contiguous_batches(range(4), 4, 5)
    for count in (0, 1):
        with refused(InputError, f"= 2 ids, got {count}; give more text (2 ids are the least"):
            contiguous_batches(range(count), 1, 1)
    with refused(InputError, "batch_size: expected an integer >= 1, got 0"):
        contiguous_batches(range(9), 0, 3)
    with refused(InputTypeError, "steps: expected an integer >= 1, got 2.5"):
        contiguous_batches(range(9), 1, 2.5)  # type: ignore[arg-type]
    with refused(InputTypeError, "ids: expected a one-dimensional array of integers on the host, got dtype float64; "):
        contiguous_batches(np.zeros(9), 1, 2)
    with refused(InputError, f"ids: expected ids that fit in int32, got {2**31}; check"):
        contiguous_batches([0, 2**31, 1], 1, 2)
    batches = contiguous_batches(range(9), 1, 4)
    with refused(InputError, "index: expected a batch number in 0..1, got 2; start over"):
        batches.batch(2)
    with refused(InputError, "index: expected an integer >= 0, got -1"):
        batches.batch(-1)


# --- orders ---------------------------------------------------------------------------------------------------------

RECORDED = ([7, 2, 0, 4, 3, 5, 6, 1], [1, 2, 0, 4, 6, 5, 7, 3])


@given(st.integers(0, 200), st.integers(0, 2**63), st.integers(0, 2**20))
def test_an_order_is_a_permutation_and_a_pure_function(count: int, seed: int, epoch: int) -> None:
    order = shuffled_order(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert (order == shuffled_order(count, seed, epoch)).all()
    if count > 30:
        for other in (
            shuffled_order(count, seed + 1, epoch),
            shuffled_order(count, seed, epoch + 1),
            shuffled_order(count, seed, epoch, purpose=1),
            np.arange(count),
        ):
            assert (order != other).any()


def test_an_order_is_the_same_for_ever() -> None:
    # Recorded: a checkpoint of an older version must find the same batches again.
    assert shuffled_order(8, 0, 0).tolist() == RECORDED[0]
    assert shuffled_order(8, 5, 3, purpose=1).tolist() == RECORDED[1]


def test_every_place_is_equally_likely() -> None:
    counts = np.zeros((5, 5))
    for epoch in range(2000):
        counts[np.arange(5), shuffled_order(5, 11, epoch)] += 1
    assert np.abs(counts - 400).max() < 5 * math.sqrt(400 * 0.8)  # five standard deviations


def test_an_order_refuses_negative_seeds_and_epochs() -> None:
    with refused(InputError, "seed: expected an integer >= 0, got -1"):
        shuffled_order(3, -1, 0)
    with refused(InputError, "epoch: expected an integer >= 0, got -2"):
        shuffled_order(3, 1, -2)


# --- buckets and padding --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=80), st.integers(1, 9), st.integers(1, 6), st.none() | st.integers(0, 9))
def test_buckets_hold_every_sequence_once_and_little_padding(
    lengths: list[int], batch_size: int, width: int, seed: int | None
) -> None:
    batches = bucket_by_length(lengths, batch_size, bucket_width=width, seed=seed, epoch=3)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    sizes = Counter(len(batch) for batch in batches)
    assert sum(number for size, number in sizes.items() if size != batch_size) <= 1
    # Blocks of `width` steps never interleave: put in order, the batches rise.
    spans = sorted((min(b), max(b)) for b in ([-(-lengths[i] // width) for i in batch] for batch in batches))
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    again = bucket_by_length(lengths, batch_size, bucket_width=width, seed=seed, epoch=3)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def test_buckets_change_with_the_epoch_and_without_a_seed_come_in_order() -> None:
    lengths = np.random.default_rng(1).integers(1, 5, 64)
    assert [b.tolist() for b in bucket_by_length([3, 1, 3, 2], 2)] == [[1, 3], [0, 2]]
    first, second = (bucket_by_length(lengths, 4, seed=2, epoch=epoch) for epoch in (0, 1))
    assert {tuple(sorted(b)) for b in first} != {tuple(sorted(b)) for b in second}  # other company
    longest = [int(lengths[b].max()) for b in first]
    assert longest != sorted(longest)  # the batches are shuffled too


def test_bucket_refusals() -> None:
    with refused(InputError, "lengths: expected integers >= 0, got -1 at index 1; a sequence"):
        bucket_by_length([2, -1], 2)
    with refused(InputTypeError, "lengths: expected a one-dimensional array of integers", "got list of dtype float64"):
        bucket_by_length([2.0], 2)
    with refused(InputError, "bucket_width: expected an integer >= 1, got 0"):
        bucket_by_length([2], 2, bucket_width=0)
    assert bucket_by_length([], 2) == []


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.sampled_from([None, 1, 3]), st.booleans())
def test_padding_keeps_every_step_and_fills_the_rest(lengths: list[int], width: int | None, batch_first: bool) -> None:
    rng = np.random.default_rng(len(lengths))
    shapes = [(t,) if width is None else (t, width) for t in lengths]
    sequences = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    x, counted = pad_sequences(sequences, batch_first=batch_first, value=-7)
    assert counted.tolist() == lengths
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    rows = x if batch_first else x.swapaxes(0, 1)
    assert rows.shape == (len(lengths), max(lengths), *([] if width is None else [width]))
    for row, item in zip(rows, sequences, strict=True):
        assert (row[: len(item)] == item).all()
        assert (row[len(item) :] == -7).all()


def test_padding_of_ids_and_refusals() -> None:
    x, lengths = pad_sequences([np.array([4, 5], dtype=np.int32), np.array([6], dtype=np.int32)])
    assert x.tolist() == [[4, 6], [5, 0]]
    assert [str(x.dtype), str(lengths.dtype)] == ["int32", "int64"]
    with refused(InputError, "sequences: expected at least one array, got an empty list; leave"):
        pad_sequences([])
    with refused(InputTypeError, "sequences: expected a list of arrays, got ndarray; pass"):
        pad_sequences(np.zeros((2, 3)))  # type: ignore[arg-type]
    with refused(InputError, "sequences[1]: expected shape (t, 2) as in sequences[0], got shape (3, 4); make"):
        pad_sequences([np.zeros((3, 2)), np.zeros((3, 4))])
    with refused(InputError, "sequences[0]: expected shape (t, D) or (t,), got shape (1, 2, 3); make"):
        pad_sequences([np.zeros((1, 2, 3))])
    with refused(InputTypeError, "sequences[1]: expected dtype float64 as in sequences[0], got float32; convert"):
        pad_sequences([np.zeros(3), np.zeros(3, dtype=np.float32)])
    with refused(InputTypeError, "sequences[0]: expected floats or integers, got dtype object; convert"):
        pad_sequences([np.array([None])])


def test_padding_of_plain_lists() -> None:
    """They become arrays as NumPy makes them, of one dtype."""
    ids, lengths = pad_sequences([[4, 5], [], (6,)], batch_first=True, value=-1)
    assert (ids.tolist(), lengths.tolist(), str(ids.dtype)) == ([[4, 5], [-1, -1], [6, -1]], [2, 0, 1], "int64")
    rows, lengths = pad_sequences([[[1, 2], [3, 4], [5, 6]], [], [[7.5, 8]]], batch_first=True)
    assert rows.tolist() == [[[1, 2], [3, 4], [5, 6]], [[0, 0]] * 3, [[7.5, 8], [0, 0], [0, 0]]]
    assert (str(rows.dtype), lengths.tolist()) == ("float64", [3, 0, 1])
    beside, _ = pad_sequences([np.ones((2, 3), np.float32), []])
    assert (beside.shape, str(beside.dtype)) == ((2, 2, 3), "float32")
    assert pad_sequences([np.array([1.5]), [2.5, 3.5]])[0].tolist() == [[1.5, 2.5], [0.0, 3.5]]
    bad: list[tuple[Any, str]] = [
        (
            [[1, 2], [3, [4]]],
            "sequences[1]: expected numbers on the host, got a list of no one shape; give rows of one",
        ),
        ([[[1, 2], [3]]], "sequences[0]: expected numbers on the host, got a list of no one shape; give rows of one"),
        ([[[1, 2]], [[3, 4, 5]]], "sequences[1]: expected shape (t, 2) as in sequences[0], got shape (1, 3); make"),
        ([[1, 2], 3], "sequences[1]: expected an array, or a list of numbers, got 3; convert"),
        (["ab"], "sequences[0]: expected an array, or a list of numbers, got 'ab'"),
        ([["a", "b"]], "sequences[0]: expected floats or integers, got dtype <U1; convert"),
        (
            [np.ones(1, np.float32), [2.0]],
            "sequences[1]: expected dtype float32 as in sequences[0], got float64; convert",
        ),
    ]
    for sequences, words in bad:
        with refused(InputError, words):
            pad_sequences(sequences)


# --- windows --------------------------------------------------------------------------------------------------------

WINDOW_SIZES = st.tuples(st.integers(3, 60), st.integers(1, 3), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4))


@given(WINDOW_SIZES)
def test_windows_match_a_plain_loop(sizes: tuple[int, int, int, int, int]) -> None:
    rows, columns, steps, horizon, stride = sizes
    assume(rows >= steps + horizon)
    values = np.random.default_rng(rows).standard_normal((rows, columns))
    made = windows(values, steps, horizon, stride, target=columns - 1)
    origins = list(range(steps, rows - horizon + 1, stride))
    assert made.origins.tolist() == origins
    assert (len(made), made.steps, made.horizon) == (len(origins), steps, horizon)
    assert made.x.shape == (len(origins), steps, columns)
    for n, origin in enumerate(origins):
        assert (made.x[n] == values[origin - steps : origin]).all()
        assert (made.targets[n] == values[origin : origin + horizon, -1]).all()
    assert (made.history == values[:, -1]).all()


@given(WINDOW_SIZES, st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_no_window_peeks_at_a_later_part_and_no_target_is_in_two_parts(
    sizes: tuple[int, int, int, int, int], held_out: float, last: float
) -> None:
    rows, columns, steps, horizon, stride = sizes
    rows += 20
    assume(round(rows * held_out) and round(rows * last))
    parts = chronological_split(rows, held_out, last)
    # A value tells its row; inside the window everything is compared as row numbers.
    values = np.repeat(np.arange(float(rows))[:, np.newaxis], columns, axis=1)
    targets: dict[str, set[float]] = {}
    for name, part in parts._asdict().items():
        if max(part.start, steps) + horizon > part.stop:
            with pytest.raises(DataError):
                windows(values, steps, horizon, stride, part=part)
            continue
        # Whatever comes later may not be looked at: poison in it changes nothing and is not even noticed.
        poisoned = values.copy()
        poisoned[part.stop :] = np.nan
        made = windows(poisoned, steps, horizon, stride, part=part)
        assert made.targets.min() == made.origins[0] == max(part.start, steps)
        assert made.targets.max() < part.stop
        assert (made.x.max(axis=(1, 2)) == made.origins - 1).all()
        assert (made.x.min(axis=(1, 2)) == made.origins - steps).all()
        assert len(made.history) == part.stop
        if stride == 1:
            assert set(made.targets.ravel()) == set(np.arange(max(part.start, steps), part.stop, dtype=float))
        targets[name] = set(made.targets.ravel())
    names = list(targets)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            assert not targets[name] & targets[other]


@given(st.integers(3, 500), st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_chronological_parts_follow_each_other(rows: int, held_out: float, last: float) -> None:
    try:
        parts = chronological_split(rows, held_out, last)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    if message:
        sizes = (round(rows * held_out), round(rows * last))
        assert held_out + last >= 1 or min(*sizes, rows - sum(sizes)) < 1
        return
    assert [row for part in parts for row in part] == list(range(rows))
    assert min(len(part) for part in parts) >= 1
    assert abs(len(parts.validation) - rows * held_out) <= 0.5
    assert abs(len(parts.test) - rows * last) <= 0.5


def test_windows_are_safe_from_later_writes_and_cannot_be_written_to() -> None:
    values = np.arange(20.0)
    made = windows(values, 4, 2)
    values[:] = -1
    assert made.x[0].ravel().tolist() == [0, 1, 2, 3]
    for array in (made.x, made.targets, made.history):
        assert not array.flags.writeable


def test_anchored_windows_are_differences_from_the_last_known_row_and_can_be_undone() -> None:
    values = np.random.default_rng(5).standard_normal((40, 3)) + [1.0, 10.0, 100.0]
    made = windows(values, 6, 4, 3, target=1, part=range(15, 40))
    relative = made.anchored()
    assert (made.anchors == values[made.origins - 1, 1]).all()
    assert (relative.x[:, -1] == 0).all()
    np.testing.assert_allclose(relative.x + values[made.origins - 1][:, np.newaxis], made.x, rtol=1e-14)
    np.testing.assert_allclose(relative.targets + made.anchors[:, np.newaxis], made.targets, rtol=1e-14)
    again = relative.anchored()
    assert (again.x == relative.x).all()
    assert (again.targets == relative.targets).all()
    assert (relative.anchors == made.anchors).all()
    assert not relative.x.flags.writeable
    # A level that is added to the whole series leaves nothing behind: that is what it is for.
    shifted = windows(values + 1024.0, 6, 4, 3, target=1, part=range(15, 40)).anchored()
    np.testing.assert_allclose(shifted.x, relative.x, atol=1e-12)
    np.testing.assert_allclose(shifted.targets, relative.targets, atol=1e-12)


def test_split_windows_cuts_every_part_alike() -> None:
    values = np.random.default_rng(0).standard_normal((50, 2))
    parts = chronological_split(50, 0.2, 0.3)
    cut = split_windows(values, parts, 5, 3, 2, target=1)
    for made, part in zip(cut, parts, strict=True):
        alone = windows(values, 5, 3, 2, target=1, part=part)
        assert (made.x == alone.x).all()
        assert (made.targets == alone.targets).all()
    assert cut.train.origins[0] == 5
    assert (cut.validation.origins[0], cut.test.origins[0]) == (25, 35)


def test_window_refusals() -> None:
    values = np.arange(12.0)
    parts = chronological_split(12, 0.25, 0.25)
    with refused(
        DataError, "values: expected at least steps + horizon = 10 + 3 rows", "got 12; lower steps or horizon"
    ):
        windows(values, 10, 3)
    with refused(DataError, "values: expected at least steps + horizon = 6 + 1 rows up to the end of the part, got 6"):
        windows(values, 6, 1, part=parts.train)
    with refused(DataError, "values: expected at least horizon = 4 rows in the part, got 3; lower horizon, or make"):
        windows(values, 2, 4, part=parts.test)
    with refused(InputError, "steps: expected an integer >= 1, got 0"):
        windows(values, 0)
    with refused(InputError, "stride: expected an integer >= 1, got 0"):
        windows(values, 1, 1, 0)
    with refused(InputError, "target: expected a column in 0..0, got 1; count"):
        windows(values, 1, target=1)
    with refused(InputError, "part: expected rows in 0..12, got range(3, 13); split"):
        windows(values, 1, part=range(3, 13))
    with refused(InputTypeError, "part: expected a range of rows, got (0, 5); take"):
        windows(values, 1, part=(0, 5))  # type: ignore[arg-type]
    with refused(InputTypeError, "part: expected a range of rows, got range(0, 8, 2); take"):
        windows(values, 1, part=range(0, 8, 2))
    with refused(InputTypeError, "values: expected a float array", "got dtype int64; convert it with .astype(float)"):
        windows(np.arange(12), 1)
    with refused(InputTypeError, "values: expected a float array", "got a list; load"):
        windows([1.0, 2.0], 1)  # type: ignore[arg-type]
    with refused(InputError, "values: expected a float array (N,) or (N, C)", "got shape (1, 1, 9); give"):
        windows(np.zeros((1, 1, 9)), 1)
    values[4] = np.nan
    with refused(DataError, "values: expected finite numbers, got nan at row 4, column 0; fill"):
        windows(values, 2)
    for rows, fractions, got in [
        (12, (0.5, 0.5), "got 0.5 + 0.5; leave rows"),
        (4, (0.1, 0.5), "got 2, 0 and 2 of 4 r"),
    ]:
        with refused(InputError, "expected ", got):
            chronological_split(rows, *fractions)
    with refused(InputError, "test_fraction: expected a fraction > 0 and < 1, got 0; give"):
        chronological_split(12, 0.2, 0)


# --- batches of windows ---------------------------------------------------------------------------------------------


def some_windows(rows: int = 40) -> Windows:
    return windows(np.random.default_rng(rows).standard_normal((rows, 2)), 5, 3, target=1)


def test_an_epoch_takes_each_window_once_time_first_in_the_models_dtype() -> None:
    source = some_windows()
    batches = WindowBatches(source, 7, seed=4)
    seen = list(batches.iterate(2))
    assert len(seen) == len(batches) == 5
    assert sorted(np.concatenate([batch.chosen for batch in seen]).tolist()) == list(range(len(source)))
    for batch in seen:
        assert batch.x.shape == (5, len(batch.chosen), 2)
        assert [str(batch.x.dtype), str(batch.targets.dtype)] == ["float32", "float32"]
        assert batch.x.flags.c_contiguous
        assert (batch.x == source.x[batch.chosen].astype(np.float32).swapaxes(0, 1)).all()
        assert (batch.targets == source.targets[batch.chosen].astype(np.float32)).all()


def test_window_batches_resume_anywhere_in_any_order_of_asking() -> None:
    straight = WindowBatches(some_windows(), 6, seed=9, dtype="float64")
    kept = {(epoch, i): b.chosen.tolist() for epoch in range(3) for i, b in enumerate(straight.iterate(epoch))}
    fresh = WindowBatches(some_windows(), 6, seed=9, dtype="float64")
    assert [b.chosen.tolist() for b in fresh.iterate(1, start=4)] == [kept[1, 4], kept[1, 5]]
    for epoch, index in [(2, 3), (0, 1), (1, 1), (0, 0), (2, 5)]:
        fresh.order(epoch)[:] = 0  # a caller's scribbling does not reach the kept order
        assert fresh.batch(index, epoch).chosen.tolist() == kept[epoch, index]
    assert kept[0, 0] != kept[1, 0]
    assert WindowBatches(some_windows(), 6, seed=10).batch(0).chosen.tolist() != kept[0, 0]
    assert WindowBatches(some_windows(), 6, shuffle=False).batch(1, 7).chosen.tolist() == [6, 7, 8, 9, 10, 11]


def test_window_batch_refusals() -> None:
    with refused(InputTypeError, "source: expected Windows, got a numpy.ndarray; cut"):
        WindowBatches(np.zeros(3), 2)  # type: ignore[arg-type]
    for dtype in ("float16", "nonsense", int):
        with refused(InputTypeError, 'dtype: expected "float32" or "float64", got '):
            WindowBatches(some_windows(), 2, dtype=dtype)
    with refused(InputError, "index: expected a batch number in 0..4, got 5; go on"):
        WindowBatches(some_windows(), 7).batch(5)
    with refused(InputError, "epoch: expected an integer >= 0, got -1"):
        WindowBatches(some_windows(), 7).batch(0, -1)


def test_the_data_rooms_import_nothing_from_the_floors_below_or_any_heavy_library() -> None:
    code = (
        "import sys, engine; before = set(sys.modules); import engine.data; new = set(sys.modules) - before;"
        "heavy = {'pandas', 'scipy', 'numba', 'cupy', 'torch', 'statsmodels', 'matplotlib'};"
        "print(sorted(heavy & new), sorted(m for m in new if m.startswith(('engine.layers', 'kernels'))))"
    )
    root = Path(__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ran.stdout == "[] []\n"
