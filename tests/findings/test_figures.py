"""What the figures show: the interval of the control, and files that do not have it yet."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest
import xarray as xr

from phase7.findings.figures import figures
from phase7.findings.group import groups
from phase7.plots import draw
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.report.html import render_html
from phase7.report.render import render_report
from tests.report.synthetic import Spec, tree

METRIC = "politeness"


@pytest.fixture(scope="module")
def made() -> xr.DataTree:
    return tree(Spec(planted=("1:2",), seed=3))


@pytest.fixture(scope="module")
def older(made) -> xr.DataTree:
    """As it was written before the tree held the control's intervals."""
    nodes = {
        node.path: node.to_dataset().drop_vars(["control_ci_low", "control_ci_high"], errors="ignore")
        for node in made.subtree
    }
    without = xr.DataTree.from_dict(nodes)
    without.attrs.update(made.attrs)
    return without


def drawn(one: xr.DataTree, color: str) -> tuple[list[tuple[float, float]], list[float]]:
    """Whiskers and centres of one colour in the panel of METRIC, from top to bottom."""
    group = groups(one)[0]
    (figure,) = (f for f in figures([group])[0] if f.kind == "intervals")
    panel = next(ax for ax in draw(group, figure, [group]).axes if ax.get_title() == METRIC)
    lines = [line for line in panel.lines if matplotlib.colors.same_color(line.get_color(), color)]
    whiskers = [tuple(line.get_xdata()) for line in lines if len(line.get_xdata()) == 2]
    return whiskers, [
        float(np.ravel(line.get_xdata())[0]) for line in lines if len(np.ravel(line.get_xdata())) == 1
    ]


def test_the_figure_draws_the_control_interval_of_the_tree(made):
    group = groups(made)[0]
    whiskers, centres = drawn(made, CONTROL)
    stored = [
        [cell.value(f"control_{name}", METRIC) for name in ("ci_low", "delta", "ci_high")]
        for cell in group.confirmed.values()
        if cell.mode == group.mode
    ]
    assert sorted(whiskers) == sorted((low, high) for low, _, high in stored)
    assert sorted(centres) == sorted(centre for _, centre, _ in stored)


def test_an_older_tree_shows_the_controls_mean_without_an_interval(made, older):
    assert "control_ci_low" in made["tiny/gratitude"] and "control_ci_low" not in older["tiny/gratitude"]
    whiskers, centres = drawn(older, CONTROL)
    assert whiskers == [] and centres == drawn(made, CONTROL)[1]
    for color in (EMOTION, NET):
        assert drawn(older, color) == drawn(made, color)


def test_an_older_tree_gives_the_same_report(made, older):
    def page(one):
        return render_report(one, lang="ja", plots_dir=None, report_path=Path("report.md"))

    assert page(older) == page(made)


@pytest.mark.slow
def test_an_older_tree_gives_an_html_page_whose_figures_alone_differ(made, older):
    new, old = (render_html(one, lang="en") for one in (made, older))
    without = [re.sub(r"data:image/svg\+xml[^\"]*", "", page) for page in (new, old)]
    assert new != old and without[0] == without[1]
    assert len(without[0]) < len(new)
