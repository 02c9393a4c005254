"""Reads the numbers of the explorer's page as its program does."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np

Json = dict[str, Any]


class Page:
    """The data of a page.

    Attributes
    ----------
    text : the HTML.
    data : the JSON part.
    numbers : (N,) all numbers.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
        packed = re.search(r'<script type="text/plain" id="numbers">(.*?)</script>', text, re.DOTALL)
        assert found is not None
        assert packed is not None
        self.data: Json = json.loads(found[1])
        self.numbers = np.frombuffer(base64.b64decode(packed[1]), "<f4").astype(np.float64)

    def read(self, place: list[int], steps: int) -> np.ndarray:
        """(steps, width) numbers of a place; one that all steps share is repeated."""
        return read(self.numbers, place, steps)


def read(numbers: np.ndarray, place: list[int], steps: int) -> np.ndarray:
    """(steps, width) numbers of a place."""
    offset, stride, width = place
    return np.array([numbers[offset + t * stride : offset + t * stride + width] for t in range(steps)])
