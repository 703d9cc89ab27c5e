"""Which captures donors are made of, as units of work, and what their entries hold.

An entry holds what all heads did on one prompt. What an MLP or a residual stream gave there is an entry
of its own, so that the others need not be made again for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phase7.experiment.profile import Engine
from phase7.experiment.stages import ENGINE_VERSION, Batch, Stage, roles_of
from phase7.models.files import ModelFiles
from phase7.models.framing import Framing
from phase7.run.units import Unit
from phase7.vocabulary import units

if TYPE_CHECKING:
    from phase7.engine.model.bridge import Model


@dataclass(frozen=True, kw_only=True)
class Capturing:
    """The captures of one model.

    Attributes
    ----------
    files : ModelFiles
    engine : Engine
        Device and dtype.
    """

    files: ModelFiles
    engine: Engine

    def of(self, prompt: str, framing: Framing, every: bool, beside: units.Unit | None = None) -> Unit:
        """One prompt's, at every query or only at the last; of the heads, or of a unit beside them."""
        key = {
            "engine": ENGINE_VERSION,
            "model": self.files.fingerprint,
            "format": framing.format,
            "prompt": prompt,
            **self.files.tokens_key(prompt),
            "queries": "all" if every else "last",
            "device": self.engine.device,
            "dtype": self.engine.dtype,
            **({} if beside is None else {"unit": str(beside)}),
        }
        own = () if beside is None else (beside,)
        return Unit(kind="capture", key=key, arguments=(prompt, framing, every, *own))

    def of_batches(self, stage: Stage, batches: Sequence[Batch]) -> Iterator[Unit]:
        """Those that donors of these batches are made of, so that none is recorded twice."""
        for batch in batches:
            for role in roles_of(batch.patches):
                donors = stage.donor_prompts(role, batch.prompt_index)
                for prompt in () if donors is None else donors.prompts:
                    for beside in (None, *stage.sited_units):
                        yield self.of(prompt, stage.framing, stage.every_query, beside)

    def of_sets(self, stage: Stage) -> Iterator[Unit]:
        """Those of all of a stage's emotion and neutral prompts."""
        for prompt in (*stage.emotion.prompts, *stage.neutral.prompts):
            yield self.of(prompt, stage.framing, stage.every_query)


def recorded(
    model: Model, prompt: str, framing: Framing, every: bool, beside: units.Unit | None = None
) -> dict[str, Any]:
    """The entry of a prompt's capture."""
    from phase7.engine.model.tokens import encode
    from phase7.engine.patch.capture import capture, capture_unit

    tokens = encode(model, prompt, framing)
    if beside is not None:
        return {"output": capture_unit(model, tokens, beside, all_queries=every).output}
    got = capture(model, tokens, all_queries=every)
    return {"value": got.value, "z": got.z, "pattern": got.pattern}
