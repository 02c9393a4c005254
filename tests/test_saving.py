"""`model.save` and `engine.load`: any layer comes back with its weights, on any backend; nothing else is accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cupy import use_backend
from refusals import refused
from safetensors.numpy import save_file

import engine
from engine.array_file import KEY, write_arrays
from engine.atomic import TEMPORARY
from engine.errors import CheckpointError, InputTypeError, StorageError
from engine.training import load_model, read_checkpoint
from kernels import cells as registry

D, H, K = 3, 5, 2
PLAIN: dict[str, Any] = {"backend": "numpy:reference"}
DOUBLE: dict[str, Any] = {**PLAIN, "dtype": "float64"}
DATA = Path(__file__).parent / "data" / "version1"

MODELS = {
    "a lone layer": lambda: engine.LSTM(D, H, 2, bidirectional=True, dropout=0.25, **PLAIN, seed=7),
    "projected": lambda: engine.LSTM(D, H, proj_size=2, **DOUBLE),
    "a cell by its name": lambda: engine.Recurrent("peephole_lstm", D, H, batch_first=True, **PLAIN),
    "of half precision": lambda: engine.GRU(D, H, precision="fp16", **PLAIN),
    "before the reset": lambda: engine.GRU(D, H, reset_after=False, **PLAIN),
    "nested": lambda: engine.Sequential(
        engine.Sequential(engine.GRU(D, H, **DOUBLE), engine.Dropout(0.5, **DOUBLE)),
        engine.Linear(H, K, **DOUBLE),
        seed=3,
    ),
    "layers of several seeds": lambda: engine.Sequential(engine.Embedding(9, D, seed=5), engine.RNN(D, H, seed=8)),
}


def inputs(model: Any) -> np.ndarray:
    draw = np.random.default_rng(1)
    if isinstance(model, engine.Sequential) and isinstance(model.layers[0], engine.Embedding):
        return draw.integers(0, 9, (4, 6))
    return draw.normal(size=(4, 6, D)).astype(model.dtype)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back(name: str, tmp_path: Path) -> None:
    """Weights, description, seeds and dropout counters: it goes on as the one that was saved."""
    model = MODELS[name]()
    draw = np.random.default_rng(0)
    for param in model.params.values():
        param[...] = draw.normal(size=param.shape)
    model.touch()
    x = inputs(model)
    model.forward(x)  # a dropout mask is used up
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = engine.load(path, backend=model.backend)
    assert again.config() == model.config()
    assert again.call_counters() == model.call_counters()
    assert type(again) is type(model)
    for one, other in ((model.forward(x), again.forward(x)), (model.predict(x), again.predict(x))):
        np.testing.assert_array_equal(one[0], other[0])
    before = path.read_bytes()
    engine.load(path, backend=model.backend).save(path)
    assert path.read_bytes() == before


def test_on_another_backend_and_in_another_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["nested"]()
    model.save(tmp_path / "m")
    x = inputs(model)
    there = engine.load(tmp_path / "m", backend=use_backend("look-alike", monkeypatch), dtype="float32")
    y = there.predict(there.backend.asarray(x, dtype=np.float32))[0]
    np.testing.assert_allclose(there.backend.to_host(y), model.predict(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", ["language", "forecast"])
def test_runs_of_the_command_line(which: str) -> None:
    """A run's folder, and each checkpoint in it."""
    wanted = load_model(read_checkpoint(DATA / which / "best.safetensors"), engine.get_backend("numpy:reference"))
    for path in (DATA / which, DATA / which / "best.safetensors", DATA / which / "last.safetensors"):
        found = engine.load(path, **PLAIN)
        assert found.config() == wanted.config()
        for name, value in wanted.params.items():
            np.testing.assert_array_equal(found.params[name], value)


