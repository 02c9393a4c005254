"""The gradient checks beside torch.autograd.gradcheck: what each one catches, what it fails without cause, how long.

    python benchmarks/against_torch.py [--seeds 1000] [--checks central slow ...] [--kernels numba] [--out FILE]

Three sets are run, in float64, with every check's default tolerances:

* the bugs of `engine.zoo`, planted one at a time;
* the zoo's cases without their bugs, so that no check is praised for a bug where it fails the right code too;
* right code from seeds, see `right_case`: every cell and option, weights from small to saturated, T up to 50, most of
  them small, as PyTorch's slow mode walks backward twice for every number that comes out.

The layers are on the plain kernels, where bugs can be planted; ``--kernels numba`` puts those of the seeds on compiled
ones, which makes one forward pass, and so PyTorch's checks, faster.

Ours are ``gradcheck(method=...)`` with ``"central"``, ``"complex"`` and ``"adjoint"``.  Theirs are the slow and the
fast mode of PyTorch's checker, around a ``torch.autograd.Function`` that calls the layer's own forward and backward:
what a user writes who wants hand-written code checked there.  ``check_undefined_grad`` is True, the default; what fails
is asked again with False, and counted for both.  An exception counts as caught, and is shown.  "cannot tell" counts as
not caught, and on right code as undecided; "kink" counts as not caught too, and on right code as an alarm.

Bugs of truncated BPTT stand apart: a truncated gradient is no gradient of what forward computes, so PyTorch's checker
and the adjoint identity cannot be asked.  So do bugs against the protocol: a `Function` hands gradients back and adds
them nowhere, so that an overwritten one cannot be seen from there.  What writes into its tape can be, as PyTorch's
checker walks backward more than once.

Each check has a process of its own, on one thread; they take turns, so that a drift of the machine meets all alike.
Each has been warmed up.  Seconds are processor time of the check alone, on right code from seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.checking.subjects.trees import leaves, refill
from engine.layers.rnn import layer_of
from engine.zoo import BUGS, Case, protocol

OURS = ("central", "complex", "adjoint")
THEIRS = ("slow", "fast")
PASSED, UNDECIDED, NOT_ASKED = "ok", "cannot tell", "cannot be asked"
PROTOCOL = {bug.name for bug in protocol.BUGS}
#: Right cases by their weights, and the gain below which a seed belongs there.
REGIMES = {"small weights": 0.5, "usual weights": 2.0, "saturated": np.inf}
ZOO = "cases of the zoo"
NOTES = (
    "protocol: a torch.autograd.Function hands its gradients back, so none that is overwritten can be seen from there",
    "truncated BPTT: its gradient is none of what forward computes; '-' cannot be asked, and is left out of the others",
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Job = tuple[str, str]  # "bug", "no bug" or "seed", and which
Answer = dict[str, Any]
Results = dict[Job, Answer]


# -- right code --------------------------------------------------------------------------------------------------------


def draw(seed: int) -> dict[str, Any]:
    """The random choices behind a right case.

    Cells take turns.  T is 3..8 in 80 % of the cases, 9..20 in 15 %, 21..50 in 5 %; B and D are 1..3, H is 2..4.
    Weights are normal with standard deviation gain / sqrt(columns), biases with gain / 2; the gain is log-uniform in
    0.1..10, where gates saturate and tanh networks are chaotic, or in 0.1..1 for relu, which grows without bound above.
    Two layers of relu always have biases: without, the upper one can stand with everything at 0, exactly at the kink,
    and has no gradient there.
    """
    rng = np.random.default_rng([seed, 17])
    kind = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before")[seed % 5]
    low, high = [(3, 8), (9, 20), (21, 50)][int(rng.choice(3, p=[0.80, 0.15, 0.05]))]
    steps, batch = int(rng.integers(low, high + 1)), int(rng.integers(1, 4))
    options: dict[str, Any] = {
        "num_layers": int(rng.integers(1, 3)),
        "bias": bool(rng.random() < 0.75),
        "batch_first": bool(rng.random() < 0.5),
        "bidirectional": bool(rng.random() < 0.5),
    }
    dropout, variational = rng.random(2)
    if options["num_layers"] > 1 and dropout < 0.5:
        options |= {"dropout": 0.3, "variational": bool(variational < 0.5)}
    options["bias"] |= kind == "rnn_relu" and options["num_layers"] > 1
    lengths = None
    if rng.random() < 0.5:
        lengths = [int(length) for length in rng.integers(0, steps + 1, batch)]
        lengths[int(rng.integers(batch))] = steps
    return {
        "kind": kind,
        "T": steps,
        "B": batch,
        "D": int(rng.integers(1, 4)),
        "H": int(rng.integers(2, 5)),
        "gain": float(10 ** rng.uniform(-1, 0 if kind == "rnn_relu" else 1)),
        "zero state": bool(rng.random() < 0.25),
        "lengths": lengths,
        **options,
    }


def right_case(seed: int, kernels: str = "reference") -> Case:
    """A layer with its arguments, as `draw` says."""
    choices = draw(seed)
    kind, steps, batch, lengths, gain = (choices.pop(name) for name in ("kind", "T", "B", "lengths", "gain"))
    zero, sizes = choices.pop("zero state"), (choices.pop("D"), choices.pop("H"))
    options: dict[str, Any] = {"dtype": "float64", "backend": f"numpy:{kernels}", "seed": seed, **choices}
    layer: Any = layer_of(kind, *sizes, **options)
    rng = np.random.default_rng([seed, 18])
    weights = {}
    for name, param in layer.params.items():
        scale = gain / 2 if param.ndim == 1 else gain / np.sqrt(param.shape[1])
        weights[name] = rng.normal(scale=scale, size=param.shape)
    layer.load_state_dict(weights)
    x = rng.normal(size=(batch, steps, sizes[0]) if layer.batch_first else (steps, batch, sizes[0]))
    shape = (layer.num_layers * layer.num_directions, batch, sizes[1])
    h, c = (np.zeros(shape) if zero else rng.normal(size=shape) for _ in "hc")
    return Case(layer, x, (h, c) if len(layer.cell.states) > 1 else h, lengths)


def find(job: Job, kernels: str) -> tuple[Case, AbstractContextManager[None]]:
    """The case of a job, and what plants its bug."""
    what, which = job
    if what == "seed":
        return right_case(int(which), kernels), nullcontext()
    bug = BUGS[which]
    return bug.case(0), bug.plant() if what == "bug" else nullcontext()


# -- the checks --------------------------------------------------------------------------------------------------------


def ours(method: str) -> Callable[[Case], Answer]:
    """A check of the engine."""

    def check(case: Case) -> Answer:
        report = engine.gradcheck(
            case.layer, case.x, case.state, case.lengths, method=method, truncation=case.truncation
        )
        return {"verdict": report.verdict, "reason": str(report.diagnosis or report.cause)}

    return check


def theirs(mode: str) -> Callable[[Case], Answer]:
    """A check of PyTorch's."""
    import torch
    from torch.autograd.gradcheck import GradcheckError

    torch.set_num_threads(1)

    def check(case: Case) -> Answer:
        function, inputs = torch_function(torch, case)
        answer: Answer = {}
        for undefined in (True, False):  # what passes the first passes the second, which leaves one test out
            started = time.process_time()
            try:  # raise_exception=False does just this, and keeps the reason to itself
                torch.autograd.gradcheck(function, inputs, fast_mode=mode == "fast", check_undefined_grad=undefined)
                found = {"verdict": PASSED}
            except GradcheckError as error:
                found = {"verdict": "wrong", "reason": _line(error)}
            except Exception as error:
                found = {"verdict": "raised", "reason": f"{type(error).__name__}: {_line(error)}"}
            if undefined:
                answer = found | {"seconds": time.process_time() - started}
            answer["without undefined"] = found["verdict"]
            if found["verdict"] == PASSED:
                break
        return answer

    return check


