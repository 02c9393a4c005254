"""From the outputs of a CTC model to labels: the best path, and a search over beginnings.

A path gives each step a class; joining its repeats and then leaving the blanks out gives the labels that it reads.  The
best path is the likeliest single one.  The likeliest *labels* may be others, since many paths read the same: the search
adds the paths of each beginning up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer
from engine.errors import bad_input


class Reading(NamedTuple):
    """Labels that outputs may be read as.

    Attributes
    ----------
    labels : tuple of int
        Class indices, without the blank.
    log_prob : float
        The log of the sum of its paths' probabilities that the search kept.
    """

    labels: tuple[int, ...]
    log_prob: float


def best_path_steps(log_probs: NDArray[np.floating], blank: int = 0) -> list[tuple[int, int]]:
    """Return the labels that the best path reads, each with the step at which it is likeliest.

    Parameters
    ----------
    log_probs : float array (T, K)
        Log-probabilities or logits of one row.
    blank : int
        The class that stands for "no label".

    Returns
    -------
    list of (label, step)
        In the order of time.

    Examples
    --------
    >>> import numpy as np
    >>> best_path_steps(np.log([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]]))
    [(1, 2), (2, 3)]
    """
    classes = _outputs(log_probs, blank).argmax(axis=-1)
    found, start = [], 0
    for t in range(1, len(classes) + 1):
        if t < len(classes) and classes[t] == classes[start]:
            continue
        if classes[start] != blank:
            stretch = log_probs[start:t, classes[start]]
            found.append((int(classes[start]), start + int(stretch.argmax())))
        start = t
    return found


def prefix_beam(log_probs: NDArray[np.floating], width: int = 8, blank: int = 0) -> list[Reading]:
    """Return the likeliest readings of one row's outputs, best first.

    Each step extends the `width` likeliest beginnings.  Of a beginning two sums are kept, over the paths that end in
    the blank and over those that end in its last label: the same label may only be added after a blank.  With a width
    that drops no beginning, the sums are the exact probabilities.

    Parameters
    ----------
    log_probs : float array (T, K)
        Log-probabilities: log-softmax of the logits.
    width : int
        How many beginnings each step keeps.
    blank : int
        The class that stands for "no label".

    Returns
    -------
    list of Reading
        At most `width`.

    References
    ----------
    Graves (2008), *Supervised sequence labelling with recurrent neural networks*, section 7.4; Hannun, Maas, Jurafsky
    and Ng (2014), *First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs*.

    Examples
    --------
    >>> import numpy as np
    >>> row = np.log([[0.6, 0.4], [0.6, 0.4]])
    >>> best_path_steps(row)  # the best path is all blank: 0.36
    []
    >>> [(reading.labels, round(float(np.exp(reading.log_prob)), 2)) for reading in prefix_beam(row)]
    [((1,), 0.64), ((), 0.36)]
    """
    kept = integer("width", width, 1)
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}  # ends in the blank, in its last label
    for step in _outputs(log_probs, blank).tolist():
        found: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (by_blank, by_label) in beams.items():
            total = _log_add(by_blank, by_label)
            last = prefix[-1] if prefix else blank
            # the same labels: a blank, or the last label once more
            stays = step[last] + by_label if prefix else -math.inf
            _add(found, prefix, total + step[blank], stays)
            for label, log_prob in enumerate(step):
                if label != blank:
                    _add(found, (*prefix, label), -math.inf, log_prob + (by_blank if label == last else total))
        ranked = sorted(((-_log_add(*pair), prefix) for prefix, pair in found.items()))
        beams = {prefix: found[prefix] for rank, prefix in ranked[:kept] if rank < math.inf}
    return [Reading(prefix, _log_add(*pair)) for prefix, pair in beams.items()]


def _outputs(log_probs: NDArray[np.floating], blank: int) -> NDArray[np.floating]:
    shape = getattr(log_probs, "shape", None)
    if not isinstance(log_probs, np.ndarray) or log_probs.ndim != 2 or log_probs.shape[1] < 1:
        got = describe(log_probs) if shape is None else f"shape {shape}"
        raise bad_input("log_probs", "an array (T, K) on the host, of one row", got)
    if integer("blank", blank, 0) >= log_probs.shape[1]:
        raise bad_input("blank", f"a class index in 0..{log_probs.shape[1] - 1}", describe(blank))
    return log_probs


def _add(
    found: dict[tuple[int, ...], tuple[float, float]], prefix: tuple[int, ...], blank: float, label: float
) -> None:
    before = found.get(prefix, (-math.inf, -math.inf))
    found[prefix] = _log_add(before[0], blank), _log_add(before[1], label)


def _log_add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    low, high = (one, other) if one < other else (other, one)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
