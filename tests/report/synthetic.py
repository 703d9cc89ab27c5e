"""An effects tree made of random numbers, as :mod:`phase7.effects.datasets` would write it.

Scores are drawn per prompt, and the statistics computed from them by :mod:`phase7.statistics`, so
that tables, tests and texts agree. Heads named in `planted` raise the emotion's metrics; others do
nothing but replace texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from phase7.effects import attributes
from phase7.effects.families import primary_metrics
from phase7.effects.inference import cell_statistics
from phase7.effects.positive_controls import PositiveControls, controls_dataset, prompting_shares
from phase7.effects.scores import Scores
from phase7.effects.synergies import synergies
from phase7.experiment.stages import Cell
from phase7.experiment.statistics import Statistics
from phase7.statistics import benjamini_hochberg
from phase7.vocabulary.heads import HeadSet
from phase7.vocabulary.metrics import METRICS
from phase7.vocabulary.modes import MODES
from phase7.vocabulary.readouts import has_direction, is_readout, measured_on

STATISTICS = Statistics(resamples=500)
COUNTS = tuple(METRICS.index(f"{e}_keywords") for e in ("gratitude", "anger", "apology"))
LENGTHS = (1, 5, 10, 30)
WORDS = [
    "the",
    "kettle",
    "is",
    "on",
    "a",
    "shelf",
    "near",
    "blue",
    "cups",
    "and",
    "buses",
    "leave",
    "at",
    "ten",
    "past",
    "six",
    "by",
    "the",
    "mill",
]

#: Texts that a careless table, page or terminal would choke on.
NASTY = (
    "a | b || c \\| d",
    "line one\nline two\r\n\r\n# not a heading\n- not a list",
    "<script>alert(1)</script><!-- </td></tr></table> &lt; &amp; <b>",
    "\x1b[31mred\x1b[0m \x07 \x00 \x9b2J \u202eevil\u202c \u2028 \ufeff",
    "**bold** _it_ `code` ``` ~~no~~ [x](javascript:alert(1)) ![i](http://x) $$x^2$$ :smile: @me #1",
    "",
    "   ",
    "| --- | --- |\n| x | y |",
    "{} {0} {name} %s",
)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What the tree holds. `planted` heads act in every mode; `missing` metrics are NaN.

    With `controls`, prompting raises every metric but the `unmoved`. With `attributed`, read-outs of all
    heads are predicted on both halves, and net effects have a p over donor pairs.
    """

    seed: int = 1
    n_layers: int = 4
    n_heads: int = 3
    n_discovery: int = 8
    n_confirmation: int = 12
    n_samples: int = 2
    target: str = "1:2,3:0"
    strongest: tuple[str, ...] = ("0:1", "1:2")
    planted: tuple[str, ...] = ()
    modes: tuple[str, ...] = MODES
    control: bool = True
    sweep: bool = True
    head_sets: bool = True
    sets: tuple[str, ...] = ()
    readouts: tuple[str, ...] = ()
    swept_text: bool = True
    controls: tuple[str, ...] = ()
    unmoved: tuple[str, ...] = ()
    attributed: bool = False
    missing: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    emotion: str = "gratitude"
    model: str = "tiny"
    settings: Mapping[str, Any] = field(default_factory=dict)


def tree(*specs: Spec) -> xr.DataTree:
    """A tree of one group for each spec."""
    nodes: dict[str, xr.Dataset] = {}
    for spec in specs or (Spec(),):
        for name, dataset in _Builder(spec).datasets().items():
            nodes[f"/{spec.model}/{spec.emotion}/{name}".rstrip("/")] = dataset
    made = xr.DataTree.from_dict(nodes)
    made.attrs.update(profile="synthetic", schema_version=1, provenance=json.dumps(PROVENANCE))
    return made


PROVENANCE: dict[str, Any] = {
    "config": {},
    "seed": 7,
    "packages": {"numpy": "2.4.6", "phase7": "0.1.0", "torch": None},
    "models": {"tiny": {"fingerprint": "ab" * 32, "source": "made up", "revision": None}},
    "machine": {"architecture": "x86_64", "n_cpus": 2},
    "git_commit": None,
    "created_at": "2026-01-01T00:00:00+00:00",
    "self_check": {"batches": 12, "rows": 34, "failures": 0, "max_logit_gap": 0.0},
}


