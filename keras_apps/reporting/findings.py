"""Findings of a comparison: sentences computed from its results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from keras_apps.reporting.comparison_results import Pair, Results
from tf_gradvar.pages import MINUS, PERCENT


def findings_of(results: Results) -> list[str]:
    """Return the findings; none if nothing is finished."""
    if results.measures("training_loss"):
        return _of_classification(results)
    return _of_least_squares(results)


def variance_left(results: Results) -> list[str]:
    """Return how much of the between-cluster variance the buffers leave, at the same weights."""
    sentences = []
    for arm in results.arms:
        shares = [
            record["between_cluster_variance_discover_exact"]
            / record["between_cluster_variance_sgd"]
            for record in arm.evaluations
            if "between_cluster_variance_discover_exact" in record
            and record["step"] > results.experiment.steps / 2
        ]
        if shares:
            sentences.append(
                f"{arm.optimizer.name} with {_groups(arm.groups)} in a step: over the second half "
                f"of training its buffers leave {100 * statistics.median(shares):.2g}{PERCENT} of "
                "the between-cluster variance that the plain gradient has at the same weights "
                "(median)."
            )
    return sentences


def _of_classification(results: Results) -> list[str]:
    finals = {
        groups: found
        for groups in results.experiment.groups_per_batch
        if (found := results.pairs(groups, "training_loss"))
    }
    best = min(results.arms, key=lambda arm: arm.final["training_loss"].mean)
    searched = any(optimizer.search for optimizer in results.experiment.optimizers)
    return [
        *(_against_rivals(results) if searched else [*_verdict(finals), *_medians(finals)]),
        *_test_accuracy(results),
        f"Lowest final training loss of all: {best.optimizer.label} with {_groups(best.groups)} in "
        f"a step, {best.final['training_loss'].mean:.3g}.",
    ]


def _against_rivals(results: Results) -> list[str]:
    """Return for each number of groups which forms beat what is best without their buffers."""
    sentences = []
    for groups in results.experiment.groups_per_batch:
        pairs = results.rival_pairs(groups)
        if not pairs or len(pairs[0].values) == 1:
            continue
        texts = [
            f"{what} on every seed for {_list(names) if names else 'none'}"
            for what, names in (
                ("lower", [f"{p.name} ({_percent(p.change)})" for p in pairs if p.is_lower]),
                ("higher", [f"{p.name} ({_percent(p.change)})" for p in pairs if p.is_higher]),
            )
        ]
        sentences.append(
            f"With {_groups(groups)} in a step: against the best optimizer without a buffer for "
            "each cluster, on the same batches and with as many tuning runs, the final training "
            f"loss is {' and '.join(texts)}, of {len(pairs)} forms."
        )
    return sentences


def _percent(change: float) -> str:
    return f"{100 * change:+.0f}{PERCENT}".replace("-", MINUS)


def _verdict(finals: Mapping[int, Sequence[Pair]]) -> list[str]:
    """Return whether it pays: a lower loss on every seed in at least half of the pairs."""
    if not finals:
        return []
    counts = _list(
        [
            f"{sum(pair.is_lower for pair in found)} of {_optimizers(len(found))} with "
            f"{_groups(groups)}"
            for groups, found in finals.items()
        ]
    )
    if any(len(pair.values) == 1 for found in finals.values() for pair in found):
        return [
            f"With the control variate the final training loss is lower for {counts}. That is one "
            "seed, which shows nothing of the spread between seeds, so no verdict is given."
        ]
    share = {
        groups: statistics.fmean(pair.is_lower for pair in found)
        for groups, found in finals.items()
    }
    few, many = min(share), max(share)
    if share[few] < 0.5 and share[many] < 0.5:
        verdict = "The control variate brings no reliable gain here."
    elif few == many:
        verdict = "The control variate pays here."
    elif share[few] < 0.5:
        verdict = "The control variate pays only where a step mixes the clusters."
    elif share[many] < share[few]:
        verdict = (
            "The control variate pays where a step sees few of the clusters, and less where a step "
            "mixes them."
        )
    else:
        verdict = "The control variate pays here, also where a step mixes the clusters."
    return [f"{verdict} It lowers the final training loss on every seed for {counts}."]


def _medians(finals: Mapping[int, Sequence[Pair]]) -> list[str]:
    texts = []
    for groups, found in finals.items():
        base, own = (
            statistics.median(statistics.fmean(values) for values in sides)
            for sides in ([p.base_values for p in found], [p.values for p in found])
        )
        texts.append(f"{base:.3g} and {own:.3g} with {_groups(groups)} in a step")
    if not texts:
        return []
    return [
        "Final training loss without and with the control variate, median over the optimizers: "
        f"{_list(texts)}."
    ]


def _test_accuracy(results: Results) -> list[str]:
    pairs = [
        (arm.final["test_accuracy"], base.final["test_accuracy"])
        for arm, base in results.pairs_of_arms()
    ]
    if not pairs:
        return []
    differences = [100 * (own.mean - other.mean) for own, other in pairs]
    ends = [f"{end:+.2f}".replace("-", MINUS) for end in (min(differences), max(differences))]
    sentence = (
        f"Test accuracy changes by {' to '.join(dict.fromkeys(ends))} points from a base to its "
        "form with the control variate."
    )
    if len(results.arms[0].final["test_accuracy"].values) > 1:
        largest = max(100 * spread.deviation for pair in pairs for spread in pair)
        sentence += f" Its standard deviation over seeds is up to {largest:.2f} points."
    return [sentence]


def _of_least_squares(results: Results) -> list[str]:
    ratios, details = [], []
    for arm, base in results.pairs_of_arms():
        own, other = (one.late["excess_risk"].mean for one in (arm, base))
        both, within = (
            statistics.fmean(risks[results.experiment.steps // 2 + 1 :])
            for risks in results.predictions[base.optimizer.name, base.groups].values()
        )
        ratio = f"1/{other / own:.0f}" if own < other else f"{own / other:.2g} times"
        ratios.append(f"{ratio} of that of {base.optimizer.label}")
        details.append(
            f"{base.optimizer.label} stalls at an excess risk of {other:.3g}, {other / both:.2f} "
            "of the prediction with both parts of the variance; "
            f"{arm.optimizer.label} at {own:.3g}, {own / within:.2f} of the prediction with the "
            "part within clusters alone."
        )
    if not ratios:
        return []
    return [
        "At the same learning rate, the steady excess risk with the control variate is "
        f"{_list(ratios)}.",
        *details,
        *_of_discover_theory(results),
    ]


def _of_discover_theory(results: Results) -> list[str]:
    """Return the steady risk and the time to reach twice as much, beside the prediction."""
    half, sentences = results.experiment.steps // 2 + 1, []
    for arm in results.arms:
        predicted = results.predictions.get((arm.optimizer.name, arm.groups), {})
        if len(predicted) != 1:
            continue
        (risks,) = predicted.values()
        steady, theory = arm.late["excess_risk"].mean, statistics.fmean(risks[half:])
        reached = next(
            point.step for point in arm.curve("excess_risk") if point.spread.mean <= 2 * steady
        )
        sentences.append(
            f"{arm.optimizer.label}: a steady excess risk of {steady:.3g} (predicted {theory:.3g}),"
            f" twice of which it has reached at step {reached} (predicted "
            f"{next(step for step, risk in enumerate(risks) if risk <= 2 * theory)})."
        )
    return sentences


def _list(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _optimizers(count: int) -> str:
    return "1 optimizer" if count == 1 else f"{count} optimizers"


def _groups(count: int) -> str:
    return "one group" if count == 1 else f"{count} groups"
