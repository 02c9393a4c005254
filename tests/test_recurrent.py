"""What recurrent layers promise beyond the numbers: state, lengths, pads, tapes, dropout, first values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, KERNELS, build, distance, leaves, passes, random_arguments
from hypothesis import given, settings
from hypothesis import strategies as st

import engine

both_sets = pytest.mark.parametrize("kernel_set", KERNELS)
every_kind = pytest.mark.parametrize("kind", FIVE_CELLS)


def one_row(arguments: tuple[Any, ...], row: int, length: int) -> tuple[Any, ...]:
    """The arguments of one row alone, cut to its length; time-major."""
    x, state, dy, dstate = arguments

    def part(value: Any) -> Any:
        return tuple(map(part, value)) if isinstance(value, tuple) else value[:, row : row + 1]

    return x[:length, row : row + 1], part(state), dy[:length, row : row + 1], part(dstate)


# -- lengths and pads (rules 6 to 10) --------------------------------------------------------------------------------


@every_kind
@both_sets
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_batch_of_mixed_lengths_is_its_rows_one_by_one(kind: str, kernel_set: str, bidirectional: bool) -> None:
    """The oracle for lengths, 0 included: each row alone, cut to its own length."""
    T, lengths = 6, [6, 0, 3, 1, 5]
    layer = build(kind, 3, 4, 2, bidirectional=bidirectional, backend=f"numpy:{kernel_set}")
    arguments = random_arguments(layer, T, len(lengths), 11)
    found = passes(layer, *arguments, lengths)
    totals = {name: np.zeros_like(grad) for name, grad in layer.grads.items()}
    for row, length in enumerate(lengths):
        x, state, dy, dstate = one_row(arguments, row, length)
        if length == 0:  # output 0, state and gradient pass straight through (rule 9)
            alone = {"y": np.zeros((0, 1, dy.shape[2])), "dx": np.zeros((0, 1, 3))}
            alone |= {f"last{k}": part for k, part in enumerate(leaves(state))}
            alone |= {f"dfirst{k}": part for k, part in enumerate(leaves(dstate))}
        else:
            alone = passes(layer, x, state, dy, dstate)
            for name in totals:
                totals[name] += alone[f"d{name}"]
        for name in ("y", "dx"):
            assert distance(found[name][:length, row : row + 1], alone[name]) <= 1e-12
            assert (found[name][length:, row] == 0).all()
        for name in alone:
            if name.startswith(("last", "dfirst")):
                assert distance(found[name][:, row : row + 1], alone[name]) <= 1e-12, name
    for name, total in totals.items():
        assert distance(found[f"d{name}"], total) <= 1e-12, name


@every_kind
@both_sets
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_stands_in_a_pad_reaches_nothing(kind: str, kernel_set: str, poison: float) -> None:
    layer = build(kind, 3, 4, 2, bidirectional=True, backend=f"numpy:{kernel_set}")
    x, state, dy, dstate = random_arguments(layer, 5, 4, 2)
    lengths = np.array([5, 2, 0, 3])
    clean = passes(layer, x, state, dy, dstate, lengths)
    pads = np.arange(5)[:, None] >= lengths
    x[pads], dy[pads] = poison, poison
    dirty = passes(layer, x, state, dy, dstate, lengths)
    for name, value in clean.items():
        np.testing.assert_array_equal(dirty[name], value, err_msg=name)
    assert (dirty["dx"][pads] == 0).all()
    np.testing.assert_array_equal(layer.predict(x, state, lengths)[0][pads], 0)


@every_kind
@both_sets
@settings(max_examples=min(20, settings().max_examples))
@given(extra=st.integers(1, 4), seed=st.integers(0, 1000), data=st.data())
def test_more_pads_or_another_order_of_rows_change_nothing(
    kind: str, kernel_set: str, extra: int, seed: int, data: st.DataObject
) -> None:
    T, B = 4, 3
    layer = build(kind, 2, 3, 2, bidirectional=True, backend=f"numpy:{kernel_set}")
    x, state, dy, dstate = random_arguments(layer, T, B, seed)
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B)))
    order = np.array(data.draw(st.permutations(range(B))))
    plain = passes(layer, x, state, dy, dstate, lengths)
    more = [np.concatenate([v, np.ones((extra, *v.shape[1:]))]) for v in (x, dy)]
    padded = passes(layer, more[0], state, more[1], dstate, lengths)
    rows = [tuple(p[:, order] for p in leaves(s)) if isinstance(s, tuple) else s[:, order] for s in (state, dstate)]
    moved = passes(layer, x[:, order], rows[0], dy[:, order], rows[1], lengths[order])
    for name, value in plain.items():
        wide = padded[name][:T] if name in ("y", "dx") else padded[name]
        assert distance(wide, value) <= 1e-12, name
        # a parameter's gradient is a sum over rows; all else has a row axis, which moves with the order
        placed = value if name not in ("y", "dx") and not name.startswith(("last", "dfirst")) else value[:, order]
        assert distance(moved[name], placed) <= 1e-12, name


@every_kind
@both_sets
def test_the_tape_shows_processing_order_and_t_plus_one_slots(kind: str, kernel_set: str) -> None:
    T, B, H = 5, 3, 4
    layer = build(kind, 2, H, 2, bidirectional=True, batch_first=True, backend=f"numpy:{kernel_set}")
    x, state, _, _ = random_arguments(layer, T, B, 3)
    lengths = [5, 2, 4]
    y, last, tape = layer.forward(x, state, lengths)
    h0, h_n = leaves(state)[0], leaves(last)[0]
    for number in range(2):
        for direction in range(2):
            record = tape.layers[number][direction]
            slot = 2 * number + direction
            assert record.h.shape == (T + 1, B, H)
            np.testing.assert_array_equal(record.h[0], h0[slot])
            np.testing.assert_array_equal(record.h[-1], h_n[slot])
            assert list(record.gates) == list(layer.cell.gates)
            assert all(gate.shape == (T, B, H) for gate in record.gates.values())
            if kind == "lstm":
                np.testing.assert_array_equal(record.c[0], state[1][slot])
                g, c = record.gates, record.c
                for row, length in enumerate(lengths):
                    s = slice(0, length)
                    c_next = g["f"][s, row] * c[:-1][s, row] + g["i"][s, row] * g["g"][s, row]
                    np.testing.assert_allclose(c[1:][s, row], c_next, rtol=1e-12)
            else:
                assert record.c is None
    top = tape.layers[1]
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(y[row, :length, :H], top[0].h[1 : length + 1, row])
        np.testing.assert_array_equal(y[row, :length, H:], top[1].h[1 : length + 1, row][::-1])


# -- state (rules 7, 11) ---------------------------------------------------------------------------------------------


@every_kind
@both_sets
def test_chunks_with_a_carried_state_equal_one_pass(kind: str, kernel_set: str) -> None:
    layer = build(kind, 3, 5, 2, backend=f"numpy:{kernel_set}")
    x, state, dy, dstate = random_arguments(layer, 9, 4, 5)
    whole = passes(layer, x, state, dy, dstate)
    layer.zero_grad()
    tapes, carried, outputs = [], state, []
    for start, stop in ((0, 2), (2, 7), (7, 9)):
        y, carried, tape = layer.forward(x[start:stop], carried)
        outputs.append(y)
        tapes.append((start, stop, tape))
    assert distance(np.concatenate(outputs), whole["y"]) <= 1e-13
    dcarried = dstate
    for start, stop, tape in reversed(tapes):
        dx, dcarried = layer.backward(tape, dy[start:stop], dcarried)
        assert distance(dx, whole["dx"][start:stop]) <= 1e-12
    for k, part in enumerate(leaves(dcarried)):
        assert distance(part, whole[f"dfirst{k}"]) <= 1e-12
    for name, grad in layer.grads.items():
        assert distance(grad, whole[f"d{name}"]) <= 1e-12


@every_kind
@both_sets
def test_predict_is_forward_without_dropout_over_more_steps_than_one_chunk(kind: str, kernel_set: str) -> None:
    layer = build(kind, 2, 3, 2, bidirectional=True, dropout=0.5, backend=f"numpy:{kernel_set}")
    x, state, _, _ = random_arguments(layer, 150, 3, 6)
    for lengths in (None, [150, 70, 0]):
        y, last, _ = layer.forward(x, state, lengths, training=False)
        found, found_last = layer.predict(x, state, lengths)
        assert distance(found, y) <= 1e-13
        for one, other in zip(leaves(found_last), leaves(last), strict=True):
            assert distance(one, other) <= 1e-13


@every_kind
def test_no_state_is_zeros_and_its_gradient_is_returned(kind: str) -> None:
    layer = build(kind, 2, 3, 2)
    x, state, dy, dstate = random_arguments(layer, 4, 3, 7)
    zeros = tuple(np.zeros_like(p) for p in state) if isinstance(state, tuple) else np.zeros_like(state)
    given_zeros, given_none = passes(layer, x, zeros, dy, dstate), passes(layer, x, None, dy, dstate)
    for name, value in given_zeros.items():
        np.testing.assert_array_equal(given_none[name], value)
    assert np.abs(given_none["dfirst0"]).max() > 0


@every_kind
@both_sets
def test_missing_gradients_are_zeros(kind: str, kernel_set: str) -> None:
    layer = build(kind, 2, 3, 2, bidirectional=True, backend=f"numpy:{kernel_set}")
    x, state, dy, dstate = random_arguments(layer, 4, 3, 8)
    zero = tuple(np.zeros_like(p) for p in dstate) if isinstance(dstate, tuple) else np.zeros_like(dstate)
    pairs = [((None, dstate), (np.zeros_like(dy), dstate)), ((dy, None), (dy, zero))]
    if kind == "lstm":
        pairs.append(((dy, (dstate[0], None)), (dy, (dstate[0], zero[1]))))
        pairs.append(((dy, (None, dstate[1])), (dy, (zero[0], dstate[1]))))
    for with_none, with_zeros in pairs:
        found, wanted = passes(layer, x, state, *with_none), passes(layer, x, state, *with_zeros)
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)
    nothing = passes(layer, x, state, None, None)
    assert all((value == 0).all() for name, value in nothing.items() if name.startswith("d"))


# -- tapes -----------------------------------------------------------------------------------------------------------


@every_kind
@both_sets
def test_backward_only_reads_and_adds(kind: str, kernel_set: str) -> None:
    layer = build(kind, 3, 4, 2, bidirectional=True, dropout=0.3, backend=f"numpy:{kernel_set}")
    x, state, dy, dstate = random_arguments(layer, 5, 3, 9)
    _, _, tape = layer.forward(x, state, [5, 3, 4])
    frozen = [
        (a, a.copy())
        for a in [x, dy, *leaves(state), *leaves(dstate)]
        + [b for d in sum(tape.layers, ()) for b in (d.x, *d.run.states, d.run.gates, *d.run.kept.values())]
    ]
    dx, dfirst = layer.backward(tape, dy, dstate)
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    arrays = dict(layer.grads)
    again, dfirst_again = layer.backward(tape, dy, dstate)
    np.testing.assert_array_equal(again, dx)
    for one, other in zip(leaves(dfirst_again), leaves(dfirst), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, grad in layer.grads.items():
        assert grad is arrays[name]
        np.testing.assert_array_equal(grad, 2 * once[name])
    for array, before in frozen:
        np.testing.assert_array_equal(array, before)
    trace = layer.backward_trace(tape, dy, dstate)
    for name, grad in layer.grads.items():
        np.testing.assert_array_equal(grad, 2 * once[name])
        np.testing.assert_array_equal(trace.grads[name], once[name])
    np.testing.assert_array_equal(trace.dx, dx)


@every_kind
@both_sets
def test_two_forwards_before_a_backward_and_scribbling_on_x_and_y(kind: str, kernel_set: str) -> None:
    layer = build(kind, 3, 4, 1, backend=f"numpy:{kernel_set}")
    one, two = random_arguments(layer, 5, 3, 1), random_arguments(layer, 6, 2, 2)
    wanted = [passes(layer, *arguments) for arguments in (one, two)]
    y1, last1, tape1 = layer.forward(one[0], one[1])
    y2, _, tape2 = layer.forward(two[0], two[1])
    for array in (one[0], two[0], y1, y2, *leaves(one[1]), *leaves(last1)):
        array[...] = 777.0
    for tape, arguments, values in ((tape2, two, wanted[1]), (tape1, one, wanted[0])):
        layer.zero_grad()
        dx, _ = layer.backward(tape, arguments[2], arguments[3])
        np.testing.assert_array_equal(dx, values["dx"])
        for name, grad in layer.grads.items():
            np.testing.assert_array_equal(grad, values[f"d{name}"])


def test_backward_after_a_change_of_the_parameters_is_an_error() -> None:
    for change in ("load", "in place", "swap", "step"):
        layer = build("gru", 2, 3)
        x, state, dy, dstate = random_arguments(layer, 3, 2)
        _, _, tape = layer.forward(x, state)
        if change == "load":
            layer.load_state_dict({name: value + 0.1 for name, value in layer.state_dict().items()})
        elif change == "swap":
            weight = layer.params["weight_hh_l0"]
            weight[[0, 1]] = weight[[1, 0]]
        elif change == "in place":
            layer.params["weight_hh_l0"][2, 1] += 1e-9
        else:
            layer.backward(tape, dy, dstate)
            engine.SGD(layer, lr=0.1).step()
        with pytest.raises(engine.EngineError, match=r"tape: expected parameters as they were.*run forward again"):
            layer.backward(tape, dy, dstate)


def test_a_weight_moved_and_put_back_is_no_change() -> None:
    """As finite differences do between a forward and its backward."""
    layer = build("lstm", 2, 3)
    x, state, dy, dstate = random_arguments(layer, 3, 2)
    _, _, tape = layer.forward(x, state)
    weight = layer.params["weight_ih_l0"]
    before = weight[1, 1]
    weight[1, 1] += 0.1
    layer.predict(x, state)
    weight[1, 1] = before
    layer.backward(tape, dy, dstate)


def test_the_trace_holds_the_adjoints_of_every_step() -> None:
    """dh[t] is what backward returns as the state's gradient when it starts from step t."""
    layer = build("lstm", 3, 4)
    x, state, dy, dstate = random_arguments(layer, 5, 2, 4)
    _, _, tape = layer.forward(x, state)
    trace = layer.backward_trace(tape, dy, dstate).layers[0][0]
    for t in range(5):
        carried = state
        if t:
            _, carried, _ = layer.forward(x[:t], state)
        _, _, rest = layer.forward(x[t:], carried)
        _, (dh, dc) = layer.backward(rest, dy[t:], dstate)
        direct = dy[t - 1] if t else 0.0  # h[t] is also the output of step t-1
        assert distance(trace.dh[t], dh[0] + direct) <= 1e-12
        if t == 0:
            assert distance(trace.dc[0], dc[0]) <= 1e-12
    o, c = tape.layers[0][0].gates["o"], tape.layers[0][0].c
    slope = trace.dh[5] * o[4] * (1 - np.tanh(c[5]) ** 2)
    assert distance(trace.dc[5], dstate[1][0] + slope) <= 1e-12


