"""Attention, and the model around it, in a gradient check: many copies at once, and forward mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.checking.subjects import batched, forward_mode
from engine.layers.attention import Attention
from engine.layers.attention_scores import attend, valid_of
from engine.layers.translator import Translator
from engine.layers.translator_parts import join_directions
from kernels.activations import activations


@batched.run.register
def _attention(
    layer: Attention, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, Any]:
    xp, valid = layer.backend.xp, valid_of(layer, tape.timeline)
    q, m = (x, state) if layer.batch_first else (x.swapaxes(1, 2), state.swapaxes(1, 2))
    m = m if valid is None else xp.where(valid.swapaxes(1, 2), m, xp.zeros_like(m))
    y = attend(layer, params, q, m, valid)[0]
    return (y, m) if layer.batch_first else (y.swapaxes(1, 2), m.swapaxes(1, 2))


@forward_mode.jvp.register
def _attention_jvp(
    layer: Attention, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, Any]:
    q, m, a, w = tape.queries, tape.memory, tape.weights.swapaxes(0, 1), layer.params
    xp, timeline = layer.backend.xp, tape.timeline
    m_dot = xp.zeros_like(m) if state_dot is None else state_dot if layer.batch_first else state_dot.swapaxes(0, 1)
    m_dot = timeline.clean(m_dot.swapaxes(0, 1)).swapaxes(0, 1)
    q_dot = x_dot if layer.batch_first else x_dot.swapaxes(0, 1)
    m_turned, m_dot_turned = m.swapaxes(1, 2), m_dot.swapaxes(1, 2)
    if layer.kind == "additive":
        z_dot = (q_dot @ w["weight_query"].T + q @ params_dot["weight_query"].T)[:, :, None]
        z_dot = z_dot + (m_dot @ w["weight_memory"].T + m @ params_dot["weight_memory"].T)[:, None]
        act_dot = (1 - tape.inner**2) * z_dot  # act = tanh(z)
        e_dot = act_dot @ w["weight_score"] + tape.inner @ params_dot["weight_score"]  # e = act . v
    elif layer.kind == "general":
        p_dot = q_dot @ w["weight"] + q @ params_dot["weight"]  # p = q W
        e_dot = p_dot @ m_turned + tape.inner @ m_dot_turned  # e = p . m
    else:
        e_dot = q_dot @ m_turned + q @ m_dot_turned  # e = q . m
    a_dot = a * (e_dot - (a * e_dot).sum(axis=2)[:, :, None])  # a = softmax(e)
    y_dot = a_dot @ m + a @ m_dot  # y = a m
    return (y_dot, m_dot) if layer.batch_first else (y_dot.swapaxes(0, 1), m_dot.swapaxes(0, 1))


@batched.run.register
def _translator(
    layer: Translator, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    xp = layer.backend.xp

    def through(name: str, values: Any, first: Any = None) -> tuple[Any, Any]:
        if name not in layer.parts:
            return values, None
        return batched.run(layer.parts[name], tape.tapes[name], _own(params, name), values, first)

    e, _ = through("drop_source", through("source_embedding", None)[0])
    records = tape.tapes["encoder"].layers
    runs = [record.run for directions in records for record in directions]
    slots = zip(*([xp.zeros_like(values[0]) for values in run.states] for run in runs), strict=True)
    zeros = tuple(xp.stack(part)[None] for part in slots)
    memory, last = through("encoder", e, zeros if len(zeros) > 1 else zeros[0])
    e, _ = through("drop_target", through("target_embedding", None)[0])
    h, _ = through("decoder", e, join_directions(xp, last))
    found, _ = through("attention", h, memory)
    copies = max(len(found), len(h))
    pair = [xp.broadcast_to(part, (copies, *part.shape[1:])) for part in (found, h)]
    o, _ = through("combine", xp.concatenate(pair, axis=-1))
    s = activations(xp)["tanh"](o)
    return through("output", through("drop_output", s)[0])[0], None


def _own(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entries of one part, by the part's own names."""
    return {key.removeprefix(f"{name}."): value for key, value in params.items() if key.startswith(f"{name}.")}


@forward_mode.jvp.register
def _translator_jvp(
    layer: Translator, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    xp = layer.backend.xp

    def through(name: str, dot: Any, first_dot: Any = None) -> tuple[Any, Any]:
        if name not in layer.parts:
            return dot, None
        return forward_mode.jvp(layer.parts[name], tape.tapes[name], _own(params_dot, name), dot, first_dot)

    e_dot, _ = through("drop_source", through("source_embedding", None)[0])
    memory_dot, last_dot = through("encoder", e_dot)
    e_dot, _ = through("drop_target", through("target_embedding", None)[0])
    h_dot, _ = through("decoder", e_dot, join_directions(xp, last_dot))
    found_dot, _ = through("attention", h_dot, memory_dot)
    o_dot, _ = through("combine", xp.concatenate([found_dot, h_dot], axis=2))
    s_dot = (1 - tape.combined**2) * o_dot  # s = tanh(o)
    return through("output", through("drop_output", s_dot)[0])[0], None
