"""The command line: parse, call, report errors in one line.

What enters: arguments. What leaves: an exit code: 0 done, 1 something stored is damaged, 2 a mistake
in what was asked, 130 and 143 interrupted by SIGINT and SIGTERM. Heavy libraries are imported only
by the commands that need them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from phase7 import __version__
from phase7.errors import Phase7Error, UserError

_REPORT = Path("docs/phase7_report.md")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Phase7Error as error:
        print(f"phase7: error: {_printable(str(error))}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, _Terminated) as stop:
        code = 143 if isinstance(stop, _Terminated) else 130
        print(
            "phase7: stopped; finished entries are kept, run the same command again to continue",
            file=sys.stderr,
        )
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _days(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"expected 0 to 1,000,000 days, got {text}")
    return value


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(signum: int, frame: Any) -> NoReturn:
    raise _Terminated


def _printable(text: str) -> str:
    """Control characters of a user's input must not reach the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _tell(line: str) -> None:
    """Print what may hold a user's or a file's characters."""
    print(_printable(line))


def _say(line: str) -> None:
    print(f"phase7: {_printable(line)}", file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as every other error here is told."""

    def error(self, message: str) -> NoReturn:
        print(f"phase7: error: {_printable(message)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="phase7",
        description="Causal head patching of language models, measured on the text they generate.",
    )
    parser.add_argument("--version", action="version", version=f"phase7 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_build, _add_patch, _add_report, _add_models, _add_store, _add_train):
        add(commands)
    return parser


def _folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("store"),
        metavar="DIR",
        help="folder of finished work (default: store)",
    )


def _add_build(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="run a profile: effects store, results, figures and report",
        description="Run a profile from data/profiles (default: quickstart). Finished work is kept in"
        " the store: an interrupted build continues, a finished one computes nothing.",
    )
    parser.add_argument("profile", nargs="?", default="quickstart", help="name or .toml file")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost only")
    parser.add_argument("--force", action="store_true", help="write all outputs again")
    parser.add_argument("--report", type=Path, default=_REPORT, metavar="FILE")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    _common(parser)
    parser.set_defaults(run=_build)


def _common(parser: argparse.ArgumentParser) -> None:
    _folders(parser)
    parser.add_argument("--lang", choices=("ja", "en"), default="ja", help="report's headings")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _add_patch(commands: Any) -> None:
    from phase7.config import CONTROL_KINDS, DONOR_KINDS, POSITIONS
    from phase7.metrics import MODES

    parser = commands.add_parser(
        "patch",
        help="patch chosen heads of one model for one emotion",
        description="Patch heads alone and together, and write one result file.",
    )
    parser.add_argument("--model", default="smollm2", help="name, folder or hub id (see `models`)")
    parser.add_argument("--head-spec", required=True, help='e.g. "3:5,7:2", "3:*", "3:0-5", "all"')
    parser.add_argument("--neutral-prompts", required=True, metavar="FILE")
    parser.add_argument("--emotion-prompts", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="result pickle")
    parser.add_argument("--max-tokens", type=int, default=30, help="new tokens (default: 30)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    parser.add_argument("--top-p", type=float, default=0.9, help="nucleus (default: 0.9)")
    parser.add_argument("--patch-mode", choices=(*MODES, "all"), default="result")
    parser.add_argument("--use-attn-result", action="store_true", help="write at hook_result")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1, help="continuations a prompt (default: 1)")
    parser.add_argument("--positions", choices=POSITIONS, default="generated")
    parser.add_argument("--donor", choices=DONOR_KINDS, default="mean")
    parser.add_argument("--control", choices=CONTROL_KINDS, default="neutral")
    parser.add_argument("--random-heads", type=int, default=0, help="add N random heads as a control")
    parser.add_argument("--n-prompts", type=int, default=0, help="patch only the first N prompts")
    parser.add_argument("--prompt-format", choices=("auto", "raw", "chat"), default="auto")
    parser.add_argument("--scorers", help="comma-separated (default: the quickstart's)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--max-rows", type=int, default=0, help="rows of one batch at most (0: by the free memory)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write a report")
    parser.add_argument("--force", action="store_true", help="write all outputs again")
    _common(parser)
    parser.set_defaults(run=_patch)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser("report", help="write the report of an effects file again")
    parser.add_argument(
        "effects",
        nargs="?",
        type=Path,
        default=Path("store/effects/quickstart.nc"),
        help="effects file (default: store/effects/quickstart.nc)",
    )
    parser.add_argument("--output", type=Path, default=_REPORT, metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="folder for the figures")
    parser.add_argument("--lang", choices=("ja", "en"), default="ja")
    parser.set_defaults(run=_report)


def _add_models(commands: Any) -> None:
    parser = commands.add_parser("models", help="list the known models, or fetch one")
    parser.add_argument("action", nargs="?", choices=("list", "fetch"), default="list")
    parser.add_argument("name", nargs="?", help="model to fetch")
    _folders(parser)
    parser.set_defaults(run=_models)


def _add_store(commands: Any) -> None:
    parser = commands.add_parser("store", help="size, entries, verify or prune the store")
    parser.add_argument(
        "action", nargs="?", choices=("size", "entries", "verify", "prune"), default="size"
    )
    parser.add_argument("--stage", help="prune: only this stage (capture, generation, ...)")
    parser.add_argument(
        "--older-than-days", type=_days, default=0.0, help="prune: only entries this old"
    )
    _folders(parser)
    parser.set_defaults(run=_store)


def _add_train(commands: Any) -> None:
    from phase7.scoring.embedded import command

    parser = commands.add_parser(
        "train-scorers",
        help="train, show or check the embedded scorer",
        description="Train the embedded scorer from raw corpora, or show and check its figures.",
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _build(args: argparse.Namespace) -> int:
    from phase7.config import load_profile
    from phase7.pipeline import Run, build_paths

    root = Path()
    profile = load_profile(args.profile, root)
    paths = build_paths(
        profile.name, root=root, store=args.store, results=args.results, report=args.report
    )
    run = Run(profile, paths, lang=args.lang, say=_sayer(args), show_progress=not args.quiet)
    if args.dry_run:
        return _print_plan(run)
    return _execute(run, args)


def _patch(args: argparse.Namespace) -> int:
    from phase7.pipeline import Paths, Run

    profile = _patch_profile(args)
    output: Path = args.output
    if output.is_dir() or output.suffix != ".pkl":
        raise UserError(
            expected="the path of a .pkl file",
            got=str(output),
            where="--output",
            remedy="name the result file, e.g. results/mine.pkl",
        )
    paths = Paths(
        root=Path(),
        store=args.store,
        effects=args.store / "effects" / f"{output.stem}.nc",
        plots=output.parent / f"{output.stem}_plots",
        report=args.report,
        run_record=output.with_suffix(".run.json"),
        patching=lambda model, emotion: output,
    )
    run = Run(profile, paths, lang=args.lang, say=_sayer(args), show_progress=not args.quiet)
    return _execute(run, args)


def _patch_profile(args: argparse.Namespace) -> Any:
    """The profile that the flags of `patch` amount to."""
    from phase7.config import (
        Confirm,
        Engine,
        Patching,
        Profile,
        PromptFiles,
        Sampling,
    )
    from phase7.data_files import find_data
    from phase7.metrics import MODES
    from phase7.prompts import load_prompts

    emotion = load_prompts(find_data(args.emotion_prompts, Path())).name
    modes: Any = MODES if args.patch_mode == "all" else (args.patch_mode,)
    options: dict[str, Any] = {"scorers": tuple(args.scorers.split(","))} if args.scorers else {}
    return Profile(
        name=args.output.stem or "patch",
        models=(args.model,),
        emotions=(emotion,),
        prompts=PromptFiles(
            neutral=args.neutral_prompts, emotion=args.emotion_prompts, format=args.prompt_format
        ),
        sampling=Sampling(
            max_new_tokens=args.max_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            samples=args.samples,
            seed=args.seed,
        ),
        patching=Patching(
            donor=args.donor,
            control=args.control,
            positions=args.positions,
            primary_mode=modes[0],
            use_attn_result=args.use_attn_result,
        ),
        confirm=Confirm(
            target_heads=args.head_spec,
            modes=modes,
            n_prompts=args.n_prompts,
            random_heads=args.random_heads,
        ),
        engine=Engine(device=args.device, dtype=args.dtype, max_rows=args.max_rows),
        **options,
    )


def _execute(run: Any, args: argparse.Namespace) -> int:
    outcome = run.execute(force=args.force)
    if outcome.up_to_date:
        _tell(f"up to date: nothing to compute ({outcome.seconds:.1f} s)")
        return 0
    for path in outcome.written:
        _tell(f"wrote {path}")
    computed = sum(outcome.n_computed.values())
    kept = sum(outcome.n_hits.values())
    _tell(f"{computed} entries computed, {kept} from the store, {outcome.seconds:.0f} s")
    return 0


def _print_plan(run: Any) -> int:
    total = 0
    for files in run.files:
        for emotion in run.emotions.values():
            for stage in run.stages(files, emotion):
                batches = list(stage.batches())
                cached = [b for b in batches if run.store.has("generation", b.key)]
                todo = sum(b.n_tokens for b in batches) - sum(b.n_tokens for b in cached)
                total += todo
                _tell(
                    f"{files.name}/{emotion.name} {stage.name}: {len(stage.cells)} cells x"
                    f" {len(stage.recipients)} prompts x {len(stage.roles)} donors,"
                    f" {len(batches)} batches of {batches[0].n_rows} rows,"
                    f" {len(cached)} in the store, {todo:,} tokens to generate"
                )
    strongest = run.profile.confirm.strongest if run.profile.sweep else 0
    if strongest:
        _tell(f"the confirmation also tests the sweep's {strongest} strongest heads, known only then")
    _tell(f"total: {total:,} tokens to generate, in {run.bound}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from phase7.effects import open_effects
    from phase7.plots import write_plots
    from phase7.report import render_report
    from phase7.store import write_text

    tree = open_effects(args.effects)
    plots = args.plots or Path("results") / str(tree.attrs["profile"]) / "plots"
    for path in write_plots(tree, plots):
        _tell(f"wrote {path}")
    text = render_report(tree, lang=args.lang, plots_dir=plots, report_path=args.output)
    write_text(args.output, text)
    _tell(f"wrote {args.output}")
    return 0


def _models(args: argparse.Namespace) -> int:
    from phase7.models.files import find_model, is_here
    from phase7.models.registry import REGISTRY

    if args.action == "fetch":
        if not args.name:
            raise UserError(
                expected="a model's name",
                got="none",
                where="models fetch",
                remedy=f"name one of {', '.join(REGISTRY)}",
            )
        files = find_model(args.name, store_root=args.store, show_progress=True)
        _tell(f"{files.name}: {files.folder} (fingerprint {files.fingerprint[:16]})")
        return 0
    row = "{:<14} {:<20} {:>6} {:>5} {:>8} {:>11}  {:<9} {}"
    _tell(
        row.format("name", "architecture", "layers", "heads", "KV heads", "parameters", "here", "from")
    )
    for spec in REGISTRY.values():
        here = "yes" if is_here(spec, args.store) else f"{spec.download_bytes / 1e6:.0f} MB"
        place = "PyPI wheel" if spec.source == "wheel" else "hub"
        _tell(
            row.format(
                spec.name,
                spec.architecture,
                spec.n_layers,
                spec.n_heads,
                spec.n_kv_heads,
                f"{spec.n_parameters / 1e6:.1f} M",
                here,
                f"{place} {spec.location}",
            )
        )
    _tell("any local folder in Hugging Face format, or a hub id owner/name[@revision], works too")
    return 0


def _store(args: argparse.Namespace) -> int:
    from phase7.store import Store

    store = Store(args.store)
    if args.action == "verify":
        entries = list(store.verify())
        damaged = [entry for entry in entries if entry.problem]
        for entry in damaged:
            _tell(f"{entry.path}: {entry.problem}")
        _tell(f"{len(entries)} entries, {len(damaged)} damaged")
        return 1 if damaged else 0
    if args.action == "prune":
        freed = store.prune(
            stage=args.stage, older_than_s=args.older_than_days * 86_400, now_s=time.time()
        )
        _tell(f"freed {freed / 1e6:.1f} MB")
        return 0
    entries = list(store.entries())
    if args.action == "entries":
        for entry in entries:
            _tell(f"{entry.stage:<12} {entry.n_bytes:>12,}  {entry.path}")
    for stage in sorted({entry.stage for entry in entries}):
        sizes = [entry.n_bytes for entry in entries if entry.stage == stage]
        _tell(f"{stage:<12} {len(sizes):>6} entries {sum(sizes) / 1e6:>10.1f} MB")
    models = args.store / "models"
    n_bytes = sum(p.stat().st_size for p in models.rglob("*") if p.is_file())
    _tell(f"{'models':<12} {len(list(models.glob('*'))):>6} folders {n_bytes / 1e6:>10.1f} MB")
    return 0


def _sayer(args: argparse.Namespace) -> Callable[[str], None]:
    return (lambda line: None) if args.quiet else _say
