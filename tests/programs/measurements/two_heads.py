"""How often a planted path of two heads is the first edge, and how often another one is found.

python -m tests.programs.measurements.two_heads [seeds]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.planted.two_heads import READER, find

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of `n_runs`: those whose first edge is the planted one, and those with another below the level."""

    n_runs: int
    n_first: int
    n_false: int


def study(n_seeds: int, folder: Path) -> Counted:
    """Run the seeds from 0 on."""
    n_first = n_false = 0
    for seed in range(n_seeds):
        own = folder / str(seed)
        own.mkdir()
        found = find(own, seed)
        n_first += found.names[0] == str(READER) and found.q[0] < LEVEL
        others = [q for name, q in zip(found.names, found.q, strict=True) if name != str(READER)]
        n_false += any(q < LEVEL for q in others)
    return Counted(n_runs=n_seeds, n_first=n_first, n_false=n_false)


def main(n_seeds: int = 20) -> Counted:
    """Print and return what was counted."""
    with TemporaryDirectory() as folder:
        counted = study(n_seeds, Path(folder))
    print(
        f"{counted.n_runs} runs: the planted edge first in {counted.n_first}, another edge with"
        f" q < {LEVEL} in {counted.n_false}"
    )
    return counted


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
