"""Few patches of many prompts against the full sweep: `python -m tests.programs.measurements.few_patches`.

On SmolLM2 with its default prompts, in one run and in turn: the sweep of all heads (1 sample), and 2 patches
× 8 samples of 24 prompts, one prompt after the other and together. All on one thread, as every batch is, by
the processor's own time. Prefill and self-checks are paid for by every arm. The texts of the two ways must
be the same. Writes `docs/measurements/few_patches.json`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phase7.engine.decode.loop import Continuations, Request, generate_together
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.run.executor import one_thread
from phase7.run.memory import MOST_PROMPTS
from phase7.run.provenance import machine, package_versions
from phase7.store import write_text
from phase7.vocabulary.heads import Head
from tests.programs.benchmarks import arms, models
from tests.programs.benchmarks.prefix import default_prompts

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "few_patches.json"
HEAD, N_PROMPTS, N_SAMPLES, N_TOKENS, N_REPEATS = Head(14, 3), 24, 8, 30, 3


class Measurement:
    """The model, its prompts, and the two kinds of batches."""

    def __init__(self) -> None:
        self._task = arms.make_task(models.load("smollm2"), n_tokens=N_TOKENS)
        self._prompts = default_prompts(self._task.model)
        zeroed = Patch(heads=(HEAD,), donor="zero")
        self._few = [Patch(heads=(HEAD,), donor="emotion"), zeroed]
        self._all = [Patch(heads=(head,), donor="emotion") for head in self._task.heads]

    def sweep(self, prompts: Sequence[int]) -> float:
        """Milliseconds for a token of the full sweep of some prompts."""
        seconds, _ = self._timed([[prompt] for prompt in prompts], self._all, n_samples=1)
        return 1000 * seconds / (len(prompts) * (len(self._all) + 2) * N_TOKENS)

    def few(self, prompts: Sequence[int], n_together: int) -> tuple[float, list[Continuations]]:
        """The same of few patches, with so many prompts together; and what was generated."""
        groups = [prompts[i : i + n_together] for i in range(0, len(prompts), n_together)]
        seconds, found = self._timed(groups, self._few, n_samples=N_SAMPLES)
        n_rows = (len(self._few) + 2) * N_SAMPLES
        return 1000 * seconds / (len(prompts) * n_rows * N_TOKENS), found

    def _timed(
        self, groups: Sequence[Sequence[int]], patches: Sequence[Patch], *, n_samples: int
    ) -> tuple[float, list[Continuations]]:
        sampling = Sampling(
            max_new_tokens=N_TOKENS, temperature=arms.TEMPERATURE, top_p=arms.TOP_P, seed=1,
            samples=n_samples,
        )  # fmt: skip
        found, begin = [], time.process_time()
        with one_thread():
            for group in groups:
                asked = [
                    Request(
                        prompt=f"prompt {i}", tokens=self._prompts[i].tolist(), patches=patches,
                        donors={"emotion": self._task.donor},
                    )
                    for i in group
                ]  # fmt: skip
                found += generate_together(self._task.model, asked, sampling=sampling)
        return time.process_time() - begin, found


def main(n_prompts: int = N_PROMPTS, n_repeats: int = N_REPEATS) -> dict[str, Any]:
    """Measure, and return the figures."""
    measurement, repeats = Measurement(), []
    n_together = min(MOST_PROMPTS, -(-n_prompts // 2))  # as two processors share them
    measurement.few(range(2), 2)  # what a model does once
    for repeat in range(n_repeats):
        swept = measurement.sweep([repeat])
        together, one = measurement.few(range(n_prompts), n_together)
        alone, other = measurement.few(range(n_prompts), 1)
        for a, b in zip(one, other, strict=True):
            if not np.array_equal(a.patched_tokens, b.patched_tokens):
                raise RuntimeError("prompts together have other texts than alone")
        repeats.append({"sweep": swept, "together": together, "alone": alone})
        print(json.dumps(repeats[-1]), flush=True)
    return {
        "prompts": n_prompts,
        "prompts_together": n_together,
        "repeats": [{name: round(ms, 3) for name, ms in one.items()} for one in repeats],
        "ms_per_token": {
            name: round(statistics.median(one[name] for one in repeats), 3) for name in repeats[0]
        },
        "ratio_to_sweep": {
            name: round(statistics.median(one[name] / one["sweep"] for one in repeats), 3)
            for name in ("together", "alone")
        },
        "machine": machine(),
        "packages": package_versions(),
    }


if __name__ == "__main__":
    figures = main()
    write_text(OUTPUT, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
