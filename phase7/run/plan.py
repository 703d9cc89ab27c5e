"""The plan of a run and its cost, without running it: nothing is downloaded, computed or written.

A model that is not here yet is planned by the registry's facts. How much of its work the store holds is
then unknown, since the store's keys depend on the model's files, so the plan says "at most".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phase7.experiment.answer import fresh_recipients
from phase7.experiment.contrasts import ReadingPlan, reading_plans
from phase7.experiment.framing import resolve_format
from phase7.experiment.halving import is_halved, planned_parts
from phase7.experiment.positive_controls import control_stages
from phase7.experiment.predictions import check_stage
from phase7.experiment.profile import Profile
from phase7.experiment.prompts import PromptSet
from phase7.experiment.screening import screen_stages
from phase7.experiment.specificity import against_stages
from phase7.experiment.stages import Batch, Stage
from phase7.experiment.strengths import strength_stage
from phase7.experiment.tested import confirm_stage, confirmed_prompts, sweep_stage
from phase7.models.facts import ModelFacts, ModelSizes
from phase7.models.files import ModelFiles, read_sizes, require_heads
from phase7.models.look import Fetchable, look_for_model
from phase7.run.backend import Backend
from phase7.run.framed import dated, framed
from phase7.run.inputs import Prompts, others_of, read_prompts
from phase7.run.memory import bound_in_words, bounded, footprint
from phase7.run.paths import Paths
from phase7.run.record import inputs_digest, is_up_to_date
from phase7.scoring.choose import choose_scorers
from phase7.store import Store
from phase7.store.marker import check_marker
from phase7.vocabulary.names import require_distinct


def known_stages(
    profile: Profile,
    model: ModelFacts,
    neutral: PromptSet,
    emotion: PromptSet,
    others: Sequence[PromptSet] = (),
) -> list[Stage]:
    """The stages as far as they are known before running: the sweep's strongest heads are not."""
    sweep = sweep_stage(profile, model, neutral, emotion)
    confirm = confirm_stage(profile, model, neutral, emotion, ())
    screen = [] if sweep is None else screen_stages(sweep)
    sweep = screen[1] if screen else sweep
    check = None if sweep is None or screen else check_stage(sweep)
    if sweep is not None and profile.answer is not None:
        fresh_recipients(confirm, sweep)  # refuses what it cannot have
    before = screen or [stage for stage in (sweep, check) if stage is not None]
    strengths = strength_stage(confirm)
    before += [confirm, *([] if strengths is None else [strengths])]
    return [*before, *against_stages(confirm, others), *control_stages(confirm)]


def require_feasible(profile: Profile, model: ModelFacts, prompts: Prompts) -> None:
    """Refuse a format, heads or a number of rows that the model cannot have."""
    resolve_format(model, profile)
    for emotion in prompts.emotions.values():
        for stage in known_stages(profile, model, prompts.neutral, emotion):
            next(iter(stage.batches()))


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage takes.

    Attributes
    ----------
    n_batches, n_rows : int
        Batches, and the rows of one of them.
    n_stored : int or None
        Batches that the store holds; None where the model is not here, so that nobody knows.
    n_tokens : int
        Still to generate or read, or at most so many where `n_stored` is None.
    """

    n_batches: int
    n_rows: int
    n_stored: int | None
    n_tokens: int


def stage_cost(stage: Stage, store: Store) -> StageCost:
    """Count a stage's batches of texts, and those of them that the store lacks."""
    return _cost(stage, list(stage.batches()), "generation", store)


def readout_cost(plan: ReadingPlan, store: Store, *, is_known: bool = True) -> StageCost:
    """The same of a stage's read-outs; their tokens are read and not generated.

    `is_known`: whether the stage's heads are those that will be read, and not only as many.
    """
    return _cost(plan.stage, list(plan.batches()), "readout", store, is_known=is_known)


def _cost(
    stage: Stage, batches: Sequence[Batch], kind: str, store: Store, *, is_known: bool = True
) -> StageCost:
    is_here = bool(stage.files.fingerprint) and is_known
    stored = [b for b in batches if is_here and store.has(kind, b.key)]
    return StageCost(
        n_batches=len(batches),
        n_rows=batches[0].n_rows,
        n_stored=len(stored) if is_here else None,
        n_tokens=sum(b.n_tokens for b in batches) - sum(b.n_tokens for b in stored),
    )


