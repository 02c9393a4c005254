"""Sphinx's settings for the site; `docs/site/build.py` lays the pages out and calls Sphinx.

Nothing of a page comes from a network: formulas are MathML, which browsers draw themselves.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import formulas
from stage import LANGUAGES

import engine

with contextlib.suppress(ImportError):  # it cuts Chinese into words for the search, and talks while it does
    import jieba

    jieba.setLogLevel(logging.WARNING)

project = "bptt-engine"
author = copyright = "The bptt-engine authors"
version = release = engine.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
suppress_warnings = ["config.cache"]

# -- pages --------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"
nb_execution_mode = "off"  # the test suite runs the notebooks; what they printed is committed
html_math_renderer = formulas.RENDERER

# -- reference ----------------------------------------------------------------------------------------------------

autodoc_typehints = "none"  # the docstrings say types and shapes
#: Members that only other parts of the engine call.
INNER = (
    "fixed, settings, always_shown, tape_type, already_checked, check_kind, check_tape, check_window, check, "
    "input_shape, width_after, call_counters, load_call_counters, with_traceback, add_note"
)
autodoc_default_options = {"members": True, "inherited-members": "tuple, BaseException", "exclude-members": INNER}
autosummary_generate = True
numpydoc_show_class_members = False
default_role = "code"

# -- languages ----------------------------------------------------------------------------------------------------

locale_dirs = [str(ROOT / "docs" / "locale")]
gettext_compact = False
gettext_location = False
gettext_uuid = False

# -- look ---------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"bptt-engine {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = ["_templates"]
html_copy_source = False
html_show_sphinx = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/languages.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_context = {"site_languages": LANGUAGES}


def skip_foreign(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what an estimator has from scikit-learn: its texts refer to pages that are not here."""
    home = getattr(member, "__module__", None) or ""
    return True if home.partition(".")[0] == "sklearn" else None


def setup(app: Any) -> None:
    """Add what Sphinx lacks: formulas without a script; leave out what is not ours."""
    formulas.setup(app)
    app.connect("autodoc-skip-member", skip_foreign)
