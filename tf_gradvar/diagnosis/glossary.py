"""Terms of the report and what they mean, for readers who know no paper on gradients."""

from __future__ import annotations

import html
import re
from typing import NamedTuple


class Term(NamedTuple):
    """A term, the words that stand for it in a text, and its paragraph."""

    title: str
    words: tuple[str, ...]
    text: str


TERMS = {
    "gradient": Term(
        "Gradient",
        ("gradient", "gradients"),
        "The direction in which the weights of the model would raise the loss fastest, one number "
        "for each weight. Every example has a gradient of its own; the gradient of a batch is the "
        "mean over its examples.",
    ),
    "signal": Term(
        "Signal",
        ("signal",),
        "The part of the gradient that all examples share: the squared length of the mean gradient "
        "over all the data. It is what a step should follow.",
    ),
    "noise": Term(
        "Noise, variance",
        ("noise", "variance"),
        "How far the gradients of single examples lie from their mean, squared, summed over all "
        "weights and averaged over the examples. A batch of B examples drawn at random has 1/B of "
        "it.",
    ),
    "noise-scale": Term(
        "Gradient noise scale",
        ("gradient noise scale", "noise scale"),
        "Noise divided by signal, a number of examples: the batch size at which the noise of a "
        "step is as large as its signal. Source: McCandlish and others, 2018, arXiv:1812.06162.",
    ),
    "critical": Term(
        "Critical batch size",
        ("critical batch size",),
        "The batch size at which doubling stops paying. Well below it, twice the batch takes half "
        "the steps; well above it, twice the batch takes as many steps and twice the examples. The "
        "gradient noise scale is an estimate of it, by experience within a factor of a few, "
        "because it knows nothing of the curvature of the loss.",
    ),
    "normalized": Term(
        "Normalized variance",
        ("normalized variance",),
        "The share of noise in the squared gradient of a batch, weight by weight, averaged over "
        "the weights: 0 is pure signal, 1 is pure noise.",
    ),
    "signal-to-noise": Term(
        "Signal to noise",
        ("signal to noise",),
        "Signal over noise of a batch. Above 1 a step follows the signal more than the noise.",
    ),
    "standard-error": Term(
        "Standard error, range",
        ("standard error", "±", "range"),
        "How far a number may be off because only some of the examples were looked at: by about "
        "one standard error two times in three. The range holds the number of all examples 19 "
        "times in 20. A number without ± is exact for these data and weights.",
    ),
    "equivalent": Term(
        "Equivalent batch size",
        ("equivalent batch size", "equivalent batch"),
        "The plain batch that would vary as little. A way of drawing batches of 32 with an "
        "equivalent batch size of 48 gives gradients as steady as plain batches of 48.",
    ),
    "strata": Term(
        "Strata",
        ("strata", "stratified"),
        "Groups of examples of which every batch gets its share, in place of whatever chance "
        "brings. This takes the noise between the groups away and leaves the noise within them.",
    ),
    "clusters": Term(
        "Clusters of the gradients",
        ("clusters of the gradients", "gradient clusters"),
        "Groups of examples found by the likeness of their gradients, without labels, as many as "
        "a batch has examples. They are strata that fit the noise, and grow old as the model "
        "trains. Source: Faghri and others, 2020, A Study of Gradient Variance in Deep Learning.",
    ),
    "discover": Term(
        "Discover",
        ("discover",),
        "An optimizer that keeps the recent mean gradient of each group (a buffer) and corrects "
        "every step by them, so that it hardly matters which groups the step has seen. It pays "
        "where a batch cannot hold all groups, as with data that arrive source after source.",
    ),
    "buffer": Term(
        "Buffer",
        ("buffer", "buffers"),
        "A copy of the weights' shape that holds a moving average of the gradients of one group.",
    ),
    "svrg": Term(
        "SVRG",
        ("svrg",),
        "Stochastic variance-reduced gradient: each batch is corrected by its gradient at an older "
        "snapshot of the weights. Its gain fades with the age of the snapshot. Source: Johnson and "
        "Zhang, 2013.",
    ),
    "stale": Term(
        "Stale",
        ("stale",),
        "Found at older weights than those that are trained. Predictions that rest on stale "
        "quantities hold at first and fade; measure again.",
    ),
    "sketch": Term(
        "Sketch",
        ("sketch", "sketches"),
        "A gradient shrunk to 256 random mixtures of its numbers. Lengths and angles are kept on "
        "average, so that groups and near-duplicates show without storing whole gradients.",
    ),
}
# Longer words first: "gradient noise scale" is no "gradient".
_WORDS = {word: key for key, term in TERMS.items() for word in term.words}
_PATTERN = re.compile(
    "|".join(
        rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
        for word in sorted(_WORDS, key=len, reverse=True)
    ),
    re.IGNORECASE,
)


def linked(text: str) -> str:
    """Return text as HTML: the first mention of every term links to its paragraph.

    What stands between backticks is code.

    Example:
        >>> linked("More <noise>.")
        'More &lt;<a href="#noise">noise</a>&gt;.'
    """
    seen: set[str] = set()

    def link(match: re.Match[str]) -> str:
        key = _WORDS[match.group().lower()]
        if key in seen:
            return match.group()
        seen.add(key)
        return f'<a href="#{key}">{match.group()}</a>'

    found = _PATTERN.sub(link, html.escape(text, quote=False))
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", found)
