"""Forecast the weekly CO2 series of Mauna Loa with an LSTM, beside the baselines that it has to beat.

The series comes with statsmodels (2284 weeks, 59 of them missing, which are interpolated).  Thirteen weeks, a quarter
of a year, are forecast at every week of the last 15 %; the season is 52 weeks.  All else is the command's default.

Run it from the root of the repository: ``python benchmarks/tasks/forecast_co2.py [directory]``.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

from engine.cli import run

OPTIONS = "--task forecast --column co2 --missing interpolate --horizon 13 --season 52"


def write_series(path: Path) -> None:
    """Write the series as CSV, an empty cell where it is missing."""
    from statsmodels.datasets import co2

    co2.load_pandas().data.to_csv(path, index_label="week")


def main(directory: Path) -> int:
    series = directory / "co2.csv"
    write_series(series)
    command = f"train {OPTIONS} --data {shlex.quote(str(series))} --out {shlex.quote(str(directory / 'run'))} --quiet"
    print(f"$ bptt {command}\n")
    return run(shlex.split(command))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
