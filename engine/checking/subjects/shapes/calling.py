"""The first call of a user's functions: their exceptions pass through, with a note on the arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from engine.checking.subjects.trees import kind
from engine.checks import describe
from engine.errors import EngineError
from engine.plain_arrays import dtype_in_words


@contextmanager
def called(
    function: str, names: Sequence[str], values: Sequence[Any], inputs: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Add to an exception which function was called, and with what; our own messages say that already.

    Parameters
    ----------
    names, values : of the arguments.
    inputs : of forward, by name, where these are others: a list among them may be what backward stumbles on.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        handed = [f"{name} {_in_words(value)}" for name, value in zip(names, values, strict=True)]
        note = f"the gradient check called {function}({', '.join(handed)})"
        given = dict(zip(names, values, strict=True)) if inputs is None else inputs
        lists = [name for name, value in given.items() if isinstance(value, list)]
        if lists:
            note += f"; a list is handed on as a list: np.array({lists[0]}) makes an array of it"
        error.add_note(note)
        raise


def _in_words(value: Any) -> str:
    if not kind(value):
        return describe(value)
    shape = str(tuple(value.shape))
    return shape if kind(value) == "f" else f"{shape} of {dtype_in_words(value.dtype)}"
