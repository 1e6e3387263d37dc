"""The page of a diagnosis: its sections, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from tf_gradvar.diagnosis import svg, words
from tf_gradvar.diagnosis.glossary import TERMS, linked
from tf_gradvar.diagnosis.numbers_in_words import SQUARED, estimate, interval, number, percent
from tf_gradvar.diagnosis.options import Option
from tf_gradvar.diagnosis.report import Diagnosis
from tf_gradvar.diagnosis.who import Who
from tf_gradvar.diagnosis.who_page import who_parts
from tf_gradvar.pages import (
    Code,
    Gallery,
    Markup,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Terms,
    Text,
    page,
)

# Layers in the picture; the table has all of them.
MOST_LAYERS = 20


def page_of(report: Diagnosis) -> str:
    """Return the page as HTML."""
    title = words.title_of(report)
    return page(Report(title, [], None, [*_summary(report), *_sections(report)]))


def _summary(report: Diagnosis) -> list[Part]:
    setting = report.setting
    finding = Markup(linked(words.headline(report.noise)), "finding")
    advice = [linked(words.option_sentence(report))] if report.options else []
    texts = [words.looked_at(setting), words.left_out(setting), *setting.notes]
    return [
        finding,
        *map(Markup, advice),
        *(Markup(linked(text), "note") for text in texts if text is not None),
    ]


def _sections(report: Diagnosis) -> list[Part]:
    who = [] if report.who is None else [_who(report, report.who)]
    help_ = [_help(report)] if report.options else []
    return [_noise(report), _where(report), *who, *help_, _terms(), _about(report)]


def _noise(report: Diagnosis) -> Section:
    noise = report.noise
    batch_size = noise.batch_size
    rows = [
        ("signal", noise.signal, SQUARED),
        ("noise of one example", noise.noise, SQUARED),
        (f"noise of a batch of {batch_size}", noise.batch_variance, SQUARED),
        ("gradient noise scale, critical batch size", noise.noise_scale, "examples"),
    ]
    cells = [
        [name, estimate(value, unit), interval(value, unit).removeprefix("from ")]
        for name, value, unit in rows
    ]
    if noise.normalized_variance is not None:
        share = f"{number(noise.normalized_variance)} (0 signal, 1 noise)"
        cells.append([f"normalized variance of a batch of {batch_size}", share, "-"])
    texts = [Markup(linked(text)) for text in words.noise_sentences(noise)]
    table = Table(["quantity", "value ± standard error", "range, 19 of 20 cases"], cells)
    return Section("1. Noise", [*texts, table, *_trade(report)])


def _trade(report: Diagnosis) -> list[Part]:
    """Return a table of batch sizes: the steps and examples that they would take."""
    critical = report.noise.noise_scale.value
    if not math.isfinite(critical) or critical <= 0:
        return []
    batch_size = report.noise.batch_size
    sizes = [batch_size * 2**power for power in range(-2, 5) if batch_size * 2**power >= 1]
    cells = [
        [
            f"{size:g} examples",
            percent((1 + critical / size) / (1 + critical / batch_size)),
            percent((1 + size / critical) / (1 + batch_size / critical)),
            number(size / critical),
        ]
        for size in sizes
    ]
    note = (
        "What other batch sizes would take to the same loss, with your batch as 100 %: steps in "
        "proportion to 1 + critical / batch, examples to 1 + batch / critical, at a learning rate "
        "tuned for each."
    )
    headings = ["batch", "steps", "examples", "signal to noise (no unit)"]
    return [Markup(linked(note), "note"), Table(headings, cells, strong=[sizes.index(batch_size)])]


def _where(report: Diagnosis) -> Section:
    layers = report.layers
    shown = sorted(layers, key=lambda layer: -layer.noise_share)[:MOST_LAYERS]
    kept = [layer for layer in layers if layer in shown]
    rows = [
        (
            layer.name,
            [
                (layer.noise_share, percent(layer.noise_share)),
                (layer.signal_share, percent(layer.signal_share)),
            ],
        )
        for layer in kept
    ]
    drawn = svg.bars(rows, ["share of the noise", "share of the signal"])
    caption = "Noise and signal by layer, in the order of the model." + (
        f" The {MOST_LAYERS} noisiest of {len(layers)}." if len(layers) > MOST_LAYERS else ""
    )
    largest = max(layer.signal_to_noise for layer in layers)
    compared = svg.bars(
        [
            (layer.name, [(layer.signal_to_noise, number(layer.signal_to_noise))])
            for layer in kept
            if math.isfinite(layer.signal_to_noise)
        ],
        ["signal to noise of a batch (no unit)"],
    )
    pictures = [Picture("layers", drawn, caption)]
    if math.isfinite(largest) and largest > 0:
        text = f"Signal to noise of a batch of {report.setting.batch_size}, by layer."
        pictures.append(Picture("signal_to_noise", compared, text))
    table = Table(
        ["layer", "weights", "share of the noise", "share of the signal", "signal to noise"],
        [
            [
                layer.name,
                f"{layer.parameters:,}",
                percent(layer.noise_share),
                percent(layer.signal_share),
                number(layer.signal_to_noise),
            ]
            for layer in layers
        ],
    )
    sentence = Markup(linked(words.layer_sentence(layers)))
    return Section("2. Where", [sentence, Gallery(pictures), table])


def _who(report: Diagnosis, who: Who) -> Section:
    return Section("3. Who", who_parts(who, report.images, report.inputs))


def _help(report: Diagnosis) -> Section:
    setting, options = report.setting, report.options
    parts: list[Part] = [Markup(linked(words.option_sentence(report)))]
    lines = words.best_code(report)
    if lines is not None:
        intro = (
            "The lines that turn it on. `model` is your compiled model, `x` and `y` your arrays"
            + (", `report` is what `tf_gradvar.diagnose` returned:" if "report." in lines else ":")
        )
        parts += [Markup(linked(intro)), Code(lines)]
    parts += [_picture_of(options, setting.batch_size), _table_of(report)]
    stale = [option for option in options if option.stale]
    for option in stale:
        sentence = f"{option.name}: the prediction rests on {words.stale_note(option)}."
        parts.append(Markup(linked(sentence), "note"))
    if not any(option.kind == "svrg" for option in options):
        text = (
            "SVRG: not predicted. It has no variance at its own snapshot, and what is left of that "
            "later can only be measured: pass `earlier_weights`. Each step costs two gradients, "
            "and each snapshot a pass over the data."
        )
        parts.append(Markup(linked(text), "note"))
    parts += [Markup(linked(text)) for text in words.apart_sentences(report.apart)]
    return Section("4. What would help", parts)


def _picture_of(options: Sequence[Option], batch_size: int) -> Gallery:
    rows = [
        (
            option.name,
            option.ratio.value,
            option.ratio.low,
            option.ratio.high,
            percent(option.ratio.value),
        )
        for option in options
    ]
    drawn = svg.ranges(rows, 1.0, f"variance over that of plain batches of {batch_size}")
    caption = "Predicted variance (points) and its range; the dashed line is what you have now."
    return Gallery([Picture("options", drawn, caption)])


def _table_of(report: Diagnosis) -> Table:
    cells = []
    for place, option in enumerate(report.options, 1):
        time, memory = words.cost_of(option, report.setting)
        error = "" if option.ratio.exact else f" ± {percent(option.ratio.standard_error)}"
        cells.append(
            [
                option.name,
                f"{place}",
                f"{percent(option.ratio.value)}{error}",
                f"{number(option.equivalent_batch_size)} examples",
                time,
                memory,
                f"{number(option.gain)} times",
                "stale" if option.stale else "",
            ]
        )
    headings = [
        "way",
        "rank",
        "variance",
        "equivalent batch size",
        "time of a step",
        "more memory",
        "gain at equal cost",
        "rests on",
    ]
    best = [place for place, option in enumerate(report.options) if option is report.best]
    return Table(headings, cells, strong=best)


def _terms() -> Section:
    entries = [(key, term.title, term.text) for key, term in TERMS.items()]
    return Section("What the words mean", [Terms(entries)])


def _about(report: Diagnosis) -> Section:
    setting = report.setting
    limit = "none" if setting.time_limit is None else f"{number(setting.time_limit)} s"
    text = (
        f"Model '{setting.model}' with {setting.parameters:,} weights, {setting.count:,} examples, "
        f"batches of {setting.batch_size} examples; budget {setting.budget}, time limit {limit}. "
        f"Keras {keras.__version__} on {keras.backend.backend()}. All gradients are of the loss of "
        "one example, without weight regularizers, at the weights that the model had."
    )
    return Section("About this report", [Text(text, "note")])
