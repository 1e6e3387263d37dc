"""A page on a training that is still running."""

import http.client
import threading

import pytest

from keras_apps import watch
from keras_apps.reporting.live_page import RUNS, Live
from tf_gradvar.records import RecordFile


def evaluation(run, step, loss, **more):
    return {"kind": "evaluation", "run": run, "step": step, "training_loss": loss, **more}


def measurement(step, variance, **more):
    found = {"average_variance": variance, "noise_scale": 30.0, **more}
    return {
        "step": step,
        "estimators": {"SG-8": found, "SG-16": {"average_variance": variance / 2}},
    }


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    records = RecordFile(folder / "records.jsonl")
    for number in range(RUNS + 2):
        for step in (0, 10):
            loss = 2.0 - 0.1 * step - 0.01 * number
            records.append(evaluation(f"run-{number}", step, loss, test_accuracy=0.5))
    records.append({"kind": "finished", "run": "run-0"})
    return folder


@pytest.fixture
def logged(tmp_path):
    path = tmp_path / "variance.jsonl"
    records = RecordFile(path)
    for step in (1, 2, 4):
        records.append(measurement(step, 8.0 / step, normalized_variance=0.5))
    return path


def test_the_newest_runs_are_shown(workdir):
    text = watch.page_of(workdir)
    assert f"Step 10 of run-{RUNS + 1}; last written at" in text
    for number in range(RUNS + 2):
        assert (f">run-{number}<" in text) == (number >= 2)
    assert ">0.93<" in text.replace("0.9300", "0.93")  # 2 - 1 - 0.07: of run 7, at step 10
    assert "Training loss of the newest runs." in text
    assert "Gradient variance" not in text
    assert "http-equiv" not in text


def test_what_a_logger_writes_is_shown(logged):
    text = watch.page_of(logged, every=7)
    assert "Step 4; last written at" in text
    for words in ("Average variance", "Normalized variance", "noise scale"):
        assert words in text
    assert "Norms of the gradients" not in text
    assert '<meta http-equiv="refresh" content="7">' in text


def test_both_files_of_a_workdir_are_read(workdir, logged):
    logged.rename(workdir / "variances.jsonl")
    live = Live.read(workdir)
    assert len(live.evaluations) == 2 * (RUNS + 2)
    assert [record["step"] for record in live.variances] == [1, 2, 4]


def test_nothing_so_far(tmp_path):
    assert "No measurement so far." in watch.page_of(tmp_path)


def test_a_torn_line_of_a_running_training_is_no_trouble(logged):
    with logged.open("a", encoding="utf-8") as file:
        file.write('{"step": 8, "estim')
    assert "Step 4; last" in watch.page_of(logged)


def test_the_page_is_served_as_it_grows(logged):
    with watch.server(logged, 0, 3) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        connection = http.client.HTTPConnection(watch.HOST, serving.server_port, timeout=60)
        try:
            connection.request("GET", "/")
            first = connection.getresponse().read().decode()
            RecordFile(logged).append(measurement(16, 0.1))
            connection.request("GET", "/")
            second = connection.getresponse().read().decode()
            connection.request("GET", "/other")
            missing = connection.getresponse()
            assert missing.status == 404
        finally:
            connection.close()
            serving.shutdown()
            thread.join()
    assert "Step 4;" in first
    assert "Step 16;" in second


def test_once(logged, tmp_path, capsys):
    target = tmp_path / "page.html"
    assert watch.main([str(logged), "--once", str(target)]) == 0
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert str(target) in capsys.readouterr().out


def test_control_c_ends_it(logged, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.http.server.HTTPServer, "serve_forever", interrupted)
    assert watch.main([str(logged), "--port", "0"]) == 0
    assert f"http://{watch.HOST}:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "`path` must be a workdir, or the file"),
        ([".", "--every", "0"], "`--every` must be at least 1 second. Received: --every 0"),
        ([".", "--port", "99999999"], "port"),
    ],
)
def test_what_cannot_be_watched(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        watch.main(words)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
