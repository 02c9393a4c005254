"""Layer normalisation with a named tuple for a cache, gradients in one too."""
from typing import NamedTuple
import numpy as np

class Cache(NamedTuple):
    norm: np.ndarray
    rstd: np.ndarray
    weight: np.ndarray

class Grads(NamedTuple):
    dinp: np.ndarray
    dweight: np.ndarray
    dbias: np.ndarray

def layernorm_forward(inp, weight, bias):
    mean = inp.mean(-1, keepdims=True)
    rstd = ((inp - mean) ** 2).mean(-1, keepdims=True) + 1e-5
    rstd = rstd ** -0.5
    norm = (inp - mean) * rstd
    return norm * weight + bias, Cache(norm, rstd, weight)

def layernorm_backward(dout, cache):
    dnorm = dout * cache.weight
    dinp = dnorm - dnorm.mean(-1, keepdims=True) - cache.norm * (dnorm * cache.norm).mean(-1, keepdims=True)
    dinp = dinp * cache.rstd
    return Grads(dinp, (dout * cache.norm).sum((0, 1)), dout.sum((0, 1)))

# --- data
inp, weight, bias = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)
# --- check
report = engine.check_gradients(layernorm_forward, layernorm_backward, [inp, weight, bias])
# --- bugs
#| dinp = dinp * cache.rstd ==> dinp = dinp ## inp
#| (dnorm * cache.norm).mean ==> (dnorm * cache.norm).sum ## inp
#| (dout * cache.norm).sum((0, 1)) ==> (dnorm * cache.norm).sum((0, 1)) ## weight
#| dout.sum((0, 1)) ==> dout[0].sum(0) ## bias
