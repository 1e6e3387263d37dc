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

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import ESTIMATORS, Trajectory
from keras_apps.experiments.variance_study import Study


def config() -> Study:
    """The small form."""
    return small()


def paper() -> Study:
    """The published setting on CIFAR-10; never run."""
    problem = Classification(source="cifar10", model="resnet_cifar", crop="pad", flip=True)
    problem.model_arguments = {"depth": 8}
    problem.evaluation_examples = 10_000
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
    return Study("Gradient variance of ResNet8 on CIFAR-10", problem, trajectory)


def small() -> Study:
    """A tenth of Fashion-MNIST with a black border, fewer steps."""
    study = paper()
    study.title = "Gradient variance of ResNet8 on 6 000 images of Fashion-MNIST, padded to 32x32"
    study.problem.source = "fashion_mnist"
    study.problem.training_examples = 6_000
    study.problem.padded_to = 32
    study.problem.evaluation_examples = 2_000
    trajectory = study.trajectory
    trajectory.steps = 1_500
    trajectory.drops = (750, 1_125)
    trajectory.measure_every = 75
    trajectory.subset_size = 1_024
    trajectory.published_every = 750
    trajectory.num_draws = 10
    trajectory.refresh_every = 375
    trajectory.clustering = "sketch"
    trajectory.estimators = ESTIMATORS
    return study


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    study = small()
    study.title = "Gradient variance of a small residual network on digits"
    problem = Classification(source="digits", model="resnet_cifar", crop="pad", flip=True)
    problem.model_arguments = {"depth": 8, "filters": 2}
    problem.training_examples = 200
    problem.padded_to = 9
    study.problem = problem
    trajectory = study.trajectory
    trajectory.batch_size = 12
    trajectory.steps = 8
    trajectory.drops = (4, 6)
    trajectory.measure_every = 2
    trajectory.subset_size = 64
    trajectory.published_every = 4
    trajectory.num_draws = 2
    trajectory.refresh_every = 4
    trajectory.first_snapshot = 1
    return study
