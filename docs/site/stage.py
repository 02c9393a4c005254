"""Lay out the pages of the site: README, docs, notebooks, and a page for every source file that one of them links to.

The pages are written for readers of the repository, with links such as ``../kernels/gates/lstm.py``, which `links`
turns.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from catalogues import language_of, whole_pages
from links import Links, shown_at

ROOT = Path(__file__).resolve().parents[2]
#: The languages of the site, by the folder that holds them; English stands at the top.
LANGUAGES = {"": "English", "zh_CN": "中文"}
#: The pages in reading order, by heading; those that are not named here come last.
ORDER = {
    "Learn": [
        "notebooks/01_bptt_by_hand", "notation", "rnn", "lstm", "gru", "losses_and_optimisers", "heads_and_losses",
    ],
    "Look": ["vanishing_gradients", "truncated_bptt", "long_sequences",
             "batch_size_and_time_steps", "explorer", "second_derivatives",
             "studies", "articles_measured", "paper_tables"],
    "Check": ["check_your_own_backward", "gradient_checking"],
    "Build": ["your_own_cell", "add_a_backend", "backends", "comparing", "tasks", "text_classification", "speech",
              "translation", "fit", "batches_by_length", "large_corpora", "regularisation", "search", "streaming",
              "weights_in_and_out", "your_own_task", "estimators", "fine_tuning", "forecasting", "many_series"],
    "Speed": ["performance", "fast_kernels", "half_precision", "threads", "data_parallel"],
}  # fmt: skip
LAST, REFERENCE = "More", "reference"
#: The headings of the contents in other languages.
HEADINGS = {
    "zh_CN": {
        "Learn": "学习", "Look": "观察", "Check": "检验", "Build": "构建", "Speed": "性能", "Notebooks": "Notebook",
        "Teach": "教学", LAST: "更多",
    }
}  # fmt: skip
LEXERS = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".md": "markdown", ".sh": "bash"}


def stage(target: Path, language: str = "") -> None:
    """Write the pages into the folder `target`: those of a language, where they are translated whole."""
    shutil.rmtree(target, ignore_errors=True)
    pages = dict(sources())
    translated = {source: path for path, source in whole_pages() if language_of(path) == language}
    links = Links(pages, language, translated)
    for path, place in pages.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".md", ".ipynb"):
            text = links.turned(translated.get(path, path), place)
            if place == "index.md":
                text += contents(pages, HEADINGS.get(language, {}))
            (target / place).write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, target / place)
    shutil.copytree(ROOT / "docs" / "images", target / "images", dirs_exist_ok=True)
    for path in sorted(links.shown):
        show(path, target)


def sources() -> list[tuple[Path, str]]:
    """Every page of the repository, with its place on the site."""
    docs = ROOT / "docs"
    own = [path for path in sorted(docs.rglob("*.md")) if not language_of(path)]
    found = [(ROOT / "README.md", "index.md"), *((path, path.relative_to(docs).as_posix()) for path in own)]
    found += [(ROOT / name, name.lower()) for name in ("CHANGELOG.md", "CONTRIBUTING.md")]
    notebooks = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not language_of(path)]
    found += [(path, f"notebooks/{path.name}") for path in notebooks]
    return [*found, (docs / "reference.rst", "reference.rst")]


def contents(pages: dict[Path, str], headings: dict[str, str]) -> str:
    """The tables of contents behind the first page, with other headings where a language has its own."""
    names = [place.rpartition(".")[0] for place in pages.values() if place != "index.md"]
    order = ORDER | {
        "Notebooks": [name for name in names if name.startswith("notebooks/") and name not in ORDER["Learn"]]
    }
    order |= {"Teach": [name for name in names if name.startswith("class/")]}
    ordered = {title: [name for name in wanted if name in names] for title, wanted in order.items()}
    known = {name for order in ordered.values() for name in order}
    ordered[LAST] = [*(name for name in names if name not in known and name != REFERENCE), REFERENCE]
    return "".join(
        "\n```{toctree}\n:hidden:\n:caption: " + headings.get(title, title) + "\n\n" + "\n".join(order) + "\n```\n"
        for title, order in ordered.items()
        if order
    )


def show(path: Path, target: Path) -> None:
    """Write the page that shows a source file; of a folder a list of its files, and their pages."""
    place = target / shown_at(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    name = path.relative_to(ROOT).as_posix()
    title = f":orphan:\n\n{name}\n{'=' * len(name)}\n\n"
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in LEXERS and file.stat().st_size)
        for file in files:
            show(file, target)
        place.write_text(title + "".join(f"- :doc:`{file.name} <../{path.name}/{file.name}>`\n" for file in files))
        return
    copy = target / "source" / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    lexer = LEXERS.get(path.suffix, "none")
    place.write_text(
        f"{title}.. literalinclude:: /source/{name}\n   :language: {lexer}\n   :linenos:\n", encoding="utf-8"
    )
