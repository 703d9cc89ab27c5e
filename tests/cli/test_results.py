"""What a finished run says of what it found, against the tree."""

from __future__ import annotations

import math
from dataclasses import replace

from phase7.cli.results import _q, results_in_words
from tests.report.synthetic import Spec, tree

SPEC = Spec(planted=("1:2",), seed=3)


def test_the_strongest_effects_and_a_pair_of_texts_of_every_group():
    made = tree(SPEC, replace(SPEC, emotion="anger", seed=4))
    lines = list(results_in_words(made))
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split(", ")[0] for line in heads] == ["tiny/gratitude", "tiny/anger"]
    here = made["tiny/gratitude"].to_dataset()
    cell = here.sel(layer=1, head=2, mode="result", metric="goemotions_gratitude")
    numbers = [float(cell[name]) for name in ("net_delta", "net_ci_low", "net_ci_high", "net_q_value")]
    first = next(line for line in lines if line.startswith("  1:2 "))
    assert "{:+.3f} [{:+.3f}, {:+.3f}]  q {:.3f}".format(*numbers) in first
    texts = made["tiny/gratitude/texts"].to_dataset().sel(mode="result")
    at = next(i for i, line in enumerate(lines) if line.startswith("  a text, "))
    place = lines[at].split(", ")[1].split(" (")[0]
    own = texts.sel(head_set=place)
    for line, name in zip(lines[at + 1 : at + 3], ("baseline", "patched"), strict=True):
        told = line.strip().removeprefix(f"{name}: ").strip().removesuffix("…")
        assert any(
            " ".join(str(text).split()).startswith(told) for text in own[f"{name}_text"].values.ravel()
        )
    baseline, patched = (line.split(": ", 1)[1].strip() for line in lines[at + 1 : at + 3])
    assert baseline != patched


def test_a_small_q_is_not_zero():
    assert [_q(value) for value in (0.0004, 0.0312, math.nan)] == [
        "q < 0.001", "q 0.031", "no test: too few prompts",
    ]  # fmt: skip
