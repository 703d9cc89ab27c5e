"""The figures: which are drawn, what they mark, and that the same tree gives the same bytes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from phase7.findings.figures import figures, interval_labels, largest_value
from phase7.findings.group import groups
from phase7.plots import draw, draw_svg, write_plots
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.report import render_report
from phase7.statistics import paired_summary
from phase7.vocabulary.metrics import METRICS
from tests.report.synthetic import Spec, tree

SPEC = Spec(planted=("1:2",), seed=3)
PNG_CHUNK_OF_DATES = (b"tIME", b"tEXt", b"iTXt")


@pytest.fixture(scope="module")
def made():
    return tree(SPEC)


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    return write_plots(made, tmp_path_factory.mktemp("plots") / "new" / "folder")


def drawn(made, kind, metric=""):
    group = groups(made)[0]
    found = [f for f in figures([group])[0] if f.kind == kind and f.metric == metric]
    assert len(found) == 1
    return draw(group, found[0], [group])


@pytest.mark.slow
def test_every_figure_as_png_and_svg(written):
    stems = ["heatmap_sentiment_positive", "heatmap_politeness", "heatmap_goemotions_gratitude",
             "heatmap_kl_first_token", "intervals", "lengths"]  # fmt: skip
    names = [f"tiny_gratitude_{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")]
    assert [path.name for path in written] == names
    assert all(path.stat().st_size > 1_000 for path in written)


def test_same_bytes_again_and_no_dates(made, written, tmp_path):
    again = write_plots(made, tmp_path)
    for one, two in zip(written, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        if one.suffix == ".png":
            assert not any(chunk in one.read_bytes() for chunk in PNG_CHUNK_OF_DATES)
        else:
            assert "<dc:date>" not in one.read_text(encoding="utf-8")


def test_other_numbers_give_other_bytes(written, tmp_path):
    other = write_plots(tree(replace(SPEC, seed=8, missing=("politeness",))), tmp_path)
    before = {path.name: path.read_bytes() for path in written}
    assert all(before[path.name] != path.read_bytes() for path in other)
    # A metric that was not measured has no heatmap.
    names = {path.name for path in other}
    assert before.keys() - names == {f"tiny_gratitude_heatmap_politeness.{s}" for s in ("png", "svg")}


def test_the_report_links_every_figure(made, written, tmp_path):
    page = render_report(made, plots_dir=written[0].parent, report_path=tmp_path / "report.md")
    linked = re.findall(r"([\w-]+\.(?:png|svg))\)", page)
    assert sorted(linked) == sorted(path.name for path in written)


def test_a_few_tested_heads_make_no_heatmap(tmp_path):
    paths = write_plots(tree(replace(SPEC, sweep=False)), tmp_path)
    assert [path.stem for path in paths[::2]] == [
        "tiny_gratitude_intervals",
        "tiny_gratitude_lengths",
    ]


def test_heatmap_is_centred_and_leaves_untested_cells_blank():
    most = tuple(f"{layer}:{head}" for layer in range(4) for head in range(3))[:10]
    made = tree(replace(SPEC, sweep=False, strongest=most, target="0:0"))
    canvas = drawn(made, "heatmap", "sentiment_positive")
    panels = [axis for axis in canvas.axes if axis.get_xlabel() == "layer"]
    assert [axis.get_title() for axis in panels] == [f"mode {mode}" for mode in SPEC.modes]
    values = made["tiny/gratitude"].to_dataset().net_delta.sel(metric="sentiment_positive")
    for axis, mode in zip(panels, SPEC.modes, strict=True):
        mesh = axis.collections[0]
        shown = mesh.get_array().reshape(3, 4)
        expected = values.sel(mode=mode).values.T
        np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.isnan(expected))
        np.testing.assert_array_equal(shown.filled(np.nan), expected)
        assert mesh.norm.vmin == -mesh.norm.vmax
        assert axis.patches[0].get_hatch()


def test_heatmap_marks_what_is_significant():
    made = tree(SPEC)
    sweep = made["tiny/gratitude/sweep"]
    data = sweep.to_dataset()
    q = data.net_q_value.where(data.net_q_value.notnull() | data.net_p_value.isnull(), 0.5)
    for layer, head in ((0, 2), (3, 1)):
        q.loc[{"layer": layer, "head": head, "mode": "result", "metric": "politeness"}] = 0.01
    made["tiny/gratitude/sweep"] = sweep.assign(net_q_value=q)
    canvas = drawn(made, "heatmap", "politeness")
    marks = [tuple(line.get_xydata()[0]) for line in canvas.axes[0].lines]
    assert marks == [(0, 2), (3, 1)]
    assert "2 of 12 cells with q < 0.05" in canvas.get_suptitle()
    assert "discovery prompts" in canvas.get_suptitle()
    assert not drawn(made, "kl").axes[0].lines


def test_intervals_show_the_tree(made):
    canvas = drawn(made, "intervals")
    group = groups(made)[0]
    assert interval_labels(group) == ["1:2,3:0", "1:2", "3:0", "0:1"]
    axis = canvas.axes[0]
    assert axis.get_title() == "sentiment_positive"
    ends = {tuple(map(float, line.get_xdata())) for line in axis.lines if len(line.get_xdata()) == 2}
    one = (
        made["tiny/gratitude"]
        .to_dataset()
        .sel(layer=1, head=2, mode="result", metric="sentiment_positive")
    )
    assert (float(one.ci_low), float(one.ci_high)) in ends
    assert (float(one.net_ci_low), float(one.net_ci_high)) in ends
    control = paired_summary(one.control_patched - one.baseline, seed=7, n_tail=0)
    assert (float(control.ci_low), float(control.ci_high)) in ends


def test_lengths_show_counts(made):
    canvas = drawn(made, "lengths")
    q = made["tiny/gratitude/lengths"].to_dataset().net_q_value
    counts = [int((q.sel(length=n) < 0.05).sum()) for n in q.length.values]
    assert [bar.get_height() for bar in canvas.axes[1].patches] == counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        Spec(control=False, sweep=False),
        Spec(n_confirmation=1, n_discovery=1, missing=METRICS[1:]),
        Spec(missing=METRICS),
        Spec(modes=("pattern_v",), head_sets=False, sweep=False),
    ],
    ids=["no control", "one prompt", "nothing measured", "one mode"],
)
def test_partial_trees_can_be_drawn(spec, tmp_path):
    assert write_plots(tree(spec), tmp_path)


def test_groups_that_share_a_slug_do_not_overwrite_each_other(tmp_path):
    made = tree(*(Spec(model=m, sweep=False, missing=METRICS) for m in ("a $b", "a-b")))
    paths = write_plots(made, tmp_path)
    assert len(paths) == len(set(paths)) == 4
    assert all(re.fullmatch(r"[\w.+-]+", path.name) for path in paths)


# Areas of a figure in memory


def in_memory(made, kind, metric=""):
    group = groups(made)[0]
    (figure,) = (f for f in figures([group])[0] if f.kind == kind and f.metric == metric)
    drawn = draw_svg(figure, group, [group])
    svg = drawn.svg.decode("utf-8")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box and (float(box[1]), float(box[2])) == pytest.approx((drawn.width, drawn.height))
    return group, drawn.areas, svg


@pytest.mark.parametrize("metric", ["politeness", None])
def test_the_areas_of_a_heatmap_lie_on_its_squares(metric):
    """Each area covers one square of the SVG, and that has the colour of the cell's number."""
    made = tree(replace(SPEC, n_layers=5))
    group, areas, svg = in_memory(made, "heatmap" if metric else "kl", metric or "")
    mesh = re.search(r'<g id="QuadMesh_1">(.*?)</g>', svg, re.DOTALL)
    squares = {}
    for path, color in re.findall(r'<path d="(.*?)"[^>]*style="fill: (#\w+)', mesh[1], re.DOTALL):
        points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float)
        corners = (*points.min(axis=0), *points.max(axis=0))
        squares[tuple(np.round(corners, 2))] = color
    assert len(squares) == len(areas) == 5 * 3
    cmap, largest = colormaps["RdBu_r" if metric else "cividis"], largest_value([group], metric)
    swept = made["tiny/gratitude/sweep"].to_dataset().sel(mode="result")
    for area in areas:
        layer, head = map(int, area.cell.label.split(":"))
        here = swept.sel(layer=layer, head=head)
        if metric:
            share = 0.5 + 0.5 * float(here.net_delta.sel(metric=metric)) / largest
        else:
            share = float(here.kl_first_token.mean()) / largest
        place = (area.x, area.y, area.x + area.width, area.y + area.height)
        (color,) = (c for corners, c in squares.items() if np.allclose(corners, place, atol=0.02))
        assert color == to_hex(cmap(share))
        assert area.metric == metric


