"""A cell that does not fit is refused when it is declared: one sentence with the cell, the function and the line."""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable
from typing import Any

import cell_runs
import pytest

import kernels.cells
from kernels.cells import Cell, CellError, Phase, Projection, cells
from kernels.gates import PROJECTED_LSTM, coupled_lstm, gru_before, lstm
from kernels.options import zoneout_backward, zoneout_forward

# ruff: noqa: F821
# mypy: ignore-errors


def forward(a_f, a_g, c_prev, sigmoid, tanh, one):
    f = sigmoid(a_f)
    g = tanh(a_g)
    c = f * c_prev + (one - f) * g
    h = tanh(c)
    return f, g, c, h


def backward(dh, dc, f, g, c_prev, h, one):
    dc = dc + dh * (one - h * h)
    da_g = dc * (one - f) * (one - g * g)
    da_f = dc * (c_prev - g) * f * (one - f)
    dc_prev = dc * f
    return da_f, da_g, dc_prev


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.cells, "_CELLS", dict(kernels.cells._CELLS))


def test_the_cell_that_the_cases_spoil_is_right() -> None:
    assert declare(forward, backward).states == ("h", "c")


def declare(forward: Any, backward: Any, gates: Any = "fg", act: str = "tanh", **options: Any) -> Cell:
    return Cell("spoilt", Phase(gates, forward, backward, **options), act=act)


def line(function: Callable[..., Any], text: str) -> str:
    """How a message names the line of a function that holds this text."""
    source, first = inspect.getsourcelines(function)
    number = next(k for k, words in enumerate(source) if text in words)
    return f"function {function.__name__!r} (test_cell_errors.py, line {first + number})"


def check(words: str, where: str, declared: Callable[[], Any]) -> None:
    with pytest.raises(CellError) as caught:
        declared()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"cell 'spoilt', {where}: "), message
    assert words in message, message


# -- forward functions that are no arithmetic of names ----------------------------------------------------------------


def gate_not_returned(a_f, a_g, c_prev, sigmoid, tanh, one):
    f = sigmoid(a_f)
    g = tanh(a_g)
    c = f * c_prev + (one - f) * g
    h = tanh(c)
    return f, c, h  # here


def returns_an_expression(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f)
    g = tanh(a_g)
    c = f * c_prev
    return f, g, c, tanh(c)  # here


def returns_twice(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f)
    c = f * c_prev
    h = tanh(a_g)
    return f, h, c, h  # here


def returns_nothing(a_f, sigmoid):
    f = sigmoid(a_f)  # here  # noqa: F841


def returns_what_has_no_value(a_f, a_g, sigmoid):
    f = sigmoid(a_f)
    return f, g  # here


def has_a_branch(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f)
    if f > 0:  # here
        f = f * f
    return f


def has_a_loop(a_f, sigmoid):
    f = a_f
    for _ in range(3):  # here
        f = sigmoid(f)
    return f


def has_a_power(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f) ** 2  # here
    return f


def has_an_attribute(a_f, a_g):
    f = a_f.sum()  # here
    return f


def takes_two(a_f, a_g, sigmoid):
    f, g = sigmoid(a_f), a_g  # here
    return f, g


def adds_in_place(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f)
    f += c_prev  # here
    return f


def writes_into_an_array(a_f, a_g, c_prev, sigmoid, tanh):
    c_prev[0] = a_f  # here
    return c_prev


SCALE = 2.0


def sees_a_global(a_f, a_g, c_prev, sigmoid, tanh):
    f = sigmoid(a_f * SCALE)  # here
    return f


def forgets_to_ask_for_a_function(a_f, a_g, c_prev):
    f = sigmoid(a_f)  # here
    return f


def calls_what_is_not_there(a_f, a_g, c_prev):
    f = softmax(a_f)  # here
    return f


def calls_with_too_many(a_f, a_g, sigmoid):
    f = sigmoid(a_f, a_g)  # here
    return f


def uses_a_function_as_a_number(a_f, sigmoid):
    f = a_f * sigmoid  # here
    return f


def renames_a_function(a_f, tanh):
    tanh = a_f * a_f  # here
    return tanh


