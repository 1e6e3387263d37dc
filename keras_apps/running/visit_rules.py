"""Rules of what can be measured and trained where examples differ from visit to visit."""

from __future__ import annotations

import keras

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.training_problem import Problem


def check_visits(experiment: Experiment, problem: Problem) -> None:
    """Raise unless what an experiment asks for can be done with its examples.

    Raises:
        ValueError: Augmentation or noise on the JAX backend, clusters that are measured though no
            example belongs to them, what is measured on images on the disk, or mixed images in
            groups of one.
    """
    for optimizer in experiment.optimizers:
        clustered = problem.clustered(optimizer.clusters)
        _check_visits_of(optimizer, clustered)
        if clustered.visits is not None and clustered.visits.mixes and experiment.group_size < 2:
            raise ValueError(
                "`group_size` must be at least 2 with clusters of augmentations: images are mixed "
                f"with others of their group. Received: group_size={experiment.group_size}. Add "
                "`--set group_size=2`."
            )


def _check_visits_of(optimizer: OptimizerChoice, problem: Problem) -> None:
    visits = problem.visits
    if visits is None:
        return
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "`crop`, `flip`, clusters of augmentations and label noise at each visit need the "
            "TensorFlow backend of Keras: tf.data makes the examples. Received: KERAS_BACKEND="
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow; fixed label noise and label "
            "smoothing run here, too."
        )
    measures = optimizer.measures_variance or optimizer.carries_buffers
    if not problem.is_in_memory and (measures or optimizer.clusters == "gradients"):
        raise ValueError(
            "`measures_variance` must be False, no buffers carried along and `clusters` not "
            "'gradients' with images on the disk: all gradients would be measured on all images. "
            f"Received: measures_variance={optimizer.measures_variance}, rule={optimizer.rule!r} "
            f"and clusters={optimizer.clusters!r} for {optimizer.name}. Choose other optimizers "
            "with `--set optimizers=NAME,NAME`, or take a set that fits into memory."
        )
    if visits.cluster_is_drawn and measures:
        raise ValueError(
            "`measures_variance` must be False, and no buffers carried along, where no example "
            "belongs to a cluster: it is the augmentation or the noisy label of a visit. Received: "
            f"measures_variance={optimizer.measures_variance} and rule={optimizer.rule!r} for "
            f"{optimizer.name}. Add `--set optimizers.{optimizer.name}.measures_variance=false`, "
            "or choose other optimizers with `--set optimizers=NAME,NAME`."
        )
