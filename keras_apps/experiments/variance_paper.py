"""Settings of the gradient variance study for convolutional networks: published, small, tiny.

Source: Faghri et al. 2020, appendix C.1 and table 2.
"""

from __future__ import annotations

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import OTHER_DRAWS, PLAIN, Trajectory

SMALL_DATA = "6 000 images of Fashion-MNIST, padded to 32x32"


def published_problem() -> Classification:
    """Return ResNet8 on CIFAR-10, cropped and flipped."""
    problem = Classification(source="cifar10", model="resnet_cifar", crop="pad", flip=True)
    problem.model_arguments = {"depth": 8}
    problem.evaluation_examples = 10_000
    return problem


def published_trajectory() -> Trajectory:
    """Return 80 000 steps with two drops of the learning rate."""
    trajectory = Trajectory(learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    trajectory.batch_size = 128
    trajectory.steps = 80_000
    trajectory.drops = (40_000, 60_000)
    trajectory.measure_every = 500
    trajectory.method = "subset"
    trajectory.subset_size = 5_000
    trajectory.published_every = 500
    trajectory.num_draws = 50
    trajectory.refresh_every = 20_000
    trajectory.first_snapshot = 10
    trajectory.clustering = "paper"
    trajectory.clustering_passes = 3
    return trajectory


def small_problem() -> Classification:
    """Return ResNet8 on a tenth of Fashion-MNIST with a black border."""
    problem = published_problem()
    problem.source = "fashion_mnist"
    problem.training_examples = 6_000
    problem.padded_to = 32
    problem.evaluation_examples = 2_000
    return problem


def small_trajectory() -> Trajectory:
    """Return 1 500 steps with the drops and refreshes in proportion."""
    trajectory = published_trajectory()
    trajectory.steps = 1_500
    trajectory.drops = (750, 1_125)
    trajectory.measure_every = 75
    trajectory.subset_size = 1_024
    trajectory.published_every = 750
    trajectory.num_draws = 10
    trajectory.refresh_every = 375
    trajectory.clustering = "sketch"
    trajectory.estimators = (*PLAIN, *OTHER_DRAWS)
    return trajectory


def tiny_problem() -> Classification:
    """Return a small residual network on a few digits."""
    problem = published_problem()
    problem.source = "digits"
    problem.model_arguments = {"depth": 8, "filters": 2}
    problem.training_examples = 200
    problem.padded_to = 9
    problem.evaluation_examples = None
    return problem


def tiny_trajectory() -> Trajectory:
    """Return eight steps, to see that everything works."""
    trajectory = small_trajectory()
    trajectory.batch_size = 12
    trajectory.steps = 8
    trajectory.drops = (4, 6)
    trajectory.measure_every = 2
    trajectory.subset_size = 64
    trajectory.published_every = 4
    trajectory.num_draws = 2
    trajectory.estimators = ("SG", "SVRG", "strata", "GC")
    trajectory.refresh_every = 4
    trajectory.first_snapshot = 1
    return trajectory