def torch_function(torch: Any, case: Case) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A layer as a function of tensors, with the layer's own backward; and the tensors."""
    layer = case.layer
    names = list(layer.params)
    counters = layer.call_counters()
    has_x = case.x.dtype.kind == "f"  # token ids have no gradient
    arrays = [*layer.params.values(), *([case.x] if has_x else []), *leaves(case.state)]

    def write(weights: dict[str, np.ndarray]) -> None:
        for name, value in weights.items():
            layer.params[name][...] = value

    class Checked(torch.autograd.Function):  # type: ignore[misc, name-defined, unused-ignore]
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            values = [tensor.detach().numpy().copy() for tensor in tensors]  # PyTorch moves its tensors in place
            ctx.weights, rest = dict(zip(names, values, strict=False)), values[len(names) :]
            write(ctx.weights)
            layer.load_call_counters(counters)  # every pass draws the same dropout masks
            x = rest.pop(0) if has_x else case.x
            y, ctx.last, ctx.tape = layer.forward(x, refill(case.state, iter(rest)), case.lengths)
            return tuple(torch.from_numpy(array.copy()) for array in (y, *leaves(ctx.last)))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            write(ctx.weights)
            layer.zero_grad()
            dy, *dlast = (cotangent.contiguous().numpy() for cotangent in cotangents)  # None has become zeros
            dx, dstate = layer.backward(ctx.tape, dy, refill(ctx.last, iter(dlast)))
            found = [*(layer.grads[name] for name in names), *([dx] if has_x else []), *leaves(dstate)]
            return tuple(torch.from_numpy(np.array(array)) for array in found)

    return Checked.apply, tuple(torch.tensor(array, requires_grad=True) for array in arrays)


