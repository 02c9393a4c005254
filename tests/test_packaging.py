"""The house's own rules: what an import brings in, who may import whom, and what lands in a wheel."""

from __future__ import annotations

import ast
import configparser
import functools
import graphlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import engine
import engine.checking
import kernels

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for package in ("bptt_engine", "engine", "kernels") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

#: Each room's floor; an import points to the same floor or down.  A new room needs a line here.
FLOORS = {
    "kernels": 0,
    "engine.errors": 1,
    "engine.ledgers": 1,
    "engine.checks": 1,
    "engine.plain_arrays": 1,
    "engine.memory_sizes": 1,
    "engine.thread_count": 1,
    "engine.streams": 1,
    "engine.drawing": 1,
    "engine.html_tables": 1,
    "engine.cell": 1,
    "engine.atomic": 1,
    "engine.array_file": 1,
    "engine.backend": 1,
    "engine.losses": 2,  # a loss knows arrays alone; a layer may know its loss (the CRF)
    "engine.layers": 2,
    "engine.truncation": 3,
    "engine.long_sequences": 3,
    "engine.echo_state": 3,
    "engine.own_outputs": 3,
    "engine.second_derivatives": 3,
    "engine.optimizers": 3,
    "engine.checking": 3,
    "engine.zoo": 4,
    "engine.classroom": 4,
    "engine.microscope": 4,
    "engine.measuring": 4,
    "engine.data": 4,
    "engine.explorer": 4,
    "engine.training": 4,
    "engine.parallel": 4,
    "engine.exchange": 4,
    "engine.tasks": 4,
    "engine.search": 4,
    "engine.studies": 4,
    "engine.pretrained": 1,
    "engine.estimators": 5,
    "engine.cli": 5,
    "engine.__main__": 6,
    "bptt_engine": 6,  # the ways in from outside
    "engine": 6,  # the façade that gathers the public names: the command line alone may use it
}
#: Imported only by the backend and by the kernels that need them.
ARRAY_LIBRARIES = {"cupy", "cupyx", "torch", "numba"}


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that imports from `path` first."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=path[-1], capture_output=True, text=True, timeout=120
    )


