"""The answer: positive controls, heads by read-out, sets on the text, and what could have been found."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr

from phase7.findings.group import groups
from phase7.findings.readouts import smallest_detectable, trust
from phase7.report import render_html
from tests.report.synthetic import Spec, tree
from tests.report.test_html import Elements
from tests.report.test_report import JAPANESE, Parsed, probability, render, section, signed, tables

READ = ("logodds_gratitude", "kl_path", "logodds_gratitude_first", "kl_path_first")
OWN = ("logodds_words", "kl_path", "logodds_words_first", "kl_path_first")
FIRST, RANDOM, LABEL, LOGODDS = "0:1,1:2", "0:0,2:2", "goemotions_gratitude", "logodds_gratitude"
SPEC = Spec(
    seed=3, n_discovery=8, planted=("1:2",), target=FIRST, strongest=("1:2", "0:1", "2:0"), sets=(RANDOM,),
    readouts=READ, swept_text=False, controls=("prompting", "shift 1"), unmoved=("politeness",),
    attributed=True,
    settings={"strongest_sets": [FIRST], "random_sets": [RANDOM], "is_target_named": False},
)  # fmt: skip


_TREES: dict[str, xr.DataTree] = {}


def made(spec: Spec = SPEC) -> xr.DataTree:
    if repr(spec) not in _TREES:
        _TREES[repr(spec)] = tree(spec)
    return _TREES[repr(spec)]


def page(spec: Spec = SPEC, lang: str = "en") -> str:
    made(spec)
    return _page(repr(spec), lang)


@cache
def _page(spec: str, lang: str) -> str:
    return render(_TREES[spec], lang)


def result(spec: Spec = SPEC, lang: str = "en") -> str:
    """The block of the purpose that has the result."""
    start = {"en": "**Result**", "ja": "**結論**"}[lang]
    (block,) = [one for one in page(spec, lang).split("\n\n") if one.startswith(start)]
    return block


def node(name: str = "", spec: Spec = SPEC) -> xr.Dataset:
    return made(spec)[f"tiny/gratitude/{name}".rstrip("/")].to_dataset()


def table(caption: str, spec: Spec = SPEC, lang: str = "en") -> Parsed:
    (found,) = [one for one in tables(page(spec, lang)).values() if caption in one.caption]
    return found


def percent(value: float) -> str:
    return f"{100 * value:.0f} %".replace("-0 %", "0 %").replace("-", "−")


def at(label: str, metric: str, spec: Spec = SPEC) -> xr.Dataset:
    if "," in label:
        return node("head_sets", spec).sel(head_set=label, mode="result", metric=metric)
    layer, head = map(int, label.split(":"))
    return node("", spec).sel(layer=layer, head=head, mode="result", metric=metric)


# The headline


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_heads_that_read_out_significantly_are_named_with_their_share(lang):
    one = at("1:2", LOGODDS)
    q = node().net_q_value.sel(mode="result", metric=LOGODDS)
    assert (int((q < 0.05).sum()), int(q.notnull().sum())) == (1, 3)  # the tree is what the test needs
    value = f"+{float(one.net_delta):.2f}"
    share = percent(float(one.prompting_share))
    said = f"`1:2` {value} ({share})" if lang == "en" else f"`1:2` {value}（{share}）"
    count = {"en": "(q < 0.05): 1 of 3 tested", "ja": "検定した3個中1個"}[lang]
    assert count in result(lang=lang) and f"`{LOGODDS}`" in result(lang=lang)
    assert said in result(lang=lang)
    assert "`0:1`" not in result(lang=lang) and "`2:0`" not in result(lang=lang)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sets_are_told_on_the_text_beside_random_ones(lang):
    one, drawn, text = at(FIRST, LABEL), at(RANDOM, LABEL), result(lang=lang)
    words = {
        "en": (
            "adjusted p = {} in the primary family",
            "The first 2 heads",
            "drawn at random (random 2)",
        ),
        "ja": ("主要な族での調整したp = {}", "first 2個のHead", "無作為なHead（random 2）"),
    }[lang]
    for found in (one, drawn):
        assert words[0].format(probability(float(found.p_adjusted))).replace("= <", "< ") in text
        assert signed(float(found.net_delta)) in text
    assert words[1] in text and words[2] in text
    assert f"[{signed(float(one.net_ci_low))}, {signed(float(one.net_ci_high))}]" in text
    assert f"+{float(at(FIRST, LOGODDS).net_delta):.2f}" in text
    share = [percent(float(one[f"prompting_share{end}"])) for end in ("", "_low", "_high")]
    assert f"{share[0]} [{share[1]}, {share[2]}]" in text


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_smallest_detectable_effect_is_told(lang):
    size = f"{smallest_detectable(groups(made())[0], LABEL):.3f}"
    said = {"en": f"if it moved it by {size} or more (n = 12", "ja": f"{size}以上動いていれば80 %"}
    assert said[lang] in result(lang=lang)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_no_significant_head_is_said(lang):
    spec = replace(SPEC, planted=(), seed=4)
    assert not (node("", spec).net_q_value.sel(mode="result", metric=LOGODDS) < 0.05).any()
    said = {
        "en": f"On the read-out `{LOGODDS}` none of 3 cells of single heads has a significant effect",
        "ja": f"読み出し`{LOGODDS}`では、3個の単独Headのセルのいずれにも有意な効果（q < 0.05）がない",
    }
    others = {"en": "The largest: ", "ja": "大きい順に"}
    assert said[lang] in result(spec, lang) and others[lang] not in result(spec, lang)


def test_without_prompting_there_are_no_shares():
    spec = replace(SPEC, controls=())
    assert "prompting" not in result(spec) and "in brackets" not in result(spec)
    assert re.search(r"The largest: `1:2` \+\d\.\d\d \(net Δ in nats\)\.", result(spec))
    assert {row[-1] for row in table("effects on the read-out and on the text", spec).rows} == {"–"}


def test_without_a_text_metric_of_the_emotion_only_read_outs_are_told():
    spec = replace(SPEC, emotion="boredom", readouts=OWN, planted=())
    assert "`logodds_words`" in result(spec)
    assert "drawn at random" not in result(spec) and "power of 80 %" not in result(spec)


def test_own_words_stand_in_for_the_emotions():
    spec = replace(SPEC, readouts=OWN)
    assert "read-out `logodds_words`" in result(spec)
    assert "`logodds_words_first`" in {row[1] for row in table("What the positive controls", spec).rows}


# Tables and the paragraph below


def test_the_table_of_sets_and_heads_equals_the_tree():
    found = table("effects on the read-out and on the text")
    names = {"first 2": FIRST, "random 2": RANDOM, "1:2": "1:2", "0:1": "0:1", "2:0": "2:0"}
    metrics = [
        LOGODDS, f"{LOGODDS}_first", LABEL, "gratitude_keywords", "sentiment_positive", "politeness",
    ]  # fmt: skip
    shown = [(re.sub(r"</?code>|`", "", row[0]), row[1].strip("`")) for row in found.rows]
    assert shown == [(name, metric) for name in names for metric in metrics]
    for (name, metric), row in zip(shown, found.rows, strict=True):
        one = at(names[name], metric)
        star = "*" if one.net_q_value < 0.05 else ""
        assert row[2:5] == [signed(float(one[v])) for v in ("delta", "control_delta", "net_delta")]
        assert row[6:8] == [
            probability(float(one.net_p_value)), probability(float(one.net_q_value)) + star
        ]  # fmt: skip
        adjusted = float(one.p_adjusted)
        star = "*" if adjusted < 0.05 else ""
        assert row[8] == ("–" if math.isnan(adjusted) else probability(adjusted) + star)
        assert math.isnan(adjusted) == ("," not in names[name] or "keywords" in metric)
        share = [float(one[f"prompting_share{end}"]) for end in ("", "_low", "_high")]
        value, low, high = map(percent, np.nan_to_num(share))
        assert row[9] == ("–" if math.isnan(share[0]) else f"{value} [{low}, {high}]")
        assert (row[9] == "–") == (metric == "politeness")


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_agreements_are_told(lang):
    found, text = trust(groups(made())[0]), section(page(lang=lang), 5)
    for value in (found.split_half, found.on_text):
        assert f"ρ = {value:.2f}".replace("-", "−") in text
    assert f"r = {found.predicted:.2f}" in text
    kept = f"{found.kept:.2f}"
    assert {"en": f"keep {kept} of their size", "ja": f"大きさの{kept}倍"}[lang] in text


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_positive_controls_equal_the_tree(lang):
    found = table({"en": "What the positive controls do", "ja": "陽性対照の効果"}[lang], lang=lang)
    stored = node("positive_controls")
    yes, no = {"en": ("yes", "holds 0"), "ja": ("動いた", "0を含む")}[lang]
    assert len(found.rows) == 12
    for row in found.rows:
        control, metric = (re.sub(r"</?code>|`", "", one) for one in row[:2])
        one = stored.sel(positive_control=control, metric=metric)
        assert row[2:4] == [
            signed(float(one.delta)), f"[{signed(float(one.ci_low))}, {signed(float(one.ci_high))}]"
        ]  # fmt: skip
        assert row[-1] == (no if one.ci_low <= 0 <= one.ci_high else yes)
    assert {row[1] for row in found.rows if row[-1] == no} == {"`politeness`"}
    unmoved = {
        "en": "Not moved by prompting: `politeness`.",
        "ja": "promptingが動かさない指標: `politeness`。",
    }
    assert unmoved[lang] in section(page(lang=lang), 1)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_without_controls_the_section_says_so(lang):
    text = section(page(replace(SPEC, controls=()), lang), 1)
    assert {"en": "No positive control ran.", "ja": "陽性対照は走らせていない。"}[lang] in text
    assert "|" not in text


def test_where_prompting_moves_everything_nothing_is_unmoved():
    assert "Not moved by prompting" not in page(replace(SPEC, unmoved=()))


def test_a_control_of_one_prompt_is_no_test():
    spec = replace(SPEC, n_confirmation=1)
    assert {row[-1] for row in table("What the positive controls do", spec).rows} == {"no test"}
    assert "Not moved by prompting" not in page(spec)


def test_only_prompting_tells_what_is_unmoved():
    """A shift may leave a metric alone that prompting moves."""
    spec = replace(SPEC, controls=("shift 1",))
    assert "Not moved by prompting" not in page(spec)
    assert len(table("What the positive controls do", spec).rows) == 6


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize(
    "changed",
    [
        {}, {"control": False, "attributed": False}, {"sweep": False}, {"controls": ()},
        {"n_confirmation": 1}, {"readouts": ("kl_path", "kl_path_first")}, {"attributed": False},
        {"missing": (LABEL, "politeness")}, {"swept_text": True}, {"modes": ("v_only",)},
    ],
    ids=str,
)  # fmt: skip
def test_partial_trees_with_read_outs_make_a_whole_report(changed, lang):
    found = page(replace(SPEC, **changed), lang)
    tables(found)
    assert not re.search(r"\bnan\b", found, re.IGNORECASE)
    assert lang == "ja" or not JAPANESE.search(found)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_a_tree_without_read_outs_has_none_of_it(lang):
    """But for the section that says that no positive control ran."""
    found = page(Spec(planted=("1:2",), seed=3), lang)
    words = ("logodds", "first 2", "prompting", "A single head would have", "nat ")
    rest = found.replace(section(found, 1), "")
    assert not any(word in rest for word in words)


def test_random_sets_that_are_the_same_stand_once():
    settings = {**SPEC.settings, "random_sets": [RANDOM, RANDOM]}
    spec = replace(SPEC, settings=settings)
    rows = table("effects on the read-out and on the text", spec).rows
    assert len([row for row in rows if "random 2" in row[0]]) == 6


# The sweep


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_a_sweep_without_text_is_shown_by_its_read_out(lang):
    found = table({"en": "in the discovery (n = 8)", "ja": "探索（n = 8）"}[lang], lang=lang)
    assert (
        found.header[2:]
        == {
            "en": [f"{LOGODDS} discovery", f"{LOGODDS} confirmation", f"{LOGODDS} confirmation q"],
            "ja": [f"{LOGODDS} 探索", f"{LOGODDS} 確認", f"{LOGODDS} 確認 q"],
        }[lang]
    )
    for rank, label in enumerate(SPEC.strongest, 1):
        layer, head = map(int, label.split(":"))
        swept = node("sweep").sel(layer=layer, head=head, mode="result", metric=LOGODDS)
        star = "*" if at(label, LOGODDS).net_q_value < 0.05 else ""
        assert found.rows[rank - 1] == [
            str(rank), f"`{label}`", signed(float(swept.net_delta)),
            signed(float(at(label, LOGODDS).net_delta)),
            probability(float(at(label, LOGODDS).net_q_value)) + star,
        ]  # fmt: skip
    text = page(lang=lang)
    assert {"en": "generated no text", "ja": "テキストを生成せず"}[lang] in text
    assert {"en": "The sweep generated 16 tokens", "ja": "探索の生成長は16"}[lang] not in text
    assert {"en": "max_new_tokens (sweep)", "ja": "max_new_tokens（探索）"}[lang] not in text
    # 12 heads and two log-odds, and no text.
    power = {"en": "Power of the discovery: ", "ja": "探索用プロンプトの検定力: "}[lang]
    assert (
        "24" in text.split(power)[1].split("\n")[0] and "420" not in text.split(power)[1].split("\n")[0]
    )


def test_replication_is_counted_on_the_read_out_of_a_sweep_without_text():
    pairs = [
        [
            float(
                one.net_delta.sel(layer=int(head[0]), head=int(head[2]), mode="result", metric=LOGODDS)
            )
            for one in (node("sweep"), node())
        ]
        for head in SPEC.strongest
    ]
    same = sum(first * second > 0 for first, second in pairs)
    first, second = np.abs(pairs).mean(axis=0)
    text = section(page(), 8)
    assert f"in {same} of 3 pairs of head and metric" in text
    assert f"confirmation is {second / first:.2f} times" in text


def test_a_sweep_with_text_is_shown_by_its_texts():
    spec = replace(SPEC, swept_text=True)
    found = table("in the discovery (n = 8)", spec)
    assert found.header[2] == "sentiment discovery" and len(found.header) == 11
    assert "The sweep generated 16 tokens" in page(spec) and "generated no text" not in page(spec)
    assert "max_new_tokens (sweep)" in page(spec)


# HTML


@pytest.mark.slow
def test_the_read_outs_heatmap_comes_first_and_its_tips_are_the_sweeps():
    found = render_html(made(), lang="en")
    tips = [dict(a).get("data-tip") or "" for _, a in Elements(found).found]
    one = node("sweep").sel(layer=2, head=1, mode="result", metric=LOGODDS)
    mine = [tip for tip in tips if tip.startswith("layer 2, head 1 (result)")]
    ends = f"[{signed(float(one.net_ci_low))}, {signed(float(one.net_ci_high))}]"
    assert len(mine) == 1  # no text and no KL was swept, and this head is not confirmed
    assert mine[0].split("|")[1] == f"net Δ {signed(float(one.net_delta))} {ends}"
    assert mine[0].endswith("n = 8")
    assert f"net Δ of {LOGODDS}, layer × head, discovery prompts" in found
    both = render_html(made(replace(SPEC, swept_text=True)), lang="en")
    captions = re.findall(r"net Δ of (\w+), layer × head", both)
    assert list(dict.fromkeys(captions)) == [LOGODDS, "sentiment_positive", "politeness", LABEL]


@pytest.mark.slow
def test_a_caption_says_which_prompts_a_map_shows():
    heads = ("0:0", "0:1", "0:2", "1:0", "1:1", "1:2", "2:0", "2:1", "2:2", "3:0")
    found = render_html(made(replace(SPEC, strongest=heads)), lang="en")
    assert f"net Δ of {LOGODDS}, layer × head, discovery prompts" in found
    assert f"net Δ of {LABEL}, layer × head, confirmation prompts" in found
