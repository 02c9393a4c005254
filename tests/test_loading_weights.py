"""Weights that do not fit: the message says what they are and how to hint it, and nothing has been changed."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.errors import InputError, InputTypeError

D, H, V = 3, 4, 7
rng = np.random.default_rng(0)


def model(**options: Any) -> Any:
    return engine.Sequential(engine.LSTM(D, H, **options), engine.Linear(H, V))


def weights(layer: Any, scale: float = 1.0) -> dict[str, Any]:
    return {name: scale * rng.normal(size=param.shape) for name, param in layer.params.items()}


def message(layer: Any, mapping: Any) -> str:
    """What a refusal says; one line, and every parameter is as it was."""
    before = {name: param.copy() for name, param in layer.params.items()}
    with pytest.raises(InputError) as caught:
        layer.load_state_dict(mapping)
    assert all(np.array_equal(param, before[name], equal_nan=True) for name, param in layer.params.items())
    text = str(caught.value)
    assert "\n" not in text
    assert ": expected " in text
    return text


# -- numbers -----------------------------------------------------------------------------------------------------------


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.sampled_from(["<f4", "<f8", ">f8", "<f2"]), st.data())
def test_a_number_that_is_not_finite_is_named_with_its_place(bad: float, dtype: str, data: st.DataObject) -> None:
    for layer in (engine.LSTM(D, H, 2, bidirectional=True), model()):
        mapping = {name: value.astype(dtype) for name, value in weights(layer).items()}
        name = data.draw(st.sampled_from(sorted(mapping)))
        place = tuple(data.draw(st.integers(0, size - 1)) for size in mapping[name].shape)
        mapping[name][place] = bad
        assert message(layer, mapping).startswith(f"{name}: expected finite numbers, got {bad} at index {place}; ")


def test_an_optimiser_takes_no_nan() -> None:
    layer = build("lstm", D, H)
    for optimiser in (engine.Adam(layer), engine.SGD(layer, lr=0.1, momentum=0.9), engine.RMSprop(layer)):
        state = optimiser.state_dict()
        name = next(key for key in state if key.endswith(".weight_hh_l0"))
        broken = state[name].copy()
        broken[5, 2] = np.nan
        with refused(InputError, f"{name}: expected numbers within the range of float64, got nan at index (5, 2)"):
            optimiser.load_state_dict({**state, name: broken, "lr": 0.5})
        assert optimiser.lr != 0.5
        with refused(InputError, "steps: expected a count >= 0, got -3"):
            optimiser.load_state_dict({**state, "steps": np.array([-3])})
        optimiser.load_state_dict({**state, name: np.full(broken.shape, np.inf)})  # a square that overflowed


def test_a_copy_may_hold_anything() -> None:
    """Moving a layer is no loading: the gradient check says 'non-finite' of one that holds a NaN."""
    layer = build("gru", D, H)
    layer.params["weight_hh_l0"][2, 1] = np.nan
    for copy in (layer.to(dtype="float32"), engine.Sequential(layer.to()).to(dtype="float32").layers[0]):
        assert np.isnan(copy.params["weight_hh_l0"][2, 1])
    assert engine.gradcheck(layer, np.zeros((2, 1, D))).verdict == "non-finite"
    layer.params["weight_hh_l0"][2, 1] = 1e300
    with refused(InputError, "weight_hh_l0: expected values within the range of float32"):
        layer.to(dtype="float32")


@pytest.mark.parametrize("backend", ["numpy:reference", pytest.param("torch:reference", marks=pytest.mark.oracle)])
def test_an_exchange_of_the_layers_own_arrays(backend: str) -> None:
    """A mapping of views of the parameters: each is read before any is written."""
    layer = engine.RNN(H, H, backend=backend)
    names = ("weight_ih_l0", "weight_hh_l0")
    first, second = (layer.backend.to_host(layer.params[name]).copy() for name in names)
    exchanged = {names[0]: layer.params[names[1]].T, names[1]: layer.params[names[0]]}
    layer.load_state_dict(dict(layer.params) | exchanged)
    assert np.array_equal(layer.backend.to_host(layer.params[names[0]]), second.T)
    assert np.array_equal(layer.backend.to_host(layer.params[names[1]]), first)


# -- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_transposed_matrices(kind: str) -> None:
    layer = build(kind, D, H, 2, bidirectional=True)
    text = message(layer, {name: value.T for name, value in weights(layer).items()})
    assert text.startswith("weight_ih_l0: expected shape ")
    assert "it is transposed (inputs by outputs, as in Keras or JAX): pass the .T of every such matrix" in text
    assert ("square ones" in text) == kind.startswith("rnn")
    mended = weights(layer)
    layer.load_state_dict({name: np.ascontiguousarray(value.T).T for name, value in mended.items()})
    assert np.array_equal(layer.params["weight_hh_l1"], mended["weight_hh_l1"])


def test_one_transposed_matrix_deep_in_a_model() -> None:
    network = model()
    mapping = weights(network)
    mapping["1.weight"] = mapping["1.weight"].T
    assert message(network, mapping).startswith("1.weight: expected shape (7, 4), got shape (4, 7); it is transposed")
    table = engine.Embedding(V, D)
    assert "transposed" in message(table, {"weight": rng.normal(size=(D, V))})
    assert "transposed" not in message(table, {"weight": rng.normal(size=(D, V + 1))})


@pytest.mark.parametrize(
    ("kind", "sizes", "words"),
    [
        ("lstm", (D, 64), "an LSTM with input_size=3, hidden_size=64"),
        ("gru", (D, H), "a GRU with input_size=3, hidden_size=4"),
        ("rnn_tanh", (5, 9), "an RNN with input_size=5, hidden_size=9"),
    ],
)
def test_another_size_or_cell_is_named(kind: str, sizes: tuple[int, int], words: str) -> None:
    other = weights(build(kind, *sizes))
    assert f"the weights are of another size: {words}" in message(engine.LSTM(D, H), other)
    network = model()
    inner = {f"0.{name}": value for name, value in other.items()} | {
        name: param for name, param in network.state_dict().items() if name.startswith("1.")
    }
    assert words in message(network, inner)


def test_axes_of_length_one() -> None:
    layer = engine.LSTM(D, H)
    mapping = weights(layer)
    mapping["bias_hh_l0"] = mapping["bias_hh_l0"][None]
    assert "drop or add the axes of length 1: .reshape((16,))" in message(layer, mapping)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["lstm.", "module.", "_orig_mod.", "model.encoder.0.", "net/", "rnn_"])
@pytest.mark.parametrize("others", [{}, {"fc.weight": np.ones((V, H)), "fc.bias": np.ones(V)}], ids=["alone", "among"])
def test_a_prefix_is_named_and_the_hint_works(prefix: str, others: dict[str, Any]) -> None:
    layer = engine.LSTM(D, H, 2)
    mapping = weights(layer)
    state = OrderedDict({prefix + name: value for name, value in mapping.items()} | others)
    text = message(layer, state)
    assert f"the names have the prefix {prefix!r}: pass {{" in text
    hint = text.partition("pass ")[2]
    layer.load_state_dict(eval(hint, {"state": state}))
    assert all(np.allclose(layer.params[name], value) for name, value in mapping.items())


def test_a_prefix_before_a_whole_model_and_one_that_is_missing() -> None:
    network = model()
    mapping = weights(network)
    assert "the prefix 'module.': pass {" in message(network, {f"module.{name}": v for name, v in mapping.items()})
    single = engine.Sequential(engine.GRU(D, H))
    inner = weights(single.layers[0])
    text = message(single, inner)
    assert "the prefix '0.' is missing: pass {" in text
    single.load_state_dict(eval(text.partition("pass ")[2], {"state": inner}))
    named = {("lstm." if name[0] == "0" else "fc.") + name[2:]: value for name, value in mapping.items()}
    assert "change the prefix 'lstm.' to '0.', the prefix 'fc.' to '1.'" in message(network, named)


def test_several_prefixes() -> None:
    layer = engine.LSTM(D, H)
    both = {f"{part}.{name}": value for part in ("encoder", "decoder") for name, value in weights(layer).items()}
    assert "several prefixes, 'encoder.', 'decoder.': choose one" in message(layer, both)
    larger = {f"decoder.{name}": value for name, value in weights(engine.LSTM(D, 2 * H)).items()}
    assert "the prefix 'encoder.': pass" in message(layer, both | larger)  # the one whose shapes fit


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ({}, {"num_layers": 3}, "build with num_layers=3"),
        ({"num_layers": 2}, {"num_layers": 1}, "build with num_layers=1"),
        ({}, {"bidirectional": True}, "build with bidirectional=True"),
        ({"bidirectional": True}, {}, "build with bidirectional=False"),
        ({}, {"bias": False}, "build with bias=False"),
        ({"bias": False}, {}, "build with bias=True"),
        ({}, {"num_layers": 2, "bidirectional": True, "bias": False}, "num_layers=2, bidirectional=True, bias=False"),
    ],
)
def test_other_options_are_named(ours: Any, theirs: Any, words: str) -> None:
    layer, other = engine.GRU(D, H, **ours), engine.GRU(D, H, **theirs)
    assert words in message(layer, weights(other))
    assert words in message(layer, {f"rnn.{name}": value for name, value in weights(other).items()})
    network, around = engine.Sequential(layer.to()), engine.Sequential(other.to())
    assert words.replace("build", "build layer '0.'") in message(network, weights(around))


def test_what_is_around_a_state_dict() -> None:
    layer = engine.LSTM(D, H)
    mapping = weights(layer)
    for key in ("state_dict", "model_state_dict", "net"):
        checkpoint = {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}, key: mapping}
        assert f"it is a checkpoint around the state dict: pass state_dict[{key!r}]" in message(layer, checkpoint)
    holder = SimpleNamespace(state_dict=lambda: mapping)
    assert "pass model.state_dict(), not the model" in message(layer, holder)
    assert "pass state_dict['model'].state_dict()" in message(layer, {"model": holder})
    assert "call it: model.state_dict()" in message(layer, holder.state_dict)
    assert "read the file first" in message(layer, "weights.pt")
    assert "read the file first" in message(layer, Path("weights.pt"))
    assert "pass dict(...) of the pairs" in message(layer, list(mapping.items()))
    assert "expected a mapping from names to arrays, got None" in message(layer, None)
    cell = {name.removesuffix("_l0"): value for name, value in mapping.items()}
    assert "names of a single cell: add '_l0' to each" in message(layer, cell)
    assert "missing ['bias_hh_l0'" in message(layer, {3: np.ones(2), ("a", 1): 4})
    assert "and 12 more]" in message(engine.LSTM(D, H, 5), {})


# -- what holds no numbers, or not as numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((H, H), "u2"), "half precision; read them with value.view('float16') if it is float16; "),
        (np.zeros((H, H), "i2"), "dtype int16, which may be the bits of half precision"),
        (np.zeros((H, H), "V2"), "dtype |V2, which may be the bits of half precision"),
        (np.zeros((H, H), "i1"), "dtype int8, as of quantised weights; multiply the scale in first"),
        (np.zeros((H, H), bool), "expected an array of real numbers, got dtype bool"),
        (np.zeros((H, H), complex), "expected an array of real numbers, got dtype complex128"),
        (np.zeros((H, H), object), "got dtype object"),
        (np.ma.masked_array(np.zeros((H, H))), "got a numpy.MaskedArray; its mask would be lost"),
        (np.zeros((H, H)).view(np.matrix), "got a numpy.matrix; pass np.asarray"),
        ([[1.0], [2.0, 3.0]], "expected an array of real numbers, got a list"),
        ("words", "got dtype <U5"),
        (None, "got dtype object"),
    ],
)
def test_what_is_no_array_of_numbers(value: Any, words: str) -> None:
    layer = engine.RNN(H, H)
    text = message(layer, weights(layer) | {"weight_hh_l0": value})
    assert text.startswith("weight_hh_l0: expected an array of real numbers, got ")
    assert words in text


def test_half_precision_is_loaded_exactly() -> None:
    layer = engine.LSTM(D, H)
    half = {name: value.astype("f2") for name, value in weights(layer).items()}
    layer.load_state_dict(half)
    assert all(np.array_equal(layer.params[name], value) for name, value in half.items())
    layer.load_state_dict({name: (100 * value).astype("i8") for name, value in half.items()})
    assert np.array_equal(layer.params["bias_ih_l0"], (100 * half["bias_ih_l0"]).astype("i8"))


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
@pytest.mark.parametrize("backend", ["numpy:reference", "torch:reference"])
def test_half_precision_of_pytorch_is_loaded_exactly(torch: Any, dtype: str, backend: str) -> None:
    for kind in ("float32", "float64"):
        layer = engine.GRU(D, H, backend=backend, dtype=kind)
        half = torch.nn.GRU(D, H).to(torch.float16).state_dict()
        half = {name: value.to(getattr(torch, dtype)) for name, value in half.items()}
        layer.load_state_dict(half)
        for name, value in half.items():
            assert np.array_equal(layer.backend.to_host(layer.params[name]), value.double().numpy())


@pytest.mark.oracle
def test_tensors_without_numbers(torch: Any) -> None:
    layer = engine.LSTM(D, H)
    assert "weight_ih_l0: expected a tensor with numbers in it, got a meta tensor" in message(
        layer, torch.nn.LSTM(D, H, device="meta").state_dict()
    )
    good = torch.nn.LSTM(D, H).state_dict()
    matrix = good["weight_hh_l0"]
    with warnings.catch_warnings(action="ignore"):  # PyTorch calls some of these a beta
        cases = {
            "got one of layout torch.sparse_coo; use weight_hh_l0.to_dense()": matrix.to_sparse(),
            "got one of layout torch.sparse_csr; use weight_hh_l0.to_dense()": matrix.to_sparse_csr(),
            "got a quantised one; use weight_hh_l0.dequan": torch.quantize_per_tensor(matrix, 0.1, 0, torch.qint8),
            "got dtype complex64": matrix.to(torch.complex64),
            "got a torch.MaskedTensor; pass a plain": torch.masked.masked_tensor(matrix, matrix > 0),
            "may be the bits of half precision": matrix.view(torch.int16)[:, :H],
        }
    for words, value in cases.items():
        assert words in message(layer, good | {"weight_hh_l0": value})
    theirs = torch.nn.LSTM(D, H)
    layer.load_state_dict(dict(theirs.named_parameters()))  # parameters that autograd follows
    assert np.array_equal(layer.params["weight_hh_l0"], theirs.weight_hh_l0.detach().numpy())
    assert "pass model.state_dict(), not the model" in message(layer, theirs)


@pytest.mark.oracle
def test_bfloat16_of_ml_dtypes(torch: Any) -> None:
    """NumPy's own extension for it, as JAX hands it out."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    layer = engine.RNN(D, H)
    half = {name: value.astype(ml_dtypes.bfloat16) for name, value in weights(layer).items()}
    layer.load_state_dict(half)
    assert all(np.array_equal(layer.params[name], value.astype("f4")) for name, value in half.items())


def test_the_small_inputs_of_the_report() -> None:
    layer = engine.LSTM(3, 4)
    transposed = {k: (v.T.copy() if v.ndim == 2 else v) for k, v in layer.state_dict().items()}
    with refused(InputError, "weight_ih_l0: expected shape (16, 3), got shape (3, 16); it is transposed"):
        layer.load_state_dict(transposed)
    with refused(InputTypeError, "state_dict: expected a mapping"):
        layer.load_state_dict(3)  # type: ignore[arg-type]
