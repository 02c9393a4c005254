"""The largest eigenvalues of a Hessian, from products with it alone: Lanczos with full re-orthogonalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.backend import Backend, backend_of
from engine.checks import describe, integer, number
from engine.errors import bad_input, bad_type
from engine.losses.positions import float_dtype


class Eigenvalues(NamedTuple):
    """What `largest_eigenvalues` found.

    Attributes
    ----------
    values : array (count,)
        The algebraically largest eigenvalues, largest first, on the host in float64.
    residuals : array (count,)
        The norm of ``H v - value * v`` for each, with v of length 1: the eigenvalue is right to that, or better.
    vectors : list of dict of str to array
        The eigenvectors, each under the names of the parameters, of length 1 over all of them together.
    lowest : float
        The lowest eigenvalue that the same products show; below zero, the place is no minimum.
    products : int
        How many Hessian-vector products were made.
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: list[dict[str, Any]]
    lowest: float
    products: int


def largest_eigenvalues(
    product: Callable[[dict[str, Any]], Mapping[str, Any]],
    like: Mapping[str, Any],
    count: int = 1,
    *,
    steps: int = 100,
    tol: float = 1e-6,
    seed: int = 0,
) -> Eigenvalues:
    """Find the largest eigenvalues of a symmetric matrix that is known by its products.

    Lanczos' method (Lanczos 1950; Golub and Van Loan, section 10.1): each product adds a direction at right angles to
    all before it, and the eigenvalues of the small matrix among these directions come close to the outermost ones of
    the large matrix first.  Every new direction is made orthogonal to all others twice, so that none comes back.

    Parameters
    ----------
    product : callable
        From a direction, a dict of arrays, to the matrix times it, as `engine.hvp` gives it.
    like : mapping of str to array
        Names, shapes, dtype and library of a direction: ``model.params``, or some of them.
    count : int
        How many eigenvalues.
    steps : int
        At most so many products.
    tol : float
        It stops once every residual is at most this share, below 1, of the largest eigenvalue's size.
    seed : int
        Of the first direction, which is random.

    Returns
    -------
    Eigenvalues
        Fewer than `count` only where the matrix has fewer different eigenvalues, or `steps` is smaller: one that
        stands several times counts once.

    Raises
    ------
    InputError, InputTypeError
        For no function, no arrays, counts below 1, and a product that is not finite or has not the names of `like`.

    Examples
    --------
    The matrix with 5, 2 and 1 on its diagonal:

    >>> import numpy as np
    >>> from engine.second_derivatives import largest_eigenvalues
    >>> diagonal = np.array([2.0, 5.0, 1.0])
    >>> found = largest_eigenvalues(lambda v: {"w": diagonal * v["w"]}, {"w": np.zeros(3)}, count=2)
    >>> found.values.round(6).tolist(), round(found.lowest, 6)
    ([5.0, 2.0], 1.0)
    """
    if not callable(product) or isinstance(product, type):
        raise bad_type("product", "a function from a direction to the matrix times it", describe(product))
    count, steps = integer("count", count, 1), integer("steps", steps, 1)
    tol, layout = number("tol", tol, below=1.0), _Layout(like)
    rng = np.random.default_rng([integer("seed", seed, 0), 10])
    basis = np.empty((min(steps, layout.size), layout.size))
    alphas, betas = np.zeros(len(basis)), np.zeros(len(basis))
    q, scale = rng.normal(size=layout.size), 0.0
    for step in range(len(basis)):
        basis[step] = q / np.linalg.norm(q)
        q = layout.flat(product(layout.split(basis[step])))
        alphas[step] = basis[step] @ q
        known = basis[: step + 1]
        for _ in range(2):
            q = q - known.T @ (known @ q)
        betas[step] = np.linalg.norm(q)
        values, small = _of_tridiagonal(alphas[: step + 1], betas[:step])
        residuals = betas[step] * abs(small[-1])
        scale = max(abs(values[0]), abs(values[-1]))
        wanted = min(count, step + 1)
        closed = betas[step] <= 1e-12 * scale  # the directions span all that the products lead to
        if closed or (wanted == count and (residuals[:count] <= tol * scale).all()):
            break
    found = small[:, :wanted].T @ basis[: step + 1]
    vectors = [layout.split(row) for row in found]
    return Eigenvalues(values[:wanted], residuals[:wanted], vectors, float(values[-1]), step + 1)


def _of_tridiagonal(diagonal: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors (columns) of a symmetric tridiagonal matrix."""
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return values[::-1], vectors[:, ::-1]


def _kind(title: str, value: Any) -> tuple[tuple[int, ...], Any, Backend]:
    """Shape, dtype and backend of an array."""
    backend = backend_of(value, title)
    backend.require(title, value)
    return tuple(value.shape), float_dtype(backend, title, value), backend


class _Layout:
    """How a dict of arrays lies in one long vector on the host."""

    def __init__(self, like: Any) -> None:
        if not isinstance(like, Mapping):
            raise bad_type("like", "a dict from names to arrays, such as model.params", describe(like))
        if not like:
            raise bad_input("like", "at least one array", "an empty dict")
        self._like = {name: _kind(f"like[{describe(name)}]", value) for name, value in like.items()}
        self.size = sum(int(np.prod(shape)) for shape, _, _ in self._like.values())
        if self.size == 0:
            raise bad_input("like", "at least one number", "arrays without any")

    def split(self, vector: np.ndarray) -> dict[str, Any]:
        """The long vector as a dict of arrays."""
        found, start = {}, 0
        for name, (shape, dtype, backend) in self._like.items():
            stop = start + int(np.prod(shape))
            found[name] = backend.xp.asarray(backend.asarray(vector[start:stop].reshape(shape)), dtype=dtype)
            start = stop
        return found

    def flat(self, found: Any) -> np.ndarray:
        """A dict of arrays as one long vector."""
        if not isinstance(found, Mapping) or set(found) != set(self._like):
            raise bad_type(
                "product", f"a function that returns the names {', '.join(map(describe, self._like))}", describe(found)
            )
        parts = []
        for name, (shape, _, backend) in self._like.items():
            backend.require(f"product's {describe(name)}", found[name], shape=shape, axes="that of like")
            parts.append(np.asarray(backend.to_host(found[name]), np.float64).reshape(-1))
        vector = np.concatenate(parts)
        if not np.isfinite(vector).all():
            raise bad_input("product", "finite numbers", "infinities or NaN", "look at the gradients first")
        return vector
