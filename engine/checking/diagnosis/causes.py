"""Where a wrong gradient comes from.

Backward carries an error along: a fault in one gate at one step soon spoils every gradient before it.  So the diagnosis
looks for the group of outputs with the least spoilt gradient.  The loss of step 0 alone depends on one step of the cell
only, so a gradient that is wrong there is wrong by itself.  The final state alone shows whether backward uses its
gradient at all.  In that group the topmost layer counts, because backward passes it first.  Then the numbers are
compared with those of well-known mistakes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from engine.checking.report.report import Diagnosis
from engine.checking.subjects.subject import Subject
from engine.checking.verdicts.finding import Finding

SIGN, TWICE, TRANSPOSED, EXCHANGED = "sign", "factor 2", "transposed", "gates exchanged"
NO_FINAL_STATE, NO_C = "missing term from the final state", "missing term from c"
LATER_H, MERGED_BIAS = "h_t in place of h_{t-1}", "bias merged inside r"
MASK, TRUNCATION, OVERWRITTEN = "mask forgotten", "off by one in truncation", "overwritten, not added"
CAUSES = (
    SIGN, TWICE, TRANSPOSED, NO_C, NO_FINAL_STATE, LATER_H, MERGED_BIAS, MASK, TRUNCATION, OVERWRITTEN, EXCHANGED
)  # fmt: skip
#: How closely numbers must fit a mistake.
FIT = 1e-4
#: Names that functions give to their input, and to their initial state; for layers these are x, h0, c0, state0, ...
INPUTS, STATES = (
    ("x", "xs", "inputs", "input", "inp", "xt", "x_t"),
    r"(prev_?)?[hcs](_?(prev|0|init|old|tm1))?|state\d*",
)
#: Errors smaller by this factor are those that a fault carries along: back through time, or from a loss on.
CARRIED, FROM_A_LOSS = 2.0, 10.0
#: Gate blocks that a block's error reaches within one step: they are not to blame if that block departs as well.
DOWNSTREAM = {"n": ("r",)}


@dataclass(frozen=True)
class Block:
    """A gate block of a parameter, or a whole tensor, in one group."""

    finding: Finding
    group: int
    gate: str | None
    claimed: np.ndarray
    numeric: np.ndarray
    error: float

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.finding.part.name


def diagnose(subject: Subject, findings: list[Finding]) -> Diagnosis:
    """The tensor and gate nearest to the bug, the first time step that backward meets it at, and a likely cause."""
    step = _time_step(findings)
    if subject.causes and not any(finding.departs.any() for finding in findings):
        name = next(name for name in subject.causes if name)
        return Diagnosis(name, None, step, subject.causes[name], "a second call of backward")
    group = _simplest_group(subject, findings)
    blocks = [block for finding in findings for block in blocks_of(finding, group) if departs(block)]
    missing = _missing_state(subject, findings)
    chosen = _nearest(blocks, sum(int(np.prod(out.shape)) for out in subject.outputs) == 1)
    if missing is not None:
        over_time = any(group.steps is not None for group in subject.groups)
        group, cause = missing, NO_FINAL_STATE
        if not over_time and re.fullmatch(r"out\b.*", subject.groups[missing].name):
            cause = f"no gradient comes back from {subject.groups[missing].name}"
        blocks = [block for finding in findings for block in blocks_of(finding, group) if departs(block)]
        chosen = _final_state_block(subject, blocks, group)
    else:
        cause = _cause(subject, findings, blocks, chosen) or subject.causes.get(chosen.name, "")
    gate = _gate(blocks, chosen)
    beside = _beside(blocks, chosen) if gate else ()
    return Diagnosis(chosen.name, gate, step, cause, subject.groups[group].name, beside=beside)


def blocks_of(finding: Finding, group: int) -> list[Block]:
    """The tensor's gate blocks in one group, or the tensor as one block."""
    errors = finding.errors()[group]
    if finding.looks:
        found = []
        for k, look in enumerate(finding.looks):
            value = slice(k, k + 1)
            found.append(
                Block(
                    finding,
                    group,
                    look.gate,
                    finding.claimed[group, value],
                    finding.numeric[group, value],
                    float(errors[k]),
                )
            )
        return found
    gates = finding.part.gates or (None,)
    split = [finding.part.blocks(values) for values in (finding.claimed[group], finding.numeric[group], errors)]
    return [
        Block(finding, group, gate, claimed, numeric, float(np.max(error, initial=0.0)))
        for gate, claimed, numeric, error in zip(gates, *split, strict=True)
    ]


