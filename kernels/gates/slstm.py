"""sLSTM (Beck et al. 2024, "xLSTM", equations 8 to 17): an LSTM whose input gate is an exponential.

log_f = log sigmoid(a_f),          m = max(log_f + m_prev, a_i),
i = exp(a_i - m),                  f = exp(log_f + m_prev - m),
z = tanh(a_z),                     o = sigmoid(a_o),
c = f * c_prev + i * z,            n = f * n_prev + i,            h = o * c / n.

m is the stabiliser: neither exponential can overflow.  i and f are the stabilised gates, the paper's i' and f'.  The
forget gate is the sigmoid, as in the code of the paper's authors (NX-AI/xlstm, ``slstm/src/vanilla/slstm.py``).

The gradient goes through m, as automatic differentiation of that code has it (``with torch.no_grad()`` is commented
out there): ``max`` passes it to the larger side.  c and n both carry the factor exp(-m), so h does not depend on m, and
what arrives through h at m is zero but for round-off.  What arrives at the final c, n and m is not.

A first step.  The states start at zero, and m = 0 is then a value like any other: c / n does not depend on it.  The
authors' code takes m = a_i where all of n is 0, which gives the same h.  Only where n has next to no digits left, its
square being 0 (a_i below log_f by 50 in float32, 370 in float64), h = o * c: it is 0 then, where theirs is o * z.
"""

from __future__ import annotations

from kernels.cells import Cell, Phase
from kernels.gates.types import Array, Function


def forward(
    a_i: Array,
    a_f: Array,
    a_z: Array,
    a_o: Array,
    c_prev: Array,
    n_prev: Array,
    m_prev: Array,
    sigmoid: Function,
    tanh: Function,
    exp: Function,
    log: Function,
    maximum: Function,
    one: Array,
    zero: Array,
) -> Array:
    """One step from the four pre-activations."""
    log_f = -maximum(-a_f, zero) - log(one + exp(-maximum(a_f, -a_f)))  # log sigmoid(a_f), without overflow
    carried = log_f + m_prev
    m = maximum(carried, a_i)
    i = exp(a_i - m)
    f = exp(carried - m)
    z = tanh(a_z)
    o = sigmoid(a_o)
    c = f * c_prev + i * z
    n = f * n_prev + i
    divisor = n + one * (n.real * n.real <= zero)  # about 1 where n has underflowed
    h = o * c / divisor
    return i, f, z, o, h, c, n, m


def backward(
    dh: Array,
    dc: Array,
    dn: Array,
    dm: Array,
    a_f: Array,
    i: Array,
    f: Array,
    z: Array,
    o: Array,
    c_prev: Array,
    n_prev: Array,
    c: Array,
    n: Array,
    sigmoid: Function,
    one: Array,
    zero: Array,
) -> Array:
    """Reverse of `forward`.  m is the larger of a_i and carried; of i and f, that of the larger side is 1."""
    divisor = n + one * (n.real * n.real <= zero)
    ratio = c / divisor
    do = dh * ratio  # h = o * c / divisor
    dc = dc + dh * o / divisor  # h = o * c / divisor
    dn = dn - dh * o * ratio / divisor  # h = o * c / divisor,  divisor = n + ...
    di = dc * z + dn  # c = f * c_prev + i * z,  n = f * n_prev + i
    df = dc * c_prev + dn * n_prev  # c = f * c_prev + i * z,  n = f * n_prev + i
    dz = dc * i  # c = f * c_prev + i * z
    dc_prev = dc * f  # c = f * c_prev + i * z
    dn_prev = dn * f  # n = f * n_prev + i
    dm = dm - di * i - df * f  # i = exp(a_i - m),  f = exp(carried - m)
    larger = one * (i.real < f.real)  # m = maximum(carried, a_i): 1 where carried is the larger
    dcarried = df * f + dm * larger  # f = exp(carried - m),  m = maximum(carried, a_i)
    da_i = di * i + dm * (one - larger)  # i = exp(a_i - m),  m = maximum(carried, a_i)
    dm_prev = dcarried  # carried = log_f + m_prev
    da_f = dcarried * (one - sigmoid(a_f))  # log_f = log sigmoid(a_f)
    da_z = dz * (one - z * z)  # z = tanh(a_z)
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    return da_i, da_f, da_z, da_o, dc_prev, dn_prev, dm_prev, dc, dn, dm


SLSTM = Cell("slstm", Phase("ifzo", forward, backward), title="sLSTM")
