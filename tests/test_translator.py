"""The encoder-attention-decoder model: PyTorch's autograd, gradient checks, searches, its own tokens, refusals."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import from_config
from engine.layers.attention import ATTENTION_KINDS
from engine.layers.searching import Search, Translation, rank

S, T, B, SOURCE, TARGET = 5, 4, 3, 9, 7
LENGTHS = [5, 1, 3]


def build(**options: Any) -> engine.Translator:
    """A model whose weights are larger than at first: its choices are no longer near each other."""
    options = {"dtype": "float64", "backend": "numpy:reference", "seed": 3, **options}
    model = engine.Translator(options.pop("source_size", SOURCE), options.pop("target_size", TARGET), 4, 6, **options)
    for name in model.params:
        model.params[name] = model.params[name] * 3
    return model


def ids(seed: int = 0, rows: int = B) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, SOURCE, (S, rows)), rng.integers(0, TARGET, (T, rows))
    target[0] = 1
    return source, target


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def own_score(model: engine.Translator, source: np.ndarray, length: int, found: Translation) -> float:
    """What the model says of a sentence when it is fed it as a known one."""
    tokens = [*found.ids, *([model.end] if found.ended else [])]
    fed = np.array([model.start, *tokens[:-1]])[:, None]
    log_p = log_softmax(model.predict((source[:, None], fed), None, [length])[0])[:, 0]
    return float(log_p[np.arange(len(tokens)), tokens].sum())


# -- forward and backward ----------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(("cell", "layers"), [("gru", 1), ("lstm", 2)])
def test_it_is_what_pytorchs_autograd_finds(torch: ModuleType, cell: str, layers: int) -> None:
    model, (source, target) = build(cell=cell, num_layers=layers), ids()
    wanted = {name: torch.tensor(value, requires_grad=True) for name, value in model.params.items()}

    def recurrent(part: str, x: Any, first: Any, hidden: int, both: bool, lengths: Any) -> Any:
        kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
        made = kind(4, hidden, layers, bidirectional=both, dtype=torch.float64)
        own = {name.removeprefix(f"{part}."): w for name, w in wanted.items() if name.startswith(f"{part}.")}
        packed = x if lengths is None else torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, last = torch.func.functional_call(made, own, (packed, first))
        return (y if lengths is None else torch.nn.utils.rnn.pad_packed_sequence(y)[0]), last

    def joined(last: Any) -> Any:
        return torch.cat([last[0::2], last[1::2]], dim=2)

    lengths = torch.tensor(LENGTHS)
    memory, last = recurrent("encoder", wanted["source_embedding.weight"][torch.tensor(source)], None, 3, True, lengths)
    first = tuple(map(joined, last)) if cell == "lstm" else joined(last)
    h, _ = recurrent("decoder", wanted["target_embedding.weight"][torch.tensor(target)], first, 6, False, None)
    scores = torch.einsum("tbh,sbh->tbs", h @ wanted["attention.weight"], memory)
    scores = scores.masked_fill(torch.arange(S) >= lengths[:, None], -torch.inf)
    weights = torch.softmax(scores, dim=2)
    combined = torch.tanh(torch.cat([torch.einsum("tbs,sbh->tbh", weights, memory), h], 2) @ wanted["combine.weight"].T)
    logits = combined @ wanted["output.weight"].T + wanted["output.bias"]
    dy = np.random.default_rng(8).normal(size=(T, B, TARGET))
    logits.backward(torch.tensor(dy))
    found, _, tape = model.forward((source, target), lengths=LENGTHS)
    model.backward(tape, dy)
    np.testing.assert_allclose(found, logits.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(tape.tapes["attention"].weights, weights.detach().numpy(), rtol=1e-12, atol=1e-14)
    for name, w in wanted.items():
        theirs = w.grad.numpy()
        np.testing.assert_allclose(model.grads[name], theirs, rtol=0, atol=1e-12 * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("method", ["central", "complex", "adjoint"])
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "attention": "general"},
        {"cell": "lstm", "attention": "additive", "num_layers": 2, "dropout": 0.3},
        {"cell": "mgu", "attention": "dot"},
    ],
)
def test_gradients(options: dict[str, Any], method: str) -> None:
    model = build(**options)
    model.sampling = 0.5 if model.dropout else 0.0
    source, target = ids()
    report = engine.gradcheck(model, (source, target), lengths=[5, 0, 3], method=method)
    assert report.passed, report
    assert {row.name for row in report.rows} == set(model.params)


@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
def test_every_backend_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    host, pair = build(dropout=0.25, attention="additive"), ids()
    backend = use_backend(name, monkeypatch)
    model = host.to(backend=backend)
    dy = np.random.default_rng(8).normal(size=(T, B, TARGET))
    wanted, _, tape = host.forward(pair, lengths=LENGTHS)
    host.backward(tape, dy)
    found, _, tape = model.forward(pair, lengths=LENGTHS)
    model.backward(tape, backend.asarray(dy))
    np.testing.assert_allclose(backend.to_host(found), wanted, rtol=1e-11)
    for key, grad in host.grads.items():
        np.testing.assert_allclose(backend.to_host(model.grads[key]), grad, rtol=1e-9, atol=1e-11, err_msg=key)
    for beam in (1, 3):
        ours, theirs = (one.translate(pair[0], LENGTHS, beam=beam, most=6) for one in (host, model))
        assert [one.ids for one in ours] == [one.ids for one in theirs]


def test_pads_of_sources_and_targets_change_nothing() -> None:
    model, (source, target) = build(), ids()
    logits = model.predict((source, target), None, LENGTHS)[0]
    other = source.copy()
    for row, length in enumerate(LENGTHS):
        other[length:, row] = 10**6  # nobody looks at pads
    np.testing.assert_array_equal(model.predict((other, target), None, LENGTHS)[0], logits)
    later = target.copy()
    later[2:] = (later[2:] + 3) % TARGET
    np.testing.assert_array_equal(model.predict((source, later), None, LENGTHS)[0][:2], logits[:2])


# -- searches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_probability_is_the_models_own_and_rows_do_not_meet(seed: int) -> None:
    model, (source, _) = (
        build(seed=seed, attention=ATTENTION_KINDS[seed % 3], cell="lstm" if seed % 2 else "gru"),
        ids(seed, 6),
    )
    lengths = [5, 1, 3, 2, 5, 4]
    for beam in (1, 3):
        found = model.translate(source, lengths, beam=beam, most=8)
        for row, one in enumerate(found):
            assert one.log_probability == pytest.approx(own_score(model, source[:, row], lengths[row], one), rel=1e-11)
            assert not {model.start, model.end, model.unknown} & set(one.ids)
            assert one.ended or len(one.ids) == 8
            alone = model.translate(source[: lengths[row], row : row + 1], beam=beam, most=8)[0]
            assert (alone.ids, alone.ended) == (one.ids, one.ended)


def test_one_beam_is_greedy_search(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [build(seed=seed) for seed in range(5)]
    for model in models:
        model.params["output.bias"] = model.params["output.bias"] + np.eye(TARGET)[model.end]
    greedy = [one for seed, model in enumerate(models) for one in model.translate(ids(seed, 8)[0], most=7)]
    monkeypatch.setattr(Search, "greedy", lambda self, state, rows: self.beams(state, rows, 1, 1.0))
    beams = [one for seed, model in enumerate(models) for one in model.translate(ids(seed, 8)[0], most=7)]
    assert [(one.ids, one.ended) for one in beams] == [(one.ids, one.ended) for one in greedy]
    np.testing.assert_allclose([b.log_probability for b in beams], [g.log_probability for g in greedy], rtol=1e-12)
    assert len({len(one.ids) for one in greedy}) > 2
    assert {one.ended for one in greedy} == {True, False}


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_that_are_wide_enough_find_the_best_of_all(penalty: float) -> None:
    """All sentences of at most two tokens, each measured by the model as a known one."""
    model = build(target_size=5, unknown=None)
    source = ids()[0][:, 0]
    tokens = [token for token in range(5) if token not in (model.start, model.end)]
    everything = [words for n in range(3) for words in itertools.product(tokens, repeat=n)]
    scored = [
        Translation(words, own_score(model, source, S, Translation(words, 0.0, True)), True) for words in everything
    ]
    best = max(scored, key=lambda one: rank(one, penalty))

    found = model.translate(source[:, None], beam=20, most=3, penalty=penalty)[0]
    assert found.ids == best.ids
    assert found.log_probability == pytest.approx(best.log_probability, rel=1e-11)


def test_a_search_stops_at_the_end_and_at_the_most() -> None:
    model = build()
    for name in ("output.weight", "output.bias"):
        model.params[name] = model.params[name] * 0
    bias = np.zeros(TARGET)
    bias[model.end] = 5.0
    model.params["output.bias"] = bias
    assert [one.ids for one in model.translate(ids()[0])] == [()] * B
    assert all(one.ended for one in model.translate(ids()[0], beam=3))
    model.params["output.bias"] = -bias
    for beam in (1, 3):
        found = model.translate(ids()[0], beam=beam, most=4)
        assert [len(one.ids) for one in found] == [4] * B
        assert not any(one.ended for one in found)


# -- its own tokens ----------------------------------------------------------------------------------------------------


def test_scheduled_sampling_feeds_the_likeliest_tokens() -> None:
    model, (source, target) = build(unknown=None), ids()
    model.sampling = 1.0
    tape = model.forward((source, target), lengths=LENGTHS)[2]
    fed = tape.tapes["target_embedding"].kept
    assert (fed[0] == model.start).all()
    likeliest = model.predict((source, fed), None, LENGTHS)[0].argmax(axis=2)
    np.testing.assert_array_equal(fed[1:], likeliest[:-1])
    assert (fed[1:] != target[1:]).any()
    again = model.forward((source, target), lengths=LENGTHS, training=False)[2]
    np.testing.assert_array_equal(again.tapes["target_embedding"].kept, target)


def test_scheduled_sampling_draws_anew_and_goes_on_where_it_was() -> None:
    model, (source, target) = build(), ids(rows=40)
    model.sampling = 0.3

    def fed(one: engine.Translator) -> np.ndarray:
        found: np.ndarray = one.forward((source, target))[2].tapes["target_embedding"].kept
        return found

    first = fed(model)
    copy = model.to()
    second = fed(model)
    assert (first != second).any()
    np.testing.assert_array_equal(fed(copy), second)
    model.load_call_counters({**model.call_counters(), "sampling": 0})
    np.testing.assert_array_equal(fed(model), first)
    assert 0.1 < (first[1:] != target[1:]).mean() < 0.4  # some of its own tokens are the right ones


# -- copies and refusals -----------------------------------------------------------------------------------------------


def test_it_is_described_saved_and_moved(tmp_path: Path) -> None:
    model, pair = build(cell="lstm", num_layers=2, dropout=0.2, attention="additive"), ids()
    wanted = model.predict(pair, None, LENGTHS)[0]
    again = from_config(model.config(), "numpy:reference", "float64", seed=3)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(pair, None, LENGTHS)[0], wanted)
    model.save(tmp_path / "model.safetensors")
    loaded = engine.load(tmp_path / "model.safetensors", backend="numpy:reference")
    np.testing.assert_array_equal(loaded.predict(pair, None, LENGTHS)[0], wanted)
    narrow = model.to(dtype="float32")
    np.testing.assert_allclose(narrow.predict(pair, None, LENGTHS)[0], wanted, rtol=2e-4, atol=2e-5)


def test_parts_start_differently_and_by_the_seed() -> None:
    first, same, other = (engine.Translator(8, 8, 4, 6, seed=seed) for seed in (1, 1, 2))
    name = "source_embedding.weight"
    assert (first.params[name] != first.params["target_embedding.weight"]).any()
    np.testing.assert_array_equal(first.params[name], same.params[name])
    assert (first.params[name] != other.params[name]).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden_size": 5}, r"hidden_size: expected an even number, got 5; each direction of the encoder has half"),
        ({"end": 9}, r"end: expected an id in 0..6, a token of the target, got 9"),
        ({"end": 1}, r"end: expected another id than that of start, got 1"),
        ({"cell": "projected_lstm"}, r"cell: expected one of 'coupled_lstm', .* got 'projected_lstm'"),
        ({"attention": "none"}, r"attention: expected one of 'additive', 'dot', 'general', got 'none'"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(engine.InputError, match=words):
        engine.Translator(**{"source_size": 9, "target_size": 7, "embedding_dim": 4, "hidden_size": 6, **options})


def test_what_cannot_be_read_is_refused() -> None:
    model, (source, target) = build(), ids()
    wrong: list[tuple[Any, str]] = [
        (
            source,
            r"x: expected a pair \(source, target\) of ids, got a numpy.ndarray; the target begins",
        ),
        ((source, target[:, :2]), r"target: expected shape \(T, 3\), rows as in the source, got shape \(4, 2\)"),
        ((source[0], target), r"source: expected ids \(steps, rows\), got shape \(3,\)"),
        ((source, target + 7), r"x: expected token ids in 0..6, got 8 at index \(0, 0\)"),
    ]
    for x, words in wrong:
        with pytest.raises(engine.InputError, match=words):
            model.forward(x)
    with pytest.raises(engine.InputError, match=r"beam: expected an integer >= 1, got 0"):
        model.translate(source, beam=0)
    with pytest.raises(engine.InputError, match=r"lengths: expected values in 0..5 \(T = 5\), got 6 at row 1"):
        model.translate(source, [1, 6, 2])
    with pytest.raises(engine.InputError, match=r"for truncated BPTT, got a Translator"):
        model.window(model.forward((source, target))[2], 0, 1)