class _Builder:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.rng = np.random.default_rng(spec.seed)
        n_first = spec.n_discovery if spec.sweep else 0
        self.n = n_first + spec.n_confirmation
        self.discovery = np.arange(n_first)
        self.confirmation = np.arange(n_first, self.n)
        self.metrics = (*METRICS, *spec.readouts)
        self.measured = np.array([metric not in spec.missing for metric in self.metrics])
        self.baseline = self._draw((len(self.metrics), self.n))
        targets = spec.target.split(",")
        self.singles = sorted({*targets, *spec.strongest}, key=_place)
        joint = [spec.target] if len(targets) > 1 and spec.head_sets else []
        self.labels = [*self.singles, *joint, *spec.sets]

    def _draw(self, shape: tuple[int, ...]) -> np.ndarray:
        scores = self.rng.beta(2.0, 5.0, shape)
        scores[..., list(COUNTS), :] = self.rng.poisson(0.4, scores[..., list(COUNTS), :].shape)
        scores[..., ~self.measured, :] = np.nan
        return scores

    def _patched(self, label: str, *, emotion: bool) -> np.ndarray:
        """Scores [metric, prompt] of one cell: the baseline's for a third of the prompts."""
        fresh = 0.85 * self.baseline + 0.15 * self._draw(self.baseline.shape)
        same = self.rng.random(self.n) < 1 / 3
        scores = np.where(same, self.baseline, fresh)
        lift = sum(head in self.spec.planted for head in label.split(","))
        if emotion and lift:
            for metric in ("sentiment_positive", f"goemotions_{self.spec.emotion}"):
                if metric in METRICS:
                    shift = 0.2 * lift + self.rng.normal(0.0, 0.04, self.n)
                    scores[METRICS.index(metric)] += shift
            for metric in self.spec.readouts:
                scores[self.metrics.index(metric)] += 0.8 * lift
        return scores

    def datasets(self) -> dict[str, xr.Dataset]:
        spec = self.spec
        everyone = [f"{x}:{y}" for x in range(spec.n_layers) for y in range(spec.n_heads)]
        main = [(label, mode) for label in self.singles for mode in spec.modes]
        sets = [(label, mode) for label in self.labels if "," in label for mode in spec.modes]
        scores = {cell: self._scores(cell[0]) for cell in (*main, *sets)}
        # One family over heads and sets, as in the pipeline.
        stats = self._statistics(scores, self.confirmation)
        made = {"": self._grid(main, scores, stats, self.confirmation)}
        if sets:
            made["head_sets"] = self._sets(sets, scores, stats)
        made[""].attrs.update(
            model=spec.model, emotion=spec.emotion, settings=json.dumps(self._settings())
        )
        if spec.sweep:
            swept = [(label, spec.modes[0]) for label in everyone]
            swept_scores = {cell: self._scores(cell[0]) for cell in swept}
            if not spec.swept_text:
                for one in swept_scores.values():
                    for values in one.values():
                        values[: len(METRICS)] = np.nan
            swept_stats = self._statistics(swept_scores, self.discovery)
            del swept_stats["p_adjusted"], swept_stats["is_primary"]
            made["sweep"] = self._grid(swept, swept_scores, swept_stats, self.discovery)
            if not spec.swept_text:
                for name in ("kl_first_token", "changed_share"):
                    for prefix in ("", "control_"):
                        made["sweep"][prefix + name] = made["sweep"][prefix + name] * np.nan
        if spec.controls:
            made["positive_controls"] = self._controls(
                [made[""], *([made["head_sets"]] if sets else [])]
            )
        if spec.attributed:
            made["attribution"] = self._attribution()
        made["lengths"] = self._lengths([*main, *sets])
        made["texts"] = self._texts([*main, *sets], self.confirmation)
        if spec.sweep and spec.swept_text:
            drawn = self.rng
            self.rng = np.random.default_rng(spec.seed + 1)
            made["sweep/texts"] = self._texts(
                [(label, spec.modes[0]) for label in everyone], self.discovery
            )
            self.rng = drawn
        made["ov"] = self._ov()
        coords = {
            "layer": np.arange(spec.n_layers),
            "head": np.arange(spec.n_heads),
            "mode": list(MODES),
            "metric": list(self.metrics),
            "measured_on": ("metric", [measured_on(metric) for metric in self.metrics]),
            "prompt": np.arange(self.n),
            "prompt_text": ("prompt", [self._text() for _ in range(self.n)]),
            "split": ("prompt", self._splits()),
        }
        named = {"model": spec.model, "emotion": spec.emotion}
        return {
            name: attributes.label(
                dataset.assign_coords(
                    {
                        k: v
                        for k, v in coords.items()
                        if (v[0] if type(v) is tuple else k) in dataset.dims
                    }
                ).assign_attrs(named)
            )
            for name, dataset in made.items()
        }

    def _splits(self) -> list[str]:
        first = ["discovery"] * len(self.discovery)
        return [*first, *(["confirmation" if self.spec.sweep else "all"] * len(self.confirmation))]

    def _scores(self, label: str) -> dict[str, np.ndarray]:
        scores = {"emotion": self._patched(label, emotion=True)}
        if self.spec.control:
            scores["control"] = self._patched(label, emotion=False)
        return scores

    def _statistics(
        self, scores: Mapping[Any, Mapping[str, np.ndarray]], prompts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Each statistic [cell, metric] in the order of `scores`."""
        patched = {
            role: np.stack([one[role] for one in scores.values()])[..., prompts]
            for role in next(iter(scores.values()))
        }
        made = Scores(
            baseline=self.baseline[:, prompts], patched=patched, changed={}, metrics=self.metrics
        )  # fmt: skip
        names = primary_metrics(self.metrics, self.spec.emotion, STATISTICS)
        declared = ["," in label and mode == self.spec.modes[0] for label, mode in scores]
        primary = np.outer(declared, [metric in names for metric in self.metrics])
        self._tested = made, cell_statistics(made, STATISTICS, 7, primary)
        found = dict(self._tested[1].values)
        found["is_primary"] = primary
        if self.spec.attributed:
            logits = [is_readout(metric) for metric in self.metrics]
            found["net_donor_p_value"] = np.where(logits, found["net_p_value"] / 2, np.nan)
        return found

    def _controls(self, datasets: Sequence[xr.Dataset]) -> xr.Dataset:
        """The positive controls; effects as shares of prompting's are added to the Datasets."""
        still = np.array([metric in self.spec.unmoved for metric in self.metrics])
        noise = self.rng.normal(0, 0.05, (len(self.spec.controls), *self.baseline.shape))
        noise -= noise[..., self.confirmation].mean(axis=-1, keepdims=True)
        moved = self.baseline + noise + np.where(still, 0.0, 0.4)[:, None]
        scores = Scores(
            baseline=self.baseline[:, self.confirmation],
            patched={"emotion": moved[..., self.confirmation]}, changed={}, metrics=self.metrics,
        )  # fmt: skip
        found = PositiveControls(names=self.spec.controls, scores=scores)
        result = found.statistics(Statistics(resamples=500), 7)
        for dataset in datasets:
            other = dataset["control_patched"] if self.spec.control else dataset["baseline"]
            effect = (dataset["patched"] - other).transpose(..., "metric", "prompt")
            values = effect.values[..., self.confirmation]
            flat = values.reshape(-1, *values.shape[-2:])
            for name, column in prompting_shares(found, flat, Statistics(resamples=500), 7).items():
                dataset[name] = (effect.dims[:-1], column.reshape(values.shape[:-1]))
        return controls_dataset(found, range(self.n), self.confirmation.tolist(), result)

    def _attribution(self) -> xr.Dataset:
        halves = ["discovery", "confirmation"] if self.spec.sweep else ["all"]
        shape = (self.spec.n_layers, self.spec.n_heads, len(MODES), len(self.metrics))
        logits = [is_readout(metric) and has_direction(metric) for metric in self.metrics]
        base = np.where(logits, self.rng.normal(0, 0.2, shape), np.nan)
        for head in self.spec.planted:
            base[_place(head)] += 0.8
        dims = ("half", "layer", "head", "mode", "metric")
        variables = {
            name: (dims, base + self.rng.normal(0, 0.1, (len(halves), *shape)))
            for name in ("predicted_delta", "predicted_net_delta")
        }
        dataset = xr.Dataset(variables, coords={"half": halves})
        if self.spec.sweep:  # of every other head
            drawn = (np.arange(base[..., 0, 0].size) % 2 == 0).reshape(shape[:2])[..., None, None]
            for name in ("delta", "net_delta"):
                measured = base + self.rng.normal(0, 0.1, shape)
                dataset[f"checked_{name}"] = (dims[1:], np.where(drawn, measured, np.nan))
        return dataset

    def _cellwise(
        self,
        cells: Sequence[tuple[str, str]],
        scores: Mapping[Any, Mapping[str, np.ndarray]],
        stats: Mapping[str, np.ndarray],
        prompts: np.ndarray,
    ) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Every variable on [cell, ...]."""
        place = [list(scores).index(cell) for cell in cells]
        found = {name: (("metric",), values[place]) for name, values in stats.items()}
        outside = np.ones(self.n, bool)
        outside[prompts] = False
        for role, prefix in (("emotion", ""), ("control", "control_")):
            empty = np.full_like(self.baseline, np.nan)
            table = np.stack([scores[cell].get(role, empty) for cell in cells])
            table[..., outside] = np.nan
            found[f"{prefix}patched"] = (("metric", "prompt"), table)
            kl = self.rng.gamma(1.0, 0.02, (len(cells), self.n))
            share = self.rng.integers(4, 10, len(cells)) / 10
            if role == "control" and not self.spec.control:
                kl, share = np.full_like(kl, np.nan), np.full_like(share, np.nan)
            kl[:, outside] = np.nan
            found[f"{prefix}kl_first_token"] = (("prompt",), kl)
            found[f"{prefix}changed_share"] = ((), share)
        found["n_prompts"] = ((), np.full(len(cells), len(prompts)))
        return found

    def _scatter(
        self,
        shape: tuple[int, ...],
        dims: tuple[str, ...],
        index: tuple[np.ndarray, ...],
        found: Mapping[str, tuple[tuple[str, ...], np.ndarray]],
        prompts: np.ndarray,
    ) -> xr.Dataset:
        variables = {}
        for name, (extra, values) in found.items():
            empty: Any = 0 if name in ("n_prompts", "is_primary") else np.nan
            whole = np.full((*shape, *values.shape[1:]), empty, dtype=values.dtype)
            whole[index] = values
            variables[name] = ((*dims, *extra), whole)
        baseline = np.full_like(self.baseline, np.nan)
        baseline[:, prompts] = self.baseline[:, prompts]
        variables["baseline"] = (("metric", "prompt"), baseline)
        return xr.Dataset(variables)

    def _grid(
        self, cells: Sequence[tuple[str, str]], scores: Any, stats: Any, prompts: np.ndarray
    ) -> xr.Dataset:
        places = [(*_place(label), MODES.index(mode)) for label, mode in cells]
        index = tuple(np.array(places).T)
        shape = (self.spec.n_layers, self.spec.n_heads, len(MODES))
        found = self._cellwise(cells, scores, stats, prompts)
        return self._scatter(shape, ("layer", "head", "mode"), index, found, prompts)

    def _sets(self, cells: Sequence[tuple[str, str]], scores: Any, stats: Any) -> xr.Dataset:
        labels = list(dict.fromkeys(label for label, _ in cells))
        found = self._cellwise(cells, scores, stats, self.confirmation)
        tested = [Cell(HeadSet.parse(label).heads, mode) for label, mode in scores]
        places = [list(scores).index(cell) for cell in cells]
        joint = synergies(tested, *self._tested, places, STATISTICS, 7)
        verdicts = joint.pop("synergy_verdict")
        found |= {name: (("metric",), values) for name, values in joint.items()}
        index = (
            np.array([labels.index(label) for label, _ in cells]),
            np.array([MODES.index(mode) for _, mode in cells]),
        )
        shape = (len(labels), len(MODES))
        made = self._scatter(shape, ("head_set", "mode"), index, found, self.confirmation)
        verdict = np.full((*shape, len(self.metrics)), "undetermined", dtype="<U12")
        verdict[index] = verdicts
        made["synergy_verdict"] = (("head_set", "mode", "metric"), verdict)
        return made.assign_coords(head_set=labels)

    def _lengths(self, cells: Sequence[tuple[str, str]]) -> xr.Dataset:
        shape = (len(LENGTHS), len(self.labels), len(MODES))
        index = (
            np.array([self.labels.index(label) for label, _ in cells]),
            np.array([MODES.index(mode) for _, mode in cells]),
        )
        variables: dict[str, Any] = {}
        for prefix in ("", "net_"):
            absent = prefix and not self.spec.control
            columns = {
                "delta": self.rng.normal(0, 0.05, (len(LENGTHS), len(cells), len(self.metrics))),
                "p_value": self.rng.random((len(LENGTHS), len(cells), len(self.metrics))),
                "effect_size": self.rng.normal(0, 0.4, (len(LENGTHS), len(cells), len(self.metrics))),
            }
            columns["delta"][0] = 0.0
            if self.spec.planted:
                columns["p_value"][1:, :, :1] = 1e-5
            if self.spec.n_confirmation < 2:
                columns["p_value"][:] = columns["effect_size"][:] = np.nan
            for column in columns.values():
                column[..., ~self.measured] = column[..., len(METRICS) :] = np.nan
                if absent:
                    column[:] = np.nan
            columns["q_value"] = benjamini_hochberg(columns["p_value"])
            for name, column in columns.items():
                whole = np.full((*shape, len(self.metrics)), np.nan)
                whole[:, index[0], index[1]] = column
                variables[prefix + name] = (("length", "head_set", "mode", "metric"), whole)
        share = np.full(shape, np.nan)
        share[:, index[0], index[1]] = np.array([0.1, 0.3, 0.5, 0.8])[:, None]
        variables["changed_share"] = (("length", "head_set", "mode"), share)
        return xr.Dataset(variables, coords={"length": list(LENGTHS), "head_set": self.labels})

    def _text(self) -> str:
        if self.spec.texts:
            return str(self.rng.choice(np.array(self.spec.texts, dtype=object)))
        return " ".join(self.rng.choice(WORDS, 12))

    def _texts(self, cells: Sequence[tuple[str, str]], prompts: np.ndarray) -> xr.Dataset:
        labels = list(dict.fromkeys(label for label, _ in cells))
        shape = (len(labels), len(MODES), self.n, self.spec.n_samples)
        baseline = np.full(shape[2:], "", dtype=object)
        tables = {role: np.full(shape, "", dtype=object) for role in ("patched", "control")}
        was_generated = np.zeros(shape[:3], dtype=bool)
        for prompt in prompts:
            for sample in range(self.spec.n_samples):
                start = self._text()
                baseline[prompt, sample] = f"{start} {self._text()}"
                for label, mode in cells:
                    place = (labels.index(label), MODES.index(mode), prompt, sample)
                    was_generated[place[:3]] = True
                    for role in ("patched", "control") if self.spec.control else ("patched",):
                        same = self.rng.random() < 0.4
                        other = baseline[prompt, sample] if same else f"{start} {self._text()}"
                        tables[role][place] = other
        dims = ("head_set", "mode", "prompt", "sample")
        return xr.Dataset(
            {
                "baseline_text": (dims[2:], baseline),
                "patched_text": (dims, tables["patched"]),
                "control_text": (dims, tables["control"]),
                "was_generated": (dims[:3], was_generated),
            },
            coords={"head_set": labels, "sample": np.arange(self.spec.n_samples)},
        )

    def _ov(self) -> xr.Dataset:
        shape = (len(self.singles), 2, 8)
        token = np.empty(shape, dtype=object)
        for place in np.ndindex(shape):
            token[place] = self._text()[:12]
        score = np.sort(self.rng.normal(0, 1, shape))[..., ::-1]
        has_words = self.spec.emotion in ("gratitude", "anger", "apology")
        z = (
            np.linspace(-1.0, 2.0, len(self.singles))
            if has_words
            else np.full(len(self.singles), np.nan)
        )
        return xr.Dataset(
            {
                "token": (("head_set", "direction", "rank"), token),
                "score": (("head_set", "direction", "rank"), score.copy()),
                "emotion_z": ("head_set", z),
                "emotion_rank": ("head_set", np.where(np.isnan(z), z, np.arange(len(z), 0, -1.0))),
            },
            coords={
                "head_set": self.singles,
                "direction": ["promoted", "suppressed"],
                "rank": np.arange(1, 9),
            },
        )

    def _settings(self) -> dict[str, Any]:
        spec = self.spec
        made: dict[str, Any] = {
            "model": spec.model,
            "model_source": "made up",
            "fingerprint": "ab" * 32,
            "n_layers": spec.n_layers,
            "n_heads": spec.n_heads,
            "emotion": spec.emotion,
            "target_heads": spec.target,
            "patch_mode": spec.modes[0],
            "modes": list(spec.modes),
            "donor": "mean",
            "control": "neutral" if spec.control else None,
            "positions": "generated",
            "use_attn_result": False,
            "n_neutral_prompts": self.n,
            "n_emotion_prompts": 9,
            "n_discovery_prompts": len(self.discovery),
            "n_confirmation_prompts": len(self.confirmation),
            "max_new_tokens": LENGTHS[-1],
            "sweep_max_new_tokens": 16 if spec.sweep else 0,
            "temperature": 0.8,
            "top_p": 0.9,
            "samples": spec.n_samples,
            "seed": 7,
            "prompt_format": "chat",
            "dtype": "float32",
            "device": "cpu",
            "scorers": [
                {
                    "name": "lexicon",
                    "version": "1.0",
                    "metrics": ["sentiment_positive"],
                    "description": "shares of words",
                    "quality": {"macro F1": 0.61234},
                }
            ],
            "families": "all cells and metrics of a stage",
            "alpha": 0.05,
            "strongest_heads": list(spec.strongest) if spec.sweep else [],
            "random_heads": [],
            "selection_rule": "root mean square of net Δ",
            "discovery_overlaps_confirmation": False,
        }
        return made | dict(spec.settings)


def _place(label: str) -> tuple[int, int]:
    layer, head = label.split(":")
    return int(layer), int(head)
