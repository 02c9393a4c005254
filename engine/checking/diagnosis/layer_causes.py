"""Causes of a wrong gradient that only the inside of a layer shows: its states, weights and lengths.

`subject` is always an `engine.checking.subjects.layers.LayerSubject`, which calls `explain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.checking.diagnosis.causes import LATER_H, MASK, TRANSPOSED, Block, fits
from engine.checking.oracles import differences
from engine.layers.recurrent import Recurrent


def explain(subject: Any, chosen: Block) -> Iterator[str]:
    """Mistakes that fit the block that departs."""
    layer = subject.checked
    if isinstance(layer, Recurrent) and not subject.tape.timeline.empty:  # without steps nothing inside is at fault
        if chosen.name.startswith("weight_hh") and _later_h(subject, chosen):
            yield LATER_H
        square = layer.cell.recurrent == layer.cell.gates and not layer.proj_size  # blocks of weight_hh: (H, H)
        if chosen.name == "h0" and square and _transposed_use(subject, chosen):
            yield TRANSPOSED
    if subject.lengths is not None and _right_without_lengths(subject):
        yield MASK


def _right_without_lengths(subject: Any) -> bool:
    """Whether backward is right where every row is full."""
    x = subject.backend.to_host(subject.x)
    if not np.isfinite(x).all():
        return False
    try:
        full = subject.with_full_rows()
    except Exception:  # a backward that is wrong with lengths may well fail without them
        return False
    entries = [differences.central(full, part, np.arange(part.size)) for part in full.parts]
    for part, (numeric, error) in zip(full.parts, entries, strict=True):
        claimed = full.claimed[part.name].reshape(len(full.groups), -1).T
        size = np.max(np.abs(numeric), initial=0.0)
        if (np.abs(claimed - numeric) > error + 1e-4 * size).any():
            return False
    return not full.trouble


def _later_h(subject: Any, chosen: Block) -> bool:
    """Whether the recurrent weight was paired with the state after each step instead of the one before it."""
    number, direction = _place(chosen.name)
    record = subject.tape.layers[number][direction]
    da = _hidden_gradients(subject, chosen.group, number, direction)
    later = subject.backend.to_host(record.h)[1:]
    gates = record.cell.gates if chosen.gate is None else (chosen.gate,)
    wanted = []
    for gate in gates:
        reset = _reset(subject, record, gate)
        rows = da[:, :, record.cell.gates.index(gate)].reshape(da.shape[0] * da.shape[1], -1)
        wanted.append(rows.T @ (later if reset is None else later * reset).reshape(len(rows), -1))
    return fits(chosen.claimed, np.concatenate(wanted))


def _reset(subject: Any, record: Any, gate: str) -> Any:
    """(T, B, H) the factor of h_prev before the product of a gate: r in a GRU with reset before; else None."""
    place = next(stage.source for stage in record.cell.stages if gate in record.cell.gates[stage.first : stage.last])
    if place is None or place.kind == "prev":
        return None
    before = subject.backend.to_host(record.h)[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before == 0.0, 0.0, subject.backend.to_host(record.kept[place.name]) / before)


def _transposed_use(subject: Any, chosen: Block) -> bool:
    """Whether dh_prev was multiplied by the transpose of the recurrent weight, or of one of its blocks."""
    layer = subject.checked
    gap = chosen.claimed - chosen.numeric
    for slot in range(len(gap)):
        if not np.abs(gap[slot]).max(initial=0.0) > 0.0:
            continue
        number, direction = divmod(slot, layer.num_directions)
        da = _hidden_gradients(subject, chosen.group, number, direction)[0]  # (B, G, H) of step 0
        end = f"_l{number}" + "_reverse" * direction
        weights = np.split(subject.backend.to_host(layer.params["weight_hh" + end]), da.shape[1])
        changes = np.stack([da[:, k] @ (w.T - w) for k, w in enumerate(weights)])
        record = subject.tape.layers[number][direction]
        for k, gate in enumerate(record.cell.gates):
            reset = _reset(subject, record, gate)
            changes[k] = changes[k] if reset is None else changes[k] * reset[0]
        if any(fits(gap[slot], change) for change in (changes.sum(axis=0), *changes)):
            return True
    return False


def _hidden_gradients(subject: Any, group: int, number: int, direction: int) -> Any:
    """(T, B, G, H) hidden-side gradients of the pre-activations, as backward itself has them."""
    cotangents = subject.cotangents(group)
    trace = subject.trace(cotangents)
    return np.asarray(subject.backend.to_host(trace.layers[number][direction].adjoints.da_hidden), dtype=np.float64)


def _place(name: str) -> tuple[int, int]:
    found = re.search(r"_l(\d+)(_reverse)?$", name)
    assert found is not None
    return int(found.group(1)), int(found.group(2) is not None)
