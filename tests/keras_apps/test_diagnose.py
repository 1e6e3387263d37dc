"""The command: from files to a page, and what it refuses."""

import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_apps import diagnose
from tests.diagnosis.tiny import data, network

X, Y = data(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("diagnosis")
    network().save(made / "model.keras")
    uncompiled = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    uncompiled.save(made / "uncompiled.keras")
    np.savez(made / "train.npz", x_train=X, y_train=Y)
    np.savez(made / "other.npz", images=X)
    (made / "broken.keras").write_text("no model")
    lines = [f"{'phone' if i % 3 else 'web'},{i}" for i in range(len(X))]
    (made / "columns.csv").write_text("\n".join(["source,day", *lines]))
    (made / "short.csv").write_text("\n".join(["source,day", *lines[:50]]))
    (made / "torn.csv").write_text("source,day\nphone\n")
    (made / "empty.csv").write_text("")
    (made / "file").write_text("")
    return made


def command(folder, **changes):
    options = {"model": "model.keras", "data": "train.npz", "workdir": "results"} | changes
    words = ["--batch-size", "8", "--time-limit", "60"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(folder / value)]
    return words


def test_from_files_to_a_page(folder, capsys):
    assert diagnose.main(command(folder, metadata="columns.csv")) == 0
    said = capsys.readouterr().out
    assert "All 120 examples were looked at" in said
    assert f"Report: {folder / 'results' / 'noise.html'}" in said
    plain = json.loads((folder / "results" / "noise.json").read_text("utf-8"))
    assert plain["setting"]["count"] == 120
    assert {"strata by source", "strata by day"} <= {o["name"] for o in plain["options"]}
    assert len((folder / "results" / "scores.csv").read_text("utf-8").splitlines()) == 121


REFUSED = {
    "no model": ({"model": "none.keras"}, "`--model` must be a file that `model.save` wrote"),
    "a broken model": ({"model": "broken.keras"}, "whose classes Keras knows"),
    "no loss": ({"model": "uncompiled.keras"}, "compiled without one"),
    "no data": ({"data": "none.npz"}, "`--data` must be a .npz file"),
    "other arrays": ({"data": "other.npz"}, "x_train and y_train. Received: .* with images"),
    "no metadata": ({"metadata": "none.csv"}, "`--metadata` must be a CSV file"),
    "torn metadata": ({"metadata": "torn.csv"}, "whose line 2 has another number"),
    "empty metadata": ({"metadata": "empty.csv"}, "which is empty"),
    "short metadata": ({"metadata": "short.csv"}, "one entry for each of the 120 examples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, folder, capsys):
    changes, message = REFUSED[name]
    with pytest.raises(SystemExit):
        diagnose.main(command(folder, **changes))
    assert re.search(message, capsys.readouterr().err)


def test_images_that_stay_on_the_disk_are_refused(monkeypatch):
    stored = SimpleNamespace(x_train=object(), y_train=Y)
    monkeypatch.setattr("keras_apps.sources.load", lambda name: stored)
    with pytest.raises(ValueError, match="`--data` must be data that fit into memory"):
        diagnose.read_data("imagenet2012")


def test_a_workdir_that_is_a_file(folder, capsys):
    assert diagnose.main(command(folder, workdir="file")) == diagnose.FAILED
    assert "`--workdir` must be a folder" in capsys.readouterr().err
