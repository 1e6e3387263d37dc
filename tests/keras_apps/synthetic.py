"""Made-up records of an experiment, in which every number of a report can be worked out by hand."""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

OPTIMIZERS = (
    OptimizerChoice("SGD", candidates=(0.1, 0.2, 0.4), measures_variance=True),
    OptimizerChoice(
        "Momentum",
        rule="SGD",
        arguments={"momentum": 0.9},
        candidates=(0.01, 0.02, 0.04),
        measures_variance=True,
    ),
    OptimizerChoice("Adam", learning_rates={"1": 0.001, "8": 0.001}),
    OptimizerChoice("Discover", base="SGD", candidates=(0.1, 0.2, 0.4), measures_variance=True),
    OptimizerChoice(
        "DiscoverAdam",
        base="Adam",
        rule="DiscoverOver",
        arguments={"over": "Adam"},
        learning_rates={"1": 0.001, "8": 0.001},
    ),
)
EXPERIMENT = Experiment(
    title="A <made-up> comparison",
    problem=Classification(source="digits"),
    optimizers=OPTIMIZERS,
    groups_per_batch=(1, 8),
    seeds=(0, 1),
    steps=600,
    evaluate_every=100,
    checkpoint_every=300,
)

# Final training loss with one group in a step, and what the control variate does to it.
LOSSES = {"SGD": 0.4, "Momentum": 0.3, "Adam": 0.2, "Discover": 0.3, "DiscoverAdam": 0.18}


def loss(name, groups, seed, step):
    """Loss that falls with the step; eight groups halve it and leave no difference in a pair."""
    base = LOSSES[{"Discover": "SGD", "DiscoverAdam": "Adam"}.get(name, name)]
    final = LOSSES[name] if groups == 1 else base / 2
    return final * (1 + 0.1 * seed) * 600 / step


def records(seeds=(0, 1), names=tuple(LOSSES)):
    found = []
    for name in names:
        for groups in (1, 8):
            for seed in seeds:
                identity = {
                    "run": f"{name}-C{groups}-seed{seed}",
                    "optimizer": name,
                    "groups": groups,
                    "seed": seed,
                    "tunes": False,
                }
                for step in range(100, 601, 100):
                    values = {
                        "training_loss": loss(name, groups, seed, step),
                        "test_accuracy": 0.9 + 0.01 * seed + (0.005 if "Disc" in name else 0.0),
                        "steps_per_second": 100.0 + step,
                    }
                    values |= variances(name, step)
                    found.append({"kind": "evaluation", **identity, "step": step, **values})
                end = {"learning_rate": 0.1, "score": 0.0, "diverged": False}
                found.append({"kind": "finished", **identity, **end})
    return found


def variances(name, step):
    prefix = "between_cluster_variance_"
    if name == "Discover":
        return {f"{prefix}sgd": 8.0, f"{prefix}discover": 3.0, f"{prefix}discover_exact": 2.0}
    if name == "Momentum":
        return {f"{prefix}sgd": 8.0, f"{prefix}momentum": 6.0}
    return {f"{prefix}sgd": 100.0 / step} if name == "SGD" else {}
