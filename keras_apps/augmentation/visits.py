"""A description of what happens to an example at each visit."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np

from keras_apps.augmentation.label_noise import NoisyClasses

Crop = Literal["pad", "inception"]

# The clusters of augmentations, in the order of the Discover paper (Appendix 7.3).
AUGMENTATIONS = ("flip", "mixup", "cutmix")


@dataclasses.dataclass(frozen=True, eq=False)
class Visits:
    """What happens to an example at each visit.

    Attributes:
        labels: The label of each example before any noise of a visit, int32 [N].
        num_classes: The number of classes.
        label_noise: The probability that a label is another class at a visit.
        noisy_clusters: Whether a group shows one noisy label, and not one true class.
        crop: "pad" or "inception"; None for whole images.
        padding: Pixels on each side, for "pad".
        black: What black is in each channel.
        flips: Whether one half of the images is flipped from left to right.
        mixes: Whether the clusters are `AUGMENTATIONS`: a group is either flipped so, or mixed by
            Mixup, or by CutMix.
        mixup_alpha: Of the distribution of Mixup's ratio, Beta(alpha, alpha).
        cutmix_alpha: Of the distribution of CutMix's ratio.
        soft: Whether the targets are one number for each class.
    """

    labels: np.ndarray
    num_classes: int
    label_noise: float = 0.0
    noisy_clusters: bool = False
    crop: Crop | None = None
    padding: int = 4
    black: tuple[float, ...] = (0.0,)
    flips: bool = False
    mixes: bool = False
    mixup_alpha: float = 0.2
    cutmix_alpha: float = 1.0
    soft: bool = False

    @property
    def change_anything(self) -> bool:
        """Whether an example is not the same at every visit."""
        return bool(self.label_noise or self.crop or self.flips or self.mixes)

    @property
    def cluster_is_drawn(self) -> bool:
        """Whether the cluster does not belong to the example, but to what is made of it."""
        return self.mixes or self.noisy_clusters

    @functools.cached_property
    def noisy_classes(self) -> NoisyClasses:
        """The groups of one noisy label."""
        return NoisyClasses.of(self.labels, self.label_noise, self.num_classes)

    @property
    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows and labels from which groups are drawn: each image once in every augmentation.

        [N], or [3 N] for mixed images.
        """
        copies = len(AUGMENTATIONS) if self.mixes else 1
        rows = np.arange(len(self.labels), dtype=np.int64)
        return np.tile(rows, copies), np.tile(self.labels, copies)

    @property
    def augmentation_of_examples(self) -> np.ndarray:
        """The clusters of the `examples` of mixed images, int32 [3 N]."""
        return np.repeat(np.arange(len(AUGMENTATIONS), dtype=np.int32), len(self.labels))
