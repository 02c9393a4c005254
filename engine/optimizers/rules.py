"""Optimisers: an equation each, in PyTorch's form, order and default values.  `base` holds what they share.

In the equations w is a parameter, g its gradient with the coupled penalties added, t the number of the step (1 at the
first).  An assignment ``x <- new`` is ``keep(x, new)``: it happens only where the whole step is finite.
"""

from __future__ import annotations

from typing import Any

from engine.errors import bad_input
from engine.optimizers.base import Keep, Optimizer, Room
from engine.optimizers.parameters import Number, Switch


class SGD(Optimizer):
    """Stochastic gradient descent, plain, with momentum (Polyak 1964) or Nesterov's (Sutskever et al. 2013).

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    momentum : float
        Share of the old direction that stays, in [0, 1).
    dampening : float
        Share of the new gradient that does not enter the direction (the first step takes all of it).
    nesterov : bool
        Look ahead along the new direction; needs momentum > 0 and dampening 0.
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
    >>> optimizer = engine.SGD(linear, lr=0.1, momentum=0.9)
    >>> for step in range(3):  # the loss is w*w/2, so the gradient is w
    ...     linear.grads["weight"] = linear.params["weight"]
    ...     optimizer.step()
    >>> round(float(linear.params["weight"][0, 0]), 4)
    0.486
    """

    momentum, dampening, nesterov = Number(below=1.0), Number(below=1.0), Switch()

    def __init__(
        self,
        model: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        if nesterov and (momentum == 0 or dampening != 0):
            got = f"momentum {self.momentum:g} and dampening {self.dampening:g}"
            raise bad_input("nesterov", "momentum > 0 and dampening 0 with it", got)
        super().__init__(model, lr, l1, l2)

    def _slots(self) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if self.momentum else {}

    def _factors(self, t: Any) -> tuple[Any, ...]:
        # The first direction is the whole gradient, as in PyTorch.
        return (self.backend.xp.where(t > 1, 1.0 - self.dampening, self.backend.xp.ones_like(t)),)

    def _update(self, keep: Keep, w: Any, g: Any, room: Room, factors: tuple[Any, ...]) -> None:
        xp, a = self.backend.xp, room.a
        direction = g
        if self.momentum:
            (fresh,) = factors
            direction = room.slots["momentum_buffer"]
            # d <- momentum*d + (1 - dampening)*g
            xp.multiply(g, fresh, out=room.b)
            xp.multiply(direction, self.momentum, out=a)
            a += room.b
            keep(direction, a)
        if self.nesterov:
            # w <- w - lr*(g + momentum*d)
            xp.multiply(direction, self.momentum, out=a)
            a += g
            a *= self.lr
        else:
            # w <- w - lr*d
            xp.multiply(direction, self.lr, out=a)
        xp.subtract(w, a, out=a)
        keep(w, a)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    lr_decay : float
        The rate at step t is lr/(1 + (t - 1)*lr_decay).
    initial_accumulator_value : float
        First value of the sum of squares.
    eps : float
        Added to the root, against division by zero.
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
    >>> optimizer = engine.Adagrad(linear, lr=0.1)
    >>> for step in range(3):  # the loss is w*w/2, so the gradient is w
    ...     linear.grads["weight"] = linear.params["weight"]
    ...     optimizer.step()
    >>> round(float(linear.params["weight"][0, 0]), 4)
    0.7805
    """

    lr_decay, initial_accumulator_value, eps = Number(), Number(), Number()

    def __init__(
        self,
        model: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self.lr_decay, self.initial_accumulator_value, self.eps = lr_decay, initial_accumulator_value, eps
        super().__init__(model, lr, l1, l2)

    def _slots(self) -> dict[str, float]:
        return {"sum": self.initial_accumulator_value}

    def _factors(self, t: Any) -> tuple[Any, ...]:
        return (self.lr / (1.0 + (t - 1.0) * self.lr_decay),)

    def _update(self, keep: Keep, w: Any, g: Any, room: Room, factors: tuple[Any, ...]) -> None:
        xp, a, (rate,) = self.backend.xp, room.a, factors
        total = room.slots["sum"]
        # s <- s + g*g
        xp.square(g, out=a)
        a += total
        keep(total, a)
        # w <- w - rate * g/(sqrt(s) + eps)
        xp.sqrt(total, out=a)
        a += self.eps
        xp.divide(g, a, out=a)
        a *= rate
        xp.subtract(w, a, out=a)
        keep(w, a)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5); centred as in Graves 2013, eqs. 38 to 41, with PyTorch's eps.

    Parameters
    ----------
    model : Layer or sequence of Layer
        Anything with dicts ``params`` and ``grads`` of arrays by name, or a list of these.
    lr : float
        Learning rate; may be set at any time, as by a schedule: ``opt.lr = schedule(step)``.
    alpha : float
        Share of the old mean square that stays, in [0, 1).
    eps : float
        Added to the root, against division by zero.
    momentum : float
        Share of the old direction that stays, in [0, 1).
    centered : bool
        Divide by the deviation from the mean gradient instead of the root mean square.
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
    >>> optimizer = engine.RMSprop(linear, lr=0.01)
    >>> for step in range(3):  # the loss is w*w/2, so the gradient is w
    ...     linear.grads["weight"] = linear.params["weight"]
    ...     optimizer.step()
    >>> round(float(linear.params["weight"][0, 0]), 4)
    0.78
    """

    alpha, eps, momentum, centered = Number(below=1.0), Number(), Number(below=1.0), Switch()

    def __init__(
        self,
        model: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered
        super().__init__(model, lr, l1, l2)

    def _slots(self) -> dict[str, float]:
        names = ["square_avg"] + ["grad_avg"] * self.centered + ["momentum_buffer"] * (self.momentum > 0)
        return dict.fromkeys(names, 0.0)

    def _update(self, keep: Keep, w: Any, g: Any, room: Room, factors: tuple[Any, ...]) -> None:
        xp, a, b = self.backend.xp, room.a, room.b
        square = room.slots["square_avg"]
        # v <- alpha*v + (1 - alpha)*g*g
        xp.square(g, out=b)
        keep(square, self._mix(square, self.alpha, b, room))
        if self.centered:
            mean = room.slots["grad_avg"]
            # m <- alpha*m + (1 - alpha)*g
            keep(mean, self._mix(mean, self.alpha, g, room))
            # deviation = sqrt(v - m*m): round-off can take the difference below 0, where PyTorch's root is NaN.
            xp.square(mean, out=b)
            xp.subtract(square, b, out=a)
            xp.maximum(a, 0.0, out=a)
            xp.sqrt(a, out=a)
        else:
            xp.sqrt(square, out=a)
        a += self.eps
        xp.divide(g, a, out=a)
        if self.momentum:
            direction = room.slots["momentum_buffer"]
            # d <- momentum*d + g/(root + eps)
            xp.multiply(direction, self.momentum, out=b)
            a += b
            keep(direction, a)
        # w <- w - lr*d
        a *= self.lr
        xp.subtract(w, a, out=a)
        keep(w, a)
