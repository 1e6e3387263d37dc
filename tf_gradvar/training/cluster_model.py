"""A Keras model whose training step sees which cluster its examples come from."""

from __future__ import annotations

from typing import Any

import keras

from tf_gradvar.arguments import check_count
from tf_gradvar.keras_internals import Functional, training_argument
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.optimizers.wrappers import build_optimizer
from tf_gradvar.training.backend import ClusterSteps
from tf_gradvar.training.cluster_batch import check_same_clusters, plain_inputs
from tf_gradvar.training.plain_models import check_plain_model, graph_ends, is_graph
from tf_gradvar.training.skipped_groups import SkippedGroupsWarning


@keras.saving.register_keras_serializable(package="tf_gradvar")
class ClusterModel(ClusterSteps):
    """A Keras model that trains on batches of single-cluster groups.

    It reads `({"inputs": x, "cluster_ids": ids}, y)` (and sample weights), with ids int32
    [B] and the examples of a group contiguous, as `tf_gradvar.data.cluster_batches` makes
    them; computes the mean gradient of each group; and hands them to a Discover optimizer.
    Any other optimizer gets the gradient of the whole batch, so that optimizers can be
    compared on the same batches. `evaluate` and `predict` take plain inputs as well.

    Build it like any functional model, `ClusterModel(inputs, outputs)`, by subclassing, or
    from a model that exists with `ClusterModel.from_model(model)`.

    **Groups.** `fit` learns the number of groups C in a batch from the dataset that
    `cluster_batches` returned. Where it cannot (a dataset that was mapped or distributed
    afterwards, a loop of your own around `train_step`), set `groups_per_batch`; else the
    step falls back to one pass over the batch for each cluster in it, which is exact for
    any batch, also of single examples with ids, and slower (on JAX it is refused). Under a
    distribution strategy C counts the groups on all replicas.

    **On JAX** it is the same class: the step is one compiled function of the state, on one device
    or under `keras.distribution.DataParallel`, whose devices share the groups of a batch. Both,
    and TensorFlow, give the same numbers. Set the distribution before the model is made. A
    variable without a gradient has the gradient 0 there, as in Keras.

    **What belongs to no group.** The gradient of weight regularisers joins the corrected
    gradient outside the buffers. Batch normalization normalises each group by its own
    statistics, and its moving statistics move by the mean over the groups, both as on
    replicas that hold one group each. A loss with a reduction other than the mean gives
    G_c the meaning "gradient of the loss of group c".

    Args:
        *args: `inputs` and `outputs` as of `keras.Model`; none where `call` is defined.
        **kwargs: Those of `keras.Model`, such as `name`.

    Attributes:
        groups_per_batch: C, or None where it is not known.
        group_method: `"auto"` (default), `"loop"` or `"vectorized"`: how the gradients of
            several groups are computed; `benchmarks/training_step.py` compares them. On JAX,
            "auto" vectorises.

    Example:
        >>> import contextlib, keras, numpy as np
        >>> from tf_gradvar import ClusterModel, Discover, cluster_batches
        >>> keras.utils.set_random_seed(0)
        >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int32")
        >>> plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model = ClusterModel.from_model(plain)
        >>> model.compile(Discover(0.5, num_clusters=2),
        ...               keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> batches = cluster_batches((x, y), y, num_clusters=2, group_size=8, seed=0)
        >>> with contextlib.redirect_stdout(None):  # Discover prints its memory, once a process
        ...     history = model.fit(batches, epochs=2, steps_per_epoch=20, verbose=0)
        >>> bool(model.evaluate(x, y, verbose=0) < 0.5)
        True

    Raises:
        ValueError: In `fit`, a batch without cluster ids, ids that are no integers, groups that do
            not divide the batch, and what `fit` cannot do under several workers.

    Source: Discover paper, Section 4 and Appendix 7.1.

    Cost: with one group in a batch that of a plain step; of several groups as
    `benchmarks.training_step` measures: on a ResNet8 eight take 1.09 times a step of SGD with
    momentum, on an MLP with more weights than work for them 4.1 times.
    """

    _groups_per_batch: int | None = None
    _groups_are_learnt: bool = False  # from the dataset of the last `fit`, not set by the user
    group_method: str = "auto"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Give a graph of layers a class of its own.

        Keras turns a class whose constructor gets inputs and outputs into a functional one
        for good, which would break its other subclasses.
        """
        graph = len(args) > 1 or "outputs" in kwargs
        return super().__new__(GraphClusterModel if cls is ClusterModel and graph else cls)

    @classmethod
    def from_model(cls, model: keras.Model, *, groups_per_batch: int | None = None) -> ClusterModel:
        """Return a ClusterModel with the layers and weights of a model (shared, not copied).

        Args:
            model: A Keras model: functional and sequential ones share their graph of
                layers, any other is wrapped and called.
            groups_per_batch: C, as for the class. Defaults to None: `fit` learns it.

        Raises:
            TypeError: If `model` is not a Keras model.
            ValueError: If it has a `train_step`, `compute_loss` or the like of its own, which
                would not be run.
        """
        check_plain_model(model)
        if cls is ClusterModel and is_graph(model):
            result: ClusterModel = cls(*graph_ends(model), name=model.name)
        else:
            result = _WrappedClusterModel(model)
        result.groups_per_batch = groups_per_batch
        return result

    @property
    def groups_per_batch(self) -> int | None:
        """The number of groups C in a batch (on all replicas together), or None."""
        return self._groups_per_batch

    @groups_per_batch.setter
    def groups_per_batch(self, value: int | None) -> None:
        if value is not None:
            value = check_count("groups_per_batch", value, "the groups in a batch")
        if value != self._groups_per_batch:
            self.train_function = None  # it was traced for another number of groups
        self._groups_per_batch = value
        self._groups_are_learnt = False

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model on plain inputs, or on the inputs of a cluster batch."""
        return super().__call__(plain_inputs(inputs), *args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Create what `fit` and `train_on_batch` run, and the optimizer's variables before it.

        Args:
            force: Whether to create it again.
        """
        build_optimizer(self)
        return super().make_train_function(force)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Train on cluster batches; arguments are those of `keras.Model.fit`.

        Raises:
            ValueError: If the batches are drawn with other probabilities or numbers of
                clusters than the optimizer's, batches without end come without
                `steps_per_epoch`, the strategy has several workers, `steps_per_execution` is
                above 1 or `jit_compile` is set with several CPU replicas, or the model was made
                outside the scope of its strategy.
        """
        self.use_sampling_of(x)
        variate = find_control_variate(self.optimizer)
        if variate is not None and not isinstance(callbacks, keras.callbacks.CallbackList):
            given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
            callbacks = [SkippedGroupsWarning(variate), *(c for c in given if c is not None)]
        self.check_ready()
        steps = args[6] if len(args) > 6 else kwargs.get("steps_per_epoch")
        if steps is None and getattr(x, "num_batches", 0) is None:  # Keras would never stop
            raise ValueError(
                "`steps_per_epoch` must be given for cluster batches, which have no end. Received: "
                "steps_per_epoch=None."
            )
        if (hasattr(x, "element_spec") or hasattr(x, "sampling")) and len(args) < 3:
            kwargs.setdefault("shuffle", False)  # Keras warns that it cannot shuffle a dataset
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs)

    def use_sampling_of(self, dataset: Any) -> None:
        """Take the number of groups from a dataset, as `fit` does first.

        Args:
            dataset: What `cluster_batches` returned. From anything else nothing can be
                learnt, and what was learnt from another dataset is forgotten.

        Raises:
            ValueError: If the clusters are not those of the optimizer, or the groups do not
                divide among the replicas.
        """
        sampling = getattr(dataset, "sampling", None)
        if sampling is not None:
            self.groups_per_batch = sampling.groups_per_batch
            self.check_sampling(sampling)
            variate = find_control_variate(self.optimizer)
            if variate is not None:
                check_same_clusters(sampling, variate)
        elif self._groups_are_learnt:
            self.groups_per_batch = None
        self._groups_are_learnt = sampling is not None


@keras.saving.register_keras_serializable(package="tf_gradvar")
class GraphClusterModel(ClusterModel, Functional):
    """A ClusterModel made of inputs and outputs (a class name that TensorFlow scopes accept)."""


@keras.saving.register_keras_serializable(package="tf_gradvar")
class _WrappedClusterModel(ClusterModel):
    """A ClusterModel around a model that is called as a whole."""

    def __init__(self, model: keras.Model, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or model.name, **kwargs)
        self.model = model

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.model(inputs, **training_argument(self.model, training))

    def build(self, input_shape: Any) -> None:
        if not self.model.built:
            self.model.build(input_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> _WrappedClusterModel:
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)
