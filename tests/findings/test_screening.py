"""What is read of a screen's node, and the sentences that the report makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from phase7.findings.group import groups
from phase7.findings.screening import screened
from phase7.vocabulary.modes import MODES
from tests.findings.test_readouts import LOGODDS, SPEC
from tests.report.synthetic import tree
from tests.report.test_report import render, section

pytestmark = pytest.mark.slow

VALUES = {
    "chosen_rank_correlation": 0.91,
    "unchosen_rank_correlation": -0.34,
    "largest_unchosen": 0.0123,
    "largest_missed": 0.0456,
}


def with_screen(**values: float) -> xr.DataTree:
    made = tree(SPEC)
    metrics = made["tiny/gratitude"].metric.values.tolist()
    place, variables = (MODES.index("result"), metrics.index(LOGODDS)), {}
    for name, value in (VALUES | values).items():
        whole = np.full((len(MODES), len(metrics)), 0.777)
        whole[place] = value
        variables[name] = (("mode", "metric"), whole)
    attributes = {"chosen": "1:2,0:1", "n_screened": 12, "n_drawn": 4, "n_larger": 3, "confidence": 0.95}
    found = xr.Dataset(variables, coords={"mode": list(MODES), "metric": metrics}, attrs=attributes)
    made["tiny/gratitude/screen"] = xr.DataTree(found)
    return made


def test_it_is_that_of_the_primary_mode_and_the_emotions_readout():
    found = screened(groups(with_screen())[0])
    assert found is not None and found.metric == LOGODDS
    assert (found.n_chosen, found.n_screened, found.n_drawn, found.n_larger) == (2, 12, 4, 3)
    numbers = (found.chosen, found.drawn, found.largest_drawn, found.largest_missed)
    assert numbers == tuple(VALUES.values())
    assert screened(groups(tree(SPEC))[0]) is None


MARK = {"en": "were estimated from a gradient", "ja": "勾配から見積もり"}


def told(made: xr.DataTree, lang: str) -> list[str]:
    """The paragraphs about a screen."""
    return [one for one in section(render(made, lang), 5).split("\n\n") if MARK[lang] in one]


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_report_says_so(lang):
    (text,) = told(with_screen(), lang)
    for number in ("ρ = 0.91", "0.012", "0.046", "95 %"):
        assert number in text
    assert {"en": "Of 12 heads, ", "ja": "12個のHeadの"}[lang] in text
    assert "0.78" not in text and "0.777" not in text
    (without,) = told(with_screen(largest_missed=np.nan, largest_unchosen=np.nan), lang)
    assert "ρ = 0.91" in without and "95 %" not in without
    assert told(tree(SPEC), lang) == []
