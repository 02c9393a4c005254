"""Keras both ways: what Keras computes from our files, what we read from its own, and what we refuse."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import build

import engine

h5py: Any = pytest.importorskip("h5py", reason="h5py absent: pip install 'bptt-engine[keras]'")
T, B, D, H, V = 7, 4, 3, 5, 6
REFERENCE: dict[str, Any] = {"backend": "numpy:reference"}
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before")
ENDINGS = (".keras", ".h5")


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with random weights that move every gate."""
    rng = np.random.default_rng(seed)
    weights = {name: abs(rng.normal(scale=0.5, size=p.shape)) for name, p in model.state_dict().items()}
    weights |= {name: array for name, array in model.state_dict().items() if array.dtype.kind == "i"}
    model.load_state_dict(weights)
    return model


def many_layers(dtype: str = "float32") -> Any:
    """Ids to scores, with everything that Keras has."""
    common: dict[str, Any] = {**REFERENCE, "dtype": dtype}
    layers = [
        engine.Embedding(11, D, **common),
        engine.Dropout(0.2, variational=True, **common),
        engine.LSTM(D, H, 2, dropout=0.3, bidirectional=True, batch_first=True, **common),
        engine.LayerNorm(2 * H, eps=1e-3, **common),
        engine.GRU(2 * H, 4, reset_after=False, recurrent_dropout=0.1, batch_first=True, **common),
        engine.BatchNorm(4, momentum=0.25, **common),
        engine.GRU(4, H, bidirectional=True, bias=False, batch_first=True, **common),
        engine.Dropout(0.2, **common),
        engine.Pool(directions=2, **common),
        engine.Linear(2 * H, V, **common),
    ]
    return randomised(engine.Sequential(*layers))


