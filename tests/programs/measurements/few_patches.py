"""Few patches of many prompts against the full sweep: `python -m tests.programs.measurements.few_patches`.

On SmolLM2 with its default prompts, in one run and in turn: the sweep of all heads (1 sample), and 2 patches
× 8 samples of 24 prompts together, and of some of these one after the other. All on one thread, as every
batch is, by the processor's own time. Prefill and self-checks are paid for by every arm. The texts of the
two ways must be the same. Beside the times stands what no implementation could spare while every row has
the bits that it has now: the rows that layers compute (of all rows in all layers), and the logits.
`--repeats` says how often, each time with the sweep of two other prompts. Writes
`docs/measurements/few_patches.json` and, with it, `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np

from phase7.engine.decode import drawing
from phase7.engine.decode.loop import Continuations, Request, generate_together
from phase7.engine.decode.rows import Copies, Ints, SharedLayers
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.run.executor import one_thread
from phase7.run.memory import MOST_PROMPTS
from phase7.run.provenance import machine, package_versions
from phase7.store import write_text
from phase7.vocabulary.heads import Head
from tests.programs.benchmarks import arms, models, page
from tests.programs.benchmarks.prefix import default_prompts

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "few_patches.json"
HEAD, N_PROMPTS, N_ALONE, N_SAMPLES, N_TOKENS, N_REPEATS = Head(14, 3), 24, 6, 8, 30, 3


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

    def work(self, patches_of: Literal["sweep", "few"], prompt: int) -> dict[str, float]:
        """What is computed of one prompt, by row: layers, attentions, exact logits and prefilled tokens.

        Of layers and attentions the share of all rows in all of them; of logits those by step, and the
        rows that have their baseline's.
        """
        patches, n_samples = (self._all, 1) if patches_of == "sweep" else (self._few, N_SAMPLES)
        n_rows = (len(patches) + 2) * n_samples
        layers, attentions, logits = [], [], []
        extend, made, equal = SharedLayers.extend, drawing.logits_of, drawing.Drawing._equal
        copied: list[int] = []

        def noting_layers(layout: SharedLayers, tokens: Ints) -> list[Copies]:
            every = range(layout.n_layers)
            layers.append(sum(map(layout.n_slots, every)) / layout.n_layers)
            attentions.append(sum(map(layout.n_attention_slots, every)) / layout.n_layers)
            return extend(layout, tokens)

        def noting_logits(unembed: Any, states: Any, slots: Ints, row_block: int) -> Any:
            logits.append(slots.size)
            return made(unembed, states, slots, row_block)

        def noting_equal(one: drawing.Drawing, now: Any, rows: Ints) -> Ints:
            found = equal(one, now, rows)
            copied.append(found.size)
            return found

        with (
            mock.patch.object(SharedLayers, "extend", noting_layers),
            mock.patch.object(drawing, "logits_of", noting_logits),
            mock.patch.object(drawing.Drawing, "_equal", noting_equal),
        ):
            self._timed([[prompt]], patches, n_samples=n_samples)
        return {
            "layers": statistics.mean(layers) / n_rows,
            "attentions": statistics.mean(attentions) / n_rows,
            "exact_logits": sum(logits) / (n_rows * N_TOKENS),
            "copied_logits": sum(copied) / (n_rows * N_TOKENS),
            "prefilled_tokens": len(self._prompts[prompt]) / (n_rows * N_TOKENS),
        }

    def products(self) -> dict[str, int]:
        """Multiplications with weights of one token: in all attentions, in all MLPs, for its logits."""
        config = self._task.model.bridge.original_model.config
        width, n_layers = config.hidden_size, config.num_hidden_layers
        kv = width // config.num_attention_heads * config.num_key_value_heads
        return {
            "attention": n_layers * 2 * width * (width + kv),
            "mlp": n_layers * 3 * width * config.intermediate_size,
            "logits": width * config.vocab_size,
        }

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
        swept = [measurement.sweep([2 * repeat])]
        together, one = measurement.few(range(n_prompts), n_together)
        alone, other = measurement.few(range(min(N_ALONE, n_prompts)), 1)
        swept.append(measurement.sweep([2 * repeat + 1]))
        for a, b in zip(one, other, strict=False):
            if not np.array_equal(a.patched_tokens, b.patched_tokens):
                raise RuntimeError("prompts together have other texts than alone")
        repeats.append({"sweep": statistics.mean(swept), "together": together, "alone": alone})
        print(json.dumps(repeats[-1]), flush=True)
    return {
        "prompts": n_prompts,
        "prompts_alone": min(N_ALONE, n_prompts),
        "prompts_together": n_together,
        "repeats": [{name: round(ms, 3) for name, ms in one.items()} for one in repeats],
        "ms_per_token": {
            name: round(statistics.median(one[name] for one in repeats), 3) for name in repeats[0]
        },
        "ratio_to_sweep": {
            name: round(statistics.median(one[name] / one["sweep"] for one in repeats), 3)
            for name in ("together", "alone")
        },
        "work_by_row": {
            of: {name: round(value, 3) for name, value in measurement.work(of, 0).items()}
            for of in ("sweep", "few")
        },
        "products": measurement.products(),
        "machine": machine(),
        "packages": package_versions(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=N_REPEATS)
    figures = main(n_repeats=parser.parse_args().repeats)
    write_text(OUTPUT, json.dumps(figures, indent=2) + "\n")
    write_text(page.PAGE, page.render(json.loads(page.RECORD.read_text(encoding="utf-8"))))
    print(json.dumps(figures, indent=2))