def test_the_areas_of_intervals_lie_on_their_rows(made):
    """In each area are the marks of one row; along a panel they lie as their numbers do."""
    group, areas, svg = in_memory(made, "intervals")
    marks = [
        (float(x), float(y), color)
        for x, y, color in re.findall(r'<use [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*stroke: (#\w+)', svg)
    ]
    assert len(areas) == 3 * len(interval_labels(group))
    for metric in group.key_metrics:
        found = []
        for area in (one for one in areas if one.metric == metric):
            inside = [
                (x, color)
                for x, y, color in marks
                if color.upper() in (EMOTION, CONTROL, NET)
                and area.x < x < area.x + area.width
                and area.y < y < area.y + area.height
            ]
            (net,) = (x for x, color in inside if color == NET.lower())
            assert len(inside) == 3
            found.append((net, area.cell.effect(metric).net_delta))
        assert len(found) == len(interval_labels(group))
        assert [value for _, value in sorted(found)] == sorted(value for _, value in found)


def test_squares_without_a_number_have_no_area():
    most = tuple(f"{layer}:{head}" for layer in range(4) for head in range(3))[:10]
    made = tree(replace(SPEC, sweep=False, strongest=most, target="0:0", modes=("result", "v_only")))
    _, areas, _ = in_memory(made, "heatmap", "politeness")
    assert sorted((a.cell.label, a.cell.mode) for a in areas) == sorted(
        (label, mode) for label in most for mode in ("result", "v_only")
    )
    left, right = ([a.x for a in areas if a.cell.mode == mode] for mode in ("result", "v_only"))
    assert max(left) < min(right)  # each mode in its own panel
