"""Sections 1 to 6 of one (model, emotion).

What enters: a view of the group and a language. What leaves: lines of Markdown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from phase7.metrics import GOEMOTIONS, KEYWORDS, POLITENESS, SENTIMENT
from phase7.report.language import Language, say
from phase7.report.tables import interval, marked, number, probability, safe, signed, table
from phase7.report.view import GroupView
from phase7.statistics import minimum_p, overall_note, overall_rating, size_note, size_of_effect

_N_TEXTS = 6
_N_SWEEP = 10


def settings(view: GroupView, lang: Language) -> list[str]:
    """Section 1."""
    names = [
        "model", "model_source", "target_heads", "patch_mode", "modes", "use_attn_result", "donor",
        "control", "positions", "n_neutral_prompts", "n_emotion_prompts", "n_discovery_prompts",
        "n_confirmation_prompts", "max_new_tokens", "sweep_max_new_tokens", "temperature", "top_p",
        "samples", "seed", "prompt_format", "device", "dtype", "strongest_heads", "random_heads",
        "fdr_family",
    ]  # fmt: skip
    rows = [[name, safe(_shown(view.settings[name]))] for name in names if name in view.settings]
    lines = table([say(lang, "setting"), say(lang, "value")], rows)
    for scorer in view.settings["scorers"]:
        quality = "; ".join(f"{k} {v}" for k, v in scorer.get("quality", {}).items())
        text = f"{scorer['name']} {scorer['version']}: {scorer['description']}"
        lines.append(f"- {say(lang, 'scorer', text=safe(text + (f' ({quality})' if quality else '')))}")
    return [*lines, ""]


def comparison(view: GroupView, lang: Language) -> list[str]:
    """Section 2: the target heads in the primary mode."""
    row = view.rows[view.mode][view.target]
    half = "half_confirmation" if view.settings["n_discovery_prompts"] else "half_all"
    n = int(row.n_prompts)
    note = say(lang, "target_note", target=view.target, mode=view.mode, n=n, half=say(lang, half))
    lines = [note, "", *_comparison_table(view, row, SENTIMENT + POLITENESS + KEYWORDS, lang)]
    return [
        *lines, f"#### {say(lang, 'goemotions')}", "", *_comparison_table(view, row, GOEMOTIONS, lang)
    ]  # fmt: skip


def modes(view: GroupView, lang: Language) -> list[str]:
    """Section 3: the target heads in every mode."""
    metrics = [m for m in view.headline if m in (*SENTIMENT, *POLITENESS, view.own_metric)]
    header = [say(lang, "mode")]
    for metric in metrics:
        name = _name(metric)
        header += [f"{name} Δ", *_net_header(view, lang, name), f"{name} {say(lang, 'size')}"]
    header += [say(lang, "changed"), "KL (nats)"]
    rows = []
    for mode in view.settings["modes"]:
        row = view.rows[mode].get(view.target)
        if row is None:
            continue
        cells = [mode]
        for metric in metrics:
            cells += [signed(float(row.delta.sel(metric=metric)))]
            cells += _net_cells(view, row, metric)
            cells += [_size(view, row, metric, lang)]
        cells += [number(float(row.changed_share), 2), number(float(row.kl_first_token.mean()), 4)]
        rows.append(cells)
    notes = [say(lang, "sentiment_note"), say(lang, "thresholds", note=size_note(alpha=view.alpha))]
    return [*table(header, rows), " ".join(notes), ""]


def by_head(view: GroupView, lang: Language) -> list[str]:
    """Section 4: every tested head, the sets with their synergy, and the sweep's strongest."""
    half = "half_confirmation" if view.settings["n_discovery_prompts"] else "half_all"
    title = say(lang, "confirmed_heads", half=say(lang, half), mode=view.mode)
    lines = [f"#### {title}", "", *_head_table(view, view.singles, lang)]
    lines += [say(lang, "thresholds", note=overall_note(alpha=view.alpha)), ""]
    if view.sets:
        lines += [f"#### {say(lang, 'combinations')}", "", *_head_table(view, view.sets, lang)]
        lines += _synergy_table(view, lang)
    return lines + _sweep_table(view, lang)


