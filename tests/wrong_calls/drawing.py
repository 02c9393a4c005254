"""Draw wrong calls with hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from wrong_calls import pool
from wrong_calls.calls import CATALOGUE, SPECIAL, Argument, Place
from wrong_calls.judge import Example


def examples(place: Place) -> st.SearchStrategy[Example]:
    """Calls with one or two arguments that are wrong, or perhaps right after all."""
    known = {name: dict(build(place).arguments) for name, build in CATALOGUE.items()}
    return st.sampled_from(sorted(known)).flatmap(lambda name: _of_entry(name, known[name]))


def _of_entry(name: str, arguments: dict[str, Argument]) -> st.SearchStrategy[Example]:
    if not arguments:
        return st.just(Example(name, {}))
    chosen = st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2, unique=True)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {one: recipes(arguments[one].valid, arguments[one].extras) for one in names}
        )
    ).map(lambda wrong: Example(name, wrong))


def recipes(valid: Any, extras: Any = (), depth: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    """Recipes of `pool.make` for the place of a valid value."""
    kinds: list[st.SearchStrategy[tuple[Any, ...]]] = []
    if extras:
        kinds.append(st.sampled_from(sorted(extras)).map(lambda name: ("extra", name)))
    if valid is SPECIAL:
        return kinds[0]
    kinds.append(st.sampled_from(sorted(pool.VALUES)).map(lambda name: ("pool", name)))
    if pool.makers(valid):
        kinds.append(st.sampled_from(sorted(pool.makers(valid))).map(lambda name: ("made", name)))
    keys = pool.parts(valid) if depth else []
    if keys:
        kinds.append(
            st.sampled_from(keys).flatmap(lambda key: recipes(valid[key], (), depth - 1).map(lambda r: ("in", key, r)))
        )
    return st.one_of(kinds)
