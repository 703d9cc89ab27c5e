"""Whether a folder's text files hold sentences of the training data.

The corpora's terms let us publish weights and figures, not sentences. Files that are not UTF-8 text are
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from phase7.scoring.training.corpora import Corpora

N_WORDS = 8
"""Length of the runs of words that are compared; shorter texts are compared whole."""
SHORTEST = 5
"""Texts of fewer words are everyday phrases that prove nothing."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SKIPPED = {".git", "__pycache__", "build", "dist"}


def overlapping_sentences(corpora: Corpora, folder: Path) -> list[str]:
    """Find runs of `N_WORDS` words, and whole shorter texts, that both sides hold.

    Returns
    -------
    list of str
        ``file: words`` for every overlap, without repeats.
    """
    known: dict[int, set[tuple[str, ...]]] = {}
    for text in _corpus_texts(corpora):
        words = words_of(text)
        size = min(N_WORDS, len(words))
        if size >= SHORTEST:
            known.setdefault(size, set()).update(runs(words, size))
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or _SKIPPED & set(path.parts):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        words = words_of(text)
        for size, seen in known.items():
            for run in runs(words, size):
                if run in seen:
                    found[f"{path}: {' '.join(run)}"] = None
    return list(found)


def _corpus_texts(corpora: Corpora) -> Iterator[str]:
    for split in (corpora.train, corpora.dev, corpora.test):
        yield from split.texts
    for domain in corpora.politeness.values():
        yield from domain.texts
    yield from corpora.tweets.texts


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def runs(words: list[str], size: int) -> Iterator[tuple[str, ...]]:
    """All runs of `size` consecutive words."""
    return (tuple(words[i : i + size]) for i in range(len(words) - size + 1))