# -- dropout between layers (rule 14) --------------------------------------------------------------------------------


def test_dropout_is_inverted_between_layers_only_and_fresh_each_step_and_call() -> None:
    layer = build("rnn_relu", 3, 40, 3, dropout=0.25)
    x, state, _, _ = random_arguments(layer, 6, 4, 3)
    _, _, tape = layer.forward(x, state)
    assert tape.masks[0] is None
    for mask in tape.masks[1:]:
        assert mask.shape == (6, 4, 40)
        assert set(np.unique(mask)) == {0.0, 1 / 0.75}
        assert abs((mask == 0).mean() - 0.25) < 0.05
        assert not np.array_equal(mask[0], mask[1])
    assert not np.array_equal(tape.masks[1], tape.masks[2])
    assert layer.call_counter == 1
    _, _, other = layer.forward(x, state)
    assert not np.array_equal(tape.masks[1], other.masks[1])
    layer.call_counter = 0
    _, _, again = layer.forward(x, state)
    np.testing.assert_array_equal(tape.masks[1], again.masks[1])
    y, _, quiet = layer.forward(x, state, training=False)
    assert quiet.masks == (None, None, None)
    assert layer.call_counter == 1
    assert distance(layer.predict(x, state)[0], y) <= 1e-13


def test_a_shard_of_rows_draws_the_masks_of_its_own_rows() -> None:
    layer = build("gru", 3, 8, 2, dropout=0.5)
    x, state, _, _ = random_arguments(layer, 4, 6, 3)
    _, _, whole = layer.forward(x, state)
    shard = layer.to()
    shard.call_counter, shard.row_offset = 0, 2
    _, _, part = shard.forward(x[:, 2:5], state[:, 2:5])
    np.testing.assert_array_equal(part.masks[1], whole.masks[1][:, 2:5])


