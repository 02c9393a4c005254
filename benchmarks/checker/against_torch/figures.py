"""From answers to the published table: bugs caught, right code that was not passed, seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.checker.against_torch.answers import NOT_ASKED, OURS, PASSED, THEIRS, UNDECIDED, Answer
from benchmarks.checker.against_torch.jobs import Job, draw
from benchmarks.checker.against_torch.workers import Results
from engine.zoo import BUGS, protocol

PROTOCOL = {bug.name for bug in protocol.BUGS}
#: Right cases by their weights, and the gain below which a seed belongs there.
REGIMES = {"small weights": 0.5, "usual weights": 2.0, "saturated": np.inf}
ZOO = "cases of the zoo"
NOTES = (
    "protocol: a torch.autograd.Function hands its gradients back, so none that is overwritten can be seen from there",
    "truncated BPTT: its gradient is none of what forward computes; '-' cannot be asked, and is left out of the others",
)


def figures(results: Results) -> dict[str, Any]:
    """What is published of one check."""
    bugs = {job[1]: answer for job, answer in results.items() if job[0] == "bug"}
    right = {job: answer for job, answer in results.items() if job[0] != "bug"}
    truncated = {name for name in bugs if BUGS[name].case(0).truncation}
    seconds = [answer["seconds"] for job, answer in right.items() if job[0] == "seed"]
    regimes: dict[str, list[Answer]] = {}
    for job, answer in right.items():
        regimes.setdefault(regime(job), []).append(answer)

    def caught(names: set[str]) -> list[int | None]:
        asked = [bugs[name] for name in names if bugs[name]["verdict"] != NOT_ASKED]
        return [sum(map(catch, asked)) if asked or not names else None, len(names)]

    return {
        "bugs caught": caught(set(bugs) - truncated),
        "protocol left out": caught(set(bugs) - truncated - PROTOCOL),
        "truncated BPTT": caught(truncated),
        "bugs raised": sum(answer["verdict"] == "raised" for answer in bugs.values()),
        "false alarms": [sum(map(alarm, right.values())), len(right)],
        "undecided": sum(answer["verdict"] == UNDECIDED for answer in right.values()),
        "by weights": {
            name: {
                "cases": len(answers),
                "false alarms": sum(map(alarm, answers)),
                "undecided": sum(answer["verdict"] == UNDECIDED for answer in answers),
            }
            for name, answers in regimes.items()
        },
        "seconds": {
            "median": statistics.median(seconds) if seconds else 0.0,
            "largest": max(seconds, default=0.0),
            "total": sum(seconds),
            "bugs": sum(answer.get("seconds", 0.0) for answer in bugs.values()),
        },
        "check_undefined_grad=False": {
            "bugs caught": sum(catch(bugs[name], "without undefined") for name in set(bugs) - truncated),
            "false alarms": sum(alarm(answer, "without undefined") for answer in right.values()),
        },
        "bugs missed": {name: answer["verdict"] for name, answer in bugs.items() if _missed(answer)},
        "not passed": {
            " ".join(job): {**answer, **(draw(int(job[1])) if job[0] == "seed" else {})}
            for job, answer in right.items()
            if answer["verdict"] not in (PASSED, NOT_ASKED)
        },
    }


def alarm(answer: Answer, key: str = "verdict") -> bool:
    """Whether a check says that something is wrong, or may be."""
    return answer.get(key, answer["verdict"]) not in (PASSED, UNDECIDED, NOT_ASKED)


def catch(answer: Answer, key: str = "verdict") -> bool:
    """Whether a check says for certain that something is wrong."""
    return alarm(answer, key) and answer["verdict"] != "kink"


def regime(job: Job) -> str:
    """What weights a right case has."""
    if job[0] != "seed":
        return ZOO
    gain = draw(int(job[1]))["gain"]
    return next(name for name, limit in REGIMES.items() if gain < limit)


def _missed(answer: Answer) -> bool:
    return not catch(answer) and answer["verdict"] != NOT_ASKED


def lines(checks: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The table and what stands under it, for people."""
    yield f"{'':<16}{'bugs':>10}{'protocol':>10}{'truncated':>11}{'of these':>10}{'false':>10}{'':>11}{'seconds':>10}"
    yield (
        f"{'check':<16}{'caught':>10}{'left out':>10}{'BPTT':>11}{'raised':>10}{'alarms':>10}{'undecided':>11}"
        f"{'median':>10}{'largest':>9}{'total':>9}"
    )
    for name, found in checks.items():
        seconds = found["seconds"]
        yield (
            f"{_title(name):<16}{_of(found['bugs caught']):>10}{_of(found['protocol left out']):>10}"
            f"{_of(found['truncated BPTT']):>11}{found['bugs raised']:>10}{_of(found['false alarms']):>10}"
            f"{found['undecided']:>11}{seconds['median']:>10.4f}{seconds['largest']:>9.2f}{seconds['total']:>9.1f}"
        )
    yield from NOTES
    yield ""
    yield "right code: false alarms + undecided"
    present = {name for found in checks.values() for name in found["by weights"]}
    groups = [name for name in (ZOO, *REGIMES) if name in present]
    yield f"{'check':<16}" + "".join(f"{name:>24}" for name in groups)
    for name, found in checks.items():
        cells = [found["by weights"][group] for group in groups]
        yield f"{_title(name):<16}" + "".join(
            f"{c['false alarms']} + {c['undecided']} of {c['cases']}".rjust(24) for c in cells
        )
    for name, found in checks.items():
        yield ""
        yield f"{_title(name)}: bugs not caught: {len(found['bugs missed']) or 'none'}"
        for bug, verdict in found["bugs missed"].items():
            yield f"  {bug}" + (f" ({verdict})" if verdict != PASSED else "") + " (protocol)" * (bug in PROTOCOL)
        yield f"{_title(name)}: right code not passed: {len(found['not passed']) or 'none'}"
        for case, answer in found["not passed"].items():
            reason = f": {answer['reason'][:90]}" if answer.get("reason") else ""
            yield f"  {case}: {answer['verdict']}{reason}{_choices(answer)}"
        if name in THEIRS:
            other = found["check_undefined_grad=False"]
            yield (
                f"{_title(name)}: with check_undefined_grad=False {other['bugs caught']} bugs are caught, "
                f"{other['false alarms']} alarms are false"
            )


def _title(name: str) -> str:
    return f"{'ours' if name in OURS else 'PyTorch'}, {name}"


def _of(pair: list[int | None]) -> str:
    return f"{'-' if pair[0] is None else pair[0]} / {pair[1]}"


def _choices(answer: Answer) -> str:
    return f" ({answer['kind']}, T={answer['T']}, gain {answer['gain']:.2g})" if "kind" in answer else ""