def departs(block: Block) -> bool:
    """Whether anything in the block lies farther from the second opinion than is allowed."""
    finding = block.finding
    if finding.looks:
        row = [k for k, look in enumerate(finding.looks) if look.gate == block.gate]
        return bool(finding.departs[block.group, row].any())
    if block.gate is None:
        return bool(finding.departs[block.group].any())
    place = finding.part.gates.index(block.gate)
    return bool(finding.part.blocks(finding.departs[block.group])[place].any())


def _time_step(findings: list[Finding]) -> int | None:
    """The largest time step at which the gradient of x departs: the first that backward meets."""
    found = []
    for finding in findings:
        axis = finding.part.time_axis
        if axis is None or not finding.departs.any():
            continue
        if finding.looks:
            spans = [look.steps for k, look in enumerate(finding.looks) if look.steps and finding.departs[:, k].any()]
            found += [span[1] - 1 for span in spans]
        else:
            steps = np.moveaxis(finding.departs, axis + 1, 0).reshape(finding.part.shape[axis], -1)
            found.append(int(np.flatnonzero(steps.any(axis=1))[-1]))
    return max(found, default=None)


def _simplest_group(subject: Subject, findings: list[Finding]) -> int:
    """The group that shows the bug most simply: the earliest outputs, which have the fewest steps behind them.

    One in which x alone departs comes later, as do final states, and everything together last.
    """

    def complexity(number: int) -> tuple[bool, bool, bool, int, int]:
        group = subject.groups[number]
        blocks = [block for finding in findings for block in blocks_of(finding, number) if departs(block)]
        only_x = all(_rank(block.name) == 2 for block in blocks)
        return not blocks, only_x, group.together, 10**9 if group.steps is None else group.steps[0], len(blocks)

    return min(range(len(subject.groups)), key=complexity)


def _missing_state(subject: Subject, findings: list[Finding]) -> int | None:
    """The group of a final state whose gradient backward does not take up at all, where all else is right."""
    if any(f.departs[k].any() for f in findings for k, group in enumerate(subject.groups) if group.steps is not None):
        return None
    for number, group in enumerate(subject.groups):
        if not group.state:
            continue
        claimed = max(float(np.max(np.abs(f.claimed[number]), initial=0.0)) for f in findings)
        numeric = max(float(np.max(np.abs(f.numeric[number]), initial=0.0)) for f in findings)
        if claimed == 0.0 and numeric > 0.0 and any(f.departs[number].any() for f in findings):
            return number
    return None


def _final_state_block(subject: Subject, blocks: list[Block], group: int) -> Block:
    """The initial state of the same letter, which the final state's gradient should have reached, or what departs."""
    wanted = subject.groups[group].name.removeprefix("final ") + "0"
    same = [block for block in blocks if block.name == wanted]
    return same[0] if same else _nearest(blocks)


def _nearest(blocks: list[Block], a_loss: bool = False) -> Block:
    """The departing block nearest to the bug: in the topmost layer, parameters before states, x last."""
    top = max(_layer(block.name) for block in blocks if _rank(block.name) == min(_rank(b.name) for b in blocks))
    rank = min(_rank(block.name) for block in blocks)
    here = [block for block in blocks if _rank(block.name) == rank and _layer(block.name) == top]
    upstream = [
        block for block in here if not any(block.gate in DOWNSTREAM.get(other.gate or "", ()) for other in here)
    ]
    by_name: dict[str, list[Block]] = {}
    for block in upstream or here:
        by_name.setdefault(block.name, []).append(block)
    fewest = min(len(own) for own in by_name.values())
    candidates = [block for own in by_name.values() if len(own) == fewest for block in own]
    farthest = max(candidates, key=lambda block: block.error)
    if farthest.finding.part.own_axes and farthest.gate is None:  # the last of someone's parameters is the topmost
        clearly = FROM_A_LOSS if a_loss else CARRIED
        near = [block for block in candidates if clearly * block.error >= farthest.error]
        return near[-1]
    return farthest


def _gate(blocks: list[Block], chosen: Block) -> str | None:
    """The gate with the fault; None if every gate of the tensor departs alike."""
    gates = chosen.finding.part.gates
    if not gates:
        return None
    own = [block for block in blocks if block.name == chosen.name]
    if len({block.gate for block in own}) == len(gates):
        others = max((block.error for block in own if block.gate != chosen.gate), default=0.0)
        return chosen.gate if chosen.error > 10.0 * others else None
    return chosen.gate