# -- without Keras -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back(dtype: str, ending: str, tmp_path: Path) -> None:
    model, path = many_layers(dtype), tmp_path / f"model{ending}"
    engine.export_keras(model, path)
    back = engine.import_keras(path).to(backend=model.backend)
    ids = np.random.default_rng(1).integers(0, 11, (B, T))
    ours, again = model.predict(ids)[0], back.predict(ids)[0]
    assert again.dtype == np.dtype(dtype)
    assert abs(ours - again).max() <= {"float32": 1e-5, "float64": 1e-12}[dtype] * abs(ours).max()
    # Dropout behind the choice of the last step is the same as before it; that is where Keras has it.
    kinds = [type(layer).__name__ for layer in model.layers]
    assert sorted(type(layer).__name__ for layer in back.layers) == sorted(kinds)
    assert back.layers[2].config() == model.layers[2].config()
    assert back.layers[4].recurrent_dropout == 0.1
    assert back.layers[5].momentum == 0.25


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_comes_back_alone(cell: str, tmp_path: Path) -> None:
    """The two biases of a cell are one in Keras, but in a GRU with reset_after."""
    model = build(cell, D, H, batch_first=True)
    engine.export_keras(model, tmp_path / "model.keras")
    back = engine.import_keras(tmp_path / "model.keras")
    assert type(back) is type(model)
    sums = dict(model.state_dict())
    if cell != "gru":
        sums["bias_ih_l0"] = sums["bias_ih_l0"] + sums["bias_hh_l0"]
        sums["bias_hh_l0"] = np.zeros_like(sums["bias_hh_l0"])
    for name, array in back.params.items():
        assert np.array_equal(array, sums[name]), name


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = many_layers()
    for name in ("a.keras", "b.keras"):
        engine.export_keras(model, tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_layers_that_keras_lacks_are_named_together(tmp_path: Path) -> None:
    model = engine.Sequential(
        engine.Recurrent("peephole_lstm", D, H, bidirectional=True, **REFERENCE),
        engine.LSTM(2 * H, 4, zoneout=0.1, **REFERENCE),
        engine.Pool(directions=2, **REFERENCE),
    )
    with pytest.raises(engine.InputError) as caught:
        engine.export_keras(model, tmp_path / "model.keras")
    for name in ("peephole_lstm (layer 0)", "zoneout of lstm (layer 1)", "Pool('last', directions=2) (layer 2)"):
        assert name in str(caught.value)
    with pytest.raises(engine.InputError, match=r"path: expected a name that ends with \.keras, \.h5"):
        engine.export_keras(engine.GRU(D, H), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# -- descriptions that others write ------------------------------------------------------------------------------------


def layer(kind: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **settings}}


def as_keras(path: Path, layers: list[dict[str, Any]], arrays: dict[str, list[Any]], **model: Any) -> Path:
    """Write an archive with these layers and these arrays."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for name, group in arrays.items():
            for number, array in enumerate(group):
                file[f"layers/{name}/{number}"] = array
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers, **model.pop("more", {})}, **model}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def lstm_arrays() -> list[Any]:
    rng = np.random.default_rng(2)
    return [rng.normal(size=shape).astype(np.float32) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]


LSTM_PLACE = {
    "lstm/cell/vars": lstm_arrays(),
    "dense/vars": [np.ones((H, 2), np.float32), np.arange(2, dtype=np.float32)],
}
#: Layers that change the result and have no place here, and what the message says of them.
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "unknown": (
        [layer("Conv1D"), layer("LSTM", units=H), layer("Lambda")],
        r"got Conv1D \(conv1d\), Lambda \(lambda\)$",
    ),
    "masking": (
        [layer("Masking"), layer("LSTM", units=H)],
        r"got Masking \(masking\); import_keras\(path, lengths=True",
    ),
    "function": ([layer("LSTM", units=H, activation="relu")], r"LSTM \(lstm\) with activation='tanh', got .*'relu'"),
    "own function": (
        [layer("LSTM", units=H, activation={"class_name": "function", "config": "mine", "module": "builtins"})],
        "got activation='mine'",
    ),
    "registered": (
        [layer("LSTM", units=H, activation={"registered_name": "Custom>mine", "class_name": "f", "config": {}})],
        "got activation='Custom>mine'",
    ),
    "hard sigmoid": (
        [layer("LSTM", units=H, recurrent_activation="hard_sigmoid")],
        "recurrent_activation='hard_sigmoid'",
    ),
    "backwards": ([layer("LSTM", units=H, go_backwards=True)], "go_backwards=False, got go_backwards=True"),
    "dense function": (
        [layer("LSTM", units=H), layer("Dense", units=2, activation="gelu")],
        r"Dense \(dense\) with activation='linear' or 'tanh' or .* or 'softmax', got activation='gelu'",
    ),
    "leaky": ([layer("LSTM", units=H), layer("ReLU", negative_slope=0.1)], "negative_slope=0.0, got negative_slope"),
    "units": ([layer("LSTM", units=H + 1)], "arrays of the shapes"),
    "without units": ([layer("LSTM")], "units as an integer >= 1"),
    "sum of directions": ([layer("Bidirectional", merge_mode="sum", layer=layer("LSTM", units=H))], "merge_mode='sum'"),
    "no arrays": ([layer("LSTM", units=H), layer("Embedding", input_dim=4, output_dim=2)], "got none"),
    "widths": ([layer("LSTM", units=H), {**layer("LSTM", units=H)}], f"a LSTM for {H} features"),
    "mask": ([layer("Embedding", input_dim=4, output_dim=2, mask_zero=True)], "mask_zero=False"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_layer_here_does_is_refused_by_its_name(case: str, tmp_path: Path) -> None:
    layers, words = REFUSED[case]
    path = as_keras(tmp_path / "model.keras", layers, LSTM_PLACE)
    with pytest.raises(engine.InputError, match=words) as caught:
        engine.import_keras(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


def test_masks_are_left_out_where_lengths_are_promised(tmp_path: Path) -> None:
    path = as_keras(tmp_path / "model.keras", [layer("Masking"), layer("LSTM", units=H)], LSTM_PLACE)
    assert [type(one).__name__ for one in engine.import_keras(path, lengths=True).layers] == ["LSTM", "Pool"]


def test_time_major_of_keras_2(tmp_path: Path) -> None:
    layers = [layer("LSTM", units=H, time_major=True, return_sequences=True)]
    assert not engine.import_keras(as_keras(tmp_path / "model.keras", layers, LSTM_PLACE)).batch_first


def test_a_functional_model_of_keras_2(tmp_path: Path) -> None:
    first, last = layer("InputLayer"), layer("LSTM", units=H, return_sequences=True)
    last["inbound_nodes"] = [[["inputlayer", 0, 0, {}]]]
    more = {"output_layers": [["lstm", 0, 0]]}
    path = as_keras(tmp_path / "model.keras", [last, first], LSTM_PLACE, class_name="Model", more=more)
    assert engine.import_keras(path).hidden_size == H
    last["inbound_nodes"] = [[["inputlayer", 0, 0, {}], ["inputlayer", 0, 0, {}]]]
    path = as_keras(tmp_path / "branches.keras", [last, first], LSTM_PLACE, class_name="Model", more=more)
    with pytest.raises(engine.InputError, match=r"a row of layers, each with one input, at LSTM \(lstm\)"):
        engine.import_keras(path)


def _damaged(folder: Path) -> dict[str, bytes]:
    """Files that are none, by name."""
    good = as_keras(folder / "good.keras", [layer("LSTM", units=H)], LSTM_PLACE).read_bytes()
    single = folder / "good.h5"
    engine.export_keras(engine.LSTM(D, H, **REFERENCE), single)
    found = {"empty": b"", "text": b"hello", "cut.keras": good[: len(good) // 2], "cut.h5": single.read_bytes()[:3000]}
    linked = io.BytesIO()
    with h5py.File(linked, "w") as file:
        file["layers/lstm/cell/vars/0"] = h5py.ExternalLink("other.h5", "/numbers")
    claims = io.BytesIO()
    with h5py.File(claims, "w") as file:
        file.create_dataset("layers/lstm/cell/vars/0", (2**14, 2**15), "f4", chunks=(1024, 1024))
    bare = io.BytesIO()
    with h5py.File(bare, "w") as file:
        file["kernel"] = np.ones(3)
    config = json.dumps({"class_name": "Sequential", "config": {"layers": [layer("LSTM", units=H)]}})
    for name, weights in (("linked", linked), ("claims of 2 GB", claims), ("without layers", bare)):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", weights.getvalue())
        found[name] = packed.getvalue()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", bytes(20_000_000))
    bad = io.BytesIO()
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": 7}')
        archive.writestr("model.weights.h5", linked.getvalue())
    return found | {"weights alone": bare.getvalue(), "bomb": bomb.getvalue(), "description": bad.getvalue()}


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, content in _damaged(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(engine.InputError) as caught:
            engine.import_keras(path)
        assert str(caught.value).startswith(f"{path}: expected "), name
        assert "\n" not in str(caught.value)


# -- beside Keras ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    """Keras 3 on PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch", reason="PyTorch absent: run `make test-oracle`")
    found: ModuleType = pytest.importorskip("keras", reason="Keras absent: run `make test-oracle`")
    return found


def keras_layers(keras: Any, name: str) -> list[Any]:
    """The layers of a model by the name of its cell; Keras's own names."""
    K = keras.layers
    kinds: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "rnn_tanh": (K.SimpleRNN, {}),
        "rnn_relu": (K.SimpleRNN, {"activation": "relu"}),
        "lstm": (K.LSTM, {"unit_forget_bias": False}),
        "gru": (K.GRU, {}),
        "gru_before": (K.GRU, {"reset_after": False}),
    }
    kind, own = kinds[name]
    return [
        kind(4, return_sequences=True, use_bias=name != "gru", **own),
        K.Bidirectional(kind(H, return_sequences=name != "lstm", dropout=0.1, **own)),
    ]


