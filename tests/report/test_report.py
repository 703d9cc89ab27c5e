"""The report against the tree it was made from: structure, numbers, claims, hostile texts."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from phase7.findings.chance import chance_size
from phase7.findings.facts import AtLength, circuit, length_reason, silence
from phase7.findings.group import groups
from phase7.report import render_report
from phase7.report.differences import first_difference
from phase7.report.escape import code, escape
from phase7.report.numbers import Numbers
from phase7.report.tables import Row, Table
from phase7.statistics import minimum_p
from phase7.vocabulary.errors import UserError
from phase7.vocabulary.metrics import GOEMOTIONS, METRICS
from tests.report.synthetic import LENGTHS, NASTY, Spec, tree

REPOSITORY = Path(__file__).parents[2]
HEADINGS = {
    "ja": [
        "目的", "読み方", "1. 陽性対照", "2. Head Patching設定", "3. Baseline vs Patched比較",
        "4. Patch Mode比較", "5. Head別の効果", "6. 生成テキストの変化",
        "7. Multi-token生成の重要性", "8. 考察", "再現性",
    ],
    "en": [
        "Purpose", "How to read this report", "1. Positive controls",
        "2. Head patching settings", "3. Baseline vs patched", "4. Patch modes compared",
        "5. Effects by head", "6. Changes in the generated text", "7. Why many tokens are generated",
        "8. Discussion", "Reproducibility",
    ],
}  # fmt: skip
JAPANESE = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff]")
PAGE = Path("docs/report.md")


@dataclass(frozen=True)
class Parsed:
    """One table of the page, cells as written."""

    caption: str
    header: list[str]
    rows: list[list[str]]

    def row(self, *starts: str) -> dict[str, str]:
        """The row whose first cells are `starts`, by column head."""
        found = [row for row in self.rows if row[: len(starts)] == list(starts)]
        assert len(found) == 1, (self.caption, starts)
        return dict(zip(self.header, found[0], strict=True))


def cells_of(line: str) -> list[str]:
    """Cells of a table line, split as GFM does: at pipes that no backslash escapes."""
    assert line.startswith("|") and line.endswith("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(page: str) -> dict[str, Parsed]:
    """Tables by number; asserts that every row has as many cells as its header."""
    found: dict[str, Parsed] = {}
    for block in page.split("\n\n"):
        lines = block.splitlines()
        if not lines or not lines[0].startswith("|"):
            continue
        header, rule, *rows = map(cells_of, lines)
        assert all(re.fullmatch(r":?-+:?", cell) for cell in rule)
        assert all(len(row) == len(header) for row in rows), block
        caption = page[: page.index(block)].rstrip().splitlines()[-1]
        number = re.search(r"(?:Table |表)(\S+?):", caption)
        assert number
        found[number[1]] = Parsed(caption, header, rows)
    return found


#: Trees that no test changes, with their pages by language.
_KEPT: list[tuple[xr.DataTree, dict[str, str]]] = []


def kept(made: xr.DataTree) -> xr.DataTree:
    _KEPT.append((made, {}))
    return made


def render(made: xr.DataTree, lang: str = "en") -> str:
    pages = next((pages for one, pages in _KEPT if one is made), {})
    if lang not in pages:
        pages[lang] = rendered(made, lang)
    return pages[lang]


def rendered(made: xr.DataTree, lang: str) -> str:
    return render_report(made, lang=lang, plots_dir=None, report_path=PAGE)  # type: ignore[arg-type]


def signed(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    sign = "" if abs(value) < 1e-12 else "−" if value < 0 else "+"
    return f"{sign}{abs(value):.3f}"


def probability(value: float) -> str:
    return "no test" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def main(made: xr.DataTree, name: str = "tiny/gratitude") -> xr.Dataset:
    return made[name].to_dataset()


def section(page: str, number: int) -> str:
    return re.split(r"(?m)^## ", page)[number + 2]


PLANTED = Spec(planted=("1:2",), seed=3)


@pytest.fixture(scope="module")
def null_tree() -> xr.DataTree:
    return kept(tree(Spec(seed=4)))


@pytest.fixture(scope="module")
def planted_tree() -> xr.DataTree:
    return kept(tree(PLANTED))


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_headings_in_order(null_tree, lang):
    found = re.findall(r"(?m)^## (.+)$", render(null_tree, lang))
    assert found == HEADINGS[lang]


def test_both_languages_hold_the_same_numbers(planted_tree):
    japanese, english = tables(render(planted_tree, "ja")), tables(render(planted_tree, "en"))
    assert japanese.keys() == english.keys()
    number = re.compile(r"[+−]?\d+\.\d+\*?|<0\.001\*?")
    for key in japanese:
        for one, two in zip(japanese[key].rows, english[key].rows, strict=True):
            assert [number.findall(cell) for cell in one] == [number.findall(cell) for cell in two]


def test_english_page_has_no_japanese(null_tree):
    assert not JAPANESE.search(render(null_tree))
    assert JAPANESE.search(render(null_tree, "ja"))


def test_the_comparison_equals_the_tree(planted_tree):
    parsed = tables(render(planted_tree))
    cell = planted_tree["tiny/gratitude/head_sets"].to_dataset()
    cell = cell.sel(head_set=PLANTED.target, mode="result")
    rows = parsed["3.1"].rows + parsed["3.2"].rows
    assert len(parsed["3.2"].rows) == len(GOEMOTIONS) == 28
    assert [row[0].strip("`") for row in rows] == list(METRICS)
    for row in rows:
        one = cell.sel(metric=row[0].strip("`"))
        used = np.isfinite(one.patched)
        stars = "*" if one.net_q_value < 0.05 else ""
        low, high = float(one.net_ci_low), float(one.net_ci_high)
        assert row[1:] == [
            f"{float(one.baseline[used].mean()):.3f}".replace("-", "−"),
            f"{float(one.patched[used].mean()):.3f}".replace("-", "−"),
            signed(float(one.delta)),
            signed(float(one.control_delta)),
            signed(float(one.net_delta)),
            f"[{signed(low)}, {signed(high)}]",
            probability(float(one.net_p_value)),
            probability(float(one.net_q_value)) + stars,
        ]


def test_modes_and_heads_equal_the_tree(planted_tree):
    parsed = tables(render(planted_tree))
    sets = planted_tree["tiny/gratitude/head_sets"].to_dataset().sel(head_set=PLANTED.target)
    for mode in PLANTED.modes:
        row = parsed["4.2"].row(f"`{mode}`", "`sentiment_positive`")
        one = sets.sel(mode=mode, metric="sentiment_positive")
        assert row["Δ"] == signed(float(one.delta))
        assert row["net Δ"] == signed(float(one.net_delta))
        sign = "+" if one.net_effect_size > 0 else "−"
        assert row["d_z"] == f"{sign}{abs(float(one.net_effect_size)):.2f}"
        row = parsed["5.3"].row(f"`{PLANTED.target}`", f"`{mode}`", "`sentiment_positive`")
        assert row["Synergy"] == signed(float(one.synergy))
        assert row["p"] == probability(float(one.synergy_p_value))
        assert row["Synergy?"] == str(one.synergy_verdict.values)
    heads = main(planted_tree).sel(mode="result", metric="politeness")
    for layer, head in ((0, 1), (1, 2), (3, 0)):
        row = parsed["5.1"].row(f"`{layer}:{head}`")
        one = heads.sel(layer=layer, head=head)
        assert row["politeness Δ"] == signed(float(one.delta))
        assert row["politeness net Δ"].rstrip("*") == signed(float(one.net_delta))
    assert parsed["5.1"].row("`1:2`")["Why tested"] == "target, sweep rank 2"
    assert parsed["5.1"].row("`1:2`")["Overall (result)"] == "strong"
    assert parsed["5.1"].row("`0:1`")["Overall (result)"] == "none"


def test_discovery_numbers_are_labelled_and_from_the_sweep(planted_tree):
    parsed = tables(render(planted_tree))["5.4"]
    swept = planted_tree["tiny/gratitude/sweep"].to_dataset().sel(mode="result")
    confirmed = main(planted_tree).sel(mode="result")
    for rank, (layer, head) in enumerate(((0, 1), (1, 2)), 1):
        row = parsed.row(str(rank), f"`{layer}:{head}`")
        place = {"layer": layer, "head": head, "metric": "sentiment_positive"}
        assert row["sentiment discovery"] == signed(float(swept.net_delta.sel(place)))
        assert row["sentiment confirmation"] == signed(float(confirmed.net_delta.sel(place)))
    assert "n = 8" in parsed.caption and "n = 12" in parsed.caption


def test_the_lengths_equal_the_tree(planted_tree):
    parsed = tables(render(planted_tree))
    lengths = planted_tree["tiny/gratitude/lengths"].to_dataset()
    for length in LENGTHS:
        name = f"{length} (all)" if length == LENGTHS[-1] else str(length)
        here = lengths.sel(length=length)
        row = parsed["7.2"].row(name)
        n = int((here.net_q_value < 0.05).sum())
        assert row["Significant / tests"] == f"{n} / {int(here.net_q_value.notnull().sum())}"
        assert row["Texts changed"] == f"{100 * float(here.changed_share.mean()):.1f} %"
        one = here.sel(head_set=PLANTED.target, mode="result", metric="politeness")
        assert parsed["7.1"].row(name)["politeness net Δ"] == signed(float(one.net_delta))
    kl = planted_tree["tiny/gratitude/head_sets"].to_dataset().kl_first_token
    one = float(kl.sel(head_set=PLANTED.target, mode="v_only").mean())
    assert parsed["7.3"].row("`v_only`")["KL [nats]"] == f"{one:.4f}"


def test_a_missing_metric_is_not_measured_and_never_zero():
    made = tree(Spec(missing=("politeness", *GOEMOTIONS)))
    page = render(made)
    parsed = tables(page)
    assert set(parsed["3.1"].row("`politeness`").values()) == {"`politeness`", "not measured"}
    for metric in GOEMOTIONS:
        assert set(parsed["3.2"].row(f"`{metric}`").values()) == {f"`{metric}`", "not measured"}
    assert parsed["5.1"].row("`1:2`")["politeness net Δ"] == "not measured"
    assert "29 of 35 metrics were not measured" in page
    # The emotion's keywords stand in for its label, and the page says so.
    assert "`gratitude_keywords` for gratitude (its GoEmotions label was not measured)" in page
    assert set(tables(render(made, "ja"))["3.1"].row("`politeness`").values()) == {
        "`politeness`", "未測定",
    }  # fmt: skip


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_nothing_significant_is_said_plainly(null_tree, lang):
    q = main(null_tree).net_q_value
    assert not (q < 0.05).any()  # the tree is what the test needs
    page = render(null_tree, lang)
    sentence = {"ja": "有意（q < 0.05）なものは一つもなかった", "en": "None of the "}[lang]
    assert page.count(sentence) == 2  # purpose and discussion
    assert {"ja": "因果的証拠は得られない", "en": "no causal evidence"}[lang] in section(page, 8)
    floor = f"{float(minimum_p(12)):.2g}"
    assert floor in section(page, 8)
    parsed = tables(page)
    assert all(
        "*" not in cell for key in ("3.1", "3.2", "4.1", "5.1") for r in parsed[key].rows for cell in r
    )
    smallest = min(float(q.min()), float(null_tree["tiny/gratitude/head_sets"].net_q_value.min()))
    assert parsed["8.1"].rows[0][-1] == probability(smallest)


def test_a_planted_head_is_named_and_no_other(planted_tree):
    page = render(planted_tree)
    discussion = section(page, 8)
    assert "Single heads with a significant net Δ on at least one metric: `1:2`." in discussion
    assert "significantly raise `sentiment_positive`" in discussion
    sets = planted_tree["tiny/gratitude/head_sets"].to_dataset()
    q = sets.net_q_value.sel(head_set=PLANTED.target, mode="result", metric="politeness")
    assert ("on `politeness` is not significant" in discussion) == (float(q) >= 0.05)
    assert "`1:2`: significant with `v_only` alone" in discussion
    heads = {row[0] for row in tables(page)["5.2"].rows}
    assert heads == {"`1:2`", f"`{PLANTED.target}`"}


def test_every_claim_points_to_an_anchor_on_the_page(planted_tree):
    page = render(tree(PLANTED, replace(PLANTED, emotion="anger", planted=(), seed=5)))
    anchors = re.findall(r'<a id="([^"]+)"></a>', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)
    for part in re.split(r"(?m)^### 8\. ", page)[1:]:
        body = re.split(r"(?m)^##+ [^#]*(?:Reproducibility|tiny)", part)[0]
        claims = [line for line in body.splitlines() if line.startswith("- ")]
        assert len(claims) > 8
        assert all("](#t" in claim for claim in claims)


def test_a_claim_cannot_cite_what_is_not_there():
    table = Table(
        number="1.1", anchor="a", caption="c", header=("x",), rows=(Row(name="r", cells=("1",)),)
    )
    assert table.has("r") and not table.has("s")
    with pytest.raises(ValueError, match="unsafe cell"):
        replace(table, rows=(Row(name="r", cells=("a | b",)),))
    with pytest.raises(ValueError, match="2 cells"):
        replace(table, rows=(Row(name="r", cells=("a", "b")),))
    with pytest.raises(ValueError, match="rows of one name"):
        replace(table, rows=(table.rows[0], table.rows[0]))


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize(
    "spec",
    [
        Spec(control=False),
        Spec(sweep=False),
        Spec(head_sets=False),
        Spec(n_confirmation=1),
        Spec(n_confirmation=2, n_discovery=1),
        Spec(modes=("v_only",)),
        Spec(target="1:2"),
        Spec(emotion="boredom"),
        Spec(missing=METRICS),
        Spec(control=False, sweep=False, head_sets=False, n_confirmation=1, modes=("result",)),
    ],
    ids=lambda spec: ",".join(k for k, v in vars(spec).items() if v != getattr(Spec(), k)),
)
def test_partial_trees_still_make_a_whole_report(spec, lang):
    page = render(tree(spec), lang)
    assert re.findall(r"(?m)^## (.+)$", page) == HEADINGS[lang]
    tables(page)
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert not re.search(r"\bNone\b(?! of)", page)


def test_without_a_control_significance_is_of_delta():
    made = tree(replace(PLANTED, control=False))
    page = render(made)
    parsed = tables(page)
    assert parsed["3.1"].header[-3:] == ["Δ 95 % interval", "Δ p", "Δ q"]
    assert "**This run has no control.**" in page
    assert "Without a control, a significant Δ need not come from the emotion" in page
    one = (
        made["tiny/gratitude/head_sets"]
        .to_dataset()
        .sel(head_set=PLANTED.target, mode="result", metric="sentiment_positive")
    )
    assert parsed["3.1"].row("`sentiment_positive`")["Δ q"] == probability(float(one.q_value)) + "*"


def test_a_single_prompt_cannot_be_tested():
    page = render(tree(Spec(n_confirmation=1)))
    row = tables(page)["3.1"].row("`politeness`")
    assert row["net Δ q"] == row["net Δ p"] == row["net Δ 95 % interval"] == "no test"
    assert row["net Δ"] != "not measured"
    assert "No cell could be tested" in page
    assert "With n = 1 prompts nothing can be tested" in page


def test_too_few_prompts_are_named_as_the_reason():
    page = render(tree(Spec(n_confirmation=4)))
    assert "No test has the 6 prompts of a non-zero difference, of 4, that a p below 0.05 takes" in page


def test_tests_whose_differences_are_mostly_zero_are_counted():
    made = tree(Spec(seed=4))
    cells = groups(made)[0].confirmed.values()
    expected = 0
    for cell in cells:
        change = cell.arrays["patched"] - cell.arrays["control_patched"]
        expected += int(((np.abs(change) > 1e-12).sum(axis=1) >= 6).sum())
    assert 0 < expected < 420
    page = render(made)
    assert f"Of {expected} tests " in page
    assert f"Another {420 - expected} tests have fewer than 6 differences that are not 0" in page


def test_modes_that_were_not_run_say_so():
    page = render(tree(Spec(modes=("v_only",), sweep=False)))
    assert set(tables(page)["4.1"].row("`result`").values()) == {"`result`", "not run"}
    assert "Only mode `v_only` was run" in page


@pytest.mark.slow
def test_many_groups_have_a_summary_and_nested_sections():
    specs = [Spec(), Spec(emotion="anger", seed=2), replace(PLANTED, model="other")]
    page = render(tree(*specs))
    parsed = tables(page)
    assert [row[1] for row in parsed["S.1"].rows] == ["gratitude", "anger", "gratitude"]
    assert len(re.findall(r"(?m)^### 8\. Discussion$", page)) == 3
    assert page.count("## Purpose") == page.count("\n## Reproducibility") == 1
    assert {"1-3.1", "2-3.1", "3-3.1"} <= parsed.keys()
    assert parsed["S.1"].rows[0][-2].startswith("0 / ") and not parsed["S.1"].rows[2][-2].startswith(
        "0 / "
    )


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_hostile_texts_cannot_break_the_page(lang):
    hostile = (*NASTY, "x" * 100_000, "ok " + "| y " * 30_000)
    spec = Spec(
        texts=hostile,
        n_samples=1,
        settings={
            "model_source": "a|b\n# c <script>",
            "selection_rule": "|x|\n\n## no",
            "families": "<b>|",
            "scorers": [{"name": "|", "version": "\n", "metrics": ["a|b"], "description": "<i>",
                         "quality": {"|": "<x>\n"}}],
        },
    )  # fmt: skip
    for seed in range(3):
        made = tree(replace(spec, seed=seed))
        made.attrs["profile"] = "p|\n# q"
        page = render(made, lang)
        assert re.findall(r"(?m)^## (.+)$", page) == HEADINGS[lang]
        assert len(re.findall(r"(?m)^# ", page)) == 1
        tables(page)
        tags = set(re.findall(r"<[A-Za-z/!?][^>]*>", page))
        assert tags <= {"<b>", "</b>", "<br>", "<wbr>", "</a>", "<code>", "</code>"} | {
            tag for tag in tags if re.fullmatch(r'<a id="[\w-]+">', tag)
        }
        visible = set(page) - {"\n"}
        assert all(c.isprintable() or c == "\u200d" for c in visible)
        assert len(page) < 200_000
        page.encode("utf-8")


def test_the_first_difference_is_marked_and_the_rule_is_kept(null_tree):
    page = render(null_tree)
    parsed = tables(page)["6.1"]
    cell = null_tree["tiny/gratitude/head_sets"].to_dataset().sel(head_set=Spec().target, mode="result")
    texts = null_tree["tiny/gratitude/texts"].to_dataset().sel(head_set=Spec().target, mode="result")
    tested = (texts.split == "confirmation").values
    changed = (texts.patched_text != texts.baseline_text).any("sample").values
    size = np.abs((cell.patched - cell.baseline).sel(metric="goemotions_gratitude")).values
    expected = sorted(np.flatnonzero(tested & changed), key=lambda p: -size[p])[:4]
    expected += list(np.flatnonzero(tested & ~changed)[:1])
    numbers = [int(re.match(r"prompt (\d+)", row[0])[1]) for row in parsed.rows]  # type: ignore[index]
    assert numbers == [int(p) for p in expected]
    for row in parsed.rows[: sum(changed[numbers])]:
        baseline, patched = row[1].split("<b>▶</b>"), row[2].split("<b>▶</b>")
        assert baseline[0].strip().startswith(patched[0].strip()) or patched[0].strip().startswith(
            baseline[0].strip()
        )
        assert baseline[1] != patched[1]


@pytest.mark.parametrize(
    ("text", "other", "at"),
    [
        ("a b c", "a b c", None),
        ("a bad c", "a bat c", 2),
        ("", "x", 0),
        ("abc", "", 0),
        ("a ", "a b", 2),
    ],
)
def test_first_difference(text, other, at):
    assert first_difference(text, other) == at


def test_long_texts_are_cut_around_the_difference():
    start = "same " * 2_000
    spec = Spec(texts=(f"{start}one", f"{start}two"), n_samples=1)
    rows = tables(render(tree(spec)))["6.1"].rows
    changed = [row for row in rows if "<b>▶</b>" in row[2]]
    assert changed
    assert all(row[2].startswith("… ") and "characters in all)" in row[2] for row in changed)


def test_rendering_twice_gives_the_same_page_and_leaves_the_tree_alone(planted_tree):
    before = planted_tree.copy(deep=True)
    assert rendered(planted_tree, "en") == render(planted_tree)
    assert planted_tree.identical(before)


def test_a_saved_tree_gives_the_same_page(planted_tree, tmp_path):
    planted_tree.to_netcdf(tmp_path / "effects.nc", engine="netcdf4")
    with xr.open_datatree(tmp_path / "effects.nc", engine="netcdf4") as opened:
        assert render(opened.load()) == render(planted_tree)


def test_dates_stay_out_of_the_page(null_tree):
    record = json.loads(null_tree.attrs["provenance"])
    assert record["created_at"] not in render(null_tree)


def test_reproducibility_names_seed_versions_and_scorers(null_tree):
    parsed = tables(render(null_tree))
    assert parsed["R.1"].row("Seed")["Value"] == "7"
    assert "numpy 2.4.6" in parsed["R.1"].row("Package versions")["Value"]
    assert (
        parsed["R.1"].row("Self-check")["Value"] == "12 batches, 34 self-donor rows compared, 0 differed"
    )
    assert parsed["R.2"].row("lexicon")["Quality"] == "macro F1 0.612"


@pytest.mark.slow
def test_neither_report_nor_plots_load_torch():
    code = "import sys, phase7.report, phase7.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_a_tree_without_groups_or_settings_is_refused():
    with pytest.raises(UserError, match="at least one /<model>/<emotion> group"):
        render(xr.DataTree())
    made = tree(Spec())
    made["tiny/gratitude"].attrs["settings"] = "{not JSON"
    with pytest.raises(UserError, match="holds JSON"):
        render(made)


def test_a_model_name_may_hold_a_slash():
    page = render(tree(Spec(model="owner/name")))
    assert "**Result** (owner/name × gratitude)" in page


def test_figures_are_linked_where_they_are_and_left_out_where_not(null_tree, tmp_path):
    folder = tmp_path / "results" / "my plots"
    folder.mkdir(parents=True)
    for suffix in ("png", "svg"):
        (folder / f"tiny_gratitude_heatmap_politeness.{suffix}").touch()
    page = render_report(null_tree, plots_dir=folder, report_path=tmp_path / "docs" / "report.md")
    link = "../results/my%20plots/tiny_gratitude_heatmap_politeness"
    assert re.findall(r"\]\(([^)\s]+\.(?:png|svg))\)", page) == [f"{link}.png", f"{link}.svg"]


# Parts


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a|b", "a&#124;b"),
        ("<b>&", "&#60;b&#62;&#38;"),
        ("one\r\ntwo\n", "one↵ two↵ "),
        ("\x1b[0m\x7f\x9b", "␛&#91;0m⟨U+007F⟩⟨U+009B⟩"),
        ("\u202ex", "⟨U+202E⟩x"),
        ("\ud800", "⟨U+D800⟩"),
        ("a_b _c_ d_", "a_b &#95;c&#95; d&#95;"),
        ("12:30 http://x", "12:30 http&#58;//x"),
        ("www.x.org", "www&#46;x.org"),
        ("ありがとう", "ありがとう"),
    ],
)
def test_escape(text, safe):
    assert escape(text) == safe


def test_escaped_words_can_break():
    assert escape("y" * 70) == "<wbr>".join(["y" * 32, "y" * 32, "y" * 6])
    assert code("3:5,7:2") == "`3:5,7:2`"
    assert code("a`b") == "<code>a&#96;b</code>"


def test_numbers():
    numbers = Numbers(not_measured="NM", no_test="NT")
    sizes = [0.25, 0.0104, 0.0096, 0.00042, 0.0, math.nan]
    assert [numbers.size(size) for size in sizes] == [
        "0.250",
        "0.010",
        "0.0096",
        "0.00042",
        "0.000",
        "NM",
    ]
    nan = float("nan")
    assert [numbers.signed(x) for x in (0.1234, -0.0001, 0.0, -1e-17, nan, -math.inf)] == [
        "+0.123", "−0.000", "0.000", "0.000", "NM", "−∞",
    ]  # fmt: skip
    assert [numbers.p(x) for x in (0.0004, 0.0494, 1.0, nan)] == ["<0.001", "0.049", "1.000", "NT"]
    assert numbers.q(0.0499, 0.05) == "0.050*" and numbers.q(0.05, 0.05) == "0.050"
    assert numbers.p(nan, measured=False) == numbers.interval(nan, nan, measured=False) == "NM"
    assert numbers.interval(-0.1, 0.2) == "[−0.100, +0.200]"
    assert numbers.equals("p", 0.0001) == "p < 0.001" and numbers.equals("q", 0.5) == "q = 0.500"
    assert numbers.share(0.125) == "12.5 %" and numbers.nats(1e-9) == "<0.0001"


def at(length: int, **values: float) -> AtLength:
    usual = {"changed": 0.8, "n_significant": 5, "n_tests": 9, "n_left_out": 0, "smallest_q": 0.01,
             "median_size": 0.3, "zero_share": 0.1}  # fmt: skip
    return AtLength(length=length, **(usual | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        (at(1, n_significant=0, changed=0.1), at(30), "few_texts"),
        (at(1, n_significant=0, zero_share=0.9), at(30), "unseen"),
        (at(1, n_significant=0), at(30), "inconsistent"),
        (at(1), at(30), "no_gain"),
        (at(1, n_significant=0), at(30, n_significant=0), "nothing"),
        (at(1, n_tests=0), at(30, n_tests=0), "untested"),
    ],
)
def test_the_reason_for_long_texts_follows_the_numbers(first, last, reason):
    assert length_reason([first, last]) == reason


def test_the_reason_for_silence_follows_the_numbers():
    assert silence(at(30, n_tests=0, n_left_out=9), 0.9) == "blocked"
    assert silence(at(30, zero_share=0.8), 0.45) == "few_texts"  # although 80 % have changed
    assert silence(at(30, zero_share=0.8), 0.55) == "unseen"
    assert silence(at(30), 0.55) == "inconsistent"


def with_texts_apart(made: xr.DataTree, share: float) -> xr.DataTree:
    """The tree with the emotion donor's texts equal to the control's but in the first prompts."""
    made = made.copy(deep=True)
    texts = made["tiny/gratitude/texts"].to_dataset()
    tested = [int(p) for p in texts.prompt.values[(texts.split == "confirmation").values]]
    different = tested[: round(share * len(tested))]
    changed = texts.control_text.copy(deep=True)
    changed.loc[{"prompt": different}] = texts.control_text.sel(prompt=different) + " more"
    made["tiny/gratitude/texts"] = made["tiny/gratitude/texts"].assign(patched_text=changed)
    return made


@pytest.mark.parametrize(
    ("share", "reason"),
    [(0.25, "but only in 25.0 % of the pairs"), (0.75, "agree on a direction enough")],
)
def test_why_nothing_was_found_follows_the_texts_of_both_donors(null_tree, share, reason):
    """And not how many texts differ from the baseline's: 80 % of them in either case."""
    made = with_texts_apart(null_tree, share)
    page = render(made)
    assert reason in section(page, 7)
    assert tables(page)["7.2"].row("30 (all)")["Texts changed"] == "80.0 %"
    for number, names in (("7.2", ["30 (all)"]), ("4.3", [f"`{mode}`" for mode in Spec().modes])):
        for name in names:
            row = tables(page)[number].row(name)
            assert row["Emotion's text differs from control's"] == f"{share:.1%}".replace("%", " %")
    assert tables(page)["7.2"].row("1")["Emotion's text differs from control's"] == "not stored"


