"""What each command does, from parsed arguments to an exit code.

Heavy libraries are imported only by the commands that need them.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from phase7.cli.terminal import log_to_stderr, say, tell
from phase7.vocabulary.errors import UserError

#: The language of a report whose language nobody named.
_LANG: Literal["ja", "en"] = "ja"


def build(args: argparse.Namespace) -> int:
    """Run a profile, or print its plan."""
    from phase7.experiment.profile import load_profile
    from phase7.run.paths import RESULTS, build_paths, require_apart, require_own

    root = Path()
    profile = screened_by(args, as_read := load_profile(args.profile, root))
    paths = build_paths(
        profile.name,
        root=root,
        store=args.store,
        results=args.results or RESULTS,
        report=args.report,
        report_format=args.format,
        is_bilingual=args.lang is None,
    )
    require_apart(
        [*paths.reports, *paths.english_reports],
        [Path(args.profile)] if args.profile.endswith(".toml") else [],
    )
    own = (paths.effects, paths.run_record, paths.run_record.parent / "patching")
    remedy = "keep both with --results DIR, or replace it with --force"
    if not (args.force or args.dry_run):
        require_own(*own, remedy=remedy)
    if not args.dry_run:
        return _run(args, profile, paths)
    from phase7.cli.dry_run import tell_how_long, tell_plan

    guess = tell_plan(args, profile, paths, args.lang or _LANG)
    tell_how_long(args.profile, profile, paths, guess, may_be_timed=profile == as_read)
    try:
        require_own(*own, remedy=remedy)
    except UserError as error:
        tell(f"without --force the build refuses to start: {error}")
    return 0


def screened_by(args: argparse.Namespace, profile: Any) -> Any:
    """The profile with the screen that the flags ask for; what they leave open stays as it is."""
    from dataclasses import replace

    from phase7.experiment.declared import Screen

    flags = {"heads": args.screen_heads, "gradient": args.screen_gradient, "steps": args.screen_steps}
    given = {name: value for name, value in flags.items() if value is not None}
    if args.screen is None and profile.screen is None and given:
        raise UserError(
            expected="--screen attribution beside it, or a profile with [screen]",
            got="neither",
            where=f"--screen-{next(iter(given))}",
            remedy="add --screen attribution",
        )
    if args.screen is None and not given:
        return profile
    with _flags_named(_SCREEN_FLAGS):
        screen = replace(profile.screen or Screen(), **given)
        sweep = profile.sweep and replace(profile.sweep, readouts="exact")
        return replace(profile, screen=screen, sweep=sweep)


#: What `build` calls the settings of a screen.
_SCREEN_FLAGS = {
    "heads": "--screen-heads",
    "steps": "--screen-steps",
    "screen": "--screen",
    "selection_metrics": "--screen",
}


def patch(args: argparse.Namespace) -> int:
    """Patch heads of one model for one emotion, or print the plan of that."""
    with _flags_named():
        return _patch(args)


def _patch(args: argparse.Namespace) -> int:
    from phase7.run.paths import Paths, require_own

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
        effects=output.with_suffix(".nc"),
        plots=output.parent / f"{output.stem}_plots",
        report=args.report,
        report_format=args.format,
        run_record=output.with_suffix(".run.json"),
        patching=lambda model, emotion: output,
    )
    if not args.force:
        require_own(paths.effects, paths.run_record)
    if not args.dry_run:
        return _run(args, profile, paths)
    from phase7.cli.dry_run import tell_plan

    if guess := tell_plan(args, profile, paths, args.lang or _LANG):
        tell(f"time: {guess}")
    return 0


def _patch_profile(args: argparse.Namespace) -> Any:
    """The profile that the flags of `patch` amount to."""
    from phase7.api.settings import patch_profile
    from phase7.experiment.data_files import find_data
    from phase7.experiment.profile import Engine, Sampling
    from phase7.experiment.prompts import load_prompts
    from phase7.vocabulary.modes import MODES

    return patch_profile(
        name=args.output.stem or "patch",
        model=args.model,
        emotion=load_prompts(
            find_data(args.emotion_prompts, Path()),
            column=args.prompt_column,
            ids=args.scenario_column,
        ).name,
        heads=args.head_spec,
        modes=MODES if args.patch_mode == "all" else (args.patch_mode,),
        donor=args.donor,
        control=args.control,
        positions=args.positions,
        use_attn_result=args.use_attn_result,
        against=args.against or (),
        strengths=_strengths(args.strength),
        write=args.write,
        alone=not args.together_only,
        n_prompts=args.n_prompts,
        random_heads=args.random_heads,
        positive_controls=not args.no_positive_controls,
        readouts=args.readout or (),
        scorers=tuple(args.scorers.split(",")) if args.scorers else None,
        prompts=_prompt_files(args),
        sampling=Sampling(
            max_new_tokens=args.max_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            samples=args.samples,
            seed=args.seed,
        ),
        engine=Engine(device=args.device, dtype=args.dtype, max_rows=args.max_rows),
    )


def _prompt_files(args: argparse.Namespace) -> Any:
    """Where the prompts of `patch` are, and how they are put to the model."""
    from phase7.experiment.prompts import PromptFiles

    return PromptFiles(
        neutral=args.neutral_prompts,
        emotion=args.emotion_prompts,
        format=args.prompt_format,
        system=args.system,
        template=tuple(dict(args.template_argument or ()).items()),
        date=args.date,
        column=args.prompt_column,
        scenarios=args.scenario_column,
    )


#: What `patch` calls the settings of a profile that it makes of its flags.
_FLAGS = {
    "confirm.target_heads": "--head-spec",
    "target_heads": "--head-spec",
    "positions": "--positions",
    "max_new_tokens": "--max-tokens",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "samples": "--samples",
    "seed": "--seed",
    "n_prompts": "--n-prompts",
    "random_heads": "--random-heads",
    "max_rows": "--max-rows",
    "date": "--date",
    "readouts": "--readout",
    "readouts.words": "--readout",
    "readouts.pairs": "--readout",
    "pairs": "--readout",
    "strengths": "--strength",
    "write": "--write",
    "confirm.write": "--write",
    "scorers": "--scorers",
    "prompt format chat": "--prompt-format chat",
    "template arguments": "--template-argument",
    "template argument": "--template-argument",
}


@contextlib.contextmanager
def _flags_named(flags: Mapping[str, str] = _FLAGS) -> Iterator[None]:
    """Name the flag in an error about the setting that it stands for."""
    try:
        yield
    except UserError as error:
        flag = flags.get(error.where)
        if flag is None:
            raise
        remedy = error.remedy.replace("max_rows", "--max-rows")
        expected, got = error.expected, error.got
        if error.where == "target_heads":  # of a profile it says that a sweep may choose instead
            expected, got = "a head spec", "an empty one"
        raise UserError(expected=expected, got=got, where=flag, remedy=remedy) from error


def _strengths(spec: str | None) -> tuple[float, ...]:
    """The numbers of a `--strength`; none without one."""
    try:
        return tuple(float(one) for one in spec.split(",")) if spec else ()
    except ValueError as error:
        raise UserError(
            expected="numbers with commas between them",
            got=repr(spec)[:80],
            where="--strength",
            remedy="write for example --strength 0.5,1,2,4",
        ) from error


def _run(args: argparse.Namespace, profile: Any, paths: Any) -> int:
    """Run a profile."""
    from phase7.cli.results import results_in_words
    from phase7.effects.file import open_effects
    from phase7.run.backend import Backend
    from phase7.run.pipeline import Run

    backend = Backend(name=args.backend, n_jobs=args.jobs, scheduler=args.scheduler)
    heard, lang = voice(args), args.lang or _LANG
    outcome = Run(profile, paths, lang=lang, **heard, backend=backend).execute(force=args.force)
    if outcome.up_to_date:
        tell(f"up to date: nothing to compute ({outcome.seconds:.1f} s)")
        return 0
    for line in results_in_words(open_effects(paths.effects)):
        tell(line)
    for path in outcome.written:
        tell(f"wrote {path}")
    computed = sum(outcome.n_computed.values())
    kept = sum(outcome.n_hits.values())
    tell(f"{computed} entries computed, {kept} from the store, {outcome.seconds:.0f} s")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the figures and the report of an effects file again."""
    from phase7.effects.file import open_effects
    from phase7.plots import write_plots
    from phase7.report import report_files, write_reports
    from phase7.run.paths import RESULTS, own_reports, require_apart

    if args.output:
        report_files(args.output, args.format)  # refuses a name before anything is read
    tree = open_effects(args.effects)
    folder = RESULTS / str(tree.attrs["profile"])
    page, english = own_reports(folder, args.format)
    output: Path = args.output or page
    files: dict[Path, Any] = {path: args.lang or _LANG for path in report_files(output, args.format)}
    if not (args.output or args.lang):
        files |= dict.fromkeys(report_files(english, args.format), "en")
    require_apart([*files], [args.effects])
    # A page has its figures beside it; an HTML file holds them.
    beside = output.with_name(f"{output.stem}_plots") if args.output else folder / "plots"
    plots = args.plots or beside
    is_page = any(path.suffix.lower() not in (".html", ".htm") for path in files)
    written = write_plots(tree, plots) if args.plots or is_page else []
    for path, lang in files.items():
        written += write_reports(tree, [path], lang=lang, plots_dir=plots)
    for path in written:
        tell(f"wrote {path}")
    return 0


