"""The HTML page: the Markdown report's blocks, rendered, in a frame that forbids every request.

The same tree gives the same text. Foreign text is escaped where it enters a block
(:mod:`phase7.report.escape`); the content security policy is a second line of defence.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import xarray as xr
from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

from phase7.findings.group import groups
from phase7.report.html.medium import HtmlMedium
from phase7.report.language import Lang, Language
from phase7.report.numbers import Numbers
from phase7.report.render import page_blocks

_ALIGN = re.compile(r"text-align:(\w+)")


def render_html(tree: xr.DataTree, *, lang: Lang = "ja") -> str:
    """Write the report as one self-contained HTML document.

    Parameters
    ----------
    tree : xarray.DataTree
        An effects tree (docs/effects.md), as :func:`phase7.open_effects` gives it.
    lang : {"ja", "en"}
        Language of headings, labels and sentences.

    Returns
    -------
    str
        HTML with its style, script and figures inside: no file and no address is loaded.

    Raises
    ------
    UserError
        If the tree has no (model, emotion), or one without settings.
    """
    language, markdown = Language(lang), _markdown()
    medium = HtmlMedium(
        groups=groups(tree),
        numbers=Numbers(not_measured=language("not_measured"), no_test=language("no_test")),
        inline=lambda text: str(markdown.renderInline(text)),
    )
    tokens = markdown.parse("\n\n".join(page_blocks(tree, language, medium)))
    headings = _name_headings(tokens)
    body = str(markdown.renderer.render(tokens, markdown.options, {}))
    style, script = _asset("report.css"), _asset("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_asset("report.html")).render(
        lang=lang,
        title=language("title"),
        contents=language("contents"),
        headings=headings,
        body=Markup(body),  # escaped where it entered
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _asset(name: str) -> str:
    return (files("phase7.report.html") / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode('ascii')}"


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    markdown.add_render_rule("th_open", _cell_open)
    markdown.add_render_rule("td_open", _cell_open)
    return markdown


def _table_open(self: RendererHTML, tokens: Sequence[Token], i: int, *_: Any) -> str:
    """Wide tables scroll in their own frame."""
    return '<div class="scroll" tabindex="0"><table>\n'


def _table_close(self: RendererHTML, tokens: Sequence[Token], i: int, *_: Any) -> str:
    return "</table></div>\n"


def _cell_open(self: RendererHTML, tokens: Sequence[Token], i: int, *_: Any) -> str:
    """Alignment as a class: the policy allows no style attribute."""
    found = _ALIGN.search(str(tokens[i].attrGet("style") or ""))
    return f'<{tokens[i].tag} class="{found[1]}">' if found else f"<{tokens[i].tag}>"


def _name_headings(tokens: Sequence[Token]) -> list[dict[str, object]]:
    """Give every heading an id, and list those of the first three levels below the title."""
    found: list[dict[str, object]] = []
    for i, token in enumerate(tokens):
        if token.type != "heading_open" or token.tag == "h1":
            continue
        name = f"h{len(found) + 1}"
        token.attrSet("id", name)
        inline = tokens[i + 1].children or []
        text = "".join(child.content for child in inline if child.type in ("text", "text_special"))
        found.append({"id": name, "level": int(token.tag[1]), "text": text})
    return [heading for heading in found if int(str(heading["level"])) <= 3]
