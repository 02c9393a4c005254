"""Cases of ``--task series``: two monthly series of the Pacific at once, with the time of year known ahead."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.case import Case
from engine.data import seasonal_naive
from engine.losses import quantile

#: Months.
SEASON = 12


def pacific(_: Path, scratch: Path) -> dict[str, Any]:
    """Write CO2 at Mauna Loa and the sea temperature of El Nino, March 1958 to December 2001, and the time of year.

    Both series come with statsmodels.  Months without a measurement of CO2 have an empty cell.
    """
    from statsmodels.datasets import co2, elnino

    monthly = co2.load_pandas().data["co2"].resample("MS").mean()
    by_year = elnino.load_pandas().data.set_index("YEAR").to_numpy()
    with (scratch / "pacific.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["month", "co2", "sea", "sine", "cosine"])
        for day, value in monthly.items():
            angle = 2 * np.pi * day.month / SEASON
            air, sea = ("" if np.isnan(value) else f"{value:.3f}"), by_year[day.year - 1950, day.month - 1]
            rows.writerow([day.date().isoformat(), air, f"{sea:.2f}", f"{np.sin(angle):.6f}", f"{np.cos(angle):.6f}"])
    return {"data": str(scratch / "pacific.csv")}


def last_year(task: Any) -> tuple[str, float]:
    """The value of a year before, and the quantiles of how far that was off in training, by column and months ahead."""
    train, validation = (
        np.stack([seasonal_naive(one, SEASON) for one in part.each], axis=2) for part in (task.train, task.validation)
    )
    errors = np.where(task.train.known, task.train.targets - train, np.nan)
    bands = np.moveaxis(np.nanquantile(errors, task.levels, axis=0), 0, -1)  # (horizon, K, Q)
    anchors = task.validation.anchors
    said = [task.scaling.y.transform(validation + bands[..., q] - anchors) for q in range(len(task.levels))]
    wanted = task.scaling.targets(task.validation)
    loss, _ = quantile(np.stack(said, axis=-1), np.nan_to_num(wanted), task.levels, ~np.isnan(wanted))
    return "a year before, with the bands of its errors", float(loss)


CASES = (
    Case(
        name="pacific",
        title="monthly CO2 and sea temperature, 6 months ahead, 3 quantiles, the time of year known",
        task="series",
        options={
            **{"column": ("co2", "sea"), "known": ("sine", "cosine"), "missing": "interpolate"},
            **{"horizon": 6, "season": SEASON, "window": 36, "epochs": 60},
        },
        data=pacific,
        figure="quantile_loss",
        baseline=last_year,
        torch="benchmarks.tasks.series_torch",
        unit="% of a standard deviation",
        higher=False,
    ),
)
