"""The HTML of a report: plain, light, readable on a phone, with nothing outside the page."""

from __future__ import annotations

import base64
import html
import platform
from collections.abc import Collection, Sequence

from keras_apps.figures import Picture
from keras_apps.findings import MINUS

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
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #555; font-size: .85rem; }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: Heading of the page.
        sections: HTML, in order; empty ones are left out.

    Returns:
        HTML.
    """
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of the page under a heading of plain text."""
    return f"<section><h2>{html.escape(title)}</h2>\n{body}\n</section>"


def about(name: str, text: str, note: str) -> str:
    """The last section: a configuration's own words, and the versions.

    Args:
        name: Of the configuration.
        text: The docstring of its file.
        note: Sentences on what it took.

    Returns:
        HTML.
    """
    import keras
    import tensorflow as tf

    versions = (
        f"Configuration {name}. {note} TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}."
    ).replace("  ", " ")
    words = (
        "What the configuration says of itself. Values that it calls measured come from runs of "
        "its authors, not from this one."
    )
    return section(
        "About this experiment",
        paragraph(words) + preformatted(text) + paragraph(versions, "note"),
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{html.escape(text)}</p>\n"


def preformatted(text: str) -> str:
    """Code or commands."""
    return f"<pre>{html.escape(text.rstrip())}</pre>\n"


def grid(pictures: Sequence[Picture]) -> str:
    """Figures beside each other, one below the other on a narrow screen."""
    return f'<div class="grid">{"".join(map(_figure, pictures))}</div>\n'


def scrolling_table(
    headings: Sequence[str], cells: Sequence[Sequence[str]], strong: Collection[int]
) -> str:
    """A table that scrolls sideways where it does not fit.

    Args:
        headings: Of the columns; cells that are not numbers are set to the left.
        cells: Text of each row. Where rows share the value of the first column, a line parts
            them from the others.
        strong: Rows to set in bold.

    Returns:
        HTML.
    """
    columns = list(zip(*cells, strict=True))
    text = [not any(cell.lstrip(f"+{MINUS}")[:1].isdigit() for cell in own) for own in columns]
    has_blocks = len(set(columns[0])) < len(columns[0])
    head = "".join(_cell("th", name, is_text) for name, is_text in zip(headings, text, strict=True))
    lines = []
    for index, row in enumerate(cells):
        kinds = ["strong"] if index in strong else []
        if has_blocks and index and row[0] != cells[index - 1][0]:
            kinds.append("first")
        line = "".join(_cell("td", c, is_text) for c, is_text in zip(row, text, strict=True))
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
