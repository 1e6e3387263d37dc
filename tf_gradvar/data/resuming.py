"""States of datasets: from which batch to go on."""

from __future__ import annotations

from typing import Any

from tf_gradvar.arguments import check_batches_taken


def check_state(state: Any, fingerprint: str, kind: str) -> int:
    """Return how many batches were taken before, or raise if the state is of others.

    Args:
        state: What `sampling.state(...)` returned, or None for a start from the beginning.
        fingerprint: Of the dataset that is to go on.
        kind: What it makes, for the message.

    Raises:
        ValueError: If the state is of other data, clusters or settings.
    """
    if state is None:
        return 0
    given = state if isinstance(state, dict) else {}
    if given.get("fingerprint") != fingerprint or "batches_taken" not in given:
        raise ValueError(
            f"`state` must come from {kind} with the same data, clusters and settings "
            f"(fingerprint {fingerprint}). Received: state={state!r}. Start "
            "without `state`, or with the settings of the run that it came from."
        )
    return check_batches_taken(given["batches_taken"])
