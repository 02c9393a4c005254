"""Whether a model is better than no model, that is, than guessing among characters or repeating the last value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import NonFiniteError

#: What to do about a network that learned badly, in the options of most tasks.
HINT = "lower --lr, clip harder with --clip, or train longer"


def beside_guessing(bpc: float, characters: int) -> dict[str, Any]:
    """The bits per character of guessing among so many `characters`, and whether `bpc` is more than that."""
    guess = math.log2(characters)
    return {"guessing": guess, "worse_than_guessing": bpc > guess}


def language_verdict(
    best: float,
    records: Sequence[Mapping[str, Any]],
    characters: int,
    figure: str = "bpc",
    tokens: str = "characters",
) -> dict[str, Any]:
    """`beside_guessing` for a run: for its best validation, and for its last one.

    Parameters
    ----------
    records : lines of its metrics.
    characters : how many different ones there are.
    figure : the name of the bits in the metrics.
    tokens : what these are.
    """
    last = next((r[figure] for r in reversed(records) if r["kind"] == "validation"), best)
    result = beside_guessing(max(best, last), characters)
    guess = f"guessing among {characters:,} {tokens} takes {result['guessing']:.3f}"
    if best > result["guessing"]:
        result["verdict"] = f"Worse than guessing: {best:.4g} bits per {tokens[:-1]}, where {guess}; {HINT}."
    elif result["worse_than_guessing"]:
        result["verdict"] = (
            f"The run ended worse than guessing: {last:.4g} bits per {tokens[:-1]}, where {guess}; "
            f"{HINT}. The best state is from before that."
        )
    return result


def forecast_verdict(scores: Mapping[str, Mapping[str, Any]], name: str, hint: str = HINT) -> dict[str, Any]:
    """Whether the forecaster `name` has larger errors than persistence, which repeats the last known value.

    Parameters
    ----------
    hint : what to do about it, in the options of the task.

    Raises
    ------
    NonFiniteError
        for errors that are not finite.
    """
    ours, theirs = scores[name]["rmse"], scores["persistence"]["rmse"]
    if not math.isfinite(ours):
        raise NonFiniteError(f"scores: expected finite errors, got an RMSE of {ours} for {name}; train anew: {hint}")
    result: dict[str, Any] = {"worse_than_persistence": ours > theirs}
    if ours > theirs:
        result["verdict"] = (
            f"Worse than persistence, which repeats the last value: RMSE {ours:.4g}, where that has {theirs:.4g}; "
            f"{hint}."
        )
    return result
