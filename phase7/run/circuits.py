"""The circuit of the heads that a run found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from phase7.effects.circuit import StageCircuit, gather_circuit
from phase7.experiment.circuits import circuit_plan
from phase7.experiment.stages import Stage
from phase7.run.executor import Executor
from phase7.vocabulary.heads import Head


def circuit_of(
    confirm: Stage,
    ranked: Sequence[Head],
    executor: Executor,
    root: Path,
    say: Callable[[str], None],
) -> StageCircuit | None:
    """What was measured of the first heads of a search, or of those tested alone where there was none.

    None where the profile wants no circuit, or the model's parts are not known.
    """
    alone = [cell.heads[0] for cell in confirm.cells if cell.head_set.is_single]
    plan = circuit_plan(confirm, list(ranked) or list(dict.fromkeys(alone)), root)
    if plan is None:
        return None
    say(f"the circuit of {confirm.files.name}/{confirm.emotion.name}")
    found = gather_circuit(plan, executor.circuit(plan), executor.reads(plan))
    if found is None:
        say(f"no circuit: norms, scales or caps stand behind the parts of {confirm.files.name}")
    return found
