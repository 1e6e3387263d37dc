"""Sentences of the report: each number with its unit, how sure it is, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from tf_gradvar.diagnosis import code
from tf_gradvar.diagnosis.noise import GradientNoise, LayerNoise, examples_added, steps_saved
from tf_gradvar.diagnosis.numbers_in_words import (
    SQUARED,
    count,
    estimate,
    interval,
    number,
    percent,
    seconds,
    size,
)
from tf_gradvar.diagnosis.options import Apart, Option
from tf_gradvar.diagnosis.report import Diagnosis, Setting
from tf_gradvar.diagnosis.who_words import who_sentences

# Share of the steps that twice the batch saves at the critical batch size, and at four times it.
SAVES, FEW = 0.25, 0.1
MOST_NAMED = 10


# Of `benchmarks/checked_advice.py`, which follows the advice.
MEASURED = (
    "Less variance is not always less loss: on six sets, six epochs with what was called worth it "
    "ended below plain batches in 7 of 12 runs. Try it beside them."
)


def title_of(report: Diagnosis) -> str:
    """Return the title of the report."""
    return f"How noisy are the gradients of '{report.setting.model}'?"


def headline(noise: GradientNoise) -> str:
    """Return the answer in a sentence."""
    scale, batch_size = noise.noise_scale, noise.batch_size
    if noise.noise.value == 0:
        return (
            "There is no noise at all: the gradients of all examples are equal, and a batch of one "
            "example is as good as any."
        )
    share = noise.batch_variance.value / (noise.batch_variance.value + noise.signal.value)
    if scale.value > batch_size:
        verdict = "noise rules the step"
    elif 2 * scale.value > batch_size:
        verdict = "noise and signal are about equal"
    else:
        verdict = "signal rules the step"
    return (
        f"In a batch of {count(batch_size, 'example')} {verdict}: {percent(share)} of the squared "
        f"length of its gradient is noise."
    )


def noise_sentences(noise: GradientNoise) -> list[str]:
    """Return what the numbers of the first section mean."""
    scale, batch_size = noise.noise_scale, noise.batch_size
    found = [headline(noise)]
    if noise.noise.value == 0:
        return found
    found.append(
        f"The gradient noise scale is {estimate(scale, 'examples')}, {interval(scale, 'examples')}"
        " in 19 of 20 cases."
        if not scale.exact
        else f"The gradient noise scale is {estimate(scale, 'examples')}, for these data and "
        "weights exactly."
    )
    found.append(batch_size_sentence(batch_size, scale.value))
    return found


def batch_size_sentence(batch_size: int, critical: float) -> str:
    """Return what twice and half the batch would change, with the advice."""
    saved = steps_saved(batch_size, critical)
    added = examples_added(batch_size, critical)
    trade = (
        f"Twice the batch would save about {percent(saved)} of the steps and take "
        f"{percent(added)} more examples"
    )
    if saved >= SAVES:
        return (
            f"{trade}: the critical batch size, about {number(critical)} examples, is not reached. "
            "Where the machine can run twice the batch in about the same time, use it; a higher "
            "learning rate goes with it."
        )
    if saved >= FEW:
        return (
            f"{trade}: your batch is near the critical batch size of about {number(critical)} "
            "examples. Keep it."
        )
    return (
        f"{trade}: your batch is beyond the critical batch size of about {number(critical)} "
        "examples. A smaller batch would reach the same loss from fewer examples."
    )


def looked_at(setting: Setting) -> str:
    """Return how many examples were looked at, why, and how long it took."""
    took = f"It took {seconds(setting.seconds)}."
    if setting.method == "draws":
        batches = setting.examined // setting.batch_size
        return (
            f"{batches:,} batches of {setting.batch_size} were drawn from {setting.count:,} "
            f"examples. {took}"
        )
    if setting.method == "exact":
        return f"All {setting.count:,} examples were looked at. {took}"
    limits = {
        "budget": f'the budget is "{setting.budget}"; "full" looks at all',
        "time": f"more would not fit into the time limit of {number(setting.time_limit or 0)} s",
        "all": "time was up before all were seen",
    }
    return (
        f"{setting.examined:,} of {setting.count:,} examples were looked at, drawn at random: "
        f"{limits[setting.reason]}. {took}"
    )


def left_out(setting: Setting) -> str | None:
    """Return which examples were left out, or None."""
    numbers = setting.left_out
    if not numbers:
        return None
    named = ", ".join(map(str, numbers[:MOST_NAMED]))
    more = f" and {len(numbers) - MOST_NAMED:,} more" if len(numbers) > MOST_NAMED else ""
    return (
        f"{count(len(numbers), 'example')} had a gradient that is infinite or not a number, and "
        f"{'was' if len(numbers) == 1 else 'were'} left out: {named}{more} (counted from 0). Look "
        "for NaN in these inputs and labels."
    )


def layer_sentence(layers: Sequence[LayerNoise]) -> str:
    """Return which layer is noisiest."""
    first = max(layers, key=lambda layer: layer.noise_share)
    parameters = sum(layer.parameters for layer in layers)
    quiet = max(layers, key=lambda layer: layer.signal_to_noise)
    text = (
        f"The layer '{first.name}' holds {percent(first.noise_share)} of the noise and "
        f"{percent(first.parameters / parameters)} of the weights."
    )
    if len(layers) < 2:
        return text
    return (
        f"{text} The clearest signal is in '{quiet.name}', with a signal to noise of "
        f"{number(quiet.signal_to_noise)} in a batch. Layers far below the others are the first "
        "that a lower learning rate, or a larger batch, would steady."
    )


def option_sentence(report: Diagnosis) -> str:
    """Return the advice that follows from the options."""
    batch_size, best = report.setting.batch_size, report.best
    if best is not None:
        return (
            f"Most would help: {best.name}, whose batches of {batch_size} are predicted to vary "
            f"as little as plain batches of {number(best.equivalent_batch_size)} examples "
            f"({percent(best.ratio.value)} of the variance, {share_range(best)})."
            + (f" That prediction rests on {stale_note(best)}." if best.stale else "")
            + f" {MEASURED}"
        )
    if report.noise.noise.value == 0:
        return "Nothing has to be done: there is no noise."
    return (
        "No way of drawing batches is predicted to lower the variance by more than it costs. Only "
        "larger batches do, at their price."
    )


def share_range(option: Option) -> str:
    """Return the range of an option's share of the variance."""
    if option.ratio.exact:
        return "exactly"
    return f"{percent(option.ratio.low)} to {percent(option.ratio.high)} in 19 of 20 cases"


