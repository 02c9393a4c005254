"""ONNX both ways: what ONNX Runtime computes from our files, and what we read from files of others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import build

import engine

onnx: Any = pytest.importorskip("onnx", reason="onnx absent: pip install 'bptt-engine[onnx]'")
T, B, D, H, V = 7, 4, 3, 5, 6
REFERENCE: dict[str, Any] = {"backend": "numpy:reference"}
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before", "peephole_lstm")
#: Valid steps by layout: of each row, one of them without any.
LENGTHS = [7, 2, 0, 5]


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with random weights that move every gate."""
    rng = np.random.default_rng(seed)
    model.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in model.state_dict().items()})
    return model


def inputs(model: Any, ids: bool = False, dtype: str = "float32") -> Any:
    """A random x in the layout of the model."""
    rng, first = np.random.default_rng(1), getattr(model, "layers", [model])[0]
    shape = (B, T) if first.batch_first else (T, B)
    return rng.integers(0, 11, shape) if ids else rng.normal(size=(*shape, D)).astype(dtype)


def in_onnx_runtime(path: Path, x: Any, lengths: Any = None) -> Any:
    """What ONNX Runtime makes of a file."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime absent: pip install onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    assert names == (["x"] if lengths is None else ["x", "lengths"])
    assert session.get_outputs()[0].name == "y"
    given = {"x": x} | ({} if lengths is None else {"lengths": np.array(lengths, np.int32)})
    return session.run(None, given)[0]


def both_ways(model: Any, path: Path, x: Any, lengths: Any = None) -> Any:
    """The model read back, after ONNX Runtime has computed the same as ours from the file."""
    engine.export_onnx(model, path, lengths=lengths is not None)
    ours = model.predict(x, lengths=lengths)[0]
    if model.dtype == np.float32:
        theirs = in_onnx_runtime(path, x, lengths)
        assert theirs.shape == ours.shape
        assert abs(theirs - ours).max() <= 1e-5 * abs(ours).max()
    back = engine.import_onnx(path).to(backend=model.backend)
    assert back.params.keys() == model.params.keys()
    for name, param in model.params.items():
        assert back.params[name].dtype == param.dtype
        assert np.array_equal(back.params[name], param), name
    assert np.array_equal(back.predict(x, lengths=lengths)[0], ours)
    return back


def recurrent(cell: str, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", engine.errors.OptionWarning)
        return build(cell, D, H, **{"layers": 2, "dtype": "float32", **REFERENCE, **options})


@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both ways"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_runs_in_onnx_runtime_and_comes_back(
    cell: str, bidirectional: bool, batch_first: bool, tmp_path: Path
) -> None:
    model = recurrent(cell, bidirectional=bidirectional, batch_first=batch_first, dropout=0.25)
    back = both_ways(model, tmp_path / "model.onnx", inputs(model))
    assert back.config() == model.config()


@pytest.mark.parametrize("cell", CELLS)
def test_rows_with_lengths(cell: str, tmp_path: Path) -> None:
    model = recurrent(cell, bidirectional=cell != "gru", bias=cell != "lstm")
    both_ways(model, tmp_path / "model.onnx", inputs(model), LENGTHS)


@pytest.mark.parametrize("cell", CELLS)
def test_float64_comes_back_bit_for_bit(cell: str, tmp_path: Path) -> None:
    model = recurrent(cell, bidirectional=True, dtype="float64")
    both_ways(model, tmp_path / "model.onnx", inputs(model, dtype="float64"))


def text_model(batch_first: bool) -> Any:
    """Ids to logits, with everything between that ONNX has."""
    layers = [
        engine.Embedding(11, D, **REFERENCE),
        engine.Dropout(0.3, **REFERENCE),
        engine.LSTM(D, H, bidirectional=True, batch_first=batch_first, **REFERENCE),
        engine.LayerNorm(2 * H, eps=1e-3, **REFERENCE),
        engine.GRU(2 * H, 4, batch_first=batch_first, **REFERENCE),
        engine.Linear(4, V, **REFERENCE),
    ]
    return randomised(engine.Sequential(*layers))


@pytest.mark.parametrize("lengths", [False, True], ids=["whole rows", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
def test_a_model_of_many_layers(batch_first: bool, lengths: bool, tmp_path: Path) -> None:
    model = text_model(batch_first)
    back = both_ways(model, tmp_path / "model.onnx", inputs(model, ids=True), LENGTHS if lengths else None)
    assert back.config() == model.config()


def test_several_ids_of_a_step(tmp_path: Path) -> None:
    table = engine.Embedding(11, D, features=2, **REFERENCE)
    model = randomised(engine.Sequential(table, engine.GRU(2 * D, H, batch_first=True, **REFERENCE)))
    ids = np.random.default_rng(1).integers(0, 11, (B, T, 2))
    assert both_ways(model, tmp_path / "model.onnx", ids).config() == model.config()


@pytest.mark.parametrize("lengths", [False, True], ids=["whole rows", "lengths"])
@pytest.mark.parametrize("kind", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
def test_pooling(batch_first: bool, kind: str, lengths: bool, tmp_path: Path) -> None:
    """A Linear stands before the pooling, which says something about pads too; the last step is a recurrent state."""
    trunk = engine.GRU(D, H, 2, bidirectional=True, batch_first=batch_first, **REFERENCE)
    between = [engine.Linear(2 * H, 8, **REFERENCE)] if kind != "last" else []
    pool = engine.Pool(kind, 8 if kind == "attention" else None, directions=1 + (kind == "last"), **REFERENCE)
    last = engine.Linear(8 if between else 2 * H, V, **REFERENCE)
    model = randomised(engine.Sequential(trunk, *between, pool, last))
    back = both_ways(model, tmp_path / "model.onnx", inputs(model), LENGTHS if lengths else None)
    assert back.config() == model.config()


@pytest.mark.parametrize("lengths", [False, True], ids=["whole rows", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
def test_batch_normalisation(batch_first: bool, lengths: bool, tmp_path: Path) -> None:
    """Of x, of every step, and of a row's vector: with the running statistics."""
    layers = [
        engine.BatchNorm(D, eps=1e-3, momentum=0.3, **REFERENCE),
        engine.GRU(D, H, batch_first=batch_first, **REFERENCE),
        engine.BatchNorm(H, **REFERENCE),
        engine.Pool("mean", **REFERENCE),
        engine.BatchNorm(H, momentum=0.05, **REFERENCE),
    ]
    model, rng = engine.Sequential(*layers), np.random.default_rng(4)
    for _ in range(3):
        model.forward((3.0 * rng.normal(size=(B, T, D) if batch_first else (T, B, D)) + 1.0).astype(np.float32))
    for name, value in model.params.items():
        model.params[name] = rng.normal(size=value.shape).astype(np.float32)
    back = both_ways(model, tmp_path / "model.onnx", inputs(model), LENGTHS if lengths else None)
    assert back.config() == model.config()


