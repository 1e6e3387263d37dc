"""Batches with draws from every cluster, weighted to be unbiased, for any Keras model."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_seed
from tf_gradvar.data.arrays import check_arrays
from tf_gradvar.data.example_dataset import ExampleDataset, as_tensors
from tf_gradvar.data.fingerprint import fingerprint
from tf_gradvar.data.loss_shapes import weight_shapes
from tf_gradvar.data.strata_stream import stratified_dataset
from tf_gradvar.data.stratified_sampling import StratifiedSampling, read_assignments
from tf_gradvar.sampling import DrawingRule


def stratified_batches(
    data: Any,
    assignments: Any,
    *,
    samples_per_cluster: Any = 1,
    batch_size: int | None = None,
    allocation: str = "proportional",
    standard_deviations: Any = None,
    max_weight: float | str | None = "auto",
    loss_rank: Any = None,
    seed: int,
    state: dict[str, Any] | None = None,
) -> tf.data.Dataset:
    """Return an endless dataset of batches with draws from every cluster.

    A batch of B draws takes n_k examples from cluster k, which holds N_k of the N examples, and
    each of them weighs ``w_k = B (N_k/N) / e_k`` with e_k = E[n_k]. Under the mean over the
    batch that Keras takes, the gradient is then

        sum_k (N_k/N) (n_k / e_k) mean of the n_k draws from k,

    unbiased for any clusters; with n_k = e_k fixed it is Gradient Clustering's Eq. 1. A batch's
    weights sum to B where n_k is fixed, and in expectation otherwise.

    **Draws.** Without `batch_size`, n_k is `samples_per_cluster` and B their sum. With it, e_k is
    B N_k/N (`"proportional"`: every weight is 1), in proportion to N_k sigma_k (`"neyman"`: the
    least variance within the clusters), or B / K (`"equal"`); B may be less than K. Where e_k is
    no whole number, n_k is e_k rounded down or up by systematic sampling over the clusters in
    random order, and B is kept. Inside a cluster nothing is drawn twice before all is used up.

    **Why the weights are bounded.** With one draw from each cluster an example of a cluster that
    holds 40 % of the data stands for all of them, K N_k/N times over. While a model is only
    measured that does no harm. In training, the trajectory follows those very batches: an
    example that has become hard since the clusters were made is amplified, moves the weights too
    far, makes others hard, and the loss diverges at learning rates where plain batches are
    stable. `max_weight` bounds the weights without bias, by moving draws to the clusters that
    lack them: e_k is at least B (N_k/N) / `max_weight`, and the others give up draws in
    proportion. Where the bound holds anyway nothing changes. The default, `"auto"`, draws exactly
    n_k from each cluster as long as no weight exceeds 4 (labels and other clusters of similar
    size), and bounds the weights by 1.25 where one would, as with gradient clusters.

    `benchmarks.stratified_training` chose that bound (an MLP on 5 000 digits, K = B = 32, new
    clusters every 250 steps, three learning rates and three seeds): of nine runs five ended lost
    (a final loss above 0.5 or not finite) without a bound, three with 4, three with 2, one with
    1.5 and none with 1.25 or 1 or with plain batches; with 1.25 one run became unsteady
    late. After 500 steps the variance over that of plain batches was 0.05 without a bound, 0.16
    with 1.25 and 0.99 with 1. No bound above 1 is safe at every learning rate: expect at worst
    what plain batches do at a rate `max_weight` times as large.

    **Changing the clusters.** `dataset.reassign(assignments)` holds from the next batch that is
    drawn, `dataset.reassign(assignments, when="next_epoch")` from the next batch whose number is
    a multiple of `dataset.sampling.batches_per_epoch` (see `StratifiedSampling.reassign`). For
    that to be exact the dataset prefetches nothing; a `.prefetch(n)` of your own, or a
    distribution strategy, delays the change by the batches that are waiting.

    Args:
        data: Arrays `(x, y)` or `(x, y, sample_weight)` with the examples along axis 0 (each may
            be nested); or a finite `tf.data.Dataset` of such single examples, in the same order
            at every reading, which is read twice and held in memory. The user's own weights,
            `[N]`, `[N, 1]`, `[N, T]` or a structure for each output, are multiplied by w_k.
        assignments: The cluster of each example, `[N]`, numbers or names (see
            `tf_gradvar.assignments`): numbers that do not occur are no clusters, and examples
            with -1 are left out (N then counts the others); or the result of
            `GradientClustering.fit` on the same data.
        samples_per_cluster: n_k, one integer or K of them. Defaults to 1.
        batch_size: B. Defaults to the sum of the n_k. Under a distribution strategy, a multiple
            of the number of replicas.
        allocation: `"proportional"` (default), `"neyman"` or `"equal"`, with `batch_size` only.
        standard_deviations: sigma_k, `[K]` numbers, for `"neyman"` only: the square root of the
            variance of an example's gradient within each cluster. Defaults to None.
        max_weight: The largest w_k, at least 1; 1 is proportional allocation, None no bound.
            Defaults to `"auto"`: none where n_k draws keep every weight within 4, else (and with
            `batch_size`) 1.25.
        loss_rank: Axes of the unreduced loss, that of the batch included, or a structure of them
            like `y`: 1 for losses `[B]`, 2 for `[B, T]`. Defaults to None, guessed from y: of its
            rank where y is integers (`[B, T]` tokens), of one less where y is floats.
        seed: An integer of at most 63 bits and a sign; the same seed gives the same batches.
        state: What `dataset.sampling.state(batches_taken)` returned, to go on from there.
            Defaults to None: the start.

    Returns:
        A dataset of `(x, y, sample_weight)` with B examples. The weights are `[B]` for losses
        `[B]`, `[B, 1]` for losses `[B, T]`, and repeated to the shape of losses of more axes,
        because Keras broadcasts others wrongly; a structure where outputs differ in that; of
        the type of the given weights or else `keras.config.floatx()`. The dataset has a method
        `reassign`, and its attribute `sampling` is a `StratifiedSampling`. Iterating again
        starts again.

    Raises:
        ValueError: If an argument breaks its rule.

    Example:
        >>> import numpy as np
        >>> from tf_gradvar.data import stratified_batches
        >>> x, clusters = np.arange(8.0), np.array([0, 0, 1, 1, 1, 1, 1, 1])
        >>> batches = stratified_batches((x, x), clusters, seed=0)
        >>> for _, labels, weights in batches.take(1):
        ...     print([(y < 2, w) for y, w in sorted(zip(labels.numpy(), weights.numpy()))])
        [(np.True_, np.float32(0.5)), (np.False_, np.float32(1.5))]

    Source: Faghri et al. 2020, section 3, Eq. 1; Horvitz and Thompson 1952; Neyman 1934; Madow
    1949 (systematic sampling).

    Cost: the arrays are hashed once (0.12 s of processor time for 60 000 x 784 float32). Resuming
    replays the counts of earlier batches where n_k is not fixed, no examples.
    """
    _check_outside_strategy()
    seed = check_seed(seed)
    rule = DrawingRule.of(samples_per_cluster, batch_size, allocation, max_weight)
    if isinstance(data, tf.data.Dataset):
        data = ExampleDataset(data).load()
    arrays = check_arrays(data, ", or a tf.data.Dataset of such examples")
    tensors = as_tensors(arrays)
    _check_weights(*tensors[1:])
    shapes = weight_shapes(tensors[1], loss_rank)
    count, known = len(keras.tree.flatten(arrays)[0]), fingerprint(*arrays[:2])
    checked = read_assignments(assignments, count, known)
    design = rule.design(checked, None, standard_deviations, known)
    sampling = StratifiedSampling(rule, design, seed=seed, state=state)
    dataset = stratified_dataset(
        tensors,
        sampling.variables,
        shapes,
        num_clusters=sampling.num_clusters,
        batch_size=sampling.batch_size,
        seed=seed,
        start=sampling.batches_taken,
    )
    dataset.sampling = sampling
    dataset.reassign = sampling.reassign
    return dataset


def _check_weights(y: Any, sample_weight: Any = None) -> None:
    if sample_weight is None:
        return
    dtypes = {leaf.dtype for leaf in keras.tree.flatten(sample_weight)}
    if not all(dtype.is_floating for dtype in dtypes):
        raise ValueError(
            "`data` must have sample weights of a floating-point type, which the weights of the "
            "clusters multiply: cast them. Received: sample weights of the types "
            f"{sorted(dtype.name for dtype in dtypes)}."
        )
    if keras.tree.is_nested(sample_weight):
        try:
            keras.tree.assert_same_structure(sample_weight, y)
        except ValueError as error:
            paths = [keras.tree.map_structure(lambda leaf: "...", p) for p in (sample_weight, y)]
            raise ValueError(
                "`data` must have one array of sample weights, or a structure of them like y. "
                f"Received: the structures {paths[0]} and {paths[1]}."
            ) from error


def _check_outside_strategy() -> None:
    if tf.distribute.has_strategy():
        raise ValueError(
            "`stratified_batches` must be called outside of `strategy.scope()`: the clusters "
            "that it keeps belong to the input pipeline, not to the replicas. Make the dataset "
            "before, and pass it to `fit`."
        )
