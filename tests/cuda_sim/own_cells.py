"""Cells that a user might write, for the tests of what is derived from their names: one for each kind of place."""

from __future__ import annotations

import linecache
from typing import Any

from engine.layers.rnn import FIVE_CELLS
from kernels import cells as registry
from kernels.cells import Cell, Phase
from kernels.gates import find
from kernels.options import with_recurrent_mask, with_zoneout


def exponential_forward(
    a_i: Any, a_f: Any, a_z: Any, c_prev: Any, n_prev: Any, m_prev: Any, exp: Any, log: Any, maximum: Any,
    sigmoid: Any, act: Any, relu: Any, zero: Any,
) -> Any:  # fmt: skip
    z = act(a_z)
    lf = -log(sigmoid(a_f) + 0.25) + zero
    m = maximum(lf + m_prev, a_i)
    i = exp(a_i - m)
    f = exp(lf + m_prev - m)
    c = f * c_prev + i * z
    n = f * n_prev + i + relu(a_z)
    h = c / (2 + n * n)
    return i, f, z, lf, m, c, n, h


def exponential_backward(
    dh: Any, dc: Any, dn: Any, dm: Any, i: Any, f: Any, z: Any, a_z: Any, a_i: Any, lf: Any, c: Any, n: Any,
    c_prev: Any, n_prev: Any, m_prev: Any, act_slope: Any, sigmoid: Any, a_f: Any, one: Any,
) -> Any:  # fmt: skip
    bottom = 2 + n * n
    dc = dc + dh / bottom
    dn = dn - dh * c * 2 * n / (bottom * bottom)
    di = (dc * z + dn) * i
    df = (dc * c_prev + dn * n_prev) * f
    dm = dm - di - df
    first = one * (lf + m_prev >= a_i)
    dlf = df + dm * first
    s = sigmoid(a_f)
    da_i = di + dm * (one - first)
    da_f = -dlf * (s - s * s) / (s + 0.25)
    da_z = dc * i * act_slope(z, one) + dn * (a_z.real > 0)
    dc_prev = dc * f
    dn_prev = dn * f
    dm_prev = dlf
    return da_i, da_f, da_z, dc, dn, dm, dc_prev, dn_prev, dm_prev


#: Four states, division, exp, log, maximum, relu, numbers, comparisons, parts of the pre-activations on the tape.
EXPONENTIAL = Cell("sim_exponential", Phase("ifz", exponential_forward, exponential_backward), act="relu")


def apart_forward(a_f: Any, x_g: Any, h_g: Any, c_prev: Any, sigmoid: Any, tanh: Any, one: Any) -> Any:
    f = sigmoid(a_f)
    g = tanh(x_g + f * h_g)
    c = f * c_prev + (one - f) * g
    h = tanh(c)
    return f, g, c, h


def apart_backward(dh: Any, dc: Any, f: Any, g: Any, h_g: Any, c: Any, c_prev: Any, tanh: Any, one: Any) -> Any:
    do = tanh(c)  # a keyword of C++
    dc = dc + dh * (one - do * do)
    dx_g = dc * (one - f) * (one - g * g)
    da_f = (dc * (c_prev - g) + dx_g * h_g) * f * (one - f)
    dh_g = dx_g * f
    dc_prev = dc * f
    return da_f, dx_g, dh_g, dc, dc_prev


#: Two states, and a gate with two gradients.
APART = Cell("sim_apart", Phase("fg", apart_forward, apart_backward))


def wide_first(a_r: Any, h_prev: Any, c_prev: Any, sigmoid: Any) -> Any:
    r = sigmoid(a_r)
    rh = r * h_prev
    q = r * c_prev
    return r, rh, q


def wide_first_back(drh: Any, dq: Any, r: Any, h_prev: Any, c_prev: Any, one: Any) -> Any:
    dh_prev = drh * r
    dc_prev = dq * r
    da_r = (drh * h_prev + dq * c_prev) * r * (one - r)
    return da_r, dh_prev, dc_prev


def wide_second(x_s: Any, h_s: Any, q: Any, tanh: Any, p_σ: Any) -> Any:
    s = tanh(x_s + p_σ * h_s)
    c = q + s
    return s, c


def wide_second_back(dc: Any, ds: Any, s: Any, h_s: Any, p_σ: Any, one: Any) -> Any:
    dq = dc * one
    dx_s = (dc + ds) * (one - s * s)
    dh_s = dx_s * p_σ
    dp_σ = dx_s * h_s
    return dx_s, dh_s, dp_σ, dq


def wide_third(a_n: Any, a_o: Any, c: Any, s: Any, sigmoid: Any, tanh: Any) -> Any:
    n = tanh(a_n)
    o = sigmoid(a_o)
    h = n * o + s * c
    return n, o, h


def wide_third_back(dh: Any, dc: Any, n: Any, o: Any, c: Any, s: Any, one: Any) -> Any:
    da_n = dh * o * (one - n * n)
    da_o = dh * n * o * (one - o)
    ds = dh * c
    dc = dc + dh * s
    return da_n, da_o, ds, dc


#: Three products: with h_prev, with what the first phase made, and with a value of the first again.
THREE = Cell(
    "sim_three",
    Phase("r", wide_first, wide_first_back),
    Phase("s", wide_second, wide_second_back),
    Phase("no", wide_third, wide_third_back, source="rh"),
)
#: The same with the third product of a state of this very step.
STATE = Cell(
    "sim_state",
    Phase("r", wide_first, wide_first_back),
    Phase("s", wide_second, wide_second_back, source="rh"),
    Phase("no", wide_third, wide_third_back, source="c"),
)

PROJECTED = find("projected_lstm")
#: What the kernels must know beside the five cells that were there first: weights of a unit, further states, a
#: projected state, no product, two and three products, factors, phases that make a state anew, units of two widths.
OTHERS = (
    *map(find, ("peephole_lstm", "mgu", "slstm", "indrnn", "projected_lstm")),
    *(EXPONENTIAL, APART, THREE, STATE),
    with_zoneout(APART, "hc"),
    with_recurrent_mask(find("gru")),
    with_recurrent_mask(with_zoneout(PROJECTED, "hc")),
)
EVERY = {cell.name: cell for cell in (*map(find, FIVE_CELLS), *OTHERS)}
for _cell in OTHERS:  # no other test is to meet them among the cells that there are
    if not _cell.works[0].forward.function.__module__.startswith("kernels.gates"):
        registry._CELLS.pop(_cell.name, None)


def functions(text: str) -> tuple[Any, Any]:
    """`forward` and `backward` of a text, as if a notebook had run it."""
    file = f"<notebook {hash(text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    made: dict[str, Any] = {"__name__": "notebook"}
    exec(compile(text, file, "exec"), made)
    return made["forward"], made["backward"]
