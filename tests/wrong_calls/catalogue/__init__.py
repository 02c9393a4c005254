"""A valid call of every public function; importing this fills `calls.CATALOGUE`."""

from wrong_calls.catalogue import cells, checking, comparing, data, echo, layers, learning, losses, microscope, training

__all__ = ["cells", "checking", "comparing", "data", "echo", "layers", "learning", "losses", "microscope", "training"]
