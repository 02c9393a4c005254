"""Small trained models that come with the package; their names stand where the name of a run can.

``characters``
    A character model of Python's own manual, a GRU of 224 units: 1.86 bits per character on the last tenth of it.
    ``bptt sample characters``, ``bptt train novel.txt --from characters``.
``reviews``
    Whether a sentence about a film is for it (1) or against it (0), an LSTM of 32 units that reads both ways, trained
    on the Stanford Sentiment Treebank (Socher et al. 2013): 76.9 % of the 872 sentences of its development part, where
    the more frequent class has 50.9 %.  ``bptt predict reviews --text "a warm and funny film"``.

`benchmarks/pretrain.py` trains them.
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