def test_variational_dropout_draws_one_mask_a_sequence() -> None:
    layer = build("lstm", 3, 8, 2, dropout=0.5, variational=True)
    x, state, _, _ = random_arguments(layer, 5, 3, 3)
    _, _, tape = layer.forward(x, state)
    mask = tape.masks[1]
    assert 0 < (mask == 0).mean() < 1
    assert all(np.array_equal(mask[0], step) for step in mask)


def test_an_infinite_unit_that_is_dropped_is_zero() -> None:
    layer = build("rnn_relu", 2, 3, 2, dropout=1.0)
    x, state, dy, _ = random_arguments(layer, 1, 2)
    layer.params["bias_ih_l0"][...] = np.inf
    y, _, tape = layer.forward(x, state)
    assert np.isfinite(y).all()
    assert (tape.layers[1][0].x == 0).all()
    dx, _ = layer.backward(tape, dy)
    assert (dx == 0).all()


# -- first values (rule 4) -------------------------------------------------------------------------------------------


def test_weights_start_uniform_and_the_forget_gate_open() -> None:
    H = 16
    layer = engine.LSTM(5, H, 2, forget_bias=2.5, dtype="float64", seed=3)
    for name, value in layer.params.items():
        block = slice(H, 2 * H)
        if name.startswith("bias"):
            np.testing.assert_array_equal(value[block], 2.5 if name.startswith("bias_ih") else 0.0)
            value = np.delete(value, np.arange(H, 2 * H))
        assert np.abs(value).max() <= 1 / np.sqrt(H)
        assert value.min() < -0.15
        assert value.max() > 0.15
        assert abs(value.mean()) < 0.1
    same, other = engine.LSTM(5, H, 2, forget_bias=2.5, dtype="float64", seed=3), engine.LSTM(5, H, 2, seed=4)
    for name, value in layer.params.items():
        np.testing.assert_array_equal(same.params[name], value)
        assert not np.array_equal(other.params[name], value.astype(np.float32))
    np.testing.assert_array_equal(engine.GRU(2, 3).params["bias_hh_l0"], engine.GRU(2, 3, seed=0).params["bias_hh_l0"])


