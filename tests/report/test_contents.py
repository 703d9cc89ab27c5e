"""The report's contents: numbers and references follow the order of the table of sections."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import xarray as xr

from phase7.report.chapter import Contents, Section
from phase7.report.contents import CONTENTS
from phase7.report.language import PHRASES, Language
from phase7.report.medium import FigureFolder
from phase7.report.render import page_blocks
from phase7.report.tables import Row
from tests.report.synthetic import Spec, tree

SPEC = Spec(planted=("1:2",), seed=3)
NAMES = [section.name for section in CONTENTS.chapter]
#: How the one sentence that refers to sections names those of the confirmation.
REFERENCE = {"en": r"same cell in sections (.*?)\.", "ja": r"同じセルでも(.*?)節のq"}


@cache
def made(n_groups: int) -> xr.DataTree:
    return tree(*(SPEC, replace(SPEC, emotion="anger", seed=5))[:n_groups])


@cache
def page(contents: Contents, lang: str, n_groups: int = 1) -> str:
    medium = FigureFolder(plots=None, page=Path("report.md"))
    return "\n\n".join(page_blocks(made(n_groups), Language(lang), medium, contents))


@cache
def inserted(at: int) -> Contents:
    """The report's contents with one more section at a place of the chapter, counted from 0."""

    def render(chapter):
        rows = [Row(name="row", cells=("1",))]
        return [chapter.table("extra", "a table", ("x",), rows), chapter.cite("extra", "row")]

    extra = Section(name="extra", title="h.extra", render=render)
    return replace(CONTENTS, chapter=(*CONTENTS.chapter[:at], extra, *CONTENTS.chapter[at:]))


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    monkeypatch.setitem(PHRASES, "h.extra", ("追加", "Extra"))


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("at", range(len(NAMES) + 1))
def test_one_more_section_renumbers_all_that_follow(at, lang):
    before, after = page(CONTENTS, lang), page(inserted(at), lang)
    headings = re.findall(r"(?m)^## (?:\d+\. )?(.+)$", before)
    chapter = headings[headings.index(Language(lang)("h.controls")) :][: len(NAMES)]
    chapter.insert(at, PHRASES["h.extra"][lang == "en"])
    assert re.findall(r"(?m)^## (\d+\. .+)$", after) == [f"{i}. {t}" for i, t in enumerate(chapter, 1)]

    def moved(found: re.Match[str]) -> str:
        section = int(found[2])
        return f"{found[1]}{section + (section > at)}{found[3]}"

    # Captions, anchors, links and citations: a table keeps its place in its section.
    pattern = r"([Tt]able |表|[\"#]t1-)(\d)([.-]\d)"
    expected = re.sub(pattern, moved, before)
    n_moved = sum(int(section) > at for _, section, _ in re.findall(pattern, before))
    assert (n_moved > 10) == (at < len(NAMES) - 1)
    kept = after.split("\n\n")
    others = [block for block in expected.split("\n\n") if block not in kept]
    assert all(re.match(r"## \d", one) or re.search(REFERENCE[lang], one) for one in others)
    assert len(others) == len(NAMES) - at + (at < 5)  # headings that moved, and the reference


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize(
    ("at", "english"),
    [(0, "4 to 6"), (2, "4 to 6"), (3, "3, 5, 6"), (4, "3, 4, 6"), (5, "3 to 5"), (8, "3 to 5")],
)
def test_a_sentence_refers_to_sections_by_their_present_numbers(at, english, lang):
    found = re.findall(REFERENCE[lang], page(inserted(at), lang))
    expected = english if lang == "en" else english.replace(" to ", "〜").replace(", ", "、")
    assert found == [expected]


def test_the_order_may_change_as_long_as_tables_come_before_what_cites_them():
    controls, settings, comparison, modes, heads, *others = CONTENTS.chapter
    turned = replace(CONTENTS, chapter=(heads, modes, comparison, settings, controls, *others))
    found = page(turned, "en")
    assert re.findall(r"(?m)^## ([1-5]\. .+)$", found) == [
        "1. Effects by head", "2. Patch modes compared", "3. Baseline vs patched",
        "4. Head patching settings", "5. Positive controls",
    ]  # fmt: skip
    assert re.findall(REFERENCE["en"], found) == ["1 to 3"]
    for number, anchor in re.findall(r"\[table (\S+)\]\(#(t[\w-]+)\)", found):
        assert f'<a id="{anchor}"></a>**Table {number}:' in found


@pytest.mark.slow
def test_every_chapter_of_several_is_renumbered():
    found = page(inserted(0), "en", 2)
    assert len(re.findall(r"(?m)^### 1\. Extra$", found)) == 2
    assert {"1-1.1", "1-3.1", "2-1.1", "2-3.1"} <= set(re.findall(r"\*\*Table (\S+):", found))


def test_a_section_without_blocks_leaves_no_heading():
    silent = Section(name="silent", title="h.extra", render=lambda chapter: [])
    assert "Extra" not in page(replace(CONTENTS, chapter=(*CONTENTS.chapter, silent)), "en")


def test_names_are_unique_and_marks_too():
    assert len(set(NAMES)) == len(NAMES)
    marks = [s.mark for s in (*CONTENTS.before, *CONTENTS.after) if s.mark]
    assert sorted(marks) == ["C", "R", "S"]
    with pytest.raises(ValueError, match="sections of one name"):
        replace(CONTENTS, chapter=(*CONTENTS.chapter, CONTENTS.chapter[0]))
    with pytest.raises(KeyError, match="no section 'nothing'"):
        CONTENTS.number("nothing")


def test_a_table_needs_a_section_with_a_number():
    loose = Section(
        name="loose", title="h.extra", render=lambda report: [report.table("t", "c", ("x",), [])]
    )
    with pytest.raises(ValueError, match="without a number or mark"):
        page(replace(CONTENTS, after=(loose,)), "en")
