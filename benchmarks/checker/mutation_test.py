"""How many small mistakes in backward code do the gradient checks miss?

    python benchmarks/checker/mutation_test.py [--setting lstm] [--limit 100] [--json]

Every mutant of `benchmarks.checker.mutants` is planted in turn and tried with nothing but `engine.gradcheck` and
`engine.check_gradients` on small layers, until a check finds it.  Printed is how many were found by a wrong gradient,
how many raised, and every one that survived.  A survivor must be listed in `equivalent_mutants`, with the reason why
it changes no gradient; else, or if a listed one is found, the exit code is 1.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import engine
from benchmarks.checker.equivalent_mutants import EQUIVALENT
from benchmarks.checker.mutants import SETTINGS, Mutant, generate
from benchmarks.checker.mutation_checks import BACKEND, Check, checks
from benchmarks.checker.second_opinions import once


class _Unwritten:
    """NumPy, but for `empty`: fresh memory may hold the right numbers by chance, NaN never is right."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any) -> Any:
        return np.full(shape, np.nan, dtype=dtype)

    @staticmethod
    def empty_like(array: Any) -> Any:
        return np.full_like(array, np.nan)


@contextmanager
def _quiet_and_unlucky() -> Iterator[None]:
    """No warnings, as mutants divide by zero; and `_Unwritten` under the kernels."""
    kernels = engine.get_backend(BACKEND).kernels
    right = kernels.xp
    kernels.xp = _Unwritten()
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        kernels.xp = right


def fate(mutant: Mutant) -> str:
    """``"killed"`` if a check finds a wrong gradient, ``"raised"``, or ``"survived"``.

    "cannot tell" finds nothing: only a verdict against the gradient counts.
    """
    with _quiet_and_unlucky(), once():
        for check in _in_turn(mutant.settings):
            _prepare(check)
            with mutant.plant():
                try:
                    found = _finds(check)
                except Exception:  # whatever it is, nobody can take it for a gradient
                    return "raised"
            if found:
                return "killed"
    return "survived"


@functools.cache
def _prepare(check: Check) -> None:
    """Run a check once on right code: what is made on first use is not to be made from a mutant."""
    check()


def alarms(settings: Iterable[str] = SETTINGS) -> list[str]:
    """The settings whose right code a check complains of: none, else the kills mean nothing."""
    with _quiet_and_unlucky():
        return [setting for setting in settings if not all(check().passed for check in checks(setting))]


def _in_turn(settings: tuple[str, ...]) -> Iterator[Check]:
    """The first check of every setting, then the second, and so on: what one hides another may show at once."""
    for level in itertools.zip_longest(*map(checks, settings)):
        yield from filter(None, level)


def _finds(check: Check) -> bool:
    return check().verdict not in ("ok", "cannot tell")


# -- the table -------------------------------------------------------------------------------------------------------


def key(mutant: Mutant) -> tuple[str, str, str]:
    """What `EQUIVALENT` knows a mutant by: line numbers move."""
    return f"{mutant.module.rpartition('.')[2]}.{mutant.function}", mutant.before, mutant.after


def judge(fates: dict[Mutant, str]) -> tuple[list[Mutant], set[tuple[str, str, str]]]:
    """The survivors that have no reason, and the reasons of mutants that do not survive."""
    survivors = [mutant for mutant in fates if fates[mutant] == "survived"]
    unexplained = [mutant for mutant in survivors if key(mutant) not in EQUIVALENT]
    return unexplained, (set(EQUIVALENT) & set(map(key, fates))) - set(map(key, survivors))


def main() -> int:
    """Print the table; 1 if a survivor has no reason or a listed one does not survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, help="only what this cell, or cell with an option, runs")
    parser.add_argument("--limit", type=int, help="only so many mutants, evenly spread")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    options = parser.parse_args()
    chosen = [mutant for mutant in generate() if options.setting in (None, *mutant.settings)]
    if options.limit is not None:
        chosen = chosen[:: max(1, -(-len(chosen) // max(1, options.limit)))]
    start = time.perf_counter()
    wrongly = alarms()
    if wrongly:
        print(f"Error: the checks complain of right code: {', '.join(wrongly)}", file=sys.stderr)
        return 1
    fates = {mutant: fate(mutant) for mutant in chosen}
    seconds = time.perf_counter() - start

    unexplained, stale = judge(fates)
    if len(chosen) == len(generate()):
        stale |= set(EQUIVALENT) - set(map(key, chosen))
    if options.json:
        print(json.dumps(_summary(chosen, fates, seconds), indent=1))
    else:
        _show(chosen, fates, seconds)
    for function, before, after in sorted(stale):
        print(f"listed as equivalent, but gone or found: {function}: {before}  ->  {after}", file=sys.stderr)
    return 1 if unexplained or stale else 0


def _summary(chosen: list[Mutant], fates: dict[Mutant, str], seconds: float) -> dict[str, Any]:
    count = Counter(fates.values())
    survivors = [
        {
            "module": mutant.module,
            "function": mutant.function,
            "line": mutant.line,
            "before": mutant.before,
            "after": mutant.after,
            "operator": mutant.operator,
            "equivalent": EQUIVALENT.get(key(mutant)),
        }
        for mutant in chosen
        if fates[mutant] == "survived"
    ]
    counts = {name: count[name] for name in ("killed", "raised", "survived")}
    return {"mutants": len(chosen), **counts, "survivors": survivors, "seconds": round(seconds, 1)}


def _show(chosen: list[Mutant], fates: dict[Mutant, str], seconds: float) -> None:
    print(f"$ python {' '.join(sys.argv)}")
    print(f"{'function':<48}{'mutants':>8}{'killed':>8}{'raised':>8}{'survived':>10}")
    rows = {(mutant.module, mutant.function): Counter[str]() for mutant in chosen}
    for mutant in chosen:
        rows[mutant.module, mutant.function][fates[mutant]] += 1
    total = sum(rows.values(), Counter[str]())
    for name, row in [*((".".join(place), row) for place, row in rows.items()), ("all", total)]:
        print(f"{name:<48}{row.total():>8}{row['killed']:>8}{row['raised']:>8}{row['survived']:>10}")
    print(f"{seconds:.0f} s")
    for mutant in chosen:
        if fates[mutant] == "survived":
            print(f"\n{mutant}\n    {EQUIVALENT.get(key(mutant), 'NOT FOUND, and no reason is listed')}")


if __name__ == "__main__":
    sys.exit(main())
