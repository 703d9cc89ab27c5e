"""Seed, versions, fingerprints, self-check and scorers of the run, and the family of q."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phase7.findings.facts import count_tests
from phase7.report.chapter import Report
from phase7.report.escape import code, escape
from phase7.report.language import Language
from phase7.report.tables import Row


def render(report: Report) -> list[str]:
    """The run, its scorers, and how many tests each group's family of q has."""
    say, record = report.say, report.record
    header = (say("item"), say("value"))
    rows = _run_rows(say, record, report.attrs)
    blocks = [report.table("run", say("c.run"), header, rows, n_left=2)]
    if not record:
        blocks.append(say("no_provenance"))
    described = {
        repr(sorted(one.items(), key=repr)): one
        for chapter in report.chapters
        for one in chapter.group.settings.get("scorers") or ()
    }
    if described:
        names = ("name", "version", "metrics", "description", "quality")
        scorers = [_scorer(say, i, one) for i, one in enumerate(described.values())]
        caption = say("c.scorers")
        blocks.append(report.table("scorers", caption, [say(n) for n in names], scorers, n_left=5))
    families = [
        say(
            "note.family",
            family=escape(str(chapter.group.settings.get("families", ""))),
            tests=f"{count_tests(chapter.group.confirmed.values()):,}",
            group=chapter.name,
        )
        for chapter in report.chapters
    ]
    return [*blocks, "\n".join(f"- {family}" for family in families)]


def _run_rows(say: Language, record: Mapping[str, Any], attrs: Mapping[Any, Any]) -> list[Row]:
    def plain(value: object) -> str:
        return say("none") if value is None else escape(str(value))

    rows = [
        _item(say("run.profile"), plain(attrs.get("profile"))),
        _item(say("run.schema"), plain(attrs.get("schema_version"))),
    ]
    if not record:
        return rows
    rows.append(_item(say("run.seed"), plain(record.get("seed"))))
    for name, model in (record.get("models") or {}).items():
        facts = {key: plain(model.get(key)) for key in ("source", "revision", "fingerprint")}
        row_name = say("run.model", name=escape(str(name)))
        rows.append(_item(row_name, say("run.model.value", **facts)))
    check = record.get("self_check") or {}
    counts = {key: plain(check.get(key)) for key in ("batches", "rows", "failures")}
    rows.append(_item(say("run.self_check"), say("run.self_check.value", **counts)))
    rows.append(_item(say("run.packages"), _listed(record.get("packages") or {})))
    rows.append(_item(say("run.machine"), _listed(record.get("machine") or {})))
    rows.append(_item(say("run.git_commit"), plain(record.get("git_commit"))))
    return rows


def _item(name: str, value: str) -> Row:
    """One row; `value` is foreign, except where it is a phrase with safe values in it."""
    return Row(name=name, cells=(name, value))


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(escape(f"{k} {v}") for k, v in values.items() if v is not None)


def _scorer(say: Language, index: int, one: Mapping[str, Any]) -> Row:
    quality = one.get("quality") or {}
    measured = ", ".join(f"{escape(str(k))} {_quality(v)}" for k, v in quality.items())
    metrics = [str(metric) for metric in one.get("metrics") or ()]
    name = escape(str(one.get("name")))
    return Row(
        name=f"{index} {name}",
        cells=(
            name,
            escape(str(one.get("version"))),
            say.listed([code(metric) for metric in metrics]),
            escape(str(one.get("description"))),
            measured or say("not_measured"),
        ),
    )


def _quality(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.3f}".replace("-", "−")
    return escape(str(value))
