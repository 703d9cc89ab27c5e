"""Prompt files: JSON of the form ``{"prompts": ["...", ...]}``, read and checked.

Another form, an empty list, an empty prompt and a prompt that occurs twice are refused: a repeated
prompt would count twice in every mean and every test. So is a NUL character, where an effects file would
cut the text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from phase7.models.framing import Arguments
from phase7.store.reading import read_text
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

_FORM = 'a JSON object {"prompts": ["first prompt", "second prompt", ...]}'


PromptFormat = Literal["auto", "raw", "chat"]


@dataclass(frozen=True, kw_only=True)
class PromptFiles:
    """Where prompts are read, and how they are put to a model.

    Attributes
    ----------
    neutral, emotion : str
        Paths; ``{emotion}`` in the second is replaced by the emotion's name.
    format : {"auto", "raw", "chat"}
    system : str
        A system message in front of every prompt, in the format chat; empty for none.
    template : tuple of (name, value)
        Arguments for the chat template, such as ``enable_thinking``; in a profile, a table.
    date : str
        What a chat template takes for today, such as ``2025-01-31``; empty for the day of the run.
    """

    neutral: str = "data/neutral_prompts.json"
    emotion: str = "data/{emotion}_prompts.json"
    format: PromptFormat = "auto"
    system: str = ""
    template: Arguments = ()
    date: str = ""

    def __post_init__(self) -> None:
        try:
            is_day = not self.date or date.fromisoformat(self.date).isoformat() == self.date
        except ValueError:
            is_day = False
        if not is_day:
            raise UserError(
                expected="a day such as 2025-01-31, as text",
                got=repr(self.date)[:80],
                where="date",
                remedy="correct the value",
            )


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Prompts in file order.

    Attributes
    ----------
    name : str
        The file's stem without ``_prompts``: ``gratitude`` for ``gratitude_prompts.json``.
    path : str
        Where they were read from, as given.
    prompts : tuple of str
        At least one; distinct; none empty or blank.
    """

    name: str
    path: str
    prompts: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the prompts in order: the identity used in cache keys."""
        text = json.dumps(self.prompts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def load_prompts(path: str | Path) -> PromptSet:
    """Read and check a prompt file.

    Raises
    ------
    UserError
        If the file cannot be read, is not of the form above, holds no prompt, or holds one that
        is empty, occurs twice, has a NUL character or cannot be encoded as UTF-8.
    """
    path = Path(path)
    try:
        payload = json.loads(read_text(path), object_pairs_hook=_without_repeats)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refuse(path, f"a file that cannot be read ({reason})") from error
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"a file that is not JSON in UTF-8, each key once ({error})") from error
    if not isinstance(payload, dict) or set(payload) != {"prompts"}:
        keys = sorted(payload) if isinstance(payload, dict) else type(payload).__name__
        raise _refuse(path, f"a JSON document with {str(keys)[:80]}")
    prompts = payload["prompts"]
    if not isinstance(prompts, list) or not all(isinstance(text, str) for text in prompts):
        raise _refuse(path, "something other than a list of texts under the key 'prompts'")
    if not prompts:
        raise _refuse(path, "an empty list")
    first_seen: dict[str, int] = {}
    for index, text in enumerate(prompts):
        if not text.strip():
            raise _refuse(path, f"an empty prompt at index {index}")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise _refuse(path, f"half of a surrogate pair in the prompt at index {index}")
        if "\0" in text:
            raise _refuse(path, f"a NUL character in the prompt at index {index}")
        if text in first_seen:
            raise _refuse(path, f"the same prompt at index {first_seen[text]} and {index}")
        first_seen[text] = index
    name = plain_name(path.stem.removesuffix("_prompts") or path.stem)
    return PromptSet(name=name, path=str(path), prompts=tuple(prompts))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are different; of a repeated one Python keeps the last only."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} more than once")
    return found


def _refuse(path: Path, got: str) -> UserError:
    return UserError(expected=_FORM, got=got, where=str(path), remedy="correct the prompt file")
