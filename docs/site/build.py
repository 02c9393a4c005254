"""Build the site: ``python docs/site/build.py`` (or `make docs`) writes ``build/site/html``; warnings are errors.

``--language`` builds one language only.  ``--catalogues`` brings the translators' files up to date instead, and
``--new zh_CN gru`` starts the one of a page.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import catalogues
from stage import LANGUAGES, stage

OUT = ROOT / "build" / "site"


def sphinx(builder: str, source: Path, target: Path, *options: str) -> None:
    """Run Sphinx; its warnings are errors, all of them shown."""
    trees = OUT / "trees" / (target.name or builder)
    words = ["-b", builder, "-c", str(HERE), "-d", str(trees), "-W", "--keep-going", "-q", "-j", "auto", *options]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words, str(source), str(target)], check=False)
    if done.returncode:
        sys.exit(f"docs: expected a site without warnings, got those above ({builder})")


def looked_over(site: Path) -> list[str]:
    """What Sphinx does not warn of: what a page fetches from elsewhere, and links to files that are not there."""
    found = []
    for page in sorted(site.rglob("*.html")):
        text, name = page.read_text(encoding="utf-8"), page.relative_to(site).as_posix()
        fetched = re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="(?:https?:)?//([^"]+)"', text)
        sheets = re.findall(r'<link[^>]*\brel="(?:stylesheet|preload|preconnect|icon)"[^>]*>', text)
        fetched += [address for sheet in sheets for address in re.findall(r'href="(?:https?:)?//([^"]+)"', sheet)]
        found += [f"{name}: fetches {address}" for address in fetched]
        for target in set(re.findall(r'(?:href|src)="([^"#?]+)', text)):
            elsewhere = re.match(r"[a-z]+:|//", target) or (target.startswith("zh_CN/") or "/zh_CN/" in target)
            if not elsewhere and not (page.parent / unquote(html.unescape(target))).exists():
                found.append(f"{name}: links to {target}, which is not there")
    return found


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", choices=[name or "en" for name in LANGUAGES], help="this one only")
    parser.add_argument("--catalogues", action="store_true", help="update docs/locale from the pages, and stop")
    parser.add_argument("--new", nargs=2, metavar=("LANGUAGE", "PAGE"), help="with a new catalogue for this page")
    given = parser.parse_args()
    if given.catalogues or given.new:
        stage(OUT / "source" / "en")
        sphinx("gettext", OUT / "source" / "en", OUT / "gettext")
        catalogues.update(OUT / "gettext", given.new)
        return
    for folder in LANGUAGES:
        if given.language in (None, folder or "en"):
            target = OUT / "html" / folder
            source = OUT / "source" / (folder or "en")
            if not folder:
                shutil.rmtree(target, ignore_errors=True)
            stage(source, folder)
            sphinx("html", source, target, "-D", f"language={folder or 'en'}")
    faults = [] if given.language else looked_over(OUT / "html")  # a language by itself links to one that is not there
    if faults:
        sys.exit("\n".join(faults))
    print(f"the site: {OUT / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
