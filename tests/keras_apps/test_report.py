"""The page stands alone, and its sections say only what the records hold."""

import html.parser
import re

import pytest

from keras_apps import report, summary
from keras_apps.config import Loaded
from keras_apps.workdir import Workdir
from tests.keras_apps.synthetic import EXPERIMENT, records


@pytest.fixture
def workdir(tmp_path):
    folder = Workdir(tmp_path / "run", {})
    yield folder
    folder.close()


def written(workdir, found, name="made_up"):
    for record in found:
        workdir.records.append(record)
    loaded = Loaded(name, EXPERIMENT, "What the file says: 1 < 2.")
    return report.write(loaded, "Digits.", workdir).read_text(encoding="utf-8")


class Structure(html.parser.HTMLParser):
    """Checks that tags are closed in order and collects attributes that load something."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.sources += [value for key, value in attributes if key in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_stands_alone(workdir):
    page = written(workdir, records())
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert structure.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in structure.sources)
    assert not re.search(r"https?://|@import|<script|<link", page)
    assert 'name="viewport"' in page
    text = "".join(structure.text)
    assert "A <made-up> comparison" in text
    assert "What the file says: 1 < 2." in text
    for heading in (
        "What was run",
        "Table",
        "Curves with 1 group in a step",
        "Curves with 8 groups in a step",
        "Between-cluster variance over training",
        "Run your own",
    ):
        assert heading in text
    assert "0.4200 ± 0.0283" in text
    assert "Digits." in text
    assert "--config made_up" in text


def test_a_workdir_without_finished_runs_gets_a_page(workdir):
    page = written(workdir, [])
    assert "Run your own" in page
    assert "<table>" not in page


def test_sections_are_functions_of_the_data(workdir, monkeypatch):
    def gradient_variance(data):
        return f"<section>{len(data.rows)} rows measured</section>"

    monkeypatch.setattr(report, "SECTIONS", [report.headline, gradient_variance])
    page = written(workdir, records())
    rows = summary.summarise(records(), EXPERIMENT)
    assert f"<section>{len(rows)} rows measured</section>" in page


CLAIMS = ("pays", "Lowest final", "lower on every seed", "buffers leave", "accuracy changes by")


def test_a_smoke_test_draws_no_conclusion(workdir):
    page = written(workdir, records(), "digits_classes:quick")
    assert "<h1>Smoke test: A &lt;made-up&gt; comparison</h1>" in page
    assert 'class="finding">This was a smoke test: everything ran' in page
    assert (
        "python -m keras_apps.train --config digits_classes --workdir runs/digits_classes" in page
    )
    assert "0.4200 ± 0.0283" in page
    for claim in CLAIMS:
        assert claim not in page


def test_the_whole_experiment_does(workdir):
    page = written(workdir, records())
    assert "smoke" not in page.lower()
    for claim in CLAIMS:
        assert claim in page


def test_one_seed_gets_no_verdict_and_no_stars(workdir):
    page = written(workdir, records(seeds=(0,)))
    assert "pays" not in page
    assert "for 2 of 2 optimizers with one group and 0 of 2 optimizers with 8 groups." in page
    assert "That is one seed" in page
    assert "%*" not in page
