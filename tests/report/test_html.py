"""The HTML report: self-contained, safe with hostile texts, and quiet in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from phase7.report import render_html, render_report, report_files, write_reports
from phase7.report.differences import SHOWN, changed_spans
from tests.browser import Browser, find_browser
from tests.report.synthetic import NASTY, Spec, tree

pytestmark = pytest.mark.slow

PLAIN = Spec(planted=("1:2",), seed=3)
ENDLESS = "x" * 100_000
HOSTILE = (
    *NASTY,
    ENDLESS,
    "</p></article></main><script>document.title='taken'</script>",
    "<img src=http://127.0.0.1:9/x onerror=console.log(1)>",
    "![i](http://127.0.0.1:9/y) <svg onload=alert(1)> </style><style>*{display:none}",
    '" onmouseover="alert(1) \' data-tip="x|y',
)
TAGS = {
    "html", "head", "meta", "title", "link", "style", "body", "svg", "rect", "main",
    "details", "summary", "ul", "li", "a", "h1", "h2", "h3", "h4", "h5", "h6", "p", "strong", "em", "code",
    "div", "table", "thead", "tbody", "tr", "th", "td", "br", "wbr", "b", "figure", "figcaption", "img",
    "article", "del", "ins", "script",
}  # fmt: skip


class Elements(HTMLParser):
    """All start tags with their attributes, and the text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)


def html(made, lang="en"):
    return render_html(made, lang=lang)


@pytest.fixture(scope="module")
def plain_page():
    return html(tree(PLAIN))


@pytest.fixture(scope="module")
def hostile():
    return tree(replace(PLAIN, texts=HOSTILE), replace(PLAIN, emotion="anger", texts=HOSTILE, seed=9))


@pytest.fixture(scope="module")
def hostile_page(hostile):
    return html(hostile)


@pytest.fixture(scope="module")
def page_file(hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    write_reports(hostile, [folder / "report.html"], lang="en", plots_dir=None)
    return folder / "report.html"


def test_only_our_own_elements_and_no_handlers(hostile_page):
    elements = Elements(hostile_page).found
    assert {tag for tag, _ in elements} <= TAGS
    assert sum(tag == "script" for tag, _ in elements) == sum(tag == "style" for tag, _ in elements) == 1
    for tag, attributes in elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (
            tag,
            attributes,
        )
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)


def test_the_check_above_can_fail(hostile_page):
    page = hostile_page.replace("</main>", "<img src=x onerror=y></main>")
    assert ("img", {"src": "x", "onerror": "y"}) in Elements(page).found


def test_an_endless_word_does_not_fill_the_page():
    made = tree(replace(PLAIN, texts=(ENDLESS, ENDLESS[:-1] + "y")))
    page = html(made)
    assert ENDLESS[:40] not in page  # it may break everywhere
    assert "(100,000 characters in all)" in page or "200,001 characters in all" in page
    assert len(page) < 1_500_000


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_same_headings_tables_and_numbers_as_markdown(lang):
    others = [replace(PLAIN, emotion="anger", seed=5)] if lang == "en" else []
    made = tree(PLAIN, *others)
    page = html(made, lang=lang)
    markdown = render_report(made, lang=lang, plots_dir=None, report_path=Path("r.md"))
    headings = re.findall(r"(?m)^#+ (.+)$", markdown)
    shown = [re.sub(r"<[^>]+>", "", one) for one in re.findall(r"<h[1-4][^>]*>(.*?)</h[1-4]>", page)]
    assert shown == headings
    assert f'<html lang="{lang}">' in page
    captions = re.findall(r'<a id="(t[\w-]+)">', markdown)
    assert captions and all(f'id="{anchor}"' in page for anchor in captions)
    linked = set(re.findall(r'href="#([\w-]+)"', page))
    assert linked <= set(re.findall(r'id="([\w-]+)"', page))
    row = re.search(r"\| `politeness` \|[^\n]+", markdown)
    assert row
    for number in re.findall(r"[+−]\d\.\d{3}", row[0]):
        assert number in page


