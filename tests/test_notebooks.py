"""The first cell of a notebook installs the package where it is missing, or says what it needs."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "colab").glob("*.ipynb"))
ADDRESS = "git+https://host/project"


def run_first_cell(notebook, source):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    first = "".join(next(c["source"] for c in cells if c["cell_type"] == "code"))
    assert first.count('SOURCE = ""') == 1
    exec(first.replace('SOURCE = ""', f"SOURCE = {source!r}"), {})


@pytest.fixture
def commands(monkeypatch):
    """The commands that a cell starts, none of which runs."""
    started = []
    monkeypatch.setattr(subprocess, "check_call", started.append)
    return started


@pytest.fixture
def not_installed(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf_gradvar" else found(name)
    )


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
    assert len(NOTEBOOKS) == 2
