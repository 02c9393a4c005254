"""The gradient checks that mutants are tried on: of a small layer in every setting, and of the traces of its cell."""

from __future__ import annotations

import ast
import functools
import linecache
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from benchmarks.checker.mutants import SETTINGS
from benchmarks.checker.odd_cell import odd_cell
from benchmarks.checker.second_opinions import remembering
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import layer_of
from kernels.cells import Cell, Pass, cells
from kernels.equations import read
from kernels.phases import Phase, Projection

# All sizes differ, so that a wrong axis is a wrong shape; one row is empty, one is full.
T, B, D, H = 5, 4, 2, 3
LENGTHS = [5, 0, 3, 1]
BACKEND = "numpy:reference"

Check = Callable[[], Any]


@functools.cache
def checks(setting: str) -> tuple[Check, ...]:
    """The gradient checks of a setting, the quickest first; each returns a report.

    The complex step goes entry by entry and is exact to round-off; forward mode is a second opinion, along random
    directions.
    """
    rng = np.random.default_rng(0)
    (one, *arguments), (two, *more) = _case(setting, rng, 1), _case(setting, rng, 2, bidirectional=True)
    return (
        functools.partial(engine.gradcheck, one, *arguments, method="adjoint"),
        functools.partial(engine.gradcheck, one, *arguments, LENGTHS, method="complex"),
        *(functools.partial(_check_trace, setting, read) for read in _reads(setting)),
        *([functools.partial(_check_pushed, setting)] if setting in cells() else []),
        *([_check_without_normaliser] if setting == "slstm" else []),
        functools.partial(engine.gradcheck, one, arguments[0][:0], arguments[1], method="adjoint"),  # no time step
        functools.partial(engine.gradcheck, two, *more, LENGTHS, method="adjoint"),
    )


def _reads(setting: str) -> tuple[str, ...]:
    """What the loss of a check of the trace reads: outputs y, final h, final c."""
    return {"lstm": ("yhc", "y", "h", "c"), "gru": ("yh", "y", "h")}.get(setting, ())


def _check_without_normaliser() -> Any:
    """sLSTM, where the input gate of two units has underflowed in every step, so that n of the first stays 0."""
    layer, x, (h, c, n, m) = _case("slstm", np.random.default_rng(1), 1)
    layer.params["bias_ih_l0"][:2] = -1000.0  # of the input gate's first two units
    n[..., 0] = 0
    return engine.gradcheck(layer, x, (h, c, n, m), LENGTHS, method="complex")


def _case(setting: str, rng: np.random.Generator, layers: int, **options: Any) -> tuple[Any, Any, Any]:
    """A layer with weights that move every gate and saturate none, an input and a state."""
    cell, more = SETTINGS[setting]
    options |= {"dtype": "float64", "backend": BACKEND, **more}
    layer: Any = (
        Recurrent(odd_cell(), D, H, layers, **options) if cell == "odd" else layer_of(cell, D, H, layers, **options)
    )
    layer.load_state_dict({name: rng.normal(scale=0.4, size=p.shape) for name, p in layer.params.items()})
    slots = layers * layer.num_directions
    states = tuple(rng.normal(size=(slots, B, width)) for width in layer.widths)
    states = tuple(1 + abs(s) if name == "n" else s for name, s in zip(layer.cell.states, states, strict=True))  # c / n
    return layer, rng.normal(size=(T, B, D)), states if len(states) > 1 else states[0]


def case_of(setting: str) -> tuple[Any, Any, Any]:
    """A small layer of that setting with its input and state, to plant mutants under."""
    return _case(setting, np.random.default_rng(0), 1)


