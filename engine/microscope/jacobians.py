"""Spectral norms of step Jacobians and of their products; no Jacobian is ever formed.

One iteration multiplies a vector by the Jacobian, with the hand-written forward mode (`kernels.duals`), and the result
by its transpose, with the cell's backward function.  That is power iteration on J'J.  All vectors on the way are kept,
and the largest singular value is taken in the space that they span (bidiagonalisation of Golub and Kahan 1965; Golub
and Van Loan 2013, section 10.4): it needs a tenth of the iterations.  The norm found is at most the true one, and grows
from one iteration to the next.

The rows of a batch do not see each other, so each has vectors of its own, and all rows and starting slots are iterated
side by side.  A vector is scaled to length 1 after each step, and the logarithms of its lengths are added up: a product
over thousands of steps neither overflows nor underflows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from engine.microscope.passes import ALL, ONE, Record
from engine.microscope.result import Jacobians
from kernels.cells import Pass, Run
from kernels.duals import Dual, dual_steps, step_tangent
from kernels.steps import Steps

#: Iterations end where no norm changes by more than this part of itself, or after so many.
TOLERANCE, MOST = 1e-8, 60
#: Products are measured from so many slots at most, evenly spread: fewer for a large layer, but `FEW` of them.
SLOTS, FEW = 65, 9
#: Multiplications in one walk through all steps from all slots: more would take minutes.
WORK = 1.5e9


class Linear:
    """The steps of some rows, as linear maps of small changes of the states.

    Parameters
    ----------
    record : Record
        What the forward pass left.
    run : Run
        Of those rows: states (T+1, B, H), gates (T, B, G, H).
    x : numpy.ndarray (T, B, D)
        Their input.
    factors : dict of numpy.ndarray (T or 1, B or 1, H)
        Their factors.
    lengths : numpy.ndarray (B,)
        Their valid steps.
    """

    def __init__(
        self, record: Record, run: Run, x: np.ndarray, factors: dict[str, np.ndarray], lengths: np.ndarray
    ) -> None:
        self.run, self.lengths, self.count = run, lengths, len(run.gates)
        self.states = record.cell.states
        self.ends = np.cumsum([slots.shape[-1] for slots in run.states])
        weights = record.weights
        given = Pass(record.cell, weights, factors=factors)
        self.tangents = dual_steps(np, given, np.float64)
        self.adjoints = Steps(np, given, ONE, np.matmul)
        pre = x @ weights["weight_ih"].T
        pre = pre + weights["bias_ih"] if "bias_ih" in weights else pre
        self.pre = pre.reshape(run.gates.shape)

    def ahead(self, dots: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The changes at the end that changes at the slots `starts` (K,), ascending, make.

        Parameters
        ----------
        dots : numpy.ndarray (K, B, S)
            A change of all states in one vector for each slot and row.

        Returns
        -------
        dots : numpy.ndarray (K, B, S)
            Scaled to length 1.
        log : numpy.ndarray (K, B)
            Logarithms of their lengths.
        """
        dots, log = scale(dots)
        for t in range(int(starts[0]), self.count):
            n = int(np.searchsorted(starts, t, side="right"))  # those that have begun
            states = tuple(
                Dual(slots[t][None], dot) for slots, dot in zip(self.run.states, self.split(dots[:n]), strict=True)
            )
            self._put(dots, log, n, t, step_tangent(self.tangents, self.pre[t][None], states, t))
        return dots, log

    def back(self, duals: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The transpose of `ahead`: the gradients at the slots `starts` of gradients at the end."""
        duals, log = scale(duals)
        for t in range(self.count - 1, int(starts[0]) - 1, -1):
            n = int(np.searchsorted(starts, t, side="right"))
            after = self.split(duals[:n])
            found = self.adjoints.backward(self.adjoints.tape(self.run, t), tuple(after))
            before = [0.0 if found.previous[name] is None else found.previous[name] for name in self.states]
            self._put(duals, log, n, t, before)
        return duals, log

    def split(self, vectors: np.ndarray) -> list[np.ndarray]:
        """The part of each state."""
        return np.split(vectors, self.ends[:-1], axis=-1)

    def mask(self, names: Collection[str]) -> np.ndarray:
        """(S,) 1 at the units of these states, 0 at those of the others."""
        widths = np.diff(self.ends, prepend=0)
        return np.repeat([float(name in names) for name in self.states], widths)

    def _put(self, vectors: np.ndarray, log: np.ndarray, n: int, t: int, new: Sequence[Any]) -> None:
        """Write the vectors after step t where it is valid, scaled to length 1."""
        valid = (self.lengths > t)[:, None]
        parts = [np.broadcast_to(part, old.shape) for part, old in zip(new, self.split(vectors[:n]), strict=True)]
        vectors[:n], more = scale(np.where(valid, np.concatenate(parts, axis=-1), vectors[:n]))
        log[:n] += more


def scale(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (..., S) of length 1, and the logarithms of their lengths (...); a zero vector stays zero."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)  # squares of large or small numbers leave the range
    vectors = vectors / np.where(largest > 0, largest, 1.0)
    size = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return vectors / np.where(size > 0, size, 1.0), (np.log(size) + np.log(largest))[..., 0]


class Search:
    """The largest singular values of the products from some slots: the vectors found so far, for each slot and row.

    Attributes
    ----------
    right, left : lists of numpy.ndarray (K, B, S)
        Orthonormal vectors v_k at the slots and u_k at the end: J v_k = beta_(k-1) u_(k-1) + alpha_k u_k, and
        J' u_k = alpha_k v_k + beta_k v_(k+1).
    alpha, beta : lists of numpy.ndarray (K, B)
        Relative to exp(`unit`), a first estimate of the norm.
    unit : numpy.ndarray (K, B)
        Its logarithm.
    """

    def __init__(self, linear: Linear, starts: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        self.linear, self.source, self.target = linear, source, target
        shape = (len(starts), linear.run.gates.shape[1], len(source))
        first = np.random.default_rng(1).normal(size=shape) * source
        self.right, self.left = [scale(first)[0]], []  # type: list[np.ndarray], list[np.ndarray]
        self.alpha, self.beta = [], []  # type: list[np.ndarray], list[np.ndarray]
        self.unit = np.zeros(shape[:2])

    def step(self, starts: np.ndarray) -> np.ndarray:
        """One iteration: the logarithms of the norms as far as they are known (K, B)."""
        image, log = self.linear.ahead(self.right[-1], starts)
        if not self.left:
            _, more = scale(image * self.target)
            self.unit = np.where(np.isfinite(log + more), log + more, 0.0)
        u, alpha = _new(image * self.target * np.exp(log - self.unit)[..., None], self.left)
        self.left.append(u)
        image, log = self.linear.back(u, starts)
        v, beta = _new(image * self.source * np.exp(log - self.unit)[..., None], self.right)
        self.right.append(v)
        self.alpha.append(alpha)
        self.beta.append(beta)
        m = len(self.alpha)
        bidiagonal = np.zeros((*self.unit.shape, m, m + 1))
        for k in range(m):
            bidiagonal[..., k, k], bidiagonal[..., k, k + 1] = self.alpha[k], self.beta[k]
        overflown = ~np.isfinite(bidiagonal).all(axis=(-1, -2))
        bidiagonal[overflown] = 0.0
        squares = np.linalg.eigvalsh(bidiagonal @ bidiagonal.swapaxes(-1, -2))[..., -1]  # faster than singular values
        return np.where(overflown, np.nan, np.log(np.maximum(squares, 0.0)) / 2 + self.unit)

    def keep(self, chosen: np.ndarray) -> None:
        """Go on with some of the slots."""
        for vectors in (self.right, self.left, self.alpha, self.beta):
            vectors[:] = [part[chosen] for part in vectors]
        self.unit = self.unit[chosen]


def _new(vector: np.ndarray, known: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The part of a vector that is orthogonal to all known ones: its direction and its length."""
    for _ in range(2):  # once more: the first time leaves round-off
        for other in known:
            vector = vector - (vector * other).sum(axis=-1, keepdims=True) * other
    direction, log = scale(vector)
    return direction, np.exp(log)


def product_norms(
    linear: Linear, starts: np.ndarray, source: Collection[str], target: Collection[str], tolerance: float = TOLERANCE
) -> tuple[np.ndarray, float]:
    """Logarithms of the norms of dS[end]/dS[t] for the slots t in `starts`.

    Parameters
    ----------
    linear : Linear
        The steps.
    starts : numpy.ndarray (K,)
        Slots, ascending.
    source, target : collections of str
        The states that are changed at slot t, and those that are looked at at the end.
    tolerance : float
        The largest relative change in the last iteration.

    Returns
    -------
    log : numpy.ndarray (K, B)
        -inf where nothing gets through.
    change : float
        The largest relative change of a norm in its last iteration.
    """
    search = Search(linear, starts, linear.mask(source), linear.mask(target))
    found = np.full((len(starts), linear.run.gates.shape[1]), np.nan)
    last = np.zeros_like(found)
    active = np.arange(len(starts))  # those that have not converged: long products do so first
    for _ in range(MOST):
        log, before = search.step(starts[active]), found[active]
        same = (log == before) | np.isnan(log)  # also -inf twice; NaN stays
        change = np.where(same, 0.0, np.abs(np.expm1(np.where(same, 0.0, log - before))))
        found[active], last[active] = log, change
        waiting = np.asarray(~(change <= tolerance).all(axis=1))  # NaN, of the first iteration, waits
        active = active[waiting]
        if len(active) == 0:
            break
        search.keep(waiting)
    return found, float(last.max(initial=0.0))


def measure(record: Record, rows: int) -> Jacobians | None:
    """All norms for the first `rows` rows that have a valid step; None if there is none, or a value is not finite."""
    chosen = np.flatnonzero(record.lengths > 0)[:rows]
    if len(chosen) == 0 or not all(np.isfinite(slots[:, chosen]).all() for slots in record.run.states):
        return None
    linear, folded = _of_rows(record, chosen), _folded(record, chosen)
    T, R, states = linear.count, len(chosen), record.cell.states
    valid, changes = np.arange(T)[:, None] < linear.lengths, [0.0]

    def norms(part: Linear, starts: np.ndarray, source: Collection[str], target: Collection[str]) -> Any:
        log, change = product_norms(part, starts, source, target)
        changes.append(change)
        return np.exp(log)

    names: dict[str, tuple[str, ...]] = {ALL: states}
    if len(states) > 1:
        names |= {state: (state,) for state in states}
    step = {
        name: np.where(valid, norms(folded, np.zeros(1, int), part, part).reshape(T, R), np.nan)
        for name, part in names.items()
    }
    one_slot = T * R * sum(value.size for name, value in record.weights.items() if name in ("weight_hh", "weight_hr"))
    count = max(FEW, min(SLOTS, int(WORK / max(one_slot, 1))))
    starts = np.unique(np.linspace(0, T, min(T + 1, count)).round().astype(int))
    inside = starts[:, None] <= linear.lengths
    to_end = {ALL: np.where(inside, norms(linear, starts, states, states), np.nan)}
    to_h = to_end[ALL]
    if len(states) > 1:
        to_end["h"] = np.where(inside, norms(linear, starts, ("h",), ("h",)), np.nan)
        to_h = np.where(inside, norms(linear, starts, states, ("h",)), np.nan)
    else:
        step["h"], to_end["h"] = step[ALL], to_end[ALL]
    return Jacobians(step, starts, to_end, to_h, max(changes))


def _of_rows(record: Record, rows: np.ndarray) -> Linear:
    """The steps of some rows of the batch."""
    run = Run(
        tuple(slots[:, rows] for slots in record.run.states),
        record.run.gates[:, rows],
        {name: values[:, rows] for name, values in record.run.kept.items()},
    )
    factors = {name: f[:, rows] if f.shape[1] > 1 else f for name, f in record.factors.items()}
    return Linear(record, run, record.x[:, rows], factors, record.lengths[rows])


def _folded(record: Record, rows: np.ndarray) -> Linear:
    """The same steps, each a row of one single step: the states before a step are all that it knows of the others."""
    run, T, R = record.run, len(record.run.gates), len(rows)

    def fold(values: np.ndarray) -> np.ndarray:
        return values[:, rows].reshape(1, T * R, *values.shape[2:])

    states = tuple(np.concatenate([fold(slots[:-1]), fold(slots[1:])]) for slots in run.states)
    one_step = Run(states, fold(run.gates), {name: fold(values) for name, values in run.kept.items()})
    factors = {name: fold(np.broadcast_to(f, (T, record.x.shape[1], f.shape[2]))) for name, f in record.factors.items()}
    return Linear(record, one_step, fold(record.x), factors, np.ones(T * R, int))
