"""Gradient variance of an MLP on digits or clothes along one SGD trajectory.

Reproduces: Figures 3a and 3d of Faghri et al. 2020: MLP 784-1024-1024-10, learning rate .02,
momentum .5, coupled weight decay 5e-4, batches of 128, 50 000 steps, measured every 500, a snapshot
and a clustering every 2 000 from step 10 on, at most 10 passes of the clustering. SG-B, SG-2B, SVRG
and Gradient Clustering (GC) with one draw from each of 128 clusters, the classes as strata, and GC
with draws in proportion and with bounded weights.

`:small` (also without a variant) is this on the 4 000 training digits of mnist5k for 6 000 steps,
measured every 250; `:fashion` on the 60 000 images of Fashion-MNIST for 6 000 steps, measured from
a subset of 2 048 examples. Both measure the statistic behind the paper's figures, too, now and
then. `:paper` is the published setting on MNIST, with the clustering of the paper, `:paper_cnn` the
same with the study's CNN. **They were never run.**

Expected: SG-2B is half of SG-B. The variance falls, and the normalized variance is well below 1 and
falls, too. GC is below SG-2B. SVRG is lowest at the end, where the loss is near zero.

Measured: not run yet.

Time: not measured yet.

Commands:
    python -m keras_apps.study --config mnist_mlp:small --workdir runs/mnist_mlp-small
    python -m keras_apps.study --config mnist_mlp:fashion --workdir runs/mnist_mlp-fashion
    python -m keras_apps.study --config mnist_mlp:paper --workdir runs/mnist_mlp-paper
    python -m keras_apps.study --config mnist_mlp:quick --workdir runs/quick
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import OTHER_DRAWS, PLAIN, Trajectory
from keras_apps.experiments.variance_study import Study

TITLE = "Gradient variance of an MLP on"


def config() -> Study:
    """The small form."""
    return small()


def small() -> Study:
    """The digits of mnist5k, fewer steps."""
    return Study(f"{TITLE} 4 000 digits", _problem("mnist5k"), _short())


def fashion() -> Study:
    """All images of Fashion-MNIST, fewer steps."""
    problem, trajectory = _problem("fashion_mnist"), _short()
    problem.evaluation_examples = 5_000
    trajectory.published_every = 3_000
    trajectory.refresh_every = 3_000
    trajectory.method = "subset"
    trajectory.subset_size = 2_048
    return Study(f"{TITLE} Fashion-MNIST", problem, trajectory)


def paper() -> Study:
    """The published setting on MNIST; never run."""
    return Study(f"{TITLE} MNIST", _problem("mnist"), _published())


def paper_cnn() -> Study:
    """The published setting with the CNN; never run."""
    problem = Classification(source="mnist", model="pooled_convnet")
    return Study("Gradient variance of a CNN on MNIST", problem, _published())


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem = Classification(source="digits", model="mlp")
    problem.model_arguments = {"hidden_units": [8]}
    trajectory = _short()
    trajectory.estimators = (*PLAIN, *OTHER_DRAWS, "Discover")
    trajectory.batch_size = 16
    trajectory.steps = 8
    trajectory.measure_every = 2
    trajectory.published_every = 4
    trajectory.num_draws = 3
    trajectory.refresh_every = 4
    trajectory.first_snapshot = 1
    return Study(f"{TITLE} small digits", problem, trajectory)


def _problem(source: str) -> Classification:
    problem = Classification(source=source, model="mlp")
    problem.model_arguments = {"hidden_units": [1024, 1024]}
    return problem


def _published() -> Trajectory:
    trajectory = Trajectory(learning_rate=0.02, momentum=0.5, weight_decay=5e-4)
    trajectory.batch_size = 128
    trajectory.steps = 50_000
    trajectory.measure_every = 500
    trajectory.published_every = 500
    trajectory.num_draws = 50
    trajectory.refresh_every = 2_000
    trajectory.first_snapshot = 10
    trajectory.clustering = "paper"
    trajectory.clustering_passes = 10
    return trajectory


def _short() -> Trajectory:
    trajectory = _published()
    trajectory.steps = 6_000
    trajectory.measure_every = 250
    trajectory.published_every = 2_000
    trajectory.num_draws = 20
    trajectory.clustering = "sketch"
    trajectory.estimators = (*PLAIN, *OTHER_DRAWS)
    return trajectory
