"""Gradient variance of ResNet8 where some labels of the training data are wrong.

Reproduces: Figure 6 of Faghri et al. 2020: the setting of `cifar10_resnet8` with 10 % of the
training labels replaced once by another class, and the other arm, label smoothing.

`:small` (also without a variant) is `cifar10_resnet8:small` with 10 % wrong labels, `:fifth` the
same with 20 %, `:smoothing` with label smoothing of 0.1 and all labels right. `:paper` is the
published setting with 10 %. **It was never run.**

Expected: fluctuations of the variance of GC between two clusterings, which `cifar10_resnet8` may
show, vanish with wrong labels, and become smaller with label smoothing. GC gains more.

Measured (one seed each, pictures in docs/results/cifar10_corrupt_labels-small, -fifth and
-smoothing), medians at the learning rate .001, with standard errors of 1 to 4 % of the variance of
SG-128; the arm without both is `cifar10_resnet8:small`:

    what                             as they are   10 % wrong   20 % wrong   smoothing
    average variance of SG-128            4.2e-5       3.4e-5       3.7e-5      2.5e-5
    normalized variance of SG-128           0.87         0.92         0.91        0.84
    in units of SG-128: SVRG                0.19         0.10         0.08        0.16
    the classes as strata                   0.64         0.79         0.85        0.60
    GC                                      0.20         0.16         0.15        0.19
    GC, weights of at most 2                0.26         0.20         0.18        0.23
    GC in proportion                        0.60         0.50         0.45        0.53

As in the paper GC gains more with wrong labels, at 18 and at 19 of 20 measurements. It gathers
them: a cluster of 24 images with the label of boots shows mostly shirts, for example. The classes
as strata gain less, and SVRG more. Fluctuations do not show in any arm, so that nothing can end
them: under one clustering the ratio of GC to SG-128 goes up and comes back by 1.23 times at most,
with wrong labels by 1.08, with smoothing by 1.09.

Time: 5 to 8 minutes on one core for each arm, of it 2 to 3 of training.

Commands:
    python -m keras_apps.study --config cifar10_corrupt_labels:small --workdir runs/corrupt-small
    python -m keras_apps.study --config cifar10_corrupt_labels:fifth --workdir runs/corrupt-fifth
    python -m keras_apps.study --config cifar10_corrupt_labels:smoothing --workdir runs/smoothing
    python -m keras_apps.study --config cifar10_corrupt_labels:paper --workdir runs/corrupt-paper
    python -m keras_apps.study --config cifar10_corrupt_labels:quick --workdir runs/quick
"""

from keras_apps.experiments import variance_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.variance_study import Study

TITLE = "Gradient variance of ResNet8 on"


def config() -> Study:
    """The small form with a tenth of the labels wrong."""
    return small()


def small(share: float = 0.1) -> Study:
    """The stand-in with a tenth of the labels wrong."""
    problem, trajectory = variance_paper.small_problem(), variance_paper.small_trajectory()
    return _corrupted(variance_paper.SMALL_DATA, problem, trajectory, share)


def fifth() -> Study:
    """The stand-in with a fifth of the labels wrong."""
    return small(share=0.2)


def smoothing() -> Study:
    """The stand-in with label smoothing."""
    problem = variance_paper.small_problem()
    problem.label_smoothing = 0.1
    title = f"{TITLE} {variance_paper.SMALL_DATA}, with label smoothing"
    return Study(title, problem, variance_paper.small_trajectory())


def paper() -> Study:
    """The published setting with a tenth of the labels wrong; never run."""
    problem, trajectory = variance_paper.published_problem(), variance_paper.published_trajectory()
    return _corrupted("CIFAR-10", problem, trajectory, 0.1)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    return _corrupted("digits", problem, trajectory, 0.1)


def _corrupted(data: str, problem: Classification, trajectory: Trajectory, share: float) -> Study:
    problem.label_noise = share
    problem.label_noise_kind = "fixed"
    return Study(f"{TITLE} {data}, {100 * share:g} % of the labels wrong", problem, trajectory)
