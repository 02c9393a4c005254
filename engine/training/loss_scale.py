"""The option ``loss_scale`` of training: which scaler a run has."""

from __future__ import annotations

from typing import Any

from engine.checks import describe, number
from engine.errors import EngineError, bad_input
from engine.optimizers.loss_scaling import LARGEST, LossScaler

DYNAMIC, OFF = "dynamic", "off"
_EXPECTED = "'dynamic', 'off' or a number > 0 and at most 2**30"


def read_loss_scale(value: Any) -> str | float:
    """``"dynamic"``, ``"off"``, or a number > 0.

    Raises
    ------
    InputError, InputTypeError
        For anything else.
    """
    if isinstance(value, str):
        if value not in (DYNAMIC, OFF):
            raise bad_input("loss_scale", _EXPECTED, describe(value))
        return str(value)
    found = number("loss_scale", value)
    if not 0 < found <= LARGEST:
        raise bad_input("loss_scale", _EXPECTED, describe(value))
    return found


def loss_scale_of(text: str) -> str | float:
    """The same from an option's text, in which a number is written out."""
    try:
        return read_loss_scale(text if text in (DYNAMIC, OFF) else float(text))
    except ValueError:
        raise bad_input("loss_scale", _EXPECTED, describe(text)) from None


def is_loss_scale(value: Any) -> bool:
    """Whether `loss_scale_of` takes a value."""
    try:
        return isinstance(value, str) and bool(loss_scale_of(value))
    except EngineError:
        return False


def make_scaler(setting: str | float, model: Any) -> LossScaler | None:
    """The scaler of a run: dynamic in fp16, a fixed one for a number, else none."""
    if isinstance(setting, str):
        return LossScaler() if setting == DYNAMIC and _in_fp16(model) else None
    return LossScaler.fixed(setting)


def _in_fp16(model: Any) -> bool:
    """Whether a layer of a model computes in fp16."""
    return getattr(model, "precision", None) == "fp16" or any(map(_in_fp16, getattr(model, "layers", ())))
