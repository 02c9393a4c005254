"""Layer normalisation without parameters (Ba, Kiros and Hinton 2016, equations 3 and 4), forward and backward.

normalise(v) = (v - mean(v)) / sqrt(var(v) + eps) over the last axis; biased variance, eps inside the root (rule 27).
`engine.LayerNorm` uses the same functions, and so does `engine.BatchNorm`, with a mean over other axes.

Gain and bias are weights ``p_X`` of the cells that use it: `LAYER_NORM` brings its own.  The functions ask for array
methods alone, so that they work on the arrays of every library, with any axes in front.  Complex rows (what the
complex-step check feeds) keep the bits of real ones in their real part, as everything in `kernels.activations` does.
"""

from __future__ import annotations

from kernels.gates.types import Array, Function
from kernels.phases import Between

EPS = 1e-5  # as in the paper's code, and in PyTorch


def mean_of_rows(values: Array) -> Array:
    """Mean of the last axis, (..., 1); real and imaginary part apart."""
    if _is_complex(values):
        return mean_of_rows(values.real) + 1j * mean_of_rows(values.imag)
    return values.sum(axis=-1, keepdims=True) / values.shape[-1]


def normalise(rows: Array, mean: Function = mean_of_rows, eps: float = EPS) -> Array:
    """(..., W) -> (..., W), each row with mean 0 and (nearly) variance 1.

    Parameters
    ----------
    mean : what takes the mean of the numbers that are normalised together, and keeps their axes.
    """
    centred = rows - mean(rows)
    return centred * inverse_root(mean(centred * centred), eps)


def normalise_backward(dout: Array, rows: Array, out: Array, mean: Function = mean_of_rows, eps: float = EPS) -> Array:
    """Reverse of `normalise`.

    With scale = (var + eps)^(-1/2):  out = centred * scale  sends sum(dout * centred) to scale, and scale sends
    -scale^3 * centred * mean(dout * centred)  on to centred, which is  -scale * out * mean(dout * out).

    Parameters
    ----------
    dout : (..., W) gradient of what `normalise` returned.
    rows, out : what it took and returned.
    """
    centred = rows - mean(rows)
    scale = inverse_root(mean(centred * centred), eps)
    dcentred = scale * (dout - out * mean(dout * out))  # out = centred * scale; var = mean(centred * centred)
    return dcentred - mean(dcentred)  # centred = rows - mean(rows)


def inverse_root(variance: Array, eps: float = EPS) -> Array:
    """(variance + eps)^(-1/2); exact for the small imaginary part of a complex step."""
    if not _is_complex(variance):
        return 1 / (variance + eps) ** 0.5
    inverse = inverse_root(variance.real, eps)
    return inverse - 1j * (variance.imag * inverse * inverse * inverse / 2)


def _is_complex(values: Array) -> bool:
    return "complex" in str(getattr(values, "dtype", ""))  # a dual number (`kernels.duals`) has none


#: For ``Phase(between=...)``: with a gain and a bias for each gate.
LAYER_NORM = Between(normalise, normalise_backward, scaled=True)