def _check_trace(setting: str, read: str) -> Any:
    """Check the gradients of every h and c that a trace keeps: what a small push on each of them does to the loss.

    The loss reads the outputs y, the final h or the final c, as `read` says; backward is told of no others.  A push on
    c[t+1] also moves h[t+1] = o * tanh(c[t+1]).
    """
    kernels, cell = engine.get_backend(BACKEND).kernels, cells()[SETTINGS[setting][0]]
    rng = np.random.default_rng(1)
    T, B, H, G = 3, 4, 2, len(cell.gates)
    lengths = np.array([3, 0, 2, 1])
    pre, weight, bias = (rng.normal(scale=0.4, size=size) for size in ((T, B, G * H), (G * H, H), (G * H,)))
    weights = {"weight_hh": weight, "bias_hh": bias}
    first = tuple(rng.normal(size=(B, H)) for _ in cell.states)

    def forward(*pushes: Any) -> tuple[Any, None]:
        states, y = tuple(state + push[0] for state, push in zip(first, pushes, strict=True)), []
        for t in range(T):
            step = pre[t : t + 1].astype(np.result_type(*states))
            run = kernels.forward(Pass(cell, weights, np.clip(lengths - t, 0, 1)), step, states)
            states = tuple(slots[1] + push[t + 1] for slots, push in zip(run.states, pushes, strict=True))
            if len(states) > 1:  # past a row's end, o is 0
                through_c = run.gates[0, :, 3] * (np.tanh(states[1]) - np.tanh(run.states[1][1]))
                states = (states[0] + through_c, states[1])
            y.append(states[0])
        found = {"y": np.stack(y), **dict(zip("hc", states, strict=False))}
        return tuple(found[letter] for letter in read), None

    def backward(dout: Any, cache: None) -> tuple[Any, ...]:
        given = dict(zip(read, dout, strict=True))
        run = kernels.forward(Pass(cell, weights, lengths), pre, first)
        dlast = tuple(given.get(state) for state in cell.states)
        return kernels.backward(Pass(cell, weights, lengths), run, given.get("y"), dlast, trace=True).traces

    pushes = [np.zeros((T + 1, B, H)) for _ in first]
    return engine.check_gradients(remembering(forward, "trace", setting, read), backward, pushes, method="complex")


def _check_pushed(name: str) -> Any:
    """Check the gradient of every state in the trace of any cell: a push where its forward function makes the state."""
    kernels, cell = engine.get_backend(BACKEND).kernels, cells()[name]
    layer, _, state = case_of(name)
    weights = {key.removesuffix("_l0"): value for key, value in layer.params.items()}
    first = tuple(part[0] for part in (state if isinstance(state, tuple) else (state,)))
    loud = pushed(cell)
    names = tuple(key.removeprefix("k_push_") for key in loud.given)
    rng = np.random.default_rng(2)
    pre = rng.normal(scale=0.4, size=(T, B, len(cell.gates) * H))

    def forward(*pushes: Any) -> tuple[Any, None]:
        kind = np.result_type(*pushes)
        factors = {f"k_push_{letter}": push for letter, push in zip(names, pushes, strict=True)}
        run = kernels.forward(
            Pass(loud, weights, None, factors), pre.astype(kind), tuple(s.astype(kind) for s in first)
        )
        return (run.h[1:], *(slots[-1] for slots in run.states)), None

    def backward(dout: Any, cache: None) -> tuple[Any, ...]:
        run = kernels.forward(Pass(cell, weights), pre, first)
        adjoints = kernels.backward(Pass(cell, weights), run, dout[0], tuple(dout[1:]), trace=True)
        return tuple(adjoints.traces[cell.states.index(letter)][1:] for letter in names)

    pushes = [np.zeros((T, B, first[cell.states.index(letter)].shape[1])) for letter in names]
    once = remembering(forward, "pushed", name)
    return engine.check_gradients(once, backward, pushes, method="complex", atol=1e-12)  # m of an sLSTM: nearly 0


@functools.cache
def pushed(cell: Cell) -> Cell:
    """The cell whose forward functions add a factor ``k_push_S`` to every state S where they make it."""
    phases = tuple(phase if isinstance(phase, Projection) else _pushed(cell, phase) for phase in cell.phases)
    return cell.changed("pushed", phases, (pushed, (cell,)))


def _pushed(cell: Cell, phase: Phase) -> Phase:
    tree = read(cell.name, phase.forward, phase.names).tree
    made = [name for name in cell.states if any(_makes(line, name) for line in tree.body)]
    for name in made:
        last = max(k for k, line in enumerate(tree.body) if _makes(line, name))
        tree.body.insert(last + 1, ast.parse(f"{name} = {name} + k_push_{name}").body[0])
        tree.args.args.append(ast.arg(f"k_push_{name}"))
    text = "from __future__ import annotations\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    file = f"<{cell.name}.{tree.name}, pushed>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # where a cell's text is read
    found: dict[str, Any] = {}
    exec(compile(text, file, "exec"), phase.forward.__globals__, found)
    return Phase(phase.gates, found[tree.name], phase.backward, phase.source, phase.between, names=phase.names)


def _makes(line: ast.stmt, name: str) -> bool:
    return isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name
