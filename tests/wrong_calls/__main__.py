"""Make thousands of wrong calls and print what came of them.

    PYTHONPATH=tests python -m wrong_calls [--count 3000] [--seed 0] [--backend numpy:numba] [--entry NAME] [--show]

The calls are made in a process of their own, which may die: that is a failure of the call it was at, and a new process
goes on with the next one.  So is a call that does not come back within `PATIENCE` seconds.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Seconds that a call may take, and how much address space the process has.
PATIENCE, MEMORY = 30, 12 << 30


def main() -> None:
    """Draw, make, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="numpy:reference")
    parser.add_argument("--entry", default="", help="only entries whose name holds this")
    parser.add_argument("--torch", action="store_true", help="tensors of PyTorch among the values")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(Path(options.worker), options.backend, options.torch)
        return
    with tempfile.TemporaryDirectory() as folder:
        _drawn(Path(folder), options)
        outcomes = _made(Path(folder), options)
    sys.exit(_told(outcomes, options))


# -- the parent --------------------------------------------------------------------------------------------------------


def _drawn(folder: Path, options: argparse.Namespace) -> None:
    """Draw the calls and write them down."""
    import hypothesis

    import wrong_calls.catalogue  # noqa: F401
    from wrong_calls.calls import CATALOGUE
    from wrong_calls.drawing import examples
    from wrong_calls.places import prepare

    for name in [name for name in CATALOGUE if options.entry not in name]:
        del CATALOGUE[name]
    place = prepare(folder / "drawing", options.backend)
    found: list[Any] = []

    @hypothesis.seed(options.seed)
    @hypothesis.settings(
        max_examples=options.count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(examples(place))
    def draw(example: Any) -> None:
        found.append(list(example))

    draw()
    (folder / "examples.json").write_text(json.dumps(found))


def _made(folder: Path, options: argparse.Namespace) -> list[tuple[Any, str, str]]:
    """Make all calls; a process that dies is followed by another."""
    examples = json.loads((folder / "examples.json").read_text())
    journal = folder / "journal"
    journal.write_text("")
    while True:
        command = [sys.executable, "-m", "wrong_calls", "--worker", str(folder), "--backend", options.backend]
        process = subprocess.Popen([*command, *["--torch"] * options.torch], stderr=subprocess.PIPE, text=True)
        size, since = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if journal.stat().st_size != size:
                size, since = journal.stat().st_size, time.monotonic()
            elif time.monotonic() - since > 6 * PATIENCE:
                process.kill()
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        if len(lines) >= len(examples):
            break
        said = process.stderr.read().strip().splitlines()[-1:] if process.stderr else []
        with journal.open("a") as file:
            file.write(
                json.dumps(["failure", f"the process died ({process.returncode}): {' '.join(said)[:200]}"]) + "\n"
            )
        if len(lines) + 1 >= len(examples):
            lines = [json.loads(line) for line in journal.read_text().splitlines()]
            break
    return [(example, *line) for example, line in zip(examples, lines, strict=True)]


def _told(outcomes: list[tuple[Any, str, str]], options: argparse.Namespace) -> int:
    """Print the failures by entry, and the counts; 1 if there are failures."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    failures: dict[str, list[str]] = collections.defaultdict(list)
    for (name, wrong), verdict, why in outcomes:
        if verdict == "failure":
            failures[name].append(f"{json.dumps(wrong)}\n        {why}")
    for name, lines in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{name}: {len(lines)}")
        for line in lines:
            print(f"    {line}")
    counts = collections.Counter(verdict for _, verdict, _ in outcomes)
    died = sum("the process died" in why for _, _, why in outcomes)
    print(
        f"backend {options.backend}, seed {options.seed}: {len(outcomes)} calls, {counts['refused']} refused, "
        f"{counts['accepted and right']} accepted and right, {counts['failure']} failures ({died} of them deaths)"
    )
    return min(1, counts["failure"])


# -- the worker --------------------------------------------------------------------------------------------------------


class _Late(BaseException):
    """The call has not come back in time."""


def _work(folder: Path, backend: str, with_torch: bool) -> None:
    """Make the calls that no process has made yet; one line in the journal for each."""
    if with_torch:
        import torch  # noqa: F401
    import wrong_calls.catalogue  # noqa: F401
    from wrong_calls.calls import CATALOGUE
    from wrong_calls.judge import FAILED, Example, Outcome, judge
    from wrong_calls.places import prepare

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    place = prepare(Path(tempfile.mkdtemp(dir=folder)), backend)
    os.chdir(place.folder / "scratch")
    for build in CATALOGUE.values():  # compiles what is not compiled yet
        call = build(place)
        with contextlib.suppress(Exception):
            call.run(**{name: argument.valid for name, argument in call.arguments.items()})
    examples = json.loads((folder / "examples.json").read_text())
    journal = os.open(folder / "journal", os.O_RDWR | os.O_APPEND)
    done = (folder / "journal").read_text().count("\n")

    def late(*_: Any) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    for name, wrong in examples[done:]:
        signal.alarm(PATIENCE)
        try:
            outcome = judge(Example(name, {key: tuple(recipe) for key, recipe in wrong.items()}), place)
        except _Late:
            outcome = Outcome(FAILED, f"takes longer than {PATIENCE} s")
        except Exception as error:
            outcome = Outcome(FAILED, f"the harness itself fails: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
        os.write(journal, (json.dumps(list(outcome)) + "\n").encode())


if __name__ == "__main__":
    main()
