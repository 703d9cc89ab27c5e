"""The figure of the circuit: which arrows it has, how they look, and that no name covers another."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from phase7.findings.circuit import HeadCircuit, Path
from phase7.plots import circuit as module
from phase7.plots.style import CONTROL, EMOTION, NET
from phase7.vocabulary.circuits import LOGITS

GROUP = SimpleNamespace(model="tiny", emotion="gratitude", mode="result", alpha=0.05)


def path(head: str, reader: str, delta: float, q: float = 0.01, letter: str = "") -> Path:
    ends = {"low": delta - 0.01, "high": delta + 0.01}
    return Path(head=head, reader=reader, delta=delta, **ends, p=q / 10, q=q, letter=letter)


def head(label: str, direct: Path, *through: Path) -> HeadCircuit:
    numbers = dict.fromkeys(("total", "low", "high", "share", "share_low", "share_high"), 0.5)
    return HeadCircuit(
        label=label,
        **numbers,
        direct=direct,
        through=through,
        n_readers=9,
        read=(),
        asked=(),
        answered=(),
    )


SIX = tuple(
    head(
        f"{layer}:5",
        path(f"{layer}:5", LOGITS, 0.02 * layer),
        *(path(f"{layer}:5", f"{layer + k}:{k}", -0.03, letter="v") for k in (1, 2)),
        path(f"{layer}:5", f"mlp:{layer}", 0.025),
    )
    for layer in (13, 14, 17, 21, 22, 26)
)


def drawn(monkeypatch, heads):
    """The figure's one axis, with everything in its place."""
    monkeypatch.setattr(module, "circuits_of", lambda group: heads)
    monkeypatch.setattr(module, "n_prompts", lambda group: 10)
    canvas = module.circuit(GROUP)
    FigureCanvasAgg(canvas).draw()
    return canvas.axes[0]


def arrows(axis):
    return [text.arrow_patch for text in axis.texts if getattr(text, "arrow_patch", None) is not None]


def words(axis):
    return [text for text in axis.texts if text.get_text()]


def test_no_name_or_number_covers_another_and_none_leaves_the_figure(monkeypatch):
    axis = drawn(monkeypatch, SIX)
    boxes = [text.get_window_extent() for text in words(axis)]
    assert len(boxes) == 2 * 6 + len({one.reader for h in SIX for one in (h.direct, *h.through)})
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    figure = axis.figure.bbox
    assert all(figure.x0 <= box.x0 and box.x1 <= figure.x1 for box in boxes)
    assert all(figure.y0 <= box.y0 and box.y1 <= figure.y1 for box in boxes)
    assert len(arrows(axis)) == 6 * 4


def test_of_the_readers_those_told_from_zero_and_the_logits_always(monkeypatch):
    unclear = path("1:2", "2:3", 0.2, q=0.2, letter="q")
    clear = path("1:2", "mlp:2", -0.1)
    axis = drawn(monkeypatch, (head("1:2", path("1:2", LOGITS, 0.05, q=0.3), clear, unclear),))
    assert {text.get_text() for text in words(axis)} == {
        "1:2",
        "logits",
        "mlp:2",
        "logits  +0.050  [0.040, 0.060]\nmlp:2  -0.100  [-0.110, -0.090]",
    }
    direct, through = arrows(axis)
    assert (direct.get_linestyle(), through.get_linestyle()) == (":", "-")
    assert [to_hex(one.get_edgecolor()) for one in (direct, through)] == [
        color.lower() for color in (NET, CONTROL)
    ]
    assert direct.get_linewidth() < through.get_linewidth()


def test_nodes_stand_by_layer_and_a_reader_that_was_found_itself_is_marked(monkeypatch):
    early = head("1:2", path("1:2", LOGITS, 0.1), path("1:2", "10:0", 0.1, letter="k"))
    late = head("10:0", path("10:0", LOGITS, 0.2), path("10:0", "mlp:10", 0.1))
    axis = drawn(monkeypatch, (late, early))
    heights = {}
    for text in words(axis):
        heights.setdefault(text.get_text(), []).append((text.get_position()[1], text.get_bbox_patch()))
    (found, read), (first,), (mlp,), (logits,) = (
        heights[name] for name in ("10:0", "1:2", "mlp:10", "logits")
    )
    assert first[0] < found[0] and read[0] < mlp[0] < logits[0]
    edges = [to_hex(box.get_edgecolor()) for box in (read[1], mlp[1])]
    assert edges == [EMOTION.lower(), CONTROL.lower()]


@pytest.mark.parametrize("low", [-np.inf, np.nan])
def test_without_an_interval_there_is_the_mean_alone(monkeypatch, low):
    one = Path(head="1:2", reader=LOGITS, delta=0.1, low=low, high=-low, p=1.0, q=np.nan)
    axis = drawn(monkeypatch, (head("1:2", one),))
    assert "logits  +0.100" in {text.get_text() for text in words(axis)}
