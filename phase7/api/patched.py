"""A model under a patch for a while: its texts and the user's own forward passes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from phase7.api.donors import Difference, PromptDonor
from phase7.api.models import LoadedModel
from phase7.api.settings import Heads, head_spec
from phase7.experiment.profile import Sampling
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.heads import HeadSet, parse_set
from phase7.vocabulary.modes import MODES, Mode, Positions, position_record

if TYPE_CHECKING:
    from phase7.api.passes import Pass, PatchedPasses
    from phase7.engine.decode.loop import Continuations
    from phase7.engine.patch.patching import Patch

#: A donor of prompts, a difference of two, the recipient's own activations, or nothing at all.
AnyDonor = PromptDonor | Difference | str


@dataclass(frozen=True, kw_only=True)
class Acted:
    """What one call under a patch was patched at.

    Attributes
    ----------
    call : {"generate", "forward pass"}
    n_rows : int
    n_prompt : int
        Tokens of the prompt; query n_prompt - 1 decides the first token behind it.
    queries : range
        Absolute positions of the patched queries; empty where none was.
    """

    call: str
    n_rows: int
    n_prompt: int
    queries: range

    def __str__(self) -> str:
        rows = "1 row" if self.n_rows == 1 else f"{self.n_rows} rows"
        if not self.queries:
            where = "no query"
        elif len(self.queries) == 1:
            where = f"query {self.queries[0]}"
        else:
            where = f"queries {self.queries[0]} to {self.queries[-1]}"
        return f"{self.call} ({rows}, prompt of {self.n_prompt} tokens): {where}"


class patched:
    """Patch heads of a model while the enclosed lines run.

    Inside, ``model.generate``, passes of ``model.bridge``, and calls of a transformers model that was
    handed over run patched. At the end a line says at which queries; `acted` holds the same.

    Parameters
    ----------
    model : LoadedModel
    heads : str or sequence of (layer, head)
        Heads, and whole attentions (``"attn:7"``).
    donor : PromptDonor, Difference, "self" or "zero"
        What replaces a head's output; a difference is added to it.
    strength : float
        How much of the way, or of the difference; 0 changes nothing.
    mode : {"result", "v_only", "pattern_v"}
    positions : str
        ``generated``, ``last``, ``all``, or a single query (``step:3``, ``prompt:-2``).
    tell : callable or None
        Called with the lines at the end; None: nothing is told.

    Attributes
    ----------
    acted : list of Acted

    Raises
    ------
    UserError
        If there are no such heads, the donor is another model's, or the model is patched already.
    """

    def __init__(
        self,
        model: LoadedModel,
        heads: Heads,
        donor: AnyDonor,
        *,
        strength: float = 1.0,
        mode: Mode = "result",
        positions: Positions = "generated",
        tell: Callable[[str], None] | None = print,
    ) -> None:
        engine = model.engine()
        self._model, self._tell, self.acted = model, tell, list[Acted]()
        self._donors = _engine_donors(model, donor)
        self._patch = _patch(model, heads, donor, strength, mode, positions)
        name = donor if isinstance(donor, str) else donor.name
        label = HeadSet(self._patch.heads, self._patch.units).label
        self._label = f"{label} ({mode}, {name}, strength {strength:g})"
        self._reach = min((one.z.shape[1] for one in self._donors.values()), default=2**62)
        self._exit = contextlib.ExitStack()
        self._passes: PatchedPasses | None = None
        self._engine = engine

    def __enter__(self) -> Self:
        from phase7.api.passes import PatchedPasses

        model = self._model
        if model.active is not None:
            raise UserError(
                expected="one patch of a model at a time",
                got="a second one inside the first",
                where=f"patched {self._label}",
                remedy="name all heads in one, or end the first",
            )
        self._passes = PatchedPasses(self._engine, self._patch, self._donors, self._note)
        with self._exit:
            for bridge in {id(one): one for one in (self._engine.bridge, model.bridge)}.values():
                self._exit.enter_context(self._passes.on_bridge(bridge))
            if model.hf_model is not None and model.bridge is self._engine.bridge:
                self._exit.enter_context(self._passes.on_transformers(model.hf_model))
            model.active = self
            self._exit.callback(setattr, model, "active", None)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()
        if self._tell is not None and kind is None:
            for line in self.lines():
                self._tell(line)

    def lines(self) -> list[str]:
        """What was patched, in a line for each kind of call."""
        if not self.acted:
            return [f"patched {self._label}: nothing ran, so no query was patched"]
        by_text: dict[str, int] = {}
        for one in self.acted:
            by_text[str(one)] = by_text.get(str(one), 0) + 1
        return [
            f"patched {self._label}: {text}" + (f", {n} times" if n > 1 else "")
            for text, n in by_text.items()
        ]

    def generate(self, prompt: str, sampling: Sampling) -> tuple[list[str], list[str], Continuations]:
        """Baseline and patched texts of a prompt, one each for every sample."""
        found = self._model.run(prompt, self._patch, self._donors, sampling)
        n_prompt, tokens = len(self._model.encode(prompt)), found[2].patched_tokens[0]
        longest = max(int((row >= 0).sum()) for row in tokens)
        n_steps = min(longest + 1, sampling.max_new_tokens)
        queries = self._queries(0, n_prompt - 1 + n_steps, n_prompt)
        self.acted.append(Acted(call="generate", n_rows=len(tokens), n_prompt=n_prompt, queries=queries))
        return found

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Leave the enclosed passes unpatched."""
        passes = self._passes
        before = passes is not None and passes.is_resting
        if passes is not None:
            passes.is_resting = True
        try:
            yield
        finally:
            if passes is not None:
                passes.is_resting = before

    def _note(self, one: Pass) -> None:
        end = one.first_query + one.n_queries
        queries = self._queries(one.first_query, end, one.n_prompt)
        self.acted.append(
            Acted(call="forward pass", n_rows=one.n_rows, n_prompt=one.n_prompt, queries=queries)
        )

    def _queries(self, start: int, end: int, n_prompt: int) -> range:
        """Those from `start` up to `end` that the patch is for and the donor reaches."""
        queries = position_record(self._patch.positions).queries(n_prompt, end)
        first = max(start, queries.start, n_prompt - self._reach)
        return range(first, max(first, queries.stop))


