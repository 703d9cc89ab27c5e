"""Carry out a stage's memo entries, each through the store, here or elsewhere.

The model is loaded, and prompts are captured, only when some entry is not in the store yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from phase7.experiment.attribution import AttributionPlan
from phase7.experiment.circuits import CircuitPlan
from phase7.experiment.contrasts import ContrastPlan
from phase7.experiment.directions import lens_key, vector_key
from phase7.experiment.guards import guards_key, n_guarded
from phase7.experiment.profile import Engine
from phase7.experiment.readouts import ReadoutPlan, WordSet
from phase7.experiment.stages import Batch, Stage
from phase7.models.files import ModelFiles
from phase7.models.framing import Framing
from phase7.run.capturing import Capturing, recorded
from phase7.run.donating import Donors, Say
from phase7.run.one_thread import one_thread
from phase7.run.progress import Once, Told, unheard
from phase7.run.together import side_by_side, store_together
from phase7.run.units import FanOut, Unit, generation_unit, make_unit, path_unit
from phase7.store import Store
from phase7.vocabulary import units
from phase7.vocabulary.heads import Head

if TYPE_CHECKING:
    from phase7.engine.model.bridge import Model
    from phase7.engine.patch.capture import Capture, UnitCapture
    from phase7.engine.patch.donors import Donor
    from phase7.engine.patch.patching import Patch
    from phase7.run.reading import TokenSets

Item = TypeVar("Item")


class Executor:
    """One loaded model's work. Loading and capturing wait until a batch needs them.

    Parameters
    ----------
    files : ModelFiles
    engine : Engine
        Device and dtype.
    store : Store
    say : callable
        Called with one line before anything slow.
    fan_out : callable, optional
        Computes the units that the store lacks in other threads or processes; without it they are
        computed here, one after the other.
    each_step : callable
        Called before every step with the number of tokens that it generates; what it raises ends the
        work.

    Attributes
    ----------
    donors : Donors
        Made of this executor's captures.
    """

    def __init__(
        self,
        files: ModelFiles,
        engine: Engine,
        store: Store,
        say: Say,
        fan_out: FanOut | None = None,
        each_step: Told = unheard,
    ) -> None:
        self._files, self._engine, self._store, self._say = files, engine, store, say
        self._fan_out, self._each_step = fan_out, each_step
        self._told = Once(unheard)
        self._captures = Capturing(files=files, engine=engine)
        self.donors = Donors(self.capture, self.capture_beside, say)
        self._found_sets: dict[tuple[WordSet, ...], TokenSets] = {}

    @cached_property
    def model(self) -> Model:
        """The model, loaded on first use where it is not loaded yet."""
        from phase7.engine.model.loading import load_model

        if self._files.loaded is not None:
            return self._files.loaded()  # type: ignore[no-any-return]
        self._say(f"loading {self._files.name} ({self._files.source})")
        return load_model(self._files, device=self._engine.device, dtype=self._engine.dtype)

    def twin(self, store: Store, each_step: Told) -> Executor:
        """An executor with the same weights, for another thread."""
        other = Executor(self._files, self._engine, store, lambda line: None, each_step=each_step)
        other.model = self.model.for_another_thread()
        other.donors.share_singles(self.donors)
        return other

    def run(self, stage: Stage, progress: Told = unheard) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Yield every batch with its entry, from the store or computed.

        `progress` is told the number of tokens of each batch that is computed.
        """
        batches = list(stage.batches())
        units = [generation_unit(stage, batch) for batch in batches]
        captures = partial(self._captures.of_batches, stage)
        yield from self._through(batches, units, captures, progress)

    def generate(self, stages: Sequence[Stage], progress: Told = unheard) -> None:
        """Bring all texts of some stages into the store; those of one prompt are generated together."""
        asked = [(stage, batch) for stage in stages for batch in stage.batches()]
        lacking = [one for one in asked if not self._store.has("generation", one[1].key)]
        self._told = Once(progress)
        self._elsewhere(u for stage, batch in lacking for u in self._captures.of_batches(stage, [batch]))
        self._elsewhere([generation_unit(*one) for one in lacking])

    def read(
        self, plan: ReadoutPlan | ContrastPlan, progress: Told = unheard
    ) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Yield every batch of a stage's read-outs with its entry, from the store or computed.

        What the batches follow comes first. An entry holds float64 arrays by metric, `baseline` [metric]
        and `patched` [patch, metric], and what the self-check found.
        """
        batches, ways = list(plan.batches()), self._ways(plan)
        units = [
            make_unit("readout", batch.key, (plan, batch, ways[batch.prompt_index]), batch.n_tokens)
            for batch in batches
        ]
        captures = partial(self._captures.of_batches, plan.stage)
        yield from self._through(batches, units, captures, progress)

    def guard(self, stage: Stage, progress: Told = unheard) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Yield every batch of a stage with what its texts are like (:func:`phase7.run.reading.guards`).

        The texts must be in the store.
        """
        batches = list(stage.batches())
        units = [
            make_unit("fluency", guards_key(stage, batch), (stage, batch), batch.n_tokens)
            for batch in batches
        ]
        yield from self._through(batches, units, lambda items: (), progress)

    def attribute(
        self, plan: AttributionPlan, progress: Told = unheard
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every recipient with its attribution (:mod:`phase7.run.attributing`)."""
        stage, ways = plan.stage, self._ways(plan.readouts)
        units = [make_unit("attribution", plan.key(i), (plan, i, ways[i]), 1) for i in stage.recipients]
        yield from self._through(stage.recipients, units, self._of_sets(stage), progress)

    def circuit(self, plan: CircuitPlan) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every recipient with the paths of the heads (:func:`phase7.run.pathing.paths`)."""
        ways = self._ways(plan.readouts)
        units = [make_unit("circuit", plan.key(i), (plan, i, ways[i])) for i in plan.recipients]
        yield from self._through(plan.recipients, units, self._of_sets(plan.stage), unheard)

    def reads(self, plan: CircuitPlan) -> dict[str, Any]:
        """What the heads read (:func:`phase7.run.pathing.reads`)."""
        unit = make_unit("reads", plan.reads_key, (plan,))
        self._elsewhere([unit])  # where the model is loaded already
        return self._entry(unit)  # type: ignore[no-any-return]

    def _of_sets(self, stage: Stage) -> Callable[[Sequence[int]], Iterator[Unit]]:
        """All captures of a stage, whichever recipients lack an entry."""
        return lambda recipients: self._captures.of_sets(stage)

    def _ways(self, plan: ReadoutPlan | ContrastPlan) -> dict[int, Any]:
        """What every recipient's arms follow: its path, or all continuations of a contrast."""
        stage, length = plan.stage, plan.stage.profile.readouts.max_new_tokens
        if isinstance(plan, ContrastPlan):
            generated = {one.text for one in plan.continuations if one.is_generated}
            found = self._said([path_unit(stage, prompt) for prompt in sorted(generated)], length)
            said = dict(zip(sorted(generated), found, strict=True))
            every = [said[one.text] if one.is_generated else one.text for one in plan.continuations]
            return dict.fromkeys(stage.recipients, tuple(every))
        batches = {index: plan.continued_in(index) for index in stage.recipients}
        units = [
            generation_unit(plan.along or stage, batch)
            if batch
            else path_unit(stage, plan.path_prompt(index))
            for index, batch in batches.items()
        ]
        return dict(zip(batches, self._said(units, length), strict=True))

    def _said(self, units: Sequence[Unit], length: int) -> list[tuple[int, ...]]:
        """What the unpatched model says in some paths and generations, up to a length."""
        self._elsewhere(units)
        found = [(unit.kind == "path", self._entry(unit)) for unit in units]
        texts = [one["tokens"] if own else one["baseline_tokens"][0, :length] for own, one in found]
        return [tuple(int(token) for token in text if token >= 0) for text in texts]

    def _through(
        self,
        items: Sequence[Item],
        units: Sequence[Unit],
        captures: Callable[[Sequence[Item]], Iterable[Unit]],
        progress: Told,
    ) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Every item with the entry of its unit; what the store lacks is computed elsewhere first.

        `captures` gives what is to be recorded before the units of some items.
        """
        missing = [i for i, u in enumerate(units) if not self._store.has(u.kind, u.key)]
        self._told = Once(progress)
        if missing:
            self._elsewhere(captures([items[i] for i in missing]))
            self._elsewhere([units[i] for i in missing])
        for item, unit in zip(items, units, strict=True):
            yield item, self._entry(unit)

    def side_by_side(self, units: Sequence[Unit], n_at_once: int = 1) -> list[tuple[Unit, ...]]:
        """Units in groups to be computed together, where so many groups are computed at once."""
        return side_by_side(units, self._engine.max_rows, n_at_once)

    def compute(self, units: Sequence[Unit]) -> None:
        """Compute a group of units into the store, as far as they are not there."""
        lacking = [unit for unit in units if not self._store.has(unit.kind, unit.key)]
        if len(lacking) == 1:
            self._entry(lacking[0])
        elif lacking:
            with one_thread():
                store_together(self._store, lacking, self._together)

    def lens(self, stage: Stage, heads: Sequence[Head], words: Sequence[str]) -> dict[str, Any]:
        """What the donor promotes through each head, and how far the emotion's `words` among it.

        See :mod:`phase7.engine.patch.lens`.
        """
        key, arguments = lens_key(stage, heads, words), (stage, tuple(heads), tuple(sorted(words)))
        return self._of_donors(Unit(kind="lens", key=key, arguments=arguments))

    def vector(self, stage: Stage, heads: Sequence[Head]) -> dict[str, Any]:
        """What some heads write more for the emotion: `layers` and `modules`, by layer.

        See :mod:`phase7.engine.patch.vector`.
        """
        return self._of_donors(
            Unit(kind="vector", key=vector_key(stage, heads), arguments=(stage, tuple(heads)))
        )

    def _of_donors(self, unit: Unit) -> dict[str, Any]:
        """The entry of a unit that needs the mean donors of a stage, its first argument, alone."""
        stage: Stage = unit.arguments[0]
        if self._fan_out and not self._store.has(unit.kind, unit.key):
            prompts = (*stage.emotion.prompts, *stage.neutral.prompts)
            self._elsewhere(self._captures.of(p, stage.framing, False) for p in prompts)
            self._elsewhere([unit])
        return self._entry(unit)  # type: ignore[no-any-return]

    def capture(self, prompt: str, framing: Framing, every: bool) -> Capture:
        """One prompt's activations, from the store or recorded."""
        from phase7.engine.patch.capture import Capture

        return Capture(**self._entry(self._captures.of(prompt, framing, every)))

    def capture_beside(
        self, prompt: str, framing: Framing, every: bool, beside: units.Unit
    ) -> UnitCapture:
        """What an MLP or a residual stream gave on one prompt."""
        from phase7.engine.patch.capture import UnitCapture

        return UnitCapture(**self._entry(self._captures.of(prompt, framing, every, beside)))

    def _entry(self, unit: Unit) -> Any:
        """The unit's entry, from the store or computed here."""
        recipes: dict[str, Callable[..., Any]] = {
            "capture": lambda *asked: recorded(self.model, *asked),
            "generation": lambda *asked: self._generated([asked])[0],
            "lens": self._promoted,
            "attribution": self._attribute,
            "circuit": self._path_shares,
            "reads": self._look,
            "fluency": self._guard,
            "path": lambda stage, prompt: self._continue(stage, [prompt])[0],
            "vector": self._written,
            "readout": self._read,
        }

        def compute() -> Any:
            with one_thread():
                value = recipes[unit.kind](*unit.arguments)
            self._told.done(unit.n_tokens)
            return value

        return self._store.get(unit.kind, unit.key, compute)

    def _elsewhere(self, units: Iterable[Unit]) -> None:
        """Have the units that the store lacks computed by the other threads or processes.

        Without these, the groups among them are computed here; a unit alone waits until it is wanted.
        """
        lacking = list({str(u.key): u for u in units if not self._store.has(u.kind, u.key)}.values())
        if not lacking:
            return
        computed, hits = self._store.n_computed, self._store.n_hits
        if self._fan_out is not None:
            for unit in self._fan_out(lacking):
                if isinstance(unit, int):
                    self._told.under_way(unit)
                    continue
                computed[unit.kind] = computed.get(unit.kind, 0) + 1
                if unit.kind != "capture":  # it is read here once, which is no hit
                    hits[unit.kind] = hits.get(unit.kind, 0) - 1
                self._told.done(unit.n_tokens)
            return
        for group in (group for group in self.side_by_side(lacking) if len(group) > 1):
            self.compute(group)
            for unit in group:
                hits[unit.kind] = hits.get(unit.kind, 0) - 1
                self._told.done(unit.n_tokens)

    def _promoted(self, stage: Stage, heads: Sequence[Head], words: Sequence[str]) -> dict[str, Any]:
        from phase7.engine.patch.lens import promoted_tokens

        return promoted_tokens(self.model, list(heads), *self.donors.means(stage), words)

    def _written(self, stage: Stage, heads: Sequence[Head]) -> dict[str, Any]:
        from phase7.engine.patch.vector import vectors_by_layer

        return vectors_by_layer(self.model, heads, *self.donors.means(stage))

    def _patches(self, stage: Stage, batch: Batch) -> tuple[list[Patch], dict[str, Donor]]:
        from phase7.run.patches import patches_of

        return patches_of(stage, batch, self.donors)

    def _step(self, n_tokens: int) -> None:
        self._each_step(n_tokens)
        self._told.under_way(n_tokens)

    def _continue(self, stage: Stage, prompts: Sequence[str]) -> list[dict[str, Any]]:
        from phase7.run.reading import continuations

        return continuations(self.model, stage, prompts, self._step)

    def _read(self, plan: ReadoutPlan | ContrastPlan, batch: Batch, way: Any) -> dict[str, Any]:
        from phase7.run.reading import contrasting, reading

        patches = self._patches(plan.stage, batch)
        if isinstance(plan, ContrastPlan):
            return contrasting(self.model, plan, batch, way, *patches)
        return reading(self.model, plan, batch, way, *patches, self._token_sets(plan))

    def _attribute(self, plan: AttributionPlan, index: int, way: Any) -> dict[str, Any]:
        from phase7.run.attributing import attributed

        readouts = plan.readouts
        sets = {} if isinstance(readouts, ContrastPlan) else self._token_sets(readouts)
        return attributed(self.model, plan, index, way, self.donors, sets)

    def _path_shares(self, plan: CircuitPlan, index: int, way: Any) -> dict[str, Any]:
        from phase7.run.pathing import paths

        return paths(self.model, plan, index, way, self.donors, self._token_sets(plan.readouts))

    def _look(self, plan: CircuitPlan) -> dict[str, Any]:
        from phase7.run.pathing import reads

        return reads(self.model, plan)

    def _token_sets(self, plan: ReadoutPlan) -> TokenSets:
        """The tokens of a plan's words, found once: every form of each has to be tokenized."""
        from phase7.run.reading import token_sets

        if plan.sets not in self._found_sets:
            self._found_sets[plan.sets] = token_sets(self.model, plan)
        return self._found_sets[plan.sets]

    def _guard(self, stage: Stage, batch: Batch) -> dict[str, Any]:
        from phase7.run.reading import guards

        texts = self._entry(generation_unit(stage, batch))
        return guards(self.model, stage, batch, texts, n_guarded(stage))

    def _together(self, units: Sequence[Unit]) -> list[dict[str, Any]]:
        if units[0].kind == "path":
            return self._continue(units[0].arguments[0], [unit.arguments[1] for unit in units])
        return self._generated([unit.arguments for unit in units])

    def _generated(self, asked: Sequence[tuple[Stage, Batch]]) -> list[dict[str, Any]]:
        from phase7.run.generating import generations

        arms = [self._patches(stage, batch) for stage, batch in asked]
        return generations(self.model, asked, arms, self._step)
