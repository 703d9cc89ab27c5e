"""How often a planted path of two heads is the first edge, and how often another one is found.

python -m tests.programs.measurements.two_heads [seeds]
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.planted.two_heads import READER, find

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of `n_runs`: those whose first edge is the planted one, and those with another below the level.

    Of the `n_null` other edges that are tested, `n_small` have a p below the level by themselves.
    """

    n_runs: int
    n_first: int
    n_false: int
    n_null: int
    n_small: int


def study(n_seeds: int, folder: Path) -> Counted:
    """Run the seeds from 0 on."""
    n_first = n_false = n_null = n_small = 0
    for seed in range(n_seeds):
        own = folder / str(seed)
        own.mkdir()
        found = find(own, seed)
        n_first += found.names[0] == str(READER) and found.q[0] < LEVEL
        edges = zip(found.names, found.p, found.q, strict=True)
        others = [(p, q) for name, p, q in edges if name != str(READER) and math.isfinite(q)]
        n_false += any(q < LEVEL for _, q in others)
        n_null += len(others)
        n_small += sum(p < LEVEL for p, _ in others)
    return Counted(n_runs=n_seeds, n_first=n_first, n_false=n_false, n_null=n_null, n_small=n_small)


def main(n_seeds: int = 20) -> Counted:
    """Print and return what was counted."""
    with TemporaryDirectory() as folder:
        counted = study(n_seeds, Path(folder))
    print(
        f"{counted.n_runs} runs: the planted edge first in {counted.n_first}, another edge with"
        f" q < {LEVEL} in {counted.n_false}; of {counted.n_null} other edges {counted.n_small} have"
        f" p < {LEVEL}"
    )
    return counted


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
