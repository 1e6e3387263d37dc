"""Gradient variance of ResNet18 on ImageNet along one SGD trajectory.

Reproduces: Figures 3c and 3f of Faghri et al. 2020: ResNet18, learning rate .1 and a tenth of it
after one half and after three quarters of 80 000 steps, momentum .9, coupled weight decay 1e-4,
batches of 128; measured every 1 000 steps from 10 estimates, a snapshot and a clustering every
10 000.

`:paper` (also without a variant) is the published setting. **It was never run**, and does not start
as it stands: training could read its batches from the disk, but measuring and clustering take their
examples from arrays. What it needs: subsets that are read from `keras_apps.sources.imagenet2012` by
the numbers of their examples, sketches of 1.28 million gradients for the clustering (1.3 GB), and
an accelerator for the 80 000 steps. Smaller images of your own fit: `--set problem.source=PATH`.

Expected: the normalized variance is near 1, and GC has the variance of SG-B.

Measured: not run yet.

Time: not measured.

Commands:
    python -m keras_apps.study --config imagenet_resnet18:paper --workdir runs/imagenet_resnet18
    python -m keras_apps.study --config imagenet_resnet18:quick --workdir runs/quick
"""

from keras_apps.experiments import variance_paper
from keras_apps.experiments.variance_study import Study

TITLE = "Gradient variance of ResNet18 on"


def config() -> Study:
    """The published setting; never run."""
    return paper()


def paper() -> Study:
    """The published setting; never run."""
    problem, trajectory = variance_paper.published_problem(), variance_paper.published_trajectory()
    problem.source = "imagenet2012"
    problem.model = "resnet18"
    problem.model_arguments = {}
    problem.crop = "inception"
    trajectory.learning_rate = 0.1
    trajectory.weight_decay = 1e-4
    trajectory.measure_every = 1_000
    trajectory.published_every = 1_000
    trajectory.num_draws = 10
    trajectory.refresh_every = 10_000
    return Study(f"{TITLE} ImageNet", problem, trajectory)


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem, trajectory = variance_paper.tiny_problem(), variance_paper.tiny_trajectory()
    problem.model = "resnet18"
    problem.model_arguments = {"blocks": [1, 1], "filters": 2}
    problem.crop = "inception"
    trajectory.learning_rate = 0.1
    trajectory.weight_decay = 1e-4
    return Study(f"{TITLE} digits", problem, trajectory)
