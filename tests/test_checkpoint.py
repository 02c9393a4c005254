"""Checkpoints: what goes in comes out, nothing half-written is ever seen, and every wrong file has its own message."""

from __future__ import annotations

import errno
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, bptt, write_text
from refusals import refused
from safetensors.numpy import save, save_file

import engine.atomic as atomic
from engine.errors import CheckpointError, InputError, StorageError
from engine.training.checkpoint import KEY, match_arrays, read_checkpoint, read_file, write_checkpoint
from engine.training.metrics import MetricsLog, read_metrics
from engine.training.run_files import read_json

pytestmark = pytest.mark.usefixtures("blank_pictures")

ARRAYS = {
    "model/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model/b": np.array([1.5, -0.0, 5e-324, np.pi]),
    "trainer/sum": np.array(0.1),
    "optimizer/steps": np.array(7),
    "optimizer/nonfinite": np.array(False),
}
META = {"config": {"lr": 0.1, "text": 'ä "quoted" \u2028'}, "trainer": {"step": 7, "best_loss": None}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, ARRAYS, META)
    return path


def files(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


def test_what_goes_in_comes_out(path: Path) -> None:
    checkpoint = read_file(path)
    assert checkpoint.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        got = checkpoint.arrays[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()  # to the bit, -0.0 and subnormals too
    assert {key: checkpoint.meta[key] for key in META} == META
    assert checkpoint.group("model").keys() == {"a", "b"}


def test_equal_states_make_equal_files(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_checkpoint(other, dict(reversed(ARRAYS.items())), dict(reversed(META.items())))
    assert other.read_bytes() == path.read_bytes()


def test_not_contiguous_arrays_are_saved_as_they_read(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(3, 4).T[::2]
    write_checkpoint(tmp_path / "c", {"a": array}, {})
    np.testing.assert_array_equal(read_file(tmp_path / "c").arrays["a"], array)


# -- wrong files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_a_file_cut_short(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with refused(CheckpointError, f"{path}: expected ", " bytes by its own header, got ", "cut short", "; restore"):
        read_checkpoint(path)


def test_a_file_that_goes_on(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with refused(CheckpointError, f"{path}: expected ", "too long"):
        read_checkpoint(path)


def test_every_prefix_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 16
    path.write_bytes(data)
    with refused(CheckpointError, f"{path}: expected contents with checksum ", "damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"dtype":"F64","shape":[4]', b'"dtype":"I64","shape":[4]', "expected contents with checksum "),
        (b'"shape":[2,3]', b'"shape":[3,2]', "expected contents with checksum "),
        (
            b'"dtype":"F32"',
            b'"dtype":"I32"',
            "expected one of F32, F64, I64, BOOL as 'model/a'.dtype in the safetensors",
        ),
        (b'"shape":[2,3]', b'"shape":[2,9]', "expected an array of the size that its place in the file has"),
    ],
)
def test_dtype_and_shape_are_under_the_checksum(path: Path, old: bytes, new: bytes, words: str) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with refused(CheckpointError, f"{path}: {words}"):
        read_file(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model/b", "data_offsets"), [0, float("inf")]),
        (("model/b", "data_offsets"), [float("nan"), 8]),
        (("model/b", "data_offsets"), [-8, 24]),
        (("model/b", "data_offsets"), [0, 10**30]),
        (("model/b", "data_offsets"), [16, 48]),
        (("model/b", "data_offsets"), "all"),
        (("model/b", "shape"), [4.0]),
        (("model/b", "shape"), [-4]),
        (("model/b", "shape"), [1] * 70 + [4]),
        (("model/b", "shape"), None),
        (("model/b", "dtype"), ["F64"]),
        (("model/b",), 7),
        (("model/b", "more"), 1),
    ],
)
def test_crafted_headers(path: Path, place: tuple[str, ...], value: Any) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    part = header
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :])
    with refused(CheckpointError, f"{path}: expected ", "; restore the file from a copy"):
        read_file(path)


def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with refused(CheckpointError, f"{path}: expected a checkpoint file, got a device or a pipe; "):
            read_checkpoint(path)
        with refused(CheckpointError, f"{path}: expected lines of metrics, got a device or a pipe; "):
            MetricsLog(path)
        with refused(CheckpointError, f"{path}: expected options, got a device or a pipe; "):
            read_json(path, "options", "train anew")


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 100_000, "brackets within brackets"), ("[1,NaN]", "the number NaN"), ("1" * 5_000_000, "5,000,000 bytes")],
)
def test_json_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with refused(CheckpointError, f"{path}: expected options, got ", words):
        read_json(path, "options", "train anew")


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "an empty file"),
        (b"\x80", "1 bytes (cut short)"),
        (b"plain text, not numbers, and long enough to be looked at\n", "a file of another kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a file of another kind"),
        (struct.pack("<Q", 2**60) + b"{" + bytes(20), "a file of another kind"),
        (struct.pack("<Q", 9) + b"{no json}", "something else"),
        (struct.pack("<Q", 2) + b"{}", "none"),
        (struct.pack("<Q", 60_000) + b'{"a":' * 12_000, "something else"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, data: bytes, got: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with refused(CheckpointError, f"{path}: expected ", got):
        read_checkpoint(path)


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.safetensors"
    path.write_bytes(pickle.dumps([Bomb()] * 20, protocol))
    with refused(CheckpointError, f"{path}: expected ", "another kind"):
        read_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with refused(CheckpointError, "expected a checkpoint file, got 'No such file or directory'; train one first"):
        read_checkpoint(tmp_path / "none")
    with refused(CheckpointError, "expected a checkpoint file, got 'Is a directory'; train one first"):
        read_checkpoint(tmp_path)


def test_weights_without_metadata(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with refused(CheckpointError, f"{path}: expected metadata 'bptt-engine' ", "got none; ", "load_state_dict"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_half_precision_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "half.safetensors"
    entry = {"lstm.weight": {"dtype": name, "shape": [2], "data_offsets": [0, 4]}}
    header = json.dumps(entry).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with refused(CheckpointError, f"'lstm.weight' in float32 or float64, got {name} (half precision); bare weights"):
        read_file(path)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", "3"])
def test_metadata_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"a": np.zeros(3)}, metadata={KEY: text}))
    with refused(CheckpointError, f"{path}: expected metadata 'bptt-engine' as JSON"):
        read_checkpoint(path)


