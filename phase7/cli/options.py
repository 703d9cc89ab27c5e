"""Options of `patch`, by what they are about."""

from __future__ import annotations

import argparse

from phase7.cli.parser import template_argument


def intervention_options(parser: argparse.ArgumentParser) -> None:
    """What is patched, and with what."""
    from phase7.vocabulary.donors import CONTROL_KINDS, DONOR_KINDS
    from phase7.vocabulary.modes import MODE_RECORDS, MODES

    group = parser.add_argument_group("what is patched")
    group.add_argument(
        "--head-spec",
        required=True,
        help='e.g. "3:5,7:2", "3:*", "3:0-5", "all"; or attn:7, mlp:5, resid:12',
    )
    group.add_argument(
        "--patch-mode",
        choices=(*MODES, "all"),
        default="result",
        help="what is written: "
        + "; ".join(f"{name}: {record.long_name}" for name, record in MODE_RECORDS.items()),
    )
    group.add_argument("--use-attn-result", action="store_true", help="write at hook_result")
    group.add_argument(
        "--positions",
        default="generated",
        metavar="WHERE",
        help="patched queries: generated, the prompt's last token and all behind it; last, it alone;"
        " all; or a single one, step:N of generated token N, prompt:-N from the prompt's end"
        " (default: generated)",
    )
    group.add_argument(
        "--donor",
        choices=DONOR_KINDS,
        default="mean",
        help="where activations come from (default: mean)",
    )
    group.add_argument(
        "--control",
        choices=CONTROL_KINDS,
        default="neutral",
        help="the donor without the emotion that effects are net of (default: neutral)",
    )
    _comparison_options(group)


def _comparison_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--together-only", action="store_true", help="test several heads together, not each alone too"
    )
    group.add_argument(
        "--strength",
        metavar="LIST",
        help="strengths to measure besides, e.g. 0.5,1,2,4: 1 is the patch, 0 leaves all as it is",
    )
    group.add_argument(
        "--write",
        choices=("replace", "add"),
        default="replace",
        help="what a strength multiplies: the way to the donor's output, or the difference of the"
        " emotion's and the control's donor, which is added (default: replace)",
    )
    group.add_argument(
        "--against",
        metavar="FILE",
        action="append",
        help="another emotion's prompts, whose donor is one more control; may be given several times",
    )
    group.add_argument(
        "--no-positive-controls",
        action="store_true",
        help="leave out prompting and the shift of all heads, which take most of the time for few heads",
    )
    group.add_argument("--random-heads", type=int, default=0, help="add N random heads as a control")


def measuring_options(parser: argparse.ArgumentParser) -> None:
    """How texts are sampled, and what is measured of them."""
    group = parser.add_argument_group("how it is measured")
    group.add_argument("--max-tokens", type=int, default=30, help="new tokens (default: 30)")
    group.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    group.add_argument("--top-p", type=float, default=0.9, help="nucleus (default: 0.9)")
    group.add_argument("--samples", type=int, default=1, help="continuations a prompt (default: 1)")
    group.add_argument("--seed", type=int, default=0, help="of the sampling noise (default: 0)")
    group.add_argument(
        "--readout",
        metavar="SPEC",
        action="append",
        help="read off the model's own distribution the log-odds of your words, e.g."
        ' "words:joy,delighted,glad", or how much likelier one continuation is than another, e.g.'
        ' "pair: Thank you| No"; may be given several times',
    )
    group.add_argument("--scorers", help="comma-separated (default: the quickstart's)")
    group.add_argument("--device", default="cpu", help="cpu, or cuda and others of torch (default: cpu)")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="type of numbers (default: float32)",
    )
    group.add_argument(
        "--max-rows", type=int, default=0, help="rows of one batch at most (0: by the free memory)"
    )


def prompt_options(parser: argparse.ArgumentParser) -> None:
    """Where texts stand in their files, and how the model reads them."""
    group = parser.add_argument_group("how prompts are put to the model")
    group.add_argument(
        "--prompt-column",
        default="",
        metavar="NAME",
        help="column of the texts, where prompts are .csv, .jsonl, .parquet or a folder of datasets",
    )
    group.add_argument(
        "--scenario-column",
        default="",
        metavar="NAME",
        help="column whose values say which emotion and neutral prompts belong together",
    )
    group.add_argument(
        "--prompt-format",
        choices=("auto", "raw", "chat"),
        default="auto",
        help="as they are, or in the model's chat template; auto: in the template if it has one",
    )
    group.add_argument("--system", default="", metavar="TEXT", help="system message of the chat")
    group.add_argument(
        "--template-argument",
        type=template_argument,
        action="append",
        metavar="NAME=VALUE",
        help="argument for the chat template, e.g. enable_thinking=false (may be repeated)",
    )
    group.add_argument(
        "--date", default="", metavar="DAY", help="what a chat template takes for today (YYYY-MM-DD)"
    )