def has_a_default(a_f, a_g, scale=2.0):  # here
    f = a_f * scale
    return f


def has_stars(*a_f):  # here
    return a_f


async def is_asynchronous(a_f):  # here
    return a_f


def misspells(a_f, a_g, c_prv, sigmoid, tanh, one):  # here
    f = sigmoid(a_f)
    g = tanh(a_g)
    c = f * c_prv + (one - f) * g
    h = tanh(c)
    return f, g, c, h


def asks_for_a_state_that_nobody_makes(a_f, a_g, n_prev, tanh):  # here
    f = tanh(a_f)
    g = f * n_prev
    h = g + tanh(a_g)
    return f, g, h


def makes_no_h(a_f, a_g, c_prev, tanh):  # here
    f = tanh(a_f)
    g = tanh(a_g)
    c = f * c_prev + g
    return f, g, c


def mixes_sum_and_parts(a_f, x_f, a_g, tanh):  # here
    f = tanh(a_f + x_f)
    g = tanh(a_g)
    h = f * g
    return f, g, h


def forgets_the_hidden_part(x_f, a_g, tanh):  # here
    f = tanh(x_f)
    g = tanh(a_g)
    h = f * g
    return f, g, h


def forgets_a_gate(a_f, tanh):  # here
    f = tanh(a_f)
    g = f * f
    h = f * g
    return f, g, h


def returns_an_argument_name(a_f, a_g, tanh):
    f = tanh(a_f)
    g = tanh(a_g)
    p_h = f * g
    h = p_h
    return f, g, h, p_h  # here


def calls_with_names(a_f, a_g, sigmoid):
    f = sigmoid(x=a_f)  # here
    return f


def has_a_number_out_of_range(a_f, a_g, sigmoid):
    f = sigmoid(a_f) * 1e39  # here
    return f


def has_a_long_integer(a_f, a_g, sigmoid):
    f = sigmoid(a_f) * 100000000000000000000  # here
    return f


def returns_an_empty_tuple(a_f, sigmoid):
    f = sigmoid(a_f)  # noqa: F841
    return ()  # here


def asks_for_a_gradient(a_f, a_g, dh, tanh):  # here
    f = tanh(a_f)
    g = tanh(a_g)
    h = f * g * dh
    return f, g, h


FORWARD = {
    calls_with_names: "`sigmoid(x=a_f)` has arguments by name; write sigmoid(x), without them",
    has_a_number_out_of_range: "`1e+39` is a number that float32 does not hold",
    has_a_long_integer: "`100000000000000000000` is a long integer; write it with a point",
    returns_an_empty_tuple: "the last line must return names",
    asks_for_a_gradient: "'dh' is a gradient: backward alone can ask for it",
    gate_not_returned: "gate 'g' is not returned; got f, c, h",
    returns_an_expression: "the last line must return names",
    returns_twice: "'h' is returned twice",
    returns_nothing: "the last line must return names",
    returns_what_has_no_value: "'g' is returned but has no value",
    has_a_branch: "`if f > 0:` is not arithmetic",
    has_a_loop: "`for _ in range(3):` is not arithmetic",
    has_a_power: "`sigmoid(a_f) ** 2` has no compiled form; use + - * /",
    has_an_attribute: "`a_f.sum(...)` has no compiled form",
    takes_two: "is not arithmetic; only lines `name = expression`",
    adds_in_place: "`f += c_prev` writes in place; write `name = expression`",
    writes_into_an_array: "`c_prev[0] = a_f` writes in place",
    sees_a_global: "'SCALE' is a free variable; a gate function sees its arguments only",
    forgets_to_ask_for_a_function: "`sigmoid(...)` has no compiled form; ask for 'sigmoid' as an argument",
    calls_what_is_not_there: "`softmax(...)` has no compiled form; there are sigmoid, tanh",
    calls_with_too_many: "'sigmoid' takes 1 argument(s), got 2",
    uses_a_function_as_a_number: "'sigmoid' is a function; call it",
    renames_a_function: "'tanh' is a name of the library",
    has_a_default: "expected plain arguments by name",
    has_stars: "expected plain arguments by name",
    is_asynchronous: "a gate function is written with `def`",
    misspells: "'c_prv' is no name of this cell; did you mean 'c_prev'?",
    asks_for_a_state_that_nobody_makes: "'n_prev' is asked for, but no phase returns the state 'n'",
    makes_no_h: "no phase returns the hidden state h",
    mixes_sum_and_parts: "gate 'f': ask for 'a_f', or for both its parts 'x_f' and 'h_f'",
    forgets_the_hidden_part: "gate 'f': ask for 'a_f', or for both its parts 'x_f' and 'h_f'",
    forgets_a_gate: "gate 'g': ask for 'a_g', or for both its parts",
    returns_an_argument_name: "forward cannot return 'p_h': that name says where an argument lies",
}