# -- bad input -------------------------------------------------------------------------------------------------------

x32 = np.ones((4, 3, 2), np.float32)
masked = np.ma.MaskedArray(x32)
REFUSED = [
    ("x", {"x": np.ones((4, 2), np.float32)}, "x: expected shape (any, any, 2) (T, B, D), got shape (4, 2)"),
    ("x", {"x": np.ones((4, 3, 5), np.float32)}, "x: expected shape (any, any, 2) (T, B, D), got shape (4, 3, 5)"),
    ("x", {"x": np.ones((4, 3, 2))}, "x: expected dtype float32, got dtype float64; use x.astype('float32')"),
    ("x", {"x": np.ones((4, 3, 2), np.int64)}, "x: expected dtype float32, got dtype int64"),
    ("x", {"x": x32.astype(object)}, "x: expected dtype float32, got dtype object"),
    ("x", {"x": x32.tolist()}, "x: expected a numpy array, got a list; convert it with engine.get_backend('numpy')"),
    ("x", {"x": masked}, "x: expected a numpy array, got a numpy.MaskedArray"),
    ("x", {"x": np.ones((0, 3, 5), np.float32)}, "x: expected shape (any, any, 2) (T, B, D), got shape (0, 3, 5)"),
    ("state", {"state": np.ones((1, 3, 4), np.float32)}, "state: expected a pair (h, c), got a numpy.ndarray"),
    ("state", {"state": (np.ones((1, 3, 4), np.float32),)}, "state: expected a pair (h, c), got a tuple of 1"),
    (
        "batch",
        {"state": (np.ones((1, 7, 4), np.float32),) * 2},
        "state h: expected batch size 3, that of x, got batch size 7",
    ),
    ("size", {"state": (np.ones((1, 3, 5), np.float32),) * 2}, "state h: expected shape (1, 3, 4) (L*N, B, H), got"),
    ("dtype", {"state": (np.ones((1, 3, 4)),) * 2}, "state h: expected dtype float32, got dtype float64"),
    ("lengths", {"lengths": [4, 5, 1]}, "lengths: expected values in 0..4 (T = 4), got 5 at row 1"),
    ("lengths", {"lengths": [4, -1, 1]}, "lengths: expected values in 0..4 (T = 4), got -1 at row 1"),
    ("lengths", {"lengths": [4, 4]}, "lengths: expected one for each of the 3 rows, shape (3,), got shape (2,)"),
    ("lengths", {"lengths": [4.0, 1.0, 2.0]}, "lengths: expected integers, got list of dtype float64"),
    ("lengths", {"lengths": [True, True, False]}, "lengths: expected integers, got list of dtype bool"),
]


