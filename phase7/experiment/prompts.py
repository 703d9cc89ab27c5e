"""Prompt files, read and checked: JSON, lines of text, or tables with a column of texts.

JSON is an object ``{"prompts": ["...", ...]}`` or a plain list. Another form, an empty list, an empty
prompt and a prompt that occurs twice are refused: a repeated prompt would count twice in every mean and
every test. So is a NUL character, where an effects file would cut the text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from phase7.experiment.prompt_tables import Column, Unusable, column_of, is_table, lines_of
from phase7.models.framing import Arguments
from phase7.store.reading import read_text
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.names import plain_name

_FORM = (
    'a JSON object {"prompts": ["first prompt", "second prompt", ...]}, a JSON list, .txt with a prompt'
    " a line, or .csv, .jsonl, .parquet or a folder of datasets with a named column"
)


PromptFormat = Literal["auto", "raw", "chat"]


@dataclass(frozen=True, kw_only=True)
class PromptFiles:
    """Where prompts are read, and how they are put to a model.

    Attributes
    ----------
    neutral, emotion : str
        Paths; ``{emotion}`` in the second is replaced by the emotion's name.
    format : {"auto", "raw", "chat"}
        As they are, or in the model's chat template; auto: in the template if the model has one.
    system : str
        A system message in front of every prompt, in the format chat; empty for none.
    template : tuple of tuples
        Names and values of the chat template's arguments, such as ``enable_thinking``; in a profile, a
        table.
    date : str
        What a chat template takes for today, such as ``2025-01-31``; empty for the day of the run.
    column, scenarios : str
        Of tables: the column of the texts, and the one whose values pair emotion and neutral prompts;
        empty where the order of the rows pairs them.
    """

    neutral: str = "data/neutral_prompts.json"
    emotion: str = "data/{emotion}_prompts.json"
    format: PromptFormat = "auto"
    system: str = ""
    template: Arguments = ()
    date: str = ""
    column: str = ""
    scenarios: str = ""

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
    scenarios : tuple of str
        By prompt, what pairs it with a prompt of another set; empty where the order does.
    """

    name: str
    path: str
    prompts: tuple[str, ...]
    scenarios: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the prompts in order: the identity used in cache keys."""
        text = json.dumps(self.prompts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def load_prompts(path: str | Path, *, column: str = "", ids: str = "") -> PromptSet:
    """Read and check a file of prompts, in the form that its name says.

    Parameters
    ----------
    path : str or Path
        ``.json``, ``.txt`` (a prompt a line), or a table: ``.csv``, ``.jsonl``, ``.parquet``, or a
        folder that `datasets` wrote. Any other name is taken for JSON.
    column, ids : str
        Of a table: the column of the texts, and the one of their scenarios.

    Raises
    ------
    UserError
        If the file cannot be read, is not of its form, holds no prompt, or holds one that is empty,
        occurs twice, has a NUL character or cannot be encoded as UTF-8; or a scenario occurs twice.
    """
    path = Path(path)
    try:
        if is_table(path):
            found = column_of(path, column, ids)
        elif path.suffix.lower() == ".txt":
            found = lines_of(path)
        else:
            found = Column(texts=_listed(path), scenarios=[])
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refuse(path, f"a file that cannot be read ({reason})") from error
    except Unusable as error:
        raise _refuse(path, str(error)) from error
    except UnicodeDecodeError as error:
        raise _refuse(path, f"a file that is not text in UTF-8 ({error})") from error
    if not all(isinstance(text, str) for text in found.texts):
        raise _refuse(path, "something other than texts among the prompts")
    if problem := problem_of(found.texts) or _problem_of_scenarios(found.scenarios):
        raise _refuse(path, problem)
    name = plain_name(path.stem.removesuffix("_prompts") or path.stem)
    prompts, scenarios = tuple(found.texts), tuple(found.scenarios)
    return PromptSet(name=name, path=str(path), prompts=prompts, scenarios=scenarios)


def _listed(path: Path) -> list[Any]:
    """The prompts of a JSON file: of the object, or a plain list."""
    try:
        payload = json.loads(read_text(path), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"a file that is not JSON in UTF-8, each key once ({error})") from error
    if isinstance(payload, dict) and set(payload) == {"prompts"}:
        payload, place = payload["prompts"], " under the key 'prompts'"
    elif isinstance(payload, list):
        place = ""
    else:
        keys = sorted(payload) if isinstance(payload, dict) else type(payload).__name__
        raise Unusable(f"a JSON document with {str(keys)[:80]}")
    if not isinstance(payload, list) or not all(isinstance(text, str) for text in payload):
        raise Unusable(f"something other than a list of texts{place}")
    return payload


def _problem_of_scenarios(scenarios: Sequence[str]) -> str:
    twice = sorted({one for one in scenarios if scenarios.count(one) > 1})
    return f"the scenario {twice[0]!r} more than once" if twice else ""


def paired(emotion: PromptSet, neutral: PromptSet) -> PromptSet:
    """The emotion's prompts in the order of the neutral ones of the same scenarios.

    Where neither file names scenarios, their order is what pairs them, and nothing changes.

    Raises
    ------
    UserError
        If one of them names scenarios and the other does not, or they name other ones.
    """
    if not emotion.scenarios and not neutral.scenarios:
        return emotion
    if {*emotion.scenarios} != {*neutral.scenarios}:
        apart = sorted({*emotion.scenarios} ^ {*neutral.scenarios})
        raise UserError(
            expected="the same scenarios as in the neutral prompts, each once",
            got=f"a difference in {', '.join(apart)}"[:200],
            where=emotion.path or emotion.name,
            remedy="complete the column, or name none",
        )
    places = [emotion.scenarios.index(one) for one in neutral.scenarios]
    prompts = tuple(emotion.prompts[i] for i in places)
    return replace(emotion, prompts=prompts, scenarios=neutral.scenarios)


def problem_of(prompts: Sequence[str]) -> str:
    """Why texts cannot be prompts; empty if they can."""
    if not prompts:
        return "an empty list"
    first_seen: dict[str, int] = {}
    for index, text in enumerate(prompts):
        if not text.strip():
            return f"an empty prompt at index {index}"
        if any("\ud800" <= char <= "\udfff" for char in text):
            return f"half of a surrogate pair in the prompt at index {index}"
        if "\0" in text:
            return f"a NUL character in the prompt at index {index}"
        if text in first_seen:
            return f"the same prompt at index {first_seen[text]} and {index}"
        first_seen[text] = index
    return ""


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
