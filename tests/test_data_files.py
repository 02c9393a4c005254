"""What is no file of data is refused at once: pipes, devices, sockets, and more than there is memory for."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt
from commands import refused as command_refused
from refusals import refused

from engine.data import files, load_series, load_text
from engine.errors import DataError

pytestmark = pytest.mark.usefixtures("blank_pictures")

LOADERS = [load_text, load_series]
MEND = "a run reads its data again when it is resumed or evaluated: write it to a file first"


@pytest.mark.parametrize("load", LOADERS)
def test_pipes_sockets_and_devices_are_refused_without_a_wait(tmp_path: Path, load: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    with refused(DataError, f"{tmp_path / 'pipe'}: expected a ", f"got a pipe; {MEND}"):
        load(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(str(tmp_path / "ear"))
        with refused(DataError, f"got a socket; {MEND}"):
            load(tmp_path / "ear")
    for name in ("zero", "urandom", "null"):
        with refused(DataError, f"/dev/{name}: expected a ", f"got a device; {MEND}"):
            load(f"/dev/{name}")
    os.symlink("/dev/zero", tmp_path / "link")
    with refused(DataError, "got a device"):
        load(tmp_path / "link")
    with refused(DataError, "got a directory; name the file"):
        load(tmp_path)
    reader, writer = os.pipe()  # as a shell's <(...) gives it
    try:
        with refused(DataError, "got a pipe"):
            load(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("load", LOADERS)
def test_files_of_the_system_that_say_they_are_empty_are_not_waited_for(load: Any) -> None:
    with refused(DataError, "/proc/self/status: expected a ", "got an empty file"):
        load("/proc/self/status")


@pytest.mark.parametrize("load", LOADERS)
def test_more_than_the_machine_can_hold_is_refused_before_it_is_read(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole, which takes no place on the disk
    with refused(DataError, "expected a file of at most ", "a tenth of this machine's memory, got 1,099,511,627,776"):
        load(path)
    monkeypatch.setattr(files, "largest", lambda: 1000)
    path.write_bytes(gzip.compress(b"v\n" + b"1\n" * 5000))
    with refused(DataError, "expected a file of at most 1,000 bytes", "got more when it is unpacked"):
        load(path)
    path.write_bytes(gzip.compress(b"v\n" + b"1\n" * 400))
    assert len(load(path) if load is load_text else load(path).values) in (802, 400)


def test_the_commands_refuse_them_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / "run"
    assert "got a pipe" in command_refused(capsys, "train", tmp_path / "pipe", "--out", out)
    assert "got a device" in command_refused(capsys, "train", "--task", "forecast", "--data", "/dev/zero", "--out", out)
    assert not out.exists()


def test_how_a_series_is_written_is_an_option_of_every_command_that_reads_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(4).normal(2, 1, 60)
    lines = [f"{value:.3f}".replace(".", ",") for value in np.abs(values) + 1]
    path, out = tmp_path / "level.csv", tmp_path / "run"
    path.write_bytes(
        "\n".join(["Pegel Süd", "zeit~höhe", *(f"{k}~{cell}" for k, cell in enumerate(lines))]).encode("cp1252")
    )
    form = ["--encoding", "cp1252", "--delimiter", "~", "--skip", 1, "--decimal", ","]
    small = "--backend numpy:reference --hidden 3 --window 4 --epochs 1 --quiet".split()
    command = ["train", "--task", "forecast", "--data", path, "--column", "höhe", *small, "--out", out]
    hints = ["--encoding cp1252", "--delimiter", "--skip 1", "--decimal ,"]
    for count, hint in enumerate(hints):  # each option is named where it is needed
        assert hint in command_refused(capsys, *command, *form[: 2 * count])
    assert bptt(*command, *form) == 0
    assert bptt("evaluate", out) == 0
    assert bptt("predict", out) == 0
    capsys.readouterr()
    assert "--encoding cp1252" in command_refused(capsys, "evaluate", out, path)
    assert bptt("evaluate", out, path, *form) == 0
    assert bptt("predict", out, "--data", path, *form) == 0
    assert bptt("train", "--resume", "--epochs", 2, "--quiet", "--out", out) == 0
    # The same series, written otherwise: what is held to is its contents.
    plain = tmp_path / "plain.csv"
    plain.write_text("höhe\n" + "\n".join(lines).replace(",", ".") + "\n")
    as_usual = ["--encoding", "utf-8", "--delimiter", ",", "--skip", 0, "--decimal", "."]
    assert bptt("train", "--resume", "--epochs", 3, "--quiet", "--out", out, "--data", plain, *as_usual) == 0
    capsys.readouterr()
    assert "--skip: expected an integer >= 0, got -1" in command_refused(capsys, "evaluate", out, path, "--skip", -1)
