"""The chief's folder and the copies of the others; workers are told by their answers here."""

import pytest

from keras_apps.running.shared_workdir import open_workdir
from keras_apps.running.workdir import Workdir
from keras_apps.running.workers import Workers

CONFIG = {"steps": 4}


class Told(Workers):
    """A worker that is told what the others say, in place of asking them."""

    def __init__(self, is_chief, others_fail=False, others_agree=True):
        super().__init__()
        self._is_chief, self._fail, self._agree = is_chief, others_fail, others_agree

    @property
    def is_chief(self):
        return self._is_chief

    def any(self, flag):
        return flag or self._fail

    def same(self, number):
        return self._agree


@pytest.fixture
def chiefs(tmp_path):
    """The folder of a chief that has begun."""
    workdir = open_workdir(tmp_path / "run", CONFIG, Workers())
    workdir.records.append({"run": "one", "kind": "evaluation", "step": 0})
    place = workdir.checkpoints("one") / "step-00000002"
    place.mkdir(parents=True)
    (place / "state").write_text("weights")
    yield workdir
    workdir.close()


def test_alone_it_is_the_folder_itself(chiefs, tmp_path):
    assert type(chiefs) is Workdir
    assert chiefs.path == tmp_path / "run"


def test_another_worker_gets_a_copy_that_ends_with_it(chiefs):
    copy = open_workdir(chiefs.path, CONFIG, Told(is_chief=False))
    assert copy.records.read() == chiefs.records.read()
    assert (copy.checkpoints("one") / "step-00000002" / "state").read_text() == "weights"
    copy.records.append({"run": "one", "kind": "evaluation", "step": 1})
    assert len(chiefs.records.read()) == 1
    copy.close()
    assert not copy.path.exists()


def test_a_worker_with_another_configuration_is_refused(chiefs):
    with pytest.raises(ValueError, match="another configuration; these differ: steps"):
        open_workdir(chiefs.path, {"steps": 5}, Told(is_chief=False))


def test_a_folder_that_is_not_shared_is_refused(chiefs, tmp_path):
    message = "`--workdir` must be a folder that all workers read"
    with pytest.raises(ValueError, match=message):
        open_workdir(tmp_path / "other", CONFIG, Told(is_chief=False))
    with pytest.raises(ValueError, match=message):
        open_workdir(chiefs.path, CONFIG, Told(is_chief=False, others_agree=False))


def test_where_another_worker_fails_this_one_says_so(chiefs):
    with pytest.raises(RuntimeError, match="All workers must be able to use the `--workdir`"):
        open_workdir(chiefs.path, CONFIG, Told(is_chief=False, others_fail=True))


def test_alone_all_agree():
    alone = Workers()
    assert alone.is_chief
    assert alone.any(True)
    assert not alone.any(False)
    assert alone.same(3)
    assert alone.mean({"loss": 0.5}) == {"loss": 0.5}
