"""Made-up labelled texts and tagged sentences, small enough to learn in a second."""

from __future__ import annotations

import random
from pathlib import Path

_GOOD, _BAD = ("lovely", "great", "moving", "funny"), ("dull", "awful", "empty", "slow")
_NOUNS, _ENDINGS = ("film", "plot", "cast", "song"), ("indeed", "today", "again", "overall")


def write_reviews(path: Path, rows: int = 120, seed: int = 0) -> Path:
    """Labelled sentences as CSV: one word of each tells the class, at any place."""
    draw = random.Random(seed)
    lines = ["text,label"]
    for number in range(rows):
        good = number % 3 != 0
        words = [draw.choice(_GOOD if good else _BAD), draw.choice(_NOUNS), draw.choice(_ENDINGS), str(number)]
        draw.shuffle(words)
        lines.append(f'"{" ".join(words)}, {draw.choice(_NOUNS)}",{"good" if good else "bad"}')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_names(folder: Path, rows: int = 60, seed: int = 0) -> Path:
    """Names in a file for each class: the ending tells the class."""
    draw = random.Random(seed)
    folder.mkdir()
    for ending, name in (("ov", "East"), ("son", "North"), ("ez", "South")):
        names = {"".join(draw.choices("abdegiklmnoprstu", k=draw.randint(2, 5))).title() + ending for _ in range(rows)}
        (folder / f"{name}.txt").write_text("\n".join(sorted(names)) + "\n", encoding="utf-8")
    return folder


def write_tags(path: Path, sentences: int = 80, seed: int = 0) -> Path:
    """Tagged sentences: "can" is a verb after a noun and a noun after "the"; verbs end in -s."""
    draw = random.Random(seed)
    lines = []
    for _ in range(sentences):
        noun = "".join(draw.choices("bdgklmnprt", k=3))
        verb = "".join(draw.choices("bdgklmnprt", k=3)) + "s"
        sentence = [("the", "DET"), *draw.choice([[("can", "NOUN")], [(noun, "NOUN"), ("can", "AUX")]]), (verb, "VERB")]
        lines += [f"{word}\t{tag}" for word, tag in (*sentence, (".", "PUNCT"))] + [""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
