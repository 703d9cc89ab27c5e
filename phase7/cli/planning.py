"""The command `plan`: what a profile would find, and a profile for a budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from phase7.cli.terminal import tell
from phase7.vocabulary.errors import UserError


def plan(args: argparse.Namespace) -> int:
    """Print what a profile would find by its pilot; with a budget, write the profile that it buys."""
    from phase7.cli.commands import voice
    from phase7.experiment.profile import load_profile
    from phase7.run.backend import Backend
    from phase7.run.paths import build_paths
    from phase7.run.planning import Budget, Planner, table

    root = Path()
    profile = load_profile(args.profile, root)
    try:
        budget = None if args.budget is None else Budget.parse(args.budget)
    except ValueError as error:
        raise UserError(
            expected="a time or a number of tokens", got=args.budget, where="--budget",
            remedy="write it as 90s, 30m, 2h or 200000tok",
        ) from error  # fmt: skip
    output = args.output or Path(f"{profile.name}-planned.toml")
    if budget is not None:
        _require_free(output)
    paths = build_paths(
        profile.name, root=root, store=args.store, results=Path("results"), report=Path("report.md")
    )
    backend = Backend(name=args.backend, n_jobs=args.jobs, scheduler=args.scheduler)
    heard = voice(args)
    planner = Planner(profile, paths, backend, heard["say"], heard["warn"])
    pilot, tests = planner.tests()
    tell(pilot)
    for line in table(tests, profile, args.effect):
        tell(line)
    if budget is None:
        return 0
    cost = planner.cost(budget.unit)
    design = planner.best(tests, cost, budget)
    planner.write(design, args.profile, output)
    tell(
        f"strongest for {args.budget}: {design.n_prompts} prompts x {design.n_samples} samples, about"
        f" {design.cost:.0f} {budget.unit} from an empty store"
    )
    tell(f"wrote {output}")
    return 0


def _require_free(output: Path) -> None:
    if output.suffix != ".toml" or output.exists():
        raise UserError(
            expected="the path of a .toml file that is not there yet",
            got=str(output),
            where="--output",
            remedy="name another file",
        )