def stale_note(option: Option) -> str:
    """Return what a stale prediction rests on."""
    return f"quantities that grow stale: {option.assumption}"


def cost_of(option: Option, setting: Setting) -> tuple[str, str]:
    """Return the cost of an option in time and memory."""
    if option.passes == 1.0:
        time = "the same time"
    else:
        time = f"{number(option.passes)} times the time"
        if setting.seconds_per_example is not None:
            extra = (option.passes - 1.0) * setting.seconds_per_example * setting.batch_size
            time += f" (+{number(1000 * extra)} ms a step)"
    return time, size(option.memory_bytes) if option.memory_bytes else "none"


def apart_sentences(apart: Sequence[Apart]) -> list[str]:
    """Return what data that cannot be mixed would do."""
    return [
        f"If every step saw one group of '{found.grouping}' alone, as with data that arrive group "
        f"after group, its variance would be {number(found.ratio.value)} times that of mixed "
        f"batches; with Discover {number(found.discover_ratio.value)} times. Mix the examples "
        "where you can."
        for found in apart
        if found.ratio.low > 1.05
    ]


def best_code(report: Diagnosis) -> str | None:
    """Return the lines that turn the best option on, else larger batches, or None."""
    option = report.best
    if option is None and report.options:
        scale, batch_size = report.noise.noise_scale.value, report.noise.batch_size
        if steps_saved(batch_size, scale) >= SAVES:
            option = next(o for o in report.options if o.kind == "batch")
    return None if option is None else code.imports(option.code)


def plain_text(report: Diagnosis) -> str:
    """Return the report for a terminal."""
    setting, noise = report.setting, report.noise
    numbers = [
        f"  signal                {estimate(noise.signal, SQUARED)}",
        f"  noise of an example   {estimate(noise.noise, SQUARED)}",
        f"  noise of your batch   {estimate(noise.batch_variance, SQUARED)}",
        f"  gradient noise scale  {estimate(noise.noise_scale, 'examples')}",
    ]
    if noise.normalized_variance is not None:
        share = number(noise.normalized_variance)
        numbers.append(f"  normalized variance   {share} (0 signal, 1 noise)")
    parts = [title_of(report), "", looked_at(setting), *_given(left_out(setting)), *setting.notes]
    parts += ["", "1. Noise", *noise_sentences(noise), *numbers]
    parts += ["", "2. Where", layer_sentence(report.layers)]
    if report.who is not None:
        parts += ["", "3. Who", *who_sentences(report.who)]
    if report.options:
        parts += ["", "4. What would help", option_sentence(report)]
        parts += [f"  {_option_line(option, setting)}" for option in report.options]
        parts += apart_sentences(report.apart)
        lines = best_code(report)
        parts += ["", lines] if lines else []
    return "\n".join(parts)


def _option_line(option: Option, setting: Setting) -> str:
    time, memory = cost_of(option, setting)
    error = "" if option.ratio.exact else f" ± {percent(option.ratio.standard_error)}"
    return (
        f"{option.name}: {percent(option.ratio.value)}{error} of the variance, equivalent batch "
        f"size {number(option.equivalent_batch_size)} examples, {time}, more memory: {memory}"
        + (", stale" if option.stale else "")
    )


def _given(text: str | None) -> list[str]:
    return [] if text is None else [text]
