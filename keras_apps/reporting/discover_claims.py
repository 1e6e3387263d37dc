"""Claims of the Discover paper, and the experiments that test them here."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from keras_apps.experiments import carried_buffers as carried
from keras_apps.experiments.carried_buffers import value_name
from keras_apps.reporting.claims import (
    FAILS,
    HOLDS,
    NOT_RUN,
    OPEN,
    Claim,
    Compared,
    OfExperiment,
    Ordered,
    Row,
)
from keras_apps.reporting.comparison_results import Arm, Results
from keras_apps.reporting.curves_over_steps import PREFIX

TITLE = "Claims of the Discover paper"
INTRODUCTION = """\
Every claim of the paper that can be tested, in our words, and what our runs say of it. Written by
`python -m keras_apps.claims discover` from the records.

**Scale.** The paper trains WideResNet-26-10 on CIFAR-10 and ResNet-50 on ImageNet, on TPUs. None of
that was run. The experiments here take the paper's recipe to Fashion-MNIST and a network of two
convolutions and two dense layers (105 866 weights), 1 200 to 1 500 steps, three seeds. A claim
that does not hold here may hold there.

**Reading.** The formula of the update was lost from the text of the paper. Both readings that the
text allows are tested: with gain 1 the buffers are a control variate, with gain alpha they are many
momenta.

**Verdicts.** A claim about two optimizers holds where it does on every seed, does not where the
opposite is true on every seed, and is not decided in between. All optimizers of an experiment had
the same number of tuning runs, over all their parameters, chosen by training loss."""

CLASSES = "cifar10_classes:small"
RANDOM = "cifar10_random_clusters:small"
AUGMENTATIONS = "cifar10_augmentations:small"
NOISY_AUGMENTATIONS = "cifar10_augmentations:noisy"
HIGH_NOISE = "cifar10_label_noise:small"
LOW_NOISE = "cifar10_label_noise:low"
IMAGENET = "imagenet_augmentations:small"
IMAGENET_NOISE = "imagenet_label_noise:small"
VARIANCE = "cifar10_variance:small"
NOISY_VARIANCE = "cifar10_variance:noisy"

EXPERIMENTS = (
    CLASSES,
    RANDOM,
    AUGMENTATIONS,
    NOISY_AUGMENTATIONS,
    HIGH_NOISE,
    LOW_NOISE,
    IMAGENET,
    IMAGENET_NOISE,
    VARIANCE,
    NOISY_VARIANCE,
)

GAIN_ALPHA, GAIN_1 = "gain alpha", "gain 1"
# A form and what the paper calls its vanilla counterpart, by the reading of Equation 4.
COUNTERPARTS: Mapping[str, Sequence[tuple[str, str]]] = {
    GAIN_ALPHA: (("Discover", "Momentum"), ("QHDiscover", "QHM"), ("DiscoverIGTAlpha", "IGT")),
    GAIN_1: (("DiscoverGain1", "Momentum"), ("DiscoverQHM", "QHM"), ("DiscoverIGT", "IGT")),
}
BEST = {
    GAIN_ALPHA: (("Discover", "QHDiscover"), ("Discover", "DiscoverIGTAlpha")),
    GAIN_1: (("DiscoverGain1", "DiscoverQHM"), ("DiscoverGain1", "DiscoverIGT")),
}
ADAM_AND_OTHERS = {
    "": tuple(("Adam", other) for other in ("Momentum", "QHM", "IGT", "Discover", "DiscoverGain1"))
}


@dataclasses.dataclass(frozen=True)
class AtTheSameWeights(OfExperiment):
    """Evidence: buffers that were carried along one run of SGD, a row for each alpha.

    Attributes:
        value: A value of `carried_buffers`, which should be the smaller one.
        other: That with which it is compared.
    """

    value: str
    other: str

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each number of groups in a step and each alpha."""
        return [
            self._row(arm, alpha)
            for arm in results.arms
            for alpha in arm.optimizer.arguments["alphas"]
        ]

    def _row(self, arm: Arm, alpha: float) -> Row:
        names = [PREFIX + value_name(value, alpha) for value in (self.value, self.other)]
        shares = [
            statistics.median(r[names[0]] / r[names[1]] for r in records if names[0] in r)
            for records in arm.seeds.values()
        ]
        text = (
            f"C = {arm.groups}, alpha {alpha:g}: median over training of "
            f"{self.value.replace('_', ' ')} over {self.other.replace('_', ' ')} "
            f"{statistics.fmean(shares):.3g}, seeds {min(shares):.3g} to {max(shares):.3g}"
        )
        verdict = HOLDS if max(shares) < 1 else FAILS if min(shares) > 1 else OPEN
        return Row(self.experiment, self.reading, text, verdict)