def test_another_format_version(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"a": np.zeros(3)}, metadata={KEY: json.dumps({"format_version": 3})}))
    with refused(
        CheckpointError, f"{path}: expected checkpoint format version 1 to 2, got version 3; load it with the rel"
    ):
        read_checkpoint(path)


def test_another_model() -> None:
    path, mine = Path("x"), {"w": np.zeros((2, 3)), "b": np.zeros(2)}
    with refused(
        CheckpointError, "x: expected parameter 'b' of shape (2,), got no such parameter; it is another model"
    ):
        match_arrays(path, {"w": np.zeros((2, 3))}, mine)
    with refused(CheckpointError, "x: expected only the model's own parameters, got 'c' of shape (1,); it is another"):
        match_arrays(path, {**mine, "c": np.zeros(1)}, mine)
    with refused(CheckpointError, "x: expected parameter 'w' of shape (2, 3), got shape (3, 2); it is another model"):
        match_arrays(path, {**mine, "w": np.zeros((3, 2))}, mine)
    match_arrays(path, mine, mine)


# -- writes that fail -------------------------------------------------------------------------------------------------


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    before = files(path.parent)
    monkeypatch.setattr(atomic.os, where, full)
    with refused(
        StorageError, f"{path}: expected to write ", "got 'No space left on device'; free some space or choose"
    ):
        write_checkpoint(path, {"model/a": np.zeros(99)}, {})
    assert files(path.parent) == before  # byte for byte, and no temporary file beside it


def test_an_interrupted_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(path.parent)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"model/a": np.zeros(99)}, {})
    assert files(path.parent) == before


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    with refused(StorageError, "expected to write ", "got 'No such file or directory'; "):
        write_checkpoint(tmp_path / "gone" / "c", {}, {})


