"""Scores of findings against planted faults, and of the baselines beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.planted_data import CARELESS_ANNOTATOR, NOISY_CAMERA, Planted
from tf_gradvar.diagnosis.duplicates import TOLERANCE, near_duplicates
from tf_gradvar.diagnosis.example_measurements import ExampleMeasurements
from tf_gradvar.diagnosis.who import Who

Row = dict[str, Any]
_ROWS = 1024


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean precision over the places of the true ones, the highest score first."""
    found = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(found) / np.arange(1, len(found) + 1))[found].mean())


def wrong_label_rows(planted: Planted, measured: ExampleMeasurements, who: Who) -> Iterator[Row]:
    """Yield the ranking of `examine`, and of loss, norm and class alignment alone.

    Precision and recall of the others are those of as many examples as there are candidates.
    """
    suspects = who.wrong_labels
    assert suspects is not None
    number = len(suspects.candidates)
    rankings = {
        "examine": suspects.scores,
        "loss": measured.losses,
        "norm": measured.squared_norms,
        "opposition - support": suspects.opposition - suspects.support,
        "class alignment": -suspects.class_alignment,
    }
    for method, score in rankings.items():
        chosen = suspects.candidates if method == "examine" else np.argsort(-score)[:number]
        yield {
            "finding": "wrong labels",
            "method": method,
            "average_precision": average_precision(score, planted.wrong),
            "precision": planted.wrong[chosen].mean() if number else np.nan,
            "recall": planted.wrong[chosen].sum() / planted.wrong.sum(),
            "number": number,
        }


def gradient_duplicates(planted: Planted, measured: ExampleMeasurements, who: Who) -> Row:
    """Return the score of near-duplicates by gradients."""
    nearest = _nearest(measured.squared_norms, measured.sketches)
    return {"method": "examine", **_of_groups(planted, who.duplicates.group, nearest)}


def input_duplicates(planted: Planted) -> Row:
    """Return the score of near-duplicates by inputs, as vectors of pixels."""
    x = planted.x.reshape(len(planted.x), -1)
    squares = np.square(x, dtype=np.float64).sum(axis=1)
    groups = near_duplicates(squares, x, tolerance=TOLERANCE)
    return {"method": "inputs", **_of_groups(planted, groups, _nearest(squares, x))}


def _of_groups(planted: Planted, group: np.ndarray, nearest: np.ndarray) -> Row:
    """Return the ranking by the distance to the nearest neighbour, and the scores of groups.

    Recall is of copies in one group with their originals, precision of grouped examples that are
    copies or have one.
    """
    is_copy = planted.original != np.arange(len(group))
    together = (group >= 0) & (group == group[planted.original])
    return {
        "finding": "duplicates",
        "average_precision": average_precision(-nearest, planted.copied),
        "precision": planted.copied[group >= 0].mean() if (group >= 0).any() else np.nan,
        "recall": together[is_copy].mean(),
        "recall_exact": together[is_copy & ~planted.changed].mean(),
        "recall_changed": together[planted.changed].mean(),
        "number": int((group >= 0).sum()),
    }


def _nearest(squared_norms: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return each example's relative distance to its nearest neighbour."""
    nearest = np.empty(len(vectors))
    squares = np.square(vectors, dtype=np.float64).sum(axis=1)
    for start in range(0, len(vectors), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(vectors)))
        distances = squares[rows, None] + squares - 2.0 * (vectors[rows] @ vectors.T)
        distances /= np.maximum(np.maximum(squared_norms[rows, None], squared_norms), 1e-300)
        distances[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = distances.min(axis=1)
    return nearest


def group_rows(planted: Planted, measured: ExampleMeasurements, who: Who) -> Iterator[Row]:
    """Yield whether the planted group stands out most: by ranks, by mean noise and by mean loss.

    `day` means nothing: what it says is a false alarm.
    """
    planted_groups = {"camera": NOISY_CAMERA, "annotator": CARELESS_ANNOTATOR, "day": None}
    for column, bad in planted_groups.items():
        found = who.by_column[column]
        ids = planted.metadata[column]
        losses = np.bincount(ids, measured.losses) / np.bincount(ids)
        common = {"finding": f"noisy {column}", "share": found.share, "p_value": found.p_value}
        first = max(found.rows, key=lambda row: abs(row.typical_rank - 1.0))
        yield common | {
            "method": "examine",
            "hit": np.nan if bad is None else float(first.group == str(bad)),
            "group_p_value": first.p_value,
            "typical_rank": first.typical_rank,
            "relative_noise": first.relative_noise,
        }
        hit = np.nan if bad is None else float(found.rows[0].group == str(bad))
        yield common | {"method": "mean noise", "hit": hit}
        hit = np.nan if bad is None else float(losses.argmax() == bad)
        yield common | {"method": "loss", "hit": hit}


def idle_rows(measured: ExampleMeasurements, who: Who, later: Who | None) -> Iterator[Row]:
    """Yield the part of the examples that are idle, and of these the part that still is later.

    For the loss: of as many examples with the smallest losses.
    """
    idle = who.concentration.idle
    smallest = np.zeros(len(idle), bool)
    smallest[np.argsort(measured.losses, kind="stable")[: idle.sum()]] = True
    for method, chosen in (("examine", idle), ("loss", smallest)):
        share = measured.squared_norms[chosen].sum() / measured.squared_norms.sum()
        yield {
            "finding": "idle",
            "method": method,
            "part": chosen.mean(),
            "second_moment_share": share,
            "still_idle": later.concentration.idle[chosen].mean()
            if later is not None and chosen.any()
            else np.nan,
            "largest_share": who.concentration.largest_share,
            "half": who.concentration.half,
        }