def with_random_weights(model: Any) -> Any:
    rng = np.random.default_rng(3)
    model.set_weights([abs(rng.normal(scale=0.5, size=w.shape)) for w in model.get_weights()])
    return model


def agree(model: Any, keras: Any, x: Any, tmp_path: Path, tolerance: float) -> None:
    """Keras's file in, ours out, both ways, in both kinds of file."""
    theirs = np.asarray(model.predict(x, verbose=0))
    for ending in ENDINGS:
        path = tmp_path / f"theirs{ending}"
        model.save(path)
        ours = engine.import_keras(path).to(backend="numpy:reference")
        found = ours.predict(x)[0]
        assert found.dtype == theirs.dtype
        assert found.shape == theirs.shape
        assert abs(found - theirs).max() <= tolerance * abs(theirs).max()
        engine.export_keras(ours, tmp_path / f"ours{ending}")
        again = np.asarray(keras.saving.load_model(tmp_path / f"ours{ending}").predict(x, verbose=0))
        assert abs(again - theirs).max() <= tolerance * abs(theirs).max()


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # Keras and PyTorch warn of each other
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layers_beside_keras(cell: str, dtype: str, keras: Any, tmp_path: Path) -> None:
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)
    try:
        model = with_random_weights(keras.Sequential([keras.Input((None, D)), *keras_layers(keras, cell)]))
        x = np.random.default_rng(4).normal(size=(B, T, D)).astype(dtype)
        # Keras's matmul is float32 even of float64; only LSTM and GRU with reset_after are computed by PyTorch itself.
        exact = dtype == "float64" and cell in ("lstm", "gru")
        agree(model, keras, x, tmp_path, 1e-10 if exact else 1e-5)
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("functional", [False, True], ids=["Sequential", "Functional"])
def test_many_layers_beside_keras(functional: bool, keras: Any, tmp_path: Path) -> None:
    K = keras.layers
    layers = [
        K.Embedding(11, D),
        K.SpatialDropout1D(0.2),
        K.LSTM(H, return_sequences=True, name="z"),
        K.LayerNormalization(),
        K.BatchNormalization(),
        K.TimeDistributed(K.Dense(4, activation="tanh")),
        K.Dense(6, activation="sigmoid"),
        K.Activation("relu"),
        K.Dense(3, activation="relu"),
        K.ReLU(),
        K.GRU(4, return_sequences=True, name="a"),
        K.Dropout(0.3),
        K.GlobalMaxPooling1D() if functional else K.GlobalAveragePooling1D(),
        K.Dense(V, activation="softmax"),
        K.Softmax(),
    ]
    if functional:
        x = y = keras.Input((None,), dtype="int64")
        for one in layers:
            y = one(y)
        model = keras.Model(x, y)
    else:
        model = keras.Sequential([keras.Input((None,), dtype="int64"), *layers])
    ids = np.random.default_rng(5).integers(0, 11, (B, T))
    agree(with_random_weights(model), keras, ids, tmp_path, 1e-5)