def test_the_file_reaches_the_disk_before_it_gets_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        calls.append("fsync file" if os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp") else "fsync directory")
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        calls.append("rename")
        assert source.parent == target.parent
        real_replace(source, target)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    write_checkpoint(path, ARRAYS, META)
    assert calls == ["fsync file", "rename", "fsync directory"]


def test_one_run_a_directory(tmp_path: Path) -> None:
    with atomic.locked(tmp_path / "empty"):
        with refused(InputError, "out: expected no other run"), atomic.locked(tmp_path / "empty"):
            pass
        assert (tmp_path / "empty").is_dir()  # the one that was turned away has not tidied up
    assert not (tmp_path / "empty").exists()  # the other one had written nothing
    with (
        atomic.locked(tmp_path),
        refused(InputError, f"out: expected no other run at work in {tmp_path}, got one; wait"),
        atomic.locked(tmp_path),
    ):
        pass
    with atomic.locked(tmp_path):  # free again
        pass
    assert tmp_path.is_dir()  # empty, but it was there before


def test_nobody_elses_temporary_files_are_removed(tmp_path: Path) -> None:
    ours = atomic.temporary_for(tmp_path / "last.safetensors").name
    others = [
        ".notes.tmp",
        ".draft.docx.tmp",
        ".last.safetensors.tmp",
        ".last.safetensors.123.tmp",
        ".last.safetensors.x.bptt.tmp",
        ".letter.txt.123.bptt.tmp",
        ours[1:],
        ours + "~",
        ours.replace(".safetensors", "-safetensors"),
    ]
    for name in [ours, *others]:
        (tmp_path / name).touch()
    (tmp_path / ".best.safetensors.9.bptt.tmp").mkdir()
    (tmp_path / ".run.json.9.bptt.tmp").symlink_to(tmp_path / ".notes.tmp")
    atomic.remove_temporaries(tmp_path, ["last.safetensors", "best.safetensors", "run.json"])
    kept = {*others, ".best.safetensors.9.bptt.tmp", ".run.json.9.bptt.tmp"}
    assert {entry.name for entry in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("name", [".notes.tmp", ".last.safetensors.tmp"])
def test_a_run_in_a_folder_of_ones_own_deletes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("precious")
    text = write_text(Path("tides.txt"))
    assert bptt("train", text, "--out", ".", "--steps", 2, *TINY, "--quiet") == 0
    assert Path(name).read_text() == "precious"


# -- metrics ----------------------------------------------------------------------------------------------------------


LINE = {"kind": "train", "epoch": 0.0, "loss": 1.0, "bpc": 1.4, "lr": 0.1, "grad_norm": None}


def timed(step: int) -> dict[str, Any]:
    return {**LINE, "step": step, "timing": {"elapsed_s": step + 0.5}}


def test_metrics_go_on_after_the_line_that_the_checkpoint_knows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in range(3):
        log.write(timed(step))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"step": 3, "ti')  # a kill in the middle of a line
    assert [record["step"] for record in read_metrics(path, "bpc")] == [0, 1, 2]
    assert [record["timing"]["elapsed_s"] for record in read_metrics(path, "bpc", 2)][-1] == 1.5
    log = MetricsLog(path, lines=2)
    log.write(timed(7))
    log.close()
    assert [record["step"] for record in read_metrics(path, "bpc")] == [0, 1, 7]


GOOD = {**LINE, "step": 1, "timing": {"elapsed_s": 1.0}}


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff",
        b"1",
        b"[]",
        b"[" * 9000,
        b"{}" + b" " * 10_000,
        b'{"kind": "train", "stop": 1}',
        b'{"timing": 3}',
        *(
            json.dumps({**GOOD, name: value}).encode()
            for name, value in [
                ("kind", "test"),
                ("kind", ["train"]),
                ("step", [1]),
                ("step", -1),
                ("step", 2.5),
                ("epoch", None),
                ("loss", "q"),
                ("loss", float("nan")),
                ("bpc", True),
                ("lr", {}),
                ("grad_norm", "x"),
                ("timing", {"elapsed_s": "q"}),
                ("timing", {"elapsed_s": float("inf")}),
                ("timing", [1]),
                ("timing", {}),
            ]
        ),
        json.dumps(GOOD).replace("1.4", "1e999").encode(),
        json.dumps(GOOD).replace("1.4", "1" + "0" * 400).encode(),
    ],
)
def test_metrics_that_were_damaged_are_refused(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with refused(CheckpointError, f"{path}: expected ", "line", " of metrics", "the file has been changed since"):
        read_metrics(path, "bpc")


def test_changed_metadata_is_noticed(path: Path) -> None:
    """Any change of the JSON part, not only of the arrays."""
    data = path.read_bytes()
    changed = data.replace(b'\\"step\\":', b'\\"stop\\":', 1)
    assert changed != data
    path.write_bytes(changed)
    with refused(CheckpointError, f"{path}: expected contents with checksum ", "damaged"):
        read_checkpoint(path)


def test_metrics_that_were_cut_are_not_patched_up(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1}')
    with refused(CheckpointError, f"{path}: expected at least 2 lines by the checkpoint beside it, got 1; "):
        MetricsLog(path, lines=2)
    assert path.read_bytes() == b'{"step": 0}\n{"step": 1}'


def test_a_line_of_metrics_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write({"step": 0})

    class Full:
        """A file that takes five bytes more."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            return int(self.file.write(data[:5]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    log._file = Full(log._file)  # type: ignore[assignment]
    with refused(StorageError, f"{path}: expected to append ", "got 'only 5 of 12 bytes fit'; free some space"):
        log.write({"step": 1})
    log.close()
    assert path.read_bytes() == b'{"step": 0}\n'
