"""What `--dry-run` prints: the plan of a run, and how long it takes."""

from __future__ import annotations

import argparse
from typing import Any

from phase7.cli.terminal import tell


def tell_plan(args: argparse.Namespace, profile: Any, paths: Any, lang: str) -> str:
    """Print the plan of a profile; returns what it may take in words, or nothing where nobody knows."""
    from phase7.run.backend import Backend
    from phase7.run.estimated import estimate_in_words
    from phase7.run.plan import is_finished, plan_of

    backend = Backend(name=args.backend, n_jobs=args.jobs, scheduler=args.scheduler)
    if not args.force and is_finished(profile, paths, lang):
        tell("up to date: nothing to compute")
        return ""
    plan = plan_of(profile, paths, backend)
    for line in plan.lines:
        tell(line)
    return "" if plan.seconds is None else estimate_in_words(plan.seconds)


def tell_how_long(name: str, profile: Any, paths: Any, guess: str, *, may_be_timed: bool) -> None:
    """Print a pilot's table, and what a build takes: here, where it was timed, or as is guessed.

    Parameters
    ----------
    name : str
        The profile's name or file, as it was read.
    may_be_timed : bool
        Whether the profile is as it was read, so that what it took elsewhere holds.
    """
    from phase7.run.planning import from_store
    from phase7.run.record import time_in_words
    from phase7.run.timed import timed_elsewhere

    for line in from_store(name, profile, paths):
        tell(line)
    elsewhere = timed_elsewhere(name, paths.root) if may_be_timed else ""
    tell(time_in_words(name, paths.run_record, elsewhere or guess))
