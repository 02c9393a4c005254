"""A bilinear form by einsum: (out, cache) and a plain tuple, a scale that is a float."""
import numpy as np

def bilinear(a, M, c, scale):
    out = scale * np.einsum("ni,ijk,nj->nk", a, M, c)
    return out, (a, M, c, scale, out)

def bilinear_grad(dout, cache):
    a, M, c, scale, out = cache
    da = scale * np.einsum("nk,ijk,nj->ni", dout, M, c)
    dM = scale * np.einsum("ni,nk,nj->ijk", a, dout, c)
    dc = scale * np.einsum("ni,ijk,nk->nj", a, M, dout)
    dscale = float((dout * out).sum() / scale)
    return da, dM, dc, dscale

# --- data
a, M, c = rng.normal(size=(4, 3)), rng.normal(size=(3, 2, 5)), rng.normal(size=(4, 2))
# --- check
report = engine.check_gradients(bilinear, bilinear_grad, [a, M, c, 0.7])
# --- bugs
#| (dout * out).sum() / scale ==> (dout * out).sum() ## scale
#| da = scale * np ==> da = np ## a
#| "ni,nk,nj->ijk", a, dout, c ==> "ni,nk,nj->ijk", a, dout, np.abs(c) ## M
#| dc = scale * np.einsum("ni,ijk,nk->nj", a, M, dout) ==> dc = np.zeros_like(c) ## c
