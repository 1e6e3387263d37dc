"""Images into classes, which are the clusters unless a configuration says otherwise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import keras
import numpy as np

from keras_apps import sources
from keras_apps.augmentation.label_noise import expected_labels, fixed_noise
from keras_apps.augmentation.visits import Visits
from keras_apps.experiments.class_evaluation import LossAndAccuracy
from keras_apps.experiments.l2_penalty import add_l2_penalty
from keras_apps.experiments.training_problem import LATER, Problem, ProblemDefinition
from keras_apps.models import MODELS
from keras_apps.sources.duplicates import duplicated_rows
from keras_apps.sources.padding import padded
from tf_gradvar.assignments import check_assignments

AnySource: TypeAlias = sources.Source | sources.StoredSource

CLUSTERS = ("classes", "labels", "random", "augmentations")


@dataclasses.dataclass(slots=True)
class Classification(ProblemDefinition):
    """Images into classes.

    Evaluation is always on the images and labels of the data, without noise or augmentation.

    Attributes:
        source: Name of the data set, or the path of your own, see `keras_apps.sources`.
        split_seed: Seed of the split into training and test set, for sets that have none.
        clusters: "classes", the true ones; "labels", the classes as training sees them, with label
            noise; "random", as many clusters as classes but drawn by chance: a control, which must
            not help; "augmentations", every image once flipped at random, once with Mixup and once
            with CutMix, and one of the three in a group; or the path of a file .npy with the
            cluster of each training example.
        model: Name of the network, see `keras_apps.models`.
        model_arguments: Its arguments beside the input shape and the number of classes.
        evaluation_examples: Training examples on which loss and accuracy are evaluated, drawn once
            by the `split_seed`; None for all.
        label_noise: The probability that a label is replaced by another class, each of the others
            as likely.
        label_noise_kind: "each_visit" draws anew whenever an example is seen, "fixed" once by the
            `split_seed`.
        label_smoothing: The share of a label that is spread over all classes.
        crop: "pad", of the image with a black border of 4 pixels; "inception", of 8 to 100 % of
            the area, resized; None for whole images.
        flip: Whether one half of the images is flipped from left to right; with "augmentations",
            that is one of the three.
        mixup_alpha: Of the distribution Beta(alpha, alpha) of the ratio of Mixup.
        cutmix_alpha: Of that of CutMix.
        l2: Coupled weight decay: l2 / 2 times the squared norm of the weights (not of biases and
            scales) joins the loss.
        training_examples: Training images that are kept, drawn by the `split_seed`; None for all.
        padded_to: The height and width to which a black border extends the images; None leaves
            them.
        duplicated_images: Training images, drawn by the `split_seed`, of which there are copies.
        copies: Extra copies of each of them; noise of a visit and augmentation change every copy
            on its own. Training is evaluated on the images without the copies.
    """

    partition_names: ClassVar[tuple[str, ...]] = (*CLUSTERS, "gradients")

    source: str = "mnist5k"
    split_seed: int = 0
    clusters: str = "classes"
    model: str = "mlp"
    model_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    evaluation_examples: int | None = None
    label_noise: float = dataclasses.field(default=0.0, metadata=LATER)
    label_noise_kind: Literal["each_visit", "fixed"] = dataclasses.field(
        default="each_visit", metadata=LATER
    )
    label_smoothing: float = dataclasses.field(default=0.0, metadata=LATER)
    crop: Literal["pad", "inception"] | None = dataclasses.field(default=None, metadata=LATER)
    flip: bool = dataclasses.field(default=False, metadata=LATER)
    mixup_alpha: float = dataclasses.field(default=0.2, metadata=LATER)
    cutmix_alpha: float = dataclasses.field(default=1.0, metadata=LATER)
    l2: float = dataclasses.field(default=0.0, metadata=LATER)
    training_examples: int | None = dataclasses.field(default=None, metadata=LATER)
    padded_to: int | None = dataclasses.field(default=None, metadata=LATER)
    duplicated_images: int = dataclasses.field(default=0, metadata=LATER)
    copies: int = dataclasses.field(default=0, metadata=LATER)

    def build(self) -> Problem:
        """Load the data.

        Raises:
            ValueError: A model or a data set that is not known, clusters that are none, a setting
                out of its range, or more examples to evaluate on than there are.
            ImportError, ConnectionError: A data set that is not at hand.
        """
        for holds, rule, name in self._rules():
            if not holds:
                raise ValueError(f"{rule}. Received: {name}={getattr(self, name)!r}.")
        source = sources.load(self.source, seed=self.split_seed)
        if self.padded_to is not None:
            source = padded(source, self.padded_to)
        rows = self._evaluated_rows(self._kept_rows(len(source.y_train)))
        evaluate = LossAndAccuracy(
            (source.x_train[rows], source.y_train[rows]),
            (source.x_test, source.y_test),
            self._mean_labels(source, rows) if self.label_noise else None,
        )
        build_named = functools.partial(self._problem, source, evaluate)
        return build_named(self.clusters, build_named)

    def _rules(self) -> list[tuple[bool, str, str]]:
        """Return whether a rule holds, its sentence, and the field."""
        return [
            (self.model in MODELS, f"`model` must be one of {list(MODELS)}", "model"),
            (
                self.clusters in CLUSTERS or self.clusters.endswith(".npy"),
                f"`clusters` must be one of {list(CLUSTERS)}, or the path of a file that ends in "
                "'.npy'",
                "clusters",
            ),
            (0 <= self.label_noise < 1, "`label_noise` must be in [0, 1)", "label_noise"),
            (
                0 <= self.label_smoothing < 1,
                "`label_smoothing` must be in [0, 1)",
                "label_smoothing",
            ),
            (self.mixup_alpha > 0, "`mixup_alpha` must be positive", "mixup_alpha"),
            (self.cutmix_alpha > 0, "`cutmix_alpha` must be positive", "cutmix_alpha"),
            (self.l2 >= 0, "`l2` must not be negative", "l2"),
        ]

    def _problem(
        self,
        source: AnySource,
        evaluate: LossAndAccuracy,
        clusters: str,
        build_named: Callable[..., Problem],
    ) -> Problem:
        """Return the problem with the clusters of that name."""
        rows = self._rows(source)
        visits = self._visits(source, rows, clusters)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        labels = visits.labels
        if visits.soft:
            loss = keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=self.label_smoothing
            )
            if not _is_stored(source):  # whose gradients are not measured
                labels = expected_labels(labels, visits.label_noise, source.num_classes)
        ids, shares = self._clusters(source.y_train[rows], visits, clusters)
        return Problem(
            x=source.x_train if self._keeps_all else source.x_train[rows],
            y=labels,
            clusters=ids,
            probabilities=shares,
            build_model=lambda: self._network(source),
            loss=loss,
            evaluate=evaluate,
            score="training_loss",
            description=f"{source.description} Clusters: {clusters}.{self._evaluated_on()}"
            f"{self._labels_are()}{self._rows_are(len(rows))}",
            fingerprint=source.fingerprint,
            visits=visits if visits.change_anything or _is_stored(source) else None,
            named=lambda name: build_named(name, build_named),
        )

    @property
    def _has_copies(self) -> bool:
        return bool(self.duplicated_images and self.copies)

    @property
    def _keeps_all(self) -> bool:
        return self.training_examples is None and not self._has_copies

    def _kept_rows(self, examples: int) -> np.ndarray:
        return self._drawn("training_examples", self.training_examples, np.arange(examples))

    def _rows(self, source: AnySource) -> np.ndarray:
        """Return the image of each training example [N], copies last."""
        kept = self._kept_rows(len(source.y_train))
        return kept[
            duplicated_rows(len(kept), self.duplicated_images, self.copies, self.split_seed)
        ]

    def _visits(self, source: AnySource, rows: np.ndarray, clusters: str) -> Visits:
        noise = self.label_noise if self.label_noise_kind == "each_visit" else 0.0
        mixes = clusters == "augmentations"
        channels = zip(source.channel_means, source.channel_deviations, strict=True)
        return Visits(
            labels=self._lasting_labels(source)[rows],
            num_classes=source.num_classes,
            label_noise=noise,
            noisy_clusters=bool(noise) and clusters == "labels",
            crop=self.crop,
            black=tuple(-mean / deviation for mean, deviation in channels),
            flips=self.flip,
            mixes=mixes,
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
            soft=bool(noise or mixes or self.label_smoothing),
        )

    def _clusters(
        self, classes: np.ndarray, visits: Visits, name: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clusters from which groups are drawn, and their probabilities."""
        if visits.noisy_clusters:
            return classes, visits.noisy_classes.shares
        if visits.mixes:
            ids = visits.augmentation_of_examples
        elif name.endswith(".npy"):
            ids = _clusters_in(Path(name), len(classes))
        elif name == "labels":
            ids = visits.labels
        elif name == "classes":
            ids = classes
        else:  # Clusters of gradients are found in training; it starts from no better ones.
            ids = np.random.default_rng(self.split_seed).permutation(classes)
        sizes = np.bincount(ids)
        return ids, sizes / sizes.sum()

    def _lasting_labels(self, source: AnySource) -> np.ndarray:
        """Return the labels before any noise of a visit [N]."""
        if not self.label_noise or self.label_noise_kind == "each_visit":
            return source.y_train
        return fixed_noise(source.y_train, self.label_noise, source.num_classes, self.split_seed)

    def _mean_labels(self, source: AnySource, rows: np.ndarray) -> np.ndarray:
        """Return the mean over all visits of the labels of some examples [rows, classes]."""
        noise = self.label_noise if self.label_noise_kind == "each_visit" else 0.0
        return expected_labels(self._lasting_labels(source)[rows], noise, source.num_classes)

    def _network(self, source: AnySource) -> keras.Model:
        build = MODELS[self.model]
        network = build(source.input_shape, source.num_classes, **self.model_arguments)
        return add_l2_penalty(network, self.l2)

    def _evaluated_rows(self, kept: np.ndarray) -> np.ndarray:
        return self._drawn("evaluation_examples", self.evaluation_examples, kept)

    def _drawn(self, field: str, count: int | None, rows: np.ndarray) -> np.ndarray:
        """Return so many of the rows, drawn by the split's seed."""
        if count is not None and not 1 <= count <= len(rows):
            raise ValueError(
                f"`{field}` must be from 1 to the number of training examples, {len(rows)}. "
                f"Received: {field}={count}."
            )
        # All of them in their order, or a few: the order changes the rounding of the mean.
        if count is None or count == len(rows):
            return rows
        return rows[np.sort(np.random.default_rng(self.split_seed).permutation(len(rows))[:count])]

    def _evaluated_on(self) -> str:
        if self.evaluation_examples is None:
            return ""
        return (
            " Training loss and accuracy are evaluated on the same "
            f"{self.evaluation_examples:,} training examples every time."
        )

    def _labels_are(self) -> str:
        if not self.label_noise:
            return ""
        when = "anew at each visit" if self.label_noise_kind == "each_visit" else "once and for all"
        return (
            f" {100 * self.label_noise:g} % of the training labels are wrong, drawn {when}; "
            "losses and accuracies are those of the true labels."
        )

    def _rows_are(self, examples: int) -> str:
        kept = "" if self.training_examples is None else f" {self.training_examples:,} are kept."
        if not self._has_copies:
            return kept
        return (
            f"{kept} There are {self.copies:,} more copies of each of {self.duplicated_images} "
            f"training images, {examples:,} examples in all; values of training are those without "
            "copies."
        )


def _is_stored(source: AnySource) -> bool:
    return isinstance(source, sources.StoredSource)


def _clusters_in(path: Path, count: int) -> np.ndarray:
    """Return the clusters in a file, int64 [N], gaps closed.

    Raises:
        ValueError: No such file, or what it holds is not the cluster of each example.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            "`clusters` must name a file that `numpy.save` has written, with the cluster of each "
            f"training example. Received: clusters={str(path)!r} ({error})."
        ) from error
    return check_assignments(found, name="clusters", count=count, left_out=False)
