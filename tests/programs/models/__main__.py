"""`python -m tests.programs.models [NAME ...]`: run every architecture; without names, write docs/models.md.

The exit code is 1 if one ends in a traceback, runs and is wrong, or is not refused in one line.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from phase7.engine.model.versions import TESTED
from tests.programs.models import page
from tests.programs.models.architectures import ARCHITECTURES
from tests.programs.models.measure import Row, Wrong, measure


def main(names: list[str]) -> int:
    """Run some architectures, or all."""
    warnings.simplefilter("ignore")
    start, rows, faults = time.perf_counter(), [], 0
    for name in names or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = measure(name, Path(folder) / "model")
            except Exception as error:
                faults += 1
                print(f"{name}: WRONG: {type(error).__name__}: {str(error)[:300]}", flush=True)
                if not isinstance(error, Wrong):
                    traceback.print_exc()
                continue
        faults += "\n" in row.refused
        rows.append(row)
        print(f"{name} ({row.seconds:.1f} s): {_told(row)}", flush=True)
    n_run = sum(not row.refused for row in rows)
    print(f"{n_run} run, {len(rows) - n_run} refused, {faults} wrong", end=" ")
    print(f"in {time.perf_counter() - start:.0f} s")
    if not names and not faults:
        record = {
            "versions": {name: version(name) for name in TESTED},
            "rows": [{k: v for k, v in asdict(row).items() if k != "seconds"} for row in rows],
        }
        page.RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        page.PAGE.write_text(page.render(record), encoding="utf-8")
    return 1 if faults else 0


def _told(row: Row) -> str:
    if row.refused:
        return row.refused
    modes = ", ".join(
        f"{mode} {told if told == 'yes' else 'refused'}" for mode, told in row.modes.items()
    )
    return f"{modes}; self {row.largest_gap:.0e}; shares layers: {row.shares_layers}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
