"""Seconds for each kind of work, from records of runs: `python -m tests.programs.measurements.rates`.

Takes profiles with the records of their runs on SmolLM2, which found nothing in the store, e.g.
`quickstart=results/quickstart/run.json`; among them one whose sweep generates texts. Each kind's
seconds are fitted to the counts of what was planned (non-negative least squares), and written to
`data/profiles/rates.json`. Then every record's whole time is compared with what the rates give.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from phase7.experiment.profile import load_profile
from phase7.models.files import find_model, read_sizes
from phase7.run.backend import n_processors
from phase7.run.counted import Counting, counted
from phase7.run.estimated import RATES, Rates, Work, measured_rates, n_weights
from phase7.run.foreseen import foreseen_stages
from phase7.run.framed import dated, framed
from phase7.run.inputs import others_of, read_prompts
from phase7.run.memory import bounded
from phase7.run.provenance import machine
from phase7.store import Store, write_text

ROOT = Path(__file__).parents[3]
MODEL = "smollm2"
#: Kinds that are fitted together, by what the seconds of a stage are called.
TOGETHER = {
    "": ("swept_tokens", "texts", "text_tokens"),
    " fluency": ("guarded",),
    " read-outs": ("readings", "read_tokens"),
    " attribution": ("gradients", "captures"),
}


class Counts:
    """What was planned of a profile, by stage."""

    def __init__(self, name: str) -> None:
        files = find_model(MODEL, store_root=ROOT)
        self.sizes = read_sizes(files)
        profile = bounded(dated(load_profile(name, ROOT), [files]), [self.sizes])
        prompts = read_prompts(profile, ROOT)
        (model,) = framed([files], profile, prompts, lambda line: None)
        self.by_stage: dict[str, Counter[str]] = defaultdict(Counter)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            self.work = counted(profile, model, prompts, store, ROOT)[1]
            counting = Counting(store=store, root=ROOT)
            for emotion in prompts.emotions.values():
                others = others_of(profile, prompts, emotion)
                for one in foreseen_stages(profile, model, prompts.neutral, emotion, others):
                    stage = f"{model.name}/{emotion.name} {one.stage.name}"
                    if one.stage.name in ("against", "rivals"):
                        stage = f"{model.name}/{one.stage.emotion.name} {one.stage.name}"
                    self.by_stage[stage].update(counting.stage(one)[1].counts)
        for name, counts in self.by_stage.items():
            if counts["gradients"]:  # donors are made when the first stage asks for them
                self.by_stage[name]["captures"] = self.work.captures
                break


def fitted(records: Mapping[str, Any], counts: Mapping[str, Counts]) -> dict[str, float]:
    """Seconds by kind."""
    found: dict[str, float] = {}
    for suffix, kinds in TOGETHER.items():
        rows, seconds = [], []
        for profile, record in records.items():
            for stage, its in counts[profile].by_stage.items():
                taken = record["stage_seconds"].get(f"{stage}{suffix}")
                if taken is not None and any(its[kind] for kind in kinds):
                    rows.append([its[kind] for kind in kinds])
                    seconds.append(taken)
        values, _ = nnls(np.array(rows, dtype=float), np.array(seconds))
        found |= dict(zip(kinds, values.tolist(), strict=True))
    return found | {
        "circuits": _by_one(records, counts, (" circuit",), "circuits"),
        "groups": _by_one(records, counts, (" statistics", "outputs"), "groups"),
    }


def _by_one(
    records: Mapping[str, Any], counts: Mapping[str, Counts], suffixes: tuple[str, ...], kind: str
) -> float:
    n = sum(counts[profile].work.counts[kind] for profile in records)
    every = [item for record in records.values() for item in record["stage_seconds"].items()]
    return sum(taken for stage, taken in every if stage.endswith(suffixes)) / n


def main(runs: Sequence[tuple[str, Path]]) -> None:
    """Fit, write, and compare."""
    records = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in runs}
    counts = {profile: Counts(profile) for profile in records}
    rates = Rates(
        seconds={name: float(f"{value:.3g}") for name, value in fitted(records, counts).items()},
        weights=n_weights(next(iter(counts.values())).sizes),
        processors=n_processors(),
        processor=machine()["processor"],
    )
    assert rates.seconds.keys() == Work().counts.keys()
    write_text(ROOT / "data" / RATES, json.dumps(asdict(rates), indent=2) + "\n")
    assert measured_rates() == rates
    for profile, record in records.items():
        guess = rates.of(counts[profile].work, rates.weights, rates.processors)
        print(f"{profile}: {record['seconds']:.0f} s, by the rates {guess:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="PROFILE=RECORD")
    pairs = [run.partition("=") for run in parser.parse_args().runs]
    main([(name, Path(record)) for name, _, record in pairs])