def test_a_cell_of_ones_own_must_be_declared(tmp_path: Path) -> None:
    def forward(a_f: Any, h_prev: Any, sigmoid: Any, tanh: Any) -> Any:
        f = sigmoid(a_f)
        h = f * h_prev + f
        return f, h

    def backward(dh: Any, f: Any, h_prev: Any, one: Any) -> Any:
        da_f = dh * (h_prev + 1) * f * (1 - f)
        dh_prev = dh * f
        return da_f, dh_prev

    path = tmp_path / "m"
    cell = engine.Cell("leaky_of_mine", engine.Phase("f", forward, backward))
    try:
        engine.Sequential(engine.Recurrent(cell, D, H, **PLAIN)).save(path)
        assert engine.load(path, **PLAIN).layers[0].cell.name == "leaky_of_mine"
    finally:
        registry._CELLS.pop("leaky_of_mine")
    with refused(CheckpointError, "the cell 'leaky_of_mine' of the model, declared with engine.Cell", "run the code"):
        engine.load(path)


def test_a_layer_of_ones_own_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    class Mine(engine.Linear):
        pass

    with refused(InputTypeError, "model: expected layers of engine, which engine.load can build, got a Mine; "):
        engine.Sequential(Mine(D, K)).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_wrong_argument_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    MODELS["nested"]().save(tmp_path / "m")
    with refused(InputTypeError, "dtype: expected 'float32' or 'float64', got 'int8'"):
        engine.load(tmp_path / "m", **PLAIN, dtype="int8")
    with refused(engine.InputError, "backend: expected one of 'numpy'", "got 'jax'"):
        engine.load(tmp_path / "m", backend="jax")


def test_other_files(tmp_path: Path) -> None:
    model = MODELS["before the reset"]()
    path = tmp_path / "m"
    with refused(CheckpointError, "No such file or directory", "save one with model.save(path)"):
        engine.load(path)
    save_file(dict(model.params), path)
    with refused(CheckpointError, "expected metadata 'bptt-engine' in the safetensors header, got none"):
        engine.load(path)
    model.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with refused(CheckpointError, "cut short"):
        engine.load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with refused(CheckpointError, "(damaged)"):
        engine.load(path)
    with refused(engine.InputError, "run: expected a directory with best.safetensors or last.safetensors"):
        engine.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"type": "Exec", "args": {}}}, "a layer of type"),
        (
            {"model": {"type": "GRU", "args": {"input_size": D, "hidden_size": 10**6}}},
            "parameter 'bias_hh_l0' of shape",
        ),
        ({"model": {"type": "GRU", "args": {"input_size": D, "code": "x"}}}, "the arguments of GRU"),
        ({"model": {}}, "the description of a model"),
        ({"dtype": "object"}, "one of float32, float64 as metadata 'dtype'"),
        ({"seeds": [-1]}, "metadata 'seeds'"),
        ({"counters": None}, "metadata 'counters'"),
    ],
)
def test_a_description_that_does_not_fit(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    """It is compared with the arrays before anything is made of it."""
    model = MODELS["before the reset"]()
    meta = {"model": model.config(), "dtype": "float32", "seeds": [0], "counters": {"": 0}}
    write_arrays(tmp_path / "m", {f"model/{name}": value for name, value in model.params.items()}, meta | change)
    with refused(CheckpointError, words):
        engine.load(tmp_path / "m")


def test_it_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = MODELS["projected"](), tmp_path / "m.safetensors"
    model.save(path)
    before = path.read_bytes()
    model.params["weight_hr_l0"][...] = 2.0
    with monkeypatch.context() as patch:
        patch.setattr("engine.atomic.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with refused(StorageError, "choose another path"):
            model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(TEMPORARY)] == []
    shutil.rmtree(tmp_path)
    with pytest.raises(StorageError):
        model.save(path)


def test_the_description_is_json_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "m"
    MODELS["a lone layer"]().save(path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    meta = json.loads(header["__metadata__"][KEY])
    assert meta["model"]["type"] == "LSTM"
    assert meta["seeds"] == [7]
