"""What a catalogue is made of: valid calls, each argument with its domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wrong_calls.domains import Domain

#: Stands for the valid value of an argument of which only the extras are tried.
SPECIAL = object()


@dataclass(frozen=True)
class Place:
    """Where calls are made: the backend, and a folder with files to read."""

    spec: str
    folder: Path


@dataclass(frozen=True)
class Argument:
    """One argument: a value that is right, what else would be, and wrong values that only make sense here."""

    valid: Any
    domain: Domain
    extras: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A call that can be made once: `run` with its arguments by name; `watched` must be the same after a refusal."""

    run: Callable[..., Any]
    arguments: Mapping[str, Argument]
    watched: Callable[[], Any] = lambda: None


def call(run: Callable[..., Any], watched: Callable[[], Any] = lambda: None, /, **arguments: tuple[Any, ...]) -> Call:
    """A `Call` whose arguments are given as ``name=(valid, domain)`` or ``name=(valid, domain, extras)``."""
    return Call(run, {name: Argument(*parts) for name, parts in arguments.items()}, watched)


#: All calls by name; each is built afresh by the function that stands here.
CATALOGUE: dict[str, Callable[[Place], Call]] = {}


def entry(name: str) -> Callable[[Callable[[Place], Call]], Callable[[Place], Call]]:
    """Put a builder into the catalogue."""

    def add(build: Callable[[Place], Call]) -> Callable[[Place], Call]:
        assert name not in CATALOGUE, name
        CATALOGUE[name] = build
        return build

    return add
