"""What a gradient check found, as data, as a table a person can read, and as a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.checking.subjects.subject import ALL

#: Verdicts other than "ok", the most serious first: an earlier one makes the later ones meaningless.
SERIOUS = ("non-deterministic", "non-finite", "wrong", "input mutated", "kink", "cannot tell")


@dataclass(frozen=True)
class Departure:
    """The entry of a gradient that lies farthest from its numerical value.

    Attributes
    ----------
    name : str
        Parameter, ``x``, or part of the state.
    gate : str or None
        The gate block with the fault.
    time_step : int or None
        The largest time step at which gradients depart, the first that backward meets.
    index : tuple of int
        The entry's index in its tensor; empty for methods that look along directions.
    analytic, numeric : float
        The two values (for the Taylor method: the order of the remainder, and 2).
    error : float
        Their difference, relative to the largest value of the slice (time step, gate block) it lies in.
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
    """One tensor of a check.

    Attributes
    ----------
    name : str
        Of the tensor.
    shape : tuple of int
        Of the tensor.
    worst : Departure
        Its farthest entry.
    verdict : str
        Of this tensor alone.
    by_step : tuple of float
        Largest relative error of every time step, where it has any.
    by_gate : dict of str to float
        Largest relative error of every gate block, where it has any.
    hidden_steps : tuple of int
        Time steps at which nothing can be decided.
    by_gate_seen : dict of str to float
        Errors of every gate block (of the whole tensor under ``""``) for the outputs that the diagnosis looked at;
        empty without one.
    extent : str
        Which entries the verdict is about, such as ``"only columns 15 to 19"``; empty if the tensor is right.
    pattern : str
        How a wrong gradient departs, such as ``"all zero"`` or ``"0.25 of the right value everywhere"``; empty if no
        pattern fits.
    why : str
        The reason for a verdict other than "ok" and "wrong".
    time_axis : int or None
        The axis that counts time steps, if there is one.
    errors, marked : array or None
        Of a tensor that is not right, the relative error of each entry, and the entries that `extent` describes; for
        pictures.
    """

    name: str
    shape: tuple[int, ...]
    worst: Departure
    verdict: str
    by_step: tuple[float, ...] = ()
    by_gate: dict[str, float] = field(default_factory=dict)
    hidden_steps: tuple[int, ...] = ()
    by_gate_seen: dict[str, float] = field(default_factory=dict)
    extent: str = ""
    pattern: str = ""
    why: str = ""
    time_axis: int | None = None
    errors: np.ndarray | None = field(default=None, repr=False, compare=False)
    marked: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def words(self) -> str:
        """The text below the row in the table."""
        start = {"cannot tell": "not decided: ", "kink": "at a kink: "}.get(self.verdict, "")
        return "; ".join(filter(None, (start + self.extent if self.extent else "", self.pattern, self.why)))


@dataclass(frozen=True)
class Diagnosis:
    """Where a wrong gradient comes from, as far as the numbers show.

    Attributes
    ----------
    name : str
        The tensor nearest to the bug.
    gate : str or None
        Its gate block; None if no single block has the fault.
    time_step : int or None
        The largest time step at which the gradient of x departs; None if it is right, or not known.
    cause : str
        The mistake that fits the numbers, such as ``"sign"`` or ``"transposed"``; or empty.
    seen_in : str
        The outputs whose gradient shows it most simply.
    pattern : str
        How the gradient departs there, in words, if a pattern fits; see `Row.pattern`.
    beside : tuple of str
        Gate blocks of that tensor that depart as well, if one error may have reached them all.
    """

    name: str
    gate: str | None
    time_step: int | None
    cause: str
    seen_in: str
    pattern: str = ""
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.name}" + (f", gate {self.gate}" if self.gate else "")
        if self.gate and self.beside:
            where += f" (and {', '.join(self.beside)})"
        when = "" if self.time_step is None else f", first met by backward at time step {self.time_step}"
        cause = f"; likely cause: {self.cause}" if self.cause else f"; {self.pattern}" if self.pattern else ""
        seen = "" if self.seen_in == ALL.name else f" (seen most simply from {self.seen_in})"
        return f"{where}{when}{cause}{seen}"


