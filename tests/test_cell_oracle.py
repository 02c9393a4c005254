"""Cells and options against PyTorch: its LSTM with `proj_size`, and loops written out with its autograd."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import cell_runs
import numpy as np
import pytest
from cell_runs import LENGTHS, D, H, P

import engine
from kernels.cells import Cell
from kernels.gates import find
from kernels.options import with_recurrent_mask, with_zoneout

pytestmark = pytest.mark.oracle
Tensor = Any
Weights = dict[str, Any]  # of tensors
States = tuple[Any, ...]
Step = Callable[[ModuleType, Weights, Tensor, States, Tensor], States]

# Each step takes PyTorch, weights by name, x (B, D), the states, and what the recurrent weights multiply in place of h.


def parts(w: Weights, x: Tensor, h: Tensor) -> States:
    """Pre-activations of all gates."""
    return (x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).split(H, dim=-1)


def lstm(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    i, f, g, o = parts(w, x, masked)
    c = f.sigmoid() * s[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h @ w["weight_hr"].T if "weight_hr" in w else h), c


def gru(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    (h,) = s
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).split(H, dim=-1)
    h_r, h_z, h_n = (masked @ w["weight_hh"].T + w["bias_hh"]).split(H, dim=-1)
    z, n = (x_z + h_z).sigmoid(), (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return ((1 - z) * n + z * h,)


def peephole(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    i, f, g, o = parts(w, x, masked)
    c = (f + w["p_f"] * s[1]).sigmoid() * s[1] + (i + w["p_i"] * s[1]).sigmoid() * g.tanh()
    return (o + w["p_o"] * c).sigmoid() * c.tanh(), c


def coupled(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    f, g, o = parts(w, x, masked)
    c = f.sigmoid() * s[1] + (1 - f.sigmoid()) * g.tanh()
    return o.sigmoid() * c.tanh(), c


def mgu(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    (h,) = s
    x_f, x_n = (x @ w["weight_ih"].T + w["bias_ih"]).split(H, dim=-1)
    f = (x_f + masked @ w["weight_hh"][:H].T + w["bias_hh"][:H]).sigmoid()
    n = (x_n + (f * h) @ w["weight_hh"][H:].T + w["bias_hh"][H:]).tanh()
    return ((1 - f) * h + f * n,)


def indrnn(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    return ((x @ w["weight_ih"].T + w["bias_ih"] + w["p_u"] * s[0]).relu(),)


def slstm(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    i, f, z, o = parts(w, x, masked)
    _, c, n, m = s
    carried = m + torch.nn.functional.logsigmoid(f)
    m = torch.max(i, carried)
    i, f = (i - m).exp(), (carried - m).exp()
    c, n = f * c + i * z.tanh(), f * n + i
    return o.sigmoid() * c / n, c, n, m


def _norm(torch: ModuleType, rows: Tensor, *weights: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(rows, rows.shape[-1:], *weights)


def _blocks(torch: ModuleType, w: Weights, part: str, gates: str) -> Tensor:
    return torch.cat([w[f"p_{part}_{gate}"] for gate in gates])


def layernorm_lstm(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    input_side = _norm(torch, x @ w["weight_ih"].T, _blocks(torch, w, "xgain", "ifgo"))
    hidden_side = _norm(torch, masked @ w["weight_hh"].T, _blocks(torch, w, "hgain", "ifgo"))
    i, f, g, o = (input_side + hidden_side + _blocks(torch, w, "bias", "ifgo")).split(H, dim=-1)
    c = f.sigmoid() * s[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * _norm(torch, c, w["p_cgain"], w["p_cbias"]).tanh(), c


def layernorm_gru(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    (h,), two = s, 2 * H
    input_side = _norm(torch, x @ w["weight_ih"][:two].T, _blocks(torch, w, "xgain", "rz"))
    hidden_side = _norm(torch, masked @ w["weight_hh"][:two].T, _blocks(torch, w, "hgain", "rz"))
    r, z = (input_side + hidden_side + _blocks(torch, w, "bias", "rz")).sigmoid().split(H, dim=-1)
    gated = _norm(torch, masked @ w["weight_hh"][two:].T, w["p_hgain_n"], w["p_hbias_n"])
    n = (_norm(torch, x @ w["weight_ih"][two:].T, w["p_xgain_n"], w["p_bias_n"]) + r * gated).tanh()
    return ((1 - z) * n + z * h,)


def leaky(torch: ModuleType, w: Weights, x: Tensor, s: States, masked: Tensor) -> States:
    sides = x @ w["weight_ih"].T + w["bias_ih"] + masked @ w["weight_hh"].T + w["bias_hh"]
    return (torch.lerp(s[0], sides.tanh(), w["p_leak"]),)


STEPS: dict[str, Step] = {
    "lstm": lstm, "gru": gru, "peephole_lstm": peephole, "coupled_lstm": coupled, "projected_lstm": lstm, "mgu": mgu,
    "indrnn": indrnn, "slstm": slstm, "layernorm_lstm": layernorm_lstm, "layernorm_gru": layernorm_gru,
    "leaky_rnn": leaky,
}  # fmt: skip


def results(torch: ModuleType, step: Step, problem: cell_runs.Problem) -> tuple[list[Tensor], dict[str, Tensor]]:
    """y and the final states of a loop over time, and the gradients of every input."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in problem.inputs.items()}
    factors = {name: torch.tensor(value) for name, value in problem.factors.items()}
    lengths, states, y = torch.tensor(LENGTHS)[:, None], tuple(leaves[f"{s}_0"] for s in problem.cell.states), []
    for t, x in enumerate(leaves["x"]):
        h = states[0] * factors["k_h"][t] if "k_h" in factors else states[0]
        found = step(torch, leaves, x, states, h)
        zoned = [
            factors[f"k_zone_{name}"][t] * old + (1 - factors[f"k_zone_{name}"][t]) * new
            if f"k_zone_{name}" in factors
            else new
            for name, old, new in zip(problem.cell.states, states, found, strict=True)
        ]
        states = tuple(torch.where(lengths > t, new, old) for new, old in zip(zoned, states, strict=True))
        y.append(torch.where(lengths > t, states[0], 0))
    outputs = [torch.stack(y), *states]
    torch.autograd.backward(outputs, [torch.tensor(cotangent) for cotangent in problem.cotangents])
    return outputs, {name: leaf.grad for name, leaf in leaves.items()}