def test_cells_tell_the_trees_numbers(plain_page):
    page = plain_page
    sweep = tree(PLAIN)["tiny/gratitude/sweep"].to_dataset()
    one = sweep.sel(layer=2, head=1, mode="result", metric="politeness")
    tips = [dict(a).get("data-tip") or "" for _, a in Elements(page).found]
    found = [tip for tip in tips if tip.startswith("layer 2, head 1 (result)")]
    signed = f"{float(one.net_delta):+.3f}".replace("-", "−")
    ends = [f"{float(v):+.3f}".replace("-", "−") for v in (one.net_ci_low, one.net_ci_high)]
    mine = [tip for tip in found if f"net Δ {signed} [{ends[0]}, {ends[1]}]" in tip]
    assert len(found) == 4 and len(mine) == 1  # three metrics and KL
    assert f"q {float(one.net_q_value):.3f}" in mine[0] and "n = 8" in mine[0]


def test_changed_words_are_marked():
    text, other = "Dear Sir, I am glad to help.", "Dear Sir, I am sad to go."
    assert changed_spans(text, other) == (
        ("Dear Sir, I am ", False), ("glad", True), (" to ", False), ("help", True), (".", False),
    )  # fmt: skip
    assert changed_spans(text, text) == ((text, False),)
    rng = np.random.default_rng(1)
    for _ in range(50):
        one, two = ("".join(rng.choice(list("ab \n<&"), 30)) for _ in range(2))
        assert "".join(piece for piece, _ in changed_spans(one, two)) == one


def test_long_texts_are_compared_in_bounded_time():
    made = tree(replace(PLAIN, texts=("a " * 50_000, "b a " * 25_000, "a b " * 25_000)))
    assert f"{SHOWN}" and "<ins>" in html(made)


def test_first_difference_and_changes_are_in_the_page(plain_page):
    assert plain_page.count('<b class="first">') >= 4
    assert plain_page.count("<del>") and plain_page.count("<ins>")


def test_the_same_tree_gives_the_same_page(plain_page):
    assert html(tree(PLAIN)) == plain_page
    assert html(tree(PLAIN), lang="ja") != plain_page