def _engine_donors(model: LoadedModel, donor: AnyDonor) -> dict[str, Any]:
    """The engine's donors by the names that the patch gives them."""
    if isinstance(donor, str):
        if donor not in ("self", "zero"):
            raise UserError(
                expected="a donor of phase7.donor, a difference of two, 'self' or 'zero'",
                got=repr(donor)[:80],
                where="patched: donor",
                remedy="make one with phase7.donor(model, prompts)",
            )
        return {}
    parts = (donor,) if isinstance(donor, PromptDonor) else (donor.donor, donor.reference)
    for one in parts:
        if one.fingerprint != model.fingerprint:
            raise UserError(
                expected=f"a donor of {model.name} with the weights that it has now",
                got=f"{one.name}, recorded with other weights",
                where="patched: donor",
                remedy="record it again with phase7.donor(model, prompts)",
            )
    return dict(zip(("donor", "reference"), (one.mean for one in parts), strict=False))


def _patch(
    model: LoadedModel,
    heads: Heads,
    donor: AnyDonor,
    strength: float,
    mode: Mode,
    positions: Positions,
) -> Patch:
    from phase7.engine.patch.patching import Patch

    if mode not in MODES:
        raise UserError(
            expected=f"one of {', '.join(MODES)}",
            got=repr(mode)[:80],
            where="patched: mode",
            remedy="correct the value",
        )
    position_record(positions, "patched: positions")
    chosen = parse_set(head_spec(heads), n_layers=model.n_layers, n_heads=model.n_heads, where="heads")
    if chosen.sited:
        raise UserError(
            expected="heads and attentions, of which donors hold what they give",
            got=str(chosen.sited[0]),
            where="heads",
            remedy="test it with phase7.patch",
        )
    adds = isinstance(donor, Difference)
    try:
        return Patch(
            heads=chosen.heads,
            units=chosen.units,
            mode=mode,
            donor=donor if isinstance(donor, str) else "donor",
            positions=positions,
            write="add" if adds else "replace",
            strength=float(strength),
            reference="reference" if adds else "",
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            expected="a finite number",
            got=repr(strength)[:80],
            where="patched: strength",
            remedy="correct the value",
        ) from error
