"""The explorer in headless Chromium: no errors, no requests, accessible, moved by keys, and its numbers are the tape's.

It needs the extra `browser` and a Chromium; where one of them is missing, the tests are skipped with the reason.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import explorer_bundle
import numpy as np
import pytest

import engine
from engine import explorer
from engine.explorer import bugs, runs
from engine.explorer.page import built_in

pytestmark = pytest.mark.browser

VIEWS = ("step", "heat", "compare", "share", "bug", "table")
#: No part of the browser may speak to the network on its own, or the test would see requests that are not the page's.
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --no-first-run".split()
LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "narrow": (320, "light"), "narrow and dark": (320, "dark")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra 'browser'")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs a Chromium (on Debian and Ubuntu: apt install chromium)")
    with api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=program, args=FLAGS)
        except api.Error as error:
            pytest.skip(f"Chromium does not start here: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer.write(tmp_path_factory.mktemp("page") / "explorer.html")


def settled(page: Any) -> None:
    """Waits until fonts are there and two frames have been drawn: sizes and colours are the last ones then."""
    page.evaluate(
        "document.fonts.ready.then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))))"
    )


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end no error may have been written, and nothing asked for."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(look: str = "light", place: str = "", **more: Any) -> Any:
        width, colours = LOOKS[look]
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri() + place)
        page.wait_for_selector("html[data-ready]")
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((file.as_uri(), "data:"))] == []


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("–", "nan"))


# -- loading ----------------------------------------------------------------------------------------------------------


FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')"


def test_size_and_first_frame_stay_within_their_limits(opened: Callable[..., Any], file: Path) -> None:
    assert file.stat().st_size < 500 * 1024
    times = []
    for _ in range(3):  # the best of three: a machine at work on other things is no fault of the page
        page = opened()
        page.wait_for_function(f"{FIRST_PAINT}.length")  # a page can be ready before the browser has painted it
        times.append(page.evaluate(f"{FIRST_PAINT}[0].startTime"))
    assert 0 < min(times) < 2000


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_is_accessible_and_fits(opened: Callable[..., Any], look: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = opened(look, reduced_motion="reduce")  # a colour on its way to another has the contrast of neither
    for view in VIEWS:
        page.click(f"#tab-{view}")
        if view == "bug":
            page.click("#bug-hint")
            page.click("#reveal")
        if view == "step":
            page.click("#line-next")
        settled(page)
        found = axe.run(page).response["violations"]
        assert [(one["id"], [node["html"][:90] for node in one["nodes"]]) for one in found] == [], view
        assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look][0], view
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    settled(page)
    assert axe.run(page).response["violations"] == []


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_move_every_view(opened: Callable[..., Any]) -> None:
    page = opened()

    def moves(key: str, where: str, what: str = "innerHTML") -> None:
        before = page.evaluate(f"document.querySelector({where!r}).{what}")
        page.keyboard.press(key)
        assert page.evaluate(f"document.querySelector({where!r}).{what}") != before, (key, where)

    moves("ArrowLeft", "#strip")
    moves("ArrowLeft", "#say")
    moves("n", "#line-now")
    moves("n", "#drawing")
    moves("p", "#lines")
    moves("]", "#drawing")
    moves("c", "#strip")
    moves("C", "#drawing")
    for key, view in zip("123456", VIEWS, strict=True):
        page.keyboard.press(key)
        assert [page.is_visible(f"#view-{one}") for one in VIEWS] == [one == view for one in VIEWS]
    page.keyboard.press("2")
    moves("ArrowLeft", "#heat")
    moves("]", "#heat")
    page.keyboard.press("3")
    for key in "rRfFtTKk":
        moves(key, "#compare")
    page.keyboard.press("4")
    moves("ArrowRight", "#share")
    moves("w", "#share")
    page.keyboard.press("5")
    moves("n", "#bug-tensors")
    moves("p", "#guess-fields")
    page.keyboard.press("6")
    moves("ArrowLeft", "#table")
    moves("d", "html", "dataset.theme")
    moves("+", "html", "style.fontSize")


def test_every_control_can_be_reached_and_used_without_a_mouse(opened: Callable[..., Any]) -> None:
    page = opened()
    page.focus("#tab-step")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-heat"
    assert page.is_visible("#view-heat")
    page.focus("#tab-heat")
    page.keyboard.press("End")
    assert page.is_visible("#view-table")
    page.focus("#step")
    before = page.input_value("#step")
    page.keyboard.press("ArrowLeft")  # the slider's own key: one step, not two
    assert int(page.input_value("#step")) == int(before) - 1
    page.keyboard.press("5")
    page.focus("input[name=gate]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.name") == "gate"
    for control in page.query_selector_all("button:visible, select:visible, input:visible"):
        control.focus()
        assert control.evaluate("node => node === document.activeElement")


def test_single_keys_can_be_switched_off(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("?")
    page.uncheck("#single")
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys[open]", state="detached")
    page.keyboard.press("2")
    settled(page)
    assert page.is_visible("#view-step")


def test_an_address_leads_back_to_the_same_place(opened: Callable[..., Any]) -> None:
    page = opened(place="#cell=gru&t=4&unit=2&line=3&view=step")
    assert page.input_value("#step") == "4"
    assert page.input_value("#unit") == "2"
    assert page.inner_text("#line-out") == "line 3 of 9"
    assert "GRU" in page.inner_text("#about")


def test_nothing_moves_for_those_who_want_no_motion(opened: Callable[..., Any]) -> None:
    lasts = "getComputedStyle(document.querySelector('.edge')).transitionDuration"
    assert opened(reduced_motion="reduce").evaluate(lasts) == "0s"
    assert opened(reduced_motion="no-preference").evaluate(lasts) != "0s"


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", built_in())
def test_every_number_of_the_table_is_the_tapes(opened: Callable[..., Any], name: str) -> None:
    """The table at every step: the names of the tape and of the trace, each to four digits."""
    run = runs.small_run(engine.cells()[name])
    page = opened(place=f"#cell={name}&view=table&t=0")
    expected: dict[str, np.ndarray] = {}
    expected |= {f"slot {key}": values[:, 0] for key, values in run.tape.states.items()}
    expected |= {f"gate {key}": values[:, 0] for key, values in run.tape.gates.items()}
    expected |= {f"dslot {key}": values[:, 0] for key, values in run.trace.states.items()}
    expected |= {f"da {key}": values[:, 0] for key, values in run.trace.gates.items()}
    seen = set()
    for _ in range(run.steps):
        rows = page.evaluate(
            "[...document.querySelectorAll('#table tbody tr')].map(row => "
            "[row.dataset.name, Number(row.dataset.t), [...row.querySelectorAll('td')].map(cell => cell.textContent)])"
        )
        for key, step, cells in rows:
            if key in expected:
                got, want = np.array([number(cell) for cell in cells]), expected[key][step]
                np.testing.assert_allclose(got[: len(want)], want, rtol=6e-4, atol=1e-30, err_msg=f"{key} {step}")
                seen.add(key)
        page.keyboard.press("ArrowRight")
    assert seen == set(expected)


def test_the_line_that_is_shown_has_the_value_of_the_trace(opened: Callable[..., Any]) -> None:
    run = runs.small_run(engine.cells()["lstm"])
    page = opened(place="#cell=lstm&t=7&unit=3")
    found = {}
    for _ in range(12):
        page.click("#line-next")
        name = page.inner_text("#line-now .math >> nth=0").split("=")[0].strip().replace("\n", "")
        found[name] = number(page.inner_text("#result"))
    for gate in "ifgo":
        assert abs(found[f"da{gate}"] / run.trace.gates[gate][7, 0, 3] - 1) < 6e-4
    assert abs(found["dh[t]"] / run.trace.dh[7, 0, 3] - 1) < 6e-4
    assert abs(found["dc"] / run.trace.dc[8, 0, 3] - 1) < 6e-4


# -- bugs -------------------------------------------------------------------------------------------------------------


def test_every_bug_loads_is_judged_and_is_revealed(opened: Callable[..., Any]) -> None:
    page = opened(place="#view=bug")
    sealed = page.evaluate("JSON.parse(document.getElementById('data').textContent).bugs.map(bug => bug.sealed)")
    assert len(sealed) == len(bugs.CHOSEN)
    for k, packed in enumerate(sealed):
        answer = json.loads(base64.b64decode(packed))
        page.select_option("#bug", str(k))
        assert page.inner_text("#solution") == ""
        assert answer["name"] not in page.inner_text("body")
        page.click("#guess button[type=submit]")
        assert "Choose gate, step, line first" in page.inner_text("#judged")
        for name in ("gate", "step", "line"):
            page.check(f"input[name={name}] >> nth=0")
        page.click("#guess button[type=submit]")
        right = {"gate": answer["gates"][0], "step": json.dumps(answer["step"]), "line": answer["line"]}
        for name, value in right.items():
            page.check(f"input[name={name}][value={json.dumps(value)}]")
        page.click("#guess button[type=submit]")
        assert page.inner_text("#judged").count("✓") == 3, answer["name"]
        for twin in answer["twins"]:
            page.check(f"input[name=line][value={json.dumps(twin)}]")
            page.click("#guess button[type=submit]")
            assert "gives the same numbers" in page.inner_text("#judged")
        page.click("#reveal")
        shown = page.inner_text("#solution")
        assert answer["story"] in shown
        assert answer["where"] in shown
        assert page.evaluate("document.activeElement.id") == "solution"
        page.keyboard.press("n")  # what was revealed is gone, and so must the focus be
        assert page.evaluate("document.activeElement.id") == ("bug-next" if k + 1 < len(sealed) else "solution")
    assert page.inner_text("#bug-score") == f"found: {len(sealed)} of {len(sealed)}"


def test_a_guess_survives_a_window_of_another_size(opened: Callable[..., Any]) -> None:
    page = opened(place="#view=bug&bug=4")
    page.check("input[name=gate] >> nth=1")
    page.click("#reveal")
    page.set_viewport_size({"width": 600, "height": 700})
    page.wait_for_function("document.querySelector('#strip svg').getAttribute('width') < 600")
    page.keyboard.press("+")
    assert page.is_checked("input[name=gate] >> nth=1")
    assert page.inner_text("#solution") != ""


# -- the bundle -------------------------------------------------------------------------------------------------------


def test_the_bundle_is_built_from_its_source_to_the_same_bytes(tmp_path: Path) -> None:
    reason = explorer_bundle.build(tmp_path)
    if reason:
        if os.environ.get("BPTT_REQUIRE_NODE"):
            pytest.fail(reason)
        pytest.skip(reason)
    dist = explorer_bundle.WEB / "dist"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in dist.iterdir())
    for path in dist.iterdir():
        same = (tmp_path / path.name).read_bytes() == path.read_bytes()
        assert same, f"{path.name} is older than its source: run `make explorer`"


def test_the_lock_file_names_no_host() -> None:
    text = (explorer_bundle.WEB / "package-lock.json").read_text(encoding="utf-8")
    assert "http" not in text
    assert '"resolved"' not in text
