"""The published settings on ImageNet start, with the images on the disk."""

import json

import numpy as np
import pytest

from keras_apps import train
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.running.visit_rules import check_visits
from keras_apps.sources import imagenet
from tests.keras_apps.tfds_stand_in import mock_data

pytest.importorskip("tensorflow_datasets")


@pytest.fixture(autouse=True)
def prepared(tmp_path, monkeypatch):
    """Forty small images in the place of ImageNet."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(imagenet, "IMAGE_SIZE", 16)
    with mock_data(num_examples=40):
        yield


SMALLER = (
    "optimizers=Discover",
    "optimizers.Discover.candidates=0.1",
    "problem.model=convnet",
    "problem.evaluation_examples=20",
    "steps=8",
    "evaluate_every=4",
    "checkpoint_every=8",
    "groups_per_batch=2",
    "group_size=4",
    "seeds=0",
    "precision=float32",
)


@pytest.mark.parametrize("name", ["imagenet_augmentations", "imagenet_label_noise"])
def test_published_settings_train(name, tmp_path):
    words = [word for setting in SMALLER for word in ("--set", setting)]
    folder = tmp_path / "run"
    assert train.main(["--config", f"{name}:paper", "--workdir", str(folder), *words]) == 0
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    compared = [record for record in records if not record["tunes"]]
    losses = [r["training_loss"] for r in compared if r["kind"] == "evaluation"]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert abs(losses[0] - np.log(1000)) < 1


def test_whole_images_have_visits_too():
    problem = Classification(source="imagenet2012").build()
    assert problem.x.shape == (40, 16, 16, 3)
    assert problem.visits is not None
    assert not problem.is_in_memory


@pytest.mark.parametrize(
    "changes", [{"measures_variance": True}, {"clusters": "gradients"}, {"rule": "CarriedBuffers"}]
)
def test_what_needs_all_gradients_is_refused(changes):
    arguments = {"alphas": [0.1]} if "rule" in changes else {}
    optimizer = OptimizerChoice("Discover", candidates=(0.1,), arguments=arguments, **changes)
    problem = Classification(source="imagenet2012")
    experiment = Experiment("on disk", problem, (optimizer,))
    with pytest.raises(ValueError, match=r"(?s)with images on the disk.*for Discover"):
        check_visits(experiment, problem.build())
