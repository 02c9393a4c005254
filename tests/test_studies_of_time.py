"""The studies of recomputation and of truncation, in their small versions."""

from __future__ import annotations

import pytest

from engine.drawing import new_figure
from engine.studies import run_study


@pytest.mark.proof
def test_recomputation_is_measured_beside_full_storage() -> None:
    said: list[str] = []
    result, record = run_study("recompute", quick=True, seed=2, say=said.append)
    rows = record["rows"]
    assert [row["way"] for row in rows] == ["full storage", "recompute", "segmented_bptt"]
    assert {row["same bits"] for row in rows} == {"yes"}
    assert [row["segments"] for row in rows] == [1, 2, 2]
    assert rows[2]["MiB"] < rows[0]["MiB"]
    assert len(said) == 3
    figure = new_figure()
    result.draw(figure)
    assert [axes.get_title() for axes in figure.axes] == ["time, of full storage", "MiB of forward and backward"]


@pytest.mark.proof
def test_truncation_is_measured_beside_the_full_gradient() -> None:
    result, record = run_study("truncation", quick=True)
    rows = record["rows"]
    assert [(row["forget bias"], row["k2"]) for row in rows] == [(0.0, 2), (0.0, 24), (3.0, 2), (3.0, 24)]
    short, whole, long_memory, whole_again = (row["error"] for row in rows)
    assert whole < short < long_memory  # what is remembered longer, is cut off more
    assert whole_again < long_memory
    assert rows[0]["MiB of a window"] < rows[0]["MiB of the whole tape"]
    figure = new_figure()
    result.draw(figure)
    assert len(figure.axes) == 2
