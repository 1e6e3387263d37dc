"""Gradient variance of ResNet8 along one SGD trajectory with drops of the learning rate.

Reproduces: Figures 3b and 3e of Faghri et al. 2020: ResNet8 without batch normalization, learning
rate .01 and a tenth of it after one half and after three quarters of the steps, momentum .9,
coupled weight decay 5e-4, batches of 128, pad-and-crop and flips; a snapshot and a clustering after
every quarter, at most 3 passes of the clustering.

`:small` (also without a variant) is a stand-in: a tenth of Fashion-MNIST, padded to 32x32 pixels,
for 1 500 steps instead of 80 000 (32 epochs instead of 205), measured from a subset of 1 024
examples, each shown as one fresh visit shows it. `:paper` is the published setting on CIFAR-10,
with the clustering of the paper. **It was never run.**

Expected: the variance rises during training, most after the drops. GC is below SG-B, not below
SG-2B, and may rise between two clusterings and come down again. SVRG rises from one snapshot to the
next.

Measured: not run yet.

Time: not measured yet.

Commands:
    python -m keras_apps.study --config cifar10_resnet8:small --workdir runs/cifar10_resnet8-small
    python -m keras_apps.study --config cifar10_resnet8:paper --workdir runs/cifar10_resnet8-paper
    python -m keras_apps.study --config cifar10_resnet8:quick --workdir runs/quick
"""

from keras_apps.experiments import variance_paper
from keras_apps.experiments.variance_study import Study

TITLE = "Gradient variance of ResNet8 on"


def config() -> Study:
    """The small form."""
    return small()


def small() -> Study:
    """A tenth of Fashion-MNIST with a black border, fewer steps."""
    problem, trajectory = variance_paper.small_problem(), variance_paper.small_trajectory()
    return Study(f"{TITLE} {variance_paper.SMALL_DATA}", problem, trajectory)


def paper() -> Study:
    """The published setting; never run."""
    problem = variance_paper.published_problem()
    return Study(f"{TITLE} CIFAR-10", problem, variance_paper.published_trajectory())


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    return Study(f"{TITLE} digits", problem, trajectory)