def agree(mine: dict[str, Any], theirs: dict[str, Tensor]) -> None:
    for name, value in mine.items():
        wanted = theirs[name].detach().numpy()
        assert np.max(np.abs(value - wanted)) <= 1e-10 * max(1.0, np.max(np.abs(wanted))), name


def check(torch: ModuleType, cell: Cell, step: Step) -> None:
    problem = cell_runs.problem(cell, seed=5, lengths=LENGTHS)
    outputs, grads = results(torch, step, problem)
    _, y, last = cell_runs.forward(problem)
    names = ["y", *cell.states]
    agree(dict(zip(names, (y, *last), strict=True)), dict(zip(names, outputs, strict=True)))
    agree(cell_runs.gradients(problem), grads)


@pytest.mark.parametrize("name", [name for name in STEPS if name not in ("lstm", "gru")])
def test_a_cell_is_its_loop_in_pytorch(torch: ModuleType, name: str) -> None:
    check(torch, find(name), STEPS[name])


@pytest.mark.parametrize("name", list(STEPS))
def test_zoneout_is_its_loop_in_pytorch(torch: ModuleType, name: str) -> None:
    check(torch, with_zoneout(find(name), find(name).states), STEPS[name])


@pytest.mark.parametrize("name", [name for name in STEPS if name != "indrnn"])
def test_a_recurrent_mask_with_zoneout_of_h_is_its_loop_in_pytorch(torch: ModuleType, name: str) -> None:
    check(torch, with_zoneout(with_recurrent_mask(find(name)), ["h"]), STEPS[name])


def test_the_projected_cell_is_pytorchs_lstm_with_proj_size(torch: ModuleType) -> None:
    problem = cell_runs.problem(find("projected_lstm"), seed=6)
    layer = torch.nn.LSTM(D, H, proj_size=P, dtype=torch.float64)
    names = {name: name.removesuffix("_l0") for name, _ in layer.named_parameters()}
    layer.load_state_dict({name: torch.tensor(problem.inputs[mine]) for name, mine in names.items()})
    x, h, c = (torch.tensor(problem.inputs[name], requires_grad=True) for name in ("x", "h_0", "c_0"))
    y, last = layer(x, (h[None], c[None]))
    outputs = [y, *(state[0] for state in last)]
    torch.autograd.backward(outputs, [torch.tensor(cotangent) for cotangent in problem.cotangents])
    _, mine_y, mine_last = cell_runs.forward(problem)
    agree(dict(zip("yhc", (mine_y, *mine_last), strict=True)), dict(zip("yhc", outputs, strict=True)))
    weights = {mine: getattr(layer, name).grad for name, mine in names.items()}
    agree(cell_runs.gradients(problem), weights | {"x": x.grad, "h_0": h.grad, "c_0": c.grad})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["slstm", "layernorm_lstm", "projected_lstm"])
def test_a_cell_runs_on_pytorchs_own_arrays(torch: ModuleType, name: str, dtype: str) -> None:
    width, rng = 2 if name == "projected_lstm" else 0, np.random.default_rng(3)
    layers = [
        engine.Recurrent(name, 3, 4, zoneout=0.2, proj_size=width, backend=backend, dtype=dtype)
        for backend in ("numpy:reference", "torch")
    ]
    x = rng.normal(size=(5, 2, 3)).astype(dtype)
    found = []
    for layer, batch in zip(layers, (x, torch.tensor(x)), strict=True):
        y, _, tape = layer.forward(batch, training=False)
        layer.zero_grad()
        dx, _ = layer.backward(tape, y)
        found.append({"y": y, "dx": dx, **layer.grads})
    for key, value in found[0].items():
        np.testing.assert_allclose(found[1][key].numpy(), value, rtol=2e-5 if dtype == "float32" else 1e-12, atol=1e-5)