@pytest.mark.parametrize("function", FORWARD, ids=lambda function: function.__name__)
def test_forward_functions(function: Any) -> None:
    source = inspect.getsource(function)
    where = line(function, "# here" if "# here" in source else "def ")
    check(FORWARD[function], where, lambda: declare(function, backward))


# -- backward functions -----------------------------------------------------------------------------------------------


def forgets_a_gradient(dh, dc, f, g, c_prev, h, one):
    dc = dc + dh * (one - h * h)
    da_g = dc * (one - f) * (one - g * g)
    dc_prev = dc * f
    return da_g, dc_prev  # here


def forgets_a_state(dh, dc, f, g, c_prev, h, one):  # here
    dc = dc + dh * (one - h * h)
    da_g = dc * (one - f) * (one - g * g)
    da_f = dc * (c_prev - g) * f * (one - f)
    return da_f, da_g


def gives_two(dh, dc, f, g, c_prev, one):
    da_f = dh * one
    da_g = da_f
    dx_g = da_g
    dh_g = da_g
    dc_prev = dc * f
    return da_f, da_g, dx_g, dh_g, dc_prev  # here


def gives_one_part(dh, dc, f, g, c_prev, one):
    da_f = dh * one
    dx_g = da_f
    dc_prev = dc * f
    return da_f, dx_g, dc_prev  # here


def gives_parts_that_nobody_asked_for(dh, dc, f, g, c_prev, one):
    da_f = dh * one
    dx_g = da_f
    dh_g = da_f
    dc_prev = dc * f
    return da_f, dx_g, dh_g, dc_prev  # here


def gives_the_gradient_of_nothing(dh, dc, f, g, c_prev, one):
    da_f = dh * one
    da_q = da_f
    dc_prev = dc * f
    return da_f, da_q, dc_prev  # here


def misspells_backward(dh, dc, f, g, c_prv, one):  # here
    da_f = dh * c_prv
    da_g = da_f
    dc_prev = dc * f
    return da_f, da_g, dc_prev


def asks_for_what_nobody_gives(dh, dc, dg, f, g, one):  # here
    da_f = dh * one
    da_g = dg
    dc_prev = dc * f
    return da_f, da_g, dc_prev


def has_a_comparison_of_three(dh, dc, f, g, one, zero):
    da_f = dh * (zero < f < one)  # here
    return da_f


def gives_what_forward_did_not_ask_for(dh, dc, f, c_prev, one):
    da_f = dh * one
    da_g = da_f
    dc_prev = dc * f
    dh_prev = dh * f
    return da_f, da_g, dc_prev, dh_prev  # here


def drops_the_gradient_of_a_state(dh, f, g, c_prev, h, one):  # here
    da_g = dh * (one - f) * (one - g * g)
    da_f = dh * (c_prev - g) * f * (one - f)
    dc_prev = dh * f
    return da_f, da_g, dc_prev


