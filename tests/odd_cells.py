"""Cells that nobody needs: each uses something of the language of names that the built-in ones do not."""

from __future__ import annotations

from typing import Any

from kernels import cells as registry
from kernels.cells import Cell, Phase, Projection

Array = Any


# -- one phase: literals, comparisons, two states beside h, two own weights, `act` ------------------------------------


def many_forward(
    a_u: Array,
    a_v: Array,
    c_prev: Array,
    m_prev: Array,
    p_w: Array,
    p_s: Array,
    sigmoid: Any,
    act: Any,
    exp: Any,
    maximum: Any,
) -> Array:
    u = sigmoid(0.5 * a_u + p_w * c_prev)
    v = act(a_v) + 1 / 3
    c = u * c_prev + (1 - u) * v * (v > 0.25)
    m = 0.9 * m_prev + exp(-maximum(c, 0.1)) * p_s
    h = 2 * u * m
    return u, v, h, c, m


def many_backward(
    dh: Array, dc: Array, dm: Array, u: Array, v: Array, a_v: Array, c: Array, c_prev: Array, m: Array, p_w: Array,
    p_s: Array, act: Any, act_slope: Any, one: Array, exp: Any, maximum: Any,
) -> Array:  # fmt: skip
    dm = dm + 2 * u * dh
    dp_s = dm * exp(-maximum(c, 0.1))
    dc = dc - dm * p_s * exp(-maximum(c, 0.1)) * (c >= 0.1)
    dm_prev = 0.9 * dm
    du = 2 * m * dh + dc * (c_prev - v * (v > 0.25))
    dv = dc * (1 - u) * (v > 0.25)
    da_v = dv * act_slope(act(a_v), one)
    da = du * u * (1 - u)
    da_u = 0.5 * da
    dp_w = da * c_prev
    dc_prev = dc * u + da * p_w
    return dm, dp_s, dc, dm_prev, da_v, da_u, dp_w, dc_prev


MANY = Cell("odd_many", Phase("uv", many_forward, many_backward))


# -- three products: of h_prev, of a gate, of the new c; a phase without gates; h_prev's gradient from every stage ----


def first_forward(a_r: Array, x_q: Array, h_q: Array, h_prev: Array, c_prev: Array, sigmoid: Any, tanh: Any) -> Array:
    r = sigmoid(a_r)
    q = tanh(x_q + r * h_q)
    c = c_prev + q * h_prev
    return r, q, c


def first_backward(
    dr: Array, dq: Array, dc: Array, r: Array, q: Array, h_q: Array, x_q: Array, h_prev: Array, one: Array
) -> Array:
    dq = dq + dc * h_prev
    dh_prev = dc * q
    dc_prev = dc
    dx_q = dq * (one - q * q) + 0.0 * x_q
    dh_q = dx_q * r
    dr = dr + dx_q * h_q
    da_r = dr * r * (one - r)
    return dc, dh_prev, dc_prev, dx_q, dh_q, da_r


def second_forward(a_s: Array, r: Array, c: Array, h_prev: Array, tanh: Any) -> Array:
    s = tanh(a_s)
    mixed = s * r + h_prev * c
    return s, mixed


def second_backward(dmixed: Array, ds: Array, s: Array, r: Array, c: Array, h_prev: Array, one: Array) -> Array:
    ds = ds + dmixed * r
    dr = dmixed * s
    dh_prev = dmixed * c
    dc = dmixed * h_prev
    da_s = ds * (one - s * s)
    return ds, dr, dh_prev, dc, da_s


def third_forward(mixed: Array, s: Array, relu: Any, log: Any, one: Array) -> Array:
    spread = log(one + relu(mixed)) + s
    return spread


def third_backward(dspread: Array, mixed: Array, relu: Any, one: Array, zero: Array) -> Array:
    dmixed = dspread * (mixed > zero) / (one + relu(mixed))
    ds = dspread
    return dmixed, ds