def plan_in_words(profile: Profile, paths: Paths, backend: Backend) -> list[str]:
    """The plan in lines: what is fetched, each stage with its cost, and the total.

    Raises
    ------
    UserError
        If the profile cannot be carried out, as far as that can be known without the models that are
        not here.
    """
    check_marker(paths.store, lambda line: None, mend=False)
    prompts = read_prompts(profile, paths.root)
    models = [look_for_model(name, store_root=paths.store) for name in profile.models]
    require_distinct("models", [model.name for model in models])
    for model in models:
        if isinstance(model, ModelFiles):
            require_heads(model)
    here = [model for model in models if isinstance(model, ModelFiles)]
    sizes = [known for model in models if (known := _sizes(model)) is not None]
    if sizes:
        profile = bounded(dated(profile, here), sizes)
    for model in here:
        require_feasible(profile, model, prompts)
    told: list[str] = []
    read = iter(framed(here, profile, prompts, told.append))
    models = [next(read) if isinstance(model, ModelFiles) else model for model in models]
    store, lines, total = Store(paths.store), told, 0
    for model in models:
        if isinstance(model, Fetchable):
            lines.append(_fetch_line(model))
        facts = model.facts if isinstance(model, Fetchable) else model
        if facts is not None:
            of_stages, n_tokens = _stage_lines(profile, facts, prompts, store, paths.root)
            lines, total = lines + of_stages, total + n_tokens
    lines += [*_screen_line(profile), *_known_later(profile)]
    lines += [*_circuit_line(profile), *_looks_in_words(profile, prompts)]
    return lines + ([_total_line(profile, models, sizes, total, backend)] if sizes else [])


def is_finished(profile: Profile, paths: Paths, lang: str) -> bool:
    """Whether a run would find everything up to date, told without fetching or writing anything.

    False where that is not known: with a model that is not here, and with scorers that come from the hub
    or are the user's own, which would have to be loaded.
    """
    if not has_quick_scorers(profile) or not paths.run_record.is_file():
        return False
    looked = [look_for_model(name, store_root=paths.store) for name in profile.models]
    models = [model for model in looked if isinstance(model, ModelFiles)]
    if len(models) < len(looked):
        return False
    prompts = read_prompts(profile, paths.root)
    scorers = choose_scorers(profile.scorers, root=paths.root, store_root=paths.store)
    inputs = inputs_digest(dated(profile, models), lang, prompts, models, scorers)
    emotions = [emotion.name for emotion in prompts.emotions.values()]
    outputs = paths.outputs([model.name for model in models], emotions)
    return is_up_to_date(paths.run_record, inputs, outputs)


def has_quick_scorers(profile: Profile) -> bool:
    """Whether all scorers of a profile come with the package, so that loading them fetches nothing."""
    return all(name in ("embedded", "keywords", "vader") for name in profile.scorers)


def _screen_line(profile: Profile) -> list[str]:
    if profile.screen is None:
        return []
    return [f"which {profile.screen.heads} heads the screen chooses for the sweep is known only then"]


def _known_later(profile: Profile) -> list[str]:
    """What the confirmation tests beside the cells that are planned, in a line."""
    confirm = profile.confirm
    asked = (confirm.strongest, confirm.strongest_sets, confirm.curve, profile.answer)
    if profile.sweep is None or not any(asked):
        return []
    heads = [f"{confirm.strongest} strongest heads"] if confirm.strongest else []
    heads += [f"first {size} together" for size in sorted({*confirm.strongest_sets})]
    if confirm.curve:
        sizes = ", ".join(map(str, sorted({*confirm.curve})))
        heads.append(f"sets of {sizes} and all (by read-outs, beside random ones)")
    if profile.answer is not None:
        sizes = ", ".join(map(str, sorted({*profile.answer.sizes})))
        heads.append(f"first {sizes} at {len({*profile.answer.strengths})} strengths, for the answer")
    drawn = ""
    if confirm.strongest_sets and confirm.random_sets:
        drawn = f", with {confirm.random_sets} random of each such size"
    return [f"the confirmation also tests the sweep's {', '.join(heads)}{drawn}, known only then"]


def _circuit_line(profile: Profile) -> list[str]:
    wanted = profile.circuit
    if wanted is None:
        return []
    which = "tested alone" if profile.sweep is None else "of the sweep"
    prompts = f"{wanted.n_prompts} prompts" if wanted.n_prompts else "all confirmation prompts"
    return [f"the first {wanted.heads} heads {which} are taken apart as a circuit, on {prompts}"]


