"""The errors a user can meet.  Each message names the argument, what was expected, what came, and a likely hint."""

from __future__ import annotations

#: Characters of a value in a message.
LONGEST = 300


class EngineError(Exception):
    """Base of every error that the engine raises on purpose.

    Examples
    --------
    >>> import engine
    >>> try:
    ...     engine.get_backend("numpy:cuda")
    ... except engine.EngineError as error:
    ...     print(error)
    kernels: expected one of 'numba', 'reference' for numpy, got 'cuda'
    """


class OptionWarning(UserWarning):
    """An option that was given has no effect where it stands."""


class InputError(EngineError, ValueError):
    """An argument has a wrong value or shape.

    The message names the argument, what was expected, what came, and a likely hint.

    Examples
    --------
    >>> import engine
    >>> try:
    ...     engine.GRU(0, 4)
    ... except engine.InputError as error:
    ...     print(error)
    input_size: expected an integer >= 1, got 0
    """


class InputTypeError(InputError, TypeError):
    """An argument has a wrong type: another dtype, or another library's array.

    Examples
    --------
    >>> import engine, numpy as np
    >>> try:
    ...     engine.Linear(3, 2).forward(np.ones((4, 3)))
    ... except engine.InputTypeError as error:
    ...     print(error)
    x: expected dtype float32, got dtype float64; use x.astype('float32')
    """


class DataError(InputError):
    """A data file or series cannot be used as it is."""


class CheckpointError(InputError):
    """A file is not a checkpoint that this model can load."""


class StorageError(EngineError, OSError):
    """Writing failed (a full disk, a missing right); what was saved before is untouched."""


class BackendUnavailableError(EngineError, RuntimeError):
    """The backend or kernel set exists but cannot be used on this machine."""


class DeviceMemoryError(EngineError, MemoryError):
    """The device has no room for another array; what was there before is untouched."""


class StaleTapeError(EngineError, RuntimeError):
    """The parameters have changed since the forward pass that made this tape."""


class NonFiniteError(EngineError, ArithmeticError):
    """A loss or a gradient became NaN or infinite."""


class RankError(EngineError, RuntimeError):
    """Another process of a parallel training failed: the message says which one, and why.

    Attributes
    ----------
    code : the exit code that it ends with.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def bad_input(argument: str, expected: str, got: object, hint: str = "") -> InputError:
    """Build an `InputError` in the one form that all messages share."""
    return InputError(sentence(argument, expected, got, hint))


def bad_type(argument: str, expected: str, got: object, hint: str = "") -> InputTypeError:
    """Build an `InputTypeError` in the one form that all messages share."""
    return InputTypeError(sentence(argument, expected, got, hint))


def sentence(argument: str, expected: str, got: object, hint: str = "") -> str:
    """The one form of all messages: one line, which no value makes long."""
    return f"{one_line(argument)}: expected {one_line(expected)}, got {one_line(got)}" + (
        f"; {one_line(hint)}" if hint else ""
    )


def one_line(value: object, longest: int = LONGEST) -> str:
    """A value on one line, its middle left out where it is long; its class where it cannot be shown."""
    try:
        words = " ".join(str(value).split())
    except Exception:  # an integer of thousands of digits, an object whose __str__ fails
        return f"a {type(value).__name__}"
    return words if len(words) <= longest else f"{words[: longest // 2]} ... {words[-longest // 4 :]}"
