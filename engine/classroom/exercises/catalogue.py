"""The twelve exercises, in the order in which a course may take them."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from engine.checks import describe
from engine.classroom.exercises import judging
from engine.classroom.exercises.hidden import other_pairs, single_functions, truncation
from engine.classroom.exercises.hidden.recurrent_pairs import pair
from engine.classroom.exercises.pair import Pair, Tests
from engine.classroom.exercises.student import Student
from engine.errors import bad_input


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    name : of its file, without ``.py``.
    title : for lists.
    tests : from a student's functions and a seed to the tests that judge them.
    """

    name: str
    title: str
    tests: Callable[[Student, int], Tests]


def _of(pair: Pair) -> Callable[[Student, int], Tests]:
    return functools.partial(judging.tests_of, pair)


_ALL = (
    Exercise("numeric_gradient", "a gradient by central differences", single_functions.numeric_gradient),
    Exercise("rnn_step", "one step of an RNN, forward and backward", _of(pair("rnn", False))),
    Exercise("rnn", "an RNN over a sequence, forward and backward", _of(pair("rnn", True))),
    Exercise("truncated_bptt", "truncated backpropagation through time", truncation.truncation),
    Exercise("lstm_step", "one step of an LSTM, forward and backward", _of(pair("lstm", False))),
    Exercise("lstm", "an LSTM over a sequence, forward and backward", _of(pair("lstm", True))),
    Exercise("gru_step", "one step of a GRU, forward and backward", _of(pair("gru", False))),
    Exercise("gru", "a GRU over rows of different length, forward and backward", _of(pair("gru", True))),
    Exercise("embedding", "an embedding, forward and backward", _of(other_pairs.EMBEDDING)),
    Exercise("softmax_loss", "softmax and cross-entropy with a mask", single_functions.softmax_loss),
    Exercise("clip_by_norm", "gradient clipping by the global norm", single_functions.clip_by_norm),
    Exercise("attention", "scaled dot-product attention, forward and backward", _of(other_pairs.ATTENTION)),
)
#: All exercises by name.
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercise in _ALL}


def find(name: str) -> Exercise:
    """The exercise of that name.

    Raises
    ------
    InputError
        for an unknown name.
    """
    if name in EXERCISES:
        return EXERCISES[name]
    near = difflib.get_close_matches(str(name), EXERCISES, n=1)
    hint = f"did you mean {near[0]}?" if near else "bptt exercise list shows them"
    raise bad_input("NAME", f"one of {', '.join(EXERCISES)}", describe(name), hint)
