"""Page of a report: plain, light, readable on a phone, with nothing outside the file."""

from __future__ import annotations

import base64
import html
import itertools

from tf_gradvar.pages.document import (
    Code,
    Gallery,
    Markup,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Terms,
    Text,
)

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 66rem; background: #fff;
  color: #222; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #ddd; }
p { max-width: 44rem; margin: .6rem 0; }
p.finding { font-size: 1.12rem; padding-left: .8rem; border-left: 3px solid #0072b2; }
p.note { color: #666; font-size: .88rem; }
pre { background: #f6f6f4; padding: .7rem .8rem; overflow-x: auto; font-size: .82rem;
  line-height: 1.45; border-radius: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #999; vertical-align: bottom; white-space: normal; }
th.text, td.text { text-align: left; }
tr.first td { border-top: 1px solid #bbb; }
tr.strong td { font-weight: 600; }
.grid { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
dl { max-width: 44rem; }
dt { font-weight: 600; margin-top: .8rem; }
dd { margin: .1rem 0 0; }
a { color: #005a8f; }
dt:target { background: #fff3c4; }
h1, p, td, dd { overflow-wrap: anywhere; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #555; font-size: .85rem; }
"""


def page(report: Report, reload_seconds: int | None = None) -> str:
    """Return a whole page as HTML.

    Args:
        report: What is on it.
        reload_seconds: After how many seconds a browser reads it again. Defaults to None, never.
    """
    body = "\n".join(map(_html, report.parts))
    reload = (
        ""
        if reload_seconds is None
        else f'<meta http-equiv="refresh" content="{reload_seconds}">\n'
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{reload}<title>{html.escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(report.title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(part: Part) -> str:
    match part:
        case Text(text, kind):
            return _paragraph(html.escape(text), kind)
        case Markup(markup, kind):
            return _paragraph(markup, kind)
        case Code(text):
            return f"<pre>{html.escape(text.rstrip())}</pre>\n"
        case Table():
            return _table(part)
        case Terms(entries):
            return f"<dl>{''.join(itertools.starmap(_term, entries))}</dl>\n"
        case Gallery(pictures):
            return f'<div class="grid">{"".join(map(_figure, pictures))}</div>\n'
        case Section(title, parts):
            body = "".join(map(_html, parts))
            return f"<section><h2>{html.escape(title)}</h2>\n{body}\n</section>"


def _paragraph(markup: str, kind: str) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{markup}</p>\n"


def _term(anchor: str, word: str, paragraph: str) -> str:
    return (
        f'<dt id="{html.escape(anchor)}">{html.escape(word)}</dt><dd>{html.escape(paragraph)}</dd>'
    )


def _table(table: Table) -> str:
    """Return a table that scrolls sideways where it does not fit."""
    is_text = table.is_text
    head = "".join(_cell("th", *pair) for pair in zip(table.headings, is_text, strict=True))
    lines = []
    for index, row in enumerate(table.cells):
        kinds = ["strong"] * (index in table.strong) + ["first"] * table.begins_block(index)
        line = "".join(_cell("td", *pair) for pair in zip(row, is_text, strict=True))
        lines.append(f'<tr class="{" ".join(kinds)}">{line}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def _cell(tag: str, text: str, is_text: bool) -> str:
    kind = ' class="text"' if is_text else ""
    return f"<{tag}{kind}>{html.escape(text)}</{tag}>"


def _figure(picture: Picture) -> str:
    # As an image, an SVG keeps its element ids to itself: several on one page do not collide.
    data = base64.b64encode(picture.svg.encode()).decode()
    caption = html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