def test_every_id_is_used_once(hostile_page):
    ids = [attributes["id"] for _, attributes in Elements(hostile_page).found if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20


def test_files_by_format_and_suffix():
    md, page = Path("docs/r.md"), Path("docs/r.html")
    assert report_files(md, None) == report_files(page, "md") == [md]
    assert report_files(page, None) == report_files(md, "html") == [page]
    assert report_files(md, "both") == report_files(page, "both") == [md, page]
    assert report_files(Path("r.txt"), None) == [Path("r.txt")]


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium on the PATH (nor in PHASE7_CHROMIUM): apt-get install chromium")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as one:
        yield one


SIZES = pytest.mark.parametrize(
    ("width", "mobile"), [(1400, False), (390, True)], ids=["desktop", "phone"]
)


@SIZES
def test_no_message_no_request_and_nothing_too_wide(browser, page_file, width, mobile):
    page = browser.open(page_file, width=width, height=900, mobile=mobile)
    assert page.messages() == []
    assert page.requests() == [page_file.resolve().as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if not mobile:  # no table is cut
        cut = (
            "[...document.querySelectorAll('main > .scroll')].filter(s => s.scrollWidth > s.clientWidth)"
        )
        assert page.evaluate(f"{cut}.length") == 0
    assert (
        page.evaluate("document.title")
        == "Phase 7 report: what patching attention heads does to generated text"
    )
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    apart = (
        "Math.max(...[...document.querySelectorAll('.drawn svg')].map(s => {"
        "const a = s.getBoundingClientRect(), b = s.previousSibling.getBoundingClientRect();"
        "return Math.abs(a.x - b.x) + Math.abs(a.y - b.y)"
        " + Math.abs(a.width - b.width) + Math.abs(a.height - b.height)}))"
    )
    assert page.evaluate(apart) < 1  # what is pointed at lies on what is seen
    assert page.evaluate("document.images.length") == 13  # six of each emotion, the comparison once


def test_pointing_at_a_cell_shows_its_numbers(browser, page_file):
    page = browser.open(page_file, width=1280, height=900)
    place = (
        "(() => {const c = document.querySelector('figure + figure .area'); c.scrollIntoView({block: 'center'});"
        "const r = c.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]})()"
    )
    x, y = page.evaluate(place)
    # Scrolling hides the tip: wait until that is over.
    page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
    )
    assert page.evaluate("document.getElementById('tip').hidden")
    page.move(x, y)
    shown = page.evaluate("document.getElementById('tip').textContent")
    assert not page.evaluate("document.getElementById('tip').hidden")
    assert re.match(r"layer \d+, head \d+ \(result\)\nnet Δ [+−]?\d", shown)
    page.move(2, 2)
    assert page.evaluate("document.getElementById('tip').hidden")
    assert page.messages() == []


def test_the_browser_would_tell(browser, tmp_path):
    """Liveness: a page that logs and asks for a file is caught."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.log('x')</script><img src='missing.png'>", encoding="utf-8")
    page = browser.open(bad, width=800, height=600)
    assert page.messages()
    assert len(page.requests()) == 2


def test_the_policy_stops_what_slips_through(browser, page_file, tmp_path):
    """Were a text not escaped, the content security policy would still stop its script and request."""
    bad = tmp_path / "slipped.html"
    slipped = "<script>document.title='taken'</script><img src='http://127.0.0.1:9/x'></main>"
    bad.write_text(page_file.read_text(encoding="utf-8").replace("</main>", slipped), encoding="utf-8")
    page = browser.open(bad, width=800, height=600)
    assert page.evaluate("document.title") != "taken"
    assert len(page.messages()) >= 2  # both refusals are told


def test_it_prints(browser, page_file, tmp_path):
    page = browser.open(page_file, width=1280, height=900)
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_all_texts_can_be_opened_by_heads_mode_and_prompt(plain_page):
    made = tree(PLAIN)
    texts = made["tiny/gratitude/texts"].to_dataset()
    drawers = re.findall(r'<details class="drawer">(.*?)</details>', plain_page, re.DOTALL)
    generated = texts.was_generated.any("prompt")
    n_swept = int(made["tiny/gratitude/sweep/texts"].was_generated.any("prompt").sum())
    assert int(generated.sum()) == 12  # four sets of heads in three modes
    assert len(drawers) - int(generated.sum()) == n_swept == 12  # all heads in one
    named = [re.sub(r"<[^>]+>", "", re.match(r"<summary>(.*?)</summary>", one)[1]) for one in drawers]
    assert "1:2, v_only (12 prompts)" in named and len(set(named)) == len(named)
    opened = drawers[named.index("1:2, v_only (12 prompts)")]
    assert opened.count("<article>") == 12
    shown = re.sub(r"<[^>]+>", "", opened)
    own = texts.sel(head_set="1:2", mode="v_only")
    for prompt in own.prompt[own.was_generated.values].values:
        assert str(own.prompt_text.sel(prompt=prompt).item()) in shown
    swept = [re.match(r"sweep: (\d:\d), result \(8 prompts\)", one) for one in named[12:]]
    effects = made["tiny/gratitude/sweep"].net_delta.sel(mode="result", metric="goemotions_gratitude")
    sizes = [abs(float(effects.sel(layer=int(one[1][0]), head=int(one[1][2])))) for one in swept]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 12  # strongest first


def test_what_would_make_the_page_too_large_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("phase7.report.html.medium.MOST_TEXTS", 30)
    page = html(tree(PLAIN))
    assert page.count('<details class="drawer">') == 2  # twelve prompts each
    assert "Texts of 22 more heads and modes would make the page too large" in page


def test_markdown_has_no_drawers():
    page = render_report(tree(PLAIN), lang="en", plots_dir=None, report_path=Path("r.md"))
    assert "drawer" not in page and "All texts, by heads" not in page
