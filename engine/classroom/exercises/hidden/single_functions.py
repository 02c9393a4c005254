"""The exercises that are one function: their tests, with what common mistakes give."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises.pair import Test, Tests, WrongError
from engine.classroom.exercises.student import Code, Student
from engine.classroom.exercises.words import compare, require_array
from engine.losses.softmax import cross_entropy


def returned(name: str, value: Any, count: int) -> tuple[Any, ...]:
    """What a function returned, as so many values."""
    if not isinstance(value, (tuple, list)) or len(value) != count:
        got = f"{len(value)} values" if isinstance(value, (tuple, list)) else "one value"
        raise WrongError(f"{name} must return a tuple of {count}; it returned {'None' if value is None else got}")
    return tuple(value)


def unchanged(name: str, before: Any, after: Any, argument: str) -> None:
    """Raise if a function has written into an argument."""
    if not np.array_equal(before, after):
        raise WrongError(f"an in-place change: {name} writes into its argument {argument}; work on a copy")


# -- numeric_gradient --------------------------------------------------------------------------------------------------

#: Functions with their derivatives along the way: f(x), and from x and dout the right gradient.
FUNCTIONS = {
    "each entry by itself": ("lambda x: np.sin(x)", lambda x, dout: dout * np.cos(x), (2, 3)),
    "three axes": ("lambda x: np.exp(x)", lambda x, dout: dout * np.exp(x), (2, 1, 3)),
    "one number comes out": ("lambda x: (x ** 3).sum()", lambda x, dout: dout * 3 * x**2, (4,)),
    "another shape comes out": ("lambda x: (x ** 2).sum(axis=0)", lambda x, dout: 2 * x * dout, (3, 2)),
}


def numeric_gradient(student: Student, seed: int) -> Tests:
    """Functions whose derivatives are known, and the promise to leave x alone."""
    for number, (title, (code, gradient, shape)) in enumerate(FUNCTIONS.items()):
        rng = np.random.default_rng([seed, number])
        x = rng.normal(size=shape)
        out = eval(code, {"np": np})(x)
        dout = rng.normal(size=np.shape(out))

        right = np.asarray(gradient(x, dout))
        yield Test(f"numeric_gradient: {title}", 2, functools.partial(_differentiated, student, code, x, dout, right))
    yield Test("numeric_gradient: another step", 2, lambda: _step(student, seed))
    yield Test("numeric_gradient: f gets a copy", 1, lambda: _copies(student))


def _differentiated(student: Student, code: str, x: np.ndarray, dout: np.ndarray, right: np.ndarray) -> None:
    given = x.copy()
    found = student.call("numeric_gradient", Code(code), given, dout)
    unchanged("numeric_gradient", x, given, "x")
    compare_roughly(found, right, _differences(code, x, dout))


def _differences(code: str, x: np.ndarray, dout: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    f, step = eval(code, {"np": np}), 1e-5
    sides = {}
    for sign in (1, 0, -1):
        found = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            moved = x.copy()
            moved[index] += sign * step
            found[index] = (dout * f(moved)).sum()
        sides[sign] = found
    central = (sides[1] - sides[-1]) / (2 * step)
    yield "a one-sided difference: move the entry to both sides", (sides[1] - sides[0]) / step
    yield "a one-sided difference: move the entry to both sides", (sides[0] - sides[-1]) / step
    yield "a factor 2: the two points are 2 * step apart", central * 2
    yield "a factor 1/2: the two points are 2 * step apart, not 4", central / 2
    yield "the sign: (L(x + step) - L(x - step)) / (2 * step)", -central
    if np.shape(dout):
        ones = np.ones_like(dout)
        yield "dout is not used", next(_central(f, x, ones, step))


def _central(f: Any, x: np.ndarray, dout: np.ndarray, step: float) -> Iterator[np.ndarray]:
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            values.append((dout * f(moved)).sum())
        found[index] = (values[0] - values[1]) / (2 * step)
    yield found


def compare_roughly(found: Any, right: np.ndarray, suspects: Iterator[tuple[str, np.ndarray]]) -> None:
    """As `compare`, to the precision of a central difference."""
    if isinstance(found, np.ndarray) and found.shape == right.shape and found.dtype.kind == "f":
        size = float(np.abs(right).max())
        if np.all(np.abs(found - right) <= 1e-8 * size):
            return
        for words, wrong in suspects:
            if np.all(np.abs(found - wrong) <= 1e-8 * size):
                raise WrongError(f"dx is wrong: {words}")
    compare("dx", found, right)


def _step(student: Student, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=3)
    found = student.call("numeric_gradient", Code("lambda x: x ** 3"), x.copy(), np.ones(3), 0.5)
    fixed = student.call("numeric_gradient", Code("lambda x: x ** 3"), x.copy(), np.ones(3))
    wanted = 3 * x**2 + 0.25  # ((x + s)^3 - (x - s)^3) / 2s = 3x^2 + s^2
    compare("dx, with step=0.5,", found, wanted, [("the argument step is not used", fixed)])


def _copies(student: Student) -> None:
    """f keeps the array and writes into it: with a copy for each call nothing else changes."""
    code = "lambda x: (lambda y: [x.__setitem__(Ellipsis, 7.0), y][1])(x ** 2)"
    found = student.call("numeric_gradient", Code(code), np.array([1.0, -2.0]), np.ones(2))
    try:
        compare_roughly(found, np.array([2.0, -4.0]), iter(()))
    except WrongError as error:
        raise WrongError("f may write into the array that it gets: hand in a new copy each time") from error


# -- softmax_loss ------------------------------------------------------------------------------------------------------


def softmax_loss(student: Student, seed: int) -> Tests:
    """Masked, unmasked, large scores, nothing that counts."""
    cases = {
        "some places count": (2, 1.0, "some"),
        "every place counts": (1, 1.0, "all"),
        "one place counts": (1, 1.0, "one"),
        "large scores": (2, 1000.0, "some"),
        "no place counts": (1, 1.0, "none"),
    }
    for title, (points, scale, kind) in cases.items():
        rng = np.random.default_rng([seed, len(title)])
        T, B, K = 4, 3, 5
        logits, targets = scale * rng.normal(size=(T, B, K)), rng.integers(0, K, size=(T, B))
        mask = {
            "all": np.ones((T, B), bool),
            "none": np.zeros((T, B), bool),
            "one": np.arange(T * B).reshape(T, B) == 7,
            "some": rng.permutation(np.arange(T * B) < 7).reshape(T, B),
        }[kind]
        arguments = (logits, targets, mask)
        yield Test(f"softmax_loss: the loss, {title}", points, functools.partial(_loss, student, *arguments))
        yield Test(f"softmax_loss: the gradient, {title}", points, functools.partial(_dlogits, student, *arguments))


def _called(student: Student, logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> tuple[Any, ...]:
    """The loss and dlogits; where no place counts, their form must also be right where all do."""
    for one in (mask,) if mask.any() else (~mask, mask):
        given = [logits.copy(), targets.copy(), one.copy()]
        found = returned("softmax_loss", student.call("softmax_loss", *given), 2)
        if np.shape(found[0]) == logits.shape and np.shape(found[1]) == ():
            raise WrongError("loss and dlogits are exchanged: look at the order of what is returned")
        for name, before, after in zip(("logits", "targets", "mask"), (logits, targets, one), given, strict=True):
            unchanged("softmax_loss", before, after, name)
        if one is not mask:
            _one_number(found[0])
            require_array("dlogits", found[1], logits.shape)
    return found


def _one_number(loss: Any) -> None:
    if isinstance(loss, np.ndarray) and loss.size > 1:
        raise WrongError(f"the loss must be one number: the mean over the places that count; it has shape {loss.shape}")
    require_array("the loss", loss, ())


def _loss(student: Student, logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> None:
    right, everywhere = (float(cross_entropy(logits, targets, m)[0]) for m in (mask, np.ones_like(mask)))
    count = int(mask.sum())
    suspects = [
        ("a sum in place of a mean: divide by the number of places that count", right * count),
        ("divided by all places: divide by the number that count", right * count / mask.size),
        ("the sign: the loss is -log(p)", -right),
        ("the mask is not used", everywhere),
        ("the mask is not used", everywhere * mask.size),
        ("the mask is not used, though the number of places that count is", everywhere * mask.size / max(1, count)),
        ("the logarithm to base 2: take the natural one, np.log", right / np.log(2)),
        *_means_of_means(logits, targets, mask),
        *((words, loss) for words, loss, _ in _other_axes(logits, targets, mask)),
    ]
    loss = _called(student, logits, targets, mask)[0]
    _one_number(loss)
    compare("the loss", loss, np.asarray(right), suspects)


def _other_axes(logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> Iterator[tuple[str, float, np.ndarray]]:
    """Loss and gradient of softmaxes over something else than the classes."""
    weights = mask[..., None] / max(1, int(mask.sum()))
    right = targets[..., None] == np.arange(logits.shape[-1])
    axes: dict[str, Any] = {"the time steps": 0, "the rows of the batch": 1, "all scores together": (0, 1, 2)}
    for name, axis in axes.items():
        shifted = logits - logits.max(axis=axis, keepdims=True)
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        words = f"softmax runs over {name} in place of the K classes: axis=-1"
        gradient = weights * (np.exp(shifted) / total - right)
        yield words, float((weights * right * (np.log(total) - shifted)).sum()), gradient
        chosen = (right * shifted).sum(axis=-1, keepdims=True)
        yield words, float((weights * (np.log(total) - chosen)).sum()), gradient  # spread over the classes


def _means_of_means(logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> Iterator[tuple[str, float]]:
    """The means over time steps or rows of the means along the other axis."""
    T, B = mask.shape
    parts = {
        "time step": [np.arange(T)[:, None] == t for t in range(T)],
        "row": [np.arange(B)[None] == b for b in range(B)],
    }
    for name, ones in parts.items():
        own = [float(cross_entropy(logits, targets, mask & one)[0]) for one in ones]
        words = f"it is a mean of the means of each {name}: divide the sum over all places that count once"
        counting = [value for value, one in zip(own, ones, strict=True) if (mask & one).any()]
        yield words, float(np.mean(own))
        yield words, float(np.mean(counting or [0.0]))


def _dlogits(student: Student, logits: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> None:
    right, everywhere = (cross_entropy(logits, targets, m)[1] for m in (mask, np.ones_like(mask)))
    count = max(1, int(mask.sum()))
    hot = (targets[..., None] == np.arange(logits.shape[-1])) * mask[..., None] / count
    suspects = [
        ("not divided by the number of places that count, as the mean is", right * count),
        ("divided by all places: divide by the number that count", right * count / mask.size),
        ("a missing term: 1 is subtracted at the right class", right + hot),
        ("the sign: p - 1 at the right class, p at the others", -right),
        ("the mask is not used", everywhere),
        ("the mask is not used", everywhere * mask.size),
        ("the mask is not used, though the number of places that count is", everywhere * mask.size / count),
        *((words, gradient) for words, _, gradient in _other_axes(logits, targets, mask)),
    ]
    compare("dlogits", _called(student, logits, targets, mask)[1], right, suspects)


# -- clip_by_norm ------------------------------------------------------------------------------------------------------


def clip_by_norm(student: Student, seed: int) -> Tests:
    """Above, below and at the limit; zeros; very large numbers stay out of it."""
    rng = np.random.default_rng([seed, 3])
    arrays = [rng.normal(size=shape) for shape in ((3, 2), (4,), (2, 1, 2))]
    norm = float(np.sqrt(sum((array**2).sum() for array in arrays)))
    cases = {
        "above the limit": (arrays, 0.4 * norm, 4),
        "below the limit": (arrays, 1.7 * norm, 2),
        "one array": ([arrays[0]], 0.5, 1),
        "all zero": ([np.zeros((2, 3)), np.zeros(2)], 1.0, 2),
        "one large array among small ones": ([1e-3 * arrays[0], 1e3 * arrays[1]], 1.0, 1),
    }
    for title, (gradients, limit, points) in cases.items():
        yield Test(f"clip_by_norm: {title}", points, functools.partial(_clipped, student, gradients, limit))


def _clipped(student: Student, gradients: list[np.ndarray], limit: float) -> None:
    given = [gradient.copy() for gradient in gradients]
    found = student.call("clip_by_norm", given, limit)
    clipped, norm = returned("clip_by_norm", found, 2)
    clipped = returned("clip_by_norm (clipped)", clipped, len(gradients))
    squares = [float((gradient**2).sum()) for gradient in gradients]
    right = float(np.sqrt(sum(squares)))
    factor = limit / right if right > limit else 1.0
    norms = [
        ("the squares are summed, but the root is missing", right**2),
        ("the norms of the arrays are added: add their squares, then take the root once", sum(np.sqrt(squares))),
        ("it is the norm after clipping", right * factor),
        ("it is the largest entry", max(float(np.abs(gradient).max()) for gradient in gradients)),
    ]
    compare("norm", norm, np.asarray(right), norms)
    for number, (one, gradient) in enumerate(zip(clipped, gradients, strict=True)):
        own = float(np.sqrt((gradient**2).sum()))
        alone = gradient * min(1, limit / max(own, 1e-300))
        compare(
            f"clipped[{number}]",
            one,
            gradient * factor,
            [
                ("each array is clipped by its own norm: the norm is common to all", alone),
                ("it is scaled although the norm is below the limit", gradient * limit / max(right, 1e-300)),
                ("each entry is cut to the limit: scale all by one factor", np.clip(gradient, -limit, limit)),
                ("it is not clipped", gradient),
                ("divided by the norm without the factor max_norm", gradient / max(right, 1e-300)),
            ],
        )
