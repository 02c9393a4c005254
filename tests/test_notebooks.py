"""The notebooks run from top to bottom without an error or a warning, and print what is saved in them.

They are kept with their outputs, so that they can be read where nothing runs.  After a change to a notebook, this
tidies it and writes the outputs anew: ``BPTT_WRITE_NOTEBOOKS=1 python -m pytest tests/test_notebooks.py``.

Numbers are compared to about two digits.  A cell that says in its first line what differs elsewhere is compared less
strictly: see `FREE`.  Of pictures only their number is compared: their bytes depend on fonts and versions.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from shown_text import agree, same_words

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem.count(".") == 0]
TRANSLATIONS = sorted((ROOT / "notebooks").glob("*.*.ipynb"))
INLINE = "module://matplotlib_inline.backend_inline"  # pictures go into the notebook
WRITE = bool(os.environ.get("BPTT_WRITE_NOTEBOOKS"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: First lines of cells whose output is another one elsewhere, and how it is compared.
FREE: dict[str, Callable[[str, str], bool]] = {
    "# another machine prints other numbers": same_words,
    "# elsewhere another text is printed": lambda printed, shown: bool(printed) == bool(shown),
}
#: The largest picture, in bytes of base64: a notebook is read over the network and kept in git.
LARGEST_PICTURE = 80_000
#: On stderr of a machine that has not compiled the kernels yet; never saved.
COMPILING = re.compile(r"(bptt-engine: compiling .*\n)+")
#: What begins a path of somebody's machine.
MACHINE_PATHS = ("/home/", "/tmp/", "/work/", "/root/", "/Users/", "C:\\\\")
#: Python in a notebook's text, such as the answer to an exercise.
ANSWER = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def kernel(tmp_path: Path) -> AsyncKernelManager:
    """A kernel of the interpreter that runs the tests, whatever kernels this machine knows."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    folder = tmp_path / "kernels" / "tests"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "display_name": "tests"}), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(folder.parent)], ensure_native_kernel=False)
    return AsyncKernelManager(kernel_name="tests", kernel_spec_manager=specs)


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: Any) -> str:
    """All that a cell wrote to stdout, however it came in pieces."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def pictures(cell: Any) -> list[Any]:
    return [output for output in cell.outputs if output.output_type == "display_data" and "image/png" in output.data]


def complaints(cell: Any) -> list[Any]:
    """Whatever else a cell gave: notebooks here print and draw, they show no bare values, and they warn of nothing."""
    known = [output for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
    known += pictures(cell)
    left = [output for output in cell.outputs if not any(output is one for one in known)]
    return [output for output in left if not COMPILING.fullmatch(output.get("text", ""))]


def compared(cell: Any) -> Callable[[str, str], bool]:
    """How the output of a cell is compared with the saved one."""
    return FREE.get(cell.source.partition("\n")[0], agree)


def outputs_to_save(cell: Any) -> list[Any]:
    """What a cell printed, in one piece, then its pictures without what names the machine's versions."""
    text = printed(cell)
    saved = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
    for picture in pictures(cell):
        data = {"image/png": picture.data["image/png"], "text/plain": "<Figure>"}
        saved.append(nbformat.v4.new_output("display_data", data))
    return saved


@pytest.mark.docs
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs_and_prints_what_is_saved(path: Path, kernel: AsyncKernelManager, tmp_path: Path) -> None:
    saved = load(path)
    answers = [code for cell in saved.cells if cell.cell_type == "markdown" for code in ANSWER.findall(cell.source)]
    ran = copy.deepcopy(saved)
    strict = nbformat.v4.new_code_cell("import warnings\nwarnings.simplefilter('error')")
    ran.cells = [strict, *ran.cells, *map(nbformat.v4.new_code_cell, answers)]
    client = nbclient.NotebookClient(ran, km=kernel, timeout=180, resources={"metadata": {"path": str(tmp_path)}})
    # Raises with the cell and its traceback.  The kernel is ours, not the client's, so the clean-up is asked for.
    client.execute(cleanup_kc=True, env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": INLINE})

    assert [complaints(cell) for cell in code_cells(ran) if complaints(cell)] == []
    here = code_cells(ran)[1 : len(code_cells(ran)) - len(answers)]
    if WRITE:
        for count, (old, new) in enumerate(zip(code_cells(saved), here, strict=True), 1):
            old.outputs = outputs_to_save(new)
            old.execution_count = count
        for cell in saved.cells:
            cell.metadata = {}
        saved.metadata = METADATA
        nbformat.write(saved, path)
    for old, new in zip(code_cells(load(path)), here, strict=True):
        assert compared(old)(printed(new), printed(old)), f"{old.source}\n\nprints\n{printed(new)}\nnot\n{printed(old)}"
        assert len(pictures(new)) == len(pictures(old)), old.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_saved_clean(path: Path) -> None:
    """Saved by whatever editor, a notebook differs from the last version only where its content does."""
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert {json.dumps(cell.metadata) for cell in notebook.cells} == {"{}"}
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert {output.get("name", "stdout") for output in outputs} <= {"stdout"}
    assert [complaints(cell) for cell in code_cells(notebook) if complaints(cell)] == []
    for cell in code_cells(notebook):
        for picture in pictures(cell):
            assert set(picture.data) == {"image/png", "text/plain"}
            assert picture.data["text/plain"] == "<Figure>"
            assert len(picture.data["image/png"]) < LARGEST_PICTURE, "draw it smaller, or with a lower dpi"
            assert picture.metadata == {}
    saved = path.read_text(encoding="utf-8")
    assert not [place for place in MACHINE_PATHS if place in saved], "a path of the machine that ran it"


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda path: path.name)
def test_a_translation_has_the_cells_of_its_notebook(path: Path) -> None:
    """Its code and output are the same, so what runs there runs here; only words differ."""
    here, there = load(path), load(path.with_name(path.name.partition(".")[0] + path.suffix))
    assert [cell.cell_type for cell in here.cells] == [cell.cell_type for cell in there.cells]
    assert code_cells(here) == code_cells(there)
    code = [[re.findall(r"^```.*?^```$", cell.source, re.M | re.S) for cell in book.cells] for book in (here, there)]
    assert code[0] == code[1]
    said = here.metadata.pop("translated_from")
    assert said.startswith("translated from ")
    assert here.metadata == METADATA
