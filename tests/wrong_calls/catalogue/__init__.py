"""A valid call of every public function; importing this fills `calls.CATALOGUE`."""

from wrong_calls.catalogue import checking, comparing, data, layers, learning, losses, training

__all__ = ["checking", "comparing", "data", "layers", "learning", "losses", "training"]