def _looks_in_words(profile: Profile, prompts: Prompts) -> list[str]:
    """Where the confirmation may stop, in a line."""
    n_planned = len(confirmed_prompts(profile, prompts.neutral))
    ends = profile.statistics.ends(n_planned)
    if len(ends) == 1:
        return []
    shares = [profile.statistics.at_look(n, n_planned).share for n in ends]
    looks = ", ".join(f"{n} ({share:.1%})" for n, share in zip(ends, shares, strict=True))
    return [
        f"the confirmation is looked at after {looks} prompts (share of the level), and may stop there"
    ]


def _sizes(model: ModelFiles | Fetchable) -> ModelSizes | None:
    return model.sizes if isinstance(model, Fetchable) else read_sizes(model)


def _fetch_line(model: Fetchable) -> str:
    state = f"damaged here ({model.damage})" if model.damage else "not here yet"
    if model.download_bytes is None:
        return f"{model.name}: {state}; its size and its plan are not known until it is fetched"
    return f"{model.name}: {state}, will be fetched ({model.download_bytes / 1e6:.0f} MB)"


def _stage_lines(
    profile: Profile, model: ModelFacts, prompts: Prompts, store: Store, root: Path
) -> tuple[list[str], int]:
    """A line for each stage of a model, and the tokens of all."""
    lines, total = [], 0
    for emotion in prompts.emotions.values():
        others = others_of(profile, prompts, emotion)
        stages = known_stages(profile, model, prompts.neutral, emotion, others)
        confirm = next(stage for stage in stages if stage.name == "confirm")
        for stage in stages:
            name = f"{model.name}/{emotion.name} {stage.name}"
            if stage.has_text:
                cost = stage_cost(stage, store)
                total += cost.n_tokens
                lines.append(f"{name}: {_what(stage)}, {_cost_in_words(cost)} to generate")
            is_beside = stage.is_control or stage.name in ("against", "strengths")
            for number, part in enumerate(_parts(stage)):
                told = f"{name} read-outs" + (f", round {number + 1}" if is_halved(stage) else "")
                for plan in reading_plans(part, root, confirm if is_beside else None):
                    lines.append(f"{told}: {_readouts_in_words(plan, store, is_known=not number)}")
    return lines, total


def _parts(stage: Stage) -> list[Stage]:
    """What a stage is read in, one after the other."""
    return planned_parts(stage) if is_halved(stage) else [stage]


def _what(stage: Stage) -> str:
    if not stage.cells and stage.name == "confirm":
        return f"{len(stage.recipients)} prompts x {len(stage.roles)} donors, cells not counted yet"
    if not stage.cells:
        return f"{len(stage.recipients)} {stage.neutral.name} prompts, unpatched"
    return f"{len(stage.cells)} cells x {len(stage.recipients)} prompts x {len(stage.roles)} donors"


def _cost_in_words(cost: StageCost) -> str:
    stored = "at most" if cost.n_stored is None else f"{cost.n_stored} in the store,"
    return f"{cost.n_batches} batches of {cost.n_rows} rows, {stored} {cost.n_tokens:,} tokens"


def _readouts_in_words(plan: ReadingPlan, store: Store, *, is_known: bool) -> str:
    stage, metrics = plan.stage, ", ".join(plan.metrics)
    if stage.is_attributed:
        return f"{metrics}; by attribution, {len(stage.recipients)} gradients of {_what(stage)}"
    return f"{metrics}; {_cost_in_words(readout_cost(plan, store, is_known=is_known))} to read"


def _total_line(
    profile: Profile,
    models: Sequence[ModelFiles | Fetchable],
    sizes: Sequence[ModelSizes],
    n_tokens: int,
    backend: Backend,
) -> str:
    n_at_once = backend.batches_here([footprint(one, profile) for one in sizes], profile.engine)
    bound = bound_in_words(profile, sizes, n_at_once)
    absent = [model for model in models if isinstance(model, Fetchable)]
    n_bytes = sum(model.download_bytes or 0 for model in absent)
    unknown = [model.name for model in absent if model.facts is None]
    return (
        f"total: {'at most ' if n_bytes else ''}{n_tokens:,} tokens to generate, in {bound}"
        + (f"; {n_bytes / 1e6:.0f} MB to fetch" if n_bytes else "")
        + (f"; {', '.join(unknown)} not counted" if unknown else "")
    )