def test_without_a_control_texts_are_compared_with_the_baseline():
    page = render(tree(Spec(seed=4, control=False)))
    assert "Emotion's text differs" not in page and "control donor's text" not in section(page, 7)
    assert "The score differs from the baseline's in" in section(page, 8)


def test_the_prompts_of_a_target_sentence_are_those_where_the_donors_scores_differ(null_tree):
    cell = null_tree["tiny/gratitude/head_sets"].to_dataset()
    one = cell.sel(head_set=Spec().target, mode="result", metric="politeness")
    donors = int((np.abs(one.patched - one.control_patched) > 1e-12).sum())
    baseline = int((np.abs(one.patched - one.baseline) > 1e-12).sum())
    assert donors != baseline  # the tree can tell them apart
    (line,) = [
        line for line in section(render(null_tree), 8).splitlines()
        if line.startswith("- The effect of the target heads") and "`politeness`" in line
    ]  # fmt: skip
    said = f"The score with the emotion donor differs from that with the control donor in {donors} of 12"
    assert said in line


def test_medians_stand_beside_those_of_random_signs(null_tree):
    page = render(null_tree)
    group = groups(null_tree)[0]
    for mode in Spec().modes:
        cells = [cell for cell in group.confirmed.values() if cell.mode == mode]
        found = chance_size(group, cells)
        shown = f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"
        assert tables(page)["4.3"].row(f"`{mode}`")["Median \\|d_z\\| with random signs"] == shown
    found = chance_size(group, list(group.confirmed.values()))
    whole = f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"
    assert tables(page)["7.2"].row("30 (all)")["Median \\|d_z\\| with random signs"] == whole
    assert f"with random signs of whole prompts it is {whole}" in section(page, 7)
    assert "normal approximation" not in page


