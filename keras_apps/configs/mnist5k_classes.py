"""Discover and the usual optimizers on 5 000 real MNIST digits, with the ten classes as clusters.

Reproduces: the comparison of optimizers and the between-cluster variance over training of the
Discover paper (Section 5), at a size that a laptop can train: an MLP 784-256-10 in the place of a
WideResNet, bundled digits in the place of CIFAR-10.

Expected: with one group in a step the buffers lower the training loss, most in the first half of
the run; with eight groups, which mix most of the classes, there is little left to gain.
Measured (three seeds): a lower final loss on every seed for 4 of 4 optimizers with one group, 3 of
4 with two groups and 4 of 4 with eight. With one group, from a base to its form, the mean over
seeds: SGD 0.058 to 0.018, QHM 0.025 to 0.018, IGT 0.102 to 0.074, Adam 0.064 to 0.049; with eight
QHM 6.9e-5 to 5.2e-5. QHM has one slow buffer here, the strongest simple rival: Discover is below it
on every seed with one group (-28 %) and with two (-51 %), and above it with eight. Test accuracy
does not follow: it changes by -0.9 to +0.9 points from a base to its form, with a spread of up to
1.1.

Discover has its default gain here, alpha; over QHM, IGT and Adam the gain is 1. `mnist5k_family`
tunes it, and the momentum of the rivals, too.

Learning rates: every optimizer has seven candidates, a factor 2 apart, around the values that are
usual for it; those that were chosen lie inside of their range.

Time: the full comparison with its 189 tuning runs took 60 minutes in one thread on a machine with
much other work to do; the demo takes 320 seconds of processor time, its trajectory included.

Commands:
    python -m keras_apps.train --config mnist5k_classes --workdir runs/mnist5k
    python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.trajectory import Trajectory

# The control variate alone, for rules that have a momentum of their own; and K momenta.
ALPHA = {"alpha": 0.1, "gain": 1.0}
MOMENTA = {"alpha": 0.1, "gain": "alpha"}
MOMENTUM = {"momentum": 0.9}
# One slow buffer, the strongest simple rival (`mnist5k_family`).
QHM = {"momentum": 0.99, "nu": 0.9}
IGT = {"momentum": 0.9, "tail_fraction": 2.0}

# Candidates by the scale that a rule's learning rate has.
PLAIN_RATES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
MOMENTUM_RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
ADAM_RATES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

# What the tuning stage of `config` chose for each number of groups in a step: the best of seven
# candidates by the final loss on the training set, with the seed 1000 that no comparison uses.
CHOSEN_RATES = {
    "SGD": {"1": 0.1, "2": 0.2, "8": 0.4},
    "Momentum": {"1": 0.02, "2": 0.02, "8": 0.08},
    "Adam": {"1": 0.002, "2": 0.004, "8": 0.016},
    "QHM": {"1": 0.2, "2": 0.8, "8": 1.6},
    "IGT": {"1": 0.01, "2": 0.02, "8": 0.08},
    "Discover": {"1": 0.2, "2": 0.4, "8": 1.6},
    "DiscoverQHM": {"1": 0.2, "2": 0.8, "8": 1.6},
    "DiscoverIGT": {"1": 0.01, "2": 0.02, "8": 0.08},
    "DiscoverAdam": {"1": 0.004, "2": 0.004, "8": 0.016},
}


def config() -> Experiment:
    """Nine optimizers with one, two and eight groups of 16 digits in a step, three seeds."""
    experiment = Experiment(
        title="Ten classes of digits as clusters",
        problem=Classification(
            source="mnist5k", model="mlp", model_arguments={"hidden_units": [256]}
        ),
    )
    experiment.optimizers = (
        OptimizerChoice("SGD", candidates=PLAIN_RATES, measures_variance=True),
        OptimizerChoice(
            "Momentum",
            rule="SGD",
            arguments=MOMENTUM,
            candidates=MOMENTUM_RATES,
            measures_variance=True,
        ),
        OptimizerChoice("Adam", candidates=ADAM_RATES),
        OptimizerChoice("QHM", arguments=QHM, candidates=PLAIN_RATES),
        OptimizerChoice("IGT", arguments=IGT, candidates=MOMENTUM_RATES),
        OptimizerChoice(
            "Discover",
            base="SGD",
            arguments=MOMENTA,
            candidates=PLAIN_RATES,
            measures_variance=True,
        ),
        OptimizerChoice("DiscoverQHM", base="QHM", arguments=ALPHA | QHM, candidates=PLAIN_RATES),
        OptimizerChoice(
            "DiscoverIGT", base="IGT", arguments=ALPHA | IGT, candidates=MOMENTUM_RATES
        ),
        OptimizerChoice(
            "DiscoverAdam",
            base="Adam",
            rule="DiscoverOver",
            arguments=ALPHA | {"over": "Adam"},
            candidates=ADAM_RATES,
        ),
    )
    experiment.groups_per_batch = (1, 2, 8)
    experiment.group_size = 16
    experiment.steps = 1200
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 100
    experiment.checkpoint_every = 300
    experiment.variance_examples = 100
    return experiment


def demo() -> Experiment:
    """One and eight groups in a step, with the chosen learning rates; and gradient variances."""
    experiment = config()
    for optimizer in experiment.optimizers:
        optimizer.learning_rates = CHOSEN_RATES[optimizer.name]
    experiment.groups_per_batch = (1, 8)
    experiment.seeds = (0, 1)
    experiment.gradient_variance = Trajectory(steps=800, measure_every=50, refresh_every=200)
    return experiment


def quick() -> Experiment:
    """Every optimizer for a few steps, to see that everything works."""
    experiment = demo()
    experiment.groups_per_batch = (1,)
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.variance_examples = 10
    experiment.gradient_variance = Trajectory(steps=8, measure_every=2, refresh_every=4)
    return experiment
