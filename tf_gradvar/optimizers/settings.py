"""The settings of the cluster control variate, checked once for all Discover forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import keras

from tf_gradvar.arguments import (
    check_choice,
    check_count,
    check_num_clusters,
    check_number,
    check_probabilities,
)

BUFFER_DTYPES = ("float32", "bfloat16")
BUFFERS = ("full", "low_rank", "owned", "sharded")


@dataclasses.dataclass
class Settings:
    """The arguments of `ClusterControlVariate` beside the optimizer that it holds.

    Attributes:
        num_clusters: K, at least 1.
        alpha: The step of the buffers, in (0, 1].
        cluster_probabilities: q_k, K floats that sum to 1; None for 1 / K each.
        buffer_dtype: One of `BUFFER_DTYPES`.
        gain: Of the correction, in (0, 1], or `"alpha"`.
        scale: The share of the corrected gradient in the step, in [0, 1], or `"auto"`.
        buffers: One of `BUFFERS`.
        rank: Of the buffers of a matrix, at least 1; None with full buffers.

    Raises:
        ValueError: If an argument breaks its rule.
    """

    num_clusters: int
    alpha: float
    cluster_probabilities: Sequence[float] | None
    buffer_dtype: str
    gain: float | Literal["alpha"]
    scale: float | Literal["auto"]
    buffers: str = "full"
    rank: int | None = None

    def __post_init__(self) -> None:
        self.num_clusters = check_num_clusters(self.num_clusters)
        self.alpha = check_number("alpha", self.alpha, 0, 1, low_open=True)
        self.cluster_probabilities = check_probabilities(
            self.cluster_probabilities, self.num_clusters
        )
        self.buffer_dtype = check_choice("buffer_dtype", self.buffer_dtype, BUFFER_DTYPES)
        self.gain = _check_number_or("gain", self.gain, "alpha", low_open=True)
        self.scale = _check_number_or("scale", self.scale, "auto", low_open=False)
        self.buffers = check_choice("buffers", self.buffers, BUFFERS)
        self.rank = _check_rank(self.buffers, self.rank)
        if self.buffers == "owned":
            _check_owned(self.buffer_dtype, self.scale)
        if self.buffers == "sharded":
            _check_sharded()
        gain = self.alpha if self.gain == "alpha" else self.gain
        if self.scale == "auto" and gain != 1.0:
            raise ValueError(
                "`scale='auto'` needs gain=1. With a smaller gain the step goes along the average "
                "of the buffers whatever the scale, and is not a plain gradient where they are "
                f"bad. Received: gain={self.gain!r}. Pass `gain=1.0`, or `scale=1.0`."
            )


def _check_owned(buffer_dtype: str, scale: Any) -> None:
    """Raise if an option does not go with owned buffers."""
    if buffer_dtype != "float32":
        raise ValueError(
            "`buffer_dtype` must be 'float32' with `buffers='owned'`: replicas know how the "
            "average of the buffers moves only as long as no buffer is rounded. Received: "
            f"buffer_dtype={buffer_dtype!r}. Leave it out, or pass `buffers='full'`."
        )
    if scale == "auto":
        raise ValueError(
            "`scale` must be a number with `buffers='owned'`: what a scale is learned from is "
            "spread over the replicas. Received: scale='auto'. Leave it out, or pass "
            "`buffers='full'`."
        )


def _check_sharded() -> None:
    """Raise unless the backend can divide a variable among devices."""
    if keras.backend.backend() != "jax":
        raise ValueError(
            "`buffers='sharded'` needs the JAX backend of Keras: `tf.distribute` cannot send each "
            "replica a slice of every gradient. Received: KERAS_BACKEND="
            f"{keras.backend.backend()}. Take `buffers='owned'`, which keeps K / R buffers on each "
            "replica, or 'full'."
        )


def _check_rank(buffers: str, rank: Any) -> int | None:
    """Return the rank as an int, or None with full buffers, or raise."""
    if buffers == "low_rank":
        meaning = "the columns of a buffer's factors, with `buffers='low_rank'`"
        return check_count("rank", rank, meaning)
    if rank is not None:
        raise ValueError(
            f"`rank` belongs to `buffers='low_rank'`. Received: rank={rank!r} with "
            f"buffers={buffers!r}. Leave it out, or pass `buffers='low_rank'`."
        )
    return None


def _check_number_or(name: str, value: Any, word: str, *, low_open: bool) -> Any:
    """Return the word, or a number in (0, 1] or [0, 1], or raise."""
    if isinstance(value, str) and value == word:
        return word
    try:
        return check_number(name, value, 0, 1, low_open=low_open)
    except ValueError as error:
        interval = "(0, 1]" if low_open else "[0, 1]"
        raise ValueError(
            f"`{name}` must be a number in {interval}, or {word!r}. Received: {name}={value!r}."
        ) from error
