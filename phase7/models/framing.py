"""What surrounds a prompt before a model reads it: nothing, or the turns of a chat template.

Chat templates are found in a model's folder here, without any library; what a tokenizer makes of them is
in :mod:`phase7.models.tokenizer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["raw", "chat"]

#: Values of a template's own variables by name, such as ``(("enable_thinking", False),)``.
Arguments = tuple[tuple[str, bool | int | float | str], ...]

#: The function by which a template asks for today's date.
CLOCK = "strftime_now"

#: Further templates of a folder, each by its name.
MORE_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a prompt is put before it is turned into tokens.

    Attributes
    ----------
    format : {"raw", "chat"}
        The text alone, or as one user message in the model's chat template, followed by the template's
        opening of the assistant's turn.
    system : str
        A system message before it; empty for none.
    arguments : tuple of (name, value)
        What else the template is given.
    date : str
        ISO day that the template takes for today; empty where it asks for none.
    """

    format: Format
    system: str = ""
    arguments: Arguments = ()
    date: str = ""


RAW, CHAT = Framing(format="raw"), Framing(format="chat")


def template_sources(folder: Path) -> list[str]:
    """The chat templates of a model's folder, under whatever name; none for a base model."""
    named = [folder / "chat_template.jinja", *sorted((folder / MORE_TEMPLATES).glob("*.jinja"))]
    return [*map(_text, filter(Path.is_file, named)), *_configured(folder / "tokenizer_config.json")]


def _configured(path: Path) -> Iterator[str]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    template = settings.get("chat_template") if isinstance(settings, dict) else None
    for one in template if isinstance(template, list) else [template]:
        source = one.get("template") if isinstance(one, dict) else one
        if isinstance(source, str) and source:
            yield source


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")
