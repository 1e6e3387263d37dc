"""Batches of rows become batches of images, as each visit shows them."""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf

from keras_apps.augmentation import cropping, flipping, mixing, noisy_visits
from keras_apps.augmentation.draws import Purpose, seed_of_batch
from keras_apps.augmentation.image_stores import ImageStore, store_of
from keras_apps.augmentation.visits import AUGMENTATIONS, Visits

FLIP, MIXUP, CUTMIX = range(len(AUGMENTATIONS))

Batch: TypeAlias = tuple[dict[str, Any], Any]


def visited(batches: Any, images: Any, visits: Visits, read_ahead: bool = True) -> Any:
    """Return batches of what the visits show.

    Args:
        batches: What `cluster_batches` makes of `visits.examples`.
        images: All of them, [N, H, W, channels]: an array, or images on the disk.
        visits: What happens to an example.
        read_ahead: As for `cluster_batches`.

    Returns:
        A `tf.data.Dataset` with the `sampling` of the batches. The same batch number of the same
        seed gives the same images and labels.
    """
    sampling = batches.sampling
    show = Show(store_of(images), visits, sampling.seed, sampling.group_size)
    numbers = tf.data.Dataset.counter(sampling.batches_taken)
    numbered = tf.data.Dataset.zip((numbers, batches))
    if read_ahead:
        shown = numbered.map(show, num_parallel_calls=tf.data.AUTOTUNE).prefetch(-1)
    else:
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        shown = numbered.map(show).with_options(options)
    shown.sampling = sampling
    return shown


class Show:
    """(number of the batch, batch of rows) -> batch of images and targets.

    Args:
        images: All of them.
        visits: What happens to an example.
        seed: Of the run: the same number of a batch then gives the same images and labels.
        group_size: Examples of a group.
    """

    def __init__(self, images: ImageStore, visits: Visits, seed: int, group_size: int) -> None:
        self._images, self._visits = images, visits
        self._seed, self._size = seed, group_size

    def __call__(self, number: tf.Tensor, batch: Batch) -> Batch:
        """Return what the visits of the batch with this number show."""
        visits, (inputs, labels) = self._visits, batch
        rows, clusters = inputs["inputs"], inputs["cluster_ids"]
        count = clusters.shape[0]
        seeds = {purpose: seed_of_batch(self._seed, purpose, number) for purpose in Purpose}
        if visits.label_noise:
            rows, labels = self._noisy(rows, labels, clusters, seeds)
        if visits.crop == "inception":
            images = self._images.inception_crops(rows, seeds[Purpose.CROP])
        else:
            images = self._images.whole(rows)
        if visits.crop == "pad":
            offsets = cropping.draw_offsets(seeds[Purpose.CROP], count, visits.padding)
            images = cropping.pad_and_crop(images, offsets, visits.padding, visits.black)
        flips = flipping.draw_flips(seeds[Purpose.FLIP], count)
        if visits.mixes:
            flips &= clusters == FLIP
        if visits.mixes or visits.flips:
            images = flipping.flip(images, flips)
        targets = tf.one_hot(labels, visits.num_classes) if visits.soft else labels
        if visits.mixes:
            images, targets = self._mixed(images, targets, clusters, seeds)
        return {"inputs": images, "cluster_ids": clusters}, targets

    def _noisy(
        self, rows: tf.Tensor, labels: tf.Tensor, clusters: tf.Tensor, seeds: dict[Purpose, Any]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return rows and labels of a noisy visit: other examples, or other labels."""
        visits, count = self._visits, clusters.shape[0]
        if visits.noisy_clusters:
            classes = visits.noisy_classes
            replaced = tf.gather(tf.constant(classes.replaced), clusters)
            is_noisy = noisy_visits.draw_is_noisy(seeds[Purpose.IS_NOISY], replaced)
            numbers = tf.random.stateless_uniform(
                [count], seeds[Purpose.OTHER_CLASS], dtype=tf.float64
            )
            others = noisy_visits.rows_of_other_classes(numbers, clusters, classes)
            return tf.where(is_noisy, others, rows), clusters
        probabilities = tf.fill([count], tf.constant(visits.label_noise, tf.float64))
        is_noisy = noisy_visits.draw_is_noisy(seeds[Purpose.IS_NOISY], probabilities)
        shifts = noisy_visits.draw_shifts(seeds[Purpose.OTHER_CLASS], count, visits.num_classes)
        return rows, noisy_visits.noisy_labels(labels, is_noisy, shifts, visits.num_classes)

    def _mixed(
        self, images: tf.Tensor, targets: tf.Tensor, clusters: tf.Tensor, seeds: dict[Purpose, Any]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return images and soft labels mixed by the augmentation of their group."""
        visits, (count, height, width, _) = self._visits, images.shape
        groups = count // self._size
        kinds = clusters[:: self._size, None, None, None]
        ratio_seed = seeds[Purpose.RATIO]
        mixup = mixing.draw_ratios(ratio_seed, groups, visits.mixup_alpha)
        cutmix = mixing.draw_ratios(ratio_seed, groups, visits.cutmix_alpha)
        centres = mixing.draw_centres(seeds[Purpose.CENTRE], groups)
        outside = mixing.weights_outside(cutmix, centres, height, width)
        weights = tf.where(kinds == MIXUP, mixup[:, None, None, None], tf.ones_like(outside))
        weights = tf.where(kinds == CUTMIX, outside, weights)
        partners = mixing.draw_partners(seeds[Purpose.PARTNER], groups, self._size)
        shares = tf.reduce_mean(weights, axis=(1, 2))
        return mixing.mix(images, partners, weights), mixing.mix(targets, partners, shares)
