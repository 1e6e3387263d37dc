"""The between-cluster variance of Discover and momentum, at the same weights.

Reproduces: the figure of the between-cluster variance over training of the Discover paper (Section
5, CIFAR-10 with classes as clusters).

`small`: Fashion-MNIST and a small convolutional network.
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment


def config() -> Experiment:
    """One run of SGD with momentum that carries buffers of three steps along, three seeds."""
    experiment = Experiment(
        title="Buffers of Discover and momentum at the same weights",
        problem=Classification(source="mnist5k", model="convnet"),
    )
    experiment.optimizers = (
        OptimizerChoice(
            "Carried",
            rule="CarriedBuffers",
            arguments={"alphas": (0.1, 0.01), "momentum": 0.9},
            learning_rates={"1": 0.02, "8": 0.04},
            measures_variance=True,
        ),
    )
    experiment.groups_per_batch = (1, 8)
    experiment.group_size = 16
    experiment.steps = 1000
    experiment.evaluate_every = 25
    experiment.checkpoint_every = 500
    experiment.variance_examples = 100
    return experiment


def quick() -> Experiment:
    """A few steps on small digits."""
    experiment = config()
    experiment.problem = Classification(source="digits", model="convnet")
    experiment.groups_per_batch = (1,)
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 5
    experiment.checkpoint_every = 10
    experiment.variance_examples = 10
    return experiment
