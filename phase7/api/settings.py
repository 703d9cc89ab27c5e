"""From arguments to the profile of one patch or one sweep: the one place, for Python and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from phase7.experiment.checked import build_record
from phase7.experiment.declared import Pair, Readouts, Screen
from phase7.experiment.profile import Confirm, Engine, Patching, Profile, Sampling, Sweep
from phase7.experiment.prompts import PromptFiles
from phase7.experiment.statistics import Statistics
from phase7.vocabulary.donors import ControlKind, DonorKind
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, format_heads
from phase7.vocabulary.modes import Mode, Positions

Record = TypeVar("Record")

#: Heads as a spec, e.g. ``"3:5,7:2"``, or as pairs of layer and head.
Heads = str | Sequence[tuple[int, int]]


class Shared(TypedDict):
    """What every profile of one model and one emotion takes.

    Attributes
    ----------
    name, model, emotion : str
    prompts : PromptFiles
    sampling : Sampling
    engine : Engine
    readouts : Readouts or sequence of str
        Declared, or told as :func:`readouts_of` reads them.
    scorers : sequence of str or None
        None: those of a profile that names none.
    """

    name: str
    model: str
    emotion: str
    prompts: PromptFiles
    sampling: Sampling
    engine: Engine
    readouts: Readouts | Sequence[str]
    scorers: Sequence[str] | None


def head_spec(heads: Heads) -> str:
    """Heads as a spec.

    Raises
    ------
    UserError
        If they are no pairs of numbers.

    Examples
    --------
    >>> head_spec([(21, 1), (3, 5)])
    '3:5,21:1'
    """
    if isinstance(heads, str):
        return heads
    try:
        pairs = [Head(int(layer), int(head)) for layer, head in heads]
    except (TypeError, ValueError) as error:
        raise UserError(
            expected="a head spec such as '3:5,7:2', or pairs of layer and head",
            got=repr(heads)[:80],
            where="heads",
            remedy="write for example '21:1' or [(21, 1)]",
        ) from error
    return format_heads(tuple(sorted(pairs)))


def profile_of(
    *,
    patching: Patching,
    confirm: Confirm,
    sweep: Sweep | None = None,
    screen: Screen | None = None,
    statistics: Statistics | None = None,
    **shared: Unpack[Shared],
) -> Profile:
    """The profile of one model and one emotion.

    Raises
    ------
    UserError
        If settings do not go together.
    """
    readouts, scorers = shared["readouts"], shared["scorers"]
    if not isinstance(readouts, Readouts):
        readouts = readouts_of(readouts, shared["sampling"].max_new_tokens)
    profile = Profile(
        name=shared["name"],
        models=(shared["model"],),
        emotions=(shared["emotion"],),
        prompts=shared["prompts"],
        sampling=shared["sampling"],
        readouts=readouts,
        patching=patching,
        sweep=sweep,
        screen=screen,
        confirm=confirm,
        statistics=statistics or Statistics(),
        engine=shared["engine"],
    )
    return profile if scorers is None else replace(profile, scorers=tuple(scorers))


def patch_profile(
    *,
    heads: str,
    modes: Sequence[Mode],
    donor: DonorKind = "mean",
    control: ControlKind = "neutral",
    positions: Positions = "generated",
    use_attn_result: bool = False,
    against: Sequence[str] = (),
    strengths: Sequence[float] = (),
    write: Literal["replace", "add"] = "replace",
    alone: bool = True,
    n_prompts: int = 0,
    random_heads: int = 0,
    positive_controls: bool = True,
    **shared: Unpack[Shared],
) -> Profile:
    """The profile that tests some heads, each alone and all together.

    The arguments are those of the command ``patch``: `alone` is false for ``--together-only``. `shared`
    is what :func:`profile_of` takes too.

    Raises
    ------
    UserError
        If settings do not go together.
    """
    patching = Patching(
        donor=donor,
        control=control,
        positions=positions,
        primary_mode=modes[0],
        use_attn_result=use_attn_result,
        against=tuple(against),
    )
    confirm = Confirm(
        target_heads=heads,
        modes=tuple(modes),
        n_prompts=n_prompts,
        random_heads=random_heads,
        alone=alone,
        strengths=tuple(strengths),
        write=write,
        positive_controls=positive_controls,
    )
    return profile_of(patching=patching, confirm=confirm, **shared)


def readouts_of(specs: Sequence[str], n_tokens: int) -> Readouts:
    """Read-outs along `n_tokens` tokens, from ``"words:joy,glad"`` or ``"pair: Thank you| No"``.

    Raises
    ------
    UserError
        If a text is neither.
    """
    words: list[str] = []
    pairs = []
    for spec in specs:
        kind, _, rest = spec.partition(":")
        named = [word.strip() for word in rest.split(",")]
        target, bar, foil = rest.partition("|")
        if kind == "words" and all(named):
            words += named
        elif kind == "pair" and bar:
            pairs.append(Pair(target=target, foil=foil))
        else:
            raise UserError(
                expected="words: with commas between them, or pair: and two texts with | between them",
                got=repr(spec)[:80],
                where="readouts",
                remedy='write for example "words:joy,glad" or "pair: Thank you| No"',
            )
    return Readouts(words=tuple(words), pairs=tuple(pairs), max_new_tokens=n_tokens)


def as_record(record: type[Record], given: Record | Mapping[str, Any] | None, where: str) -> Record:
    """A record as it is, or made of a mapping.

    Raises
    ------
    UserError
        If a key is unknown or a value cannot be used.
    """
    if isinstance(given, record):
        return given
    items = given.items() if isinstance(given, Mapping) else ()
    table = {key: list(value) if isinstance(value, tuple) else value for key, value in items}
    made: Record = build_record(record, table, where)
    return made
