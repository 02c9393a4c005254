"""Reading labels from CTC's outputs: the beam equals a sum over all paths, the best path is the likeliest one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from engine.errors import InputError
from engine.losses.ctc_decoding import best_path_steps, prefix_beam


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


@pytest.mark.parametrize(("T", "K", "blank"), [(4, 3, 0), (5, 3, 2), (3, 4, 1), (6, 2, 0)])
def test_a_wide_beam_is_the_sum_over_all_paths(T: int, K: int, blank: int) -> None:
    rng = np.random.default_rng(10 * T + K)
    scores = rng.normal(size=(T, K)) * 2
    log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    exact: dict[tuple[int, ...], float] = {}
    best: tuple[float, tuple[int, ...]] = -math.inf, ()
    for path in itertools.product(range(K), repeat=T):
        log_prob = float(sum(log_probs[t, k] for t, k in enumerate(path)))
        labels = collapsed(path, blank)
        exact[labels] = exact.get(labels, 0.0) + math.exp(log_prob)
        best = max(best, (log_prob, path))
    found = prefix_beam(log_probs, width=10**6, blank=blank)
    assert {reading.labels for reading in found} == set(exact)
    for reading in found:
        assert math.exp(reading.log_prob) == pytest.approx(exact[reading.labels], rel=1e-12)
    assert [r.log_prob for r in found] == sorted((r.log_prob for r in found), reverse=True)
    assert tuple(label for label, _ in best_path_steps(log_probs, blank)) == collapsed(tuple(best[1]), blank)


def test_a_narrow_beam_finds_no_more_than_there_is() -> None:
    rng = np.random.default_rng(8)
    scores = rng.normal(size=(6, 4))
    log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    wide = {r.labels: r.log_prob for r in prefix_beam(log_probs, width=10**6)}
    for width in (1, 3, 9):
        found = prefix_beam(log_probs, width)
        assert len(found) == width
        assert all(reading.log_prob <= wide[reading.labels] + 1e-9 for reading in found)


def test_labels_stand_at_their_likeliest_step() -> None:
    path = [0, 2, 2, 0, 2, 1, 1, 1, 0]
    log_probs = np.full((9, 3), -5.0)
    log_probs[np.arange(9), path] = [-0.1, -0.4, -0.2, -0.1, -0.3, -0.5, -0.1, -0.2, -0.1]
    assert best_path_steps(log_probs) == [(2, 2), (2, 4), (1, 6)]
    assert best_path_steps(np.zeros((0, 3))) == []


def test_impossible_classes_are_no_trouble() -> None:
    found = prefix_beam(np.array([[-math.inf, 0.0], [0.0, -math.inf]]), width=2)
    assert found[0] == ((1,), 0.0)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"log_probs: expected an array \(T, K\) .* got shape \(2, 3, 4\)"):
        prefix_beam(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="width: expected an integer >= 1, got 0"):
        prefix_beam(np.zeros((2, 3)), 0)
    with pytest.raises(InputError, match=r"blank: expected a class index in 0..2, got 3"):
        best_path_steps(np.zeros((2, 3)), 3)
