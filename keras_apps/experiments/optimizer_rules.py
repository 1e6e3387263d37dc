"""Update rules by name, and the Keras optimizer of a choice."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

import tf_gradvar
from keras_apps.experiments.carried_buffers import CarriedBuffers
from keras_apps.experiments.optimizer_choice import OptimizerChoice

RULES: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "SGD": keras.optimizers.SGD,
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "QHM": tf_gradvar.QHM,
    "IGT": tf_gradvar.IGT,
    "Discover": tf_gradvar.Discover,
    "DiscoverQHM": tf_gradvar.DiscoverQHM,
    "QHDiscover": tf_gradvar.QHDiscover,
    "DiscoverIGT": tf_gradvar.DiscoverIGT,
    "DiscoverOver": tf_gradvar.DiscoverOver,
    "CarriedBuffers": CarriedBuffers,
}
# The arguments of `DiscoverOver`; all others are those of the optimizer in it.
OF_DISCOVER = {"alpha", "gain", "scale", "buffer_dtype", "buffers", "rank"}


def optimizer_of(
    choice: OptimizerChoice,
    learning_rate: Any,
    probabilities: np.ndarray,
    chosen: Mapping[str, Any] | None = None,
    weight_decay: float = 0.0,
) -> Any:
    """Return the Keras optimizer of a choice, not yet built.

    Args:
        choice: The rule and its arguments.
        learning_rate: A number or a schedule.
        probabilities: The share of each cluster, [K], for rules that keep a buffer for each.
        chosen: Arguments beside those of the choice. Defaults to none.
        weight_decay: Decoupled, for a rule whose arguments have none. Defaults to 0.

    Raises:
        ValueError: A rule that is not one of `RULES`, or what the rule says of its arguments.
        TypeError: An argument that the rule does not have.
    """
    decay = {"weight_decay": weight_decay} if weight_decay else {}
    arguments = {**decay, **choice.arguments, **(chosen or {})}
    clusters = {
        "num_clusters": len(probabilities),
        "cluster_probabilities": probabilities.tolist(),
    }
    if choice.rule == "DiscoverOver":
        own = {key: arguments.pop(key) for key in OF_DISCOVER & set(arguments)}
        inner = _rule(arguments.pop("over"))(learning_rate=learning_rate, **arguments)
        return RULES[choice.rule](inner, **clusters, **own)
    if "Discover" in choice.rule or choice.carries_buffers:
        arguments.update(clusters)
    return _rule(choice.rule)(learning_rate=learning_rate, **arguments)


def _rule(name: str) -> Callable[..., keras.optimizers.Optimizer]:
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`rule` must be one of {list(RULES)}. Received: rule={name!r}.{hint}")
    return RULES[name]
