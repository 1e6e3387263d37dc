"""`diagnose`: one call from a model and its data to the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_gradvar import per_example
from tf_gradvar.arguments import check_count, check_unsigned_seed
from tf_gradvar.data.examples import Examples, as_examples
from tf_gradvar.diagnosis import notes
from tf_gradvar.diagnosis.by_draws import measure_draws
from tf_gradvar.diagnosis.columns import read_columns
from tf_gradvar.diagnosis.examples_seen import Progress, look
from tf_gradvar.diagnosis.groupings import groupings_of, labels_of
from tf_gradvar.diagnosis.images import pictures_of
from tf_gradvar.diagnosis.input_rows import input_rows
from tf_gradvar.diagnosis.limits import Clock, check_limits
from tf_gradvar.diagnosis.noise import layer_noise, measure_noise
from tf_gradvar.diagnosis.options import Facts, best_of, options_of
from tf_gradvar.diagnosis.progress import bar
from tf_gradvar.diagnosis.report import Diagnosis, Setting
from tf_gradvar.diagnosis.snapshot import check_earlier, svrg_ratio
from tf_gradvar.diagnosis.who import examine
from tf_gradvar.diagnosis.who_of_seen import measurements_of
from tf_gradvar.diagnosis.who_page import examples_to_show
from tf_gradvar.estimators.measurable import check_labels
from tf_gradvar.keras_internals import compiled_loss
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Layout


def diagnose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    loss: Any = None,
    *,
    metadata: Any = None,
    batch_size: int = 32,
    budget: str = "business",
    time_limit: float | None = None,
    training: bool = False,
    earlier_weights: Sequence[Any] | None = None,
    sample_weight: Any = None,
    seed: int = 0,
    verbose: bool = True,
) -> Diagnosis:
    r"""Return a report on the gradients of a model: how noisy, where, who, and what would help.

    With the gradients g_i of the unreduced loss of N examples, their mean m and their variance
    ``V = (1/N) sum_i ||g_i - m||^2``, the signal is ``||m||^2``, the noise of a batch of B is
    ``V / B``, and the gradient noise scale ``V / ||m||^2`` is the batch size at which both are
    equal, and doubling the batch begins not to pay. One pass over the examples, or over a random
    subset of them, serves all of the report.

    Args:
        model: A built and compiled `keras.Model`. It is not changed.
        x: Inputs `[N, ...]` or a structure of them; or a finite `tf.data.Dataset` or
            `keras.utils.PyDataset` of batches (x, y) or (x, y, sample_weight).
        y: Labels, likewise; None for a dataset.
        loss: A Keras loss, its name, or a function (y_true, y_pred) -> [B]. Defaults to None: what
            the model was compiled with.
        metadata: What is known of each example, such as its source: a dict of columns `[N]` or a
            pandas DataFrame. Defaults to None.
        batch_size: B, the examples of a batch in training. Defaults to 32.
        budget: The most examples looked at: "economy" 2 000, "business" 20 000 (default), "full"
            all.
        time_limit: Seconds that all of it may take, saving the page excluded. A first piece is
            timed, and as many examples are looked at as fit. Defaults to None: no limit.
        training: Whether layers run in training mode. Batches are then drawn where the layers
            draw noise or use batch statistics. Defaults to False.
        earlier_weights: What `model.get_weights()` returned some time ago, such as an epoch: SVRG
            is then measured with them as its snapshot. Defaults to None.
        sample_weight: Weights `[N]` that multiply the losses. Defaults to all one.
        seed: Seed for subsets, sketches, draws and permutations. Defaults to 0.
        verbose: Whether to show a progress bar on a terminal. Defaults to True.

    Returns:
        A `Diagnosis`: `print` it, `save` it as a page, `to_json` and `to_csv`.

    Raises:
        ValueError: A model without a loss, missing labels, metadata of another length, fewer
            examples than in a batch, a `time_limit` in which nothing can be measured, gradients
            that are all infinite or not a number, and what `per_example.statistics` refuses and
            draws cannot measure either.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import tf_gradvar
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.float32([[1, 2], [1, 2], [3, 4], [3, 4]]), np.zeros((4, 1), "float32")
        >>> report = tf_gradvar.diagnose(model, x, y, batch_size=2, verbose=False)
        >>> report.noise.noise.value, report.noise.batch_variance.value  # of 216 and 5096, twice
        (824.0, 412.0)

    Source: McCandlish et al. 2018, arXiv:1812.06162; Faghri et al. 2020, "A Study of Gradient
    Variance in Deep Learning"; the Discover paper.

    Cost: a forward and backward pass over the examples looked at (1.3 to 2 times the time of a
    plain one), clustering and permutation tests on the sketches; `4 * 256` bytes for each example
    looked at, and two copies of the weights in float64.
    """
    check_limits(budget, time_limit)
    check_count("batch_size", batch_size, "the examples of a batch in training")
    seed = check_unsigned_seed(seed)
    clock = Clock(time_limit)
    model_loss = _loss_of(model, loss, x, y)
    examples = as_examples(x, y, sample_weight)
    check_enough(examples, batch_size)
    columns = read_columns(metadata, examples.count)
    check_labels(model, x, y, model_loss.loss)
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    check_earlier(earlier_weights, shapes, len(model.weights))
    common = {"batch_size": batch_size, "budget": budget, "time_limit": time_limit}
    with bar(verbose) as progress:
        reason = notes.reason_for_draws(model, model_loss, examples, training)
        if reason is not None:
            found = _by_draws(
                model_loss, examples, shapes, common, training, clock, seed, progress, reason
            )
        else:
            found = _by_examples(
                model_loss, examples, y, columns, common, clock, seed, progress, earlier_weights
            )
    return found


def _by_examples(
    loss: ModelLoss,
    examples: Examples,
    y: Any,
    columns: dict[str, np.ndarray],
    common: dict[str, Any],
    clock: Clock,
    seed: int,
    progress: Progress,
    earlier: Sequence[Any] | None,
) -> Diagnosis:
    model, batch_size = loss.model, common["batch_size"]
    seen = look(loss, examples, budget=common["budget"], clock=clock, seed=seed, progress=progress)
    labels, targets = labels_of(examples, y, model)
    groupings, remarks = groupings_of(labels, targets, columns)
    noise = measure_noise(seen, batch_size)
    ratio = None
    if earlier is not None:
        ratio = svrg_ratio(loss, examples, seen, earlier, seed)
    facts = Facts(noise, seen, _learning_rate(model), seed)
    measured = measurements_of(seen, labels, loss, examples.count)
    who = examine(measured, columns or None, seed=seed)
    shown = [index for indices in examples_to_show(who).values() for index in indices]
    held = examples.select(np.array(shown)) if shown else examples  # a data set is read once
    images, inputs = pictures_of(held, shown), input_rows(held, shown)
    short = clock.is_short
    if short:
        remarks.append("Gradient clusters were not tried: the time limit left no time for them.")
    options, apart = options_of(facts, groupings, ratio, with_clusters=not short)
    setting = Setting(
        model=model.name,
        parameters=sum(seen.layout.sizes),
        count=seen.count + (len(seen.left_out) if seen.complete else 0),
        examined=len(seen.indices),
        method="exact" if seen.complete else "subset",
        reason=seen.choice.reason,
        left_out=tuple(seen.left_out.tolist()),
        seconds=clock.elapsed,
        seconds_per_example=seen.seconds,
        notes=(*notes.of_model(model), *remarks),
        **common,
    )
    return Diagnosis(
        setting,
        noise,
        tuple(layer_noise(seen, batch_size)),
        who,
        tuple(options),
        tuple(apart),
        best_of(options),
        {grouping.name: grouping.assignments for grouping in groupings},
        images,
        inputs,
    )


def _by_draws(
    loss: ModelLoss,
    examples: Examples,
    shapes: list[tuple[int, ...]],
    common: dict[str, Any],
    training: bool,
    clock: Clock,
    seed: int,
    progress: Progress,
    reason: str,
) -> Diagnosis:
    layout = Layout.of(per_example.variable_layers(loss.model), shapes)
    draws = measure_draws(
        loss,
        examples,
        layout,
        batch_size=common["batch_size"],
        training=training,
        budget=common["budget"],
        clock=clock,
        seed=seed,
        progress=progress,
    )
    setting = Setting(
        model=loss.model.name,
        parameters=sum(layout.sizes),
        count=examples.count,
        examined=draws.count * common["batch_size"],
        method="draws",
        reason="all",
        left_out=(),
        seconds=clock.elapsed,
        seconds_per_example=None,
        notes=(reason,),
        **common,
    )
    return Diagnosis(setting, draws.noise, tuple(draws.layers), None, (), (), None, {})


def _loss_of(model: keras.Model, loss: Any, x: Any, y: Any) -> ModelLoss:
    found = ModelLoss(model, loss)
    is_dataset = hasattr(x, "element_spec") or isinstance(x, keras.utils.PyDataset)
    if y is None and not is_dataset and not found.computes_itself:
        raise ValueError(
            f"`y` must hold the labels that {found.name} compares the outputs with, one for each "
            "example of `x`. Received: y=None. Pass them, or a dataset of (x, y)."
        )
    return found


def check_enough(examples: Examples, batch_size: int) -> None:
    """Raise if there are fewer examples than in a batch, or than a variance needs.

    Raises:
        ValueError: Such data.
    """
    if examples.count < max(batch_size, 3):
        raise ValueError(
            f"`batch_size` must be at most the number of examples, and these at least 3. Received: "
            f"batch_size={batch_size} and {examples.count} examples. Pass the `batch_size` that "
            "the model is trained with, or more data."
        )


def _learning_rate(model: keras.Model) -> float | None:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or compiled_loss(model) is None:
        return None
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
