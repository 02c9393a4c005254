"""``bptt notebooks``: copy the notebooks out, to open and change them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

import click

from engine.cli.common import json_option, print_json

DISTRIBUTION, FOLDER = "bptt-engine", "notebooks"


@click.command(short_help="Copy the notebooks out, to open and change them.")
@click.argument("folder", metavar="DIR", default=FOLDER, type=click.Path())
@json_option
def notebooks(folder: str, as_json: bool) -> None:
    """Copy the notebooks into DIR (a new folder `notebooks` here, if none is named), and say how they are opened.

    A file that is there already is left as it is: it may hold your work.
    """
    from engine.errors import EngineError, StorageError, bad_input

    found = installed()
    if not found:
        raise EngineError("notebooks: expected them beside the package, got none; install bptt-engine anew")
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise bad_input("DIR", "a folder, or the name of a new one", folder)
    copied, kept = [], []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in found:
            place = target / path.name
            if place.exists():
                kept.append(place.name)
            else:
                shutil.copyfile(path, place)
                copied.append(place.name)
    except OSError as error:
        raise StorageError(f"{folder}: expected to write the notebooks, got '{error.strerror or error}'") from error
    if as_json:
        print_json({"folder": str(target), "copied": copied, "kept": kept})
        return
    for name in copied:
        click.echo(f"{target / name}")
    if kept:
        click.echo(f"left as they are: {', '.join(kept)}")
    click.echo(how_to_open(target, copied or kept))


def installed() -> list[Path]:
    """The notebooks of a checkout, else those that the wheel has installed, in reading order."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").is_file():
        return sorted((checkout / FOLDER).glob("*.ipynb"))
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(Path(str(file.locate())).resolve() for file in files if file.suffix == ".ipynb")


def how_to_open(folder: Path, names: list[str]) -> str:
    """The next command: it installs JupyterLab first where that is missing."""
    open_it = f"jupyter lab {folder / names[0]}"
    if importlib.util.find_spec("jupyterlab") is None:
        return f"open them:  python -m pip install jupyterlab, then {open_it}"
    return f"open them:  {open_it}"
