"""`GradientClustering`: clusters of examples whose gradients are alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_gradvar.arguments import (
    check_choice,
    check_count,
    check_num_clusters,
    check_number,
    check_unsigned_seed,
)
from tf_gradvar.assignments import sizes_of
from tf_gradvar.clustering.cluster_sums import ClusterSums
from tf_gradvar.clustering.geometry import InnerProducts, Vectors, scaled_sketches, variance_ratio
from tf_gradvar.clustering.passes import GradientPasses
from tf_gradvar.clustering.refinement import (
    FixedCentres,
    LowRankCentres,
    MovingMeans,
    Refinement,
)
from tf_gradvar.clustering.refusals import (
    NOT_FINITE,
    check_enough,
    check_initial,
    check_max_size_ratio,
    finite_examples,
    refuse_not_finite,
)
from tf_gradvar.clustering.result import ClusteringResult, read_clustering, write_clustering
from tf_gradvar.clustering.search import search, start_assignments
from tf_gradvar.clustering.stream import add_batch
from tf_gradvar.data.examples import ArrayExamples, Examples, as_examples
from tf_gradvar.losses import ModelLoss

REPRESENTATIONS = ("sketch", "full", "rank1", "svd")
ASSIGNMENTS = ("exact", "paper")

_CONFIG = (
    "num_clusters",
    "representation",
    "assignment",
    "seed",
    "max_passes",
    "tolerance",
    "sketch_size",
    "rank",
    "layers",
    "max_size_ratio",
    "on_not_finite",
    "online_rate",
    "batch_size",
    "verbose",
)


class GradientClustering:
    r"""Clusters examples so that a stratified mini-batch gradient varies least (GC).

    With one example drawn from each of K clusters and weighted by N_k / N, the variance of the
    mini-batch gradient is J / N^2, where

        J = sum_k N_k sum_{i in k} ||C_k - g_i||^2        (Eq. 2; C_k the mean of cluster k)

    and a clustering looks for the assignment with the least J.

    `representation` says what stands for the gradients:

    * ``"sketch"`` (default): random projections to `sketch_size` numbers, scaled to the true
      norms. One forward and backward pass over the data, whatever the number of passes after.
    * ``"full"``: all inner products of the gradients, `[N, N]`, without an approximation. A pass
      over the data for every batch in it; for small data.
    * ``"rank1"``: centres that are the product of the mean input and the mean output gradient of
      each layer, as in the paper. Two passes over the data for every pass of the clustering.
    * ``"svd"``: centres that are the best approximation of rank `rank` to the true means; two
      passes, too, and K copies of the weights in memory.

    `assignment` is the rule of a pass:

    * ``"exact"`` (default): an example moves only if that lowers J (for rank1 and svd: the sum of
      Eq. 2 with centres that stay where they are during the pass). J never rises and no cluster
      gets lost. When the moves are used up, clusters are merged and split where that lowers J.
    * ``"paper"``: Eq. 3 with running counts, as in the published code. J may rise; the best
      assignment is kept.

    Args:
        num_clusters: The number of clusters K, at most N; K = B for a mini-batch of B.
        representation: "sketch" (default), "full", "rank1" or "svd", as above.
        assignment: "exact" (default) or "paper", as above.
        seed: A non-negative integer that decides signs, orders and repairs. Defaults to 0.
        max_passes: The most passes over the examples. Defaults to 10.
        tolerance: The exact rule stops when a pass lowers J by less than this share. Defaults to
            1e-3.
        sketch_size: Numbers in a sketch. Defaults to 256.
        rank: Rank of the centres of "svd". Defaults to 4.
        layers: Names of the layers whose gradients count, whole paths or last parts. Defaults to
            None, all layers.
        max_size_ratio: The most examples in a cluster, in units of N / K, at least 1, for the
            exact rule. Defaults to None, no limit.
        on_not_finite: "raise" (default) or "exclude": what to do about examples whose gradients
            are infinite or not a number.
        online_rate: The share of the old sums that `partial_fit` forgets with every batch, in
            (0, 1). Defaults to 0.1.
        batch_size: Examples in a batch of a pass. Defaults to 256.
        verbose: Whether `fit` shows a progress bar on a terminal. Defaults to True.

    Raises:
        ValueError: If an argument breaks its rule.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import GradientClustering
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x = np.float32([[1, 2], [5, 5], [1, 2], [5, 5], [-3, 0], [1, 2]])
        >>> y = np.zeros((6, 1), "float32")
        >>> clustering = GradientClustering(num_clusters=3, seed=0)
        >>> result = clustering.fit(model, x, y, "mse")
        >>> sorted(result.sizes), result.variance_ratio
        ([np.int64(1), np.int64(2), np.int64(3)], 0.0)
        >>> same = clustering.predict(model, x[:3], y[:3], "mse") == result.assignments[:3]
        >>> bool(same.all())
        True

    Source: Faghri et al. 2020, section 3 (objective, rank-1 centres, the paper's rule); the exact
    rule and the sketch are ours.

    Cost: "sketch": one pass over the data, then N * sketch_size * K operations a pass. Memory:
    N * sketch_size float32 and working copies of a few thousand rows (measured with 100 000
    examples, 256 numbers and 128 clusters: 121 MB, 1.2 times the sketches). Centres that stay
    where they are during a pass ("paper", "rank1", "svd") need N * K float64 more.
    """

    def __init__(
        self,
        num_clusters: int,
        representation: str = "sketch",
        assignment: str = "exact",
        *,
        seed: int = 0,
        max_passes: int = 10,
        tolerance: float = 1e-3,
        sketch_size: int = 256,
        rank: int = 4,
        layers: Sequence[str] | None = None,
        max_size_ratio: float | None = None,
        on_not_finite: str = "raise",
        online_rate: float = 0.1,
        batch_size: int = 256,
        verbose: bool = True,
    ):
        self.num_clusters = check_num_clusters(num_clusters)
        self.representation = check_choice("representation", representation, REPRESENTATIONS)
        self.assignment = check_choice("assignment", assignment, ASSIGNMENTS)
        self.seed = check_unsigned_seed(seed)
        self.max_passes = check_count("max_passes", max_passes, "the passes over the examples")
        self.tolerance = check_number("tolerance", tolerance, 0, 1)
        self.sketch_size = check_count("sketch_size", sketch_size, "the numbers in a sketch")
        self.rank = check_count("rank", rank, "the rank of the centres")
        self.layers = layers
        self.max_size_ratio = max_size_ratio
        if max_size_ratio is not None:
            self.max_size_ratio = check_max_size_ratio(max_size_ratio, assignment)
        self.on_not_finite = check_choice("on_not_finite", on_not_finite, NOT_FINITE)
        self.online_rate = check_number(
            "online_rate", online_rate, 0, 1, low_open=True, high_open=True
        )
        self.batch_size = check_count("batch_size", batch_size, "the examples in a batch")
        self.verbose = bool(verbose)
        self._result: ClusteringResult | None = None
        self._sums: ClusterSums | None = None
        self._passes: GradientPasses | None = None

    @property
    def result(self) -> ClusteringResult | None:
        """The result of the last `fit`, or None."""
        return self._result

    def fit(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        loss: Any = None,
        *,
        sample_weight: Any = None,
        loss_weights: Any = None,
        initial_assignments: Any = None,
    ) -> ClusteringResult:
        """Cluster the gradients of a data set at the model's present weights.

        Layers run in inference mode: with batch statistics an example has no gradient of its
        own.

        Args:
            model: A built `keras.Model`. It is not changed.
            x: Inputs, an array `[N, ...]` or a structure of them; or a finite `tf.data.Dataset`
                or `keras.utils.PyDataset` of batches (x, y) or (x, y, sample_weight), in the same
                order at every reading. It is read once more beforehand, to compare the order.
            y: Labels, likewise; None for a dataset.
            loss: A Keras loss, its name, or a function (y_true, y_pred) -> `[B]`. Defaults to
                None: what the model was compiled with, its `loss_weights` included.
            sample_weight: Weights `[N]` that multiply the losses. Defaults to all one.
            loss_weights: One number for each output, with a `loss`. Defaults to all one.
            initial_assignments: Where to start, `[N]`: those of an earlier result, for instance.
                Examples with -1 start in the first cluster. Defaults to None, neighbours in norm.

        Returns:
            A `ClusteringResult`.

        Raises:
            ValueError: If there are fewer examples than clusters, gradients that are not finite
                (with `on_not_finite="raise"`) or all zero, or initial assignments that do not
                fit; and what `per_example.statistics` refuses.
        """
        examples = as_examples(x, y, sample_weight)
        passes = self._passes_of(model, loss, loss_weights)
        found = passes.sketches(examples, self.sketch_size, self.seed)
        initial = check_initial(initial_assignments, len(found.vectors), self.num_clusters)
        kept, left_out = finite_examples(found.squared_norms, self.on_not_finite)
        check_enough(self.num_clusters, len(kept))
        if len(left_out):
            examples = ArrayExamples(*examples.select(kept).take(kept))
        norms = found.squared_norms[kept]
        vectors = Vectors(
            scaled_sketches(found.vectors[kept] if len(left_out) else found.vectors, norms)
        )
        rng = np.random.default_rng(self.seed)
        refinement = self._refinement(passes, examples, vectors, norms, rng)
        given = None if initial is None else initial[kept]
        best, least, objective = self._search(refinement, given, rng)
        self._sums = ClusterSums.of(vectors, best, self.num_clusters)
        assignments = np.full(len(found.vectors), -1)
        assignments[kept] = best
        one_cluster = refinement.gradients.spread(np.arange(len(kept)))
        self._result = ClusteringResult(
            assignments,
            sizes_of(best, self.num_clusters),
            objective,
            variance_ratio(least, one_cluster, self.num_clusters),
            found.fingerprint,
            left_out,
        )
        return self._result

    def predict(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        loss: Any = None,
        *,
        sample_weight: Any = None,
        loss_weights: Any = None,
    ) -> np.ndarray:
        """Return the cluster to which each of some examples adds least, in sketch space.

        Args:
            model: The model that the clusters were made with, at the same weights.
            x: Inputs, as for `fit`.
            y: Labels.
            loss: As for `fit`.
            sample_weight: Weights of the examples. Defaults to all one.
            loss_weights: As for `fit`.

        Returns:
            Clusters, int64 `[n]`.

        Raises:
            ValueError: If there are no clusters yet, or gradients that are not finite.
        """
        if self._sums is None:
            raise ValueError(
                "`predict` needs clusters. Call `fit` or `partial_fit` before, or load them with "
                "`GradientClustering.load`."
            )
        return self._sums.assign(self._sketches(model, x, y, loss, sample_weight, loss_weights))

    def partial_fit(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        loss: Any = None,
        *,
        sample_weight: Any = None,
        loss_weights: Any = None,
    ) -> np.ndarray:
        """Add a batch of a stream to the clusters, and let older examples fade.

        The first batch, where no `fit` came before, is clustered as `fit` would. Then N_k,
        S_k and s_k are exponential averages, and nothing of size N is held.

        Args:
            model: A built `keras.Model` at its present weights.
            x: Inputs of the batch, as for `fit`; the first batch needs K examples.
            y: Labels.
            loss: As for `fit`.
            sample_weight: Weights of the examples. Defaults to all one.
            loss_weights: As for `fit`.

        Returns:
            Clusters of the batch, int64 `[n]`.

        Raises:
            ValueError: If the first batch has fewer than K examples, or gradients are not
                finite.

        Example:
            >>> import keras
            >>> import numpy as np
            >>> from tf_gradvar import GradientClustering
            >>> model = keras.Sequential(
            ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
            >>> clustering = GradientClustering(num_clusters=2, seed=0)
            >>> for batch in np.float32([[[1, 1], [5, 5], [1, 1]], [[5, 5], [5, 5], [1, 1]]]):
            ...     print(clustering.partial_fit(model, batch, np.zeros((3, 1)), "mse"))
            [1 0 1]
            [0 0 1]

        Cost: one forward and backward pass over the batch, and b * K * sketch_size operations.
        """
        vectors = self._sketches(model, x, y, loss, sample_weight, loss_weights)
        if self._sums is not None:
            return add_batch(self._sums, vectors, self.online_rate)
        check_enough(self.num_clusters, len(vectors))
        rng = np.random.default_rng(self.seed)
        gradients = Vectors(vectors)
        refinement = MovingMeans(gradients, self.num_clusters, self._max_size(len(vectors)))
        assignments, *_ = self._search(refinement, None, rng)
        self._sums = ClusterSums.of(gradients, assignments, self.num_clusters)
        return assignments

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, JSON-plain."""
        return {name: getattr(self, name) for name in _CONFIG}

    def save(self, path: str | Path) -> None:
        """Write configuration, assignments and centres to an `.npz` file.

        Args:
            path: The file; `.npz` is appended where it is missing.

        Raises:
            ValueError: If there are no clusters yet.
        """
        if self._sums is None:
            raise ValueError("`save` needs clusters. Call `fit` or `partial_fit` before.")
        write_clustering(path, self.get_config(), self._sums, self._result)

    @classmethod
    def load(cls, path: str | Path) -> GradientClustering:
        """Read what `save` wrote: a clustering that predicts, and goes on from its result.

        Args:
            path: The file.

        Raises:
            ValueError: If there is no such file.

        Example:
            >>> import os, tempfile
            >>> import keras
            >>> import numpy as np
            >>> from tf_gradvar import GradientClustering
            >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            >>> x, y = np.eye(4, 2, dtype="float32"), np.ones((4, 1), "float32")
            >>> clustering = GradientClustering(num_clusters=2, seed=0)
            >>> result = clustering.fit(model, x, y, "mse")
            >>> path = os.path.join(tempfile.mkdtemp(), "clusters.npz")
            >>> clustering.save(path)
            >>> loaded = GradientClustering.load(path)
            >>> bool((loaded.result.assignments == result.assignments).all())
            True
        """
        config, sums, result = read_clustering(path)
        clustering = cls(**config)
        clustering._sums, clustering._result = sums, result
        return clustering

    def _refinement(
        self,
        passes: GradientPasses,
        examples: Examples,
        vectors: Vectors,
        squared_norms: np.ndarray,
        rng: np.random.Generator,
    ) -> Refinement:
        """Return the object that makes a pass, for the representation and the rule."""
        max_size = self._max_size(len(squared_norms))
        if self.representation in ("rank1", "svd"):
            return LowRankCentres(
                vectors,
                self.num_clusters,
                max_size,
                self.assignment,
                passes=passes,
                examples=examples,
                squared_norms=squared_norms,
                rank=self.rank if self.representation == "svd" else None,
                rng=rng,
            )
        full = self.representation == "full"
        gradients = InnerProducts(passes.inner_products(examples)) if full else vectors
        if self.assignment == "exact":
            return MovingMeans(gradients, self.num_clusters, max_size)
        return FixedCentres(gradients, self.num_clusters, max_size, self.assignment)

    def _search(
        self, refinement: Refinement, given: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, float, list[float]]:
        """Return the best assignment of all passes, its J, and J after each pass."""
        exact = self.assignment == "exact"
        start = start_assignments(refinement, given, rng, by_norm=exact)
        return search(
            refinement,
            start,
            rng,
            max_passes=self.max_passes,
            tolerance=self.tolerance if exact else None,
            verbose=self.verbose,
        )

    def _sketches(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        loss: Any,
        sample_weight: Any,
        loss_weights: Any,
    ) -> np.ndarray:
        """Return scaled sketches of examples, all of whose gradients must be finite."""
        passes = self._passes_of(model, loss, loss_weights)
        found = passes.sketches(as_examples(x, y, sample_weight), self.sketch_size, self.seed)
        refuse_not_finite(found.squared_norms)
        return scaled_sketches(found.vectors, found.squared_norms)

    def _passes_of(self, model: keras.Model, loss: Any, loss_weights: Any) -> GradientPasses:
        """Return compiled passes, kept as long as model, trainable variables and loss stay."""
        model_loss = ModelLoss.of(model, loss, loss_weights)
        if self._passes is None or not self._passes.serve(model_loss):
            self._passes = GradientPasses(model, model_loss, self.layers, self.batch_size)
        return self._passes

    def _max_size(self, count: int) -> int | None:
        if self.max_size_ratio is None:
            return None
        return int(np.ceil(self.max_size_ratio * count / self.num_clusters))
