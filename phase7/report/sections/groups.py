"""Models and emotions compared, where there are several: a table of pairs, one of layers, a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phase7.findings.across_groups import (
    MOST_TOP,
    TOP_SHARE,
    Pair,
    Role,
    by_layer,
    measured_roles,
    pairs,
)
from phase7.findings.figures import GROUPS_STEM, Figure
from phase7.report.chapter import Chapter, Report
from phase7.report.escape import code
from phase7.report.language import Language
from phase7.report.tables import Row

#: Heads named in one cell of the table.
_MOST_NAMED = 3


def render(report: Report) -> list[str]:
    """Agreement of every pair, the strongest layers, the figure; nothing where there is one group."""
    say, chapters = report.say, report.chapters
    if len(chapters) < 2:
        return []
    roles = measured_roles([chapter.group for chapter in chapters])
    if not roles:
        return [say("groups.intro"), say("groups.nothing")]
    found = pairs([chapter.group for chapter in chapters])
    header = [say("groups.pair"), say("groups.by"), say("groups.n")]
    header += [say("groups.rho", role=say(f"role.{role}")) for role in roles]
    header += [say("groups.shared"), say("groups.both")]
    rows = [_pair(report, pair, roles) for pair in found]
    figure = report.show(Figure(kind="groups", stem=GROUPS_STEM), None, say("f.groups"))
    return [
        say("groups.intro"),
        report.table("pairs", say("c.groups"), header, rows, n_left=2),
        say("note.groups", n=MOST_TOP, share=TOP_SHARE),
        report.table("layers", say("c.layers"), _layer_header(say, roles), _layers(chapters, roles)),
        say("note.layers"),
        *([figure] if figure else []),
        "\n".join(_claims(report, found, roles)),
    ]


def _pair(report: Report, pair: Pair, roles: Sequence[Role]) -> Row:
    say, numbers = report.say, report.numbers
    name = _name(report, pair)
    values = []
    for role in roles:
        one = pair.agreement[role]
        if math.isnan(one.rho):
            values.append(say("no_test"))
        else:
            values.append(
                numbers.signed(one.rho, 2) + ("*" if pair.q_value[role] < _level(report) else "")
            )
    if pair.shared is None or not pair.shared.n_top:
        shared = say("groups.none")
    else:
        expected = numbers.score(pair.shared.expected, 1)
        shared = say("groups.overlap", k=pair.shared.n_shared, n=pair.shared.n_top, expected=expected)
    both = [code(a) if pair.by == "head" else f"{code(a)} ~ {code(b)}" for a, b in pair.both]
    listed = both[:_MOST_NAMED]
    if len(both) > _MOST_NAMED:
        listed.append(say("and_more", n=len(both) - _MOST_NAMED))
    n_places = max(pair.agreement[role].n_places for role in roles)
    cells = (name, say(f"groups.by.{pair.by}"), str(n_places), *values, shared)
    return Row(name=name, cells=(*cells, say.listed(listed) or say("none")))


def _name(report: Report, pair: Pair) -> str:
    one, other = (report.chapters[i].name for i in (pair.one, pair.other))
    return report.say("groups.name", one=one, other=other)


def _level(report: Report) -> float:
    return min(chapter.group.alpha for chapter in report.chapters)


def _layer_header(say: Language, roles: Sequence[Role]) -> list[str]:
    return [say("groups.group"), *(say(f"role.{role}") for role in roles)]


def _layers(chapters: Sequence[Chapter], roles: Sequence[Role]) -> list[Row]:
    rows = []
    for chapter in chapters:
        cells = []
        for role in roles:
            found = by_layer(chapter.group, role)
            if found.peak is None:
                cells.append(chapter.say("not_measured" if not found.layer else "groups.unmoved"))
                continue
            cells.append(
                chapter.say(
                    "groups.peak",
                    layer=found.layer[found.peak],
                    depth=chapter.numbers.score(found.depth[found.peak], 2),
                    size=chapter.numbers.score(found.mean_size[found.peak]),
                )
            )
        rows.append(Row(name=chapter.name, cells=(chapter.name, *cells)))
    return rows


def _claims(report: Report, found: Sequence[Pair], roles: Sequence[Role]) -> list[str]:
    """What the table says: the pair that agrees most, and the heads significant in both."""
    say, numbers = report.say, report.numbers
    tested = [
        (pair.agreement[role].rho, pair, role)
        for pair in found
        for role in roles
        if not math.isnan(pair.agreement[role].rho)
    ]
    lines = []
    if tested:
        rho, pair, role = max(tested, key=lambda one: one[0])
        count = sum(pair.q_value[role] < _level(report) for _, pair, role in tested)
        sentences = [
            say("groups.count", n=len(tested), k=count, alpha=f"{_level(report):g}"),
            say(
                "groups.most",
                pair=_name(report, pair),
                role=say(f"role.{role}"),
                rho=numbers.signed(rho, 2),
                q=numbers.equals("q", pair.q_value[role]),
            ),
        ]
        lines.append(report.claim(sentences, report.cite("pairs", _name(report, pair))))
    both = [pair for pair in found if pair.both]
    if both:
        cited = [report.cite("pairs", _name(report, pair)) for pair in both]
        lines.append(report.claim([say("groups.some", n=len(both), total=len(found))], *cited))
    else:
        lines.append(report.claim([say("groups.no_both", total=len(found))], report.cite("pairs")))
    return lines