@dataclasses.dataclass(frozen=True)
class NoSmallerThanPlain(OfExperiment):
    """Evidence: whether one buffer for all clusters lowers the paper's value below that of SGD."""

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each number of groups in a step."""
        rows = []
        for arm in results.arms:
            shares = [
                record[PREFIX + value_name(carried.BUFFER_FOR_ALL, alpha)] / record[f"{PREFIX}sgd"]
                for record in arm.evaluations
                for alpha in arm.optimizer.arguments["alphas"]
                if f"{PREFIX}sgd" in record
            ]
            text = (
                f"C = {arm.groups}: the value with one buffer over that of SGD at the same "
                f"weights is {min(shares):.4g} to {max(shares):.4g} in {len(shares)} measurements"
            )
            rows.append(Row(self.experiment, "", text, HOLDS if max(shares) < 1 else FAILS))
        return rows


@dataclasses.dataclass(frozen=True)
class StepsPerSecond(OfExperiment):
    """Evidence: the speed of the forms over that of their counterparts in the same experiment."""

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each reading."""
        speeds = {arm.optimizer.name: arm.steps_per_second for arm in results.arms}
        rows = []
        for reading, pairs in COUNTERPARTS.items():
            ratios = [
                (form, speeds[form] / speeds[base])
                for form, base in pairs
                if form in speeds and base in speeds
            ]
            text = ", ".join(f"{form} {ratio:.2f}" for form, ratio in ratios)
            verdict = NOT_RUN if not ratios else HOLDS if min(r for _, r in ratios) > 0.9 else FAILS
            rows.append(Row(self.experiment, reading, f"steps per second: {text}", verdict))
        return rows


