"""Arrays of other libraries, taken over where a user says so: `engine.asarray`.

The engine never converts an array by itself.  Here the user asks for it, and the standard protocol DLPack moves the
array without a copy where both libraries can hold it on the same device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import plain_arrays
from engine.backend.backend import Backend
from engine.backend.choosing import get_backend
from engine.backend.device_errors import explained, first_line
from engine.checks import describe, switch
from engine.errors import EngineError, InputError, bad_input, bad_type

#: The numbers that DLPack gives to devices with memory of the host: CPU, CUDA's pinned memory.
_HOST_DEVICES = (1, 3)


def asarray(x: Any, backend: str | Backend = "numpy", dtype: Any = None, copy: bool | None = None) -> Any:
    """Take an array of any library over into a backend.

    Arrays with ``__dlpack__`` (every library of the array API has it: NumPy, CuPy, PyTorch, JAX, ...) are taken without
    a copy where the device is the backend's own: the two arrays then share their memory.  Lists and numbers are copied.
    The arrays of a backend leave it in the same way, by their own ``__dlpack__``.

    Parameters
    ----------
    x : array of any library, list or number
        What is taken over.  It must be on the backend's device.
    backend : str or Backend
        Where the result belongs.
    dtype : str, dtype or None
        The dtype of the result; None keeps that of x.  Another dtype needs a copy.
    copy : bool or None
        True: always copy.  False: never, and an error where one is needed.  None: only where one is needed.

    Returns
    -------
    array
        An array of the backend's library.

    Raises
    ------
    InputError, InputTypeError
        For an array on another device, of a dtype that the backend lacks, with rules of its own (a masked array), or
        followed by an autograd; and where a copy is needed that ``copy=False`` forbids.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> class Foreign:  # any array with DLPack
    ...     def __init__(self, array):
    ...         self.array = array
    ...     def __dlpack__(self, **options):
    ...         return self.array.__dlpack__(**options)
    ...     def __dlpack_device__(self):
    ...         return self.array.__dlpack_device__()
    >>> source = np.arange(3.0)
    >>> x = engine.asarray(Foreign(source))
    >>> source[0] = 7.0
    >>> x.tolist()
    [7.0, 1.0, 2.0]
    """
    home, may = get_backend(backend), None if copy is None else switch("copy", copy)
    plain_arrays.refuse_own_rules("x", x)
    plain_arrays.refuse_autograd("x", x)
    plain_arrays.refuse_unreadable("x", x)
    wanted = None if dtype is None else home._dtype_of_numbers(dtype)
    if home.is_array(x):
        home.require("x", x)  # also on the backend's device
        found, shared = x, True
    elif hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        found, shared = _through_dlpack(x, home)
    else:
        found, shared = _copied(x, home), False
    kind = home.dtype_of(found)
    if kind.kind not in plain_arrays.NUMBERS:
        raise bad_type("x", "an array of numbers", plain_arrays.dtype_in_words(found.dtype))
    needed = not shared or (wanted is not None and kind != wanted)
    if needed and may is False:
        reason = f"{describe(x)} of {plain_arrays.dtype_in_words(kind)}"
        raise bad_input("x", f"what needs no copy, as copy=False says{_for(wanted)}", reason, "use copy=None")
    if wanted is not None and kind != wanted:
        return _copied(found, home, wanted)
    return home.xp.copy(found) if may and shared else found


def _for(wanted: np.dtype | None) -> str:
    return "" if wanted is None else f", for {wanted}"


def _through_dlpack(x: Any, home: Backend) -> tuple[Any, bool]:
    """The array in the backend's library, and whether it shares its memory with x."""
    device = _device_of(x)
    on_host = device[0] in _HOST_DEVICES
    if on_host != (home.device == "CPU"):
        hint = "move it with its own library first, such as x.cpu()" if not on_host else _upload_hint(home)
        where = "in the host's memory" if on_host else f"on a device (number {device[0]} of DLPack)"
        raise bad_type("x", f"an array on {home.device}, the device of {home.name}", f"one {where}", hint)
    if isinstance(x, np.ndarray) and not x.flags.writeable and home.name != "numpy":
        return _copied(x, home), False  # other libraries cannot mark an array as read-only
    try:
        with explained():
            return home.xp.from_dlpack(x), True
    except EngineError:
        raise
    except Exception as error:  # of the one library or of the other: a dtype that is missing, say
        got = f"{describe(x)}: {first_line(error)}"
        raise bad_type("x", f"an array that {home.name} can take over by DLPack", got) from None


def _copied(x: Any, home: Backend, dtype: np.dtype | None = None) -> Any:
    """A new array of the backend with the numbers of x."""
    try:
        return home.asarray(x, dtype=dtype)
    except InputError as error:
        raise type(error)(str(error).replace("host: ", "x: ", 1)) from None


def _upload_hint(home: Backend) -> str:
    return f"engine.get_backend({home.name!r}).asarray(x) uploads it"


def _device_of(x: Any) -> tuple[int, int]:
    """Kind and number of the device, as the array tells them."""
    try:
        kind, number = x.__dlpack_device__()
        return int(kind), int(number)
    except Exception as error:  # an object of someone's own may raise anything
        raise bad_type("x", "an array with a device", f"{describe(x)}: {first_line(error)}") from None
