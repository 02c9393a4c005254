"""Sums of rows that share an id: right for every pattern of repetition, accurate, and the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_cuda import counts
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st

import engine
from kernels import segment_sum


def by_hand(ids: np.ndarray, places: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    sums: dict[int, np.ndarray] = {}
    for place in places:
        sums[int(ids[place])] = sums.get(int(ids[place]), 0) + values[place]
    return sums


def sorted_places(ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    return places[np.argsort(ids[places], kind="stable")]


@given(counts_of_ids=st.lists(st.integers(1, 150), min_size=1, max_size=6), seed=st.integers(0, 999))
def test_every_place_is_added_once(counts_of_ids: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(rng.choice(40, len(counts_of_ids), replace=False), counts_of_ids))
    places = np.flatnonzero(rng.random(ids.size) < 0.8)
    places = places if places.size else np.array([0])
    values = rng.normal(size=(ids.size, 3))
    rows, tables = segment_sum.plan(ids, sorted_places(ids, places))
    wanted = by_hand(ids, places, values)
    assert rows.tolist() == sorted(wanted)
    np.testing.assert_allclose(
        segment_sum.add_up(np, values, tables), [wanted[int(row)] for row in rows], rtol=1e-12, atol=1e-12
    )
    longest = max(np.bincount(ids[places]))
    assert all(table.shape[1] <= segment_sum.FAN for table in tables)
    assert len(tables) == max(1, int(np.ceil(np.log(longest) / np.log(segment_sum.FAN) - 1e-9)))
    assert sum(table.size for table in tables) <= 2 * places.size + 2 * segment_sum.FAN * len(rows) * len(tables)


def test_a_nan_stays_in_its_own_sum_and_small_sums_keep_their_digits() -> None:
    ids = np.array([0, 1, 1, 2, 3])
    values = np.array([1e8, 1.0, 2.0, np.nan, 5.0], np.float32)[:, None]
    _, tables = segment_sum.plan(ids, np.arange(5))
    np.testing.assert_array_equal(segment_sum.add_up(np, values, tables)[:, 0], np.array([1e8, 3.0, np.nan, 5.0], "f"))


@pytest.mark.parametrize("name", BACKENDS)
def test_the_gradient_of_an_embedding_is_the_same_on_every_run_and_backend(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = use_backend(name, monkeypatch)
    rng = np.random.default_rng(0)
    ids = rng.choice(9, (31, 11), p=np.arange(1, 10) / 45.0)
    dy = (rng.normal(size=(31, 11, 5)) * 10.0 ** rng.integers(-4, 5, (31, 11, 1))).astype(np.float32)
    wanted: Any = None
    for run in (backend, engine.get_backend("numpy:reference"), backend):
        layer = engine.Embedding(9, 5, backend=run)
        _, _, tape = layer.forward(ids, lengths=[31, *range(10)])
        counts.reset()
        layer.backward(tape, run.asarray(dy))
        found = run.to_host(layer.grads["weight"])
        wanted = found if wanted is None else wanted
        np.testing.assert_array_equal(found, wanted)
    exact = np.zeros((9, 5))
    valid = np.arange(31)[:, None] < np.array([31, *range(10)])
    np.add.at(exact, ids[valid], dy[valid].astype(np.float64))
    np.testing.assert_allclose(wanted, exact, rtol=2e-5, atol=1e-7 * np.abs(exact).max())
