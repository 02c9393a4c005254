"""The gradient checks beside torch.autograd.gradcheck: what each one catches, what it fails without cause, how long.

    python -m benchmarks.checker.against_torch [--seeds 1000] [--checks central slow ...] [--kernels numba] [--out FILE]

Three sets are run, in float64, with every check's default tolerances:

* the bugs of `engine.zoo`, planted one at a time;
* the zoo's cases without their bugs, so that no check is praised for a bug where it fails the right code too;
* right code from seeds, see `cases.draw`: every cell and option, weights from small to saturated, T up to 50, most of
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
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.checker.against_torch.answers import OURS, THEIRS
from benchmarks.checker.against_torch.figures import figures, lines
from benchmarks.checker.against_torch.jobs import collect
from benchmarks.checker.against_torch.workers import run
from engine.zoo import BUGS


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="right cases; 1000 for the figures in the documents")
    parser.add_argument("--checks", nargs="+", choices=OURS + THEIRS, default=OURS + THEIRS)
    parser.add_argument("--bugs", nargs="*", choices=BUGS, default=list(BUGS), metavar="NAME", help="all by default")
    parser.add_argument("--kernels", choices=("reference", "numba"), default="reference", help="of the seeds' layers")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    found = run(list(options.checks), collect(options.bugs, options.seeds), options.kernels)
    published = {
        "command": " ".join(
            ["python -m benchmarks.checker.against_torch", *(sys.argv[1:] if arguments is None else arguments)]
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
