"""Work side by side: results, stops, a killed process, shares of the cores."""

import math
import os
import signal

import pytest

from keras_apps.running import processes
from keras_apps.running.processes import environment_of, side_by_side
from keras_apps.running.workdir import WorkdirError


def never():
    return False


@pytest.mark.parametrize("count", [1, 2])
def test_results_of_all_tasks(count):
    assert sorted(side_by_side(math.sqrt, [4, 1, 9], count, never)) == [1, 2, 3]


@pytest.mark.parametrize(("count", "most"), [(1, 1), (2, 3)])
def test_no_task_is_begun_after_a_stop(count, most):
    found = []
    for result in side_by_side(math.sqrt, range(20), count, lambda: bool(found)):
        found.append(result)
    assert 1 <= len(found) <= most


def test_a_killed_process_is_a_sentence():
    with pytest.raises(WorkdirError, match="was killed, perhaps for want of memory"):
        list(side_by_side(os._exit, [3], 2, never))


def test_processes_have_their_share_and_leave_ctrl_c_to_the_first(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert list(side_by_side(os.getenv, ["OMP_NUM_THREADS"], 2, never)) == ["4"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert list(side_by_side(signal.getsignal, [signal.SIGINT], 2, never)) == [signal.SIG_IGN]


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    assert environment_of(4)["TF_NUM_INTRAOP_THREADS"] == "2"
    assert environment_of(4)["OMP_NUM_THREADS"] == "3"
    assert "TF_NUM_INTRAOP_THREADS" not in environment_of(1)


@pytest.mark.parametrize("count", [0, 9])
def test_a_number_of_processes_that_is_refused(count, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    with pytest.raises(ValueError, match=f"from 1 to the number of cores, 8. .* {count}"):
        processes.check_processes(count)
