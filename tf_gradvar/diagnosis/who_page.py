"""The section on who carries the noise: sentences, pictures of groups, and examples to look at."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

import numpy as np

from tf_gradvar.diagnosis import svg
from tf_gradvar.diagnosis.glossary import linked
from tf_gradvar.diagnosis.group_noise import GroupNoise
from tf_gradvar.diagnosis.numbers_in_words import number, percent
from tf_gradvar.diagnosis.who import Who
from tf_gradvar.diagnosis.who_words import who_sentences
from tf_gradvar.pages import MINUS, Gallery, Markup, Part, Picture, Table

# Groups in a picture and in a table; examples in a row of pictures.
MOST_GROUPS, MOST_ROWS, MOST_SHOWN = 12, 30, 12


def examples_to_show(who: Who) -> dict[str, list[int]]:
    """Return the numbers of examples that are worth a look, by what they are."""
    scores = who.scores
    order = np.argsort(-scores["norm"], kind="stable")[:MOST_SHOWN]
    found = {"largest gradients": scores["index"][order].tolist()}
    if who.wrong_labels is not None:
        found["labels that may be wrong"] = who.wrong_labels.candidates[:MOST_SHOWN].tolist()
    groups = scores["duplicate_group"]
    pairs = [
        scores["index"][groups == group][:2].tolist()
        for group in range(min(who.duplicates.num_groups, MOST_SHOWN // 2))
    ]
    found["near-duplicates, two by two"] = [index for pair in pairs for index in pair]
    return {title: indices for title, indices in found.items() if indices}


def who_parts(
    who: Who, images: Mapping[int, bytes], inputs: Mapping[int, tuple[float, ...]]
) -> list[Part]:
    """Return the parts of the section.

    Args:
        who: The findings.
        images: PNG files of the examples to show, by their numbers; may be empty.
        inputs: First inputs of the examples to show, likewise.
    """
    parts: list[Part] = [Markup(linked(text)) for text in who_sentences(who)]
    groups = ([] if who.by_class is None else [who.by_class]) + list(who.by_column.values())
    if groups:
        parts.append(Gallery([_picture(found) for found in groups]))
        parts.append(_table(groups))
    for title, indices in examples_to_show(who).items():
        parts += _shown(title, indices, who, images, inputs)
    return parts


def _picture(found: GroupNoise) -> Picture:
    rows = [
        (
            f"{row.group} ({row.size:,} examples)",
            [(row.relative_noise, f"{number(row.relative_noise)} ± {number(row.standard_error)}")],
        )
        for row in found.rows[:MOST_GROUPS]
    ]
    drawn = svg.bars(rows, ["noise of an example over the average (no unit)"])
    more = f", the noisiest {MOST_GROUPS}" if len(found.rows) > MOST_GROUPS else ""
    return Picture(f"noise_by_{found.column}", drawn, f"Noise by {found.column}{more}.")


def _table(groups: Sequence[GroupNoise]) -> Table:
    cells = [
        [
            found.column,
            row.group,
            f"{row.size:,}",
            percent(row.noise_share),
            f"{number(row.relative_noise)} ± {number(row.standard_error)}",
            number(row.p_value),
        ]
        for found in groups
        for row in found.rows[:MOST_ROWS]
    ]
    headings = [
        "column",
        "group",
        "examples",
        "share of the noise",
        "noise over the average (no unit)",
        "chance that this is nothing (p)",
    ]
    return Table(headings, cells)


def _shown(
    title: str,
    indices: Sequence[int],
    who: Who,
    images: Mapping[int, bytes],
    inputs: Mapping[int, tuple[float, ...]],
) -> list[Part]:
    """Return a row of images, or a table where there are none."""
    scores = who.scores
    place = {int(index): row for row, index in enumerate(scores["index"])}
    known = [index for index in indices if index in place]
    if all(index in images for index in known):
        figures = "".join(_figure(index, place[index], who, images[index]) for index in known)
        return [Markup(f"{html.escape(title.capitalize())}:"), Markup(figures)]
    headings = ["example", *(name for name in ("label", "prediction") if name in scores), "loss"]
    cells = [
        [
            f"{index:,}",
            *(str(scores[name][place[index]]) for name in headings[1:-1]),
            number(float(scores["loss"][place[index]])),
            number(float(scores["norm"][place[index]])),
            *(number(v).replace("-", MINUS, v < 0) for v in inputs.get(index, ())),
        ]
        for index in known
    ]
    width = max((len(inputs.get(index, ())) for index in known), default=0)
    return [
        Markup(f"{html.escape(title.capitalize())}:"),
        Table([*headings, "length of the gradient", *map("input {}".format, range(width))], cells),
    ]


def _figure(index: int, row: int, who: Who, image: bytes) -> str:
    data = base64.b64encode(image).decode()
    words = [f"number {index}"]
    if "label" in who.scores:
        words.append(f"label {who.scores['label'][row]}")
        words.append(f"predicted {who.scores['prediction'][row]}")
    text = html.escape(", ".join(words))
    return (
        '<span style="display: inline-block; width: 7.2rem; margin: 0 .6rem .6rem 0; '
        'vertical-align: top; font-size: .8rem; line-height: 1.3">'
        f'<img alt="{text}" src="data:image/png;base64,{data}" '
        'style="width: 100%; image-rendering: pixelated; display: block">'
        f"{text}</span>"
    )