@pytest.mark.parametrize("lengths", [False, True], ids=["whole rows", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["TB", "BT"])
def test_functions(batch_first: bool, lengths: bool, tmp_path: Path) -> None:
    layers = [
        engine.GRU(D, H, batch_first=batch_first, **REFERENCE),
        engine.Linear(H, 8, **REFERENCE),
        engine.Activation("relu", **REFERENCE),
        engine.Linear(8, 4, **REFERENCE),
        engine.Activation("sigmoid", **REFERENCE),
        engine.Activation("softmax", **REFERENCE),
        engine.Pool("attention", 4, **REFERENCE),
        engine.Activation("tanh", **REFERENCE),
        engine.Linear(4, V, **REFERENCE),
        engine.Activation("softmax", **REFERENCE),
    ]
    model = randomised(engine.Sequential(*layers))
    back = both_ways(model, tmp_path / "model.onnx", inputs(model), LENGTHS if lengths else None)
    assert back.config() == model.config()


@pytest.mark.parametrize("directions", [1, 2])
def test_the_last_valid_step(directions: int, tmp_path: Path) -> None:
    trunk = engine.LSTM(D, H, bidirectional=directions == 2, **REFERENCE)
    dropout, pool = engine.Dropout(0.2, **REFERENCE), engine.Pool(directions=directions, **REFERENCE)
    model = randomised(engine.Sequential(trunk, dropout, pool, engine.Linear(directions * H, V, **REFERENCE)))
    both_ways(model, tmp_path / "model.onnx", inputs(model), LENGTHS)


def test_a_largest_value_needs_no_directions(tmp_path: Path) -> None:
    """Only the last step asks how many directions there are, and so only there may a Linear not stand between."""
    trunk, pool = engine.GRU(D, H, **REFERENCE), engine.Pool("max", directions=2, **REFERENCE)
    model = randomised(engine.Sequential(trunk, engine.Linear(H, V, **REFERENCE), pool))
    both_ways(model, tmp_path / "model.onnx", inputs(model))


def test_two_layers_in_a_row_stay_two(tmp_path: Path) -> None:
    """The layers of one stack come back as one, those of a Sequential as they were."""
    model = randomised(engine.Sequential(engine.GRU(D, D, **REFERENCE), engine.GRU(D, D, **REFERENCE)))
    both_ways(model, tmp_path / "model.onnx", inputs(model))


# -- what cannot be written --------------------------------------------------------------------------------------------


def test_layers_that_onnx_lacks_are_named_together(tmp_path: Path) -> None:
    model = engine.Sequential(
        engine.Recurrent("mgu", D, 4, **REFERENCE),
        engine.LSTM(4, 4, zoneout=0.1, **REFERENCE),
        engine.Attention("dot", 4, 4, **REFERENCE),
    )
    with pytest.raises(engine.InputError) as caught:
        engine.export_onnx(model, tmp_path / "model.onnx")
    for name in ("mgu (layer 0)", "zoneout of lstm (layer 1)", "Attention (layer 2)"):
        assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_last_step_of_rows_with_lengths_is_refused_behind_another_layer(tmp_path: Path) -> None:
    layers = engine.GRU(D, H, **REFERENCE), engine.Linear(H, V, **REFERENCE), engine.Pool(**REFERENCE)
    with pytest.raises(engine.InputError, match="lengths: expected False with the Pool of layer 2"):
        engine.export_onnx(engine.Sequential(*layers), tmp_path / "model.onnx", lengths=True)


# -- files of others ---------------------------------------------------------------------------------------------------


def torch_models(torch: ModuleType) -> dict[str, Any]:
    """Models as PyTorch's users write them."""
    nn: Any = torch.nn

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.fc = nn.Embedding(11, D), nn.Linear(2 * H, V)
            self.lstm = nn.LSTM(D, H, 2, batch_first=True, bidirectional=True, dropout=0.3)

        def forward(self, x: Any) -> Any:
            return self.fc(self.lstm(self.table(x))[0])

    class LastStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc = nn.GRU(D, H), nn.Linear(H, V)

        def forward(self, x: Any) -> Any:
            return self.fc(self.gru(x)[0][-1])

    class LastStates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(D, H, 2, batch_first=True, bidirectional=True), nn.Linear(2 * H, V)

        def forward(self, x: Any) -> Any:
            h = self.lstm(x)[1][0]
            return self.fc(torch.cat([h[-2], h[-1]], dim=1))

    relu = nn.RNN(D, H, 2, nonlinearity="relu")
    stack = nn.GRU(D, H, 3, bidirectional=True, bias=False)
    return {"text": Text(), "last step": LastStep(), "last states": LastStates(), "relu": relu, "stack": stack}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # the exporters warn of each other, and of what they trace
@pytest.mark.parametrize("name", ["text", "last step", "last states", "relu", "stack"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
def test_what_torch_exports(dynamo: bool, name: str, torch: ModuleType, tmp_path: Path) -> None:
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript absent, which torch.onnx.export(dynamo=True) needs")
        if name == "relu":
            pytest.skip("this exporter unrolls nn.RNN into single steps")
    torch.manual_seed(3)
    model = torch_models(torch)[name].eval()
    x = torch.randint(0, 11, (B, T)) if name == "text" else torch.randn(B, T, D)
    path = tmp_path / "model.onnx"
    open_axes: dict[str, Any] = {"dynamic_axes": {"x": {0: "first", 1: "second"}}}
    if dynamo:
        open_axes = {"dynamic_shapes": ({0: torch.export.Dim("first"), 1: torch.export.Dim("second")},)}
    torch.onnx.export(model, (x,), path, input_names=["x"], dynamo=dynamo, verbose=False, **open_axes)
    theirs = model(x)
    theirs = (theirs[0] if isinstance(theirs, tuple) else theirs).detach().numpy()
    ours = engine.import_onnx(path)
    assert getattr(ours, "layers", [ours])[-1].batch_first == (name in ("text", "last states"))
    found = ours.predict(x.numpy())[0]
    assert found.shape == theirs.shape
    assert abs(found - theirs).max() <= 1e-5 * abs(theirs).max()


Nodes = list[Any]


def as_graph(nodes: Nodes, constants: dict[str, Any], x_shape: list[Any], y: str = "y") -> Any:
    """A file's content, from its nodes."""
    helper = onnx.helper
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", 1, x_shape)],
        [helper.make_tensor_value_info(y, 1, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def gru_constants() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    shapes = {"W": (1, 3 * H, D), "R": (1, 3 * H, H), "B": (1, 6 * H)}
    return {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(
        op,
        inputs.split(" "),
        outputs.split(" "),
        name=f"the_{op}" if op in ("GRU", "Conv", "Einsum") else "",
        **attributes,
    )


def gru(**attributes: Any) -> Nodes:
    """A GRU in the middle of time-major nodes."""
    attributes = {"hidden_size": H, **attributes}
    return [node("GRU", "x W R B", "Y Y_h", **attributes), node("Squeeze", "Y one", "y")]


@pytest.mark.parametrize("through", ["Squeeze", "Reshape", "Transpose"])
def test_the_last_state_of_a_converter(through: str, tmp_path: Path) -> None:
    """Converters of Keras models take Y_h, and leave its axis of directions by one of these."""
    constants = gru_constants() | {"zero": np.array([0]), "flat": np.array([-1, H]), "keep": np.array([0, -1])}
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node("GRU", "t W R B", "Y Y_h", hidden_size=H)]
    if through == "Squeeze":
        nodes.append(node("Squeeze", "Y_h zero", "y"))
    elif through == "Reshape":
        nodes.append(node("Reshape", "Y_h flat", "y"))
    else:
        nodes += [node("Transpose", "Y_h", "bnh", perm=[1, 0, 2]), node("Reshape", "bnh keep", "y")]
    path = tmp_path / "model.onnx"
    onnx.save(as_graph(nodes, constants, ["batch", "time", D]), path)
    model = engine.import_onnx(path)
    x = np.random.default_rng(2).normal(size=(B, T, D)).astype(np.float32)
    theirs = in_onnx_runtime(path, x)
    assert abs(model.predict(x)[0] - theirs).max() <= 1e-5 * abs(theirs).max()


@pytest.mark.parametrize("through", ["Split", "Slice", "Gather"])
def test_directions_that_a_converter_takes_apart(through: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shapes = {"W": (2, H, D), "R": (2, H, H), "B": (2, 2 * H)}
    constants: dict[str, Any] = {name: rng.normal(scale=0.5, size=s).astype(np.float32) for name, s in shapes.items()}
    constants |= {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    constants |= {"first": np.array(0), "last": np.array(-1)}
    nodes = [node("RNN", "x W R B", "Y", hidden_size=H, direction="bidirectional")]
    if through == "Split":
        nodes += [node("Split", "Y", "a b", axis=1), node("Squeeze", "a one", "f"), node("Squeeze", "b one", "r")]
    elif through == "Slice":
        nodes += [node("Slice", "Y zero one one", "a"), node("Squeeze", "a one", "f")]
        nodes += [node("Slice", "Y one two one", "b"), node("Squeeze", "b one", "r")]
    else:
        nodes += [node("Gather", "Y first", "f", axis=1), node("Gather", "Y last", "r", axis=1)]
    path = tmp_path / "model.onnx"
    onnx.save(as_graph([*nodes, node("Concat", "f r", "y", axis=2)], constants, ["time", "batch", D]), path)
    x = np.random.default_rng(2).normal(size=(T, B, D)).astype(np.float32)
    theirs = in_onnx_runtime(path, x)
    assert abs(engine.import_onnx(path).predict(x)[0] - theirs).max() <= 1e-5 * abs(theirs).max()
    onnx.save(as_graph([*nodes, node("Concat", "r f", "y", axis=2)], constants, ["time", "batch", D]), path)
    with pytest.raises(engine.InputError, match="outputs joined that are not both directions"):
        engine.import_onnx(path)


def test_batch_leads_with_layout_1(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    nodes = [node("GRU", "x W R B", "Y Y_h", hidden_size=H, layout=1), node("Squeeze", "Y two", "y")]
    onnx.save(as_graph(nodes, gru_constants() | {"two": np.array([2])}, ["batch", "time", D]), path)
    model = engine.import_onnx(path)
    assert model.batch_first
    assert not model.reset_after


#: Graphs that no layer here computes, and what the message says of them.
STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "activations": (
        lambda: gru(activations=["HardSigmoid", "Tanh"]),
        r"GRU \(the_GRU\).*activations=HardSigmoid, Tanh",
    ),
    "clip": (lambda: gru(clip=3.0), "clip=3.0"),
    "reverse": (lambda: gru(direction="reverse"), "direction='reverse' alone"),
    "a shape": (lambda: [node("GRU", "x R W B", "Y"), node("Squeeze", "Y one", "y")], "W of shape"),
    "other layers": (
        lambda: [*gru()[:1], node("Conv", "Y W", "c"), node("Einsum", "c", "y", equation="i->i")],
        r"got Conv \(the_Conv\), Einsum \(the_Einsum\)$",
    ),
    "a sum": (
        lambda: [*gru(), node("ReduceSum", "y zero", "sum", keepdims=0), node("Identity", "sum", "out")],
        "the model's y as the first output",
    ),
    "a softmax over rows": (lambda: [*gru(), node("Softmax", "y", "out", axis=1)], "not over the features or"),
    "pads within a mean": (
        lambda: [
            node("GRU", "x W R B lengths", "Y", hidden_size=H),
            node("Squeeze", "Y one", "y"),
            node("ReduceMean", "y", "out", axes=[0]),
        ],
        "a reduction over the pads of rows with lengths",
    ),
    "other weights": (
        lambda: [
            *gru(),
            node("MatMul", "y column", "s"),
            node("Softmax", "s", "a", axis=0),
            node("MatMul", "y square", "other"),
            node("Mul", "a other", "out"),
        ],
        "weights of the steps that are no product of them",
    ),
    "no layer": (lambda: [node("Identity", "x", "y")], "an LSTM, GRU or RNN node that y depends on, got none"),
    "unrolled": (lambda: [node("MatMul", "x V", "m"), node("Relu", "m", "y")], "dynamo=False"),
    "first states": (lambda: [node("GRU", "x W R B  S", "Y"), node("Squeeze", "Y one", "y")], "initial_h that is not"),
    "a step": (lambda: [*gru()[:1], node("Gather", "Y three", "y")], "step 3 alone"),
    "a loop of names": (lambda: [node("GRU", "y W R B", "Y"), node("Squeeze", "Y one", "y")], "which nothing makes"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_graph_that_no_layer_computes_is_refused(case: str, tmp_path: Path) -> None:
    make, words = STRANGE[case]
    constants = gru_constants() | {"one": np.array([1]), "three": np.array(3), "V": np.ones((D, D), np.float32)}
    constants |= {"S": np.ones((1, B, H), np.float32), "zero": np.array([0])}
    constants |= {"column": np.ones((H, 1), np.float32), "square": np.ones((H, H), np.float32)}
    path, nodes = tmp_path / "strange.onnx", make()
    made = as_graph(nodes, constants, ["time", "batch", D], "out" if "out" in nodes[-1].output else "y")
    made.graph.input.append(onnx.helper.make_tensor_value_info("lengths", 6, ["batch"]))
    onnx.save(made, path)
    with pytest.raises(engine.InputError, match=words) as caught:
        engine.import_onnx(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = as_graph(gru(), gru_constants() | {"one": np.array([1])}, ["time", "batch", D])
    claims = onnx.ModelProto.FromString(whole.SerializeToString())
    claims.graph.initializer[0].dims[0] = 2**31
    outside = onnx.ModelProto.FromString(whole.SerializeToString())
    tensor = outside.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    data = whole.SerializeToString()
    damaged = {
        "empty": b"",
        "text": b"hello, this is a text",
        "cut": data[: len(data) // 2],
        "claims of 2 GB": claims.SerializeToString(),
        "numbers elsewhere": outside.SerializeToString(),
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(engine.InputError) as caught:
            engine.import_onnx(path)
        assert str(caught.value).startswith(f"{path}: expected "), name
        assert "\n" not in str(caught.value)
    with pytest.raises(engine.InputError, match="No such file"):
        engine.import_onnx(tmp_path / "none.onnx")
