"""What a stream is made of: the layers that a kernel set may run in one call a time step (`kernels.Kernels.stream`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels.cells import Pass

Array = Any  # of the kernel set's library


class Looked(NamedTuple):
    """A table of vectors: y = weight[ids].

    Attributes
    ----------
    weight : (V, E).
    features : how many ids a row has; their vectors stand one after another.
    """

    weight: Array
    features: int


class Dense(NamedTuple):
    """A dense layer: y = x W' + b.

    Attributes
    ----------
    weight : (K, D).
    bias : (K,), or None.
    """

    weight: Array
    bias: Array


class Normed(NamedTuple):
    """Layer normalisation: y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, over the features of a row.

    Attributes
    ----------
    weight, bias : (H,).
    eps : what is added to the variance.
    """

    weight: Array
    bias: Array
    eps: float


class Carried(NamedTuple):
    """One layer of a cell, in one direction: y = h.

    Attributes
    ----------
    given : cell, weights and factors; without lengths.
    states : for each state of the cell (B, width), the values at the start.
    """

    given: Pass
    states: tuple[Array, ...]


Part = Looked | Dense | Normed | Carried
