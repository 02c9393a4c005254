"""A norm with a dataclass for a cache, gradients as attributes of an object."""
from dataclasses import dataclass
from types import SimpleNamespace
import numpy as np

@dataclass
class NormCache:
    x: np.ndarray
    inv: np.ndarray
    g: np.ndarray

def rmsnorm(x, g, eps=1e-6):
    inv = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * inv * g, NormCache(x, inv, g)

def rmsnorm_back(dy, saved):
    dn = dy * saved.g
    dx = saved.inv * (dn - saved.x * saved.inv ** 2 * (dn * saved.x).mean(-1, keepdims=True))
    return SimpleNamespace(x=dx, g=(dy * saved.x * saved.inv).sum(0))

# --- data
x, g = rng.normal(size=(4, 6)), rng.normal(size=6)
# --- check
report = engine.check_gradients(rmsnorm, rmsnorm_back, [x, g])
# --- bugs
#| saved.inv ** 2 ==> saved.inv ** 3 ## x
#| (dn * saved.x).mean ==> (dy * saved.x).mean ## x
#| (dy * saved.x * saved.inv).sum(0) ==> (dy * saved.x).sum(0) ## g
#| (dn * saved.x).mean(-1, keepdims=True)) ==> (dn * saved.x).mean(-1, keepdims=True)) * (1 + 1e-4) ## x