@dataclass(frozen=True)
class Report:
    """The result of a gradient check.

    Attributes
    ----------
    rows : tuple of Row
        One for each tensor that was checked.
    tol : float
        Largest error that passes, relative to each slice.
    method : str
        How the numerical values were found.
    trouble : str
        A finding about the function as a whole, ``"non-deterministic"`` or ``"input mutated"``, or nothing.
    diagnosis : Diagnosis or None
        Where a wrong gradient comes from.
    cause : str
        The cause of `trouble`, in words.
    warnings : tuple of str
        Sentences on mistakes that this check cannot see because of the numbers it was given.
    notes : tuple of str
        Sentences on how the functions were read, and on what they do beside computing.
    """

    rows: tuple[Row, ...]
    tol: float
    method: str
    trouble: str = ""
    diagnosis: Diagnosis | None = None
    cause: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The most serious finding.

        ``"ok"``: every gradient is right.  ``"wrong"``: one is not.  ``"kink"``: every departing entry is at a kink,
        where the slopes on the two sides differ and the claimed gradient lies between them.  ``"cannot tell"``:
        rounding hides some part of a gradient, or the method does not work for this function.  ``"non-finite"``: NaN
        or infinity.  ``"non-deterministic"``: two evaluations at the same place differ.  ``"input mutated"``: a
        function wrote into its arguments, or backward into its tape; its gradients are right, or were not checked.
        """
        found = {self.trouble, *(row.verdict for row in self.rows)}
        return next((verdict for verdict in SERIOUS if verdict in found), "ok")

    @property
    def passed(self) -> bool:
        """Whether every tensor is right."""
        return self.verdict == "ok"

    @property
    def worst(self) -> Departure:
        """The entry farthest from its numerical value; for a wrong gradient, in the tensor with the fault."""
        rows = [row for row in self.rows if row.verdict == self.verdict] or list(self.rows)
        if self.diagnosis is not None:
            blamed = [row for row in rows if row.name == self.diagnosis.name]
            if blamed:
                worst = blamed[0].worst
                step = worst.time_step if self.diagnosis.time_step is None else self.diagnosis.time_step
                return Departure(
                    worst.name,
                    self.diagnosis.gate,
                    step,
                    worst.index,
                    worst.analytic,
                    worst.numeric,
                    worst.error,
                )
        return max((row.worst for row in rows), key=lambda d: np.inf if np.isnan(d.error) else d.error)

    def __str__(self) -> str:
        from engine.checking.report.text import table

        return table(self)

    def _repr_html_(self) -> str:
        """The table for notebooks; readable on a light and on a dark background."""
        from engine.checking.report.html import page

        return page(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data that ``json.dumps`` takes.

        Returns
        -------
        dict
            ``verdict``, ``passed``, ``method``, ``tol``, ``worst``, ``diagnosis`` (or None), ``rows``, ``cause``,
            ``warnings``, ``notes``; the keys of the rows are those of `Row` and `Departure`.  Numbers that are not
            finite are None.
        """
        return {
            "verdict": self.verdict,
            "passed": self.passed,
            "method": self.method,
            "tol": plain(self.tol),
            "worst": plain(vars(self.worst)),
            "diagnosis": None if self.diagnosis is None else plain(vars(self.diagnosis)),
            "rows": [plain({k: v for k, v in vars(row).items() if k not in ("errors", "marked")}) for row in self.rows],
            "cause": self.cause,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def plot(self, path: Any = None, title: str | None = None) -> Any:
        """Draw the errors over time steps and gates; see `engine.checking.report.picture.draw`.

        Parameters
        ----------
        path : str, path or None
            A file to write; None returns the figure alone.
        title : str or None
            Above the picture; None says the verdict, the method and the likely cause.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.
        """
        from engine.checking.report.picture import draw

        return draw(self, path, title)


def plain(value: Any) -> Any:
    """Dicts, lists, strings, finite numbers and None: what JSON can hold."""
    if isinstance(value, Departure):
        return plain(vars(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
