"""The table of the paper, and the page that is written from what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks import clustering_cost
from benchmarks.clustering_cost import Layer, page

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def test_the_table_by_hand():
    """B T I O is the whole: 1 * 20 * 30 of a dense layer, 16 * 90 * 10 of a convolution."""
    assert Layer(20, 30, 1).predicted(4) == pytest.approx(
        {"A step": 4 * 50 / 600, "U step": 50 / 600, "norms": 50 / 600}
    )
    found = Layer(90, 10, 16).predicted(4)
    assert found["A step"] == pytest.approx(min(20 / 16, 4 * 100 / 900))  # Eqs. 8 and 9
    assert found["norms"] == pytest.approx(min(1, 16 * 100 / 900))
    assert found["U step"] == pytest.approx(100 / (16 * 900))


@pytest.mark.parametrize("layer", [Layer(5, 3, 1), Layer(18, 2, 16)], ids=lambda layer: layer.name)
def test_models_have_the_sizes_of_their_layers(layer):
    kernel = layer.model().trainable_variables[0]
    assert kernel.shape[-1] == layer.outputs
    assert kernel.shape.num_elements() == layer.inputs * layer.outputs


def test_the_page(tmp_path):
    assert page(tmp_path).count("##") == 0  # nothing measured, nothing said
    row = {
        "layer": "dense 2 x 2",
        "clusters": 10,
        "steps": {"A step": 0.5, "U step": 0.25},
        "predicted": {"A step": 0.125, "U step": 1.0},
    }
    (tmp_path / f"{clustering_cost.NAME}.json").write_text(json.dumps({"rows": [row]}))
    shown = page(tmp_path)
    assert "| layer | K | A step, measured | A step, table | U step, measured |" in shown
    assert "| dense 2 x 2 | 10 | 0.50 | 0.12 | 0.25 | 1 |" in shown


def test_the_committed_page_is_that_of_the_committed_numbers():
    written = Path(__file__).parents[1] / "docs" / "cost_of_clustering.md"
    assert written.read_text(encoding="utf-8") == page(RESULTS)
