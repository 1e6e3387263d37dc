"""Loss and accuracy of a classifier on clean labels of the training and the test set."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

EVALUATION_BATCH = 1000
EVALUATION_BATCH_ON_DISK = 250  # of larger images
EVALUATION_BATCH_OF_JAX = 960  # divides among 2, 3, 4, 5, 6 or 8 devices


class LossAndAccuracy:
    """Loss and accuracy on training examples and on the test set, from one pass.

    Labels and images are those of the data, without noise, smoothing or augmentation.

    Args:
        training: Images [N, ...] and their labels [N]. Images are arrays, or on the disk.
        test: The same of the test set.
        noisy_labels: The mean of the labels that training sees, [N, classes], against which a
            `noisy_training_loss` is computed. Defaults to None, which leaves it out.
    """

    def __init__(
        self,
        training: tuple[Any, np.ndarray],
        test: tuple[Any, np.ndarray],
        noisy_labels: np.ndarray | None = None,
    ):
        images, labels = training
        self._batches = _batches_of(images, test[0])
        self._labels = np.concatenate([labels, test[1]])
        self._noisy_labels = noisy_labels
        self._parts = {
            "training": slice(None, len(labels)),
            "test": slice(len(labels), None),
        }

    def __call__(self, model: keras.Model) -> dict[str, float]:
        """Return the measured values by name."""
        logits = model.predict(**self._batches, verbose=0)[: len(self._labels)].astype("float64")
        largest = logits.max(axis=1)
        partition = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        losses = partition - logits[np.arange(len(logits)), self._labels]
        hits = logits.argmax(axis=1) == self._labels
        found = {
            f"{part}_{name}": float(values[rows].mean())
            for part, rows in self._parts.items()
            for name, values in (("loss", losses), ("accuracy", hits))
        }
        if self._noisy_labels is not None:
            shown = self._parts["training"]
            noisy = partition[shown] - (self._noisy_labels * logits[shown]).sum(axis=1)
            found["noisy_training_loss"] = float(noisy.mean())
        return found


def _batches_of(training: Any, test: Any) -> dict[str, Any]:
    """Return arguments of `predict` for images and, on JAX, zeros that fill the last batch.

    There, a batch must divide among the devices.
    """
    if not isinstance(training, np.ndarray):
        from keras_apps.augmentation.image_stores import whole_images

        parts = [whole_images(part, EVALUATION_BATCH_ON_DISK) for part in (training, test)]
        return {"x": parts[0].concatenate(parts[1])}
    images = np.concatenate([training, test])
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Once: Keras would copy an array anew at every evaluation.
        return {"x": tf.data.Dataset.from_tensor_slices(images).batch(EVALUATION_BATCH)}
    missing = -len(images) % EVALUATION_BATCH_OF_JAX
    filled = np.concatenate([images, np.zeros_like(images, shape=(missing, *images.shape[1:]))])
    return {"x": filled, "batch_size": EVALUATION_BATCH_OF_JAX}