BACKWARD = {
    gives_what_forward_did_not_ask_for: "'dh_prev' is returned, but forward does not ask for 'h_prev'",
    drops_the_gradient_of_a_state: "the state 'c' gets a gradient from the next step; backward must ask for 'dc'",
    forgets_a_gradient: "gate 'f' needs one gradient and has none; backward must return 'da_f', or 'dx_f' and 'dh_f'",
    forgets_a_state: "c_prev is asked for in forward, but no backward returns dc_prev",
    gives_two: "gate 'g' needs one gradient and has more",
    gives_one_part: "gate 'g' needs one gradient and has that of one part",
    gives_parts_that_nobody_asked_for: "backward returns 'dx_g' and 'dh_g', but forward does not ask for its parts",
    gives_the_gradient_of_nothing: "'da_q' is returned, but it is the gradient of nothing in this cell; did you mean",
    misspells_backward: "'c_prv' is no name of this cell; did you mean 'c_prev'?",
    asks_for_what_nobody_gives: "'dg' is asked for, but no later phase gives the gradient of 'g'",
    has_a_comparison_of_three: "`zero < f < one` has no compiled form",
}


@pytest.mark.parametrize("function", BACKWARD, ids=lambda function: function.__name__)
def test_backward_functions(function: Any) -> None:
    where = line(function, "# here")
    check(BACKWARD[function], where, lambda: declare(forward, function))


def with_peephole(a_f, a_g, p_f, c_prev, sigmoid, tanh, one):
    f = sigmoid(a_f + p_f * c_prev)
    g = tanh(a_g)
    c = f * c_prev + (one - f) * g
    h = tanh(c)
    return f, g, c, h


def test_a_weight_without_a_gradient() -> None:
    words = "weight 'p_f' needs one gradient 'dp_f' among backward's results, got 0"
    check(words, line(with_peephole, "def "), lambda: declare(with_peephole, backward))


# -- phases -----------------------------------------------------------------------------------------------------------


def test_gates() -> None:
    here = line(forward, "def ")
    check("two gates are called 'f'", here, lambda: declare(forward, backward, "ff"))
    check("a gate cannot be called 'tanh'", here, lambda: declare(forward, backward, ["tanh", "f", "g"]))
    check("a gate cannot be called '+'", here, lambda: declare(forward, backward, "+g"))
    check("expected at least one gate", here, lambda: declare(forward, backward, ""))


def test_what_is_no_function_with_a_source() -> None:
    with pytest.raises(
        CellError, match=r"cell 'spoilt', function '<lambda>' \(test_cell_errors.py, line \d+\): .*lambda"
    ):
        declare(lambda a_f: a_f, backward)
    with pytest.raises(CellError, match="cell 'spoilt': a gate function is written with `def`, got a int"):
        declare(3, backward)
    around = functools.wraps(forward)(lambda *values: forward(*values))
    with pytest.raises(CellError, match=r"'forward' \(.*line \d+\): .* got a function around another"):
        declare(around, backward)
    space: dict[str, Any] = {}
    exec("def from_text(a_f):\n    return a_f\n", space)
    with pytest.raises(CellError, match="cell 'spoilt': the source of 'from_text' cannot be read"):
        declare(space["from_text"], backward)


def test_sources() -> None:
    here = line(forward, "def ")
    words = "phase 1 (f, g) has the source 'reset_h', which no phase before it returns"
    check(words, here, lambda: declare(forward, backward, source="reset_h"))
    check("source: expected 'h_prev'", here, lambda: declare(forward, backward, source=3))
    words = "a phase without gates multiplies nothing, so it has no source; got 'c'"
    check(words, here, lambda: Cell("spoilt", Phase("fg", forward, backward), Phase("", forward, backward, "c")))
    words = "between: expected two functions"
    check(words, here, lambda: declare(forward, backward, between=(1, 2)))

    def two() -> Cell:
        first = Phase("rz", gru_before.gates_forward, gru_before.gates_backward)
        return Cell("spoilt", first, Phase("n", gru_before.output_forward, gru_before.output_backward, "reset_g"))

    with pytest.raises(
        CellError, match=r"function 'output_forward' \(gru_before.py, line \d+\): .*did you mean 'reset_h'\?"
    ):
        two()


def gates_forward(a_r, a_z, h_prev, sigmoid):
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    past = r * h_prev
    return r, z, past


def gates_backward(dpast, dz, r, z, h_prev, one):
    da_r = dpast * h_prev * r * (one - r)
    da_z = dz * z * (one - z)
    dh_prev = dpast * r
    return da_r, da_z, dh_prev