def fourth_forward(a_w: Array, spread: Array, c_prev: Array, h_prev: Array, sigmoid: Any, p_a: Array) -> Array:
    w = sigmoid(a_w + p_a * c_prev)
    h = w * spread + (1 - w) * h_prev
    return w, h


def fourth_backward(dh: Array, w: Array, spread: Array, c_prev: Array, h_prev: Array, p_a: Array, one: Array) -> Array:
    da_w = dh * (spread - h_prev) * w * (one - w)
    dspread = dh * w
    dh_prev = dh * (1 - w)
    dc_prev = da_w * p_a
    dp_a = da_w * c_prev
    return da_w, dspread, dh_prev, dc_prev, dp_a


STAGED = Cell(
    "odd_staged",
    Phase("rq", first_forward, first_backward),
    Phase("s", second_forward, second_backward, source="q"),
    Phase("", third_forward, third_backward, source=None),
    Phase("w", fourth_forward, fourth_backward, source="c"),
)


# -- h is there after the first stage and is read again; a product of h itself; parts that only backward asks for -----


def early_forward(a_k: Array, tanh: Any) -> Array:
    k = tanh(a_k)
    h = 0.5 * k
    return k, h


def early_backward(dh: Array, k: Array, h_k: Array, x_k: Array) -> Array:
    da_k = 0.5 * dh * (1 - k * k) + 0.0 * h_k + 0.0 * x_k
    return da_k


def late_forward(a_l: Array, d_prev: Array, h_prev: Array, tanh: Any) -> Array:
    l = tanh(a_l)  # noqa: E741
    d = 0.25 * d_prev + l * h_prev
    return l, d


def late_backward(dd: Array, l: Array, h_prev: Array, a_l: Array) -> Array:  # noqa: E741
    dl = dd * h_prev
    dh_prev = dd * l
    dd_prev = 0.25 * dd
    da_l = dl * (1 - l * l) + 0.0 * a_l
    return dh_prev, dd_prev, da_l


EARLY = Cell(
    "odd_early", Phase("k", early_forward, early_backward), Phase("l", late_forward, late_backward, source="h")
)


# -- no product at all, and a projection of a state -------------------------------------------------------------------


def loose_forward(a_y: Array, c_prev: Array, p_u: Array, tanh: Any) -> Array:
    y = tanh(a_y)
    c = p_u * c_prev + y
    return y, c


def loose_backward(dc: Array, y: Array, c_prev: Array, p_u: Array, one: Array) -> Array:
    da_y = dc * (one - y * y)
    dp_u = dc * c_prev
    dc_prev = dc * p_u
    return da_y, dp_u, dc_prev


def gated_backward(dy: Array, dc: Array, y: Array, c_prev: Array, p_u: Array, one: Array) -> Array:
    da_y = (dy + dc) * (one - y * y)
    dp_u = dc * c_prev
    dc_prev = dc * p_u
    return da_y, dp_u, dc_prev


# -- results that are the same in every row, and a tuple of one -----------------------------------------------------


def plain_forward(a_y: Array, tanh: Any, one: Array) -> Array:
    y = tanh(a_y) + one
    h = y
    rest = 0.5
    return y, h, rest


def plain_backward(dh: Array, y: Array, rest: Array) -> Array:
    da_y = dh * (1 - (y - 1) * (y - 1)) * (rest + 0.5)
    return (da_y,)


PLAIN = Cell("odd_plain", Phase("y", plain_forward, plain_backward))
LOOSE = Cell("odd_loose", Phase("y", loose_forward, loose_backward, source=None), Projection("c"))
GATED = Cell("odd_gated", Phase("y", loose_forward, gated_backward), Projection("y"))

ODD_CELLS = (MANY, STAGED, EARLY, PLAIN, LOOSE, GATED)
for _cell in ODD_CELLS:  # no other test is to meet them among the cells that there are
    registry._CELLS.pop(_cell.name, None)
