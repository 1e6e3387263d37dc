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

from keras_apps.configs import cifar10_resnet8
from keras_apps.experiments.variance_study import Study


def config() -> Study:
    """The small form."""
    return small()


def small() -> Study:
    """The stand-in, with two copies for each image."""
    return _duplicated(cifar10_resnet8.small(), copies=1_200)


def paper() -> Study:
    """The published setting; never run."""
    return _duplicated(cifar10_resnet8.paper(), copies=10_000)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    return _duplicated(cifar10_resnet8.quick(), copies=40)


def _duplicated(study: Study, copies: int) -> Study:
    study.title = f"{study.title}, and {copies:,} copies of each of 10 of them"
    study.problem.duplicated_images = 10
    study.problem.copies = copies
    return study
