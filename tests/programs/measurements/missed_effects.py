"""What a screen misses, over planted models: `python -m tests.programs.measurements.missed_effects`.

In each of 200 small models one head's direct effect and the one through an MLP cancel to first order
(`tests/planted/cancelling.py`). Counts in how many a plain gradient misses it, GradDrop finds it, and the
bound from random halves of the heads that were not chosen covers the largest missed effect; and how often
the largest of three of them drawn at random, patched alone, would have covered it. Prints the counts and
writes `docs/measurements/missed_effects.json`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from phase7.run.executor import one_thread
from phase7.store import write_text
from tests.planted.cancelling import CANCELLING
from tests.planted.missed import CONFIDENCE, N_CHOSEN, N_DRAWN, planted

OUTPUT = Path(__file__).parents[3] / "docs" / "measurements" / "missed_effects.json"
N_RUNS = 200


def counted(folder: Path, seeds: Iterable[int]) -> dict[str, Any]:
    """Screen one model for each seed, and count."""
    runs = []
    for seed in seeds:
        with one_thread():
            runs.append(planted(folder / str(seed), seed))
        print(f"{len(runs)} runs", end="\r", file=sys.stderr)
    ratios = [run.bound / run.missed for run in runs]
    return {
        "runs": len(runs),
        "confidence": CONFIDENCE,
        "chosen": N_CHOSEN,
        "missed_by_plain": sum(CANCELLING not in run.first(run.plain, N_CHOSEN) for run in runs),
        "found_by_graddrop": sum(CANCELLING in run.first(run.dropped, N_CHOSEN) for run in runs),
        "covered": sum(run.bound >= run.missed for run in runs),
        "bound_over_largest_missed_median": round(float(np.median(ratios)), 2),
        "random_heads": N_DRAWN,
        "random_heads_covered": sum(run.largest_drawn >= run.missed for run in runs),
    }


def main() -> None:
    """Count, write and print."""
    with tempfile.TemporaryDirectory() as folder:
        result = counted(Path(folder), range(N_RUNS))
    write_text(OUTPUT, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
