"""The command line of a study, and the configurations that it takes."""

import pytest

from keras_apps import study
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.variance_study import Study
from keras_apps.running import configurations
from tf_gradvar.records import RecordFile


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    arguments = ["--config", "mnist5k_mlp:quick", "--workdir", str(tmp_path / "run")]
    assert study.main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "strata-128" in said
    page = (tmp_path / "run" / "report.html").read_text()
    for text in ("Gradient variance along one trajectory", "Training took", "mnist5k_mlp:quick"):
        assert text in page
    for text in (said, page):
        assert "This was a smoke test" in text
        for claim in ("in units of that of", "has more variance", "the normalized variance of SG"):
            assert claim not in text
    records = RecordFile(tmp_path / "run" / "variances.jsonl").read()
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    assert study.main(arguments) == 0  # measures nothing more
    assert RecordFile(tmp_path / "run" / "variances.jsonl").read() == records
    assert (tmp_path / "run" / "report.html").read_text() == page


def test_the_trajectory_of_an_experiment_is_a_study():
    experiment = configurations.load("mnist5k_classes:demo").config
    adapted = study.study_of(experiment)
    assert adapted.trajectory is experiment.gradient_variance
    assert adapted.problem is experiment.problem


def test_an_experiment_without_a_trajectory_is_no_study(capsys, tmp_path):
    with pytest.raises(SystemExit):
        study.main(["--config", "digits_classes", "--workdir", str(tmp_path / "run")])
    error = capsys.readouterr().err.replace("\n", " ")
    assert "must be one of ['mnist5k_mlp'], or a file whose functions return `Study`" in error
    assert configurations.names(Study) == ["mnist5k_mlp"]
    assert "mnist5k_mlp" not in configurations.names(Experiment)
