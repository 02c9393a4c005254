"""The linear-chain conditional random field: likelihood of a row of tags, and the most likely row.

Lafferty, McCallum and Pereira (2001).  `engine.CRF` makes the scores: s_t(i, j) is the score of tag i at step t-1 and
tag j at step t.  There is no tag before the first step, so s_0 counts in its row 0 alone.  A row y of tags scores

    score(y) = s_0(0, y_0) + sum over t >= 1 of s_t(y_{t-1}, y_t)

and its probability is exp(score(y)) over the sum of that for all K^T rows.  The sum is the forward algorithm's, in
logarithms (Rabiner 1989, equations 19 to 21): alpha_0(j) = s_0(0, j),

    alpha_t(j) = log sum over i of exp(alpha_{t-1}(i) + s_t(i, j)),    log Z = log sum over j of exp(alpha_{T-1}(j)).

Its derivative by s_t(i, j) is the probability of that pair of tags.  Walking the steps backwards gives it without a
second pass in logarithms, because alpha_t(j) depends on alpha_{t-1}(i) by w_t(i, j) = exp(alpha_{t-1}(i) + s_t(i, j) -
alpha_t(j)), numbers in 0..1 that forward has at hand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of
from engine.backend.device_errors import explained
from engine.checks import switch
from engine.errors import bad_input
from engine.losses.positions import class_indices, float_dtype, positions, require_mask, summed
from engine.plain_arrays import host_view

Array = Any  # of the backend of the scores


@explained()
def crf_loss(
    scores: Any, targets: Any, mask: Any = None, normalizer: Any = None, *, batch_first: bool = False
) -> tuple[Any, Any]:
    """Negative log-likelihood of tags in nats, the mean over valid steps, and its gradient by the scores.

    The mean is over steps, not over rows, so the figure can be compared with `cross_entropy`'s.

    Parameters
    ----------
    scores : array (T, B, K, K)
        What `engine.CRF` gives for the same lengths: entry (t, b, i, j) is the score of tag i at step t-1 and tag j at
        step t of row b.  At t = 0 only i = 0 counts.
    targets : array of int (T, B)
        Tags in 0..K-1, on the host or on the backend; see `cross_entropy`.
    mask : array of bool, array of float or None
        (T, B), the valid steps: in each row the first ones.  Weights >= 0 weigh rows: one number for all steps of a
        row.  None: all steps are valid.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid steps; B gives the mean over rows.
    batch_first : bool
        Whether the arrays are (B, T, ...).

    Returns
    -------
    loss : array
        0-d, in the dtype of the scores; of rows without steps 0.
    dscores : array (T, B, K, K)
        The gradient: probability of each pair of tags minus 1 for the pair in `targets`, times the row's weight;
        exactly 0 at steps that are not valid.

    Raises
    ------
    InputError
        For a wrong shape, a tag out of range, or a mask with a hole.
    InputTypeError
        For a wrong dtype or another library's array.

    References
    ----------
    Lafferty, McCallum and Pereira (2001), *Conditional random fields*.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> scores = np.zeros((3, 1, 2, 2))  # T = 3, B = 1, K = 2: all 8 rows of tags are as likely
    >>> loss, dscores = engine.crf_loss(scores, np.array([[0], [1], [1]]))
    >>> round(float(loss) * 3, 4), round(float(np.log(8)), 4)
    (2.0794, 2.0794)
    """
    backend, scores, K = _enter(scores, batch_first)
    xp, dtype, (T, B) = backend.xp, float_dtype(backend, "scores", scores), scores.shape[:2]
    given = (B, T) if batch_first else (T, B)
    require_mask(backend, mask, dtype, given, exact=True)
    ids, stray = class_indices(backend, targets, mask, given, K, "scores without their last two axes")
    _require_prefix(mask, batch_first)
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, given, dtype)
        ids, scale = (_time_major(flat.reshape(given), batch_first) for flat in (ids, scale))
        valid = xp.ones((T, B), dtype=bool) if valid is None else _time_major(valid.reshape(given), batch_first)
        if stray is not None:
            stray = _time_major(stray.reshape(given), batch_first) & valid
            scale = xp.where(stray.any(axis=0), math.nan, scale)
        if T == 0 or B == 0:
            return xp.zeros((), dtype=dtype), xp.zeros((*given, K, K), dtype=dtype)
        share, last = scale[0], xp.clip(valid.sum(axis=0) - 1, 0, None)
        log_z, chance, weights = _forward(backend, scores, None if mask is None else valid, last)
        t, b = xp.arange(T)[:, None], xp.arange(B)
        before = xp.concatenate([xp.zeros_like(ids[:1]), ids[:-1]])
        score = xp.where(valid, scores[t, b, before, ids], xp.zeros_like(scale)).sum(axis=0)
        # L = sum over rows of share * (log Z - score(y))
        loss = summed(xp.where(valid[0], (log_z - score) * share, 0), xp, dtype)
        dalpha = xp.asarray(xp.where(valid[0][:, None], share[:, None] * chance, 0), dtype=dtype)
        dscores = _backward(xp, dalpha, weights, last)
        dscores[t, b, before, ids] -= xp.where(valid, share, xp.zeros_like(scale))  # score(y) = sum_t s_t(y_{t-1}, y_t)
    return loss, _as_given(xp, dscores, batch_first)


def _forward(backend: Backend, s: Array, valid: Array | None, last: Array) -> tuple[Array, Array, Array]:
    """log Z (B,) float64, exp(alpha - log Z) (B, K) at each row's last step, and all w_t(i, j) (T, B, K, K).

    Pads count as scores of 0, so that they stay finite; what they make is not used.  The question whether the scaled
    sums are exact waits for the device once, which costs less than logarithms at every step.
    """
    xp = backend.xp
    found, exact = _forward_scaled(backend, s, valid, last)
    if bool(backend.to_host(xp.asarray(exact))):
        return found
    s = s if valid is None else xp.where(valid[:, :, None, None], s, xp.zeros_like(s))
    alpha, weights = _forward_in_logarithms(xp, s, last)
    top = xp.max(alpha, axis=1)
    log_z = top + xp.log(xp.exp(alpha - top[:, None]).sum(axis=1))
    return log_z, xp.exp(alpha - log_z[:, None]), weights


def _forward_scaled(
    backend: Backend, s: Array, valid: Array | None, last: Array
) -> tuple[tuple[Array, Array, Array], Array]:
    """What `_forward` returns, without logarithms in the loop, and whether it is exact: a bool, 0-d.

    With E_t(i, j) = exp(s_t(i, j) - m_t), m_t the largest score of the step, and p_t(j) = exp(alpha_t(j)) over its sum
    (Rabiner 1989, section V.A, scales in the same way):

        q_t(j) = sum over i of p_{t-1}(i) E_t(i, j),    c_t = sum over j of q_t(j),    p_t = q_t / c_t,
        log Z = sum over t of m_t + log c_t,            w_t(i, j) = p_{t-1}(i) E_t(i, j) / q_t(j).

    A term below the smallest number of the dtype is lost.  That changes nothing where the sums q_t are much larger; at
    the last step only c_t has to be, and at t = 0 nothing is summed.
    """
    xp, dtype, (T, B, K) = backend.xp, backend.dtype_of(s), s.shape[:3]
    m = xp.max(s, axis=(2, 3))
    m[0] = xp.max(s[0, :, 0], axis=1)
    weights = xp.subtract(s, m[:, :, None, None], out=backend.empty(s.shape, dtype))
    if valid is not None:
        weights[~valid] = 0
    xp.exp(weights, out=weights)  # E
    q = xp.ones((T, B, K), dtype=dtype)
    q[0] = weights[0, :, 0]
    p, c = xp.zeros_like(q), xp.zeros_like(m)
    for t in range(T):
        if t:
            q[t] = xp.matmul(p[t - 1][:, None], weights[t])[:, 0]
        c[t] = q[t].sum(axis=1)
        p[t] = q[t] / c[t][:, None]
    weights[1:] *= p[:-1, :, :, None]
    weights[1:] /= xp.where(q[1:] == 0, 1, q[1:])[:, :, None]
    steps = xp.arange(T)[:, None]
    log_z = xp.asarray(xp.log(xp.asarray(c, dtype=np.float64)) + m, dtype=np.float64)
    log_z = xp.where(steps <= last, log_z, xp.zeros_like(log_z)).sum(axis=0)
    tiny = float(np.finfo(dtype).tiny / np.finfo(dtype).eps ** 1.5)
    inner = (steps == 0) | (steps >= last)
    exact = ((q >= tiny).all(axis=2) | inner).all() & ((c >= tiny) | (steps > last)).all()
    return (log_z, p[last, xp.arange(B)], weights), exact


def _forward_in_logarithms(xp: Any, s: Array, last: Array) -> tuple[Array, Array]:
    """alpha (B, K) float64 at each row's last step, and all w_t(i, j), for scores of any size."""
    alphas, weights = [xp.asarray(s[0, :, 0], dtype=np.float64)], xp.zeros_like(s)
    for t in range(1, len(s)):
        base = _finite(xp, xp.max(alphas[-1], axis=1))[:, None]  # it alone grows with t, and needs float64
        pairs = xp.asarray(alphas[-1] - base, dtype=s.dtype)[:, :, None] + s[t]  # (B, K, K)
        top = _finite(xp, xp.max(pairs, axis=1))
        e = xp.exp(pairs - top[:, None])
        total = e.sum(axis=1)
        alphas.append(base + (top + xp.log(total)))  # alpha_t(j) = log sum_i exp(alpha_{t-1}(i) + s_t(i, j))
        weights[t] = e / (total + (total == 0))[:, None]
    return xp.stack(alphas)[last, xp.arange(len(last))], weights


