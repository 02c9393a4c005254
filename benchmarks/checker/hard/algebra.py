"""Linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import HIDDEN, NOT_WRONG, Pair, case


def square(rng: Generator, size: int = 3) -> np.ndarray:
    return rng.normal(size=(size, size)) + 3.0 * np.eye(size)


def definite(rng: Generator, size: int = 3) -> np.ndarray:
    a = rng.normal(size=(size, size))
    return a @ a.T + np.eye(size)


@case()
def inverse(rng: Generator) -> Pair:
    return lambda a: (np.linalg.inv(a),) * 2, lambda d, y: -y.T @ d @ y.T, [square(rng)]


@case()
def inverse_of_a_nearly_singular_matrix(rng: Generator) -> Pair:
    u, _, v = np.linalg.svd(rng.normal(size=(3, 3)))
    return lambda a: (np.linalg.inv(a),) * 2, lambda d, y: -y.T @ d @ y.T, [u @ np.diag([1.0, 0.1, 1e-3]) @ v]


@case()
def solution_of_equations(rng: Generator) -> Pair:
    def backward(d: Any, cache: Any) -> Any:
        a, y = cache
        db = np.linalg.solve(a.T, d)
        return -np.outer(db, y), db

    def forward(a: Any, b: Any) -> Any:
        y = np.linalg.solve(a, b)
        return y, (a, y)

    return forward, backward, [square(rng, 4), rng.normal(size=4)]


@case()
def determinant(rng: Generator) -> Pair:
    return lambda a: (np.linalg.det(a), a), lambda d, a: d * np.linalg.det(a) * np.linalg.inv(a).T, [square(rng)]


@case(complex=NOT_WRONG)
def logarithm_of_the_determinant(rng: Generator) -> Pair:
    return lambda a: (np.linalg.slogdet(a)[1], a), lambda d, a: d * np.linalg.inv(a).T, [definite(rng)]


@case(complex=NOT_WRONG)
def logarithm_of_the_determinant_by_cholesky(rng: Generator) -> Pair:
    def forward(a: Any) -> Any:
        half = 0.5 * (a + a.T)
        return 2.0 * np.log(np.diag(np.linalg.cholesky(half))).sum(), half

    return forward, lambda d, half: d * np.linalg.inv(half), [definite(rng, 4)]


@case(complex=NOT_WRONG)
def cholesky(rng: Generator) -> Pair:
    """NumPy reads the lower triangle alone."""

    def backward(d: Any, factor: Any) -> Any:
        inner = np.tril(factor.T @ np.tril(d))
        inner[np.diag_indices_from(inner)] *= 0.5
        inv = np.linalg.inv(factor)
        full = inv.T @ inner @ inv
        full = full + full.T
        return np.tril(full) - 0.5 * np.diag(np.diag(full))

    return lambda a: (np.linalg.cholesky(a),) * 2, backward, [definite(rng)]


@case(complex=NOT_WRONG)
def eigenvalues_of_a_symmetric_matrix(rng: Generator) -> Pair:
    def forward(a: Any) -> Any:
        values, vectors = np.linalg.eigh(0.5 * (a + a.T))
        return values, vectors

    return forward, lambda d, v: v @ np.diag(d) @ v.T, [definite(rng, 4)]


@case(complex=NOT_WRONG)
def singular_values(rng: Generator) -> Pair:
    def forward(a: Any) -> Any:
        u, s, v = np.linalg.svd(a, full_matrices=False)
        return s, (u, v)

    return forward, lambda d, c: c[0] @ np.diag(d) @ c[1], [rng.normal(size=(4, 3))]


@case()
def third_power_of_a_matrix(rng: Generator) -> Pair:
    return (
        lambda a: (a @ a @ a, a),
        lambda d, a: d @ (a @ a).T + a.T @ d @ a.T + (a @ a).T @ d,
        [rng.normal(size=(3, 3))],
    )


@case()
def quadratic_form(rng: Generator) -> Pair:
    return (
        lambda x, a: (x @ a @ x, (x, a)),
        lambda d, c: (d * (c[1] + c[1].T) @ c[0], d * np.outer(c[0], c[0])),
        [rng.normal(size=4), rng.normal(size=(4, 4))],
    )


@case(complex=NOT_WRONG)
def frobenius_norm(rng: Generator) -> Pair:
    return lambda a: (np.linalg.norm(a), a), lambda d, a: d * a / np.linalg.norm(a), [rng.normal(size=(3, 5))]


@case(HIDDEN)
def least_squares(rng: Generator) -> Pair:
    def forward(a: Any, b: Any) -> Any:
        y = np.linalg.solve(a.T @ a, a.T @ b)
        return y, (a, b, y)

    def backward(d: Any, cache: Any) -> Any:
        a, b, y = cache
        g = np.linalg.solve(a.T @ a, d)
        return np.outer(b - a @ y, g) - np.outer(a @ g, y), a @ g

    return forward, backward, [rng.normal(size=(6, 3)), rng.normal(size=6)]


@case()
def convolution(rng: Generator) -> Pair:
    def forward(x: Any, k: Any) -> Any:
        return np.stack([(x[i : i + 3, None] * k).sum(axis=0) for i in range(6)]), (x, k)

    def backward(d: Any, cache: Any) -> Any:
        x, k = cache
        dx, dk = np.zeros(x.shape), np.zeros(k.shape)
        for i in range(6):
            dx[i : i + 3] += k @ d[i]
            dk += np.outer(x[i : i + 3], d[i])
        return dx, dk

    return forward, backward, [rng.normal(size=8), rng.normal(size=(3, 2))]


@case()
def batched_products(rng: Generator) -> Pair:
    return (
        lambda a, b: (np.einsum("nij,njk->nik", a, b), (a, b)),
        lambda d, c: (np.einsum("nik,njk->nij", d, c[1]), np.einsum("nij,nik->njk", c[0], d)),
        [rng.normal(size=(2, 3, 2)), rng.normal(size=(2, 2, 4))],
    )
