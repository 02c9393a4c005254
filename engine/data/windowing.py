"""Forecasting windows over a series, and its chronological parts, which keep the windows apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from engine.checks import describe, fraction, instance, integer, switch
from engine.data.batching import shuffled_order
from engine.data.data_checks import bad_data
from engine.data.knowing import as_known, filled_cells, frozen
from engine.data.matrices import require_finite, require_matrix
from engine.errors import bad_input, bad_type


class Parts(NamedTuple):
    """The rows of a series in three parts, each a range, one after the other in time."""

    train: range
    validation: range
    test: range


def chronological_split(rows: int, validation_fraction: float, test_fraction: float, source: str = "rows") -> Parts:
    """Cut `rows` time steps into training, validation and test part; the latest rows are the test part.

    Nothing is shuffled: whatever is fitted (weights, scaling, a baseline) sees the training part alone, the validation
    part decides when to stop, and the test part is scored once.  `source` is what a message calls the series.

    Raises
    ------
    InputError
        A fraction is not in (0, 1), they leave nothing for training, or a part would be empty.
    """
    count = integer("rows", rows, 0)
    held_out = fraction("validation_fraction", validation_fraction, zero_allowed=False)
    last = fraction("test_fraction", test_fraction, zero_allowed=False)
    if held_out + last >= 1:
        got = f"{validation_fraction:g} + {test_fraction:g}"
        expected = "validation_fraction + test_fraction < 1"
        raise bad_input("test_fraction", expected, got, "leave rows to train on, for example with 0.1 and 0.2")
    test = round(count * last)
    validation = round(count * held_out)
    train = count - validation - test
    if min(train, validation, test) < 1:
        got = f"{train}, {validation} and {test} of {count} rows"
        expected = "at least one row in each of training, validation and test part"
        raise bad_data(source, expected, got, "give a longer series or other fractions (--validation, --test)")
    return Parts(range(train), range(train, train + validation), range(train + validation, count))


@dataclass(frozen=True)
class Windows:
    """N forecasting tasks: T known rows, then `horizon` values to be forecast.

    Attributes
    ----------
    x : float64 (N, T, D)
        The T rows before each origin, all columns. Read-only.
    targets : float64 (N, horizon)
        The target column from the origin on. Read-only.
    known : bool (N, horizon)
        Which targets were measured: no score counts one that was filled.
    origins : int64 (N,)
        The row, in the whole series, of each window's first target.
    history : float64 (rows,)
        The target column from row 0 on, for forecasts that look back further than T rows. Of window n they may use
        `history[: last[n] + 1]`.
    last : int64 (N,)
        The last row before each origin in which the target column was measured.
    target : int
        The column that is forecast.
    """

    x: NDArray[np.float64]
    targets: NDArray[np.float64]
    known: NDArray[np.bool_]
    origins: NDArray[np.int64]
    history: NDArray[np.float64]
    last: NDArray[np.int64]
    target: int

    def __len__(self) -> int:
        """Return the number of windows, N."""
        return len(self.origins)

    @property
    def steps(self) -> int:
        """The number of known rows in a window, T."""
        return self.x.shape[1]

    @property
    def horizon(self) -> int:
        """The number of values to be forecast in a window."""
        return self.targets.shape[1]

    @property
    def anchors(self) -> NDArray[np.float64]:
        """The last known value (N,) of the target column in each window."""
        return self.history[self.last]

    def measured(self) -> Windows:
        """Return the windows that have at least one measured target."""
        chosen = self.known.any(axis=1)
        if chosen.all():
            return self
        x, targets, known = self.x[chosen], self.targets[chosen], self.known[chosen]
        return replace(self, x=x, targets=targets, known=known, origins=self.origins[chosen], last=self.last[chosen])

    def anchored(self) -> Windows:
        """Return the same windows as differences from the last known row.

        A series with a trend leaves the range that a network was trained on; its differences do not. Train and predict
        on the differences, and add `anchors[:, None]` to the forecast. Only `x` and `targets` change; `history`, and so
        `anchors`, do not. Give the baselines the original windows.
        """
        last = self.x[:, -1:, :]
        # Taken from x, not from the history, so that anchoring twice changes nothing.
        return replace(self, x=frozen(self.x - last), targets=frozen(self.targets - last[:, :, self.target]))


def windows(
    values: NDArray[Any],
    steps: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    target: int = 0,
    part: range | None = None,
    filled: NDArray[np.bool_] | None = None,
) -> Windows:
    """Cut a series into forecasting windows.

    A window belongs to a part if all of its targets lie in it. Its inputs are the rows just before, so for the
    validation and the test part they may reach back into an earlier part: these rows are known when the forecast is
    made. No input and no target ever comes from a later part, and no target is in two parts.

    Parameters
    ----------
    values : float array (rows, D), or (rows,) as one column
        The whole series, even if only a part of it is wanted. Copied; rows after the part are not used.
    steps, horizon : int
        Known rows and values to forecast in each window.
    stride : int
        The distance between the origins of neighbouring windows.
    target : int
        The column to forecast.
    part : range, optional
        The rows the targets must lie in, as `chronological_split` gives them; all rows if left out.
    filled : bool array of the shape of `values`, optional
        Cells that were filled and not measured (`Series.filled`). They are never scored. The filling at the end of a
        window was made with the value after it, which is not known when the forecast is made: the window gets the last
        measured value there.

    Raises
    ------
    DataError
        Not one window fits, or a row that is used is not finite.
    """
    table = require_matrix("values", values)
    back = integer("steps", steps, 1)
    ahead = integer("horizon", horizon, 1)
    step = integer("stride", stride, 1)
    column = integer("target", target, 0)
    if column >= table.shape[1]:
        raise bad_input("target", f"a column in 0..{table.shape[1] - 1}", column, "count the columns from 0")
    first, stop = _first_origin(part, len(table), back, ahead)
    require_finite("values", table[:stop])
    history = frozen(table[:stop])
    gaps = filled_cells(filled, table)[:stop]
    origins = np.arange(first, stop - ahead + 1, step, dtype=np.int64)
    x = sliding_window_view(history, back, axis=0)[first - back : stop - ahead - back + 1 : step]  # (N, D, T)
    targets = sliding_window_view(history[:, column], ahead)[first::step]
    known = sliding_window_view(~gaps[:, column], ahead)[first::step]
    x, last = as_known(x.transpose(0, 2, 1), history, gaps, origins)
    return Windows(x, targets, known, origins, history[:, column], last[:, column], column)


def next_window(
    values: NDArray[Any], steps: int, horizon: int, *, target: int = 0, filled: NDArray[np.bool_] | None = None
) -> Windows:
    """Return the window for the unknown future: the last `steps` rows of `values`, with NaN as targets.

    Raises
    ------
    DataError
        There are fewer rows than that, or one of them is not finite.
    """
    table = frozen(require_matrix("values", values))
    if len(table) < steps:
        hint = "give a longer series"
        raise bad_data("values", f"at least the {steps} rows of a window", len(table), hint)
    require_finite("values", table)
    origins = np.array([len(table)], dtype=np.int64)
    x, last = as_known(table[np.newaxis, -steps:], table, filled_cells(filled, table), origins)
    targets = frozen(np.full((1, horizon), np.nan))
    return Windows(x, targets, np.isfinite(targets), origins, table[:, target], last[:, target], target)


def require_windows(argument: str, value: Any) -> None:
    """Raise unless the value is `Windows`."""
    instance(argument, value, Windows, "Windows", "cut the series with windows(...)")


class PartWindows(NamedTuple):
    """The windows of each part of a series."""

    train: Windows
    validation: Windows
    test: Windows


def split_windows(
    values: NDArray[Any],
    parts: Parts,
    steps: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    target: int = 0,
    filled: NDArray[np.bool_] | None = None,
) -> PartWindows:
    """Return `windows` of the training, validation and test part, all cut in the same way."""
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        raise bad_type("parts", "three ranges of rows", describe(parts), "take them from chronological_split")
    return PartWindows(
        *(windows(values, steps, horizon, stride, target=target, part=part, filled=filled) for part in parts)
    )


class WindowBatch(NamedTuple):
    """Some windows, time first."""

    x: NDArray[Any]  # (T, B, D)
    targets: NDArray[Any]  # (B, horizon)
    chosen: NDArray[np.int64]  # (B,): which windows these are


class WindowBatches:
    """Batches of windows in an order that is a pure function of (seed, epoch), so that a run can resume anywhere.

    Parameters
    ----------
    source : Windows
    batch_size : int
        The last batch of an epoch is smaller if this does not divide the number of windows.
    seed : int
    shuffle : bool
        False keeps the order in time, for scoring.
    dtype : "float32" or "float64"
        What the model computes in; the windows themselves are float64.
    """

    def __init__(
        self, source: Windows, batch_size: int, *, seed: int = 0, shuffle: bool = True, dtype: DTypeLike = "float32"
    ) -> None:
        require_windows("source", source)
        self.source = source
        self.batch_size = integer("batch_size", batch_size, 1)
        self.seed = integer("seed", seed, 0)
        self.shuffle = switch("shuffle", shuffle)
        if not isinstance(dtype, str | type | np.dtype) or dtype not in ("float32", "float64", np.float32, np.float64):
            raise bad_type("dtype", '"float32" or "float64"', describe(dtype), "choose the model's")
        self.dtype = np.dtype(dtype)
        self._drawn: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.source) // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the windows (N,) in the order in which `epoch` takes them."""
        number = integer("epoch", epoch, 0)
        if not self.shuffle:
            return np.arange(len(self.source), dtype=np.int64)
        # The last one drawn is kept: an epoch asks for the same order again and again.
        if self._drawn is None or self._drawn[0] != number:
            self._drawn = (number, shuffled_order(len(self.source), self.seed, number))
        return self._drawn[1].copy()

    def batch(self, index: int, epoch: int = 0) -> WindowBatch:
        """Return batch `index`, 0 .. len(self) - 1, of `epoch`, as fresh arrays."""
        number = integer("index", index, 0)
        if number >= len(self):
            raise bad_input("index", f"a batch number in 0..{len(self) - 1}", number, "go on with the next epoch")
        chosen = self.order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        x = np.ascontiguousarray(self.source.x[chosen].swapaxes(0, 1), dtype=self.dtype)
        return WindowBatch(x, self.source.targets[chosen].astype(self.dtype), chosen)

    def iterate(self, epoch: int, start: int = 0) -> Iterator[WindowBatch]:
        """Iterate over the batches of `epoch`, from batch `start` on."""
        number, first = integer("epoch", epoch, 0), integer("start", start, 0)
        return (self.batch(index, number) for index in range(first, len(self)))


def _first_origin(part: range | None, rows: int, back: int, ahead: int) -> tuple[int, int]:
    """The first row of a part that can be a window's first target, and where the part ends."""
    start, stop = _bounds(part, rows)
    first = max(start, back)
    if first + ahead > stop:
        if start < back:
            expected = f"at least steps + horizon = {back} + {ahead} rows up to the end of the part"
            raise bad_data("values", expected, stop, "lower steps or horizon, or give a longer series")
        expected = f"at least horizon = {ahead} rows in the part"
        raise bad_data("values", expected, max(0, stop - start), "lower horizon, or make the part larger")
    return first, stop


def _bounds(part: range | None, rows: int) -> tuple[int, int]:
    if part is None:
        return 0, rows
    if not isinstance(part, range) or part.step != 1:
        raise bad_type("part", "a range of rows", part, "take one from chronological_split")
    if not 0 <= part.start <= part.stop <= rows:
        raise bad_input("part", f"rows in 0..{rows}", part, "split the series that is cut into windows")
    return part.start, part.stop