def _finite(xp: Any, top: Array) -> Array:
    """The largest numbers that are subtracted in an exponent, 0 in place of an infinity."""
    return xp.where(xp.isfinite(top), top, xp.zeros_like(top))


def _backward(xp: Any, dlast: Array, weights: Array, last: Array) -> Array:
    """The gradient by the scores in the place of w, from that by alpha at each row's last step (B, K)."""
    T, B, K = weights.shape[:3]
    dalpha = xp.zeros((T, B, K), dtype=weights.dtype)
    dalpha[last, xp.arange(B)] = dlast
    for t in range(T - 1, 0, -1):  # alpha_t(j) = log sum_i exp(alpha_{t-1}(i) + s_t(i, j))
        dalpha[t - 1] += xp.matmul(weights[t], dalpha[t][:, :, None])[:, :, 0]
    weights *= dalpha[:, :, None]  # alpha_t(j) = log sum_i exp(... + s_t(i, j))
    weights[0] = 0
    weights[0, :, 0] = dalpha[0]  # alpha_0(j) = s_0(0, j)
    return weights


@explained()
def viterbi(scores: Any, mask: Any = None, *, batch_first: bool = False) -> tuple[Any, Any]:
    """The most likely row of tags, and its score (Viterbi 1967); of equal ones, the first.

    Parameters
    ----------
    scores : array (T, B, K, K)
        As for `crf_loss`.
    mask : array of bool or None
        (T, B), the valid steps: in each row the first ones.  None: all.
    batch_first : bool
        Whether the arrays are (B, T, ...).

    Returns
    -------
    tags : array of int (T, B)
        The tag of each step, -1 at steps that are not valid.
    score : array (B,)
        The score of the row, float64; 0 without steps.

    Raises
    ------
    InputError, InputTypeError
        As for `crf_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.losses import viterbi
    >>> scores = np.zeros((3, 1, 2, 2))
    >>> scores[1:, 0, 0, 1], scores[0, 0, 0, 0] = 1.0, 0.5  # from 0 to 1 is worth 1, starting with 0 is worth 0.5
    >>> tags, score = viterbi(scores)
    >>> tags[:, 0].tolist(), score.tolist()
    ([0, 0, 1], [1.5])
    """
    backend, scores, _ = _enter(scores, batch_first)
    xp, dtype, (T, B) = backend.xp, float_dtype(backend, "scores", scores), scores.shape[:2]
    given = (B, T) if batch_first else (T, B)
    require_mask(backend, mask, dtype, given, exact=True)
    _require_prefix(mask, batch_first)
    with np.errstate(all="ignore"):
        valid = positions(backend, mask, None, given, dtype)[0]
        valid = xp.ones((T, B), dtype=bool) if valid is None else _time_major(valid.reshape(given), batch_first)
        if T == 0 or B == 0:
            return xp.zeros(given, dtype=np.int64), xp.zeros((B,), dtype=np.float64)
        best = xp.asarray(xp.where(valid[0][:, None], scores[0, :, 0], 0), dtype=np.float64)
        came = []
        for t in range(1, T):
            pairs = best[:, :, None] + scores[t]
            came.append(xp.argmax(pairs, axis=1))  # (B, K): the best tag before each tag
            best = xp.where(valid[t][:, None], xp.max(pairs, axis=1), best)
        rows, tag = xp.arange(B), xp.argmax(best, axis=1)
        score, tags = best[rows, tag], [tag]
        for t in range(T - 1, 0, -1):
            tag = xp.where(valid[t], came[t - 1][rows, tag], tag)
            tags.append(tag)
        found = xp.where(valid, xp.stack(tags[::-1]), -1)
    return _as_given(xp, xp.asarray(found, dtype=np.int64), batch_first), score


