"""From the examples seen to the findings on groups and single examples."""

from __future__ import annotations

import numpy as np

from tf_gradvar.diagnosis.class_labels import predicted_classes, yes_threshold
from tf_gradvar.diagnosis.example_measurements import ExampleMeasurements
from tf_gradvar.diagnosis.examples_seen import Seen
from tf_gradvar.losses import ModelLoss


def measurements_of(
    seen: Seen, labels: np.ndarray | None, loss: ModelLoss, count: int
) -> ExampleMeasurements:
    """Return the examples seen, a row each.

    Args:
        seen: The examples seen.
        labels: Classes of all examples, `[N]`, or None.
        loss: The loss, which tells logits from probabilities.
        count: N, of the data.
    """
    known = labels is not None and seen.outputs is not None
    predictions = None
    if known and seen.outputs is not None:
        predictions = predicted_classes(seen.outputs, yes_threshold(loss.loss))
    return ExampleMeasurements(
        indices=seen.indices,
        squared_norms=seen.squared_norms,
        sketches=seen.sketches,
        losses=seen.losses,
        labels=labels[seen.indices] if known and labels is not None else None,
        predictions=predictions,
        left_out=seen.left_out,
        count=count,
    )
