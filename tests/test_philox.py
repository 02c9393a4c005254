"""The random numbers: published answers, independence of order and rows, and their distribution."""

from __future__ import annotations

import numpy as np
import pytest

import engine
from engine.backend import philox

ONES = 0xFFFFFFFF
# known answers of the generator's authors (Random123, file kat_vectors, philox4x32 with 10 rounds)
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_published_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    assert tuple(int(word) for word in philox.philox4x32(np, key, counter)) == answer  # type: ignore[arg-type]


def test_a_number_depends_on_its_place_alone() -> None:
    key = philox.stream_key(3, "1.0", "dropout")
    whole = philox.bits(np, key, 5, range(7), range(4), 10)
    np.testing.assert_array_equal(philox.bits(np, key, 5, [6, 2], [3, 1], 10), whole[[6, 2]][:, [3, 1]])
    np.testing.assert_array_equal(philox.bits(np, key, 5, range(7), range(4), 6), whole[:, :, :6])
    assert len(np.unique(whole)) == whole.size
    for other in (
        philox.stream_key(4, "1.0", "dropout"),
        philox.stream_key(3, "1.1", "dropout"),
        philox.stream_key(3, "1.0", "init"),
    ):
        assert not (philox.bits(np, other, 5, range(7), range(4), 10) == whole).any()
    assert not (philox.bits(np, key, 6, range(7), range(4), 10) == whole).any()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_masks_keep_the_mean(p: float) -> None:
    mask = philox.keep_mask(np, (1, 2), 0, range(50), range(40), 50, p, np.float32)
    assert mask.dtype == np.float32
    assert abs((mask == 0).mean() - p) < 0.006
    assert mask.mean() == pytest.approx(0.0 if p == 1 else 1.0, abs=0.03)


def test_uniform_and_normal_numbers() -> None:
    values = philox.uniform((7, 8), (300, 401), -2.0, 3.0)
    assert values.min() >= -2.0
    assert values.max() < 3.0
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    assert values.var() == pytest.approx(25 / 12, rel=0.02)
    normal = philox.normal((7, 8), (301, 400))
    assert np.isfinite(normal).all()
    assert normal.mean() == pytest.approx(0.0, abs=0.015)
    assert normal.var() == pytest.approx(1.0, rel=0.02)
    assert (normal**4).mean() == pytest.approx(3.0, rel=0.05)


def test_first_weights_are_these_numbers_for_ever() -> None:
    """Recorded: a checkpoint's seed must mean the same weights in every later version."""
    layer = engine.LSTM(2, 3, seed=11, dtype="float64")
    found = [layer.params["weight_ih_l0"][0, 0], layer.params["weight_hh_l0"][11, 2], layer.params["bias_hh_l0"][8]]
    np.testing.assert_allclose(found, RECORDED, rtol=1e-15)


RECORDED = [0.5687439967668114, 0.5300823636875555, 0.5353647492960739]


@pytest.mark.parametrize("size", [1, 5, philox.PIECE - 1, philox.PIECE, philox.PIECE + 3, 2 * philox.PIECE + 8])
def test_pieces_are_those_of_the_whole(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers do not depend on how many are drawn at a time, to the last bit, nor on the dtype they go to."""
    found = [philox.uniform((5, 6), (size,), -0.3, 0.3), philox.normal((5, 6), (size,))]
    narrow = [philox.uniform((5, 6), (size,), -0.3, 0.3, np.float32), philox.normal((5, 6), (size,), np.float32)]
    monkeypatch.setattr(philox, "PIECE", 3 * size)
    whole = [philox.uniform((5, 6), (size,), -0.3, 0.3), philox.normal((5, 6), (size,))]
    for one, other, short in zip(found, whole, narrow, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(short, other.astype(np.float32))


def test_a_range_is_counted_out_to_the_same_numbers_as_a_list() -> None:
    """A range is made where the data is: on a GPU nothing is uploaded for a mask."""
    key = philox.stream_key(3, "0", "dropout")
    from_lists = philox.bits(np, key, 2, [5, 6, 7], [10, 11], 6)
    np.testing.assert_array_equal(philox.bits(np, key, 2, range(5, 8), range(10, 12), 6), from_lists)
    np.testing.assert_array_equal(philox.bits(np, key, 2, range(5, 8, 1), np.array([10, 11]), 6), from_lists)