def texts(view: GroupView, lang: Language) -> list[str]:
    """Section 5: baseline, patched and control texts side by side."""
    stored = view.child("texts")
    if stored is None or view.target not in stored.head_set.values:
        return []
    metric = next(iter(reversed(view.headline)), SENTIMENT[0])
    metric = view.own_metric if view.own_metric and view.measured(view.own_metric) else metric
    row = view.rows[view.mode][view.target]
    change = np.abs(row.patched.sel(metric=metric) - view.main.baseline.sel(metric=metric)).values
    tested = np.flatnonzero(~np.isnan(change))
    # Largest change first; equal ones in file order, those with another text before the unchanged.
    chosen = stored.sel(head_set=view.target, mode=view.mode)
    differs = (chosen.patched_text != chosen.baseline_text).any("sample").values
    order = sorted(tested, key=lambda p: (-round(float(change[p]), 9), not differs[p], p))[:_N_TEXTS]
    same = int((chosen.patched_text == chosen.baseline_text).isel(prompt=tested).sum())
    total = len(tested) * chosen.sizes["sample"]
    rule = say(
        lang, "texts_rule", target=view.target, mode=view.mode, metric=metric, n=len(order),
        same=same, total=total,
    )  # fmt: skip
    header = [say(lang, k) for k in ("prompt", "baseline", "patched")]
    header += [say(lang, "control_text")] if view.has_control else []
    rows = []
    for p in order:
        one = chosen.isel(prompt=p, sample=0)
        baseline = str(one.baseline_text.item())
        cells = [safe(str(one.prompt_text.item())), safe(baseline)]
        cells.append(marked(str(one.patched_text.item()), baseline))
        if view.has_control:
            cells.append(marked(str(one.control_text.item()), baseline))
        rows.append(cells)
    return [rule, "", *table(header, rows)]


def lengths(view: GroupView, lang: Language) -> list[str]:
    """Section 6: what can be detected at each continuation length, and why."""
    stored = view.child("lengths")
    if stored is None:
        return []
    q = stored[f"{view.prefix}q_value"]
    rows, found = [], []
    for length in stored.length.values:
        here = q.sel(length=length)
        found.append(int((here < view.alpha).sum()))
        rows.append(
            [
                str(length),
                number(float(stored.changed_share.sel(length=length).mean()), 2),
                str(int(here.notnull().sum())),
                str(found[-1]),
                *_best(here),
            ]
        )
    keys = ("length", "changed", "n_tests", "n_found", "smallest_q", "best")
    lines = table([say(lang, key, alpha=view.alpha) for key in keys], rows)
    row = view.rows[view.mode][view.target]
    control = float(row.control_kl_first_token.mean())
    lines += [
        say(
            lang, "kl_row", kl=number(float(row.kl_first_token.mean()), 4),
            control=number(control, 4), target=view.target, mode=view.mode,
        ),
        "",
        _why(view, stored, found, lang),
        "",
    ]  # fmt: skip
    return lines


def _why(view: GroupView, stored: xr.Dataset, found: list[int], lang: Language) -> str:
    first, last = int(stored.length[0]), int(stored.length[-1])
    share = stored.changed_share.mean(["head_set", "mode"])
    reason = say(
        lang, "why_changed", first=first, last=last,
        share_first=number(float(share[0]), 2), share_last=number(float(share[-1]), 2),
    )  # fmt: skip
    if max(found):
        told = say(
            lang, "why_same", first=first, last=last, n_first=found[0], n_last=found[-1],
            alpha=view.alpha,
        )  # fmt: skip
    else:
        n = int(view.settings["n_confirmation_prompts"])
        smallest = float(stored[f"{view.prefix}q_value"].min())
        told = say(
            lang, "why_none", alpha=view.alpha, q=probability(smallest), n=n,
            p=f"{float(minimum_p(n)):.2g}",
        )  # fmt: skip
    return f"{told} {reason}"


def _comparison_table(
    view: GroupView, row: xr.Dataset, metrics: tuple[str, ...], lang: Language
) -> list[str]:
    header = [say(lang, k) for k in ("metric", "baseline", "patched", "delta")]
    if view.has_control:
        header += [say(lang, "control_delta"), say(lang, "net_delta")]
    header += [say(lang, "interval"), "p", "q"]
    rows = []
    for metric in metrics:
        if not view.measured(metric):
            rows.append([metric, say(lang, "not_measured"), *["–"] * (len(header) - 2)])
            continue
        baseline, patched = view.means(row, metric)
        cells = [
            metric,
            number(baseline),
            number(patched),
            signed(float(row.delta.sel(metric=metric))),
        ]
        if view.has_control:
            cells += [signed(float(row.control_delta.sel(metric=metric)))]
            cells += [signed(view.stat(row, "delta", metric))]
        cells += [interval(view.stat(row, "ci_low", metric), view.stat(row, "ci_high", metric))]
        cells += [probability(view.stat(row, "p_value", metric))]
        cells += [_q(view, row, metric)]
        rows.append(cells)
    return table(header, rows)


