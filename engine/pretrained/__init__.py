r"""Small trained models that come with the package; their names stand where the name of a run can.

``characters`` is a character model of Python's own manual::

    bptt train --cell gru --hidden 224 --embed 48 --dropout 0.3 --sequence 96 \
        --steps 1500 --lr 0.004 --validate-every 250

Its file is the run's ``best.safetensors``.  ``bptt train novel.txt --from characters`` goes on from it.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def pretrained_names() -> list[str]:
    """The names of the models."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def pretrained_file(name: str) -> Path | None:
    """The file of the model with that name; None if there is none such."""
    return _FOLDER / f"{name}.safetensors" if name in pretrained_names() else None


__all__ = ["pretrained_file", "pretrained_names"]