@pytest.mark.parametrize("method", ["forward", "predict"])
@pytest.mark.parametrize(("arguments", "message"), [case[1:] for case in REFUSED])
def test_bad_input_gives_one_clear_sentence(method: str, arguments: dict[str, Any], message: str) -> None:
    layer = engine.LSTM(2, 4)
    with pytest.raises(engine.InputError) as caught:
        getattr(layer, method)(**{"x": x32, **arguments})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_bad_gradients_and_foreign_tapes_are_refused() -> None:
    layer, other = engine.LSTM(2, 4), engine.LSTM(2, 4)
    y, state, tape = layer.forward(x32)
    with pytest.raises(engine.InputError, match=r"dy: expected shape \(4, 3, 4\) \(T, B, N\*H\), that of y, got shape"):
        layer.backward(tape, y[:-1])
    with pytest.raises(engine.InputTypeError, match="dy: expected dtype float32, got dtype float64"):
        layer.backward(tape, y.astype(np.float64))
    with pytest.raises(engine.InputError, match="dstate c: expected shape"):
        layer.backward(tape, y, (state[0], state[1][:, :, :2]))
    with pytest.raises(engine.InputError, match="tape: expected a tape of this layer, got a tape of another layer"):
        other.backward(tape, y)
    with pytest.raises(
        engine.InputTypeError, match=r"tape: expected what this layer's forward returned \(RecurrentTape\), got a numpy"
    ):
        layer.backward(y, tape)


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: engine.LSTM(0, 4), "input_size: expected an integer >= 1, got 0"),
        (
            lambda: engine.LSTM(2, 4.5),  # type: ignore[arg-type]
            "hidden_size: expected an integer >= 1, got 4.5",
        ),
        (lambda: engine.GRU(2, 4, 0), "num_layers: expected an integer >= 1, got 0"),
        (lambda: engine.GRU(2, 4, dropout=1.5), "dropout: expected a probability in 0..1, got 1.5"),
        (lambda: engine.RNN(2, 4, nonlinearity="sigmoid"), "nonlinearity: expected 'tanh' or 'relu', got 'sigmoid'"),
        (lambda: engine.RNN(2, 4, dtype=None), "dtype: expected 'float32' or 'float64', got None"),
        (
            lambda: engine.RNN(2, 4, bidirectional="no"),  # type: ignore[arg-type]
            "bidirectional: expected True or False, got 'no'",
        ),
        (lambda: engine.RNN(2, 4, dropout=True), "dropout: expected a probability in 0..1, got True"),
        (lambda: engine.LSTM(2, 4, forget_bias=np.nan), "forget_bias: expected a finite number, got nan"),
        (
            lambda: engine.LSTM(2, 4, hidden=3),  # type: ignore[call-arg]
            "options: expected some of input_size, hidden_size, num_layers",
        ),
        (lambda: engine.RNN(2, 4, dtype="float16"), "dtype: expected 'float32' or 'float64', got 'float16'"),
        (lambda: engine.RNN(2, 4, dtype="int32"), "dtype: expected 'float32' or 'float64', got 'int32'"),
        (lambda: engine.RNN(2, 4, seed=-1), "seed: expected an integer >= 0, got -1"),
        (lambda: engine.RNN(2, 4, backend="jax"), "backend: expected one of 'numpy', 'cupy', 'torch', got 'jax'"),
        (lambda: engine.RNN(2, 4, backend="numpy:cuda"), "kernels: expected one of 'numba', 'reference' for numpy"),
    ],
)
def test_bad_constructor_arguments_are_named(build_it: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        build_it()
    assert str(caught.value).startswith(message)
