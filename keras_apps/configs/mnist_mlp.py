"""Gradient variance of an MLP on digits or clothes along one SGD trajectory.

Reproduces: Figures 3a and 3d of Faghri et al. 2020: MLP 784-1024-1024-10, learning rate .02,
momentum .5, coupled weight decay 5e-4, batches of 128, 50 000 steps, measured every 500, a snapshot
and a clustering every 2 000 from step 10 on, at most 10 passes of the clustering. SG-B, SG-2B, SVRG
and Gradient Clustering (GC) with one draw from each of 128 clusters, the classes as strata, and GC
with draws in proportion and with bounded weights.

`:small` (also without a variant) is this on the 4 000 training digits of mnist5k for 6 000 steps,
measured every 250. `:digits` takes all of the published steps on the same digits, `:fashion` on the
60 000 images of Fashion-MNIST, measured from a subset of 2 048 examples, `:fashion_corrupt` the
same with a tenth of the labels wrong once and for all, as Figure 6 has it for another network. All
of these cluster with exact moves on sketches, and measure the statistic behind the paper's figures,
too, now and then. `:paper` is the published setting on MNIST, with the clustering of the paper,
`:paper_cnn` the same with the study's CNN. **They were never run.**

Expected: SG-2B is half of SG-B. The variance falls, and the normalized variance is well below 1 and
falls, too. GC is below SG-2B. SVRG is lowest at the end, where the loss is near zero.

Measured (`:small`, one seed, pictures in docs/results/mnist_mlp-small): the variance of SG-128
falls from 4.3e-7 at step 250 to 1.3e-9 at step 6 000, while the training loss falls from 0.11 to
0.0027. SG-256 is one half of it everywhere. In units of SG-128, medians over the second half: SVRG
0.12, GC 0.11, GC with bounded weights 0.19, GC in proportion 0.91, the classes as strata 0.94. As
in the paper GC is far below SG-256, once its clusters are not those of step 10, with which it is
between 0.51 and 0.60. SVRG from the snapshot of step 10 has up to 237 times the variance of SG-128;
from later ones it rises from 0.06 to 0.86, and from 0.03 to 0.13.

Other than in the paper the normalized variance does not fall: that of SG-128 is between 0.91 and
0.98. The statistic of the paper has 0.92 to 1.25 times the exact variance, 1.04 in the mean of 21
values, where 1.05 is expected of 20 draws. Its normalized variance is no measure here: from 1.4 to
7e9, because of weights whose gradient is 0 for nearly all examples.

Measured (`:digits`, one seed): the same, longer. At step 50 000 the variance of SG-128 is 5.7e-10,
the training loss 0.0021. Medians over the second half, in units of SG-128: SVRG 0.03, GC 0.13, GC
with bounded weights 0.21, GC in proportion 0.91, the classes as strata 0.94. From the fourth
snapshot on SVRG is the lowest of all. The normalized variance stays between 0.91 and 0.98.

Measured (`:fashion`, one seed, standard errors of 4 to 19 % of the variance of SG-128): other than
on digits the training loss ends at 0.03, and the variance of SG-128 falls by a quarter only, from
1.4e-6 to 1.0e-6. Medians over the first and the second half: SVRG 0.58 and 0.94, GC 0.27 and 0.46,
with bounded weights 0.34 and 0.48, in proportion 0.92 and 0.97, the classes as strata 0.94 and
0.97. GC fluctuates as in the paper's Figure 3b: under 9 of 25 clusterings its ratio to SG-128 goes
up and comes back by more than 1.5 times, at most 8.7 times, and at 6 of 100 measurements it is
above SG-128, up to 3.4 times (standard error 1.9). One cluster, at the end of 31 585 images, holds
those that are learned; one of them stands for 67 of a plain batch, and where training unlearns it,
its gradient counts as often. With weights of at most 2 GC stays at or below SG-128, 1.00 at most.

Measured (`:fashion_corrupt`, likewise): fluctuations are smaller and fewer, under 3 of 25
clusterings by more than 1.5 times, at most 2.6 times, but do not end. GC gains less, not more: 0.42
of SG-128 in the first half and 1.04 in the second, above it at 27 of 100 measurements, with weights
of at most 2 0.42 and 0.61. The network learns the wrong labels, and clusters age as it does: under
one clustering the variance of GC rises and stays high. The variance of SG-128 rises, from 1.8e-6 to
4.0e-6.

Time (`:small`): half an hour beside other work, of it 9 minutes of training. `:digits`,
`:fashion` and `:fashion_corrupt`: 30 minutes each, side by side on two cores, 14 of training.

Commands:
    python -m keras_apps.study --config mnist_mlp:small --workdir runs/mnist_mlp-small
    python -m keras_apps.study --config mnist_mlp:fashion --workdir runs/mnist_mlp-fashion
    python -m keras_apps.study --config mnist_mlp:fashion_corrupt --workdir runs/fashion_corrupt
    python -m keras_apps.study --config mnist_mlp:digits --workdir runs/mnist_mlp-digits
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
    """All images of Fashion-MNIST and all steps, measured from a subset."""
    problem, trajectory = _problem("fashion_mnist"), _all_steps()
    problem.evaluation_examples = 5_000
    trajectory.method = "subset"
    trajectory.subset_size = 2_048
    return Study(f"{TITLE} Fashion-MNIST", problem, trajectory)


def fashion_corrupt() -> Study:
    """The same with a tenth of the labels wrong."""
    study = fashion()
    assert isinstance(study.problem, Classification)
    study.problem.label_noise = 0.1
    study.problem.label_noise_kind = "fixed"
    study.title += ", 10 % of the labels wrong"
    return study


def digits() -> Study:
    """The digits of mnist5k and all steps."""
    return Study(f"{TITLE} 4 000 digits", _problem("mnist5k"), _all_steps())


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


def _all_steps() -> Trajectory:
    trajectory = _published()
    trajectory.published_every = 5_000
    trajectory.num_draws = 20
    trajectory.clustering = "sketch"
    trajectory.estimators = (*PLAIN, *OTHER_DRAWS)
    return trajectory


def _short() -> Trajectory:
    trajectory = _all_steps()
    trajectory.steps = 6_000
    trajectory.measure_every = 250
    trajectory.published_every = 2_000
    return trajectory
