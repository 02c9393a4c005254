"""Pictures of examples: a spectrogram with what was recognised, and small pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.training.plots import INK, MUTED, VALIDATION, picture

#: The most pictures of a gallery.
MOST = 12


def draw_spectrogram(
    path: Path, frames: NDArray[np.floating], seconds: float, letters: Sequence[tuple[str, int]], title: str
) -> None:
    """Draw the frames of a sound, and above them what was recognised, each at its frame.

    Parameters
    ----------
    path : the PNG file, replaced whole.
    frames : (T, M), low frequencies first.
    seconds : from one frame to the next.
    letters : what was recognised, with the number of its frame.
    title : above the picture.
    """
    with picture(path, (8.0, 3.4)) as fig:
        axes = fig.add_subplot()
        axes.grid(False)
        extent = (0.0, len(frames) * seconds, -0.5, frames.shape[1] - 0.5)
        axes.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=extent, interpolation="nearest")
        for letter, frame in letters:
            place = (frame + 0.5) * seconds
            axes.axvline(place, color=VALIDATION, linewidth=0.9, linestyle=":")
            axes.annotate(
                letter, (place, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                ha="center", va="bottom", color=VALIDATION, fontweight="bold", fontsize=12,
            )  # fmt: skip
        axes.set_title(title, pad=22)
        axes.set_xlabel("seconds")
        axes.set_ylabel("mel band")
        axes.locator_params(axis="y", integer=True)


def draw_gallery(
    path: Path, pictures: Sequence[NDArray[np.floating]], captions: Sequence[str], title: str, upward: bool = False
) -> None:
    """Draw small pictures side by side, each with a caption: the examples that a model was most wrong about.

    Parameters
    ----------
    path : the PNG file, replaced whole.
    pictures : arrays (height, width), the first `MOST` are drawn.
    captions : above each.
    title : above all.
    upward : the first row of a picture is at its bottom, as of a spectrogram; its sides may be stretched.
    """
    count = min(len(pictures), MOST)
    columns = min(count, 4)
    lines = -(-count // columns)
    with picture(path, (2.4 * columns, 0.6 + 2.2 * lines)) as fig:
        fig.suptitle(title, fontweight="bold", color=INK)
        for k in range(count):
            axes = fig.add_subplot(lines, columns, k + 1)
            axes.grid(False)
            form: dict[str, Any] = (
                {"origin": "lower", "aspect": "auto", "cmap": "magma"} if upward else {"cmap": "gray_r"}
            )
            axes.imshow(pictures[k], interpolation="nearest", **form)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color(MUTED)
            axes.set_title(captions[k], fontsize=9, fontweight="normal", loc="center", color=INK)