CLAIMS = [
    Claim(
        "The forms of Discover converge faster at first than their vanilla counterparts.",
        "Section 5, augmentations as clusters; Section 6",
        [
            Compared(experiment, COUNTERPARTS, "training_loss", "lower", "early")
            for experiment in (IMAGENET, CLASSES)
        ],
        "Training loss near a sixth of the run.",
    ),
    Claim(
        "With augmentations as clusters, Discover and DiscoverIGT end where momentum and IGT do, "
        "and DiscoverQHM above QHM.",
        "Section 5, ImageNet",
        [
            Compared(
                IMAGENET,
                {r: (p[0], p[2]) for r, p in COUNTERPARTS.items()},
                "test_accuracy",
                "same",
            ),
            Compared(
                IMAGENET, {r: (p[1],) for r, p in COUNTERPARTS.items()}, "test_accuracy", "higher"
            ),
        ],
    ),
    Claim(
        "With classes as clusters and clean labels, the vanilla counterparts end as high or "
        "higher.",
        "Section 5, CIFAR-10",
        [
            Compared(
                CLASSES,
                {
                    reading: tuple((base, form) for form, base in pairs)
                    for reading, pairs in COUNTERPARTS.items()
                },
                "test_accuracy",
                "higher",
            )
        ],
        "“Not decided” is what the paper calls similar.",
    ),
    Claim(
        "Classes are better clusters than augmentations, and these better than chance.",
        "Section 5, impact of clustering structure",
        [
            Ordered(
                reading,
                [
                    (RANDOM, f"{form}Classes", "classes"),
                    (RANDOM, f"{form}Augmentations", "augmentations"),
                    (RANDOM, f"{form}Random", "random"),
                ],
                "test_accuracy",
            )
            for reading, form in (
                (GAIN_ALPHA, "Discover"),
                (GAIN_1, "DiscoverGain1"),
                ("momentum, on the same batches", "Momentum"),
            )
        ],
        "Momentum on the same batches shows how much of it is the batches and not the buffers: a "
        "batch of augmented images trains on other data.",
    ),
    Claim(
        "With much label noise and classes as clusters, the forms end with a higher test accuracy.",
        "Section 5, learning with noisy labels; Figure 4",
        [Compared(HIGH_NOISE, COUNTERPARTS, "test_accuracy", "higher")],
        "Half of the labels are wrong at each visit; the paper's value was lost.",
    ),
    Claim(
        "There, their training losses are almost those of the vanilla counterparts.",
        "Section 5, learning with noisy labels; Figure 4",
        [Compared(HIGH_NOISE, COUNTERPARTS, "noisy_training_loss", "same")],
        "The training loss against the mean of the noisy labels.",
    ),
    Claim(
        "There, Discover is better than the other forms by a large margin.",
        "Section 5, learning with noisy labels",
        [Compared(HIGH_NOISE, BEST, "test_accuracy", "higher")],
    ),
    Claim(
        "With little label noise, they end where the vanilla counterparts do.",
        "Section 5, learning with noisy labels; Figure 6",
        [Compared(LOW_NOISE, COUNTERPARTS, "test_accuracy", "same")],
        "A fifth of the labels are wrong at each visit; the paper's value was lost. It "
        "says that all methods are accurate.",
    ),
    Claim(
        "The forms also end higher with label noise and augmentations as clusters, on ImageNet.",
        "Section 5, learning with noisy labels; Figure 3",
        [Compared(IMAGENET_NOISE, COUNTERPARTS, "test_accuracy", "higher")],
    ),
    Claim(
        "On CIFAR-10 with augmentations as clusters and label noise, they end lower.",
        "Appendix 7.7, Figure 8",
        [Compared(NOISY_AUGMENTATIONS, COUNTERPARTS, "test_accuracy", "lower")],
        "The paper kept hyperparameters that were tuned for classes; here every optimizer is tuned "
        "on these clusters.",
    ),
    Claim(
        "There, with clean labels, they end where the vanilla counterparts do.",
        "Appendix 7.7, Figure 7",
        [Compared(AUGMENTATIONS, COUNTERPARTS, "test_accuracy", "same")],
    ),
    Claim(
        "With label noise, Adam generalises poorly.",
        "Section 5, learning with noisy labels",
        [
            Compared(experiment, ADAM_AND_OTHERS, "test_accuracy", "lower")
            for experiment in (HIGH_NOISE, IMAGENET_NOISE)
        ],
    ),
    Claim(
        "With label noise, Adam converges faster in training loss.",
        "Section 5, learning with noisy labels",
        [
            Compared(experiment, ADAM_AND_OTHERS, "noisy_training_loss", "lower", "early")
            for experiment in (HIGH_NOISE, IMAGENET_NOISE)
        ],
        "Training loss against the mean of the noisy labels, near a sixth of the run.",
    ),
    Claim(
        "The between-cluster variance of Discover falls faster than that of momentum.",
        "Section 5, between-cluster variance reduction",
        [
            AtTheSameWeights(
                experiment,
                carried.BUFFER_FOR_EACH,
                carried.BUFFER_FOR_ALL,
                reading="the paper's value",
            )
            for experiment in (VARIANCE, NOISY_VARIANCE)
        ]
        + [
            AtTheSameWeights(experiment, error, carried.ERROR_OF_MOMENTUM, reading=reading)
            for experiment in (VARIANCE, NOISY_VARIANCE)
            for reading, error in (
                (f"error of the step, {GAIN_1}", carried.ERROR_OF_GAIN_1),
                (f"error of the step, {GAIN_ALPHA}", carried.ERROR_OF_GAIN_ALPHA),
            )
        ],
        "At the same weights; the paper measures each optimizer at its own. The paper's value "
        "is the distance of the buffers from the gradients of the clusters; the error of the step "
        "is what an optimizer takes its step with, squared bias included. Pictures: "
        "[clean](results/cifar10_variance-small/carried_errors-Carried-C1.png), "
        "[noisy](results/cifar10_variance-noisy/carried_errors-Carried-C1.png).",
    ),
    Claim(
        "Momentum, too, lowers the between-cluster variance.",
        "Section 4, after Lemma 3; Section 5",
        [NoSmallerThanPlain(experiment) for experiment in (VARIANCE, NOISY_VARIANCE)],
        "The paper's value for one buffer m is that of SGD plus the squared distance of m from the "
        "whole gradient, so that at the same weights it cannot be smaller. It falls over training "
        "because the weights move to where the gradients are small.",
    ),
    Claim(
        "A step takes about as long as that of the vanilla counterparts.",
        "Section 5, Table 1",
        [StepsPerSecond(CLASSES)],
        "Here on one core, where nothing runs in parallel; “holds” is at least 0.9 times the steps "
        "per second. `benchmarks.replicas` measures replicas.",
    ),
]