def output_forward(a_n, z, h_prev, tanh, one):
    n = tanh(a_n)
    h = z * h_prev + (one - z) * n
    return n, h


def output_backward(dh, n, z, h_prev, one):
    da_n = dh * (one - z) * (one - n * n)
    dz = dh * (h_prev - n)
    dh_prev = dh * z
    return da_n, dz, dh_prev


def without_dz(dh, n, z, one):
    da_n = dh * (one - z) * (one - n * n)
    dh_prev = dh * z
    return da_n, dh_prev  # here


def deaf_to_dz(dpast, r, z, h_prev, one):  # here
    da_r = dpast * h_prev * r * (one - r)
    da_z = da_r
    dh_prev = dpast * r
    return da_r, da_z, dh_prev


def deaf_to_its_product(dz, r, z, h_prev, one):  # here
    da_z = dz * z * (one - z)
    da_r = da_z
    dh_prev = dz * r
    return da_r, da_z, dh_prev


def asks_for_a_later_value(a_r, a_z, n, h_prev, sigmoid):  # here
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    past = r * h_prev * n
    return r, z, past


def test_what_one_phase_sends_back_the_other_takes() -> None:
    def two(first: Any = gates_forward, back: Any = gates_backward, second: Any = output_backward) -> Cell:
        return Cell("spoilt", Phase("rz", first, back), Phase("n", output_forward, second, source="past"))

    assert two().gates == ("r", "z", "n")
    words = "forward asks for 'z' of an earlier phase, so backward must return 'dz'"
    check(words, line(without_dz, "# here"), lambda: two(back=deaf_to_dz, second=without_dz))
    words = "a later phase sends back the gradient of 'z', so backward must ask for 'dz'"
    check(words, line(deaf_to_dz, "# here"), lambda: two(back=deaf_to_dz))
    words = "a later phase sends back the gradient of 'past', so backward must ask for 'dpast'"
    check(words, line(deaf_to_its_product, "# here"), lambda: two(back=deaf_to_its_product))
    words = "'n' is a value of a later phase, or of this one"
    check(words, line(asks_for_a_later_value, "# here"), lambda: two(first=asks_for_a_later_value))


def test_parts_need_a_product() -> None:
    def f_in_parts(x_h, h_h, tanh):
        h = tanh(x_h + h_h)
        return h

    words = "the phase has no product (source=None), so gate 'h' has no two parts; ask for 'a_h'"
    check(words, line(f_in_parts, "def "), lambda: declare(f_in_parts, backward, "h", source=None))


def test_a_projection() -> None:
    with pytest.raises(CellError, match="expected one Phase or several, and at most one Projection"):
        Cell("spoilt", Projection("m"))
    with pytest.raises(CellError, match=r"function 'forward' \(lstm.py.*the projection makes h"):
        Cell("spoilt", Phase("ifgo", lstm.forward, lstm.backward), Projection("c"))
    phase = PROJECTED_LSTM.phases[0]
    with pytest.raises(CellError, match="the projection has the source 'q', which no phase before it returns"):
        Cell("spoilt", phase, Projection("q"))
    with pytest.raises(CellError, match="the projection makes h, which has units of its own"):
        Cell("spoilt", phase, Projection("m"), Phase("", coupled_lstm.forward, coupled_lstm.backward))


def test_a_new_value_sends_its_gradient_to_the_old_one() -> None:
    def doubled(h, one):
        h = (one + one) * h
        return h

    def forgets(dh, one):
        dg = dh * one
        return dg

    check(
        "forward gives 'h' a new value; backward must return 'dh'",
        line(forgets, "return dg"),
        lambda: Cell("spoilt", Phase("fg", forward, backward), Phase("", doubled, forgets)),
    )


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken() -> None:
    where = line(forward, "def ")
    with pytest.raises(CellError) as caught:
        Cell("lstm", Phase("fg", forward, backward))
    assert str(caught.value).startswith(f"cell 'lstm', {where}: the name is taken; choose another")
    assert cells()["lstm"] is lstm.LSTM


