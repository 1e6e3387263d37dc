"""Gradient variance of ResNet8 along one SGD trajectory with drops of the learning rate.

Reproduces: Figures 3b and 3e of Faghri et al. 2020: ResNet8 without batch normalization, learning
rate .01 and a tenth of it after one half and after three quarters of the steps, momentum .9,
coupled weight decay 5e-4, batches of 128, pad-and-crop and flips; a snapshot and a clustering after
every quarter, at most 3 passes of the clustering.

`:small` (also without a variant) is a stand-in: a tenth of Fashion-MNIST, padded to 32x32 pixels,
for 1 500 steps instead of 80 000 (32 epochs instead of 205), measured from a subset of 1 024
examples, each shown as one fresh visit shows it. `:paper_clustering` is the same with clusters as
the paper finds them, by centres of rank 1 and running counts. `:paper` is the published setting on
CIFAR-10, with such clusters, too. **It was never run.**

Expected: the variance rises during training, most after the drops. GC is below SG-B, not below
SG-2B, and may rise between two clusterings and come down again. SVRG rises from one snapshot to the
next.

Measured (`:small`, one seed, pictures in docs/results/cifar10_resnet8-small), medians at the
learning rates .01, .001 and .0001, with standard errors of 1 to 6 % of the variance of SG-128:

    what                                     .01       .001      .0001
    average variance of SG-128             4.1e-5    4.2e-5    4.7e-5
    normalized variance of SG-128            0.56      0.87      0.94
    in units of SG-128: SVRG                 0.80      0.19      0.01
    the classes as strata                    0.54      0.64      0.64
    GC                                       0.23      0.20      0.15
    GC, weights of at most 2                 0.24      0.26      0.23
    GC in proportion                         0.48      0.60      0.64

As in the paper the normalized variance rises with every drop, and SVRG rises from each snapshot to
the next. The average variance rises little: the images are seen 32 times and not 205, and training
ends at a loss of 0.54. Other than there, GC is below half of SG-128 at every measurement (0.03 to
0.40), and no sudden rise of it that comes back between two clusterings is seen. The statistic of
the paper has 0.81 to 1.42 times the measured variance, 1.07 in the mean of 14 values (1.10 is
expected of 10 draws); its normalized variance is beyond 1.2 everywhere and up to 2e7.

Measured (`:paper_clustering`, the same trajectory): GC is a little higher, 0.26, 0.26 and 0.23 of
SG-128, and below half of it at every measurement, too (0.05 to 0.41), so that this is not what
makes GC gain more here than in the paper. There a cluster has 390 images on average, here 47.

Time (`:small`): 27 minutes beside other work, of it 10 of training; `:paper_clustering` 12 minutes
beside other work, of it 3 of training.

Commands:
    python -m keras_apps.study --config cifar10_resnet8:small --workdir runs/cifar10_resnet8-small
    python -m keras_apps.study --config cifar10_resnet8:paper_clustering --workdir runs/rank_1
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


def paper_clustering() -> Study:
    """The small form with the clustering of the paper."""
    study = small()
    study.trajectory.clustering = "paper"
    study.title += ", with the clustering of the paper"
    return study


def paper() -> Study:
    """The published setting; never run."""
    problem = variance_paper.published_problem()
    return Study(f"{TITLE} CIFAR-10", problem, variance_paper.published_trajectory())


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    return Study(f"{TITLE} digits", problem, trajectory)
