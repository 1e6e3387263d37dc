"""Notebooks install the package where it is missing, and choose a backend by what there is."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "colab").glob("*.ipynb"))
ADDRESS = "git+https://host/project"


def code_of(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_first_cell(notebook, source):
    first = code_of(notebook)[0]
    assert first.count('SOURCE = ""') == 1
    exec(first.replace('SOURCE = ""', f"SOURCE = {source!r}"), {})


def hide(monkeypatch, packages):
    """Let packages look as if they were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in packages else found(name)
    )


@pytest.fixture
def commands(monkeypatch):
    """The commands that a cell starts, none of which runs."""
    started = []
    monkeypatch.setattr(subprocess, "check_call", started.append)
    return started


@pytest.fixture
def not_installed(monkeypatch):
    hide(monkeypatch, ["tf_gradvar"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
class TestFirstCell:
    def test_installs_nothing_where_the_package_is(self, notebook, commands):
        run_first_cell(notebook, ADDRESS)
        assert commands == []

    @pytest.mark.parametrize("source", ["", "missing.whl"])
    def test_says_what_it_needs(self, notebook, source, commands, not_installed):
        with pytest.raises(ImportError, match="`SOURCE` must be the address") as raised:
            run_first_cell(notebook, source)
        assert f"Received: SOURCE={source!r}." in str(raised.value)
        assert commands == []

    def test_installs_from_an_address(self, notebook, commands, not_installed):
        run_first_cell(notebook, ADDRESS)
        ((program, *arguments),) = commands
        assert program == sys.executable
        assert arguments[:2] == ["-m", "pip"]
        assert ADDRESS in arguments

    def test_installs_a_wheel(self, notebook, commands, not_installed, tmp_path):
        wheel = tmp_path / "tf_gradvar.whl"
        wheel.touch()
        run_first_cell(notebook, str(wheel))
        assert str(wheel) in commands[0]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "discover_tpu",
        "gradient_clustering",
        "measure_gradient_variance",
        "quickstart",
        "your_own_model",
    ]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert len(cells) <= 15


@pytest.mark.parametrize(
    ("platform", "count", "missing", "backend"),
    [
        ("tpu", 1, [], "jax"),
        ("tpu", 8, ["tensorflow"], "jax"),
        ("gpu", 2, [], "tensorflow"),
        ("gpu", 1, ["tensorflow"], "jax"),
        ("cpu", 1, [], "tensorflow"),
        ("cpu", 4, [], "jax"),
        ("cpu", 1, ["jax"], "tensorflow"),
    ],
)
@pytest.mark.parametrize("asked", ["", "torch"])
def test_the_backend_is_chosen_by_what_there_is(
    platform, count, missing, backend, asked, monkeypatch
):
    devices = [SimpleNamespace(platform=platform)] * count
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: devices, __spec__=True))
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")  # undone after the test
    monkeypatch.setenv("KERAS_BACKEND", asked)
    hide(monkeypatch, missing)
    (cell,) = [code for code in code_of(NOTEBOOKS[0]) if "def backend_of_runtime" in code]
    exec(cell, {"importlib": importlib})
    assert os.environ["KERAS_BACKEND"] == (asked or backend)
