"""Cases of ``--task forecast``: the weekly CO2 series of Mauna Loa."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tasks.case import Case
from engine.data import score, seasonal_naive


def co2(_: Path, scratch: Path) -> dict[str, Any]:
    """Write the series, which comes with statsmodels."""
    from benchmarks.tasks.forecast_co2 import write_series

    write_series(scratch / "co2.csv")
    return {"data": str(scratch / "co2.csv")}


def last_year(task: Any) -> tuple[str, float]:
    """The value of a year before."""
    windows = task.parts.validation
    return "a year before", score(seasonal_naive(windows, 52), windows.targets, windows.known).rmse


CASES = (
    Case(
        name="co2",
        title="weekly CO2, 13 weeks ahead",
        task="forecast",
        options={"column": ("co2",), "missing": "interpolate", "horizon": 13, "season": 52, "epochs": 20},
        data=co2,
        figure="rmse",
        baseline=last_year,
        torch="benchmarks.tasks.forecast_torch",
        scale=1.0,
        unit="ppm",
        higher=False,
    ),
)
