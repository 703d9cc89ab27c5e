"""A model's tokenizer: from a prompt to the tokens that the model reads, and from new tokens to text.

A chat template that cannot be used, or in which the prompt is lost, is refused in one line. Two things
that a tokenizer does of itself are undone: a token that it puts behind every text, after which a model
would start another text, and the blank that it drops where a text begins.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache, wraps
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from phase7.models.framing import CLOCK, Framing
from phase7.vocabulary.errors import UserError

Form = Literal["text", "parts"]
Found = TypeVar("Found")

#: Two prompts of one length and the same letters.
_PROBES = ("Where is the lamp", "Where is the palm")

#: In front of a template that asks for the date: its clock, stopped. `phase7_day` has every directive.
_STOPPED_CLOCK = (
    "{%- macro strftime_now(format) -%}"
    "{%- for piece in format.replace('%%', '%!').split('%') -%}"
    "{%- if loop.first -%}{{ piece }}"
    "{%- elif piece[:1] == '!' -%}{{ '%' ~ piece[1:] }}"
    "{%- elif piece[:2] in phase7_day -%}{{ phase7_day[piece[:2]] ~ piece[2:] }}"
    "{%- else -%}{{ phase7_day.get(piece[:1], '') ~ piece[1:] }}"
    "{%- endif -%}{%- endfor -%}{%- endmacro %}\n"
)
_DIRECTIVES = tuple(flag + letter for flag in ("", *"-_0^#") for letter in ascii_letters)
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\s*\(")


def _remembered(find: Callable[..., Found]) -> Callable[..., Found]:
    """Find something out of a tokenizer once, and forget it with the tokenizer."""
    known: WeakKeyDictionary[Any, dict[Hashable, Found]] = WeakKeyDictionary()

    @wraps(find)
    def finding(tokenizer: Any, *rest: Hashable) -> Found:
        found = known.setdefault(tokenizer, {})
        if rest not in found:
            found[rest] = find(tokenizer, *rest)
        return found[rest]

    return finding


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises
    ------
    UserError
        If there is none that can be loaded.
    """
    from transformers import AutoTokenizer

    from phase7.models.quiet import quiet

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise UserError(
            expected="a tokenizer that transformers can load without code from the folder",
            got=_told(error),
            where=str(folder),
            remedy="see docs/models.md for what is supported",
        ) from error


def tokens_of(tokenizer: Any, text: str, framing: Framing) -> tuple[int, ...]:
    """The tokens that a model reads of a prompt.

    Raises
    ------
    UserError
        If the framing does not suit the tokenizer's chat template.
    """
    if framing.format == "raw":
        _require_nothing_around(tokenizer, framing)
        ids = tokenizer(text)["input_ids"]
        ids = ids[: len(ids) - len(closing_tokens(tokenizer))]
    else:
        ids = _templated(tokenizer, text, framing, _forms(tokenizer, framing), tokenize=True)
    return tuple(int(token) for token in ids)


