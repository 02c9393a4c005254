"""Private memory of a training on a corpus of 1 MB and on one of 4 GB, and of preparing texts of two sizes.

    python -m benchmarks.speed.corpus_memory [--gigabytes 4] [--folder DIR]

The large corpus is made on the spot: one block in 256 has tokens, the others are holes of the file.  Every figure is
the peak of ``RssAnon`` (private memory, without the pages of mapped files) of a process of its own, looked at after
every step, or for a preparation while it reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.data import Vocabulary
from engine.data.corpus import TokenWriter
from engine.data.corpus.store import BLOCK
from engine.data.corpus.writer import corpus_folder
from engine.training import run_training

OPTIONS: dict[str, Any] = {"hidden": 128, "batch": 32, "sequence": 64, "validate_every": 50, "steps": 100}


def private() -> float:
    """MiB of private memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Peak:
    """A watch of a training that keeps the most private memory."""

    figure = ""

    def __init__(self) -> None:
        self.most = 0.0

    def stop(self) -> bool:
        """Look; nothing is stopped."""
        self.most = max(self.most, private())
        return False

    def begin(self, earlier: Any) -> None:
        """Nothing is to be done."""

    def write(self, record: Any) -> None:
        """Look after a validation as well."""
        self.stop()

    def close(self) -> None:
        """Nothing is to be done."""


def made(folder: Path, size: int) -> None:
    """A corpus of `size` tokens of one byte each, of which one block in 256 is no hole."""
    draw, letters = np.random.default_rng(0), Vocabulary("".join(map(chr, range(33, 123))))
    hole = np.zeros(BLOCK, np.uint8)
    with corpus_folder(folder) as locked, TokenWriter(locked, "uint8") as writer:
        for block in range(size // BLOCK):
            full = size < 2**22 or block % 256 < 1
            writer.write(draw.integers(0, 90, BLOCK, dtype=np.uint8) if full else hole)
        writer.finish("characters", letters)


def text(path: Path, size: int) -> None:
    """A text of about so many bytes."""
    draw = np.random.default_rng(1)
    words = ["".join(chr(97 + k) for k in draw.integers(0, 26, draw.integers(2, 9))) for _ in range(20_000)]
    with open(path, "w") as file:
        while file.tell() < size:
            file.write(" ".join(words[k] for k in draw.zipf(1.3, 20_000) % 20_000) + "\n")


def child(what: str, path: str, level: str) -> None:
    """Train or prepare, and print the peak and the seconds as JSON."""
    started, peak = time.perf_counter(), Peak()
    if what == "train":
        said = run_training(f"{path}-run", data=path, quiet=True, watch=peak, **OPTIONS)
        print(json.dumps({"peak": peak.most, "seconds": said["seconds"], "read": said["step"]}))
        return
    found = engine.prepare_tokens(path, f"{path}-{level}", level=level, tell=lambda tokens: peak.write(None))
    print(json.dumps({"peak": peak.most, "seconds": time.perf_counter() - started, "read": found.tokens}))


def measured(*words: str) -> dict[str, float]:
    """What a process of its own says."""
    command = [sys.executable, "-m", "benchmarks.speed.corpus_memory", "--child", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", help="where the corpora are made [a temporary one]")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    place = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        sizes = {"1 MB": 1 << 20, f"{given.gigabytes:g} GB": round(given.gigabytes * 10**9) // BLOCK * BLOCK}
        print(f"{'':34}{'peak MiB':>10}{'seconds':>10}")
        for name, size in sizes.items():
            started = time.perf_counter()
            made(place / name[:1], size)
            spent = time.perf_counter() - started
            if name == "1 MB":
                measured("train", str(place / name[:1]), "")  # compiles, which takes memory of its own
                shutil.rmtree(f"{place / name[:1]}-run")
            disk = sum(path.stat().st_blocks * 512 for path in (place / name[:1]).iterdir()) / 2**20
            found = measured("train", str(place / name[:1]), "")
            print(f"{'train on ' + name:34}{found['peak']:10.1f}{found['seconds']:10.1f}", flush=True)
            print(f"    made in {spent:.1f} s, {disk:,.1f} MiB on the disk")
        for level in ("characters", "words"):
            for size in (1 << 22, 1 << 26):
                path = place / f"{size}.txt"
                if not path.exists():
                    text(path, size)
                found = measured("prepare", str(path), level)
                name = f"prepare {size >> 20} MiB of text, {level}"
                print(f"{name:34}{found['peak']:10.1f}{found['seconds']:10.1f}", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