def test_the_head_that_is_quoted_promotes_the_emotions_words_most(null_tree):
    page = render(null_tree)
    parsed, column = tables(page)["8.2"], "z of the emotion's words"
    assert parsed.header[1:3] == [column, "Rank among all heads"]
    shown = {row[0]: (row[1], row[2]) for row in parsed.rows}
    assert list(shown) == ["`0:1`", "`1:2`", "`3:0`"]
    assert shown == {
        "`0:1`": ("−1.00", "3 / 12"),
        "`1:2`": ("+0.50", "2 / 12"),
        "`3:0`": ("+2.00", "1 / 12"),
    }
    discussion = section(page, 8)
    assert "`3:0` raises the words of gratitude most: z = +2.00, rank 1 / 12" in discussion
    assert "What `3:0` writes for the emotion raises" in discussion
    assert "What `0:1` writes" not in discussion


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_an_emotion_without_words_has_no_z_and_the_report_is_silent_on_it(older):
    made = tree(Spec(seed=4, emotion="gratitude" if older else "boredom"))
    if older:  # a tree of before there were z-scores
        kept = made["tiny/gratitude/ov"].to_dataset().drop_vars(["emotion_z", "emotion_rank"])
        made["tiny/gratitude/ov"] = xr.DataTree(kept)
    for lang, words in (
        ("en", ("z of the emotion", "Rank among all", "raises the words")),
        ("ja", ("感情語", "の語を")),
    ):
        page = render(made, lang)
        assert not any(one in page for one in words)
    assert "What `0:1` writes for the emotion raises" in render(made)