@_remembered
def closing_tokens(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens that the tokenizer puts behind every text; left out of prompts."""
    with_them, plain = (
        tokenizer(_PROBES[0], add_special_tokens=special)["input_ids"] for special in (True, False)
    )
    special = set(tokenizer.all_special_ids)

    def n_last(ids: Sequence[int]) -> int:
        return next((n for n, token in enumerate(reversed(ids)) if token not in special), len(ids))

    n = n_last(with_them) - n_last(plain)
    return tuple(with_them[len(with_them) - n :]) if n > 0 else ()


def continuation_text(tokenizer: Any, tokens: Sequence[int], after: Sequence[int]) -> str:
    """The text of tokens generated after a prompt's tokens; special tokens are left out.

    It is what the prompt's text grows by, so that a blank in front of it is kept.
    """
    before, whole = _text(tokenizer, after), _text(tokenizer, [*after, *tokens])
    return whole[len(before) :] if whole.startswith(before) else _text(tokenizer, tokens)


def digests(tokenizer: Any, prompts: Mapping[str, tuple[int, ...]], framing: Framing) -> dict[str, str]:
    """SHA-256 (hex) of each prompt's tokens, for the keys of what is computed from them.

    Empty where a prompt, a model's files and the format decide tokens and texts, and always have: keys
    hold these.
    """
    if _is_known_by_prompt(tokenizer, framing):
        return {}
    return {
        prompt: hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest()
        for prompt, tokens in prompts.items()
    }


def _is_known_by_prompt(tokenizer: Any, framing: Framing) -> bool:
    if framing.system or framing.arguments or framing.date:
        return False
    if framing.format == "chat" and "parts" in _forms(tokenizer, framing):
        return False
    if framing.format == "raw" and closing_tokens(tokenizer):
        return False
    return _ends_as_ever(tokenizer) and not _drops_blanks(tokenizer)


def _ends_as_ever(tokenizer: Any) -> bool:
    """Whether no token ever ended texts but the model's own: where it has none, one was made up."""
    made_up = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return tokenizer.eos_token is not None or made_up is None


@_remembered
def _drops_blanks(tokenizer: Any) -> bool:
    """Whether the text of tokens depends on what stands before them."""
    ids = tokenizer(f"{_PROBES[0]}, {_PROBES[1]}", add_special_tokens=False)["input_ids"]
    return any(
        _text(tokenizer, ids[n:]) != continuation_text(tokenizer, ids[n:], ids[:n])
        for n in range(1, len(ids))
    )


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    text: str = tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


# --- chat templates ------------------------------------------------------------------------------


@_remembered
def _forms(tokenizer: Any, framing: Framing) -> tuple[Form, Form]:
    """In which form the template reads a user's and a system's content: text, or a list of parts."""
    failure: UserError | None = None
    unlike: tuple[Form, Form] | None = None
    kinds: tuple[Form, ...] = ("text", "parts")
    for forms in product(kinds, kinds if framing.system else ("text",)):
        try:
            found = [_templated(tokenizer, text, framing, forms, tokenize=False) for text in _PROBES]
        except UserError as error:
            failure = failure or error
            continue
        has_system = all(framing.system.strip() in text for text in found)
        if has_system and all(map(str.__contains__, found, _PROBES)):
            return forms
        if has_system and found[0] != found[1]:  # a template that rewrites what it is given
            unlike = unlike or forms
    if unlike is None:
        raise failure or _refused(
            tokenizer,
            expected="a template that writes the user's message, and the system message if one is given",
            got="one that leaves it out",
            remedy="give no system message, or use the format raw",
        )
    return unlike


def _templated(
    tokenizer: Any, text: str, framing: Framing, forms: tuple[Form, Form], *, tokenize: bool
) -> Any:
    """A prompt in the chat template: its tokens, or the text that is turned into tokens."""
    source = _source(tokenizer)
    _require_read(tokenizer, source, framing)
    messages = [{"role": "user", "content": _content(text, forms[0])}]
    if framing.system:
        messages.insert(0, {"role": "system", "content": _content(framing.system, forms[1])})
    given: dict[str, Any] = dict(framing.arguments)
    if framing.date and CLOCK in source:
        source, given["phase7_day"] = _STOPPED_CLOCK + source, _day(framing.date)
    with _blaming(tokenizer):
        made = tokenizer.apply_chat_template(
            messages,
            chat_template=source,
            tokenize=tokenize,
            add_generation_prompt=True,
            return_dict=tokenize,
            **given,
        )
    return made["input_ids"] if tokenize else made


def _content(text: str, form: Form) -> Any:
    return text if form == "text" else [{"type": "text", "text": text}]


@lru_cache(maxsize=8)
def _day(date: str) -> dict[str, str]:
    """What every directive of strftime gives at the beginning of an ISO day."""
    start = datetime.fromisoformat(date)
    return {one: start.strftime(f"%{one}") for one in _DIRECTIVES}


def _source(tokenizer: Any) -> str:
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates:
        raise _refused(
            tokenizer,
            expected="one chat template, or one of several that is named 'default'",
            got=f"the names {', '.join(sorted(templates))}",
            remedy="name one of them default in the model's files, or use the format raw",
        )
    with _blaming(tokenizer):
        source: str = tokenizer.get_chat_template()
    return source


def _require_read(tokenizer: Any, source: str, framing: Framing) -> None:
    """Refuse arguments that are not the template's own, and a template that draws at random."""
    if _CHANCE.search(source):
        raise _refused(
            tokenizer,
            expected="a template that makes the same text of a prompt each time",
            got="one that draws at random",
            remedy="use the format raw",
        )
    taken = {*inspect.signature(tokenizer.apply_chat_template).parameters, "messages", CLOCK}
    for name, _ in framing.arguments:
        if name in taken or name.startswith("phase7_"):
            raise UserError(
                expected="a variable that is the chat template's own",
                got=repr(name),
                where="template argument",
                remedy="leave it out",
            )


def reads(tokenizer: Any, name: str) -> bool:
    """Whether the chat template mentions a variable."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", _source(tokenizer)) is not None


def _require_nothing_around(tokenizer: Any, framing: Framing) -> None:
    if framing.system:
        raise UserError(
            expected="the format chat, which a system message needs",
            got="the format raw",
            where=f"system message for {_place(tokenizer)}",
            remedy="leave out the system message, or choose a model with a chat template",
        )


@contextmanager
def _blaming(tokenizer: Any) -> Iterator[None]:
    """Turn whatever a template raises into one line."""
    try:
        yield
    except Exception as error:
        raise _refused(
            tokenizer,
            expected="a template that takes one user message, and the system message if one is given",
            got=_told(error),
            remedy="give what it asks for (see docs/how-to/own-prompts.md), or use the format raw",
        ) from error


def _refused(tokenizer: Any, *, expected: str, got: str, remedy: str) -> UserError:
    return UserError(
        expected=expected, got=got, where=f"chat template of {_place(tokenizer)}", remedy=remedy
    )


def _place(tokenizer: Any) -> str:
    return str(tokenizer.name_or_path) or "the model"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
