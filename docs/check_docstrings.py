"""Check that public docstrings have NumPy's form: ``python docs/check_docstrings.py``, a part of `make lint`.

Public are the names of ``docs/reference.rst`` and the public members of its classes.  A name must document every
parameter, with a type where the type belongs; one of `engine` itself must have an example.  A member may be one
sentence, but what it documents must be whole.  The rules are numpydoc's; which ones hold is said in setup.cfg.
"""

from __future__ import annotations

import configparser
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this tree, whatever is installed

from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import Validator, validate

#: Rules that ask for a section, which a member of a class may leave out altogether.
SECTIONS = {"PR01", "RT01", "YD01"}


def names() -> list[str]:
    """The names of the reference, in its order."""
    text = (ROOT / "docs" / "reference.rst").read_text(encoding="utf-8")
    return re.findall(r"^   ((?:engine|kernels)\.[\w.]+)$", text, re.MULTILINE)


def members(name: str) -> Iterator[str]:
    """The public methods and properties of a class that our own classes define."""
    cls = Validator._load_obj(name)
    if not inspect.isclass(cls):
        return
    for member in dir(cls):
        owner = next((base for base in cls.__mro__ if member in vars(base)), object)
        value = vars(owner).get(member)
        # Some methods of an estimator are put into its class by scikit-learn.
        homes = {
            module.partition(".")[0] for module in (owner.__module__, getattr(value, "__module__", "") or "engine")
        }
        ours = homes <= {"engine", "kernels"}
        if not member.startswith("_") and ours and (inspect.isroutine(value) or isinstance(value, property)):
            yield f"{name}.{member}"


def faults(name: str, rules: set[str], of_a_class: bool) -> list[str]:
    """The faults of one docstring, a sentence each."""
    parsed = NumpyDocString(inspect.getdoc(Validator._load_obj(name)) or "")
    attributes = {part for entry in parsed["Attributes"] for part in entry.name.split(", ")}
    short = of_a_class and not any(parsed[section] for section in ("Parameters", "Returns", "Yields"))
    found = []
    for rule, message in validate(name)["errors"]:
        missing = set(re.findall(r"'([^']*)'", message)) if rule == "PR01" else set()
        told = bool(missing) and missing <= attributes  # a result: its fields are its attributes
        if rule in rules and not told and not (short and rule in SECTIONS):
            found.append(f"{name}: {rule} {message}")
    for entry in parsed["Attributes"]:
        if not entry.type or entry.type.endswith(".") or not entry.desc:
            found.append(f"{name}: attribute {entry.name!r} needs a type, and a description below it")
    return found


def main() -> int:
    """Print every fault; the exit code is 1 if there is one."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    rules = set(config["tool:numpydoc_validation"]["checks"].split(","))
    found = []
    for name in names():
        found += faults(name, rules if name.count(".") == 1 else rules - {"EX01"}, of_a_class=False)
        for member in members(name):
            found += faults(member, rules - {"EX01"}, of_a_class=True)
    print("\n".join(dict.fromkeys(found)) or f"{len(names())} names: all docstrings have NumPy's form")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
