"""Layer normalisation without parameters (Ba, Kiros and Hinton 2016, equations 3 and 4), forward and backward.

normalise(v) = (v - mean(v)) / sqrt(var(v) + eps) over the last axis; biased variance, eps inside the root (rule 27).

Gain and bias are weights ``p_X`` of the cells that use it: `LAYER_NORM` brings its own.  The functions ask for array
methods alone, so that they work on the arrays of every library, with any axes in front.  Complex rows (what the
complex-step check feeds) keep the bits of real ones in their real part, as everything in `kernels.activations` does.
"""

from __future__ import annotations

from kernels.gates.types import Array
from kernels.phases import Between

EPS = 1e-5  # as in the paper's code, and in PyTorch


def normalise(rows: Array) -> Array:
    """(..., W) -> (..., W), each row with mean 0 and (nearly) variance 1."""
    centred = rows - _mean(rows)
    return centred * _inverse_root(_mean(centred * centred))


def normalise_backward(dout: Array, rows: Array, out: Array) -> Array:
    """Reverse of `normalise`.

    With scale = (var + eps)^(-1/2):  out = centred * scale  sends sum(dout * centred) to scale, and scale sends
    -scale^3 * centred * mean(dout * centred)  on to centred, which is  -scale * out * mean(dout * out).

    Parameters
    ----------
    dout : (..., W) gradient of what `normalise` returned.
    rows, out : what it took and returned.
    """
    centred = rows - _mean(rows)
    scale = _inverse_root(_mean(centred * centred))
    dcentred = scale * (dout - out * _mean(dout * out))  # out = centred * scale; var = mean(centred * centred)
    return dcentred - _mean(dcentred)  # centred = rows - mean(rows)


def _mean(values: Array) -> Array:
    """Mean of the last axis, (..., 1); real and imaginary part apart."""
    if _is_complex(values):
        return _mean(values.real) + 1j * _mean(values.imag)
    return values.sum(axis=-1, keepdims=True) / values.shape[-1]


def _inverse_root(variance: Array) -> Array:
    """(variance + eps)^(-1/2); exact for the small imaginary part of a complex step."""
    if not _is_complex(variance):
        return 1 / (variance + EPS) ** 0.5
    inverse = _inverse_root(variance.real)
    return inverse - 1j * (variance.imag * inverse * inverse * inverse / 2)


def _is_complex(values: Array) -> bool:
    return "complex" in str(getattr(values, "dtype", ""))  # a dual number (`kernels.duals`) has none


#: For ``Phase(between=...)``: with a gain and a bias for each gate.
LAYER_NORM = Between(normalise, normalise_backward, scaled=True)