def module_name(path: Path) -> str:
    """Return the import name of a source file: engine/layers/__init__.py is engine.layers."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Yield each imported module with its line; `from a import b` yields a.b where that is a file, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: count the dots from the package
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                yield (f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base), node.lineno


MODULES = {module_name(path) for path in SOURCES}


class Source(NamedTuple):
    """What a source file holds: its syntax tree, its imports with their lines, and the lines of a type checker alone.

    An import in the last ones is none when the program runs.
    """

    tree: ast.Module
    imports: list[tuple[str, int]]
    typed: set[int]


@functools.cache  # read by a process that tests it, and not wherever tests are collected
def source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_name(path if path.name == "__init__.py" else path.parent / "__init__.py")
    typed = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }
    return Source(tree, list(imported(tree, package)), typed)


def room(module: str) -> str:
    """Return the room, one of FLOORS, that a module of ours lies in."""
    parts = module.split(".")
    return parts[0] if parts[0] in ("bptt_engine", "kernels") else ".".join(parts[:2])


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- what an import brings in -----------------------------------------------------------------------------------------


def test_import_engine_is_light() -> None:
    heavy = ["cupy", "torch", "numba", "scipy", "matplotlib", "pandas", "statsmodels", "rich", "click"]
    code = f"import sys, engine; print([name for name in {heavy} if name in sys.modules])"
    done = run_python(code, ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("module", [engine, engine.checking], ids=["engine", "engine.checking"])
def test_every_public_name_is_there(module: ModuleType) -> None:
    for name in module.__all__:
        assert getattr(module, name).__module__.startswith((module.__name__, "kernels."))
        assert name in dir(module)
    with pytest.raises(AttributeError, match="has no attribute 'lstm'"):
        module.lstm  # noqa: B018


def test_kernels_is_ours() -> None:
    assert kernels.__file__ is not None
    assert engine.__file__ is not None
    assert Path(kernels.__file__).parent.parent == Path(engine.__file__).parent.parent


@pytest.mark.parametrize("package", ["regular", "namespace"])
def test_foreign_kernels_is_refused(tmp_path: Path, package: str) -> None:
    """Another distribution on PyPI installs a top-level `kernels`; so may a folder of that name."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("def get_kernel(name): ...\n", encoding="utf-8")
    path = [tmp_path, ROOT]
    if package == "namespace":  # a bare folder: found only where no regular package is
        (tmp_path / "kernels" / "__init__.py").unlink()
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "engine").symlink_to(ROOT / "engine", target_is_directory=True)
        path = [tmp_path / "site", tmp_path]
        (tmp_path / "site" / "bptt_engine").symlink_to(ROOT / "bptt_engine", target_is_directory=True)
    # Nothing else may lead to our own `kernels`: neither the folder Python starts in, nor an editable install.
    first = [str(p) for p in path]
    others = f"[p for p in sys.path if p not in {first} and not os.path.exists(p + '/kernels/__init__.py')]"
    head = f"import os, sys; sys.path = {first} + {others}; "
    done = run_python(head + "import engine", *path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: ")
    command = run_python(head + "from bptt_engine.command import main; main()", *path)
    assert (command.returncode, command.stdout) == (2, "")
    assert command.stderr == last.replace("ImportError: ", "bptt: ") + "\n"
    for words in ("'kernels'", "bptt-engine", "pip uninstall kernels", "virtual environment"):
        assert words in last
    if package == "regular":
        assert str(tmp_path / "kernels" / "__init__.py") in last


def test_a_foreign_engine_is_one_line_from_the_command(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text("SPEED = 88\n", encoding="utf-8")
    head = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; "
    done = run_python(head + "from bptt_engine.command import main; main()", ROOT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(
        f"bptt: the package 'engine' found first ({tmp_path / 'engine.py'}) is not the one of "
    )


# -- who may import whom ----------------------------------------------------------------------------------------------


def test_imports_point_down() -> None:
    upward = [
        f"{relative(path)}:{line}: {room(here)} (floor {floor}) imports {target} (floor {FLOORS[room(target)]})"
        for path, here, floor in ((path, module_name(path), FLOORS[room(module_name(path))]) for path in SOURCES)
        for target, line in source(path).imports
        if target.split(".")[0] in ("engine", "kernels")
        and FLOORS[room(target)] > floor
        and not (room(here) == "engine.cli" and target == "engine")
    ]
    assert upward == []


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        module_name(path): {
            target
            for target, line in source(path).imports
            if target in MODULES and target != module_name(path) and line not in source(path).typed
        }
        for path in SOURCES
        if path.name != "__init__.py"  # a room's door gathers names from within and is judged by the floors
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


def test_array_libraries_stay_on_the_ground_floors() -> None:
    for path in SOURCES:
        grounded = (ROOT / "engine" / "backend") in path.parents or (ROOT / "kernels") in path.parents
        allowed = ARRAY_LIBRARIES - {"torch"} if grounded else set()
        found = {target.split(".")[0] for target, _ in source(path).imports} & ARRAY_LIBRARIES
        assert found <= allowed, relative(path)


# -- every file -------------------------------------------------------------------------------------------------------


def test_every_module_says_what_it_is() -> None:
    assert [relative(path) for path in SOURCES if not ast.get_docstring(source(path).tree)] == []


def silent_skips(path: Path) -> list[str]:
    """File and line of each skip and each expected failure without a reason."""
    silent = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            if name in ("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail") and "reason" not in given:
                silent.append(node.lineno)
            elif name in ("pytest.skip", "pytest.xfail") and not node.args and "reason" not in given:
                silent.append(node.lineno)
            elif name == "pytest.importorskip" and "reason" not in given:
                silent.append(node.lineno)
        elif isinstance(node, ast.FunctionDef):
            bare = {ast.unparse(mark) for mark in node.decorator_list} & {"pytest.mark.skip", "pytest.mark.xfail"}
            silent += [node.lineno] * len(bare)
    return [f"{relative(path)}:{line}" for line in silent]


def test_every_skip_has_a_reason() -> None:
    """One without a reason hides something; so does a test that never runs at all."""
    assert [place for path in TESTS for place in silent_skips(path)] == []


# -- the distribution -------------------------------------------------------------------------------------------------


def test_pyproject_holds_the_build_system_alone() -> None:
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))) == {"build-system"}


