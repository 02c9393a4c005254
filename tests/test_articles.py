"""The studies of what articles say run, and their page shows the figures that are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT

from benchmarks.studies.articles.__main__ import main
from benchmarks.studies.articles.claims import CLAIMS
from benchmarks.studies.articles.common import orthogonal, remember, spectral_radius, spread, updates_until
from benchmarks.studies.articles.flow import batch_vanishing, lstm_vanishing
from benchmarks.studies.articles.sequences import truncation

PAGE = ROOT / "docs" / "articles_measured.md"
KEPT = json.loads((ROOT / "benchmarks" / "results" / "studies" / "articles.json").read_text(encoding="utf-8"))
VERDICTS = {"true", "partly", "depends", "false"}
NUMBER = re.compile(r"\*\*([-\d.,]+(?:e[-+]\d+)?)(\s%)?\*\*")


def numbers(figures: dict[str, Any]) -> list[float]:
    """All numbers of a claim: medians, lowest and highest ones."""
    return [
        value for figure in figures.values() for value in (figure.values() if isinstance(figure, dict) else [figure])
    ]


def shows(text: str, value: float) -> bool:
    """Whether the number in a page is that value, to the digits that it has."""
    text = text.replace(",", "")
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    return f"{value:.{digits}{'e' if exponent else 'f'}}" == text


def sections() -> dict[str, str]:
    """The text below each heading of the page."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows() -> dict[str, list[str]]:
    """The rows of the page's table: the cells, by the claim."""
    found = re.findall(r"^\| \[(.*?)\]\(#.*?\) \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {claim: [cell.strip() for cell in cells.split("|")] for claim, cells in found}


# -- the page and the file ---------------------------------------------------------------------------------------------


def test_every_claim_was_measured_with_the_sizes_of_the_code() -> None:
    assert list(KEPT) == list(CLAIMS)
    for name, claim in CLAIMS.items():
        assert KEPT[name]["setting"] == json.loads(json.dumps(claim.setting)), name
        assert claim.setting["seeds"] >= 5
        assert claim.verdict in VERDICTS
        assert np.isfinite(numbers(KEPT[name]["figures"])).all()


@pytest.mark.parametrize("name", CLAIMS)
def test_page_shows_what_was_measured(name: str) -> None:
    """Every number in bold is one of the figures; the command and the verdict are the claim's."""
    claim, figures = CLAIMS[name], numbers(KEPT[name]["figures"])
    section, (measured, verdict) = sections()[claim.says], rows()[claim.says]
    assert f"`python -m benchmarks.studies.articles {name}`" in section
    assert verdict == claim.verdict
    for text, least in ((section, 2), (measured, 1)):
        shown = NUMBER.findall(text)
        assert len(shown) >= least
        assert [number for number, _ in shown if not any(shows(number, value) for value in figures)] == []
        assert text.count("**") == 2 * len(shown), "bold is for measured numbers"


def test_page_has_the_claims_and_no_others() -> None:
    says = [claim.says for claim in CLAIMS.values()]
    assert list(rows()) == says
    assert list(sections()) == [*says, "How it was measured"]


def test_a_number_is_shown_to_its_digits() -> None:
    assert shows("1.27e-13", 1.2744e-13)
    assert not shows("1.28e-13", 1.2744e-13)
    assert shows("1,000", 1000.0)
    assert shows("50.4", 50.44)
    assert not shows("50.4", 50.46)


# -- the studies -------------------------------------------------------------------------------------------------------


def test_batch_size_does_not_change_how_a_gradient_vanishes() -> None:
    figures = batch_vanishing(hidden=6, steps=12, batches=(4, 64), seeds=3)
    for cell in ("RNN", "LSTM"):
        few, many = figures[f"{cell}, B = 4"], figures[f"{cell}, B = 64"]
        assert isinstance(few, dict)
        assert isinstance(many, dict)
        assert 0.2 < few["median"] / many["median"] < 5
        assert few["high"] < 0.1


def test_the_forget_bias_decides_how_fast_an_lstm_vanishes() -> None:
    figures = lstm_vanishing(hidden=6, steps=20, biases=(0.0, 1.0, 3.0), seeds=2)
    ratios = [figures[f"forget bias {bias}: ratio"]["median"] for bias in (0, 1, 3)]  # type: ignore[index]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1e-3 < ratios[2]


def test_truncation_saves_memory_only_where_the_tape_is_let_go() -> None:
    figures = truncation(steps=60, k=6, rows=4, hidden=16, seeds=1)
    peak = {way: figures[f"{way}: MB"]["median"] for way in ("whole", "one tape", "carried")}  # type: ignore[index]
    assert peak["carried"] < 0.5 * peak["one tape"]
    cosine = [figures[f"{way}: cosine"]["median"] for way in ("one tape", "carried")]  # type: ignore[index]
    np.testing.assert_allclose(cosine[0], cosine[1], rtol=1e-4)  # k1 = k2: the same gradient in both ways
    assert cosine[0] < 0.9999


@pytest.mark.proof
def test_every_study_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert main(["--tiny", "--json", str(path)]) == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found) == list(CLAIMS)
    printed = capsys.readouterr().out
    for name, claim in CLAIMS.items():
        assert f"{name}: {claim.says}" in printed
        assert np.isfinite(numbers(found[name]["figures"])).all()


def test_an_unknown_claim_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["no-such-claim"])
    assert error.value.code == 2
    assert "no claim is called 'no-such-claim'" in capsys.readouterr().err


def test_the_memory_task_shows_its_class_at_the_first_step_alone() -> None:
    x, classes = remember(5, 7, np.random.default_rng(0))
    assert x.shape == (5, 7, 8)
    assert (x[0, :, :4].argmax(axis=1) == classes).all()
    assert (x[1:, :, :4] == 0).all()
    assert len(np.unique(x[:, :, 4:])) == 5 * 7 * 4


def test_figures_of_the_studies() -> None:
    assert spread([3, 1, 2]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert updates_until([1.0] * 30 + [0.0] * 30, 0.1) == 49  # 20 losses of which at most one is 1
    assert updates_until([1.0] * 30, 0.1) == 30
    matrix = orthogonal(6, 3)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-12)
    assert spectral_radius(0.5 * matrix) == pytest.approx(0.5)
