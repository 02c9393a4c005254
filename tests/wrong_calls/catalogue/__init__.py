"""A valid call of every public function; importing this fills `calls.CATALOGUE`."""

from wrong_calls.catalogue import (
    attention,
    cells,
    checking,
    comparing,
    curvature,
    data,
    echo,
    exchange,
    fitting,
    layers,
    learning,
    long_sequences,
    losses,
    microscope,
    streaming,
    training,
)

__all__ = [
    "attention",
    "cells",
    "checking",
    "comparing",
    "curvature",
    "data",
    "exchange",
    "echo",
    "fitting",
    "layers",
    "learning",
    "long_sequences",
    "losses",
    "microscope",
    "streaming",
    "training",
]
