"""Sentences on who carries the noise, each with its number, how sure it is, and what to do."""

from __future__ import annotations

import math

from tf_gradvar.diagnosis.group_noise import GroupNoise
from tf_gradvar.diagnosis.numbers_in_words import count, number, percent
from tf_gradvar.diagnosis.who import Who

# Findings with a larger chance to be nothing are not called findings.
CHANCE = 0.05
# Parts below this are not worth acting on.
LITTLE = 0.01


def who_sentences(who: Who) -> list[str]:
    """Return all findings on groups and single examples."""
    groups = [] if who.by_class is None else [group_sentence(who.by_class, who, "class")]
    groups += [group_sentence(found, who, name) for name, found in who.by_column.items()]
    found = [*groups, *who.skipped.values(), norm_sentence(who)]
    suspects = label_sentence(who)
    found += [] if suspects is None else [suspects]
    return [*found, duplicate_sentence(who), idle_sentence(who)]


def group_sentence(found: GroupNoise, who: Who, name: str) -> str:
    """Return what a column says of the noise, and what follows."""
    chance = who.adjusted_p_values[name]
    share = f"{percent(max(found.share, 0.0))} ± {percent(found.standard_error)}"
    if chance > CHANCE or found.share <= 0:
        text = (
            f"By {name}: no share of the noise lies between the groups that chance could not "
            f"explain ({share}, p = {number(chance)}). Drawing batches by it would not help."
        )
    else:
        text = (
            f"By {name}: {share} of the noise lies between the groups, which strata would take "
            f"away; the rest is within them (p = {number(chance)})."
        )
        if found.share < LITTLE:
            text += " That is too little to draw batches by it."
    return " ".join([text, *_groups_that_stand_out(found)])


def _groups_that_stand_out(found: GroupNoise) -> list[str]:
    """Return a sentence on the group that is typically noisiest, and one on the quietest."""
    sure = sorted((r for r in found.rows if r.p_value <= CHANCE), key=lambda row: -row.typical_rank)
    said = []
    for row, is_noisy in ((sure[0], True), (sure[-1], False)) if sure else ():
        if (row.typical_rank > 1.0) != is_noisy:
            continue
        kind = "noisiest" if is_noisy else "quietest"
        why = (
            "Look at its data and labels first."
            if is_noisy
            else "Its examples are easy, or learned by heart."
        )
        said.append(
            f"The {kind} group is '{row.group}' ({count(row.size, 'example')}): "
            f"{number(row.relative_noise)} ± {number(row.standard_error)} times the average noise "
            f"of an example, and typically {'more' if is_noisy else 'less'} than the others "
            f"(p = {number(row.p_value)}). {why}"
        )
    return said


def norm_sentence(who: Who) -> str:
    """Return how much the largest gradients hold."""
    held = who.concentration
    advice = (
        "A few examples rule the steps: look at them, or clip their gradients."
        if held.largest_share > 10 * held.largest
        else "No few examples rule the steps."
    )
    return (
        f"The {percent(held.largest)} of the examples with the largest gradients hold "
        f"{percent(held.largest_share)} ± {percent(held.standard_error)} of the squared lengths of "
        f"all; half of it is held by {percent(held.half)} of the examples. {advice}"
    )


def label_sentence(who: Who) -> str | None:
    """Return how many labels look wrong; None without labels."""
    suspects = who.wrong_labels
    if suspects is None:
        return None
    found = len(suspects.candidates)
    if not found:
        return (
            "No label stands out as wrong at these weights. In the first epochs that says little: "
            "diagnose again when the model fits most of the data."
        )
    return (
        f"{count(found, 'label')} ({percent(suspects.candidate_part)} of those looked at) may be "
        "wrong: the loss is high, and the gradient opposes those of similar examples. Of such "
        "candidates 92\xa0% were wrong where we had planted 5\xa0% of wrong labels, and they were "
        "a third of these. Begin with the first, "
        f"{', '.join(map(str, suspects.candidates[:5].tolist()))} (counted from 0)."
    )


def duplicate_sentence(who: Who) -> str:
    """Return how many examples are nearly copies."""
    copies = who.duplicates
    if copies.num_groups == 0:
        return "No two examples have nearly the same gradient."
    advice = " They cost time and weigh double." if copies.spare_part >= LITTLE else ""
    return (
        f"{count(copies.spare, 'example')} ({percent(copies.spare_part)}) have nearly the same "
        f"gradient as another one, in {count(copies.num_groups, 'group')} of near-duplicates: "
        f"within {percent(copies.tolerance)} of its length.{advice}"
    )


def idle_sentence(who: Who) -> str:
    """Return how many examples no longer matter."""
    held = who.concentration
    advice = (
        " Visiting them less often would save time."
        if held.idle_part > 0.2 and not math.isnan(held.idle_part)
        else ""
    )
    return (
        f"{percent(held.idle_part)} of the examples hardly matter any more: together they hold "
        f"less than {percent(held.idle_share)} of the squared lengths of all gradients.{advice}"
    )
