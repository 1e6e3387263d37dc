"""Gradient variance of ResNet8 where a few images are most of the training data.

Reproduces: Figure 7 of Faghri et al. 2020: the setting of `cifar10_resnet8`, with 10 000 extra
copies of each of 10 training images beside the 50 000 images; each copy is cropped and flipped on
its own.

`:small` (also without a variant) is `cifar10_resnet8:small` with as many copies in proportion,
1 200 of each of 10 images beside 6 000. `:paper` is the published setting. **It was never run.**

Expected: GC has a fraction of the variance of SG-2B, although the copies are not alike.

Measured (`:small`, one seed, pictures in docs/results/cifar10_duplicates-small), medians at the
learning rates .01, .001 and .0001, with standard errors of 3 to 10 % of the variance of SG-128:

    what                                     .01       .001      .0001
    average variance of SG-128             3.4e-5    2.4e-5    2.9e-5
    normalized variance of SG-128            0.59      0.94      0.93
    in units of SG-128: SVRG                 0.91      0.16      0.02
    the classes as strata                    0.75      0.84      0.83
    GC                                       0.13      0.07      0.06
    GC, weights of at most 2                 0.18      0.15      0.15
    GC in proportion                         0.60      0.85      0.81

As in the paper GC has a fraction of the variance of SG-256, 0.11 to 0.65 of it at 20 measurements
with a median of 0.16; without the copies (`cifar10_resnet8:small`) it is at 0.4 of it. It is
highest, 0.33 of SG-128, 300 steps after the clusters of step 10. At the end the largest
of the 128 clusters has 3 978 examples, 60 % of them bags, and the smallest 8.

Time (`:small`): 7 minutes on one core, of it 2 of training.

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
