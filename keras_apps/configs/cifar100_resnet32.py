"""Gradient variance of ResNet32 on CIFAR-100 along one SGD trajectory.

Reproduces: the CIFAR-100 run of Faghri et al. 2020 (Appendix C.1, Table 2): ResNet32 with batch
normalization, learning rate .1, everything else as in `cifar10_resnet8`.

`:paper` (also without a variant) is the published setting. **It was never run.** There is no small
form: without a network there are no images of a hundred classes.

Gradients of single examples are those with the moving averages of the batch normalization; the
statistic of the paper's figures is measured so, too, not with the moments of each batch.

Expected: as for CIFAR-10, the variance rises during training, most after the drops.

Measured: not run yet.

Time: not measured.

Commands:
    python -m keras_apps.study --config cifar100_resnet32:paper --workdir runs/cifar100_resnet32
    python -m keras_apps.study --config cifar100_resnet32:quick --workdir runs/quick
"""

from keras_apps.experiments import variance_paper
from keras_apps.experiments.variance_study import Study

TITLE = "Gradient variance of ResNet32 on"


def config() -> Study:
    """The published setting; never run."""
    return paper()


def paper() -> Study:
    """The published setting; never run."""
    problem, trajectory = variance_paper.published_problem(), variance_paper.published_trajectory()
    problem.source = "cifar100"
    problem.model_arguments = {"depth": 32, "batch_norm": True}
    trajectory.learning_rate = 0.1
    return Study(f"{TITLE} CIFAR-100", problem, trajectory)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    problem.model_arguments = {"depth": 8, "filters": 2, "batch_norm": True}
    trajectory.learning_rate = 0.1
    return Study(f"{TITLE} digits", problem, trajectory)