def _head_table(view: GroupView, labels: list[str], lang: Language) -> list[str]:
    header = [say(lang, "head" if labels == view.singles else "heads")]
    for metric in view.headline:
        header += [f"{_name(metric)} Δ", *_net_header(view, lang, _name(metric)), "q"]
    header += [say(lang, "changed"), "KL (nats)", say(lang, "overall")]
    rows = []
    for label in labels:
        row = view.rows[view.mode][label]
        cells = [label]
        for metric in view.headline:
            cells += [signed(float(row.delta.sel(metric=metric))), *_net_cells(view, row, metric)]
            cells += [_q(view, row, metric)]
        d, q = row[f"{view.prefix}effect_size"].values, row[f"{view.prefix}q_value"].values
        cells += [number(float(row.changed_share), 2), number(float(row.kl_first_token.mean()), 4)]
        cells += [str(overall_rating(d, q, alpha=view.alpha))]
        rows.append(cells)
    return table(header, rows)


def _synergy_table(view: GroupView, lang: Language) -> list[str]:
    keys = ("heads", "mode", "metric", "estimate", "interval")
    header = [*(say(lang, k) for k in keys), "p", "q", say(lang, "synergy")]
    rows = []
    for label in view.sets:
        for mode in view.settings["modes"]:
            row = view.rows[mode].get(label)
            for metric in view.headline if row is not None else []:
                cell = row.sel(metric=metric)  # type: ignore[union-attr]
                rows.append(
                    [
                        label, mode, metric, signed(float(cell.synergy)),
                        interval(float(cell.synergy_ci_low), float(cell.synergy_ci_high)),
                        probability(float(cell.synergy_p_value)),
                        probability(float(cell.synergy_q_value)), str(cell.synergy_verdict.item()),
                    ]
                )  # fmt: skip
    return [*table(header, rows), say(lang, "synergy_note"), ""]


def _sweep_table(view: GroupView, lang: Language) -> list[str]:
    sweep = view.child("sweep")
    chosen = view.settings["strongest_heads"][:_N_SWEEP]
    if sweep is None or not chosen:
        return []
    title = say(
        lang, "sweep", n=view.settings["n_discovery_prompts"],
        tokens=view.settings["sweep_max_new_tokens"],
    )  # fmt: skip
    header = [say(lang, "head"), say(lang, "mode")]
    for metric in view.headline:
        header += [f"{_name(metric)} Δ", *_net_header(view, lang, _name(metric))]
    header += ["KL (nats)"]
    rows = []
    for label in chosen:
        layer, head = (int(part) for part in label.split(":"))
        for mode in sweep["mode"].values:
            row = sweep.sel(layer=layer, head=head, mode=mode)
            if int(row.n_prompts) == 0:
                continue
            cells = [label, str(mode)]
            for metric in view.headline:
                cells += [
                    signed(float(row.delta.sel(metric=metric))),
                    *_net_cells(view, row, metric),
                ]
            rows.append([*cells, number(float(row.kl_first_token.mean()), 4)])
    rule = say(lang, "sweep_rule", rule=view.settings["selection_rule"])
    return [f"#### {title}", "", *table(header, rows), rule, ""]


def _best(q: xr.DataArray) -> list[str]:
    """Smallest q and the test it belongs to."""
    if not bool(q.notnull().any()):
        return ["–", "–"]
    place = np.unravel_index(int(np.nanargmin(q.values)), q.shape)
    names = [str(q[dim].values[i]) for dim, i in zip(q.dims, place, strict=True)]
    return [probability(float(q.values[place])), ", ".join(names)]


def _q(view: GroupView, row: xr.Dataset, metric: str) -> str:
    q = view.stat(row, "q_value", metric)
    text = probability(q)
    return f"**{text}**" if q < view.alpha else text


def _size(view: GroupView, row: xr.Dataset, metric: str, lang: Language) -> str:
    d, q = view.stat(row, "effect_size", metric), view.stat(row, "q_value", metric)
    return str(size_of_effect(d, q, alpha=view.alpha))


def _net_header(view: GroupView, lang: Language, name: str) -> list[str]:
    return [f"{name} {say(lang, 'net_delta')}"] if view.has_control else []


def _net_cells(view: GroupView, row: xr.Dataset, metric: str) -> list[str]:
    return [signed(float(row.net_delta.sel(metric=metric)))] if view.has_control else []


def _name(metric: str) -> str:
    if metric == SENTIMENT[0]:
        return "sentiment"
    return metric.removeprefix("goemotions_").replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
