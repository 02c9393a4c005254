"""Labelled images of one size, each a sequence of its rows: from an array file, folders of images, or scikit-learn."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.data.files import file_name, read_bytes
from engine.data.labelled import LabelledTexts
from engine.data.members import Members, members_of
from engine.errors import BackendUnavailableError

EXPECTED = "an .npz file with images and labels, or a folder or zip file with a folder of images for each label"
#: The name of scikit-learn's 8x8 digits, where no file has it.
DIGITS = "digits"
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
_IMAGES, _LABELS = ("images", "x", "X", "data"), ("labels", "y", "target", "targets")


@dataclass(frozen=True)
class Images:
    """N grey images of H rows and W columns.

    Attributes
    ----------
    names : list of str
        What each is called: its file, or its number in the array.
    pixels : float32 (N, H, W)
        Their values as they stand in the file.
    labels : list of str
        The label of each; empty where there are none.
    source : str
        Where they come from.
    """

    names: list[str]
    pixels: NDArray[np.float32]
    labels: list[str]
    source: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def rows(self) -> LabelledTexts:
        """Return names and labels as rows that `class_names` and `three_parts` take."""
        return LabelledTexts(self.names, self.labels, self.names, self.source)


def read_images(path: str | os.PathLike[str], *, labelled: bool = True) -> Images:
    """Read images of one size.

    Parameters
    ----------
    path : str or Path
        An .npz file with an array ``images`` (N, H, W) and an array ``labels`` (N,); a folder or a zip file with a
        folder of images for each label; ``"digits"`` for scikit-learn's 8x8 digits.  Without labels also an .npy file
        (N, H, W) or (H, W), a folder of images, or one image.
    labelled : bool
        Whether labels are wanted.

    Raises
    ------
    DataError
        There are no images or no labels, one cannot be read, or they differ in size.
    BackendUnavailableError
        Pillow or scikit-learn is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> np.savez("pictures.npz", images=np.zeros((3, 5, 4)), labels=["a", "b", "a"])
    >>> found = read_images("pictures.npz")
    >>> found.pixels.shape, found.labels
    ((3, 5, 4), ['a', 'b', 'a'])
    """
    name = file_name(path)
    if name == DIGITS and not os.path.exists(name):
        return _digits()
    ending = Path(name).suffix.lower()
    if ending in (".npz", ".npy") and not os.path.isdir(name):
        return _from_array(name, ending, labelled)
    if not labelled and ending in _ENDINGS and not os.path.isdir(name):
        return _stacked([name], [_picture(read_bytes(name, "an image"), name)], [], name)
    members = members_of(name, EXPECTED)
    names = members.ending(*_ENDINGS)
    if not names:
        got = "no image in it" if members.names else "nothing in it"
        raise bad_data(name, EXPECTED, got, f"images end in {', '.join(_ENDINGS)}")
    labels = [_label(members, item) for item in names] if labelled else []
    return _stacked(names, [_picture(members.read(item), f"{name}: {item}") for item in names], labels, name)


def _label(members: Members, name: str) -> str:
    """The folder that an image lies in."""
    label = PurePosixPath(name).parent.name
    if not label:
        raise bad_data(members.source, "every image in the folder of its label", f"none for {name}", "move it into one")
    return label


def _stacked(names: list[str], pictures: list[NDArray[np.float32]], labels: list[str], source: str) -> Images:
    """Images of one size as one array."""
    first = pictures[0].shape
    for name, picture in zip(names, pictures, strict=True):
        if picture.shape != first:
            (height, width), (h, w) = first, picture.shape
            got = f"{name} of {w}x{h}"
            expected = f"images of one size, {width}x{height} as {names[0]}"
            raise bad_data(source, expected, got, "scale or crop them to one size first")
    return Images(names, np.stack(pictures), labels, source)


def _picture(raw: bytes, name: str) -> NDArray[np.float32]:
    """An image file as grey values 0..255, (H, W)."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise BackendUnavailableError(
            "pillow: expected Pillow, which reads images, got none; install bptt-engine[images]"
        ) from None
    try:
        with Image.open(io.BytesIO(raw)) as image:
            return np.asarray(image.convert("L"), dtype=np.float32)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"  # which names an address in memory
        raise bad_data(name, "an image", f"a file that is none, or is damaged{why}", "leave it out") from None


def _digits() -> Images:
    """The 1797 digits of scikit-learn, 8x8 values of 0..16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise BackendUnavailableError(
            "scikit-learn: expected scikit-learn, which brings the 8x8 digits, got none; install scikit-learn, or give "
            "a file"
        ) from None
    found = load_digits()
    names = [f"image {k}" for k in range(len(found.target))]
    return Images(names, found.images.astype(np.float32), [str(label) for label in found.target], DIGITS)


# -- array files ------------------------------------------------------------------------------------------------------


def _from_array(name: str, ending: str, labelled: bool) -> Images:
    arrays = _arrays(name, ending)
    pixels = _named(arrays, _IMAGES) if ending == ".npz" else arrays[""]
    if pixels is None:
        raise bad_data(
            name, "an array 'images'", _listed(arrays), "write it with numpy.savez(FILE, images=..., labels=...)"
        )
    if pixels.ndim == 2 and not labelled:
        pixels = pixels[None]
    if pixels.dtype.kind not in "biuf" or pixels.ndim != 3 or 0 in pixels.shape:
        hint = "of colours take the mean, images.mean(axis=-1)" if pixels.ndim == 4 else ""
        raise bad_data(name, "images as numbers (N, H, W)", f"{pixels.dtype} of shape {pixels.shape}", hint)
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))[0])
        raise bad_data(
            name, "finite numbers that float32 holds", f"NaN or infinity in image {bad}", "fill it, or leave it out"
        )
    labels = _labels(name, arrays, len(values)) if labelled else []
    return Images([f"image {k}" for k in range(len(values))], values, labels, name)


def _arrays(name: str, ending: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file by their names; "" names the one of an .npy file."""
    raw = read_bytes(name, "an array file of NumPy")
    try:
        found = np.load(io.BytesIO(raw), allow_pickle=False)
        return {key: found[key] for key in found.files} if ending == ".npz" else {"": np.asarray(found)}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, MemoryError) as error:
        got = f"a file that NumPy does not read ({error})"
        raise bad_data(name, f"an {ending} file with numbers", got, "write it again with numpy.savez") from None


def _named(arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _labels(name: str, arrays: dict[str, NDArray[Any]], count: int) -> list[str]:
    labels = _named(arrays, _LABELS)
    if labels is None:
        hint = "write it with numpy.savez(FILE, images=..., labels=...)"
        raise bad_data(name, "an array 'labels' beside the images", _listed(arrays), hint)
    if labels.shape != (count,) or labels.dtype.kind not in "iuU":
        got = f"{labels.dtype} of shape {labels.shape}"
        raise bad_data(name, f"labels as integers or words, one for each of the {count} images", got)
    return [str(label) for label in labels.tolist()]


def _listed(arrays: dict[str, NDArray[Any]]) -> str:
    return f"arrays {', '.join(map(repr, arrays))}" if set(arrays) != {""} else "one array without a name"
