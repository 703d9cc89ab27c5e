"""What `docs/performance.md` says of indirect-object identification: every number is the record's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[3] / "docs" / "measurements" / "ioi.json"

PLACES = {"last": "at the last position", "all": "at all positions"}


def ioi_section(record: dict[str, Any]) -> str:
    """How far both libraries agree, and what they take."""
    return "\n".join(
        [_OPENING, *(line for name, found in record.items() for line in _model(name, found))]
    )


_OPENING = """\
## Indirect-object identification, beside transformer-lens

“After Anna and Paul had swept the barn, Paul lent a broom to”: the last word should be the name that came once. In the
corrupted prompt the repeated name is the other one. Every head's output z is replaced by that of the corrupted prompt,
and the logit of the name less that of the repeated one is read at the last position. In one run, on one thread, phase7
does so exactly (mode `result`, a paired donor of equal length: all heads of a prompt in one batch) and to first order, and
so do transformer-lens's own utilities, on a `TransformerBridge` of the same files: `patching.get_act_patch_attn_head_out_all_pos`,
`patching.generic_activation_patch` where only the last position is patched (head after head, all prompts in one batch),
and `attribution_patch`, which takes a pair at a time. These patch “corrupted” tokens from the cache of “clean” ones,
here the original and the corrupted prompt. The planted model is a GPT-2 with a circuit put there by hand
(`tests/planted/ioi.py`). `python -m tests.programs.measurements.ioi [--model NAME]` measures this; a difference is the largest
over prompts and heads, and ρ is Spearman's over heads of the means over prompts. Seconds are the processor's, which other
work shared; seconds and ratios are each the median over the repeats, and a ratio above 1 means that phase7 took less."""


def _model(name: str, found: dict[str, Any]) -> list[str]:
    tokens = " or ".join(map(str, found["tokens"]))
    lines = [
        "",
        f"**{name}**: {found['heads']} heads, {found['prompts']} prompts of {tokens} tokens, repeated"
        f" {found['repeats']} times on {found['processor']}; the name leads by"
        f" {found['mean_difference_nats']:.2f} nats in the mean, and in {100 * found['share_right']:.0f} % of the"
        " prompts.",
        "",
        "| | largest effect, nats | largest difference, nats | ρ | phase7, s | transformer-lens, s | ÷ phase7 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for place, words in PLACES.items():
        figures = found[place]
        for kind, end in (("exactly", ""), ("to first order", "_attribution")):
            seconds = figures["seconds"]
            cells = [
                f"{kind}, {words}",
                f"{figures[f'largest_effect{end}_nats']:.2f}",
                f"{figures[f'gap{end}_nats']:.1e}",
                f"{figures[f'spearman{end}']:.3f}",
                f"{seconds[f'phase7{end}']:.2f}",
                f"{seconds[f'transformer_lens{end}']:.2f}",
                f"{figures[f'times_faster{end}']:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    exact = " and ".join(
        f"{found[place]['spearman_attribution_exact']:.3f} {words}" for place, words in PLACES.items()
    )
    first = "; ".join(
        f"{words}: "
        + ", ".join(f"{head} ({effect:+.2f})" for head, effect in found[place]["first_heads"].items())
        for place, words in PLACES.items()
    )
    return [
        *lines,
        "",
        f"ρ of first order and exact is {exact}. The first heads (mean effect in nats), {first}.",
    ]
