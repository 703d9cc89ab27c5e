"""What common random numbers buy, measured: `python -m tests.programs.measurements.common_noise`.

On SmolLM2, heads are patched one at a time with four samples a prompt. Δ with shared noise pairs a
patched sample with the baseline of the same noise; Δ with independent noise pairs it with the baseline
of another sample. The ratio of their variances over prompts is how many times fewer generations give
the same interval. Writes `docs/measurements/common_noise.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from phase7.engine.decode.loop import generate
from phase7.engine.model.loading import load_model
from phase7.engine.model.tokens import decode, encode
from phase7.engine.patch.capture import capture
from phase7.engine.patch.donors import DonorSum
from phase7.engine.patch.patching import Patch
from phase7.experiment.profile import Sampling
from phase7.experiment.prompts import load_prompts
from phase7.models.files import find_model
from phase7.scoring.base import score_distinct
from phase7.scoring.choose import choose_scorers
from phase7.store import write_text
from phase7.vocabulary.heads import parse_heads
from phase7.vocabulary.metrics import METRICS
from tests.statistics.calibration import variance_ratio

ROOT = Path(__file__).parents[3]
OUTPUT = ROOT / "docs" / "measurements" / "common_noise.json"
HEADS = "0:4,3:5,6:1,7:2,10:3,13:7,16:0,19:5,22:2,25:6,28:4,29:8"
N_PROMPTS, N_SAMPLES, N_TOKENS = 24, 4, 30
SHOWN = ("sentiment_positive", "politeness", "goemotions_gratitude")


def texts_by_prompt() -> list[tuple[list[str], list[list[str]]]]:
    """For each prompt the baseline's samples and every head's samples."""
    files = find_model("smollm2", store_root=ROOT / "store")
    model, neutral = load_model(files), load_prompts(ROOT / "data" / "neutral_prompts.json")
    emotion = load_prompts(ROOT / "data" / "gratitude_prompts.json")
    donor = DonorSum(
        capture(model, encode(model, p, "chat"), all_queries=False) for p in emotion.prompts
    ).mean()
    heads = parse_heads(HEADS, n_layers=files.n_layers, n_heads=files.n_heads)
    patches = [Patch(heads=(head,), donor="donor") for head in heads]
    sampling = Sampling(max_new_tokens=N_TOKENS, samples=N_SAMPLES, seed=11)
    found = []
    for prompt in neutral.prompts[:N_PROMPTS]:
        tokens = encode(model, prompt, "chat", n_new_tokens=N_TOKENS)
        got = generate(model, prompt, tokens, patches, donors={"donor": donor}, sampling=sampling)

        def words(rows: np.ndarray) -> list[str]:
            return [decode(model, [t for t in row.tolist() if t >= 0]) for row in rows]

        found.append((words(got.baseline_tokens), [words(rows) for rows in got.patched_tokens]))
    return found


def main() -> None:
    """Generate, score, compare, write and print."""
    texts = texts_by_prompt()
    flat = [t for base, patched in texts for t in (*base, *(x for rows in patched for x in rows))]
    scorers = choose_scorers(("embedded", "keywords"), root=ROOT, store_root=ROOT / "store")
    scores = score_distinct(scorers, flat)
    # [prompt, head, sample, metric]
    patched = np.array([[[scores[t] for t in rows] for rows in heads] for _, heads in texts])
    baseline = np.array([[scores[t] for t in base] for base, _ in texts])[:, None]
    shared = (patched - baseline)[:, :, 0]
    independent = (patched - np.roll(baseline, 1, axis=2))[:, :, 0]
    same = np.mean(
        [b == t for base, heads in texts for rows in heads for b, t in zip(base, rows, strict=True)]
    )
    result = {
        "model": "smollm2",
        "n_prompts": N_PROMPTS,
        "heads": HEADS,
        "max_new_tokens": N_TOKENS,
        "share_of_texts_unchanged": round(float(same), 3),
        "ratios": {},
    }
    for metric in SHOWN:
        column = METRICS.index(metric)
        # The unit is the prompt: Δ of one head, then of all heads' pooled variance.
        one = variance_ratio(shared[:, :, column].T, independent[:, :, column].T, seed=0)
        pooled = np.nansum(one.variance_independent) / np.nansum(one.variance_shared)
        result["ratios"][metric] = {
            "variance_shared": float(np.nanmean(one.variance_shared)),
            "variance_independent": float(np.nanmean(one.variance_independent)),
            "times_fewer_generations": round(float(pooled), 2),
        }
    write_text(OUTPUT, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
