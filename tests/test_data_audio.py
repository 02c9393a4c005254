"""Recordings and images as data: the features by another way, the three layouts, and one sentence for each fault."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from wav_files import PITCHES, RATE, spelled, tone, tones, wav

from engine.data.audio import read_wav
from engine.data.images import read_images
from engine.data.labelled import LabelledTexts
from engine.data.log_mel import FLOOR, log_mel, mel_bank
from engine.data.members import members_of
from engine.data.parting import three_parts
from engine.data.recordings import read_recordings
from engine.data.speech import sounding, speech_frames, stacked
from engine.errors import DataError, InputError

DATA = os.environ.get("BPTT_TEST_DATA")


# -- features ---------------------------------------------------------------------------------------------------------


def slow_log_mel(samples: np.ndarray, rate: int, mels: int) -> np.ndarray:
    """The same features from their definitions: a sum for each frequency, a triangle at a time."""
    width, hop = round(0.025 * rate), round(0.01 * rate)
    size = 1
    while size < 2 * width:
        size *= 2
    hz = [
        700 * (math.exp(m / 1127.010480) - 1) for m in np.linspace(0, 1127.010480 * math.log1p(rate / 1400), mels + 2)
    ]
    time = np.arange(width)
    rows = []
    for start in range(0, len(samples) - width + 1, hop):
        piece = samples[start : start + width] * np.sin(np.pi * time / width) ** 2
        power = [abs(np.exp(-2j * np.pi * k * time / size) @ piece) ** 2 for k in range(size // 2 + 1)]
        row = []
        for m in range(mels):
            total = 0.0
            for k, value in enumerate(power):
                f = k * rate / size
                total += value * max(0.0, float(np.interp(f, hz[m : m + 3], [0, 1, 0])))
            row.append(math.log(max(total, FLOOR)))
        rows.append(row)
    return np.array(rows)


def test_log_mel_is_its_definition() -> None:
    samples = np.random.default_rng(5).normal(size=700) * 0.1
    found = log_mel(samples, RATE, 13)
    assert found.shape == (1 + (700 - 200) // 80, 13)
    np.testing.assert_allclose(found, slow_log_mel(samples, RATE, 13), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_every_pitch_lies_in_its_triangle(rate: int) -> None:
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), 22) / 2595) - 1)
    for pitch in PITCHES.values():
        band = int(log_mel(tone(pitch, 0.3, rate), rate, 20)[5].argmax())
        assert edges[band] < pitch < edges[band + 2]


def test_short_and_silent_sounds_have_features() -> None:
    assert log_mel(np.ones(1), RATE).shape == (1, 40)
    np.testing.assert_array_equal(log_mel(np.zeros(200), RATE), np.full((1, 40), np.float32(np.log(FLOOR))))


def test_too_many_triangles_are_refused() -> None:
    with pytest.raises(InputError, match="mels: expected few enough triangles for 8000 samples"):
        mel_bank(200, RATE, 512)


def test_silence_around_a_word_and_its_loudness_make_no_difference() -> None:
    rng = np.random.default_rng(2)
    word = np.concatenate([tone(700, 0.2), tone(1900, 0.2)])
    hiss = 1e-4 * rng.normal(size=4000)
    before, after = hiss[:2400], hiss[2400:]  # 30 and 20 hops
    start, stop = sounding(log_mel(np.concatenate([before, word, after]), RATE, 20))
    assert 28 <= start <= 30
    assert 68 <= stop <= 71
    alone = speech_frames(word, RATE)
    within = speech_frames(np.concatenate([before, 3 * word, after]), RATE)[30 - start :]
    assert abs(float(speech_frames(word, RATE).mean())) < 1e-5
    # the same course over time, whatever the loudness
    np.testing.assert_allclose(np.diff(within[2:36], axis=0), np.diff(alone[2:36], axis=0), atol=0.02)


def test_stacked_frames_keep_every_number() -> None:
    frames = np.arange(14.0).reshape(7, 2)
    found = stacked(frames, 3)
    np.testing.assert_array_equal(found.reshape(-1, 2)[:7], frames)
    np.testing.assert_array_equal(found[2], [12, 13, 12, 13, 12, 13])


# -- one recording ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scale", "zero"),
    [("u1", 127, 128), ("i2", 32767, 0), ("i4", 2**31 - 1, 0), ("f4", 0, 0), ("f8", 0, 0)],
)
def test_every_kind_of_samples_has_the_same_scale(kind: str, scale: int, zero: int) -> None:
    wave = tone(440)
    stored = np.round(wave * scale + zero).astype(kind) if scale else wave.astype(kind)
    file = io.BytesIO()
    wavfile.write(file, RATE, stored)
    np.testing.assert_allclose(read_wav(file.getvalue(), "a.wav").samples, wave, atol=0.01)


def test_conversion_mixes_channels_and_changes_the_rate() -> None:
    left, right = tone(440, 0.2, 16000), tone(440, 0.2, 16000, seed=1)
    sound = read_wav(wav(np.stack([left, right], axis=1), 16000), "a.wav", RATE, convert=True)
    assert (len(sound.samples), sound.rate) == (1600, RATE)
    assert sound.changes == ("2 channels mixed to one", "resampled from 16000 to 8000 samples a second")
    direct = ((left + right) / 2)[::2]  # the tone lies far below half of the new rate
    np.testing.assert_allclose(sound.samples[100:-100], direct[100:-100], atol=0.02)


FAULTS = {
    "stereo": (wav(np.stack([tone(300)] * 2, axis=1)), "got 2 channels; --convert takes the mean"),
    "another rate": (wav(tone(300), 16000), "as in the other recordings, got 16000; --convert changes"),
    "silent": (wav(np.full(900, 0.01)), "recording with sound in it, got 900 samples of silence"),
    "empty": (wav(np.zeros(0)), "got no samples at all"),
    "cut short": (wav(tone(300))[:-400], "cut short: its header promises more samples"),
    "half a sample": (wav(tone(300))[:-401], "got a damaged one"),
    "half a header": (wav(tone(300))[:30], "got a damaged one"),
    "another kind": (b"fLaC" + bytes(90), "got another kind of file; convert it first, for example with ffmpeg"),
    "no channels": (wav(tone(300))[:22] + bytes(2) + wav(tone(300))[24:], "got a damaged one"),
    "compressed": (wav(tone(300))[:20] + b"\x07\0" + wav(tone(300))[22:], "got MULAW; convert it"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_recording_that_cannot_be_used_is_one_sentence(fault: str) -> None:
    raw, words = FAULTS[fault]
    with pytest.raises(DataError, match=rf"^a\.wav: expected .*{words}") as caught:
        read_wav(raw, "a.wav", RATE)
    assert "\n" not in str(caught.value)


def test_infinite_samples_are_refused() -> None:
    file = io.BytesIO()
    wavfile.write(file, RATE, np.array([0.1, np.inf, -0.2], np.float32))
    with pytest.raises(DataError, match="NaN or infinity among its samples"):
        read_wav(file.getvalue(), "a.wav")


# -- many recordings --------------------------------------------------------------------------------------------------


def test_labels_by_name_by_folder_and_by_table(tmp_path: Path) -> None:
    named = read_recordings(tones(tmp_path / "tones.zip", takes=1))
    assert (named.labels[:4], named.speakers[:4]) == (["high"] * 3 + ["low"], ["anna", "ben", "cleo", "anna"])
    for name, raw in (("yes/anna_1.wav", tone(300)), ("yes/2.wav", tone(310)), ("no/ben_1.wav", tone(900))):
        (tmp_path / "words" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "words" / name).write_bytes(wav(raw))
    (tmp_path / "words" / ".DS_Store").write_bytes(b"x")
    folders = read_recordings(tmp_path / "words")
    assert folders.names == ["no/ben_1.wav", "yes/2.wav", "yes/anna_1.wav"]
    assert (folders.labels, folders.speakers) == (["no", "yes", "yes"], ["ben", "", "anna"])
    table = spelled(tmp_path / "spelled", rows=3)
    by_table = read_recordings(table / "words.tsv")
    assert by_table.labels == read_recordings(table).labels
    assert by_table.speakers == ["even", "odd", "even"]
    assert read_recordings(table, labelled=False).labels == []
    one = read_recordings(table / "1.wav", labelled=False)
    np.testing.assert_array_equal(one.sounds[0], by_table.sounds[1])


def test_notes_count_what_was_converted(tmp_path: Path) -> None:
    (tmp_path / "a_x_0.wav").write_bytes(wav(tone(300)))
    (tmp_path / "b_x_0.wav").write_bytes(wav(tone(300, rate=16000), 16000))
    with pytest.raises(DataError, match=r"b_x_0.wav: expected 8000 samples a second"):
        read_recordings(tmp_path)
    found = read_recordings(tmp_path, convert=True)
    assert found.notes == ("1 of 2 recordings: resampled from 16000 to 8000 samples a second",)
    assert [len(sound) for sound in found.sounds] == [960, 960]


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return path


SOUND = wav(tone(300))
COLLECTIONS: dict[str, tuple[dict[str, bytes], str]] = {
    "nothing": ({}, "got no files at all"),
    "no sound": ({"readme.txt": b"x"}, "got no file of that kind"),
    "no label": ({"a_b_1.wav": SOUND, "hello.wav": SOUND}, "a label for every recording, got none for hello.wav"),
    "half in folders": ({"yes/1.wav": SOUND, "2.wav": SOUND}, "got 2.wav beside folders"),
    "no text": ({"1.wav": SOUND, "t.tsv": b"1.wav\t\n"}, "t.tsv, line 1: expected .* got none for 1.wav"),
    "no file": ({"1.wav": SOUND, "t.tsv": b"1.wav\ta\n2.wav\tb\n"}, "line 2: expected a file .* got no file 2.wav"),
    "no lines": ({"1.wav": SOUND, "t.tsv": b"file\ttext\n"}, "got no lines"),
    "two tables": ({"1.wav": SOUND, "t.tsv": b"", "s.tsv": b""}, "got 2 tables: s.tsv, t.tsv"),
    "another encoding": ({"1.wav": SOUND, "t.tsv": b"1.wav\tgr\xfc\xdf\n"}, "expected a table in UTF-8"),
    "broken": ({"a_b_1.wav": SOUND, "b_b_1.wav": SOUND[:100]}, "b_b_1.wav: expected .* cut short"),
}


@pytest.mark.parametrize("fault", COLLECTIONS)
def test_recordings_that_cannot_be_used_are_one_sentence(fault: str, tmp_path: Path) -> None:
    files, words = COLLECTIONS[fault]
    with pytest.raises(DataError, match=words) as caught:
        read_recordings(zipped(tmp_path / "a.zip", files))
    assert "\n" not in str(caught.value)


def test_archives_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="got a file that is no zip file"):
        members_of(path, "a zip file")
    zipped(path, {"a_b_1.wav": SOUND})
    raw = bytearray(path.read_bytes())
    raw[60:70] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a_b_1.wav: expected .* an entry that cannot be unpacked"):
        read_recordings(path)
    with pytest.raises(DataError, match="got no such file"):
        read_recordings(tmp_path / "nowhere")


@pytest.mark.skipif(DATA is None, reason="real data: set BPTT_TEST_DATA to the folder that has it")
def test_spoken_digits_are_read() -> None:
    found = read_recordings(Path(str(DATA)) / "spoken_digits.zip")
    assert (len(found), found.rate, len(set(found.labels)), len(set(found.speakers))) == (2000, 8000, 10, 4)
    assert 0.1 < min(map(len, found.sounds)) / found.rate < max(map(len, found.sounds)) / found.rate < 2.5


# -- parts ------------------------------------------------------------------------------------------------------------


def rows(count: int = 60) -> LabelledTexts:
    names = [f"{k}.wav" for k in range(count)]
    return LabelledTexts(names, ["abc"[k % 3] for k in range(count)], names, "tones")


def test_every_row_is_in_one_part_and_every_label_in_each() -> None:
    data = rows()
    parts = three_parts(data, 0.2, 0.25, seed=4)
    assert sorted(np.concatenate(parts)) == list(range(60))
    for part in parts:
        assert {data.labels[k] for k in part} == set("abc")
    again = three_parts(data, 0.2, 0.25, seed=4)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert not np.array_equal(parts.test, three_parts(data, 0.2, 0.25, seed=5).test)


def test_a_speaker_is_held_out_whole() -> None:
    speakers = ["anna" if k % 4 else "ben" for k in range(60)]
    parts = three_parts(rows(), 0.2, 0.25, groups=speakers, hold_out="ben")
    assert parts.test.tolist() == list(range(0, 60, 4))
    alone = LabelledTexts(list("abcdefg"), ["x"] * 5 + ["y"] * 2, list("abcdefg"), "tones")
    with pytest.raises(DataError, match=r"at least 3 of each label, .* got 2 of 'y' \(f\)"):
        three_parts(alone, 0.2, 0.25)
    with pytest.raises(DataError, match="got 'carl' beside anna, ben"):
        three_parts(rows(), 0.2, 0.25, groups=speakers, hold_out="carl")
    with pytest.raises(DataError, match="got 'carl', and no names in the data"):
        three_parts(rows(), 0.2, 0.25, groups=[""] * 60, hold_out="carl")


# -- images -----------------------------------------------------------------------------------------------------------


def picture(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def test_images_from_folders_arrays_and_files(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (3, 5, 4))
    path = zipped(tmp_path / "a.zip", {f"set/{'ab'[k % 2]}/{k}.png": picture(values[k]) for k in range(3)})
    found = read_images(path)
    assert (found.names, found.labels) == (["set/a/0.png", "set/a/2.png", "set/b/1.png"], ["a", "a", "b"])
    np.testing.assert_array_equal(found.pixels, values[[0, 2, 1]])
    np.savez(tmp_path / "a.npz", images=values, labels=[7, 8, 7])
    assert read_images(tmp_path / "a.npz").labels == ["7", "8", "7"]
    np.save(tmp_path / "a.npy", values[1])
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy", labelled=False).pixels, values[1:2])
    (tmp_path / "one.png").write_bytes(picture(values[2]))
    np.testing.assert_array_equal(read_images(tmp_path / "one.png", labelled=False).pixels, values[2:])


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a/1.png": picture(np.ones((5, 4))), "b/2.png": picture(np.ones((4, 4)))})
    with pytest.raises(
        DataError, match=r"expected images of one size, 4x5 as a/1.png, got b/2.png of 4x4; scale or crop"
    ):
        read_images(path)


ARRAYS = {
    "no labels": ({"images": np.ones((2, 3, 3))}, "expected an array 'labels' beside the images, got arrays 'images'"),
    "no images": ({"labels": np.ones(2)}, "expected an array 'images', got arrays 'labels'"),
    "colours": ({"x": np.ones((2, 3, 3, 3)), "y": np.ones(2)}, r"shape \(2, 3, 3, 3\); of colours take the mean"),
    "other labels": ({"x": np.ones((2, 3, 3)), "y": np.ones(3, int)}, "one for each of the 2 images"),
    "NaN": ({"x": np.array([[[1.0]], [[np.nan]]]), "y": [1, 2]}, "got NaN or infinity in image 1"),
    "words": ({"x": np.array([["a"]])}, "expected images as numbers"),
    "objects": ({"x": np.array([None])}, "got a file that NumPy does not read"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ARRAYS)
def test_arrays_that_cannot_be_used_are_one_sentence(fault: str, tmp_path: Path) -> None:
    arrays, words = ARRAYS[fault]
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        read_images(tmp_path / "a.npz")


def test_image_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="got a file that NumPy does not read"):
        read_images(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a/1.png: expected an image, got a file that is none"):
        read_images(zipped(tmp_path / "a.zip", {"a/1.png": b"text"}))
    with pytest.raises(DataError, match=r"every image in the folder of its label, got none for 1.png"):
        read_images(zipped(tmp_path / "b.zip", {"1.png": picture(np.ones((2, 2)))}))
    with pytest.raises(DataError, match="got no image in it"):
        read_images(zipped(tmp_path / "c.zip", {"1.txt": b"x"}))
