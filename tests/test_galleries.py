"""Pictures of examples: letters stand at their frames, a gallery has its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.tasks.galleries import draw_gallery, draw_spectrogram


def test_letters_stand_above_their_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(40, 8))
    for name, letters in (("early", [("x", 3)]), ("late", [("x", 36)]), ("none", [])):
        draw_spectrogram(tmp_path / f"{name}.png", frames, 0.01, letters, "a sound")
    red = {}
    for name in ("early", "late", "none"):
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        mark = (abs(pixels - [0xC4, 0x45, 0x36]).sum(axis=2) < 12)[:60]  # above the frames
        red[name] = float(np.nonzero(mark)[1].mean()) if mark.any() else None
    assert red["none"] is None
    assert red["early"] is not None
    assert red["late"] is not None
    assert red["early"] < 300 < red["late"]


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 1, 1), (5, 4, 2), (20, 4, 3)])
def test_a_gallery_holds_up_to_twelve(count: int, columns: int, lines: int, tmp_path: Path) -> None:
    pictures = [np.random.default_rng(k).normal(size=(8, 6)) for k in range(count)]
    draw_gallery(tmp_path / "a.png", pictures, [f"number {k}" for k in range(count)], "the worst", upward=count == 5)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (round(120 * 2.4 * columns), round(120 * (0.6 + 2.2 * lines)))
