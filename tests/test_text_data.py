"""Real texts with classes and real words with tags: the files are read whole, the models reach their figures."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.tasks.case import all_cases
from benchmarks.tasks.job import run
from engine.data.classes import class_names, stratified_split
from engine.data.labelled import read_labelled
from engine.data.tagged import read_tagged, tag_names

DATA = os.environ.get("BPTT_TEST_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="real data: set BPTT_TEST_DATA to the folder that has it")


def test_the_files_are_read_whole() -> None:
    folder = Path(DATA or "")
    names = read_labelled(folder / "surnames")
    assert len(class_names(names)) == 18
    lines = [path.read_text(encoding="utf-8").split("\n") for path in sorted((folder / "surnames").glob("*.txt"))]
    assert len(names) == sum(bool(line.strip()) for part in lines for line in part)
    train, held_out = (names.take(part) for part in stratified_split(names, 0.1, seed=0))
    assert not set(train.texts) & set(held_out.texts)
    assert set(train.labels) == set(held_out.labels)
    reviews = read_labelled(folder / "movie_reviews" / "train.tsv")
    assert Counter(reviews.labels) == {"1": 3610, "0": 3310}
    sentences = read_tagged(folder / "english_pos_tags.tsv")
    assert (len(sentences), len(tag_names(sentences))) == (2001, 17)


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("reviews", 0.79), ("surnames", 0.75), ("tags", 0.90)])
def test_the_models_reach_their_figures(name: str, least: float) -> None:
    found = run(all_cases()[name], "ours", 0)
    assert found["figure"] > least > found["baseline"]["figure"] + 0.05