def _line(error: Exception) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


# -- one process for each check ----------------------------------------------------------------------------------------


def serve(name: str, kernels: str) -> None:
    """Worker: read one job a line, answer with one verdict a line."""
    check = ours(name) if name in OURS else theirs(name)
    warnings.simplefilter("ignore")  # both libraries warn of what is wrong beside saying so
    check(BUGS["linear-bias-mean"].case(0))  # the first time is slow
    for seed in range(5):  # of each cell
        case = right_case(seed, kernels)
        _, _, tape = case.layer.forward(case.x, case.state, case.lengths)
        case.layer.backward(tape)
    for line in sys.stdin:
        case, planted = find(tuple(json.loads(line)), kernels)
        if case.truncation and name not in ("central", "complex"):
            print(json.dumps({"verdict": NOT_ASKED}), flush=True)
            continue
        with planted:
            started = time.process_time()
            try:
                answer = check(case)
            except Exception as error:
                answer = {"verdict": "raised", "reason": f"{type(error).__name__}: {_line(error)}"}
            print(json.dumps({"seconds": time.process_time() - started} | answer), flush=True)


class Worker:
    """A process that runs one check."""

    def __init__(self, name: str, kernels: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, "--kernels", kernels],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def ask(self, job: Job) -> Answer:
        """What the check says of a job."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: Answer = json.loads(self.process.stdout.readline())
        return answer


def run(checks: list[str], jobs: list[Job], kernels: str) -> dict[str, Results]:
    """Every check's answer to every job."""
    found: dict[str, Results] = {name: {} for name in checks}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, kernels)) for name in checks}
        for count, job in enumerate(jobs):
            for name, worker in workers.items():
                found[name][job] = worker.ask(job)
            if (count + 1) % 100 == 0:
                print(f"{count + 1} of {len(jobs)} cases", file=sys.stderr, flush=True)
    return found


# -- figures -----------------------------------------------------------------------------------------------------------


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


def collect(bugs: list[str], seeds: int) -> list[Job]:
    """The jobs: each bug, each case of theirs once without a bug, each seed."""
    cases: dict[str, str] = {}
    for name in bugs:
        if not BUGS[name].case(0).truncation:
            cases.setdefault(repr(BUGS[name].case), name)
    return [
        *(("bug", name) for name in bugs),
        *(("no bug", name) for name in cases.values()),
        *(("seed", str(seed)) for seed in range(seeds)),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="right cases; 1000 for the figures in the documents")
    parser.add_argument("--checks", nargs="+", choices=OURS + THEIRS, default=OURS + THEIRS)
    parser.add_argument("--bugs", nargs="*", choices=BUGS, default=list(BUGS), metavar="NAME", help="all by default")
    parser.add_argument("--kernels", choices=("reference", "numba"), default="reference", help="of the seeds' layers")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        serve(options.worker, options.kernels)
        return
    started = time.perf_counter()
    found = run(list(options.checks), collect(options.bugs, options.seeds), options.kernels)
    published = {
        "command": " ".join(
            ["python benchmarks/against_torch.py", *(sys.argv[1:] if arguments is None else arguments)]
        ),
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in ("numpy", "torch")},
        "minutes": (time.perf_counter() - started) / 60,
        "checks": {name: figures(results) for name, results in found.items()},
    }
    text = json.dumps(published, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)
        return
    print(f"$ {published['command']}")
    print(", ".join(f"{name} {number}" for name, number in published["versions"].items()), end="; ")
    print(f"{published['minutes']:.1f} minutes")
    print("\n".join(lines(published["checks"])))


if __name__ == "__main__":
    main()
