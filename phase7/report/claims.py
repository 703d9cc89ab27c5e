"""Section 7: sentences computed from the store, each with the row it comes from.

What enters: a view of the group and a language. What leaves: lines of Markdown. A sentence about an
effect appears only where its q is below the level; where there is none, the section says so.
"""

from __future__ import annotations

import numpy as np

from phase7.report.language import Language, say
from phase7.report.tables import interval, number, probability, safe, signed
from phase7.report.view import GroupView

_MOST = 8


def discussion(view: GroupView, lang: Language) -> list[str]:
    """Four paragraphs: evidence, modes, combinations, outlook."""
    lines: list[str] = []
    for title, sentences in (
        ("causal", _causal(view, lang)),
        ("modes", _modes(view, lang)),
        ("combined", _combined(view, lang)),
        ("outlook", _outlook(view, lang)),
    ):
        lines += [f"**{say(lang, title)}**", "", *(f"- {text}" for text in sentences), ""]
    return lines


def _causal(view: GroupView, lang: Language) -> list[str]:
    found, n_tests, best = [], 0, (float("inf"), "–")
    for mode, rows in view.rows.items():
        for label, row in rows.items():
            q = row[f"{view.prefix}q_value"]
            n_tests += int(q.notnull().sum())
            for metric in q.metric.values:
                value = float(q.sel(metric=metric))
                if value < best[0]:
                    best = (value, f"{label}, {mode}, {metric}")
                if value < view.alpha:
                    found.append((value, label, mode, str(metric)))
    if not found:
        q_text = probability(best[0]) if np.isfinite(best[0]) else "–"
        n = view.settings["n_confirmation_prompts"]
        sentences = [
            say(
                lang,
                "found_nothing",
                n_tests=n_tests,
                alpha=view.alpha,
                q=q_text,
                best=best[1],
                n=n,
            )
        ]
    else:
        sentences = [say(lang, "found_some", n_tests=n_tests, n_found=len(found), alpha=view.alpha)]
    for value, label, mode, metric in sorted(found)[:_MOST]:
        row = view.rows[mode][label]
        sentences.append(
            say(
                lang, "found_head", label=label, mode=mode, metric=metric,
                net=signed(view.stat(row, "delta", metric)),
                interval=interval(view.stat(row, "ci_low", metric), view.stat(row, "ci_high", metric)),
                q=probability(value),
            )
        )  # fmt: skip
    if view.has_control:
        rows = view.rows[view.mode].values()
        sentences.append(
            say(
                lang, "control_moves",
                share=number(float(np.mean([float(r.control_changed_share) for r in rows])), 2),
                emotion_share=number(float(np.mean([float(r.changed_share) for r in rows])), 2),
            )
        )  # fmt: skip
    if view.settings["discovery_overlaps_confirmation"]:
        sentences.append(say(lang, "overlap"))
    return sentences


def _modes(view: GroupView, lang: Language) -> list[str]:
    rows = {mode: rows[view.target] for mode, rows in view.rows.items() if view.target in rows}
    share = {mode: float(row.changed_share) for mode, row in rows.items()}
    kl = {mode: float(row.kl_first_token.mean()) for mode, row in rows.items()}
    most, most_kl = max(share, key=share.__getitem__), max(kl, key=kl.__getitem__)
    return [
        say(
            lang, "mode_most", mode=most, share=number(share[most], 2), kl_mode=most_kl,
            kl=number(kl[most_kl], 4),
        )
    ]  # fmt: skip


def _combined(view: GroupView, lang: Language) -> list[str]:
    sentences = []
    for label in view.sets:
        row = view.rows[view.mode][label]
        for metric in view.headline:
            cell = row.sel(metric=metric)
            sentences.append(
                say(
                    lang, "synergy_claim", label=label, mode=view.mode, metric=metric,
                    verdict=str(cell.synergy_verdict.item()), estimate=signed(float(cell.synergy)),
                    interval=interval(float(cell.synergy_ci_low), float(cell.synergy_ci_high)),
                    p=probability(float(cell.synergy_p_value)),
                )
            )  # fmt: skip
    return sentences or [say(lang, "no_sets")]


def _outlook(view: GroupView, lang: Language) -> list[str]:
    ov = view.child("ov")
    if ov is None:
        return []
    strongest = [h for h in view.settings["strongest_heads"] if h in ov.head_set.values][:3]
    targets = [h for h in view.target.split(",") if h in ov.head_set.values][:3]
    sentences = []
    for label in dict.fromkeys([*strongest, *targets]):
        tokens = ov.token.sel(head_set=label)
        up, down = (
            ", ".join(f"“{safe(str(t))}”" for t in tokens.sel(direction=d).values[:6])
            for d in ("promoted", "suppressed")
        )
        sentences.append(say(lang, "ov_claim", label=label, up=up, down=down))
    return [*sentences, say(lang, "ov_note")]
