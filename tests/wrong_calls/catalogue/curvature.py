"""Second derivatives: Hessian-vector products, eigenvalues, curvatures of losses."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np

import engine
from engine.losses import curvature_of_cross_entropy, curvature_of_mse
from engine.second_derivatives import largest_eigenvalues
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, V, draw
from wrong_calls.catalogue.losses import _mask, _normalizer, require_plain_shape
from wrong_calls.domains import Domain, Illegal, either, exactly, floats, nothing, optional, real, whole


def _direction(domains: dict[str, Domain]) -> Domain:
    """A mapping with some of these keys, at least one."""

    def plain(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict | MappingProxyType) or not value or not set(value) <= set(domains):
            raise Illegal
        return {key: domains[key](part) for key, part in value.items()}

    return plain


@entry("hvp")
def _hvp(place: Place) -> Call:
    layer = engine.GRU(D, H, backend=place.spec)
    x = draw(T, B, D)
    _, _, tape = layer.forward(x)
    domains: dict[str, Domain] = {name: floats("float32", *value.shape) for name, value in layer.params.items()}
    domains |= {"x": floats("float32", T, B, D), "state": floats("float32", 1, B, H)}
    direction = {name: draw(*value.shape) for name, value in layer.params.items()} | {"x": x}
    y = floats("float32", T, B, H)

    def bend(change: Any) -> Any:
        return 2 * change

    def tape_of(other: Any) -> Callable[[], Any]:
        return lambda: other.forward(draw(T, B, D))[2]

    return call(
        engine.hvp,
        lambda: dict(layer.grads),
        model=(
            layer,
            exactly(layer),
            {
                "a class of layers": lambda: engine.GRU,
                "a twin": lambda: layer.to(),
                "an optimiser": lambda: engine.SGD(layer),
            },
        ),
        tape=(
            tape,
            exactly(tape),
            {
                "a twin's tape": tape_of(layer.to()),
                "a linear layer's": tape_of(engine.Linear(D, H, backend=place.spec)),
            },
        ),
        dy=(draw(T, B, H), y),
        direction=(
            direction,
            _direction(domains),
            {
                "nothing": dict,
                "another name": lambda: direction | {"weight": direction["weight_hh_l0"]},
                "a name that is none": lambda: {3: direction["weight_hh_l0"]},
                "a list": lambda: {"weight_hh_l0": direction["weight_hh_l0"].tolist()},
                "another shape": lambda: {"weight_hh_l0": direction["weight_hh_l0"].T},
                "a pair of states": lambda: {"state": (draw(1, B, H), draw(1, B, H))},
            },
        ),
        curvature=(
            bend,
            optional(either(exactly(bend), y)),
            {
                "None from a function": lambda: lambda change: None,
                "another shape from a function": lambda: lambda change: change[:-1],
                "another dtype from a function": lambda: lambda change: change.astype("float64"),
                "a masked array from a function": lambda: lambda change: np.ma.masked_array(change),
            },
        ),
    )


@entry("largest_eigenvalues")
def _eigenvalues(place: Place) -> Call:
    like = {"w": draw(3), "b": draw(2, 2)}

    def product(direction: Any) -> Any:
        return {name: 2 * part for name, part in direction.items()}

    def run(**given: Any) -> Any:
        return largest_eigenvalues(**given).values

    return call(
        run,
        product=(
            product,
            exactly(product),
            {
                "None": lambda: lambda direction: None,
                "no names": lambda: lambda direction: {},
                "another shape": lambda: lambda direction: {name: part[..., None] for name, part in direction.items()},
                "lists": lambda: lambda direction: {name: part.tolist() for name, part in direction.items()},
                "no numbers": lambda: lambda direction: {name: part * np.nan for name, part in direction.items()},
            },
        ),
        like=(
            like,
            _arrays,
            {
                "nothing": dict,
                "lists": lambda: {"w": [1.0]},
                "no numbers": lambda: {"w": draw(0)},
                "integers": lambda: {"w": np.arange(3)},
            },
        ),
        count=(2, whole(1)),
        steps=(5, whole(1)),
        tol=(1e-3, real(0, 1)),
        seed=(3, whole(0)),
    )


def _arrays(value: Any) -> dict[Any, Any]:
    """A mapping of float arrays that are not all empty."""
    if not isinstance(value, dict | MappingProxyType):
        raise Illegal
    found = {key: either(floats("float32"), floats("float64"))(part) for key, part in value.items()}
    return found if any(part.size for part in found.values()) else nothing(value)


@entry("curvature_of_mse")
def _of_mse(place: Place) -> Call:
    def run(prediction: Any, **rest: Any) -> Any:
        require_plain_shape(prediction)
        return curvature_of_mse(prediction, **rest)

    return call(
        run,
        prediction=(draw(T, B, D), floats("float32", T, B, D)),
        mask=(np.ones((T, B), bool), optional(either(_mask(T, B), _mask(T, B, D), _mask(T)))),
        normalizer=(None, optional(_normalizer)),
    )


@entry("curvature_of_cross_entropy")
def _of_cross_entropy(place: Place) -> Call:
    change = draw(T, B, V)

    def run(**given: Any) -> Any:
        return curvature_of_cross_entropy(**given)(change)

    return call(
        run,
        logits=(draw(T, B, V), floats("float32", T, B, V)),
        mask=(np.ones((T, B), bool), optional(_mask(T, B))),
        normalizer=(None, optional(_normalizer)),
    )
