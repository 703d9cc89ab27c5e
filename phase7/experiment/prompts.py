"""Prompt files: JSON of the form ``{"prompts": ["...", ...]}``, read and checked.

Another form, an empty list, an empty prompt and a prompt that occurs twice are refused: a repeated
prompt would count twice in every mean and every test.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from phase7.store.reading import read_whole
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

_FORM = 'a JSON object {"prompts": ["first prompt", "second prompt", ...]}'


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
        is empty, occurs twice or cannot be encoded as UTF-8.
    """
    path = Path(path)
    try:
        payload = json.loads(read_whole(path).decode("utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refuse(path, f"a file that cannot be read ({reason})") from error
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"a file that is not JSON in UTF-8 ({error})") from error
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
        if text in first_seen:
            raise _refuse(path, f"the same prompt at index {first_seen[text]} and {index}")
        first_seen[text] = index
    name = plain_name(path.stem.removesuffix("_prompts") or path.stem)
    return PromptSet(name=name, path=str(path), prompts=tuple(prompts))


def _refuse(path: Path, got: str) -> UserError:
    return UserError(expected=_FORM, got=got, where=str(path), remedy="correct the prompt file")
