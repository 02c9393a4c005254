"""Numbers for the page: each array once, as 32-bit floats in one long text (base64)."""

from __future__ import annotations

import base64

import numpy as np

#: Where a value lies in the long array: value(t, u) = data[offset + t * stride + u] for u < width.
Place = list[int]


class Pool:
    """Collects arrays; one that is there already gets the place of the first.

    The numbers of a step appear under several names: ``c_prev`` is the slot before ``c``, an argument of backward is a
    result of forward.  Kept once, a page with every built-in cell stays small.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._size = 0
        self._known: dict[tuple[tuple[int, ...], bytes], Place] = {}

    def place(self, values: np.ndarray) -> Place:
        """The place of an array.

        Parameters
        ----------
        values : ndarray
            (T, W) for a value of each step; (W,) for one that all steps share.

        Returns
        -------
        list of int
            Offset, stride (0 where all steps share the numbers) and width W.
        """
        key = (values.shape, np.ascontiguousarray(values, dtype=np.float64).tobytes())
        if key not in self._known:
            self._known[key] = self._entry(self._size, values)
            self._parts.append(np.asarray(values, dtype="<f4").ravel())
            self._size += values.size
        return self._known[key]

    def slots(self, values: np.ndarray) -> Place:
        """The place of a state's slots (T+1, W); what a step reads and what it writes is then found there too."""
        place = self.place(values)
        for first, window in ((0, values[:-1]), (1, values[1:])):
            key = (window.shape, np.ascontiguousarray(window, dtype=np.float64).tobytes())
            self._known.setdefault(key, [place[0] + first * place[1], place[1], place[2]])
        return place

    @staticmethod
    def _entry(offset: int, values: np.ndarray) -> Place:
        width = values.shape[-1]
        return [offset, width if values.ndim > 1 else 0, width]

    def text(self) -> str:
        """All numbers, little-endian, in base64."""
        joined = np.concatenate(self._parts) if self._parts else np.empty(0, "<f4")
        return base64.b64encode(joined.tobytes()).decode("ascii")
