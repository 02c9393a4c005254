"""How good translations are: BLEU and chrF by sacrebleu, the baseline of a translation memory, and attention maps."""

from __future__ import annotations

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BackendUnavailableError
from engine.training.plots import INK, picture

#: Fonts with the signs of Chinese and Japanese, of which one is found on most systems.
FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *(
        "Droid Sans Fallback",
        "SimHei",
        "Microsoft YaHei",
        "PingFang SC",
        "Heiti SC",
        "Arial Unicode MS",
        "Noto Sans SC",
    ),
)
#: What the names of their files hold.
_OF_HAN = re.compile("cjk|wqy|hei|song|ming|gothic|mincho|msyh|pingfang|hans|fallback", re.IGNORECASE)
#: The font that matplotlib brings.
PLAIN = "DejaVu Sans"
MISSING = "BLEU and chrF need sacrebleu, which is not installed: pip install 'bptt-engine[translate]'"


def _sacrebleu() -> Any:
    """The library.

    Raises
    ------
    BackendUnavailableError
        It is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise BackendUnavailableError(MISSING) from None
    return sacrebleu


def can_score() -> bool:
    """Whether sacrebleu is there."""
    try:
        _sacrebleu()
    except BackendUnavailableError:
        return False
    return True


def tokenizer_for(references: Sequence[Sequence[str]]) -> str:
    """Sacrebleu's way to cut these texts into words: characters of Chinese are words of their own."""
    text = "".join(row[0] for row in references)
    if any("\u3040" <= sign <= "\u30ff" for sign in text):
        return "char"  # Japanese has no blanks either
    han = sum("\u3400" <= sign <= "\u9fff" for sign in text)
    return "zh" if 4 * han > len(text) else "13a"


def text_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU and chrF of translations, without regard to capitals.

    Parameters
    ----------
    references : the right translations of each sentence, one or more.
    """
    sacrebleu = _sacrebleu()
    most = max(map(len, references))
    streams = [[row[k] if k < len(row) else None for row in references] for k in range(most)]
    bleu = sacrebleu.metrics.BLEU(tokenize=tokenizer_for(references), lowercase=True)
    chrf = sacrebleu.metrics.CHRF(lowercase=True)
    found = list(answers)
    return {"BLEU": bleu.corpus_score(found, streams).score, "chrF": chrf.corpus_score(found, streams).score}


class TranslationMemory:
    """The baseline: the translation of the training sentence that shares most words, by how rare these are.

    Parameters
    ----------
    words : of each training sentence.
    targets : their translations.
    """

    def __init__(self, words: Sequence[Sequence[str]], targets: Sequence[str]) -> None:
        self.targets = list(targets)
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(words):
            for word in set(row):
                places[word].append(place)
        self.places = {word: np.array(found) for word, found in places.items()}
        self.rarity = {word: math.log(1 + len(words) / len(found)) for word, found in places.items()}
        sizes = [sum(self.rarity[word] ** 2 for word in set(row)) for row in words]
        self.sizes = np.sqrt(np.maximum(sizes, 1e-12))

    def translate(self, words: Sequence[str]) -> str:
        """The translation of the most similar sentence (cosine of the words' rarities)."""
        shared = np.zeros(len(self.targets))
        for word in sorted(set(words)):
            if word in self.places:
                shared[self.places[word]] += self.rarity[word] ** 2
        return self.targets[int(np.argmax(shared / self.sizes))]


# -- the attention map -------------------------------------------------------------------------------------------------


def font_for(text: str) -> str | None:
    """The name of an installed font that has all signs of the text; None if none is found."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    wanted = {ord(sign) for sign in text if not sign.isspace()}

    def has_all(file: str) -> bool:
        return wanted <= set(FT2Font(file).get_charmap())

    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    for name in (PLAIN, *FONTS):
        if name in installed and has_all(installed[name]):
            return name
    for file in sorted(font_manager.findSystemFonts()):  # matplotlib's list may be older than the font
        if _OF_HAN.search(Path(file).stem) and has_all(file):
            font_manager.fontManager.addfont(file)
            return str(font_manager.get_font(file).family_name)
    return None


def draw_attention(path: Path, maps: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]], title: str) -> None:
    """Draw which words of the source each word of the translation looked at.

    Signs that no font has are shown by their numbers in Unicode, and a line below says so.

    Parameters
    ----------
    path : the PNG file, replaced whole.
    maps : for each sentence the words of the source, those of the translation, and the weights (T, S).
    """
    from matplotlib import rc_context

    text = "".join("".join((*source, *target)) for source, target, _ in maps)
    font = font_for(text)
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)
    with (
        _without_words_on_weights(),
        rc_context({"font.family": [font or PLAIN, PLAIN] if font != PLAIN else [PLAIN]}),
        picture(path, (5.2 * columns, 4.4 * rows + 0.5)) as fig,
    ):
        axes = fig.subplots(rows, columns, squeeze=False).flat
        for ax, (source, target, weights) in zip(axes, maps, strict=False):
            ax.grid(visible=False)
            ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            ax.set_xticks(range(len(source)), [_shown(word, font) for word in source], rotation=45, ha="right")
            ax.set_yticks(range(len(target)), [_shown(word, font) for word in target])
        for ax in list(fig.axes)[len(maps) :]:
            ax.set_axis_off()
        note = "" if font else "\n(no font with all signs was found: they are shown by their numbers in Unicode)"
        fig.suptitle(f"{title}{note}", x=0.02, ha="left", fontweight="bold", color=INK)


@contextmanager
def _without_words_on_weights() -> Iterator[None]:
    """Keep matplotlib from telling that a font has no bold letters: it takes the others."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _shown(word: str, font: str | None) -> str:
    if font is not None:
        return word
    return "".join(sign if ord(sign) < 0x250 else f"U+{ord(sign):04X} " for sign in word).strip()
