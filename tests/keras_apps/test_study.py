"""The command line of a study, and the configurations that it takes."""

import pytest

from keras_apps import study
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.variance_study import Study
from keras_apps.running import configurations
from tf_gradvar.records import RecordFile

STUDIES = [
    "cifar100_resnet32",
    "cifar10_corrupt_labels",
    "cifar10_duplicates",
    "cifar10_resnet8",
    "imagenet_resnet18",
    "mnist5k_mlp",
    "mnist_mlp",
]
CLAIMS = (
    "in units of that of",
    "has more variance",
    "the normalized variance of SG",
    "by learning",
)


def test_all_studies_are_run_below():
    assert configurations.names(Study) == STUDIES


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_smoke_tests(name, tmp_path, capsys):
    workdir = tmp_path / "run"
    arguments = ["--config", f"{name}:quick", "--workdir", str(workdir)]
    assert study.main(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    trajectory = configurations.load(f"{name}:quick").config.trajectory
    assert f"strata-{trajectory.batch_size}" in said
    page = (workdir / "report.html").read_text()
    for text in ("Gradient variance along one trajectory", "Training took", f"{name}:quick"):
        assert text in page
    for text in (said, page):
        assert "This was a smoke test" in text
        for claim in CLAIMS:
            assert claim not in text
    records = RecordFile(workdir / "variances.jsonl").read()
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    for record in records:
        assert all(v["average_variance"] > 0 for v in record["estimators"].values())
        assert ("published" in record) == (name != "mnist5k_mlp" and record["step"] % 4 == 0)
    assert "Images of clusters" in page
    pictures = list((workdir / "figures").glob("*.png"))
    assert len(pictures) == (4 if name == "mnist5k_mlp" else 6)
    assert max(path.stat().st_size for path in pictures) < 200_000
    if name == "mnist5k_mlp":  # measures nothing more
        assert study.main(arguments) == 0
        assert RecordFile(workdir / "variances.jsonl").read() == records
        assert (workdir / "report.html").read_text() == page


def test_the_trajectory_of_an_experiment_is_a_study():
    experiment = configurations.load("mnist5k_classes:demo").config
    adapted = study.study_of(experiment)
    assert adapted.trajectory is experiment.gradient_variance
    assert adapted.problem is experiment.problem


def test_an_experiment_without_a_trajectory_is_no_study(capsys, tmp_path):
    with pytest.raises(SystemExit):
        study.main(["--config", "digits_classes", "--workdir", str(tmp_path / "run")])
    error = capsys.readouterr().err.replace("\n", " ")
    assert f"must be one of {STUDIES}, or a file whose functions return `Study`" in error
    assert not set(STUDIES) & set(configurations.names(Experiment))
