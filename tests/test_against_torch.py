"""The benchmark beside PyTorch's gradient checker: what its table counts is really there."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.checker.against_torch import __main__ as command
from benchmarks.checker.against_torch import answers, figures, jobs
from engine.checking.subjects.trees import leaves

pytestmark = pytest.mark.oracle

#: A bug for every column of the table: plain ones, one of a thousandth, one of the protocol, one of truncated BPTT.
BUGS = (
    "lstm-final-c-dropped",
    "embedding-rows-assigned",
    "dropout-forgotten",
    "linear-dx-factor-1.001",
    "gradients-overwritten",
    "truncation-at-k1",
)
SEEDS = 6


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    path: Path = tmp_path_factory.mktemp("against") / "results.json"
    asked = ["--checks", "central", "slow", "fast"]
    command.main([*asked, "--seeds", str(SEEDS), "--bugs", *BUGS, "--out", str(path)])
    return json.loads(path.read_text())["checks"]


def test_both_sides_pass_right_code_and_catch_what_is_plainly_wrong(published: dict[str, dict]) -> None:
    assert list(published) == ["central", "slow", "fast"]
    for found in published.values():
        assert found["false alarms"] == [0, SEEDS + 4], found["not passed"]  # four cases of five bugs
        assert (found["undecided"], found["bugs raised"]) == (0, 0)
        assert not set(BUGS[:3]) & set(found["bugs missed"])
        assert 0 < found["seconds"]["median"] <= found["seconds"]["largest"] <= found["seconds"]["total"]
    assert published["central"]["bugs missed"] == {}


def test_what_cannot_be_asked_or_seen_stands_apart(published: dict[str, dict]) -> None:
    assert published["central"]["truncated BPTT"] == [1, 1]
    assert published["central"]["bugs caught"] == [5, 5]
    for mode in ("slow", "fast"):
        found = published[mode]
        assert found["truncated BPTT"] == [None, 1]
        assert found["bugs missed"] == {"linear-dx-factor-1.001": "ok", "gradients-overwritten": "ok"}
        assert (found["bugs caught"], found["protocol left out"]) == ([3, 5], [3, 4])
        assert found["check_undefined_grad=False"] == {"bugs caught": 3, "false alarms": 0}


def test_the_table_shows_every_figure(published: dict[str, dict]) -> None:
    text = "\n".join(figures.lines(published))
    assert max(map(len, text.splitlines())) <= 120
    for expected in ("PyTorch, slow        3 / 5     3 / 4      - / 1", "  gradients-overwritten (protocol)"):
        assert expected in text


def test_an_exception_is_caught_and_a_doubt_is_not() -> None:
    verdicts = ("raised", "cannot tell", "wrong", "kink", "ok")
    answers = {verdict: {"verdict": verdict, "seconds": 1.0} for verdict in verdicts}
    bugs = {("bug", name): answer for name, answer in zip(BUGS, answers.values(), strict=False)}
    seeds = {("seed", str(seed)): answer for seed, answer in enumerate(answers.values())}
    found = figures.figures(bugs | seeds)
    assert (found["bugs caught"], found["bugs raised"]) == ([2, 5], 1)
    assert set(found["bugs missed"]) == {BUGS[1], BUGS[3], BUGS[4]}
    assert (found["false alarms"], found["undecided"]) == ([3, 5], 1)
    assert set(found["not passed"]) == {"seed 0", "seed 1", "seed 2", "seed 3"}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_function_around_a_layer_is_the_layer(torch: ModuleType, seed: int) -> None:
    """Its values and gradients are those of forward and backward, dropout masks and all."""
    case = jobs.right_case(seed)
    layer = case.layer
    counters = layer.call_counters()
    y, last, tape = layer.forward(case.x, case.state, case.lengths)
    layer.load_call_counters(counters)
    dx, dfirst = layer.backward(tape, np.cos(y), None)
    wanted = [*(grad.copy() for grad in layer.grads.values()), dx, *leaves(dfirst)]

    function, inputs = answers.torch_function(torch, case)
    outputs = function(*inputs)
    function(*(tensor + 1 for tensor in inputs))  # another pass between leaves the first one's backward alone
    for found, expected in zip(outputs, (y, *leaves(last)), strict=True):
        np.testing.assert_array_equal(found.detach().numpy(), expected)
    found = torch.autograd.grad(outputs[0], inputs, torch.cos(outputs[0].detach()))
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_right_cases_are_drawn_from_every_cell_and_option() -> None:
    drawn = [jobs.draw(seed) for seed in range(200)]
    assert jobs.draw(7) == drawn[7]
    assert len({choices["kind"] for choices in drawn}) == 5
    for name in ("bias", "batch_first", "bidirectional", "zero state"):
        assert {choices[name] for choices in drawn} == {False, True}
    assert {choices["num_layers"] for choices in drawn} == {1, 2}
    assert all(c["bias"] for c in drawn if c["kind"] == "rnn_relu" and c["num_layers"] == 2)
    assert {choices.get("variational") for choices in drawn} == {None, False, True}
    assert {0 in choices["lengths"] for choices in drawn if choices["lengths"]} == {False, True}
    assert min(choices["T"] for choices in drawn) == 3
    assert max(choices["T"] for choices in drawn) > 40
    assert {figures.regime(("seed", str(seed))) for seed in range(20)} == set(figures.REGIMES)
