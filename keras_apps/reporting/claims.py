"""Claims of a paper, each beside what the records of our runs say of it, as a page in Markdown.

A claim has evidences; an evidence reads the results of experiments by name and gives rows. What a
row says follows from the seeds alone: a claim about two optimizers holds where it does on every
seed, does not where the opposite is true on every seed, and is not decided in between.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from keras_apps.reporting.comparison_results import Arm, Pair, Spread, unit
from keras_apps.reporting.kept_rows import with_kept
from keras_apps.reporting.verdicts import (
    FAILS,
    HOLDS,
    NOT_HERE,
    NOT_RUN,
    OPEN,
    Claim,
    Found,
    Row,
)
from tf_gradvar.pages import MINUS


@dataclasses.dataclass(frozen=True)
class Compared:
    """Evidence: forms against their vanilla counterparts, on the same seeds.

    Attributes:
        experiment: The name of the experiment.
        pairs: Reading -> pairs (form, counterpart) of optimizers.
        value: What is compared.
        expected: What the claim says of the form's value; "same" holds where the seeds disagree,
            or the mean difference is within the standard deviation over the seeds.
        when: At the end, or at the evaluated step that is nearest to a sixth of the run.
    """

    experiment: str
    pairs: Mapping[str, Sequence[tuple[str, str]]]
    value: str
    expected: Literal["lower", "higher", "same"]
    when: Literal["early", "end"] = "end"

    def __call__(self, found: Found) -> list[Row]:
        """Return a row for each pair."""
        return [
            self._row(found, reading, form, base)
            for reading, pairs in self.pairs.items()
            for form, base in pairs
        ]

    def _row(self, found: Found, reading: str, form: str, base: str) -> Row:
        arms = [_only_arm(found, self.experiment, name) for name in (form, base)]
        if arms[0] is None or arms[1] is None:
            return Row(self.experiment, reading, f"{form} and {base}", NOT_RUN)
        step = arms[0].early_step if self.when == "early" else None
        pair = Pair.of(arms[0], arms[1], self.value, step)
        at = f" at step {step}" if step else ""
        text = (
            f"{form} {_spread(pair.values, self.value)}, {base} "
            f"{_spread(pair.base_values, self.value)}{at} ({_difference(pair, self.value)}; "
            f"{_on_seeds(pair)})"
        )
        return Row(self.experiment, reading, text, self._verdict(pair))

    def _verdict(self, pair: Pair) -> str:
        if self.expected == "same":
            differences = _differences(pair)
            if not (pair.is_lower or pair.is_higher):
                return HOLDS
            small = abs(statistics.fmean(differences)) <= _deviation(pair)
            return HOLDS if small else FAILS
        agrees, opposes = pair.is_lower, pair.is_higher
        if self.expected == "higher":
            agrees, opposes = opposes, agrees
        return HOLDS if agrees else FAILS if opposes else OPEN


@dataclasses.dataclass(frozen=True)
class Ordered:
    """Evidence: optimizers of any experiments, from the largest value to the smallest.

    Attributes:
        reading: Of Equation 4.
        places: (experiment, optimizer, what to call it), the largest value first.
        value: What is compared, at the end.
    """

    reading: str
    places: Sequence[tuple[str, str, str]]
    value: str

    def __call__(self, found: Found) -> list[Row]:
        """Return one row."""
        experiments = ", ".join(dict.fromkeys(place[0] for place in self.places))
        arms = [_only_arm(found, experiment, name) for experiment, name, _ in self.places]
        present = [arm for arm in arms if arm is not None]
        if len(present) < len(arms):
            return [Row(experiments, self.reading, "", NOT_RUN)]
        values = [arm.final[self.value].values for arm in present]
        text = ", ".join(
            f"{label} {_spread(own, self.value)}"
            for (_, _, label), own in zip(self.places, values, strict=True)
        )
        pairs = list(itertools.pairwise(values))
        if all(min(above) > max(below) for above, below in pairs):
            verdict = HOLDS
        else:
            verdict = FAILS if any(max(a) < min(b) for a, b in pairs) else OPEN
        return [Row(experiments, self.reading, text, verdict)]


def markdown(
    title: str,
    introduction: str,
    claims: Sequence[Claim],
    found: Found,
    readings: str = "reading",
    kept: Mapping[str, Sequence[Row]] | None = None,
) -> str:
    """Return the page.

    Args:
        title: Its heading.
        introduction: What stands above the claims.
        claims: The claims.
        found: Name of an experiment -> its results.
        readings: The heading of the column of readings.
        kept: Statement of a claim -> its rows of an earlier page; they stay where the results of
            an experiment are not there.
    """
    kept = kept or {}
    rows = [
        with_kept(
            [row for evidence in claim.evidences for row in evidence(found)],
            kept.get(claim.statement, ()),
        )
        for claim in claims
    ]
    sections = [
        _section(number, claim, own, readings)
        for number, (claim, own) in enumerate(zip(claims, rows, strict=True), start=1)
    ]
    overview = ["| | claim | verdicts |", "|---|---|---|"]
    for number, (claim, own) in enumerate(zip(claims, rows, strict=True), start=1):
        overview.append(f"| {number} | {claim.statement} | {_counted(own)} |")
    return "\n\n".join([f"# {title}", introduction, "\n".join(overview), *sections]) + "\n"


def _section(number: int, claim: Claim, rows: Sequence[Row], readings: str) -> str:
    parts = [f"## {number}. {claim.statement}", f"*{claim.source}*"]
    if claim.note:
        parts.append(claim.note)
    lines = [f"| experiment | {readings} | measured | verdict |", "|---|---|---|---|"]
    lines += [
        f"| `{row.experiment}` | {row.reading} | {row.measured} | **{row.verdict}** |"
        for row in rows
    ]
    return "\n\n".join([*parts, "\n".join(lines)] if rows else parts)


def _counted(rows: Sequence[Row]) -> str:
    """Return how often each verdict was given."""
    verdicts = [row.verdict for row in rows]
    counts = [
        (verdict, verdicts.count(verdict)) for verdict in (HOLDS, FAILS, OPEN, NOT_HERE, NOT_RUN)
    ]
    text = ", ".join(f"{verdict}: {count}" for verdict, count in counts if count)
    return text or NOT_HERE


def _only_arm(found: Found, experiment: str, name: str) -> Arm | None:
    """Return the arm of an optimizer in an experiment with one number of groups in a step."""
    results = found.get(experiment)
    if results is None:
        return None
    return results.arm(name, results.experiment.groups_per_batch[0])


def _spread(values: Sequence[float], value: str) -> str:
    spread, factor = Spread(tuple(values)), unit(value)
    sign = " %" if factor != 1 else ""
    deviation = f" ± {factor * spread.deviation:.2g}" if len(values) > 1 else ""
    return f"{factor * spread.mean:.4g}{deviation}{sign}"


def _differences(pair: Pair) -> list[float]:
    return [own - other for own, other in zip(pair.values, pair.base_values, strict=True)]


def _deviation(pair: Pair) -> float:
    """Return the larger standard deviation over the seeds of the two."""
    spreads = (Spread(pair.values), Spread(pair.base_values))
    return max(spread.deviation for spread in spreads)


def _difference(pair: Pair, value: str) -> str:
    if unit(value) != 1:
        return _signed(unit(value) * statistics.fmean(_differences(pair)), ".2f") + " points"
    return _signed(100 * pair.change, ".1f") + " %"


def _signed(number: float, digits: str) -> str:
    return ("+" if number >= 0 else MINUS) + format(abs(number), digits)


def _on_seeds(pair: Pair) -> str:
    lower = sum(difference < 0 for difference in _differences(pair))
    return f"lower on {lower} of {len(pair.values)} seeds"
