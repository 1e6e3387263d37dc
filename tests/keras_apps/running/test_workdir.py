"""The folder of an experiment belongs to one configuration and one process."""

import json
import os
import subprocess
import sys

import pytest

from keras_apps.running.workdir import Workdir

CONFIG = {"steps": 3, "optimizers": [{"name": "SGD", "rate": 0.1}, {"name": "Adam"}], "seeds": [0]}


def test_the_same_configuration_opens_the_folder_again(tmp_path):
    first = Workdir(tmp_path / "new" / "folder", CONFIG)
    first.records.append({"kind": "finished", "run": "a"})
    first.records.append({"kind": "evaluation", "run": "b"})
    first.close()
    again = Workdir(tmp_path / "new" / "folder", CONFIG)
    assert list(again.finished()) == ["a"]
    assert json.loads((again.path / "config.json").read_text()) == CONFIG
    again.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 4}, "steps"),
        ({"seeds": [0, 1]}, "seeds"),
        ({"more": 1}, "more"),
        ({"optimizers": [{"name": "SGD", "rate": 0.2}, {"name": "Adam"}]}, "optimizers.SGD.rate"),
        ({"optimizers": [{"name": "SGD", "rate": 0.1}]}, "optimizers"),
    ],
)
def test_another_configuration_is_refused_by_what_differs(tmp_path, changes, named):
    Workdir(tmp_path, CONFIG).close()
    with pytest.raises(ValueError, match=rf"another configuration; these differ: {named}\."):
        Workdir(tmp_path, {**CONFIG, **changes})
    Workdir(tmp_path, CONFIG).close()


def test_other_data_are_refused_by_their_fingerprint(tmp_path):
    Workdir(tmp_path, CONFIG).close()  # data that are drawn, or a workdir of an older version
    Workdir(tmp_path, CONFIG, "aa").close()
    with pytest.raises(ValueError, match=r"fingerprint is aa. Received: data with the .* bb"):
        Workdir(tmp_path, CONFIG, "bb")
    Workdir(tmp_path, CONFIG, "aa").close()


@pytest.mark.skipif(os.name != "posix", reason="file locks are POSIX")
def test_two_processes_do_not_share_a_folder(tmp_path):
    held = Workdir(tmp_path, CONFIG)
    code = f"from keras_apps.running.workdir import Workdir; Workdir({str(tmp_path)!r}, {CONFIG!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "must be used by one process at a time" in other.stderr
    held.close()
    subprocess.run([sys.executable, "-c", code], check=True)