@pytest.mark.parametrize(
    ("acting", "kind"),
    [
        ((), "none"),
        (("v_only",), "ov"),
        (("result", "v_only"), "ov"),
        (("pattern_v",), "qk"),
        (("result", "pattern_v"), "qk"),
        (("result",), "fixed"),
    ],
)
def test_the_circuit_follows_the_significant_modes(acting, kind):
    made = tree(Spec(seed=4))
    q = made["tiny/gratitude"].to_dataset().net_q_value.copy()
    for mode in acting:
        q.loc[{"layer": 1, "head": 2, "mode": mode, "metric": "politeness"}] = 0.01
    made["tiny/gratitude"] = made["tiny/gratitude"].assign(net_q_value=q)
    assert circuit(groups(made)[0], "1:2") == (kind, [m for m in Spec().modes if m in acting])


def test_a_circuit_needs_both_recompositions():
    made = tree(replace(PLANTED, modes=("result",)))
    assert circuit(groups(made)[0], "1:2")[0] == "unknown"


@pytest.mark.slow
def test_large_sets_get_short_names():
    heads = ",".join(f"{layer}:{head}" for layer in range(4) for head in range(3))
    page = render(tree(Spec(target=heads)))
    assert "`0:0...3:2/12/13`" in page
    made = tree(Spec(target=heads, settings={"target_heads": "all"}))
    assert "Target heads `all`, mode `result`" in render(made)
