"""Truncated backpropagation: chunks and windows of all kinds, with what common mistakes give."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.classroom.exercises import recurrent_layers
from engine.classroom.exercises.hidden.recurrent_pairs import draw
from engine.classroom.exercises.hidden.single_functions import returned, unchanged
from engine.classroom.exercises.pair import HiddenCase, Test, Tests, WrongError
from engine.classroom.exercises.student import Student
from engine.classroom.exercises.words import compare, require_array, same
from engine.truncation import truncated_bptt

NAMES = ("weight_ih", "weight_hh", "bias")
#: T, k1, k2 and points.  They are chosen so that an error of one step looks like no other mistake.
CASES = {
    "k1 = k2 = T: the full gradient": (6, 6, 6, 2),
    "k1 = k2: each pass in its chunk": (6, 2, 2, 2),
    "k2 longer than k1": (8, 2, 4, 3),
    "a shorter last chunk": (8, 3, 5, 2),
    "k1 = 1": (5, 1, 3, 2),
    "one time step": (1, 1, 2, 1),
    "k2 longer than the sequence": (4, 3, 9, 1),
}


def truncation(student: Student, seed: int) -> Tests:
    """One test for each case."""
    for number, (title, (T, k1, k2, points)) in enumerate(CASES.items()):
        rng = np.random.default_rng([seed, 11, number])
        arguments = draw(HiddenCase(title, {"T": T, "B": 3, "D": 2, "H": 4}, 0.8), rng, "rnn")
        dh = rng.normal(size=(T, 3, 4))
        yield Test(
            f"truncated_bptt: {title}",
            points,
            functools.partial(_truncated, student, arguments, dh, k1, k2),
        )


def _truncated(student: Student, arguments: dict[str, Any], dh: np.ndarray, k1: int, k2: int) -> None:
    given = [arguments["x"], arguments["h0"], dh, *(arguments[name] for name in NAMES)]
    copies = [value.copy() for value in given]
    found = returned("truncated_bptt", student.call("truncated_bptt", *copies, k1, k2), 3)
    for name, before, after in zip(("x", "h0", "dh", *NAMES), given, copies, strict=True):
        unchanged("truncated_bptt", before, after, name)
    shapes = {f"d{name}": arguments[name].shape for name in NAMES}
    arrays = [require_array(name, one, shape, shapes) for one, (name, shape) in zip(found, shapes.items(), strict=True)]
    right = _right(arguments, dh, k1, k2)
    if all(map(same, arrays, right)):
        return
    walk = Walk(k1, k2)
    mistakes = [(words, wrong.gradients(arguments, dh)) for words, wrong in _mistakes(walk)]
    for words, values in mistakes:
        if all(map(same, arrays, values)):
            raise WrongError(f"the gradients are wrong: {words}")
    no_start = walk.gradients({**arguments, "h0": np.zeros_like(arguments["h0"])}, dh)
    alone = {
        "it meets the state after the step; weight_hh met the one before it": replace(walk, meets="after"),
        "the state before the last step that a pass visits is left out: it still counts": replace(walk, meets="inside"),
    }
    all_wrong = not any(map(same, arrays, right))
    for place, name in enumerate(shapes):
        suspects = [(words, one.gradients(arguments, dh)[place]) for words, one in alone.items()]
        suspects.append(("the initial state h0 is not used", no_start[place]))
        suspects += [(words, values[place]) for words, values in mistakes if all_wrong]
        compare(name, arrays[place], right[place], suspects)


def _right(arguments: dict[str, Any], dh: np.ndarray, k1: int, k2: int) -> list[np.ndarray]:
    made = recurrent_layers.layer("rnn_tanh", arguments)
    truncated_bptt(made, arguments["x"], lambda y: (0.0 * y.sum(), dh), k1, k2, arguments["h0"][None])
    return [np.array(made.grads[f"{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias_ih")]


@dataclass(frozen=True)
class Walk:
    """The passes as a student may write them; each field but `k1` and `k2` is one place for a mistake.

    Attributes
    ----------
    k1, k2 : length of a chunk, steps that a pass visits.
    slope : whose tanh is differentiated: "h", "h_prev" or "none".
    back : what takes the gradient one step back: "weight", "transposed", "minus" or "none".
    used : which dh count: "chunk", "all" or "last".
    adds : whether dh is added to what is carried, or takes its place.
    clears : whether each pass starts with nothing carried.
    chunks : "all"; "full", where a shorter last one is left out; "but last"; "overlap", where the last one begins k1
        steps before the end; or "end", where they are cut from the end on.
    sums : whether the passes are added up, or the last one alone is left.
    first : from where the last step to visit is counted: "stop", "start" (the chunk's first step) or "own" (no further
        than the chunk).
    meets : the states that dweight_hh meets: "before" each step, "after" it, or "inside" (but not before the last one).
    """

    k1: int
    k2: int
    slope: str = "h"
    back: str = "weight"
    used: str = "chunk"
    adds: bool = True
    clears: bool = True
    chunks: str = "all"
    sums: bool = True
    first: str = "stop"
    meets: str = "before"

    def gradients(self, arguments: dict[str, Any], dh: np.ndarray) -> list[np.ndarray]:
        """The three gradients."""
        h, _ = recurrent_layers.run("rnn_tanh", arguments)
        states = [arguments["h0"], *h]
        weight = arguments["weight_hh"]
        back = {"weight": weight, "transposed": weight.T, "minus": -weight, "none": np.eye(len(weight))}[self.back]
        sums = [np.zeros_like(arguments[name]) for name in NAMES]
        carried = np.zeros_like(arguments["h0"])
        for start, stop in self._cut(len(dh)):
            if self.clears:
                carried = np.zeros_like(carried)
            if not self.sums:
                sums = [np.zeros_like(one) for one in sums]
            last = max(0, {"stop": stop - self.k2, "start": start - self.k2, "own": start}[self.first])
            for t in range(stop - 1, last - 1, -1):
                used = {"chunk": t >= start, "all": True, "last": t == stop - 1}[self.used]
                total = carried if not used else carried + dh[t] if self.adds else dh[t]
                slope = {"h": 1 - states[t + 1] ** 2, "h_prev": 1 - states[t] ** 2, "none": 1.0}[self.slope]
                da = total * slope
                carried = da @ back
                met = states[t + (self.meets == "after")] * (self.meets != "inside" or t > last)
                parts = (da.T @ arguments["x"][t], da.T @ met, da.sum(axis=0))
                sums = [one + part for one, part in zip(sums, parts, strict=True)]
        return sums

    def _cut(self, T: int) -> list[tuple[int, int]]:
        """First step and end of each chunk."""
        k1 = self.k1
        if self.chunks == "end":
            return [(max(0, stop - k1), stop) for stop in range(T, 0, -k1)][::-1]
        found = [(start, min(start + k1, T)) for start in range(0, T, k1)]
        if self.chunks == "full":
            return [(start, stop) for start, stop in found if stop - start == k1]
        if self.chunks == "overlap":
            return [*found[:-1], (max(0, T - k1), T)]
        return found[:-1] if self.chunks == "but last" else found


def _mistakes(right: Walk) -> Iterator[tuple[str, Walk]]:
    k1, k2 = right.k1, right.k2
    yield "off by one: each pass goes one step too far", replace(right, k2=k2 + 1)
    yield "off by one: each pass goes one step too short", replace(right, k2=k2 - 1)
    yield (
        "no pass goes beyond its chunk: it visits k2 steps, and weights get gradients at each",
        replace(right, first="own"),
    )
    yield "k1 and k2 are exchanged", Walk(k2, k1)
    yield "k2 is taken for k1", Walk(k2, k2)
    yield "k2 is counted from the chunk's first step: the chunk's own steps count too", replace(right, first="start")
    yield "nothing is truncated: this is the full gradient", Walk(k1, 10**6)
    yield "a pass for each step: there is one pass for each chunk of k1 steps", Walk(1, k2)
    yield "dh of steps before the chunk is counted again: use dh of the chunk alone", replace(right, used="all")
    yield "only dh of the chunk's last step is used: use dh of every step of the chunk", replace(right, used="last")
    yield "the slope of tanh, 1 - h[t]**2, is forgotten", replace(right, slope="none")
    yield "the slope of tanh is that of h[t-1]: it is 1 - h[t]**2", replace(right, slope="h_prev")
    yield "weight_hh is transposed on the way back: carry da @ weight_hh", replace(right, back="transposed")
    yield "the sign of what is carried: carry da @ weight_hh", replace(right, back="minus")
    yield "weight_hh is forgotten on the way back: carry da @ weight_hh", replace(right, back="none")
    yield "dh[t] overwrites what is carried: add the two", replace(right, adds=False)
    yield "a pass goes on with what the pass before carried: start each with nothing", replace(right, clears=False)
    yield "the last chunk is left out where it is shorter: it has a pass too", replace(right, chunks="full")
    yield "the last chunk is left out: each chunk has a pass", replace(right, chunks="but last")
    yield (
        "the last chunk begins k1 steps before the end: it begins where the one before ends",
        replace(right, chunks="overlap"),
    )
    yield "the chunks are cut from the end on: the first one begins at step 0", replace(right, chunks="end")
    yield "only the last chunk is left: add up the passes of all chunks", replace(right, sums=False)
