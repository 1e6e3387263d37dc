"""Gradient variance of ResNet8 where a few images are most of the training data.

Reproduces: Figure 7 of Faghri et al. 2020: the setting of `cifar10_resnet8`, with 10 000 extra
copies of each of 10 training images beside the 50 000 images; each copy is cropped and flipped on
its own.

`:small` (also without a variant) is `cifar10_resnet8:small` with as many copies in proportion,
1 200 of each of 10 images beside 6 000. `:paper` is the published setting. **It was never run.**

Expected: GC has a fraction of the variance of SG-2B, although the copies are not alike.

Measured: not run yet.

Time: as `cifar10_resnet8`, and three times as long for each clustering.

Commands:
    python -m keras_apps.study --config cifar10_duplicates:small --workdir runs/duplicates-small
    python -m keras_apps.study --config cifar10_duplicates:paper --workdir runs/duplicates-paper
    python -m keras_apps.study --config cifar10_duplicates:quick --workdir runs/quick
"""

from keras_apps.experiments import variance_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.variance_study import Study


def config() -> Study:
    """The small form."""
    return small()


def small() -> Study:
    """The stand-in, with two copies for each image."""
    problem, trajectory = variance_paper.small_problem(), variance_paper.small_trajectory()
    return _duplicated(variance_paper.SMALL_DATA, problem, trajectory, copies=1_200)


def paper() -> Study:
    """The published setting; never run."""
    problem, trajectory = variance_paper.published_problem(), variance_paper.published_trajectory()
    return _duplicated("CIFAR-10", problem, trajectory, copies=10_000)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    trajectory.batch_size = 24  # each class has a share of it
    return _duplicated("digits", problem, trajectory, copies=10)


def _duplicated(data: str, problem: Classification, trajectory: Trajectory, copies: int) -> Study:
    problem.duplicated_images = 10
    problem.copies = copies
    title = f"Gradient variance of ResNet8 on {data}, and {copies:,} copies of each of 10 of them"
    return Study(title, problem, trajectory)