def test_names_and_values_that_cannot_be() -> None:
    for name in ("two words", "a__b", 3):
        with pytest.raises(CellError, match="cell: expected a name of letters, digits and single _"):
            Cell(name, Phase("fg", forward, backward))
    with pytest.raises(CellError, match="act: expected 'tanh' or 'relu', got 'sine'"):
        Cell("spoilt", Phase("fg", forward, backward), act="sine")
    with pytest.raises(CellError, match="initial: 'p_q' is no weight of this cell"):
        Cell("spoilt", Phase("fg", forward, backward), initial={"p_q": 1.0})
    zone = Phase("", zoneout_forward, zoneout_backward, None, names={"S": "h"})
    with pytest.raises(CellError, match="'k_zone_h' is asked for, but names k_X belong to the options"):
        Cell("spoilt", Phase("ifgo", lstm.forward, lstm.backward), zone)


def test_a_refused_cell_leaves_its_name_free() -> None:
    for _ in range(2):
        with pytest.raises(CellError):
            Cell("spoilt", Phase("fg", gate_not_returned, backward))
    assert "spoilt" not in cells()


def test_a_function_that_is_written_anew_replaces_its_cell() -> None:
    """As where the cell of a notebook runs again."""
    sources = set()
    for scale in ("one", "one + one"):
        body = inspect.getsource(forward).replace("h = tanh(c)", f"h = tanh(c) * ({scale})")
        space = notebook_cell(body + "\n" + inspect.getsource(backward), scale)
        sources.add(Cell("spoilt", Phase("fg", space["forward"], space["backward"])).source)
    assert len(sources) == 2
    again = declare(space["forward"], space["backward"])  # the declaration alone, run once more
    assert cells()["spoilt"] is again
    with pytest.raises(CellError, match="the name is taken"):
        declare(space["forward"], space["backward"], act="relu")
    with pytest.raises(CellError, match="the name is taken"):
        Cell("spoilt", Phase("fg", forward, backward))


def notebook_cell(text: str, name: str) -> dict[str, Any]:
    """Run the text as a notebook does: no file, but lines that tracebacks can show."""
    file = f"<ipython-input-{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), space)
    return space


def test_a_state_may_be_called_p_or_k() -> None:
    def to(a_f, p_prev, k_prev, tanh):
        f = tanh(a_f)
        p = f + p_prev
        k = f * k_prev
        h = p * k
        return f, h, p, k

    def back(dh, dp, dk, f, p, k, k_prev, one):
        dp = dp + dh * k  # h = p * k
        dk = dk + dh * p  # h = p * k
        df = dp + dk * k_prev  # p = f + p_prev, k = f * k_prev
        dp_prev = dp * one  # p = f + p_prev
        dk_prev = dk * f  # k = f * k_prev
        da_f = df * (one - f * f)  # f = tanh(a_f)
        return da_f, dp_prev, dk_prev

    cell = declare(to, back, "f")
    assert (cell.states, cell.own) == (("h", "p", "k"), ())
    assert max(cell_runs.worst(cell_runs.problem(cell), "complex").values()) <= 1e-13


def test_values_that_are_the_same_in_every_row() -> None:
    """A value of weights alone, a gradient that is 0, and a result in brackets are what they are in compiled code."""

    def to(a_f, p_scale, c_prev, exp, one):
        scale = exp(p_scale)
        f = a_f * scale
        c = one + one
        h = f + c_prev
        return f, c, h, scale

    def back(dh, a_f, scale, zero):
        da_f = dh * scale  # f = a_f * scale
        dp_scale = dh * a_f * scale  # scale = exp(p_scale)
        dc_prev = dh  # h = f + c_prev
        return (da_f, dp_scale, dc_prev)

    def bracketed(dh, zero):
        da_h = zero
        return (da_h,)

    def numbers(a_h, one):
        h = one
        return h

    cell = declare(to, back, "f")
    assert max(cell_runs.worst(cell_runs.problem(cell), "complex").values()) <= 1e-13
    cell = Cell("constant", Phase(["h"], numbers, bracketed))
    assert not cell_runs.gradients(cell_runs.problem(cell, lengths=cell_runs.LENGTHS))["x"].any()
