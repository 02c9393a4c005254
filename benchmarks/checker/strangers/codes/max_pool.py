"""Pooling that returns the places of the maxima beside them."""
import numpy as np

def max_pool(x, size):
    N, C, H, W = x.shape
    windows = x.reshape(N, C, H // size, size, W // size, size).transpose(0, 1, 2, 4, 3, 5)
    flat = windows.reshape(N, C, H // size, W // size, size * size)
    places = flat.argmax(-1)
    return (flat.max(-1), places), (x.shape, places, size)

def max_pool_back(dout, cache):
    dpooled, _ = dout
    (N, C, H, W), places, size = cache
    dflat = np.zeros((N, C, H // size, W // size, size * size))
    np.put_along_axis(dflat, places[..., None], dpooled[..., None], -1)
    dwindows = dflat.reshape(N, C, H // size, W // size, size, size)
    return dwindows.transpose(0, 1, 2, 4, 3, 5).reshape(N, C, H, W)

# --- data
x = rng.normal(size=(2, 3, 4, 6))
# --- check
report = engine.check_gradients(max_pool, max_pool_back, [x, 2])
# --- bugs
#| dwindows.transpose(0, 1, 2, 4, 3, 5) ==> dwindows ## x
#| places[..., None], dpooled ==> 0 * places[..., None], dpooled ## x
#| dpooled[..., None], -1) ==> dpooled[..., None] / 4, -1) ## x
#| dpooled[..., None], -1) ==> np.abs(dpooled)[..., None], -1) ## x
