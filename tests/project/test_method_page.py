"""The figures that the method's page quotes are those on record."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_ratios_are_those_measured():
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    record = json.loads((ROOT / "docs" / "measurements" / "common_noise.json").read_text())
    quoted = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|$", page, flags=re.MULTILINE))
    measured = {name: f"{r['times_fewer_generations']:.2f}" for name, r in record["ratios"].items()}
    assert quoted == measured