def test_version_is_said_twice_the_same() -> None:
    assert setup_cfg()["metadata"]["version"] == engine.__version__


def test_the_command_is_there() -> None:
    name, value = setup_cfg()["options.entry_points"]["console_scripts"].strip().split(" = ")
    assert name == "bptt"
    assert callable(importlib.metadata.EntryPoint(name, value, "console_scripts").load())


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "test",
        "test-nojit",
        "test-oracle",
        "test-browser",
        "explorer",
        "lint",
        "format",
        "docs",
        "bench",
        "clean",
    ],
)
def test_makefile_names_no_variable_that_it_does_not_set(target: str) -> None:
    """An unset variable is an empty word to make: `--minutes  --out DIR`, which then fails where a newcomer looks."""
    command = ["make", "--dry-run", "--warn-undefined-variables", target]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def tracked() -> list[str]:
    """Every file of the repository, as git lists them; new ones that are not ignored count."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and its repository: what belongs to it is compared with")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def tracked_notebooks() -> list[str]:
    return [name for name in tracked() if name.startswith("notebooks/") and name.endswith(".ipynb")]


def build(tree: Path, kind: str) -> Path:
    """Build the distribution of a tree without a network; returns the file."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tree / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of a clean checkout, unpacked."""
    tree = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(build(tree, "sdist")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"bptt_engine-{engine.__version__}"


def test_source_distribution_holds_the_repository(unpacked: Path) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert set(tracked()) - names == set()
    made = {name for name in names - set(tracked()) if not name.startswith("bptt_engine.egg-info/")}
    assert made == {"PKG-INFO"}


@pytest.mark.proof
def test_the_tests_can_be_collected_from_the_source_distribution(unpacked: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=unpacked,
        env=environment | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "tests/test_packaging.py" in done.stdout


def test_wheel_holds_three_packages_and_their_types(unpacked: Path, tmp_path: Path) -> None:
    """As pip makes it: from the source distribution."""
    tree = tmp_path / "tree"
    shutil.copytree(unpacked, tree)
    names = set(zipfile.ZipFile(build(tree, "wheel")).namelist())
    assert {name.split("/")[0] for name in names} == {
        "bptt_engine",
        "engine",
        "kernels",
        f"bptt_engine-{engine.__version__}.dist-info",
        f"bptt_engine-{engine.__version__}.data",
    }
    notebooks = {f"bptt_engine-{engine.__version__}.data/data/share/bptt-engine/{name}" for name in tracked_notebooks()}
    assert notebooks
    assert {name for name in names if ".data/" in name} == notebooks
    device_code = (ROOT / "kernels").rglob("*.cu*")
    sheets = (ROOT / "engine" / "classroom" / "sheets").glob("*.txt")
    assert {relative(path) for path in [*SOURCES, *device_code, *sheets]} <= names
    assert [name for name in names if "solution" in name] == []
    web = ROOT / "engine" / "explorer" / "web"
    assert {relative(path) for path in [web / "page.html", *(web / "dist").iterdir()]} <= names
    assert {f"{package}/py.typed" for package in ("bptt_engine", "engine", "kernels")} <= names


@pytest.mark.proof
def test_a_users_types_are_checked_against_ours(tmp_path: Path) -> None:
    """From anywhere, as the packages carry the marker of typed ones; without it mypy refuses to look."""
    (tmp_path / "user.py").write_text(
        "import engine\n"
        "reveal_type(engine.LSTM(2, 3).hidden_size)\n"
        'engine.clip_grad_norm(engine.GRU(2, 3), "all of it")\n',
        encoding="utf-8",
    )
    site = tmp_path / "site"
    site.mkdir()
    for package in ("engine", "kernels"):
        (site / package).symlink_to(ROOT / package, target_is_directory=True)
    code = (
        "import sys; from mypy import modulefinder, main; "
        f"modulefinder.get_search_dirs = lambda *_: ([], [{str(site)!r}]); "
        "main.main(args=['user.py'], clean_exit=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    revealed, *errors = done.stdout.splitlines()
    assert revealed.replace("builtins.", "") == 'user.py:2: note: Revealed type is "int"', done.stdout + done.stderr
    assert 'incompatible type "str"; expected "float"' in errors[0]
