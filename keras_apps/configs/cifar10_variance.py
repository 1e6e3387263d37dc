"""The between-cluster variance of Discover and momentum, at the same weights.

Reproduces: the figure of the between-cluster variance over training of the Discover paper (Section
5, "Between-cluster variance reduction"; CIFAR-10 with classes as clusters, clean and with label
noise). The paper measures every optimizer at its own weights, where the one that is further on has
other gradients, and with the gradients of a step. Here one run of SGD with momentum carries the
buffers of Discover (both readings have the same) and of momentum along, for three steps alpha, and
all are measured at its weights, against the exact gradients of the clusters.

`:small` (also without a variant): clean labels, the images and the network of
`cifar10_classes:small`; `:noisy`: half of the labels wrong at each visit, true classes as clusters,
whose exact gradients are the means over the noise. `:paper` is the published setting,
WideResNet-26-10 for 400 epochs. **It was never run.**

Expected: the paper has the variance of Discover fall faster than that of momentum, which falls,
too. At the same weights, one buffer for all clusters cannot have a value below that of plain SGD.

Measured (three seeds; percent of the value without a buffer at the same weights, medians over the
second half of the run, alpha 0.1, one group in a step | eight groups):

    what                                     :small       :noisy
    paper's value, one buffer for all       112 | 103    133 | 107
    paper's value, a buffer for each         17 | 16      46 | 47
    error of the step, momentum 0.9          10 | 21      28 | 49
    error of the step, gain 1                14 | 14      38 | 41
    error of the step, gain alpha           2.2 | 14     5.9 | 35

The error counts the squared bias, too. So the buffers of Discover are nearer to the gradients of
their clusters than one buffer is, from early on; the value of one buffer is that of none plus a
square, and never below it. The step is nearest to the gradient with gain alpha, by far where it
sees one cluster. With label noise and eight groups, gain 1 is nearer for the first two thirds of
the run, if the buffers are slow (alpha 0.03: 51 against 82 in the first sixth): the lag of the
buffers is then the larger part of the error; with fast ones (alpha 0.3) it is worse than no buffer.

Time: 60 to 100 seconds a run, in one thread beside other work.

Commands:
    python -m keras_apps.train --config cifar10_variance:small --workdir runs/cifar10_variance-small
    python -m keras_apps.train --config cifar10_variance:noisy --workdir runs/cifar10_variance-noisy
    python -m keras_apps.train --config cifar10_variance:quick --workdir runs/quick
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Buffers of Discover and momentum at the same weights"


def config() -> Experiment:
    """The small form with clean labels."""
    return small()


def small(label_noise: float = 0.0) -> Experiment:
    """SGD with momentum on Fashion-MNIST, one and eight groups of 8 images in a step."""
    problem = Classification(source="fashion_mnist", model="convnet", label_noise=label_noise)
    problem.evaluation_examples = 5000
    experiment = Experiment(TITLE, problem)
    experiment.optimizers = (
        OptimizerChoice(
            "Carried",
            rule="CarriedBuffers",
            arguments={"alphas": (0.3, 0.1, 0.03), "momentum": 0.9},
            learning_rates={"1": 0.01, "8": 0.04},
            measures_variance=True,
        ),
    )
    experiment.groups_per_batch = (1, 8)
    experiment.group_size = 8
    experiment.steps = 1500
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 50
    experiment.checkpoint_every = 500
    experiment.steps_per_execution = 50
    experiment.variance_examples = 200
    return experiment


def noisy() -> Experiment:
    """The small form with half of the labels wrong at each visit."""
    return small(label_noise=0.5)


def paper() -> Experiment:
    """The published setting; never run."""
    experiment = small()
    problem = Classification(source="cifar10", model="wide_resnet", crop="pad", flip=True, l2=5e-4)
    problem.model_arguments = {"depth": 26, "width": 10, "dropout": 0.3}
    experiment.problem = problem
    experiment.groups_per_batch = (8,)
    experiment.group_size = 32
    experiment.steps = 400 * 195
    experiment.evaluate_every = 195
    experiment.checkpoint_every = 10 * 195
    experiment.seeds = (0, 1, 2, 3, 4)
    return experiment


def quick() -> Experiment:
    """A few steps on small digits, with label noise."""
    experiment = noisy()
    problem = Classification(source="digits", model="convnet", label_noise=0.5)
    problem.model_arguments = {"filters": [4], "dense_units": 8}
    experiment.problem = problem
    experiment.groups_per_batch = (1,)
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 5
    experiment.checkpoint_every = 10
    experiment.steps_per_execution = 5
    experiment.variance_examples = 10
    return experiment
