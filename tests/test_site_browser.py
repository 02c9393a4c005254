"""The built site in headless Chromium: nothing is fetched, nothing is wider than the screen, and it is accessible.

`make docs` builds it; where it is not built, or there is no Chromium, the tests are skipped with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_explorer_browser import LOOKS, browser, settled

__all__ = ["browser"]

pytestmark = pytest.mark.browser

SITE = Path(__file__).resolve().parent.parent / "build" / "site" / "html"
PAGES = (
    "index.html",
    "lstm.html",
    "performance.html",
    "notebooks/02_break_the_gradient.html",
    "reference/engine.LSTM.html",
    "source/kernels/gates/lstm.py.html",
    "zh_CN/notation.html",
    "zh_CN/gru.html",
)


@pytest.mark.skipif(not SITE.exists(), reason="the site is not built: make docs")
@pytest.mark.parametrize("look", LOOKS)
def test_pages_are_accessible_fit_the_screen_and_ask_no_network(browser: Any, look: str) -> None:
    checker = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra 'browser'")
    width, colours = LOOKS[look]
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=colours, reduced_motion="reduce"
    )
    page, asked, faults = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        settled(page)
        wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wider > 0:
            faults.append(f"{name} is {wider} px wider than the screen")
        found = checker.Axe().run(page).response["violations"]
        faults += [f"{name}: {one['id']}: {one['nodes'][0]['html'][:100]}" for one in found]
    context.close()
    assert faults == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.skipif(not SITE.exists(), reason="the site is not built: make docs")
def test_the_search_finds_words_of_both_languages_without_a_network(browser: Any) -> None:
    for place, word in (("", "truncated"), ("zh_CN/", "反向传播")):
        page = browser.new_page()
        page.goto((SITE / place / "search.html").as_uri() + f"?q={word}")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        page.close()
