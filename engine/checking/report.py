"""What a gradient check found, as data and as a table a person can read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Verdicts other than "ok", the most serious first: what comes earlier makes what comes later meaningless.
SERIOUS = ("input mutated", "non-deterministic", "non-finite", "wrong", "kink", "cannot tell")


@dataclass(frozen=True)
class Departure:
    """The entry of a gradient that lies farthest from its numerical value.

    Attributes
    ----------
    name : parameter, ``x``, or part of the state.
    gate : the gate block the entry stands in, or None.
    time_step : the entry's time step, or None where there is none; of several that depart, the last.
    index : the entry's index in its tensor.
    analytic, numeric : the two values.
    error : their difference, relative to the tensor's largest value.
    """

    name: str
    gate: str | None
    time_step: int | None
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class Row:
    """One tensor of a check; `worst` is its farthest entry."""

    name: str
    shape: tuple[int, ...]
    worst: Departure
    verdict: str


@dataclass(frozen=True)
class Report:
    """Outcome of a gradient check.

    Attributes
    ----------
    rows : one for each tensor that was checked.
    tol : largest error that passes.
    method : how the numerical values were found.
    trouble : a finding about the function as a whole, ``"non-deterministic"`` or ``"input mutated"``, or nothing.
    """

    rows: tuple[Row, ...]
    tol: float
    method: str
    trouble: str = ""

    @property
    def verdict(self) -> str:
        """The most serious finding.

        ``"ok"``: every gradient is right.  ``"wrong"``: one is not.  ``"kink"``: all that departs stands at a kink,
        where the slopes on the two sides differ and the claimed gradient lies between them.  ``"cannot tell"``: the
        method does not reach this function.  ``"non-finite"``: NaN or infinity.  ``"non-deterministic"``: two
        evaluations at the same place differ.  ``"input mutated"``: the function wrote into its arguments.
        """
        found = {self.trouble, *(row.verdict for row in self.rows)}
        return next((verdict for verdict in SERIOUS if verdict in found), "ok")

    @property
    def passed(self) -> bool:
        """Whether every tensor is right."""
        return self.verdict == "ok"

    @property
    def worst(self) -> Departure:
        """The entry that lies farthest from its numerical value, of all tensors."""
        return max((row.worst for row in self.rows), key=lambda d: np.inf if np.isnan(d.error) else d.error)

    def __str__(self) -> str:
        lines = [f"{'tensor':<24}{'shape':<14}{'error':>10}  verdict    farthest entry: backward / numerical"]
        for row in self.rows:
            worst = row.worst
            place = f"[{', '.join(map(str, worst.index))}]" + (f" gate {worst.gate}" if worst.gate else "")
            lines.append(
                f"{row.name:<24}{row.shape!s:<14}{worst.error:>10.1e}  {row.verdict:<10} "
                f"{place} {worst.analytic:.6g} / {worst.numeric:.6g}"
            )
        lines.append(f"{self.verdict}: {len(self.rows)} tensors, method {self.method}, tolerance {self.tol:.0e}")
        return "\n".join(lines)


def compare(
    name: str,
    analytic: np.ndarray,
    numeric: np.ndarray,
    tol: float,
    gates: tuple[str, ...] = (),
    time_axis: int | None = None,
    roundoff: float = 0.0,
) -> Row:
    """Compare one tensor; errors are relative to its largest value.

    Parameters
    ----------
    roundoff : how far the numerical values may be off by rounding alone; allowed on top of `tol`.
    gates : names of the blocks along the first axis, if it has blocks.
    time_axis : the axis that counts time steps, if there is one.
    """
    if analytic.shape != numeric.shape:
        index: tuple[int, ...] = ()
        worst = Departure(name, None, None, index, float("nan"), float("nan"), float("nan"))
        return Row(name, tuple(numeric.shape), worst, "wrong")
    scale = max(float(np.max(np.abs(numeric), initial=0.0)), float(np.max(np.abs(analytic), initial=0.0)), 1e-300)
    with np.errstate(invalid="ignore"):
        error = np.abs(analytic - numeric) / scale
    ranked = np.where(np.isnan(error), np.inf, error)
    if time_axis is not None and (ranked > tol + roundoff / scale).any():
        # of the steps that depart, the last: the first that backward meets
        departing = np.moveaxis(ranked > tol + roundoff / scale, time_axis, 0).reshape(ranked.shape[time_axis], -1)
        last = int(np.flatnonzero(departing.any(axis=1))[-1])
        elsewhere = np.arange(ranked.shape[time_axis]) != last
        np.moveaxis(ranked, time_axis, 0)[elsewhere] = -1.0
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(ranked)), ranked.shape)) if ranked.size else ()
    finite = bool(np.isfinite(analytic).all() and np.isfinite(numeric).all())
    value = float(error[index]) if error.size else 0.0
    gate = gates[index[0] * len(gates) // analytic.shape[0]] if gates else None
    time_step = index[time_axis] if time_axis is not None else None
    worst = Departure(name, gate, time_step, index, float(analytic[index]), float(numeric[index]), value)
    # "not <= tol" and never "> tol": a NaN must fail
    verdict = "non-finite" if not finite else "ok" if value <= tol + roundoff / scale else "wrong"
    return Row(name, tuple(analytic.shape), worst, verdict)
