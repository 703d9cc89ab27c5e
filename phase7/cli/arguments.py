"""The grammar of the command line: commands, flags, defaults and help.

What the parser returns names the function to call. A mistake in the arguments is one line on standard
error and exit code 2.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from phase7 import __version__
from phase7.cli import commands, options, planning
from phase7.cli.parser import Parser, days, effect, jobs

_DRY_RUN = "print the plan and its cost, download and write nothing"


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="phase7",
        description="Causal head patching of language models, measured on the text they generate.",
    )
    parser.add_argument("--version", action="version", version=f"phase7 {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_build, _add_plan, _add_patch, _add_report, _add_models, _add_store, _add_train):
        add(subparsers)
    return parser


def _folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=Path(os.environ.get("PHASE7_STORE") or "store"),
        metavar="DIR",
        help="folder of finished work (default: the environment's PHASE7_STORE, else store)",
    )


def _common(parser: argparse.ArgumentParser) -> None:
    _folders(parser)
    _report_options(parser)
    _noise(parser)


def _noise(parser: argparse.ArgumentParser) -> None:
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument("--quiet", action="store_true", help="no progress on stderr")
    noise.add_argument(
        "--verbose", action="store_true", help="log stages, entries, cache hits and seconds on stderr"
    )


def _backend_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--backend",
        choices=("threads", "serial", "loky", "dask"),
        default="threads",
        help="this process with a batch on each processor, or with one batch at a time, several"
        " processes, or a Dask cluster (default: threads)",
    )
    group.add_argument(
        "--jobs",
        type=jobs,
        default=0,
        metavar="N",
        help="threads, loky: batches at once (default: by processors and free memory)",
    )
    group.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="dask: running scheduler, tcp://HOST:8786"
    )


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lang",
        choices=("ja", "en"),
        help="language of the report (default: ja, with report.en.md beside report.md in a profile's"
        " results)",
    )
    parser.add_argument(
        "--format",
        choices=("md", "html", "both"),
        help="report as Markdown, one HTML file, or both (default: by the file's suffix)",
    )


def _add_build(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "build",
        help="run a profile: effects store, results, figures and report",
        description="Run a profile from data/profiles (default: quickstart). Finished work is kept in"
        " the store: an interrupted build continues, a finished one computes nothing.",
    )
    parser.add_argument("profile", nargs="?", default="quickstart", help="name or .toml file")
    parser.add_argument("--dry-run", action="store_true", help=_DRY_RUN)
    parser.add_argument("--force", action="store_true", help="write all outputs again")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="report (default: report.md in the profile's results)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder of results (default: results); the effects file of another folder lies in it too",
    )
    _screen_options(parser)
    _backend_options(parser)
    _common(parser)
    parser.set_defaults(run=commands.build)


def _screen_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which heads the sweep patches (in a profile: [screen])")
    group.add_argument(
        "--screen",
        choices=("attribution",),
        help="estimate every head's effect by a gradient, sweep the first heads alone, and say what may"
        " have been missed",
    )
    group.add_argument(
        "--screen-heads", type=int, metavar="N", help="how many heads it chooses (default: 20)"
    )
    group.add_argument(
        "--screen-gradient",
        choices=("plain", "integrated", "dropped"),
        help="in the unpatched run, at steps of the way to the donor, or with one layer after the other"
        " left out of it (default: plain)",
    )
    group.add_argument(
        "--screen-steps", type=int, metavar="K", help="steps of an integrated gradient (default: 5)"
    )


def _add_plan(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "plan",
        help="what a profile would find, and how many prompts and samples that takes",
        description="Print, from the last run of a profile or a pilot of a few prompts, the spread of"
        " its primary tests, the smallest effects found, and the prompts that an effect takes. With a"
        " budget, write the profile whose prompts and samples make these tests strongest for it.",
    )
    parser.add_argument("profile", nargs="?", default="quickstart", help="name or .toml file")
    parser.add_argument(
        "--budget", metavar="B", help="of the run: a time (90s, 30m, 2h) or tokens (200000tok)"
    )
    parser.add_argument(
        "--effect", type=effect, default=0.1, metavar="E",
        help="tell what finding this takes, in the metric's unit (default: 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="with --budget (default: PROFILE-planned.toml)"
    )
    _backend_options(parser)
    _folders(parser)
    _noise(parser)
    parser.set_defaults(run=planning.plan)


def _add_patch(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "patch",
        help="patch chosen heads of one model for one emotion",
        description="Patch heads alone and together, and write one result file.",
    )
    parser.add_argument("--model", default="smollm2", help="name, folder or hub id (see `models`)")
    parser.add_argument(
        "--neutral-prompts",
        required=True,
        metavar="FILE",
        help="prompts without emotion: the recipients",
    )
    parser.add_argument(
        "--emotion-prompts",
        required=True,
        metavar="FILE",
        help="prompts that the donor is made of; <emotion>_prompts.json names the emotion",
    )
    parser.add_argument("--n-prompts", type=int, default=0, help="patch only the first N prompts")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="result pickle")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write a report")
    parser.add_argument("--dry-run", action="store_true", help=_DRY_RUN)
    parser.add_argument("--force", action="store_true", help="write all outputs again")
    options.prompt_options(parser)
    options.intervention_options(parser)
    options.measuring_options(parser)
    _backend_options(parser)
    _common(parser)
    parser.set_defaults(run=commands.patch)


def _add_report(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "report",
        help="write the report of an effects file again",
        description="Write the report of an effects file again, with its figures.",
    )
    parser.add_argument(
        "effects",
        nargs="?",
        type=Path,
        default=Path(os.environ.get("PHASE7_STORE") or "store") / "effects/quickstart.nc",
        help="effects file (default: effects/quickstart.nc in PHASE7_STORE, else in store)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="report (default: report.md in results/<profile>); a page's figures go beside it",
    )
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="DIR",
        help="folder for the figures (default: FILE without its suffix and _plots; none for HTML,"
        " which holds them)",
    )
    _report_options(parser)
    parser.set_defaults(run=commands.report)


def _add_models(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "models",
        help="list the known models, or fetch one",
        description="List the known models, or fetch one into the user's cache (PHASE7_MODELS) or the"
        " hub's.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "fetch"), default="list", help="default: list"
    )
    parser.add_argument("name", nargs="?", help="model to fetch")
    _folders(parser)
    parser.set_defaults(run=commands.models)


def _add_store(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "store",
        help="size, entries, verify or prune the store",
        description="Show what the store holds, check it against its checksums, or remove entries.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("size", "entries", "verify", "prune"),
        default="size",
        help="default: size; prune removes what it is told to and what killed runs left",
    )
    parser.add_argument("--stage", help="prune: only this stage (capture, generation, ...)")
    parser.add_argument("--older-than-days", type=days, default=0.0, help="prune: only entries this old")
    _folders(parser)
    parser.set_defaults(run=commands.store)


def _add_train(subparsers: Any) -> None:
    from phase7.scoring.training import command

    parser = subparsers.add_parser(
        "train-scorers",
        help="train, show or check the embedded scorer",
        description="Train the embedded scorer from raw corpora, or show and check its figures.",
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)
