"""The page of `Diagnose`: signal and noise over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_gradvar.diagnosis import svg, words
from tf_gradvar.diagnosis.glossary import TERMS, linked
from tf_gradvar.diagnosis.noise import Estimate
from tf_gradvar.diagnosis.numbers_in_words import SQUARED, estimate, number, percent
from tf_gradvar.pages import (
    Gallery,
    Markup,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Terms,
    page,
)

# The noisiest layers have a curve of their own.
MOST_LAYERS = 6
USED = (
    "gradient",
    "signal",
    "noise",
    "noise-scale",
    "critical",
    "signal-to-noise",
    "standard-error",
)

Record = Mapping[str, Any]


def page_over_training(history: Sequence[Record], model: str) -> str:
    """Return the page as HTML.

    Args:
        history: Records of `Diagnose`, at least one.
        model: Name of the model.
    """
    steps = [record["step"] for record in history]
    parts: list[Part] = [
        *(Markup(linked(text)) for text in sentences(history)),
        Section("1. Noise", [Gallery([_noise_scale(history, steps), _parts(history, steps)])]),
        Section("2. Where", [Gallery([_layers(history, steps)])]),
        Section("Numbers", [_table(history)]),
        Section(
            "What the words mean",
            [Terms([(key, TERMS[key].title, TERMS[key].text) for key in USED])],
        ),
    ]
    title = f"How noisy were the gradients of '{model}' while it trained?"
    return page(Report(title, [], None, parts))


def sentences(history: Sequence[Record]) -> list[str]:
    """Return what the records say."""
    first, last = (_estimate(history[place], "noise_scale") for place in (0, -1))
    steps = f"step {history[0]['step']:,}", f"step {history[-1]['step']:,}"
    text = f"At {steps[1]} the gradient noise scale was {estimate(last, 'examples')}"
    if len(history) > 1:
        text += f", at {steps[0]} it was {estimate(first, 'examples')}"
    batch_size = history[-1]["batch_size"]
    examined = history[-1]["examined"]
    advice = words.batch_size_sentence(batch_size, last.value)
    return [
        f"{text}.",
        f"At the end, {advice[0].lower()}{advice[1:]}",
        f"{examined:,} examples were looked at for each measurement.",
    ]


def _noise_scale(history: Sequence[Record], steps: Sequence[int]) -> Picture:
    found = [_estimate(record, "noise_scale") for record in history]
    curves = [
        ("gradient noise scale", [e.value for e in found]),
        ("range, from", [e.low for e in found]),
        ("range, to", [e.high for e in found]),
        ("your batch size", [float(record["batch_size"]) for record in history]),
    ]
    drawn = svg.lines(steps, curves, "examples", logarithmic=True, horizontal="step")
    return Picture("noise_scale", drawn, "Gradient noise scale, or critical batch size.")


def _parts(history: Sequence[Record], steps: Sequence[int]) -> Picture:
    curves = [
        (title, [_estimate(record, name).value for record in history])
        for title, name in (("signal", "signal"), ("noise of your batch", "batch_variance"))
    ]
    drawn = svg.lines(steps, curves, SQUARED, logarithmic=True, horizontal="step")
    return Picture("signal_and_noise", drawn, "Signal, and noise of a batch.")


def _layers(history: Sequence[Record], steps: Sequence[int]) -> Picture:
    shares = {
        layer["name"]: [_share(record, layer["name"]) for record in history]
        for layer in history[-1]["layers"]
    }
    noisiest = sorted(shares, key=lambda name: -max(shares[name]))[:MOST_LAYERS]
    curves = [(name, [100 * s for s in shares[name]]) for name in shares if name in noisiest]
    drawn = svg.lines(steps, curves, "% of the noise", logarithmic=False, horizontal="step")
    return Picture("layers", drawn, "Share of the noise by layer.")


def _table(history: Sequence[Record]) -> Table:
    cells = []
    for record in history:
        noisiest = max(record["layers"], key=lambda layer: layer["noise_share"])
        cells.append(
            [
                f"{record['step']:,}",
                estimate(_estimate(record, "noise_scale"), "examples"),
                f"{number(_estimate(record, 'signal').value)} {SQUARED}",
                f"{number(_estimate(record, 'batch_variance').value)} {SQUARED}",
                f"{noisiest['name']} ({percent(noisiest['noise_share'])})",
            ]
        )
    headings = ["step", "gradient noise scale", "signal", "noise of a batch", "noisiest layer"]
    return Table(headings, cells)


def _estimate(record: Record, name: str) -> Estimate:
    return Estimate(**record["noise"][name])


def _share(record: Record, name: str) -> float:
    return next((e["noise_share"] for e in record["layers"] if e["name"] == name), 0.0)
