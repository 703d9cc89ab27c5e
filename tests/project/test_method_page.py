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


def test_the_pages_figures_of_adaptive_runs_are_those_measured():
    page = " ".join((ROOT / "docs" / "method.md").read_text(encoding="utf-8").split())
    record = json.loads((ROOT / "docs" / "measurements" / "adaptive.json").read_text())
    halving, looks = record["halving"], record["looks"]
    told = [
        f"the carrier first for {halving['carrier_first']} of {halving['seeds']} seeds",
        f"{100 * halving['share_of_rows_x_tokens']:.0f} % of the rows × tokens",
        f"{looks['runs']:,} runs",
        f"{100 * looks['at_the_whole_level_each_time']:.0f} % when each look has the whole level",
    ]
    for how in ("obrien_fleming", "pocock"):
        found = looks[how]["false_positives"]
        told.append(f"{100 * found['p_adjusted']:.1f} % and {100 * found['q']:.1f} % (`{how}`)")
        told.append(f"{looks[how]['with_an_effect']['mean_prompts']:.1f}")
    assert [one for one in told if one not in page] == []
    assert halving["carrier_first"] >= 19 and halving["share_of_rows_x_tokens"] <= 1 / 3
    assert all(
        max(looks[how]["false_positives"].values()) <= 0.05 for how in ("obrien_fleming", "pocock")
    )
