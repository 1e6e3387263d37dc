"""The configurations of the Discover paper: fair, complete, and the published settings."""

import numpy as np
import pytest

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_rules import optimizer_of
from keras_apps.experiments.search import grid
from keras_apps.running import configurations

CIFAR = (
    *("cifar10_classes", "cifar10_augmentations", "cifar10_random_clusters"),
    "cifar10_label_noise",
)
IMAGENET = ("imagenet_augmentations", "imagenet_label_noise")
SMALL = (
    *(f"{name}:small" for name in (*CIFAR, *IMAGENET)),
    *("cifar10_augmentations:noisy", "cifar10_label_noise:low", "cifar10_label_noise:fixed"),
    "imagenet_label_noise:low",
)


def loaded(name):
    return configurations.load(name).config


@pytest.mark.parametrize("name", SMALL)
def test_every_optimizer_of_a_small_form_has_the_same_number_of_runs(name):
    experiment = loaded(name)
    assert {o.tuning_runs(experiment.tuning_budget) for o in experiment.optimizers} == {12}
    assert experiment.number_of_tuning_runs() == 12 * len(experiment.optimizers)
    assert len(experiment.seeds) == 3
    names = {o.name for o in experiment.optimizers}
    for optimizer in experiment.optimizers:
        assert optimizer.base is None or optimizer.base in names
        assert len(grid(optimizer.search)) >= 12
        shares = np.full(4, 0.25)
        for candidate in grid(optimizer.search)[::7]:
            optimizer_of(optimizer, candidate.learning_rate, shares, candidate.arguments, 1e-4)


@pytest.mark.parametrize("name", [*CIFAR, *IMAGENET])
def test_both_readings_of_equation_4(name):
    for variant in ("small", "paper"):
        readings = {}
        for optimizer in loaded(f"{name}:{variant}").optimizers:
            if optimizer.rule == "Discover":
                readings.setdefault(optimizer.clusters, []).append(optimizer.arguments["gain"])
        assert readings
        assert all(gains == ["alpha", 1.0] for gains in readings.values())


@pytest.mark.parametrize(
    ("name", "p", "kind"),
    [
        ("cifar10_classes:small", 0.0, "each_visit"),
        ("cifar10_augmentations:noisy", 0.5, "each_visit"),
        ("cifar10_label_noise:small", 0.5, "each_visit"),
        ("cifar10_label_noise:low", 0.2, "each_visit"),
        ("cifar10_label_noise:fixed", 0.1, "fixed"),
        ("cifar10_label_noise:paper", 0.5, "each_visit"),
        ("imagenet_label_noise:small", 0.5, "each_visit"),
        ("imagenet_label_noise:low", 0.2, "each_visit"),
        ("imagenet_label_noise:paper", 0.5, "each_visit"),
    ],
)
def test_label_noise(name, p, kind):
    problem = loaded(name).problem
    assert (problem.label_noise, problem.label_noise_kind) == (p, kind)


@pytest.mark.parametrize("name", CIFAR)
def test_published_settings_of_cifar(name):
    experiment = loaded(f"{name}:paper")
    problem = experiment.problem
    assert isinstance(problem, Classification)
    assert (problem.source, problem.model, problem.crop) == ("cifar10", "wide_resnet", "pad")
    assert problem.model_arguments == {"depth": 26, "width": 10, "dropout": 0.3}
    assert problem.l2 == 0.0005
    assert experiment.weight_decay == 0
    assert experiment.groups_per_batch[0] * experiment.group_size == 256
    assert experiment.steps // experiment.evaluate_every == 400
    assert 50_000 - 256 < experiment.evaluate_every * 256 < 50_000
    assert (experiment.schedule, experiment.warmup_steps) == ("cosine", 5)
    assert experiment.seeds == (0, 1, 2, 3, 4)
    for optimizer in experiment.optimizers:
        assert optimizer.candidates == (0.001, 0.01, 0.03, 0.1, 0.175)


@pytest.mark.parametrize("name", IMAGENET)
def test_published_settings_of_imagenet(name):
    experiment = loaded(f"{name}:paper")
    problem = experiment.problem
    assert isinstance(problem, Classification)
    assert (problem.source, problem.model) == ("imagenet2012", "resnet50")
    assert (problem.clusters, problem.crop) == ("augmentations", "inception")
    assert problem.l2 == 0
    assert experiment.weight_decay > 0
    assert experiment.groups_per_batch[0] * experiment.group_size == 4096
    assert experiment.steps == 31_200
    assert (experiment.schedule, experiment.warmup_steps) == ("cosine", 5)
    for optimizer in experiment.optimizers:
        assert optimizer.candidates == (0.03, 0.1, 0.3)


@pytest.mark.parametrize("name", [*CIFAR, *IMAGENET])
def test_pages_say_what_was_never_run(name):
    text = configurations.load(name).text
    assert "It was never run" in text.replace("\n", " ")
    for variant in ("small", "paper", "quick"):
        assert f"--config {name}:{variant} --workdir" in text
