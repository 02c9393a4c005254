"""Rules that say which values are allowed, for options, for metadata of checkpoints and for lines of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.checks import describe
from engine.errors import bad_input

#: No count of anything in a run is larger, and every integer up to here is exact as a float.
MOST = 10**15


class Rule(NamedTuple):
    """Which values are allowed.

    Attributes
    ----------
    words : what is expected, for a message.
    good : whether a value, of any type, follows the rule, apart from `most`.
    most : the largest number allowed.
    """

    words: str
    good: Callable[[Any], bool]
    most: float = math.inf

    def fault(self, value: Any) -> str | None:
        """What was expected in place of `value`; None if it is good."""
        if not self.good(value):
            return self.words
        return f"at most {self.most:,.16g}" if self.most < math.inf and value > self.most else None

    def or_none(self) -> Rule:
        """The same rule, or None."""
        return Rule(f"{self.words}, or none", lambda v: v is None or self.fault(v) is None)


def whole(low: int, most: int = MOST) -> Rule:
    """An integer; True does not count as one."""
    return Rule(f"an integer >= {low}", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low, most)


def real(low: float = -math.inf, *, open_: bool = False, below: float = math.inf, most: float = math.inf) -> Rule:
    """A finite number in a range."""
    words = "a finite number" + (f" {'>' if open_ else '>='} {low:g}" if low > -math.inf else "")
    words += f" and < {below:g}" if below < math.inf else ""

    def good(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, int) and abs(value) > 2**1000:  # no float holds it
            return False
        return math.isfinite(value) and (low < value if open_ else low <= value) and value < below

    return Rule(words, good, most)


def choice(*names: str) -> Rule:
    """One of several strings."""
    return Rule(f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names)


def text() -> Rule:
    """A string without a zero byte: a name of a file, a column or a backend."""
    return Rule("a string", lambda v: isinstance(v, str) and "\0" not in v)


def switch() -> Rule:
    """True or False."""
    return Rule("true or false", lambda v: isinstance(v, bool))


def either(words: str, *rules: Rule) -> Rule:
    """A value that follows one of several rules."""
    return Rule(words, lambda v: any(rule.fault(v) is None for rule in rules))


def listed(rule: Rule, kind: type[list[Any]] | type[tuple[Any, ...]] = list) -> Rule:
    """A list (or a tuple) whose members all follow a rule."""
    return Rule(f"a list of {rule.words}", lambda v: isinstance(v, kind) and all(rule.fault(x) is None for x in v))


def named(rule: Rule) -> Rule:
    """A record with any names, whose values all follow a rule."""
    return Rule(
        f"a record of {rule.words}", lambda v: isinstance(v, dict) and all(rule.fault(x) is None for x in v.values())
    )


def record() -> Rule:
    """A record with any content."""
    return Rule("a record", lambda v: isinstance(v, dict))


def record_fault(rules: Mapping[str, Rule], record: Any, *, closed: bool = False) -> tuple[str, str, str] | None:
    """The first departure of a record from its rules.

    Parameters
    ----------
    closed : whether names without a rule are a departure.

    Returns
    -------
    The name (``""`` for the record itself), what was expected there, and what stands there; None if all is good.
    """
    if not isinstance(record, dict):
        return "", "a record", describe(record)
    for name, rule in rules.items():
        if name not in record:
            return name, rule.words, "nothing"
        expected = rule.fault(record[name])
        if expected is not None:
            return name, expected, shown(record[name])
    odd = sorted(record.keys() - rules.keys()) if closed else []
    return ("", f"the names {', '.join(rules)} alone", shown(odd[0])) if odd else None


def shown(value: Any) -> str:
    """A value of any type and size in a few words."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"an integer of {value.bit_length()} bits"
    return describe(value)


def read_rate(word: str, label: Callable[[str], str] = str) -> tuple[str, float]:
    """The pattern and the factor of ``PATTERN=FACTOR``.

    Raises
    ------
    InputError
        for anything else.
    """
    pattern, _, factor = word.rpartition("=")
    try:
        value = float(factor)
    except ValueError:
        value = -1.0
    if not pattern or not 0 <= value < float("inf"):
        raise bad_input(label("rates"), "PATTERN=FACTOR with a factor >= 0, such as '0.*=0.1'", repr(word))
    return pattern, value
