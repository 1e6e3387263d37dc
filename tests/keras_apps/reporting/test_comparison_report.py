"""The page stands alone, and its sections say only what the records hold."""

import dataclasses
import html.parser
import re

from keras_apps.reporting import comparison_report
from keras_apps.reporting.comparison_results import Results
from keras_apps.running.configurations import Loaded
from tests.keras_apps.synthetic import EXPERIMENT, records
from tf_gradvar.pages import Code, Section, page


def written(folder, found, name="made_up", experiment=EXPERIMENT):
    loaded = Loaded(name, experiment, "What the file says: 1 < 2.")
    results = Results.of(found, experiment)
    material = comparison_report.Material(loaded, results, [], "Digits.", folder)
    return page(comparison_report.comparison_report(material))


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


def test_the_page_stands_alone(tmp_path):
    shown = written(tmp_path, records())
    structure = Structure()
    structure.feed(shown)
    assert structure.open == []
    assert structure.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in structure.sources)
    assert not re.search(r"https?://|@import|<script|<link", shown)
    assert 'name="viewport"' in shown
    text = "".join(structure.text)
    assert "A <made-up> comparison" in text
    assert "What the file says: 1 < 2." in text
    for heading in (
        "What was run",
        "Final training loss",
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


def test_a_workdir_without_finished_runs_gets_a_page(tmp_path):
    shown = written(tmp_path, [])
    assert "Run your own" in shown
    assert "<table>" not in shown


def test_sections_are_functions_of_the_data(tmp_path, monkeypatch):
    def gradient_variance(material):
        return [Section("Measured", [Code(f"{len(material.results.arms)} rows")])]

    sections = [comparison_report.headline, gradient_variance]
    monkeypatch.setattr(comparison_report, "SECTIONS", sections)
    shown = written(tmp_path, records())
    assert "<section><h2>Measured</h2>\n<pre>10 rows</pre>\n\n</section>" in shown


CLAIMS = ("pays", "Lowest final", "lower on every seed", "buffers leave", "accuracy changes by")


def test_a_smoke_test_draws_no_conclusion(tmp_path):
    shown = written(tmp_path, records(), "digits_classes:quick")
    assert "<h1>Smoke test: A &lt;made-up&gt; comparison</h1>" in shown
    assert 'class="finding">This was a smoke test: everything ran' in shown
    assert (
        "python -m keras_apps.train --config digits_classes --workdir runs/digits_classes" in shown
    )
    assert "0.4200 ± 0.0283" in shown
    for claim in CLAIMS:
        assert claim not in shown


def test_the_whole_experiment_does(tmp_path):
    shown = written(tmp_path, records())
    assert "smoke" not in shown.lower()
    for claim in CLAIMS:
        assert claim in shown


def test_an_unfinished_experiment_says_so(tmp_path):
    found = [r for r in records() if r["optimizer"] != "SGD"]
    assert "So far 16 of 20 runs of the comparison are finished." in written(tmp_path, found)
    assert "So far" not in written(tmp_path, records())


def test_a_search_is_described(tmp_path):
    search = {"learning_rate": (0.1, 0.2)}
    arms = tuple(
        dataclasses.replace(o, candidates=(), learning_rates={}, search=search)
        for o in EXPERIMENT.optimizers
    )
    experiment = dataclasses.replace(EXPERIMENT, optimizers=arms, tuning_budget=2)
    shown = written(tmp_path, records(), experiment=experiment)
    assert "for each C, the best of 2 tuning runs" in shown
    assert "“none tried above it” that no run" in shown
    assert "higher on every seed" in shown


def test_one_seed_gets_no_verdict_and_no_stars(tmp_path):
    shown = written(tmp_path, records(seeds=(0,)))
    assert "pays" not in shown
    assert "for 2 of 2 optimizers with one group and 0 of 2 optimizers with 8 groups." in shown
    assert "That is one seed" in shown
    assert "%*" not in shown
