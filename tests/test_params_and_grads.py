"""What stands in `params` and `grads`: assigned entries write through, wrong ones are refused, nothing is replaced."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import engine
from engine.errors import InputError, InputTypeError, StaleTapeError

KERNELS = ("numpy:reference", "numpy:numba")
T, B, D, H = 4, 3, 5, 6


def chain(backend: str = "numpy:reference", **options: Any) -> engine.Sequential:
    """A Sequential in a Sequential, all kinds of parameters in it."""
    common = {"backend": backend, **options}
    inner = engine.Sequential(engine.GRU(D, H, **common), engine.Linear(H, 2, **common))
    return engine.Sequential(engine.Embedding(7, D, **common), inner)


def models(backend: str) -> dict[str, Callable[[], Any]]:
    return {
        "lstm": lambda: engine.LSTM(D, H, 2, bidirectional=True, backend=backend),
        "gru": lambda: engine.GRU(D, H, bias=False, backend=backend),
        "linear": lambda: engine.Linear(D, 2, backend=backend),
        "chain": lambda: chain(backend),
    }


def entry(model: Any) -> Any:
    if isinstance(model, engine.Sequential):
        return np.random.default_rng(1).integers(0, 7, size=(T, B))
    return np.random.default_rng(1).normal(size=(T, B, D)).astype(np.float32)


def gradients(model: Any) -> dict[str, np.ndarray]:
    """One forward and backward pass on top of what is there."""
    y, _, tape = model.forward(entry(model))
    model.backward(tape, np.random.default_rng(2).normal(size=y.shape).astype(y.dtype))
    return {name: grad.copy() for name, grad in model.grads.items()}


each_model = pytest.mark.parametrize("name", models("numpy:reference"))
each_kernels = pytest.mark.parametrize("backend", KERNELS)


# -- the first loop a student writes ---------------------------------------------------------------------------------


@each_model
@each_kernels
def test_the_loop_of_a_student_is_plain_gradient_descent(name: str, backend: str) -> None:
    by_loop, by_optimizer = models(backend)[name](), models(backend)[name]()
    optimizer = engine.SGD(by_optimizer, lr=0.1)
    for _ in range(3):
        for model in (by_loop, by_optimizer):
            model.zero_grad()
            gradients(model)
        for key in by_loop.params:
            by_loop.params[key] = by_loop.params[key] - np.float32(0.1) * by_loop.grads[key]
        optimizer.step()
    for key, param in by_optimizer.params.items():
        np.testing.assert_allclose(by_loop.params[key], param, rtol=1e-6, atol=1e-7)
    assert all((by_loop.params[key] != value).any() for key, value in models(backend)[name]().params.items())


def test_an_optimizer_and_the_outer_names_see_what_is_assigned_to_an_inner_layer() -> None:
    model = chain()
    optimizer = engine.SGD(model, lr=0.5)
    inner: Any = model.layers[1]
    inner = inner.layers[0]
    for key in inner.params:
        inner.params[key] = 2 * inner.params[key]
    np.testing.assert_array_equal(model.params["1.0.weight_hh_l0"], inner.params["weight_hh_l0"])
    before = gradients(model)["1.0.weight_hh_l0"]
    wanted = inner.params["weight_hh_l0"] - np.float32(0.5) * before
    optimizer.step()
    np.testing.assert_allclose(inner.params["weight_hh_l0"], wanted, rtol=1e-6)


@each_model
@each_kernels
def test_gradients_that_were_assigned_are_added_to(name: str, backend: str) -> None:
    model = models(backend)[name]()
    first = gradients(model)
    for key in model.grads:
        model.grads[key] = np.zeros_like(model.grads[key])
    again = gradients(model)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)
    for key in model.grads:
        model.grads[key] = np.asfortranarray(np.ones(model.grads[key].shape, np.float32))
    assert all(np.allclose(grad, first[key] + 1, rtol=1e-5, atol=1e-5) for key, grad in gradients(model).items())


def test_the_arrays_keep_their_identity_and_views_of_them_are_good() -> None:
    model = chain()
    held, held_grads = dict(model.params), dict(model.grads)
    for key in model.params:
        model.params[key] = model.params[key] + np.float32(1)
        model.grads[key] *= 0
    assert all(model.params[key] is held[key] for key in held)
    assert all(model.grads[key] is held_grads[key] for key in held)
    assert model.params["1.1.weight"] is model.layers[1].params["1.weight"]


def test_an_assigned_array_may_overlap_the_one_that_is_there() -> None:
    layer = engine.Linear(4, 4, backend="numpy:reference")
    weight = layer.params["weight"].copy()
    layer.params["weight"] = layer.params["weight"].T
    np.testing.assert_array_equal(layer.params["weight"], weight.T)
    layer.params["weight"] = layer.params["weight"][::-1]
    np.testing.assert_array_equal(layer.params["weight"], weight.T[::-1])


def test_a_tape_from_before_an_assignment_is_stale() -> None:
    model = chain()
    y, _, tape = model.forward(entry(model))
    model.params["1.0.bias_hh_l0"] = model.params["1.0.bias_hh_l0"] + np.float32(0.5)
    with pytest.raises(StaleTapeError):
        model.backward(tape, y)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_writes_through_to_itself_alone(duplicate: Callable[[Any], Any]) -> None:
    model = chain("numpy:numba")
    other = duplicate(model)
    other.params["1.0.weight_hh_l0"] = 3 * other.params["1.0.weight_hh_l0"]
    other.params["0.weight"][...] = 0
    assert (other.layers[1].layers[0].params["weight_hh_l0"] == 3 * model.params["1.0.weight_hh_l0"]).all()
    y, _, _ = other.forward(entry(other))
    assert not np.array_equal(y, model.forward(entry(model))[0])
    assert gradients(other)["1.0.weight_ih_l0"].any() == 0  # what comes in is zeros
    assert gradients(model)["1.0.weight_ih_l0"].any()


# -- what is refused -------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[np.ndarray], Any], type[InputError], str]] = {
    "None": (lambda a: None, InputTypeError, "got None"),
    "a number": (lambda a: 0.0, InputTypeError, "got 0.0"),
    "a list": (lambda a: a.tolist(), InputTypeError, "got a list"),
    "another dtype": (lambda a: a.astype(np.float64), InputTypeError, "dtype float64"),
    "another shape": (lambda a: np.zeros((2, *a.shape), a.dtype), InputError, "shape (2,"),
    "broadcast": (lambda a: np.zeros((1,) * a.ndim, a.dtype), InputError, "shape (1,"),
    "turned": (lambda a: np.zeros((*a.shape, 1), a.dtype), InputError, "shape ("),
    "masked": (lambda a: np.ma.masked_array(a, mask=a > 0), InputTypeError, "MaskedArray"),
    "integers": (lambda a: a.astype(np.int32), InputTypeError, "dtype int32"),
    "objects": (lambda a: a.astype(object), InputTypeError, "dtype object"),
}


@each_kernels
@pytest.mark.parametrize("mapping", ["params", "grads"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_array_is_refused_and_nothing_has_changed(backend: str, mapping: str, wrong: str) -> None:
    make, error, words = WRONG[wrong]
    for name, model in ((key, build()) for key, build in models(backend).items() if key in ("lstm", "chain")):
        arrays = getattr(model, mapping)
        key = sorted(arrays)[-1]
        before = {k: v.copy() for k, v in arrays.items()}
        with pytest.raises(error) as caught:
            arrays[key] = make(arrays[key])
        assert mapping in str(caught.value)
        assert words in str(caught.value), name
        for k, v in before.items():
            np.testing.assert_array_equal(arrays[k], v)
        gradients(model)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, key: arrays.__delitem__(key),
        lambda arrays, key: arrays.pop(key),
        lambda arrays, key: arrays.clear(),
        lambda arrays, key: arrays.popitem(),
        lambda arrays, key: arrays.update({key: None}),
        lambda arrays, key: arrays.__setitem__("weight_of_nobody", arrays[key]),
        lambda arrays, key: arrays.setdefault(3, arrays[key]),
    ],
)
@pytest.mark.parametrize("mapping", ["params", "grads"])
def test_entries_are_not_removed_and_none_is_added(spoil: Callable[[Any, str], Any], mapping: str) -> None:
    for model in (engine.LSTM(D, H), chain("numpy:numba")):
        arrays = getattr(model, mapping)
        names = list(arrays)
        with pytest.raises(InputError):
            spoil(arrays, names[1])
        assert list(arrays) == names
        gradients(model)


@each_kernels
def test_an_array_that_is_reshaped_from_outside_does_not_mislead_the_kernels(backend: str) -> None:
    wanted = gradients(engine.LSTM(D, H, backend=backend))
    layer = engine.LSTM(D, H, backend=backend)
    held = layer.params["weight_hh_l0"]
    for arrays in (layer.params, layer.grads):
        arrays["weight_hh_l0"].resize((2, 2 * H * H), refcheck=True)  # the same numbers, laid out otherwise
    assert held.shape == (2, 2 * H * H)
    gradients(layer)
    np.testing.assert_array_equal(layer.grads["weight_hh_l0"].reshape(4 * H, H), wanted["weight_hh_l0"])
    with pytest.raises(InputError, match="weight_hh_l0"):
        layer.params["weight_hh_l0"] = held


SHAPING = {
    "lstm": ["hidden_size", "input_size", "num_layers", "num_directions", "bidirectional", "bias", "dtype"],
    "gru": ["batch_first", "reset_after", "cell", "backend", "params", "grads"],
    "linear": ["in_features", "out_features", "bias"],
    "chain": ["layers", "batch_first", "params"],
}


@pytest.mark.parametrize(("name", "attribute"), [(name, one) for name, some in SHAPING.items() for one in some])
def test_what_shapes_a_layer_is_read_only(name: str, attribute: str) -> None:
    model = models("numpy:numba")[name]()
    before = getattr(model, attribute)
    with pytest.raises(InputError, match=attribute):
        setattr(model, attribute, 1000)
    with pytest.raises(InputError, match=attribute):
        delattr(model, attribute)
    assert getattr(model, attribute) is before
    gradients(model)


@pytest.mark.parametrize(
    ("attribute", "good", "bad"),
    [
        ("dropout", 0.25, 1.5),
        ("variational", True, "no"),
        ("call_counter", 3, -1),
        ("row_offset", 2, 0.5),
        ("seed", 4, "x"),
    ],
)
def test_settings_that_may_change_are_checked(attribute: str, good: Any, bad: Any) -> None:
    layer = engine.LSTM(D, H, 2, dropout=0.5, backend="numpy:reference")
    setattr(layer, attribute, good)
    with pytest.raises(InputError, match=attribute):
        setattr(layer, attribute, bad)
    assert getattr(layer, attribute) == good


@pytest.mark.parametrize("array", ["h", "c", "x"])
def test_a_tape_whose_arrays_were_reshaped_is_refused(array: str) -> None:
    layer = engine.LSTM(D, H, backend="numpy:numba")
    y, _, tape = layer.forward(entry(layer))
    found = getattr(tape.layers[0][0], array)
    found.resize((found.size,), refcheck=False)
    with pytest.raises(InputError, match="tape: expected arrays as forward left them"):
        layer.backward(tape, y)


@given(st.lists(st.sampled_from(sorted(WRONG)), min_size=1, max_size=4), st.integers(0, 10**6))
def test_any_mix_of_wrong_entries_leaves_a_model_that_works(kinds: list[str], pick: int) -> None:
    model = chain("numpy:numba")
    wanted = gradients(chain("numpy:numba"))
    for place, kind in enumerate(kinds):
        arrays = (model.params, model.grads)[(pick + place) % 2]
        key = sorted(arrays)[(pick + place) % len(arrays)]
        with pytest.raises(InputError):
            arrays[key] = WRONG[kind][0](arrays[key])
    for key, grad in gradients(model).items():
        np.testing.assert_array_equal(grad, wanted[key])


# -- several threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("name", ["lstm", "linear", "chain"])
def test_backward_passes_of_four_threads_lose_nothing(name: str, backend: str) -> None:
    model = models(backend)[name]()
    once = {key: grad.astype(np.float64) for key, grad in gradients(model).items()}
    model.zero_grad()
    threads = [threading.Thread(target=lambda: [gradients(model) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for key, grad in model.grads.items():
        np.testing.assert_allclose(grad, 100 * once[key], rtol=1e-4, atol=1e-3, err_msg=key)


def test_each_of_several_threads_draws_masks_of_its_own() -> None:
    layer = engine.Dropout(0.5, backend="numpy:reference")
    x = np.ones((3, 4, 50), np.float32)
    masks: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: masks.extend(layer.forward(x)[0].tobytes() for _ in range(25)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert layer.call_counter == len(set(masks)) == 100


# -- wrong calls of a layer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: engine.LSTM(4, 10**12), "LSTM: expected parameters and gradients that fit into"),
        (lambda: engine.GRU(10**30, 2), "about 2^"),
        (lambda: engine.RNN(4, 6, 10**12), "num_layers: expected at most 1000 layers"),
        (lambda: engine.Embedding(10**30, 4), "num_embeddings"),
        (lambda: engine.Linear(10**13, 2, dtype="float64"), "in_features 10000000000000"),
    ],
)
def test_sizes_that_no_memory_holds_are_refused_at_once(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        build()
    assert words in str(caught.value)


@pytest.mark.parametrize("name", models("numpy:reference"))
def test_training_is_a_switch(name: str) -> None:
    model = models("numpy:reference")[name]()
    with pytest.raises(InputTypeError, match="training: expected True or False"):
        model.forward(entry(model), training="no")


@pytest.mark.parametrize("span", [(-1, 2), (2, 1), (0, T + 1), (0.5, 2), ("0", 2)])
def test_a_window_lies_within_its_tape(span: tuple[Any, Any]) -> None:
    layer = engine.LSTM(D, H, backend="numpy:reference")
    others: list[Any] = [layer, engine.Linear(D, 2, batch_first=False), engine.Dropout(0.5)]
    for model in others:
        _, _, tape = model.forward(entry(layer))
        with pytest.raises(InputError, match=r"^(start|stop|window): expected"):
            model.window(tape, *span)
        with pytest.raises(InputTypeError, match="tape"):
            model.window("tape", 0, 2)


@pytest.mark.parametrize("counters", [None, {"0": 1}, {"0": 1, "1": [2]}, {"0": 3, "1": -1}, {"0": 3, "1": 2.5}])
def test_wrong_call_counters_change_nothing(counters: Any) -> None:
    model = engine.Sequential(engine.Dropout(0.5), engine.Dropout(0.5))
    with pytest.raises(InputError, match="counters"):
        model.load_call_counters(counters)
    assert model.call_counters() == {"0": 0, "1": 0}


@pytest.mark.parametrize(
    "config",
    [None, "LSTM", {}, {"type": [], "args": {}}, {"type": "Sequential", "args": {}}, {"type": "GRU", "args": {"x": 1}}],
)
def test_a_description_that_is_none_is_refused(config: Any) -> None:
    with pytest.raises(InputError, match=r"^(config|options): expected"):
        engine.layers.from_config(config)


def test_lengths_on_a_tape_cannot_be_written() -> None:
    layer = engine.LSTM(D, H, backend="numpy:numba")
    y, _, tape = layer.forward(entry(layer), lengths=[4, 2, 0])
    with pytest.raises(ValueError, match="read-only"):
        tape.timeline.lengths[0] = 1000
    with pytest.raises(AttributeError):
        setattr(tape.timeline, "lengths", np.array([1000, 1000, 1000]))  # noqa: B010
    layer.backward(tape, y)
