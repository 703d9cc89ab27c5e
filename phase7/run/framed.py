"""What the models of a run read of its prompts, found out before anything is computed.

Prompts that a model would not tell apart are refused, and so is what no template could read. What a user
may not expect, such as a prompt in two files, is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations

from phase7.experiment.framing import resolve_framing
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.models.facts import ModelFacts
from phase7.models.files import ModelFiles
from phase7.models.tokenizer import closing_tokens, digests, load_tokenizer, reads, tokens_of
from phase7.run.inputs import Prompts
from phase7.vocabulary.errors import UserError

#: Share of prompts that may break off before it is told: a few are questions without their mark.
_MOST_OPEN = 0.5
#: Beside letters and digits, what no message ends in.
_GOES_ON = frozenset(",;、，")


def dated(profile: Profile, models: Sequence[ModelFacts]) -> Profile:
    """The profile with the day of this run, where a template asks for one and the profile names none."""
    if profile.prompts.date or not any(_asks_for_date(files, profile) for files in models):
        return profile
    today = datetime.now().date().isoformat()
    return replace(profile, prompts=replace(profile.prompts, date=today))


def _asks_for_date(files: ModelFacts, profile: Profile) -> bool:
    """Whether a model's prompts are framed by a template that asks for the date."""
    return files.reads_clock and resolve_framing(files, profile).format == "chat"


def framed(
    models: Sequence[ModelFiles], profile: Profile, prompts: Prompts, tell: Callable[[str], None]
) -> list[ModelFiles]:
    """The models, with what the keys of their entries must know of the tokens they read.

    Parameters
    ----------
    tell : callable
        Called with each line that a user should see.

    Raises
    ------
    UserError
        If a tokenizer or chat template cannot be used, two prompts are the same tokens, or a template
        argument is none of any model.
    """
    found, unread = [], {name for name, _ in profile.prompts.template}
    for files in models:
        framing = resolve_framing(files, profile)
        tokenizer = load_tokenizer(files.folder) if files.held is None else files.held.tokenizer
        texts = {text for one in (prompts.neutral, *prompts.every_emotion) for text in one.prompts}
        tokens = {text: tokens_of(tokenizer, text, framing) for text in sorted(texts)}
        _require_different(files.name, prompts, tokens)
        if framing.format == "chat":
            unread = {name for name in unread if not reads(tokenizer, name)}
            if openings := _openings(files.name, prompts.neutral):
                tell(openings)
        elif closing := closing_tokens(tokenizer):
            names = " ".join(tokenizer.convert_ids_to_tokens(list(closing)))
            tell(f"{files.name}: its tokenizer ends every text with {names}, left out of the prompts")
        found.append(replace(files, tokens=digests(tokenizer, tokens, framing)))
    if unread and len(models) == len(profile.models):  # a model that is not here may read them
        raise UserError(
            expected="variables of a model's chat template",
            got=", ".join(sorted(unread)),
            where="template arguments",
            remedy="correct or remove them",
        )
    for line in _shared(prompts):
        tell(line)
    return found


def _require_different(name: str, prompts: Prompts, tokens: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse two prompts of a file, or of an emotion's and the neutral one, that are the same tokens."""
    neutral = prompts.neutral
    for one in (neutral, *prompts.every_emotion):
        first: dict[tuple[int, ...], str] = {}
        for text in dict.fromkeys((*neutral.prompts, *one.prompts)):
            other = first.setdefault(tokens[text], text)
            if other != text and tokens[text]:
                paths = neutral.path if text in neutral.prompts else f"{one.path} (and {neutral.path})"
                raise UserError(
                    expected="prompts that differ in what the model reads",
                    got=f"the same tokens of {other[:60]!r} and {text[:60]!r}",
                    where=f"{paths}, model {name}",
                    remedy="remove one of them",
                )


def _openings(name: str, prompts: PromptSet) -> str:
    """What is told where a chat template makes messages of prompts that break off; else nothing."""
    ends = [text.rstrip()[-1:] for text in prompts.prompts]
    n_open = sum(end.isalnum() or end in _GOES_ON for end in ends)
    if n_open <= _MOST_OPEN * len(ends):
        return ""
    return (
        f"{name}: {n_open} of {len(ends)} prompts in {prompts.path} break off; its chat template makes a"
        " whole message of each, where the format raw would continue it"
    )


def _shared(prompts: Prompts) -> Iterator[str]:
    """A line for each two files that share prompts."""
    for one, other in combinations((prompts.neutral, *prompts.every_emotion), 2):
        if n := len(set(one.prompts) & set(other.prompts)):
            told = f"{_place(one)} and {_place(other)} share {n} {'prompts' if n > 1 else 'prompt'}"
            is_neutral = one is prompts.neutral
            yield f"{told}; a recipient is left out of its own donors" if is_neutral else told


def _place(prompts: PromptSet) -> str:
    return f"{prompts.path} ({len(prompts.prompts)} prompts)"
