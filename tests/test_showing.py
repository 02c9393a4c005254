"""How layers, tapes and reports show themselves: as Python, as a table, and as HTML in a notebook."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from test_checker_words import Reader

import engine
from engine import html_tables
from engine.layers.showing import in_bytes

PLAIN = "numpy:reference"


def model(**options: Any) -> engine.Sequential:
    inner = engine.Sequential(engine.Dropout(0.25, **options), engine.Linear(10, 7, **options))
    lstm = engine.LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.1, **options)
    return engine.Sequential(engine.Embedding(11, 3, **options), lstm, inner)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: engine.RNN(2, 3, nonlinearity="relu", bias=False),
        lambda: engine.GRU(2, 3, 2, reset_after=False, zoneout=0.25, dtype="float64"),
        lambda: engine.LSTM(2, 6, proj_size=4, batch_first=True, bidirectional=True, backend=PLAIN),
        lambda: engine.Linear(4, 2, bias=False),
        lambda: engine.Recurrent("peephole_lstm", 4, 3, weight_dropout=0.5),
        lambda: engine.Dropout(0.5, batch_first=True),
        lambda: model(backend=PLAIN),
    ],
)
def test_a_layer_shows_the_python_that_builds_it(layer: Any) -> None:
    shown = layer()
    calls = {name: getattr(engine, name) for name in engine.__all__}
    again = eval(repr(shown), calls)
    assert again.config() == shown.config()
    assert (again.dtype, again.backend.spec) == (shown.dtype, shown.backend.spec)
    count = sum(math.prod(param.shape) for param in shown.params.values())
    assert repr(shown).endswith(f"{count:,} parameters")
    assert str(count) in str(shown.summary()).splitlines()[-1].replace(",", "")


def test_shapes_of_a_summary_are_those_of_the_outputs() -> None:
    shown = model(backend=PLAIN)
    T, B = 4, 6
    values: Any = np.random.default_rng(0).integers(0, 11, (T, B))
    outputs = []
    for layer in [*shown.layers[:2], *shown.layers[2].layers]:  # type: ignore[attr-defined]
        values = layer.predict(values)[0]
        outputs.append(f"(T, B, {values.shape[2]})")
        assert values.shape[:2] == (T, B)
    summary = shown.summary()
    assert [row.output for row in summary.rows] == outputs
    assert [row.path for row in summary.rows] == ["0", "1", "2.0", "2.1"]
    assert sum(row.parameters for row in summary.rows) == summary.parameters
    lines = str(summary).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters"]
    assert len({len(line) for line in lines[:-1]}) == 1  # columns are straight
    turned = engine.GRU(2, 3, batch_first=True, backend=PLAIN)
    assert "(B, T, 2) -> (B, T, 3)" in repr(turned)


def test_what_a_tape_lists_is_what_it_holds() -> None:
    layer = engine.GRU(2, 3, num_layers=2, bidirectional=True, dropout=0.5, backend=PLAIN)
    seq = engine.Sequential(layer, engine.Linear(6, 4, backend=PLAIN))
    _, _, tape = seq.forward(np.random.default_rng(0).normal(size=(5, 4, 2)).astype("float32"))
    entries = dict(tape.entries())
    for name, array in entries.items():
        assert eval(f"tape{name}") is array or (eval(f"tape{name}") == array).all(), name
    assert {".tapes[0].layers[1][1].gates['z']", ".tapes[0].masks[1]", ".tapes[1].kept"} <= entries.keys()
    assert repr(tape) == f"<SequentialTape: {len(entries)} arrays, {in_bytes(sum(a.nbytes for a in entries.values()))}>"
    trace = layer.backward_trace(tape.tapes[0], dy=np.ones((5, 4, 6), "float32"))
    for name, array in trace.entries():
        assert (eval(f"trace{name}") == array).all(), name
    for shown in (tape, trace, seq, seq.summary(), *tape.tapes):
        page = Reader(shown._repr_html_())
        assert "color:inherit" in shown._repr_html_()
        assert page.text
    assert "tape.tapes[0].layers[1][1].gates['z']" in Reader(tape._repr_html_()).text
    assert "trace.layers[1][1].hidden['n']" in Reader(trace._repr_html_()).text


def test_html_escapes_what_comes_from_outside() -> None:
    evil = "<script>alert('1')</script>&\""
    page = html_tables.table(evil, [evil], [[evil]], evil)
    assert Reader(page).text.count(evil) == 4
    assert "<script" not in page


def test_sizes_in_words() -> None:
    assert [in_bytes(size) for size in (0, 1023, 1024, 1536 * 1024, 3 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 TiB",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [engine.RNN, engine.GRU, engine.LSTM])
def test_options_are_written_out_and_are_those_of_recurrent(kind: type) -> None:
    """An editor shows no option that is hidden in ``**options``."""
    shared = inspect.signature(engine.Recurrent).parameters
    own = inspect.signature(kind).parameters
    assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own.values())
    left_out = {"cell"} if kind is engine.LSTM else {"cell", "proj_size"}
    assert shared.keys() - own.keys() == left_out
    assert [(own[name].default, own[name].annotation) for name in shared if name in own] == [
        (parameter.default, parameter.annotation) for name, parameter in shared.items() if name in own
    ]


def test_a_misspelt_option_is_named() -> None:
    with pytest.raises(engine.InputTypeError, match=r"got hiden_size; did you mean hidden_size\?"):
        engine.LSTM(3, hiden_size=4)  # type: ignore[call-arg]
    with pytest.raises(engine.InputTypeError, match=r"options: expected some of in_features, .*, got rows"):
        engine.Linear(3, 4, rows=2)  # type: ignore[call-arg]


def test_a_subclass_may_hand_its_options_on() -> None:
    class Mine(engine.LSTM):
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(size, size, **options)

    assert Mine(3, bias=False, zoneout=0.2).zoneout == (0.2, 0.2)
    with pytest.raises(engine.InputTypeError, match=r"got biass; did you mean bias\?"):
        Mine(3, biass=False)