def models(args: argparse.Namespace) -> int:
    """List the known models, or fetch one."""
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
        files = find_model(args.name, store_root=args.store, show_progress=True, tell=say)
        tell(f"{files.name}: {files.folder} (fingerprint {files.fingerprint[:16]})")
        return 0
    row = "{:<14} {:<20} {:>6} {:>5} {:>8} {:>11} {:>9}  {:<5} {}"
    heading = ("architecture", "layers", "heads", "KV heads", "parameters", "download", "here", "from")
    tell(row.format("name", *heading))
    for spec in REGISTRY.values():
        place = "PyPI wheel" if spec.source == "wheel" else "hub"
        tell(
            row.format(
                spec.name,
                spec.architecture,
                spec.sizes.n_layers,
                spec.sizes.n_heads,
                spec.sizes.n_kv_heads,
                f"{spec.n_parameters / 1e6:.1f} M",
                f"{spec.download_bytes / 1e6:.0f} MB",
                "yes" if is_here(spec, args.store) else "no",
                f"{place} {spec.location}",
            )
        )
    tell("any local folder in Hugging Face format, or a hub id owner/name[@revision], works too")
    return 0


def store(args: argparse.Namespace) -> int:
    """Show what the store holds, check it, or prune it."""
    from phase7.models.places import models_folder
    from phase7.store import Store, inventory

    store, shared = Store(args.store, on_damage=say), models_folder()
    places = [args.store / "models"]
    if shared.resolve() != places[0].resolve():
        places.append(shared)
    if args.action == "verify":
        entries = [
            *store.verify(),
            *(one for place in places[1:] for one in inventory.verify_models(place)),
        ]
        damaged = [entry for entry in entries if entry.problem]
        for entry in damaged:
            tell(f"{entry.path}: {entry.problem}")
        unchecked = [entry for entry in entries if entry.note]
        for entry in unchecked:
            tell(f"{entry.path}: not checked, {entry.note}")
        left = f", {len(unchecked)} not checked" if unchecked else ""
        tell(f"{len(entries)} entries, {len(damaged)} damaged{left}")
        return 1 if damaged else 0
    if args.action == "prune":
        freed = store.prune(
            stage=args.stage, older_than_s=args.older_than_days * 86_400, now_s=time.time()
        )
        if args.stage in (None, "models"):
            older_than_s = args.older_than_days * 86_400
            freed += sum(inventory.prune_models(one, older_than_s, time.time()) for one in places[1:])
        tell(f"freed {freed / 1e6:.1f} MB")
        return 0
    entries = list(store.entries())
    if args.action == "entries":
        for entry in entries:
            tell(f"{entry.stage:<12} {entry.n_bytes:>12,}  {entry.path}")
    for stage in sorted({entry.stage for entry in entries}):
        sizes = [entry.n_bytes for entry in entries if entry.stage == stage]
        tell(f"{stage:<12} {len(sizes):>6} entries {sum(sizes) / 1e6:>10.1f} MB")
    for place in places:
        n_bytes = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
        n_folders = len(list(place.glob("*")))
        where = "" if place == places[0] else f"  {place}"
        tell(f"{'models':<12} {n_folders:>6} folders {n_bytes / 1e6:>10.1f} MB{where}")
    return 0


def voice(args: argparse.Namespace) -> dict[str, Any]:
    """What a run prints: always warnings, progress unless --quiet, and a log, not bars, if --verbose."""
    if args.verbose:
        log_to_stderr()
    silent: Callable[[str], None] = lambda line: None  # noqa: E731
    return {
        "say": silent if args.quiet else say,
        "show_progress": not (args.quiet or args.verbose),
        "warn": say,
    }
