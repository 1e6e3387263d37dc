"""Data sets with planted faults: wrong labels, copies, a noisy camera and a careless annotator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_apps import sources

SETS = {"mnist5k": 4000, "digits": 1438, "fashion_mnist": 10_000}
GROUPS = 5
NOISY_CAMERA, CARELESS_ANNOTATOR = 3, 1
# Standard deviation of the noise on each pixel of the noisy camera; pixels have deviation 1.
CAMERA_NOISE = 1.0
# Wrong labels of the careless annotator and of the other four: 5 % of all.
CARELESS, CAREFUL = 0.17, 0.02
COPIES, COPY_NOISE = 0.10, 0.05


@dataclass(frozen=True)
class Planted:
    """Examples and what was done to them.

    Attributes:
        x: Images, normalised, float32 `[N, ...]`.
        y: Labels as given, int32 `[N]`.
        wrong: Whether a label is wrong, `[N]`.
        original: The example that this one is a copy of; its own number for all others, `[N]`.
        changed: Whether a copy carries noise of its own, `[N]`; the others are exact.
        metadata: Columns `camera` and `annotator`, each with one bad group, and `day`, which
            means nothing.
    """

    x: np.ndarray
    y: np.ndarray
    wrong: np.ndarray
    original: np.ndarray
    changed: np.ndarray
    metadata: dict[str, np.ndarray]

    @property
    def copied(self) -> np.ndarray:
        """Whether an example is a copy or has one."""
        is_copy = self.original != np.arange(len(self.original))
        return is_copy | np.isin(np.arange(len(self.original)), self.original[is_copy])


def plant(name: str, seed: int) -> Planted:
    """Return a set with faults.

    Args:
        name: One of `SETS`.
        seed: Of the faults, and of the examples where not all are taken.
    """
    rng = np.random.default_rng(seed)
    source = sources.load(name)
    chosen = rng.permutation(len(source.y_train))[: SETS[name]]
    x, true = source.x_train[chosen], source.y_train[chosen]
    count = len(x)
    metadata = {key: rng.integers(0, GROUPS, count) for key in ("camera", "annotator", "day")}
    noise = rng.normal(0.0, CAMERA_NOISE, x.shape).astype("float32")
    x = x + noise * (metadata["camera"] == NOISY_CAMERA).reshape(-1, 1, 1, 1)
    rate = np.where(metadata["annotator"] == CARELESS_ANNOTATOR, CARELESS, CAREFUL)
    wrong = rng.random(count) < rate
    others = (true + rng.integers(1, source.num_classes, count)) % source.num_classes
    y = np.where(wrong, others, true).astype("int32")

    places = rng.permutation(count)
    copies = places[: round(COPIES * count)]
    original = np.arange(count)
    original[copies] = rng.choice(places[len(copies) :], len(copies))
    changed = np.zeros(count, bool)
    changed[copies[::2]] = True
    slight = rng.normal(0.0, COPY_NOISE, x.shape).astype("float32")
    x = x[original] + slight * changed.reshape(-1, 1, 1, 1)
    for key in ("camera", "annotator"):
        metadata[key] = metadata[key][original]
    return Planted(x, y[original], wrong[original], original, changed, metadata)
