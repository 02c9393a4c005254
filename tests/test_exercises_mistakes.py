"""Exercises: a mistake gets no points and a word that helps, and none ends the judging of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from student_files import SOLUTIONS, judged, said, sampled

from engine.classroom.exercises import judging, recurrent_layers
from engine.classroom.exercises.hidden import forward_mistakes, padding, recurrent_pairs, single_functions

#: Six kinds of mistakes, then more: exercise, right text, wrong text, the words that must be in the output.
KINDS = {
    "sign": ("gru_step", "da_z = dz * z", "da_z = -dz * z", "minus the right value there: a sign"),
    "missing term": ("lstm_step", "dc = dc + dh * o", "dc = dh * o", "overwrites what the next step sent to c"),
    "wrong slot": (
        "rnn",
        "dweight_hh += da.T @ slots[t]",
        "dweight_hh += da.T @ slots[t + 1]",
        "the state after the step",
    ),
    "wrong operand": ("lstm_step", "dc * c_prev, dc * g", "dc * c, dc * g", "takes the new cell state"),
    "no accumulation": ("lstm", "dweight_hh += da", "dweight_hh = da", "each step overwrites it"),
    "in place": ("rnn", "da = (dh[t] + carried) *", "dh[t] += carried; da = dh[t] *", "an in-place change"),
}
MORE = {
    "transposed": ("rnn_step", "da @ weight_hh, da.T", "da @ weight_hh.T, da.T", "transposed on the way back"),
    "mean": ("rnn_step", "da.sum(axis=0)", "da.mean(axis=0)", "a mean in place of a sum"),
    "forward transposed": ("rnn_step", "@ weight_hh.T + bias", "@ weight_hh + bias", "weight_hh is transposed"),
    "slope": ("lstm_step", "(1 - np.tanh(c) ** 2)", "(1 - c ** 2)", "it is taken for 1 - c**2"),
    "gate order": ("lstm_step", "a_i, a_f, a_g, a_o =", "a_i, a_f, a_o, a_g =", "read in the order i, f, o, g"),
    "no way back": ("rnn", "(dh[t] + carried)", "dh[t]", "overwrites what came back from later steps"),
    "slots of forward": ("rnn", "slots[1:].copy()", "slots[:-1].copy()", "the state before each step"),
    "final c": (
        "lstm",
        "np.zeros_like(dc_last), dc_last",
        "np.zeros_like(dc_last), 0 * dc_last",
        "final c is not looked at",
    ),
    "z exchanged": (
        "gru_step",
        "h = (1 - z) * n + z * h_prev\n    return",
        "h = z * n + (1 - z) * h_prev\n    return",
        "z and 1 - z are exchanged",
    ),
    "hidden side": ("gru_step", "da_z, da_n * r]", "da_z, da_n]", "r is forgotten"),
    "padding": (
        "gru",
        "np.where(valid, (1 - z) * n + z * h_prev, h_prev)",
        "(1 - z) * n + z * h_prev",
        "lengths are not used",
    ),
    "repeated word": (
        "embedding",
        "np.add.at(dweight, ids, dy)",
        "dweight[ids] += dy",
        "only one of its places counts",
    ),
    "not divided": (
        "softmax_loss",
        "weights * (p - right)",
        "mask[..., None] * (p - right)",
        "not divided by the number",
    ),
    "overflow": ("softmax_loss", "logits.max(axis=-1, keepdims=True)", "0", "exp of a large number"),
    "one step too far": ("truncated_bptt", "stop - k2)", "stop - k2 - 1)", "one step too far"),
    "dh again": ("truncated_bptt", "carried + dh[t] if t >= start else carried", "carried + dh[t]", "counted again"),
    "own norms": ("clip_by_norm", "(gradient**2).sum() for", "abs(gradient).max()**2 for", "norm is wrong"),
    "below the limit": ("clip_by_norm", " if norm > max_norm else 1.0", "", "although the norm is below the limit"),
    "one step too short": ("truncated_bptt", "stop - k2)", "stop - k2 + 1)", "one step too short"),
    "state left out": (
        "truncated_bptt",
        "dweight_hh += da.T @ slots[t]",
        "dweight_hh += da.T @ slots[t] * (t > max(0, stop - k2))",
        "it still counts",
    ),
    "no slope": ("truncated_bptt", " * (1 - slots[t + 1] ** 2)", "", "1 - h[t]**2, is forgotten"),
    "slope before": ("truncated_bptt", "slots[t + 1] ** 2", "slots[t] ** 2", "that of h[t-1]"),
    "back transposed": ("truncated_bptt", "da @ weight_hh\n", "da @ weight_hh.T\n", "is transposed on the way back"),
    "back sign": ("truncated_bptt", "= da @ weight_hh\n", "= -da @ weight_hh\n", "the sign of what is carried"),
    "dh instead": ("truncated_bptt", "carried + dh[t] if", "dh[t] if", "overwrites what is carried"),
    "windows exchanged": ("truncated_bptt", "T = len(x)", "T, k1, k2 = len(x), k2, k1", "k1 and k2 are exchanged"),
    "order by shape": (
        "truncated_bptt",
        "return dweight_ih, dweight_hh",
        "return dweight_hh, dweight_ih",
        "it has dweight_hh's shape: order?",
    ),
    "reset slope": ("gru_step", "* r * (1 - r)", "", "slope of the reset gate's sigmoid, r * (1 - r), is forgotten"),
    "share of n": ("gru_step", "dh * (1 - z), dh * (h", "dh * z, dh * (h", "n gets dh * (1 - z)"),
    "factor of r": ("gru_step", "da_n * v_n", "da_n", "the factor v_n is forgotten"),
    "biases exchanged": (
        "gru_step",
        "du.sum(axis=0), dv.sum(axis=0)",
        "dv.sum(axis=0), du.sum(axis=0)",
        "dbias_ih and dbias_hh are exchanged",
    ),
    "forward first": ("gru_step", "np.tanh(u_n + r * v_n)", "np.tanh(u_n + v_n)", "first put gru_step_forward right"),
    "factor": ("attention", " / np.sqrt(query.shape[-1])\n    return", "\n    return", "sqrt(5)"),
    "forward, no tanh": ("gru_step", "np.tanh(u_n + r * v_n)", "(u_n + r * v_n)", "the tanh of n is missing"),
    "forward, sequence": ("gru", "np.tanh(u_n + r * v_n)", "(u_n + r * v_n)", "the tanh of n is missing"),
    "forward, rnn": ("rnn", "np.tanh(", "(", "h is wrong: the tanh is missing"),
    "forward, gate": ("lstm_step", "np.tanh(a_g)", "sigmoid(a_g)", "g has a sigmoid in place of a tanh"),
    "forward, old cell": ("lstm", "h = o * np.tanh(c)", "h = o * np.tanh(c_prev)", "takes the old cell state"),
    "forward, term": ("lstm", "f * c_prev + i * g", "f * c_prev + g", "i is forgotten"),
    "softmax over steps": (
        "softmax_loss",
        "logits.max(axis=-1, keepdims=True)\n    total = np.exp(shifted).sum(axis=-1, keepdims=True)",
        "logits.max(axis=0, keepdims=True)\n    total = np.exp(shifted).sum(axis=0, keepdims=True)",
        "softmax runs over the time steps",
    ),
    "softmax over queries": (
        "attention",
        "score.max(axis=1, keepdims=True))\n    w /= w.sum(axis=1, keepdims=True)",
        "score.max(axis=0, keepdims=True))\n    w /= w.sum(axis=0, keepdims=True)",
        "softmax runs over the queries",
    ),
    "last chunk": ("truncated_bptt", "range(0, T, k1)", "range(0, T - k1 + 1, k1)", "left out where it is shorter"),
    "no last chunk": ("truncated_bptt", "range(0, T, k1)", "range(0, T - k1, k1)", "the last chunk is left out"),
    "input side": ("gru", "dbias_ih += du", "dbias_ih += dv", "the factor r belongs to the hidden side"),
    "padding sends": ("gru", "total * z, total)", "total * z, total * z)", "padding sends z times its gradient"),
    "padding counts": (
        "gru",
        "np.where(valid, np.hstack([da_r, da_z, da_n]), 0)",
        "np.hstack([da_r, da_z, da_n])",
        "du is not 0 at padding",
    ),
    "one-sided": ("numeric_gradient", "down[index] -= step", "", "of the right value everywhere"),
}


def check_that_a_mistake_is_named(folder: Path, name: str, right: str, wrong: str, words: str) -> None:
    text = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    assert text.count(right) == 1
    result = judged(folder, name, text.replace(right, wrong))
    assert words in said(result)
    assert 0 <= result.points < result.most


@pytest.mark.parametrize("kind", sampled(KINDS, {"wrong slot", "in place"}))
def test_wrong_solutions_of_six_kinds_fail_with_a_word_that_helps(tmp_path: Path, kind: str) -> None:
    check_that_a_mistake_is_named(tmp_path, *KINDS[kind])


ALL = KINDS | MORE


@pytest.mark.parametrize("kind", sampled(("missing term", "hidden side", "mean", "input side"), {"hidden side"}))
def test_a_mistake_of_backward_is_named_in_every_case(tmp_path: Path, kind: str) -> None:
    name, right, wrong, words = ALL[kind]
    text = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    result = judged(tmp_path, name, text.replace(right, wrong))
    found = [one.words for one in result.outcomes if "_backward: " in one.name and one.words]
    assert len(found) >= 2
    assert [one for one in found if words not in one] == []


def test_mistakes_are_those_of_the_right_code_but_for_a_line() -> None:
    """Every mistake can be planted, and where nothing is planted, the walks give what the engine gives."""
    for mistakes in recurrent_layers.MORE.values():
        for _, plant in mistakes:
            with plant():
                pass
    for cell in forward_mistakes.PAGES:
        pair = recurrent_pairs.pair(cell, sequence=True)
        for case in pair.cases:
            arguments, rng = judging.drawn(pair, case, 5)
            right = pair.expected(arguments)
            for output, wanted in zip(forward_mistakes.outputs(arguments, cell), right, strict=True):
                np.testing.assert_allclose(output, wanted, rtol=1e-10)
            assert len(list(pair.forward_suspects(arguments))) > len(forward_mistakes.MISTAKES[cell])
            if cell == "gru":
                dh = rng.normal(size=right[0].shape)
                (_, gradients), *_ = pair.backward_suspects(arguments, (dh,))
                found = padding.Walk().gradients(arguments, dh)
                for name in pair.inputs:
                    np.testing.assert_allclose(found[name], gradients[name], rtol=1e-9, atol=1e-12)


@pytest.mark.proof
@pytest.mark.parametrize("kind", MORE)
def test_more_wrong_solutions_fail_with_a_word_that_helps(tmp_path: Path, kind: str) -> None:
    check_that_a_mistake_is_named(tmp_path, *MORE[kind])


BACK = "    return du @ weight_ih, dh_prev, du.T @ x, dv.T @ h_prev, du.sum(axis=0), dv.sum(axis=0)\n"


FORMS = {
    "None": "what gru_step_backward returns is None: is a return missing?",
    "dh_prev, None, du, du, du, du": "dx has shape (3, 2) in place of (3, 4): it has dh_prev's shape: order?",
    "du @ weight_ih, None, du, du, du, du": "dh_prev is None: is a return missing?",
    "'dx'": "it returned no tuple but a str",
    "{'dx': du @ weight_ih}": "dh_prev is not in the dict",
    "np.zeros((3, 2))": "it returned no tuple but a ndarray",
    "tuple(map(np.zeros_like, (x, h_prev, weight_ih, weight_hh, du[0], du[0])))": "dx is zero whatever",
}


@pytest.mark.parametrize("answer", sampled(FORMS, {"du @ weight_ih, None, du, du, du, du", "'dx'"}))
def test_no_test_of_backward_gives_points_to_results_of_a_wrong_form(tmp_path: Path, answer: str) -> None:
    text = (SOLUTIONS / "gru_step.py").read_text(encoding="utf-8")
    assert text.count(BACK) == 1
    result = judged(tmp_path, "gru_step", text.replace(BACK, f"    return {answer}\n"))
    assert result.points == 4  # those of forward
    assert FORMS[answer] in said(result)


IN_PLACE = {
    "forward's argument": (
        "gru_step",
        "n = np.tanh(u_n",
        "h_prev *= 1.5; n = np.tanh(u_n",
        "gru_step_forward writes into its argument h_prev",
    ),
    "cache, an argument": (
        "gru_step",
        "dn, dz =",
        "x *= 1.5; dn, dz =",
        "gru_step_backward writes into its cache, cache[0] (x)",
    ),
    "cache, its own": (
        "gru_step",
        "dn, dz =",
        "z *= 1.5; dn, dz =",
        "gru_step_backward writes into its cache, cache[5]; work on",
    ),
    "backward's argument": (
        "gru_step",
        "dn, dz =",
        "dh *= 1.5; dn, dz =",
        "gru_step_backward writes into its argument dh",
    ),
}


@pytest.mark.parametrize("kind", sampled(IN_PLACE, {"cache, an argument"}))
def test_an_in_place_change_is_named_with_its_array(tmp_path: Path, kind: str) -> None:
    check_that_a_mistake_is_named(tmp_path, *IN_PLACE[kind])


@pytest.mark.parametrize(
    ("answer", "points", "words"),
    [
        ("loss", 0, "must return a tuple of 2; it returned one value"),
        ("[loss, weights * (p - right)]", 14, ""),
        ("loss / np.log(2), weights * (p - right)", 8, "the logarithm to base 2"),
        ("loss + 0 * weights[..., 0], weights * (p - right)", 6, "the loss must be one number: the mean"),
        ("weights * (p - right), loss", 0, "loss and dlogits are exchanged"),
    ],
)
def test_the_loss_and_its_gradient_are_judged_apart(tmp_path: Path, answer: str, points: int, words: str) -> None:
    text = (SOLUTIONS / "softmax_loss.py").read_text(encoding="utf-8")
    early = "    if not mask.any():\n        return 0.0, np.zeros_like(logits)\n"
    text = text.replace("    shifted =", early + "    shifted =")
    result = judged(tmp_path, "softmax_loss", text.replace("loss, weights * (p - right)", answer))
    assert (result.points, words in said(result)) == (points, True)


def test_a_suspect_or_a_test_that_fails_does_not_end_the_judging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TypeError("no such ufunc")

    monkeypatch.setattr(single_functions, "unchanged", fails)
    monkeypatch.setattr(recurrent_pairs, "slots", fails)
    text = (SOLUTIONS / "softmax_loss.py").read_text(encoding="utf-8")
    result = judged(tmp_path, "softmax_loss", text)
    assert result.points == 0
    assert "cannot be judged (TypeError: no such ufunc)" in said(result)
    text = (SOLUTIONS / "rnn_step.py").read_text(encoding="utf-8")
    result = judged(tmp_path, "rnn_step", text.replace("da.sum(axis=0)", "da.mean(axis=0)"))
    assert "dbias is wrong" in said(result)
