"""The plan of a run: its stages, their batches, and the key and cost of each batch.

Everything here follows from the profile, the prompts and a few facts about the model's files, with the
digests of tokens where keys need them, so a dry run and a finished run load no model. What a memo key
holds is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from phase7.experiment.framing import resolve_format, resolve_framing
from phase7.experiment.profile import Profile, Sampling
from phase7.experiment.prompts import PromptSet
from phase7.models.facts import ModelFacts
from phase7.models.framing import Framing
from phase7.vocabulary.donors import DONOR_RECORDS, NO_CONTROL, Choice, Role
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import Head, HeadSet
from phase7.vocabulary.modes import Mode, position_record
from phase7.vocabulary.units import Unit

#: Raise it when the same plan would give other tokens: older entries are then computed again.
ENGINE_VERSION = 4


StageName = Literal[
    "sweep", "screen", "unchosen", "halves", "check", "confirm", "curve", "strengths", "against",
    "choose", "answer", "fresh", "rivals", "shift", "prompting",
]  # fmt: skip


#: Stages without text, whatever the profile says.
_WITHOUT_TEXT = ("screen", "unchosen", "halves", "check", "curve")


@dataclass(frozen=True, order=True)
class Cell:
    """One tested intervention: heads and units patched together, in one mode.

    `write` and `strength` are those of :class:`phase7.engine.patch.patching.Patch`; what is added is the
    emotion's donor minus the control's.
    """

    heads: tuple[Head, ...]
    mode: Mode
    write: Literal["replace", "add"] = "replace"
    strength: float = 1.0
    units: tuple[Unit, ...] = ()

    @property
    def head_set(self) -> HeadSet:
        """Heads and units as results are filed under them."""
        return HeadSet(self.heads, self.units)

    @property
    def label(self) -> str:
        """Spec of the set, e.g. ``"3:5,7:2"``."""
        return self.head_set.label

    @property
    def identity(self) -> list[Any]:
        """What tells it from others in keys."""
        plain = [self.label, self.mode]
        is_plain = (self.write, self.strength) == ("replace", 1.0)
        return plain if is_plain else [*plain, self.write, self.strength]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One prompt's baseline with some patches: the unit of work, and one memo entry.

    A patch is a cell with the role of its donor. A sweep's batches hold one role each, so that the
    control's serve every emotion; the confirmation, with few cells, runs both roles together.

    `n_rows` counts the rows of all samples, baseline and self-checks included.
    """

    prompt_index: int
    prompt: str
    patches: tuple[tuple[Role, Cell], ...]
    key: dict[str, Any]
    n_rows: int
    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The sweep or the confirmation of one (model, emotion).

    Attributes
    ----------
    name : str
        Of :data:`StageName`. "screen" chooses the heads of a sweep, "unchosen" and "halves" patch the
        others (:mod:`phase7.experiment.screening`); "check" measures what a sweep predicted
        (:mod:`phase7.experiment.predictions`), "curve" reads sets of growing size
        (:mod:`phase7.experiment.curve`), "strengths" has the confirmation's at other strengths
        (:mod:`phase7.experiment.strengths`), "against" the donor of another emotion
        (:mod:`phase7.experiment.specificity`); "choose", "answer", "fresh" and "rivals" look for a set
        and a strength that move the text (:mod:`phase7.experiment.answer`); the last two are positive
        controls (:mod:`phase7.experiment.positive_controls`).
    files : ModelFacts
    profile : Profile
    neutral, emotion : PromptSet
    recipients : tuple of int
        Indices of the neutral prompts that are patched.
    cells : tuple of Cell
        Sorted and distinct.
    sampling : Sampling
    lengths : tuple of int
        Shorter continuations to keep as text, in tokens.
    """

    name: StageName
    files: ModelFacts
    profile: Profile
    neutral: PromptSet
    emotion: PromptSet
    recipients: tuple[int, ...]
    cells: tuple[Cell, ...]
    sampling: Sampling
    lengths: tuple[int, ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Donors that run: the emotion's, and the control's where the profile has one.

        What adds a difference of donors runs the emotion's alone, from which the control's is taken; so
        does another emotion's run, beside the confirmation's control; prompting runs none.
        """
        if self.name == "prompting":
            return ()
        if self.name in ("against", "rivals") or any(cell.write == "add" for cell in self.cells):
            return ("emotion",)
        return ("emotion",) if self.profile.patching.control == NO_CONTROL else ("emotion", "control")

    @property
    def way_of_generating(self) -> tuple[object, ...]:
        """What batches have in common that are generated together."""
        return self.framing, self.sampling, self.profile.patching.use_attn_result

    @property
    def has_text(self) -> bool:
        """Whether the stage generates texts; else it is measured by read-outs alone."""
        sweep = self.profile.sweep
        if self.name == "against":
            return self.profile.confirm.against_text
        is_mute = self.name == "sweep" and sweep is not None and not sweep.text
        return self.name not in _WITHOUT_TEXT and not is_mute

    @property
    def is_control(self) -> bool:
        """Whether it is a positive control of a confirmation."""
        return self.name in ("shift", "prompting")

    @property
    def is_attributed(self) -> bool:
        """Whether the stage's read-outs are predicted and not measured."""
        sweep = self.profile.sweep
        if self.name == "screen":
            return True
        return self.name == "sweep" and sweep is not None and sweep.readouts == "attribution"

    @property
    def prompt_format(self) -> Literal["raw", "chat"]:
        """``auto`` resolved: ``chat`` for models with a chat template."""
        return resolve_format(self.files, self.profile)

    @property
    def framing(self) -> Framing:
        """What surrounds every prompt."""
        return resolve_framing(self.files, self.profile)

    def batches(self) -> Iterator[Batch]:
        """All batches, prompt by prompt."""
        pieces = self.pieces(self.sampling.samples)
        for index in self.recipients:
            for patches in pieces:
                yield self.batch(index, patches)

    def pieces(self, n_samples: int) -> list[tuple[tuple[Role, Cell], ...]]:
        """The patches of every prompt, cut so that each piece fits in a batch of so many samples."""
        together = [(role,) for role in self.roles] if self.name == "sweep" else [self.roles]
        room = self._room(n_samples)
        return [
            piece
            for roles in together
            for piece in _chunks(tuple((role, cell) for role in roles for cell in self.cells), room)
        ]

    def n_rows(self, n_patches: int, n_samples: int) -> int:
        """Rows of a batch of so many patches, baseline and self-checks included."""
        return (1 + n_patches + self._n_checks()) * n_samples

    def donor_kind(self, role: Role) -> str:
        """A name of :data:`phase7.vocabulary.donors.DONOR_RECORDS`."""
        patching = self.profile.patching
        return patching.donor if role == "emotion" else patching.control

    def donor_prompts(self, role: Role, index: int) -> PromptSet | None:
        """The prompts that a recipient's donor is a mean over; None for a kind that captures nothing.

        A recipient among them is left out of the mean where the kind says so.
        """
        kind = self.donor_kind(role)
        record = DONOR_RECORDS[kind]
        if record.prompts is None:
            return None
        chosen = record.prompts(
            Choice(
                emotion=self.emotion.prompts,
                neutral=self.neutral.prompts,
                recipient=index,
                seed=self.profile.sampling.seed,
            )
        )
        if not chosen:
            raise UserError(
                expected="a donor prompt that is not the recipient itself",
                got="none",
                where=f"{self.emotion.path}: donor {kind}",
                remedy="add prompts that are not in the neutral file",
            )
        known = (one for one in (self.emotion, self.neutral) if one.prompts == chosen)
        return next(known, PromptSet(name=kind, path="", prompts=chosen))

    @property
    def sited_units(self) -> tuple[Unit, ...]:
        """The MLPs and residual streams that are patched, of which donors need captures of their own."""
        found = {unit for cell in self.cells for unit in cell.head_set.sited}
        return tuple(sorted(found))

    @property
    def every_query(self) -> bool:
        """Whether donors are captured at every query of their prompts, not only at the last."""
        return position_record(self.profile.patching.positions).from_start

    def _room(self, samples: int) -> int:
        """How many patches fit in a batch beside the baseline and one self-check a mode."""
        n_checks = self._n_checks()
        max_rows = self.profile.engine.max_rows
        room = max_rows // samples - 1 - n_checks
        if room < 1:
            raise UserError(
                expected=f"at least {(2 + n_checks) * samples} rows for baseline, self-checks and one"
                " patch",
                got=str(max_rows),
                where="max_rows",
                remedy="raise max_rows or take fewer samples",
            )
        return room

    def _n_checks(self) -> int:
        """Self-checks of a batch at most (:func:`phase7.engine.decode.running.self_checks`)."""
        kinds = {(cell.mode, cell.write, cell.strength) for cell in self.cells}
        hiding = {unit for cell in self.cells for unit in cell.units if unit.record.hides_below}
        return len(kinds) * (1 + len(hiding))

    def batch(self, index: int, patches: tuple[tuple[Role, Cell], ...]) -> Batch:
        """One prompt's texts with some patches."""
        profile, sampling = self.profile, self.sampling
        n_rows = self.n_rows(len(patches), sampling.samples)
        key = {
            "engine": ENGINE_VERSION,
            "model": self.files.fingerprint,
            "format": self.prompt_format,
            "prompt": self.neutral.prompts[index],
            **self.files.tokens_key(self.neutral.prompts[index]),
            **self.intervention(index, patches),
            "max_new_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "samples": sampling.samples,
            "seed": sampling.seed,
            "lengths": list(self.lengths),
            "device": profile.engine.device,
            "dtype": profile.engine.dtype,
        }
        return Batch(
            prompt_index=index,
            prompt=self.neutral.prompts[index],
            patches=patches,
            key=key,
            n_rows=n_rows,
            n_tokens=n_rows * sampling.max_new_tokens,
        )

    def intervention(self, index: int, patches: tuple[tuple[Role, Cell], ...]) -> dict[str, Any]:
        """What tells some patches of one recipient from others in keys."""
        patching = self.profile.patching
        return {
            "donors": self.donor_identities(index, roles_of(patches)),
            "patches": [[role, *cell.identity] for role, cell in patches],
            "positions": patching.positions,
            "use_attn_result": patching.use_attn_result,
        }

    def donor_identities(self, index: int, roles: Iterable[Role]) -> dict[str, Any]:
        """What tells a recipient's donors from others in keys, by role."""
        return {role: self._donor_identity(role, index) for role in roles}

    def _donor_identity(self, role: Role, index: int) -> dict[str, Any]:
        """What tells a donor from others in keys: its kind and its prompts."""
        kind, prompts = self.donor_kind(role), self.donor_prompts(role, index)
        if prompts is None:
            return {"kind": kind}
        identity: dict[str, Any] = {"kind": kind, **self.files.tokens_key(*prompts.prompts)}
        if DONOR_RECORDS[kind].by_recipient:
            (prompt,) = prompts.prompts
            return {**identity, "prompt": prompt}
        if DONOR_RECORDS[kind].names_recipient and self.neutral.prompts[index] in prompts.prompts:
            identity["without"] = "recipient"
        return {**identity, "prompts": prompts.digest}


def roles_of(patches: Sequence[tuple[Role, Cell]]) -> list[Role]:
    """The donors that some patches need, each once."""
    needed = [role for role, _ in patches]
    added: list[Role] = ["control" for _, cell in patches if cell.write == "add"]
    return list(dict.fromkeys([*needed, *added]))


def _chunks(
    patches: tuple[tuple[Role, Cell], ...], most: int
) -> Iterator[tuple[tuple[Role, Cell], ...]]:
    """Cut into as few pieces as fit, of sizes that differ by one at most."""
    n_pieces = max(1, -(-len(patches) // most))
    size, larger = divmod(len(patches), n_pieces)
    start = 0
    for piece in range(n_pieces):
        end = start + size + (piece < larger)
        yield patches[start:end]
        start = end
