"""Gradient variance of ResNet8 where some labels of the training data are wrong.

Reproduces: Figure 6 of Faghri et al. 2020: the setting of `cifar10_resnet8` with 10 % of the
training labels replaced once by another class, and the other arm, label smoothing.

`:small` (also without a variant) is `cifar10_resnet8:small` with 10 % wrong labels, `:fifth` the
same with 20 %, `:smoothing` with label smoothing of 0.1 and all labels right. `:paper` is the
published setting with 10 %. **It was never run.**

Expected: fluctuations of the variance of GC between two clusterings, which `cifar10_resnet8` may
show, vanish with wrong labels, and become smaller with label smoothing. GC gains more.

Measured: not run yet.

Time: as `cifar10_resnet8`.

Commands:
    python -m keras_apps.study --config cifar10_corrupt_labels:small --workdir runs/corrupt-small
    python -m keras_apps.study --config cifar10_corrupt_labels:fifth --workdir runs/corrupt-fifth
    python -m keras_apps.study --config cifar10_corrupt_labels:smoothing --workdir runs/smoothing
    python -m keras_apps.study --config cifar10_corrupt_labels:paper --workdir runs/corrupt-paper
    python -m keras_apps.study --config cifar10_corrupt_labels:quick --workdir runs/quick
"""

from keras_apps.configs import cifar10_resnet8
from keras_apps.experiments.variance_study import Study


def config() -> Study:
    """The small form with a tenth of the labels wrong."""
    return small()


def small() -> Study:
    """The stand-in with a tenth of the labels wrong."""
    return _corrupted(cifar10_resnet8.small(), 0.1)


def fifth() -> Study:
    """The stand-in with a fifth of the labels wrong."""
    return _corrupted(cifar10_resnet8.small(), 0.2)


def smoothing() -> Study:
    """The stand-in with label smoothing."""
    study = cifar10_resnet8.small()
    study.title = f"{study.title}, with label smoothing"
    study.problem.label_smoothing = 0.1
    return study


def paper() -> Study:
    """The published setting with a tenth of the labels wrong; never run."""
    return _corrupted(cifar10_resnet8.paper(), 0.1)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    return _corrupted(cifar10_resnet8.quick(), 0.1)


def _corrupted(study: Study, share: float) -> Study:
    study.title = f"{study.title}, {100 * share:g} % of the labels wrong"
    study.problem.label_noise = share
    study.problem.label_noise_kind = "fixed"
    return study
