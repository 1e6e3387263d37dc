"""The page: whole, valid, with nothing from outside, terms that lead somewhere, and its width."""

import dataclasses
import html.parser
import math
import re

import numpy as np
import pytest

from tests import browser
from tests.diagnosis.tiny import gradients, seen_of
from tf_gradvar.diagnosis import glossary, numbers_in_words, svg, words
from tf_gradvar.diagnosis.example_measurements import ExampleMeasurements
from tf_gradvar.diagnosis.groupings import Grouping
from tf_gradvar.diagnosis.images import png
from tf_gradvar.diagnosis.noise import Estimate, layer_noise, measure_noise
from tf_gradvar.diagnosis.options import Facts, best_of, options_of
from tf_gradvar.diagnosis.page_of_report import page_of
from tf_gradvar.diagnosis.page_over_training import page_over_training
from tf_gradvar.diagnosis.report import Diagnosis, Setting
from tf_gradvar.diagnosis.who import examine
from tf_gradvar.pages import MINUS

VOID = {"meta", "img", "br", "hr", "link", "input", "rect", "line", "circle", "polyline"}
MATRIX, LABELS = gradients(400)
PIXELS = np.arange(8 * 6 * 3).astype(np.uint8).reshape(8, 6, 3)
EMBEDDED = ("#", "data:image/svg+xml;base64,", "data:image/png;base64,")


def who_of(seen):
    rows = np.arange(len(seen.indices))
    measured = ExampleMeasurements(
        indices=seen.indices,
        squared_norms=seen.squared_norms,
        sketches=seen.sketches,
        losses=np.linspace(0, 5, len(rows)),
        labels=LABELS[rows],
        predictions=(LABELS[rows] + (rows % 5 == 0)) % 3,
        left_out=np.array([], int),
        count=len(MATRIX),
    )
    columns = {"source": np.where(np.arange(400) % 2, "phone", "<web>"), "one": np.ones(400)}
    return examine(measured, columns)


def report_of(batch_size=16, examined=200, name="a <model> & more", **changes):
    seen = seen_of(MATRIX, np.arange(examined))
    noise = measure_noise(seen, batch_size)
    groups = [
        Grouping("class", LABELS, "numpy.ravel(y)"),
        Grouping("a very_long_name_of_a_column_" * 3, LABELS, "report.groups['long']"),
    ]
    options, apart = options_of(Facts(noise, seen, 0.1, 0), groups, Estimate.of(0.3, 0.01))
    setting = Setting(
        model=name,
        parameters=15,
        count=400,
        examined=examined,
        batch_size=batch_size,
        budget="business",
        time_limit=60.0,
        method="exact" if examined == 400 else "subset",
        reason="time",
        left_out=tuple(range(20)),
        seconds=3.2,
        seconds_per_example=1e-4,
        notes=("A note.",),
    )
    (layer,) = layer_noise(seen, batch_size)
    layers = [
        dataclasses.replace(layer, name=f"block_{i}/a_layer_with_a_long_name", noise_share=i / 300)
        for i in range(25)
    ]
    made = Diagnosis(
        setting, noise, tuple(layers), who_of(seen), tuple(options), tuple(apart), best_of(options)
    )
    return dataclasses.replace(made, **changes)


def history():
    records = []
    for step in (10, 20, 30):
        noise = measure_noise(seen_of(MATRIX, np.arange(200), seed=step), 16)
        names = ("signal", "noise", "noise_scale", "batch_variance")
        (layer,) = layer_noise(seen_of(MATRIX, np.arange(200)), 16)
        values = {name: vars(getattr(noise, name)) for name in names}
        common = {"epoch": 0, "batch_size": 16, "examined": 200, "layers": [vars(layer)]}
        records.append({"step": step, "noise": values, **common})
    return records


