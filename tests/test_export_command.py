"""`bptt export`: what it says, what it writes, what it refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from builders import build
from commands import bptt, refused

import engine

pytest.importorskip("onnx", reason="onnx absent: pip install 'bptt-engine[onnx]'")
pytest.importorskip("h5py", reason="h5py absent: pip install 'bptt-engine[keras]'")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A saved model, in the folder where the commands work."""
    monkeypatch.chdir(tmp_path)
    model = build("gru", 3, 5, batch_first=True, dtype="float32")
    model.save("saved.safetensors")
    return model


def test_a_model_is_written_and_run(saved: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime absent: pip install onnxruntime")
    assert bptt("export", "saved.safetensors", "model.onnx") == 0
    said = capsys.readouterr().out
    assert said.startswith("Wrote model.onnx (")
    assert "ONNX Runtime" in said
    assert "the largest difference is" in said
    assert engine.import_onnx("model.onnx").config() == saved.config()
    assert bptt("export", "model.onnx", "saved.safetensors", "--force", "--lengths", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"] < 1e-5
    assert found["bytes"] == Path("model.onnx").stat().st_size


def test_what_could_not_run_the_file_is_said(
    saved: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras" else there(name))
    assert bptt("export", "saved.safetensors", "model.h5") == 0
    assert "Not checked: keras is not installed." in capsys.readouterr().out
    assert engine.import_keras("model.h5").config() == saved.config()


def test_a_file_that_computes_something_else_is_a_failure(
    saved: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime absent: pip install onnxruntime")
    from engine import exchange

    def wrong(model: Any, path: Path, lengths: bool = False) -> None:
        model.params["weight_hh_l0"] = model.params["weight_hh_l0"] * 2
        written(model, path, lengths)
        model.params["weight_hh_l0"] = model.params["weight_hh_l0"] / 2

    written = exchange.export_onnx
    monkeypatch.setattr(exchange, "export_onnx", wrong)
    message = refused(capsys, "export", "saved.safetensors", "model.onnx", code=1)
    assert "to compute what the model does, got a difference of" in message


def test_refusals(saved: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there.onnx").write_text("mine")
    assert "--force replaces it" in refused(capsys, "export", "saved.safetensors", "there.onnx")
    assert Path("there.onnx").read_text() == "mine"
    assert "FILE ends with .onnx, .keras, .h5" in refused(capsys, "export", "saved.safetensors", "model.pt")
    assert "FILE ends with .onnx, .keras, .h5" in refused(capsys, "export")
    assert "--lengths: expected an .onnx file" in refused(capsys, "export", "saved.safetensors", "m.keras", "--lengths")
    assert "No such file" in refused(capsys, "export", "none", "model.onnx")
    build("mgu", 3, 5, dtype="float32").save("mgu.safetensors")
    assert "layers with a form for ONNX here, got mgu" in refused(capsys, "export", "mgu.safetensors", "model.onnx")
    assert not Path("model.onnx").exists()
