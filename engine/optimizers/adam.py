"""Adam and AdamW; the form of the equations is that of `engine.optimizers.rules`."""

from __future__ import annotations

from typing import Any

from engine.checks import describe
from engine.errors import bad_type
from engine.optimizers.base import Keep, Optimizer, Room
from engine.optimizers.parameters import Number


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    betas : tuple of float
        Shares of the old mean and the old mean square that stay, each in [0, 1).
    eps : float
        Added to the root of the bias-corrected mean square.
    l1 : float
        Coupled penalty: ``l1*sign(w)`` is added to the gradient inside `step`.
    l2 : float
        Coupled penalty: ``l2*w`` is added to the gradient inside `step`.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> linear = engine.Linear(1, 1, bias=False, dtype="float64")
    >>> linear.params["weight"] = np.array([[1.0]])
    >>> optimizer = engine.Adam(linear, lr=0.1)
    >>> for step in range(3):  # the loss is w*w/2, so the gradient is w
    ...     linear.grads["weight"] = linear.params["weight"]
    ...     optimizer.step()
    >>> round(float(linear.params["weight"][0, 0]), 4)
    0.7016
    """

    beta1, beta2, eps = Number(below=1.0), Number(below=1.0), Number()

    def __init__(
        self,
        model: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise bad_type("betas", "a pair of numbers", betas if isinstance(betas, tuple | list) else describe(betas))
        self.beta1, self.beta2 = betas
        self.eps = eps
        super().__init__(model, lr, l1, l2)

    def _slots(self) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _factors(self, t: Any) -> tuple[Any, ...]:
        return self.lr / (1.0 - self.beta1**t), (1.0 - self.beta2**t) ** 0.5

    def _decayed(self, w: Any, room: Room) -> Any:
        """The weight from which the step is taken; may use ``room.b``."""
        return w

    def _update(self, keep: Keep, w: Any, g: Any, room: Room, factors: tuple[Any, ...]) -> None:
        xp, a, (rate, correction) = self.backend.xp, room.a, factors
        mean, square = room.slots["exp_avg"], room.slots["exp_avg_sq"]
        # m <- beta1*m + (1 - beta1)*g
        keep(mean, self._mix(mean, self.beta1, g, room))
        # v <- beta2*v + (1 - beta2)*g*g
        xp.square(g, out=room.b)
        keep(square, self._mix(square, self.beta2, room.b, room))
        # w <- w - lr/(1 - beta1^t) * m/(sqrt(v)/sqrt(1 - beta2^t) + eps)
        xp.sqrt(square, out=a)
        a /= correction
        a += self.eps
        xp.divide(mean, a, out=a)
        a *= rate
        xp.subtract(self._decayed(w, room), a, out=a)
        keep(w, a)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    The decay w <- w - lr*weight_decay*w comes first.

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    betas : tuple of float
        Shares of the old mean and the old mean square that stay, each in [0, 1).
    eps : float
        Added to the root of the bias-corrected mean square.
    weight_decay : float
        The decay per unit of learning rate.
    l1 : float
        Coupled penalty: ``l1*sign(w)`` is added to the gradient inside `step`; it sees the weight before its decay.
    l2 : float
        Coupled penalty: ``l2*w`` likewise.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> linear = engine.Linear(1, 1, bias=False, dtype="float64")
    >>> linear.params["weight"] = np.array([[1.0]])
    >>> optimizer = engine.AdamW(linear, lr=0.1, weight_decay=0.5)
    >>> for step in range(3):  # the loss is w*w/2, so the gradient is w
    ...     linear.grads["weight"] = linear.params["weight"]
    ...     optimizer.step()
    >>> round(float(linear.params["weight"][0, 0]), 4)
    0.575
    """

    weight_decay = Number()

    def __init__(
        self,
        model: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self.weight_decay = weight_decay
        super().__init__(model, lr, betas, eps, l1=l1, l2=l2)

    def _decayed(self, w: Any, room: Room) -> Any:
        self.backend.xp.multiply(w, 1.0 - self.lr * self.weight_decay, out=room.b)
        return room.b