PAGES = {
    "a subset": lambda: page_of(report_of()),
    "all examples": lambda: page_of(report_of(examined=400)),
    "rows": lambda: page_of(report_of(inputs={i: (1.25, -2.0 - i) for i in range(400)})),
    "images": lambda: page_of(report_of(images={i: png(PIXELS) for i in range(400)})),
    "no help": lambda: page_of(report_of(best=None)),
    "draws": lambda: page_of(report_of(options=(), apart=(), best=None, who=None)),
    "training": lambda: page_over_training(history(), "net"),
    "one measurement": lambda: page_over_training(history()[:1], "net"),
}


class Checked(html.parser.HTMLParser):
    """Refuses tags that are not closed in order, and collects ids and links."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[key] for key in ("href", "src") if key in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    checked = Checked()
    checked.feed(text)
    checked.close()
    assert not checked.open
    return checked


@pytest.mark.parametrize("name", PAGES)
def test_valid_and_self_contained(name):
    page = PAGES[name]()
    found = parsed(page)
    assert len(set(found.ids)) == len(found.ids)
    assert "script" not in found.tags
    assert found.links
    for link in found.links:
        assert link.startswith(EMBEDDED), link
        assert not link.startswith("#") or link[1:] in found.ids, link
    assert "<model>" not in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,\S+", "", page))


@pytest.mark.skipif(browser.executable() is None, reason="needs chromium or chrome")
@pytest.mark.parametrize("name", ["images", "rows", "training"])
def test_in_a_browser(name, tmp_path):
    found, console = browser.widths(PAGES[name](), tmp_path, 400, 1200)
    assert console == []
    assert set(found) == {400, 1200}
    for window, width in found.items():
        assert width <= window


def test_the_inputs_of_a_table_stand_in_its_rows():
    page = PAGES["rows"]()
    assert "<th>input 0</th><th>input 1</th>" in page
    assert "input 2" not in page
    assert re.search(f"<td>26</td>.*?<td>1\\.25</td><td>{MINUS}28</td></tr>", page)
    assert "input 0" not in PAGES["a subset"]()


def test_every_term_is_linked_from_somewhere_and_explained():
    for key, term in glossary.TERMS.items():
        for word in term.words:
            assert f'href="#{key}"' in glossary.linked(f"about {word} here"), word
    assert glossary.linked("noise, then noise").count("<a ") == 1


def test_no_number_without_a_unit():
    """Cells that begin with a digit name what they count, or their heading does."""
    page = page_of(report_of())
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", page):
        assert "<td></td>" not in row.replace('<td class="text"></td>', "")
    text = str(report_of())
    for line in text.splitlines():
        if line.startswith("  ") and "normalized" not in line:
            assert re.search(r"\d \S", line), line


@pytest.mark.parametrize(
    ("batch_size", "words_found"),
    [(16, "is not reached"), (40, "near the critical"), (4000, "beyond the critical")],
)
def test_advice_on_the_batch_size(batch_size, words_found):
    assert words_found in words.batch_size_sentence(batch_size, 30.0)


def test_advice_follows_the_prediction():
    assert "Most would help: " in words.option_sentence(report_of())
    assert "No way of drawing" in words.option_sentence(report_of(best=None))
    small = report_of(batch_size=4, best=None)
    assert words.best_code(small) == "model.fit(x, y, batch_size=8)"
    assert words.best_code(report_of(batch_size=350, examined=400, best=None)) is None
    assert "and 10 more (counted from 0)" in words.left_out(report_of().setting)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (math.inf, "infinite"), (math.nan, "unknown"), (1e9, "1e+09"), (999.6, "1,000")],
)
def test_numbers_in_words(value, text):
    assert numbers_in_words.number(value) == text


def test_pictures_of_hardly_anything():
    for drawn in (
        svg.bars([("a", [(0.0, "0")])], ["what"]),
        svg.ranges([("a", math.inf, 0.5, math.inf, "x")], 1.0, "axis"),
        svg.lines([3], [("a", [math.nan])], "axis", logarithmic=True),
        svg.lines([1, 2], [("a", [0.0, 0.0])], "axis", logarithmic=False),
    ):
        parsed(drawn)