def _beside(blocks: list[Block], chosen: Block) -> tuple[str, ...]:
    """The other gates of the tensor that depart about as far, except those that the chosen gate's error reaches."""
    reached = DOWNSTREAM.get(chosen.gate or "", ())
    own = [block for block in blocks if block.name == chosen.name and block.gate not in (chosen.gate, *reached)]
    return tuple(block.gate for block in own if block.gate and 10.0 * block.error >= chosen.error)


def _rank(name: str) -> int:
    """Parameters (and inputs of someone's function) first, then states, then x."""
    last = name.partition("[")[0].rpartition(".")[2].lower()
    return 2 if last in INPUTS else 1 if re.fullmatch(STATES, last) else 0


def _layer(name: str) -> tuple[int, ...]:
    """The place of a parameter's layer, greater for layers further up."""
    stacked = re.search(r"_l(\d+)", name)
    places = tuple(int(k) for k in re.findall(r"(\d+)(?:\.|\]|$)", re.sub(r"_l\d+", "", name)))
    return (*places, int(stacked.group(1)) if stacked else 0)


# -- likely causes -----------------------------------------------------------------------------------------------------


def _cause(subject: Subject, findings: list[Finding], blocks: list[Block], chosen: Block) -> str:
    """The well-known mistake that fits the numbers, or nothing."""
    if chosen.finding.slope or chosen.finding.looks:
        return ""
    for cause in (*_own_causes(findings, blocks, chosen), *subject.explain(chosen)):
        return cause
    return ""


def _own_causes(findings: list[Finding], blocks: list[Block], chosen: Block) -> list[str]:
    """Causes that the numbers of one group alone show."""
    found = []
    claimed, numeric = chosen.claimed, chosen.numeric
    if fits(claimed, -numeric):
        found.append(SIGN)
    if _lacks_c(findings, blocks, chosen):
        found.append(NO_C)
    if fits(claimed, 2.0 * numeric) or fits(claimed, 0.5 * numeric):
        found.append(TWICE)
    if _exchanged(chosen):
        found.append(EXCHANGED)
    if _bias_merged(findings, chosen):
        found.append(MERGED_BIAS)
    if claimed.ndim == 2 and claimed.shape[0] == claimed.shape[1] and fits(claimed, numeric.T):
        found.append(TRANSPOSED)
    return found


def fits(claimed: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether numbers are those of a mistake, to four digits."""
    size = float(np.max(np.abs(wanted), initial=0.0))
    return size > 0.0 and bool(np.max(np.abs(claimed - wanted), initial=0.0) <= FIT * size)


def _lacks_c(findings: list[Finding], blocks: list[Block], chosen: Block) -> bool:
    """LSTM: no gradient arrives at c, so none at its gates i, f, g, but o is right; or none at the step before."""
    if chosen.name.rpartition(".")[2] == "c0":
        return not chosen.claimed.any() and bool(chosen.numeric.any())
    if chosen.finding.part.gates != ("i", "f", "g", "o") or chosen.gate == "o":
        return False
    own = {block.gate: block for block in blocks_of(chosen.finding, chosen.group)}
    return not departs(own["o"]) and not any(own[gate].claimed.any() for gate in "ifg")


def _exchanged(chosen: Block) -> bool:
    own = blocks_of(chosen.finding, chosen.group)
    return any(
        other.gate != chosen.gate and fits(chosen.claimed, other.numeric) and fits(other.claimed, chosen.numeric)
        for other in own
    )


def _bias_merged(findings: list[Finding], chosen: Block) -> bool:
    """GRU, reset after: the hidden side's bias b_hn gets the gradient of b_in, as if it stood outside r."""
    if chosen.gate != "n" or "_hh" not in chosen.name:
        return False
    n = {
        finding.part.name: block
        for finding in findings
        for block in blocks_of(finding, chosen.group)
        if block.gate == "n"
    }
    inner = n.get(chosen.name.replace("weight_hh", "bias_hh"))
    outer = n.get(chosen.name.replace("weight_hh", "bias_ih").replace("bias_hh", "bias_ih"))
    return inner is not None and outer is not None and fits(inner.claimed, outer.numeric)
