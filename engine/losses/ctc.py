"""Connectionist temporal classification: the loss of all alignments of a short target with a long input.

Graves, Fernandez, Gomez and Schmidhuber (2006).  The target of a row, with blanks (-) around every label, is the row of
S = 2U+1 *symbols* ``- l1 - l2 - ... lU -``.  An alignment gives each time step one symbol, starts with one of the first
two, ends with one of the last two, and from step to step stays, goes on by one, or goes on by two past a blank between
two different labels.  The probability of the target is the sum over all alignments of the product of their steps.

Everything is in logarithms and float64; p[t, s] is the log-probability of symbol s at step t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of
from engine.backend.device_errors import explained
from engine.checks import describe, integer, switch
from engine.errors import bad_input
from engine.losses.positions import float_dtype
from engine.plain_arrays import host_integers


@explained()
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    zero_infinity: bool = False,
) -> tuple[Any, Any]:
    """CTC loss in nats, and its gradient with respect to the log-probabilities.

    The loss of a row is divided by its number of labels (by 1 where it has none); the result is the mean of the rows,
    as PyTorch's ``reduction="mean"``.

    Parameters
    ----------
    log_probs : array (T, B, K)
        Log-probabilities of K classes, one of them the blank: log-softmax of the logits.
    targets : array of int (B, U) or (sum of target_lengths,), on the host
        Class indices, none of them the blank.  In the form (B, U), what lies past a row's length is not looked at.
    input_lengths : list or array of int (B,), on the host
        Valid steps of each row, 0 to T.
    target_lengths : list or array of int (B,), on the host
        Labels of each row.
    blank : int
        The class that stands for "no label".
    zero_infinity : bool
        Give a row that no alignment fits (its target is longer than its input) the loss 0 and the gradient 0; such a
        row is an error otherwise.

    Returns
    -------
    loss : 0-d array
        In the dtype of `log_probs`.
    dlog_probs : array (T, B, K)
        The derivative by each log-probability, exactly 0 past a row's end.  (PyTorch returns exp(log_probs) on top of
        it, which a log-softmax below cancels: the gradients of the logits are the same.)

    Raises
    ------
    InputError
        For a wrong shape, length or class index, and for a row that no alignment fits, each with the row.
    InputTypeError
        For a wrong dtype or another library's array.

    References
    ----------
    Graves et al. (2006), *Connectionist temporal classification*, equations 5 to 16.

    Examples
    --------
    >>> import numpy as np, engine
    >>> log_probs = np.log(np.full((4, 1, 3), 1 / 3))  # T = 4 steps, B = 1 row, K = 3 classes
    >>> loss, dlog_probs = engine.ctc_loss(log_probs, [[1, 2]], [4], [2])
    >>> print(f"{loss:.4f}")  # 15 of the 81 ways to label four steps read "1 2"
    0.8432
    """
    backend = backend_of(log_probs, "log_probs")
    dtype = float_dtype(backend, "log_probs", log_probs)
    if log_probs.ndim != 3 or log_probs.shape[2] < 1:
        raise bad_input("log_probs", "shape (T, B, K) with K >= 1 classes", f"shape {tuple(log_probs.shape)}")
    T, B, K = map(int, log_probs.shape)
    blank = integer("blank", blank, 0)
    if blank >= K:
        raise bad_input("blank", f"a class index in 0..{K - 1}", describe(blank))
    steps = _counts("input_lengths", input_lengths, B, T)
    labels = _counts("target_lengths", target_lengths, B, None)
    rows = _labels_of_rows(targets, labels, K, blank)
    fits = np.array([len(row) + _repeats(row) <= n for row, n in zip(rows, steps, strict=True)], dtype=bool)
    if not switch("zero_infinity", zero_infinity) and not fits.all():
        first = int(np.argmin(fits))
        need = len(rows[first]) + _repeats(rows[first])
        raise bad_input(
            "targets",
            f"at most as many labels, with a blank between equal ones, as the {steps[first]} steps of row {first}",
            f"a target that needs {need} steps",
            "give it more input steps, or pass zero_infinity=True to leave such rows out",
        )
    share = np.where(fits, 1.0 / (np.maximum(labels, 1) * max(B, 1)), 0.0)
    with np.errstate(all="ignore"):
        problem = _problem(backend, rows, steps, K, blank)
        return _loss_and_gradient(backend, log_probs, problem, backend.asarray(share), zero_infinity, dtype)


@dataclass(frozen=True)
class _Problem:
    """The rows as arrays on the backend; L is the greatest number of symbols, S = 2U+1, of a row."""

    symbols: Any  # (B, L) class index of each symbol; blank past a row's end
    one_hot: Any  # (B, L, K) 1 where symbol s of row b is class k
    skips: Any  # (B, L) whether an alignment may go from symbol s-2 to s
    ends: Any  # (B, L) whether an alignment may end in symbol s
    steps: Any  # (B,) valid steps


def _problem(backend: Backend, rows: list[np.ndarray], steps: np.ndarray, K: int, blank: int) -> _Problem:
    B, L = len(rows), 1 + 2 * max((len(row) for row in rows), default=0)
    symbols = np.full((B, L), blank)
    ends = np.zeros((B, L), dtype=bool)
    for b, row in enumerate(rows):
        symbols[b, 1 : 2 * len(row) : 2] = row
        ends[b, max(0, 2 * len(row) - 1) : 2 * len(row) + 1] = True
    skips = np.zeros((B, L), dtype=bool)
    skips[:, 2:] = (symbols[:, 2:] != blank) & (symbols[:, 2:] != symbols[:, :-2])
    one_hot = (symbols[:, :, None] == np.arange(K)).astype(np.float64)
    return _Problem(*map(backend.asarray, (symbols, one_hot, skips, ends, steps)))


def _loss_and_gradient(
    backend: Backend, log_probs: Any, problem: _Problem, share: Any, zero_infinity: bool, dtype: Any
) -> tuple[Any, Any]:
    xp = backend.xp
    T, B, _ = map(int, log_probs.shape)
    rows = xp.arange(B)[:, None]
    valid = xp.arange(T)[:, None] < problem.steps  # (T, B)
    # pads are selected to 0 before any arithmetic, so that a NaN there goes no further
    p = xp.asarray(xp.where(valid[:, :, None], log_probs, xp.zeros_like(log_probs)), dtype=np.float64)
    p = p[:, rows, problem.symbols]  # (T, B, L)
    alpha = _forward(xp, p, valid, problem)  # (T+1, B, L)
    beta = _backward(xp, p, valid, problem)  # (T, B, L)
    # log P(target) = log sum over the symbols where an alignment may end
    total = _log_sum(xp, xp.where(problem.ends, alpha[T], -math.inf))  # (B,)
    # no step at all: only the empty target is possible, with probability 1
    total = xp.where(problem.steps == 0, xp.where(problem.ends[:, 0], 0.0, -math.inf), total)
    loss = -total
    counts = xp.isfinite(loss) | xp.isnan(loss) if zero_infinity else xp.ones_like(loss, dtype=bool)
    scale = xp.where(counts, share, 0.0)
    mean = xp.sum(xp.where(scale > 0, loss * scale, 0.0))
    # P(symbol s at step t | target) = exp(alpha + beta - total);  dL/dp[t, s] = -share * that
    weight = xp.exp(alpha[1:] + beta - total[:, None])
    weight = xp.where((valid & (scale > 0))[:, :, None], weight * -scale[:, None], 0.0)
    # one class may be several symbols: their sum, as a product, in one order on every machine
    by_class = xp.matmul(xp.swapaxes(weight, 0, 1), problem.one_hot)  # (B, T, K)
    return xp.asarray(mean, dtype=dtype), xp.asarray(xp.copy(xp.swapaxes(by_class, 0, 1)), dtype=dtype)


def _forward(xp: Any, p: Any, valid: Any, problem: _Problem) -> Any:
    """alpha (T+1, B, L): alpha[t+1, s] is the log of the sum of all beginnings that have symbol s at step t."""
    T, B, L = p.shape
    first = xp.arange(L) < 2  # an alignment starts with the first blank or the first label
    previous = xp.full((B, L), -math.inf, dtype=np.float64)
    slots = [previous]
    for t in range(T):
        if t == 0:
            new = xp.where(first, p[0], -math.inf)
        else:
            reached = _log_sum(xp, previous, _shifted(xp, previous, 1), _shifted(xp, previous, 2, problem.skips))
            new = reached + p[t]  # alpha_t(s) = (alpha(s) + alpha(s-1) [+ alpha(s-2)]) * p_t(s)
        previous = xp.where(valid[t][:, None], new, previous)
        slots.append(previous)
    return xp.stack(slots)


def _backward(xp: Any, p: Any, valid: Any, problem: _Problem) -> Any:
    """beta (T, B, L): beta[t, s] is the log of the sum of all endings after symbol s at step t."""
    T = len(p)
    end = xp.where(problem.ends, 0.0, -math.inf)
    skips = _shifted(xp, xp.where(problem.skips, 0.0, -math.inf), -2)  # from s to s+2
    following, slots = end, []
    for t in range(T - 1, -1, -1):
        if t + 1 < T:
            after = following + p[t + 1]
            going_on = _log_sum(xp, after, _shifted(xp, after, -1), _shifted(xp, after, -2) + skips)
            # beta_t(s) = sum over s' in {s, s+1, [s+2]} of beta_{t+1}(s') * p_{t+1}(s'); a row's last step is its end
            following = xp.where(valid[t + 1][:, None], going_on, end)
        slots.append(following)
    return xp.stack(slots[::-1]) if slots else xp.zeros(p.shape, dtype=np.float64)


def _shifted(xp: Any, values: Any, by: int, allowed: Any = None) -> Any:
    """values[:, s - by], and -inf where there is none or it is not allowed."""
    B, L = values.shape
    gap = xp.full((B, min(abs(by), L)), -math.inf, dtype=values.dtype)
    parts = [gap, values[:, : max(L - by, 0)]] if by > 0 else [values[:, min(-by, L) :], gap]
    moved = xp.concatenate(parts, axis=1)
    return moved if allowed is None else xp.where(allowed, moved, -math.inf)


def _log_sum(xp: Any, *terms: Any) -> Any:
    """log of the sum of the exponentials: of one array along its last axis, of several entry by entry."""
    stacked = terms[0] if len(terms) == 1 else xp.stack(terms, axis=-1)
    top = xp.max(stacked, axis=-1)
    top = xp.where(xp.isfinite(top), top, 0.0)  # all of them -inf: the sum is 0
    return top + xp.log(xp.sum(xp.exp(stacked - top[..., None]), axis=-1))


def _counts(argument: str, given: Any, B: int, most: int | None) -> np.ndarray:
    """Lengths (B,) as int64, each from 0 to `most`."""
    found = host_integers(argument, given, "integers", "one for each row", "a host list or NumPy integer array")
    if found.shape != (B,):
        raise bad_input(argument, f"one for each of the {B} rows, shape ({B},)", f"shape {found.shape}")
    wrong = np.flatnonzero((found < 0) | (found > (math.inf if most is None else most)))
    if wrong.size:
        row = int(wrong[0])
        upper = "0 or more" if most is None else f"in 0..{most}"
        raise bad_input(argument, f"values {upper}", f"{int(found[row])} at row {row}")
    return found.astype(np.int64)


def _labels_of_rows(targets: Any, labels: np.ndarray, K: int, blank: int) -> list[np.ndarray]:
    """The class indices of each row, or an error that names row and position."""
    host = host_integers("targets", targets, "class indices", "targets are class indices on the host")
    B, count = len(labels), int(labels.sum())
    if host.ndim == 1:
        if host.size != count:
            raise bad_input("targets", f"{count} labels, the sum of target_lengths", f"{host.size} labels")
        rows = np.split(host, np.cumsum(labels)[:-1]) if B else []
    else:
        if host.ndim != 2 or len(host) != B or (labels > host.shape[1]).any():
            expected = f"shape ({B}, U) with U >= {int(labels.max(initial=0))}, or ({count},)"
            raise bad_input("targets", expected, f"shape {host.shape}")
        rows = [row[:n] for row, n in zip(host, labels, strict=True)]
    for b, row in enumerate(rows):
        wrong = np.flatnonzero((row < 0) | (row >= K) | (row == blank))
        if wrong.size:
            at = int(wrong[0])
            got = "the blank" if row[at] == blank else describe(int(row[at]))
            raise bad_input(
                "targets",
                f"class indices in 0..{K - 1} without the blank {blank}",
                f"{got} at position {at} of row {b}",
            )
    return [np.asarray(row, dtype=np.int64) for row in rows]


def _repeats(row: np.ndarray) -> int:
    """How many neighbours in the row are equal: between them an alignment needs a blank."""
    return int((row[1:] == row[:-1]).sum())
