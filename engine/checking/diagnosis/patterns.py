"""How a wrong gradient departs, in words: a factor, a transpose, a step too early, a term that is left out.

Every pattern is measured: the claimed numbers are those of the pattern, and the pattern explains nearly all of the
error.  The possible cause of a pattern is put as a question.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from engine.checking.diagnosis.factors import SLIGHT, factor_in_words
from engine.checking.diagnosis.moves import moved
from engine.checking.diagnosis.pairs import ENOUGH, FIT, LEFT, Around, Pair

#: Larger tensors are looked at for a factor and for zeros only.
LARGE = 200_000
#: A product with a matrix of a larger condition number cannot be undone.
WELL = 1e6


def pattern(claimed: np.ndarray, numeric: np.ndarray, departs: np.ndarray, around: Around | None = None) -> str:
    """Words for how a gradient departs; empty if no pattern fits.

    Parameters
    ----------
    claimed, numeric, departs : backward's gradient, the right one, and where they lie too far apart; of one shape.
    around : other facts that are known.
    """
    pair = Pair(claimed, numeric, departs, around or Around())
    if not departs.any():
        return ""
    if not np.isfinite(claimed).all():
        return "NaN or infinity there" if np.isfinite(numeric).all() else ""
    if not np.isfinite(numeric).all():
        return ""
    rules: tuple[Callable[[Pair], str], ...] = (_zero, _absolute, _factor)
    if claimed.size <= LARGE and np.count_nonzero(departs) >= ENOUGH:
        rules += (
            moved,
            _transposed_factor,
            _repeated,
            _masked,
            _clipped,
            _added,
            _factor_of_each,
            _same_along,
            _sorted_alike,
        )
    return next(filter(None, (rule(pair) for rule in (*rules, _slightly_off))), "")


def _zero(pair: Pair) -> str:
    if pair.claimed[pair.departs].any():
        return ""
    if not pair.claimed.any():
        return "all zero"
    return "zero there, where the right value is not"


def _absolute(pair: Pair) -> str:
    right = pair.numeric[~pair.departs]
    if np.count_nonzero(pair.departs) >= ENOUGH and (right > 0.0).any() and pair.explained_by(np.abs(pair.numeric)):
        return "the absolute value of what is right"
    return ""


def _factor(pair: Pair) -> str:
    claimed, numeric = pair.claimed[pair.departs], pair.numeric[pair.departs]
    square = float(numeric @ numeric)
    if square <= 0.0 or not np.isfinite(square):
        return ""
    factor = float(claimed @ numeric) / square
    if not pair.explained_by(factor * pair.numeric, pair.departs):
        return ""
    place = "everywhere" if pair.explained_by(factor * pair.numeric) else pair.place
    return factor_in_words(factor, place, pair.around.sizes, pair.around.scalars, claimed.size >= ENOUGH)


def _transposed_factor(pair: Pair) -> str:
    """Whether the gradient was multiplied by a matrix where its transpose belongs, or the other way round."""
    for name, matrix in pair.around.squares.items():
        if pair.claimed.ndim and len(matrix) == pair.claimed.shape[-1] and np.linalg.cond(matrix) < WELL:
            for one in (matrix, matrix.T):
                if pair.explained_by(np.linalg.solve(one.T, pair.numeric[..., None])[..., 0] @ one.T):
                    return f"transposed: a product with {name} where its transpose belongs, or the reverse"
    return ""


def _repeated(pair: Pair) -> str:
    """Rows of an embedding that were assigned instead of added."""
    rows, alive = (
        np.asarray(one.reshape(len(pair.departs), -1).any(axis=1)) for one in (pair.departs, pair.numeric != 0.0)
    )
    for name, repeated in pair.around.repeated.items():
        if len(repeated) != len(rows) or not (alive & ~rows & ~repeated).any():
            continue  # no row of an index that occurs once is known to be right
        if rows.any() and not (rows & ~repeated).any():
            return f"only where an index occurs twice or more in {name}: assigned, not added (np.add.at adds)?"
    return ""


def _masked(pair: Pair) -> str:
    nowhere = (pair.numeric == 0.0) & pair.departs
    if nowhere.any() and not (pair.departs & ~nowhere).any():
        return "not 0 where the right value is 0: a mask forgotten (relu, dropout, padding)?"
    return ""


def _clipped(pair: Pair) -> str:
    limit = float(np.max(np.abs(pair.claimed)))
    beyond = np.abs(pair.numeric) > limit
    if beyond.any() and pair.explained_by(np.clip(pair.numeric, -limit, limit)):
        return f"clipped at {limit:.4g}"
    return ""


def _added(pair: Pair) -> str:
    """One term too many or too few: a constant, or a multiple of the tensor itself."""
    gap = pair.gap[pair.departs] / pair.around.dout
    mean = float(gap.mean())
    if np.ptp(gap) <= LEFT * abs(mean):
        return f"off by the same {mean:+.4g} {pair.place}: a term too many or too few?"
    if pair.around.values is not None and pair.around.values.shape == pair.claimed.shape:
        values = pair.around.values[pair.departs]
        square = float(values @ values)
        times = float(gap @ values) / square if square > 0.0 else 0.0
        if times and np.abs(gap - times * values).max() <= LEFT * np.abs(gap).max():
            which = "too many" if times > 0 else "missing"
            return f"off by {times:.4g} times the tensor's own values: a term of weight decay {which}?"
    return ""


def _factor_of_each(pair: Pair) -> str:
    """A factor that differs for each index of one axis, such as a scale that was left out."""
    for axis in range(pair.claimed.ndim if pair.claimed.ndim > 1 else 0):
        claimed, numeric = (
            np.moveaxis(values, axis, 0).reshape(pair.claimed.shape[axis], -1)
            for values in (pair.claimed, pair.numeric)
        )
        square = (numeric * numeric).sum(axis=1)
        alive = square > 0.0
        several = np.count_nonzero(numeric, axis=1) > 1  # a single number is always some factor of another
        if np.count_nonzero(several) < ENOUGH or claimed.shape[1] < ENOUGH:
            continue
        factors = np.where(alive, (claimed * numeric).sum(axis=1) / np.where(alive, square, 1.0), 0.0)
        flat = Pair(claimed, numeric, claimed != numeric, pair.around)
        if not flat.explained_by(factors[:, None] * numeric) or not factors.any():
            continue
        one = {0: "row", 1: "column"}.get(axis, "slice") if pair.claimed.ndim == 2 else f"index of axis {axis}"
        for name, vector in pair.around.vectors.items():
            for words, wanted in (("divided by", _inverse(vector)), ("multiplied by", vector)):
                if vector.shape == factors.shape and _alike(factors[alive], wanted[alive]):
                    return f"{words} {name}: {name} left out, or taken twice?"
        low, high = float(factors[alive].min()), float(factors[alive].max())
        if max(abs(low - 1.0), abs(high - 1.0)) < SLIGHT:
            return ""
        return f"right but for a factor of each {one}'s own, from {low:.4g} to {high:.4g}"
    return ""


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= FIT * np.abs(other).max())


def _inverse(vector: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(vector == 0.0, np.inf, 1.0 / np.where(vector == 0.0, 1.0, vector)))


def _same_along(pair: Pair) -> str:
    """Numbers, or an error, that are the same all along an axis: sums, means, terms with a sum in them."""
    shape, names = pair.claimed.shape, {0: "row", 1: "column"} if pair.claimed.ndim == 2 else {}
    for axis in range(len(shape) if len(shape) > 1 else 0):
        if shape[axis] < ENOUGH or not pair.everywhere:
            continue
        one = names.get(axis, f"index of axis {axis}")
        mean = np.broadcast_to(pair.numeric.mean(axis=axis, keepdims=True), shape)
        for words, factor in (("mean", 1.0), ("sum", float(shape[axis]))):
            if pair.explained_by(factor * mean):
                return f"each {one} holds the {words} of the right values along axis {axis}"
        spread = np.ptp(pair.gap, axis=axis).max()
        if spread <= LEFT * np.abs(pair.gap).max():
            return f"the error is the same in every {one}: a term that sums or averages over axis {axis} missing?"
    return ""


def _sorted_alike(pair: Pair) -> str:
    claimed, numeric = np.sort(pair.claimed, axis=None), np.sort(pair.numeric, axis=None)
    error, left = float(np.abs(pair.gap).max()), float(np.abs(claimed - numeric).max())
    if pair.claimed.ndim and left <= FIT * float(np.abs(numeric).max()) and left <= 1e-6 * error:
        return "the right numbers in another order: a reshape where axes should be exchanged, or a wrong index?"
    return ""


def _slightly_off(pair: Pair) -> str:
    size = float(np.max(np.abs(pair.numeric)))
    off = float(np.max(np.abs(pair.gap))) / size if size > 0.0 else np.inf
    if off < SLIGHT and np.count_nonzero(pair.departs) >= ENOUGH:
        return f"off by about {off:.0e} of the right values: an epsilon missing or doubled, or a constant cut short?"
    return ""


def shape_in_words(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Words for a gradient whose shape is not that of its tensor."""
    words = f"shape {found} in place of {wanted}"
    summed = math.prod(found) > math.prod(wanted) and found[len(found) - len(wanted) :] == wanted
    if found == wanted[::-1]:
        return f"{words}: transposed?"
    if [size for size in found if size != 1] == [size for size in wanted if size != 1]:
        return f"{words}: an axis of length 1 too {'many' if len(found) > len(wanted) else 'few'}"
    if summed:
        return f"{words}: not summed over the axes along which it was broadcast?"
    if len(found) == len(wanted) == 1:
        return f"{words}: summed over another axis?"
    return words