def _enter(scores: Any, batch_first: Any) -> tuple[Backend, Array, int]:
    """The backend, the scores time-major, and K."""
    backend = backend_of(scores, "scores")
    if scores.ndim != 4 or scores.shape[2] != scores.shape[3] or scores.shape[3] < 1:
        axes = "(B, T, K, K)" if switch("batch_first", batch_first) else "(T, B, K, K)"
        hint = "they are what engine.CRF gives"
        raise bad_input("scores", f"shape {axes}", f"shape {tuple(scores.shape)}", hint)
    return backend, _time_major(scores, switch("batch_first", batch_first)), int(scores.shape[3])


def _require_prefix(mask: Any, batch_first: bool) -> None:
    """Raise if a mask on the host has a valid step after one that is not, or several weights in a row."""
    host = None if mask is None else host_view("mask", mask)
    if host is None or host.size == 0:
        return
    host = _time_major(host, batch_first)
    wrong = (host != 0) & (host != host[:1])
    wrong[1:] |= (host[1:] != 0) & (host[:-1] == 0)
    if wrong.any():
        t, b = (int(place) for place in np.argwhere(wrong)[0])
        hint = "a sequence is a row's first steps, all of one weight"
        raise bad_input("mask", "no hole and one weight in each row", f"{host[t, b]} at step {t} of row {b}", hint)


def _time_major(array: Array, batch_first: bool) -> Array:
    return array.swapaxes(0, 1) if batch_first else array


def _as_given(xp: Any, array: Array, batch_first: bool) -> Array:
    return xp.copy(array.swapaxes(0, 1)) if batch_first else array
