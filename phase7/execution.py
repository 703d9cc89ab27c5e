"""Carry out a stage's batches, each through the store.

What enters: a :class:`~phase7.plan.Stage` and a store. What leaves: per batch the texts, tokens and
KL that the memo entry holds. The model is loaded, and prompts are captured, only when some batch is
not in the store yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from phase7.config import Engine
from phase7.errors import UserError
from phase7.models.files import ModelFiles
from phase7.plan import ENGINE_VERSION, Batch, Role, Stage
from phase7.prompts import PromptSet
from phase7.store import Store

if TYPE_CHECKING:
    from phase7.capture import Capture
    from phase7.donors import Donor, DonorSum
    from phase7.models.loading import Model

Say = Callable[[str], None]


class Executor:
    """One loaded model's work. Loading and capturing wait until a batch needs them.

    Parameters
    ----------
    files : ModelFiles
    engine : Engine
        Device and dtype.
    store : Store
    say : callable
        Told in a line what takes time.
    """

    def __init__(self, files: ModelFiles, engine: Engine, store: Store, say: Say) -> None:
        self._files, self._engine, self._store, self._say = files, engine, store, say
        self._sums: dict[tuple[str, str, bool], DonorSum] = {}
        self._means: dict[tuple[str, str, bool], Donor] = {}

    @cached_property
    def model(self) -> Model:
        """The model, loaded on first use."""
        from phase7.models.loading import load_model

        self._say(f"loading {self._files.name} ({self._files.source})")
        return load_model(self._files, device=self._engine.device, dtype=self._engine.dtype)

    def run(self, stage: Stage) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Yield every batch with its entry, from the store or computed."""
        for batch in stage.batches():
            yield (
                batch,
                self._store.get("generation", batch.key, partial(self._generate, stage, batch)),
            )

    def mean_donor(self, prompts: PromptSet, fmt: Literal["raw", "chat"], every: bool) -> Donor:
        """The mean over all prompts of a set, captured at every query or only at the last."""
        key = (prompts.digest, fmt, every)
        if key not in self._means:
            self._means[key] = self._sum(prompts, fmt, every).mean()
        return self._means[key]

    def capture(self, prompt: str, fmt: Literal["raw", "chat"], every: bool) -> Capture:
        """One prompt's activations, from the store or recorded."""
        from phase7.capture import Capture, capture
        from phase7.tokens import encode

        key = {
            "engine": ENGINE_VERSION,
            "model": self._files.fingerprint,
            "format": fmt,
            "prompt": prompt,
            "queries": "all" if every else "last",
            "device": self._engine.device,
            "dtype": self._engine.dtype,
        }

        def compute() -> dict[str, Any]:
            tokens = encode(self.model, prompt, fmt)
            got = capture(self.model, tokens, all_queries=every)
            return {"value": got.value, "z": got.z, "pattern": got.pattern}

        return Capture(**self._store.get("capture", key, compute))

    def _sum(self, prompts: PromptSet, fmt: Literal["raw", "chat"], every: bool) -> DonorSum:
        from phase7.donors import DonorSum

        key = (prompts.digest, fmt, every)
        if key not in self._sums:
            self._say(f"recording {len(prompts.prompts)} {prompts.name} prompts")
            self._sums[key] = DonorSum(self.capture(p, fmt, every) for p in prompts.prompts)
        return self._sums[key]

    def _donor(self, stage: Stage, role: Role, index: int) -> Donor | None:
        """The donor of one recipient; None for ``self`` and ``zero``, which need none."""
        from phase7.donors import single

        kind, fmt = stage.donor_kind(role), stage.prompt_format
        every = stage.profile.patching.positions == "all"
        if kind == "mean":
            return self.mean_donor(stage.emotion, fmt, every)
        if kind == "paired":
            partner = stage.emotion.prompts[index % len(stage.emotion.prompts)]
            return single(self.capture(partner, fmt, every))
        if kind in ("neutral", "shuffled"):
            prompts, recipient = stage.donor_prompts(role), stage.neutral.prompts[index]
            if recipient not in prompts.prompts:
                return self.mean_donor(prompts, fmt, every)
            if len(prompts.prompts) < 2:
                raise UserError(
                    expected="at least 2 neutral prompts, since the recipient is left out of the mean",
                    got="1",
                    where=f"{stage.neutral.path}: control donor {kind}",
                    remedy="add neutral prompts, or run without a control (--control none)",
                )
            own = self.capture(recipient, fmt, every)
            return self._sum(prompts, fmt, every).mean(without=own)
        return None

    def _generate(self, stage: Stage, batch: Batch) -> dict[str, Any]:
        from phase7.generation import generate
        from phase7.patching import Patch
        from phase7.tokens import decode, encode

        patching, n_new = stage.profile.patching, stage.sampling.max_new_tokens
        roles = dict.fromkeys(role for role, _ in batch.patches)
        donors = {role: self._donor(stage, role, batch.prompt_index) for role in roles}
        patches = [
            Patch(
                heads=cell.heads,
                mode=cell.mode,
                donor=stage.donor_kind(role) if donors[role] is None else role,
                positions=patching.positions,
            )
            for role, cell in batch.patches
        ]
        model = self.model
        got = generate(
            model,
            batch.prompt,
            encode(model, batch.prompt, stage.prompt_format, n_new_tokens=n_new),
            patches,
            donors={role: donor for role, donor in donors.items() if donor is not None},
            sampling=stage.sampling,
            use_attn_result=patching.use_attn_result,
        )

        def texts(tokens: Any, length: int) -> list[str]:
            return [decode(model, [t for t in row[:length].tolist() if t >= 0]) for row in tokens]

        return {
            "baseline_tokens": got.baseline_tokens,
            "patched_tokens": got.patched_tokens,
            "texts": {
                length: {
                    "baseline": texts(got.baseline_tokens, length),
                    "patched": [texts(tokens, length) for tokens in got.patched_tokens],
                }
                for length in (*stage.lengths, n_new)
            },
            "kl_first_token_nats": got.kl_first_token_nats,
            "n_self_rows": got.n_self_rows,
            "max_self_logit_gap": got.max_self_logit_gap,
        }
