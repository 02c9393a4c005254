"""Takes the screenshots in docs/images/: needs the extra `browser` and a Chromium.

Run ``python docs/make_screenshots.py`` from anywhere; it overwrites what is there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from engine import explorer

IMAGES = Path(__file__).resolve().parent / "images"
#: File -> the place in the page, the size of the window, and the colours.
SHOTS = {
    "explorer_step.png": ("#cell=lstm&view=step&line=4&t=12&unit=1", (1366, 960), "light"),
    "explorer_bug.png": ("#view=bug&bug=2", (1240, 1010), "dark"),
}


def main() -> None:
    """Take every screenshot."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = explorer.write(Path(folder) / "explorer.html")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for name, (place, (width, height), colours) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            page.goto(file.as_uri() + place)
            page.wait_for_selector("html[data-ready]")
            page.screenshot(path=IMAGES / name)
            page.close()
            # a page has few colours: a third of the bytes
            Image.open(IMAGES / name).convert("RGB").quantize(128).save(IMAGES / name, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
