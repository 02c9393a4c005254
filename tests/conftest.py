"""What every test shares: one thread a process, the hypothesis profiles, and a plain word about what is skipped."""

from __future__ import annotations

import os
import signal

# Before NumPy is imported: several test processes share the cores, and a sum over one thread has one order.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files

# A shell that starts tests in the background, or under nohup, has both ignored, here and in the processes from here.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import gc
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

# "ci" draws the same examples every time; "dev" (plain `pytest`) explores, and remembers what failed.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, max_examples=30)
hypothesis.settings.register_profile("dev", deadline=None, print_blob=True, max_examples=50)
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("ci"), max_examples=5)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
hypothesis.settings.load_profile(PROFILE)

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
#: Set by `make test-oracle`: an absent PyTorch is then an error, not a skip.
ORACLE_REQUIRED = bool(os.environ.get("BPTT_REQUIRE_ORACLE"))
NO_ORACLE = "PyTorch absent: run `make test-oracle`"


def _torch_version() -> str | None:
    """Return the installed PyTorch's version, or None; importing it would cost seconds."""
    if importlib.util.find_spec("torch") is None:
        return None
    return importlib.metadata.version("torch")


def _backends() -> dict[str, str | None]:
    import engine

    return engine.available_backends()


def pytest_report_header() -> list[str]:
    """Say what this run compares with, and what it skips and why."""
    words = [
        f"{name} {'usable' if reason is None else f'not usable ({reason})'}" for name, reason in _backends().items()
    ]
    version = _torch_version()
    oracle = f"PyTorch {version}, live" if version else f"live comparison skipped, recorded values only ({NO_ORACLE})"
    lines = ["backends: " + "; ".join(words), f"oracle: {oracle}"]
    if JIT_OFF:
        lines.append("numba: compilation is off (NUMBA_DISABLE_JIT); tests marked slow are skipped")
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason in sight, what this machine cannot run."""
    has_torch = _torch_version() is not None
    if ORACLE_REQUIRED and not has_torch:
        raise pytest.UsageError("the live comparison was asked for, but PyTorch is not installed")
    no_gpu = _backends()["cupy"] if any(item.get_closest_marker("gpu") for item in items) else None
    for item in items:
        if item.get_closest_marker("oracle") and not has_torch:
            item.add_marker(pytest.mark.skip(reason=NO_ORACLE))
        if item.get_closest_marker("gpu") and no_gpu is not None:
            item.add_marker(pytest.mark.skip(reason=f"CuPy not usable: {no_gpu}"))
        if item.get_closest_marker("slow") and JIT_OFF:
            item.add_marker(pytest.mark.skip(reason="too slow uncompiled (NUMBA_DISABLE_JIT)"))


def pytest_collection_finish() -> None:
    """Spare every later garbage collection the thousands of tests that were collected: they live to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process leave blank pictures: a drawn one takes a fifth of a second, and few tests look at it."""
    from engine.tasks import forecast
    from engine.training import session

    def blank(path: Path, *_: object) -> None:
        path.write_bytes(b"\x89PNG")

    monkeypatch.setattr(session, "draw_loss", blank)
    monkeypatch.setattr(forecast, "draw_forecast", blank)


@pytest.fixture
def few_examples() -> Iterator[None]:
    """Property tests that are defined here and now draw five examples: enough to show that a document's code runs."""
    hypothesis.settings.load_profile("few")
    yield
    hypothesis.settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch on one thread, for tests marked `oracle`."""
    module = pytest.importorskip("torch", reason=NO_ORACLE)
    module.set_num_threads(1)
    return module
