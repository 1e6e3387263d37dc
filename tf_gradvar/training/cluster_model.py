"""A Keras model whose training step sees which cluster its examples come from."""

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count
from tf_gradvar.keras_internals import Functional, flatten_layers, training_argument
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.training.cluster_batch import (
    check_made_in_scope,
    check_same_clusters,
    plain_inputs,
    refuse_what_cpu_replicas_lack,
    split_cluster_batch,
)
from tf_gradvar.training.group_gradients import (
    Batch,
    by_cluster,
    by_loop,
    loss_scale,
    of_one_group,
    regularization_loss,
    vectorized,
)
from tf_gradvar.training.skipped_groups import SkippedGroupsWarning

# Models of these layers alone (and layers without weights) vectorize over groups at a gain.
_VECTORIZED = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.LayerNormalization)

# What a model may define that ClusterModel, which takes its layers only, would not run.
_NOT_RUN = (
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "metrics",
)


@keras.saving.register_keras_serializable(package="tf_gradvar")
class ClusterModel(keras.Model):
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
    any batch, also of single examples with ids, and slower. Under a distribution strategy
    C counts the groups on all replicas.

    **What belongs to no group.** The gradient of weight regularisers joins the corrected
    gradient outside the buffers. Batch normalization normalises each group by its own
    statistics, and its moving statistics move by the mean over the groups, both as on
    replicas that hold one group each. A loss with a reduction other than the mean gives
    G_c the meaning "gradient of the loss of group c".

    Attributes:
        groups_per_batch: C, or None where it is not known.
        group_method: `"auto"` (default), `"loop"` or `"vectorized"`: how the gradients of
            several groups are computed; `benchmarks/training_step.py` compares them.

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

    Source: Discover paper, Section 4 and Appendix 7.1.
    """

    _groups_per_batch: int | None = None
    _groups_are_learnt = False  # from the dataset of the last `fit`, not set by the user
    group_method = "auto"

    def __new__(cls, *args, **kwargs):
        """Give a graph of layers a class of its own.

        Keras turns a class whose constructor gets inputs and outputs into a functional one
        for good, which would break its other subclasses.
        """
        graph = len(args) > 1 or "outputs" in kwargs
        return super().__new__(GraphClusterModel if cls is ClusterModel and graph else cls)

    @classmethod
    def from_model(cls, model, *, groups_per_batch=None):
        """Return a ClusterModel with the layers and weights of a model (shared, not copied).

        Args:
            model: A Keras model: functional and sequential ones share their graph of
                layers, any other is wrapped and called.
            groups_per_batch: See the class; usually left to `fit`.

        Raises:
            TypeError: If `model` is not a Keras model.
            ValueError: If it has a `train_step`, `compute_loss` or the like of its own, which
                would not be run.
        """
        if not isinstance(model, keras.Model):
            raise TypeError(
                "`model` must be a keras.Model. Received: "
                f"{type(model).__name__}. Wrap layers in `keras.Sequential`."
            )
        own = [name for name in _NOT_RUN if _overrides(model, name)]
        if own:
            raise ValueError(
                f"`model` of type {type(model).__name__} has a `{own[0]}` of its own, which "
                "ClusterModel would not run. Subclass `tf_gradvar.ClusterModel` instead of "
                f"keras.Model, and build on its `{own[0]}`."
            )
        if cls is ClusterModel and _is_graph(model):
            result = cls(*_graph_ends(model), name=model.name)
        else:
            result = _WrappedClusterModel(model)
        result.groups_per_batch = groups_per_batch
        return result

    @property
    def groups_per_batch(self):
        """The number of groups C in a batch (on all replicas together), or None."""
        return self._groups_per_batch

    @groups_per_batch.setter
    def groups_per_batch(self, value):
        if value is not None:
            value = check_count("groups_per_batch", value, "the groups in a batch")
        if value != self._groups_per_batch:
            self.train_function = None  # it was traced for another number of groups
        self._groups_per_batch = value
        self._groups_are_learnt = False

    def __call__(self, inputs, *args, **kwargs):
        """Call the model on plain inputs, or on the inputs of a cluster batch."""
        return super().__call__(plain_inputs(inputs), *args, **kwargs)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        **kwargs,
    ):
        """Train on cluster batches; arguments are those of `keras.Model.fit`.

        Raises:
            ValueError: If the batches are drawn with other probabilities or numbers of
                clusters than the optimizer's, `steps_per_execution` is above 1 with several
                CPU replicas, or the model was made outside the scope of its strategy.
        """
        self.use_sampling_of(x)
        variate = find_control_variate(self.optimizer)
        if variate is not None and not isinstance(callbacks, keras.callbacks.CallbackList):
            given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
            callbacks = [SkippedGroupsWarning(variate), *(c for c in given if c is not None)]
        refuse_what_cpu_replicas_lack(self)
        check_made_in_scope(self)
        if isinstance(x, tf.data.Dataset) and len(args) < 3:
            kwargs.setdefault("shuffle", False)  # Keras warns that it cannot shuffle a dataset
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, *args, **kwargs)

    def use_sampling_of(self, dataset):
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
            self._groups_per_replica()
            variate = find_control_variate(self.optimizer)
            if variate is not None:
                check_same_clusters(sampling, variate)
        elif self._groups_are_learnt:
            self.groups_per_batch = None
        self._groups_are_learnt = sampling is not None

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data):
        """Take one step on a cluster batch; callable from `strategy.run` as well.

        Args:
            data: `({"inputs": x, "cluster_ids": ids}, y)` or with sample weights.

        Returns:
            The metrics, a dict of scalars.

        Raises:
            ValueError: If the batch is not a cluster batch of whole groups.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        inputs, cluster_ids = split_cluster_batch(x)
        variate = find_control_variate(self.optimizer)
        if variate is None:
            return super().train_step((inputs, y, sample_weight))
        if not self.built:  # a subclass that was not called yet
            self(keras.tree.map_structure(_symbol, inputs))
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        groups, clusters, sizes = self._group_gradients(
            Batch(inputs, y, sample_weight), cluster_ids, variate
        )
        skipped = tf.identity(variate.skipped_groups.value)
        gradients = variate.correct_gradients(groups.gradients, clusters, sizes)
        gradients = self._add_regularization(gradients)
        gradients = self._scale(gradients, variate.skipped_groups.value > skipped)
        self.optimizer.apply(gradients, self.trainable_variables)
        self._track_loss(groups.loss, cluster_ids)
        return self.compute_metrics(inputs, y, groups.predictions, sample_weight=sample_weight)

    def test_step(self, data):
        """Evaluate one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().test_step((plain_inputs(x), y, sample_weight))

    def predict_step(self, data):
        """Predict one batch, plain or of clusters."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return super().predict_step((plain_inputs(x), y, sample_weight))

    def _group_gradients(self, batch, cluster_ids, variate):
        """Return the group gradients, the cluster of each group and the sizes (or None)."""
        num_groups = self._groups_on_this_replica(cluster_ids)
        if num_groups is None:
            groups, sizes = by_cluster(self, batch, cluster_ids, variate.num_clusters)
            in_clusters = tf.cast(tf.reduce_sum(sizes), "int32")
            variate.count_skipped(tf.size(cluster_ids) - in_clusters)
            return groups, tf.range(variate.num_clusters), sizes
        if num_groups == 1:
            groups = of_one_group(self, batch)
        elif self._vectorizes():
            groups = vectorized(self, batch, num_groups)
        else:
            groups = by_loop(self, batch, num_groups)
        ids = tf.reshape(cluster_ids, [num_groups, -1])
        # A group of two clusters gets an id that no cluster has: it is left out and reported.
        uniform = tf.reduce_all(tf.equal(ids, ids[:, :1]), axis=1)
        return groups, tf.where(uniform, ids[:, 0], -1), None

    def _groups_per_replica(self):
        replicas = self.distribute_strategy.num_replicas_in_sync
        groups, rest = divmod(self.groups_per_batch, replicas)
        if rest:
            raise ValueError(
                f"A batch of {self.groups_per_batch} groups does not divide among "
                f"{replicas} replicas. Make `groups_per_batch` a multiple of {replicas}."
            )
        return groups

    def _groups_on_this_replica(self, cluster_ids):
        if self.groups_per_batch is None:
            return None
        groups = self._groups_per_replica()
        size = cluster_ids.shape[0]
        if size is None or size % groups:
            raise ValueError(
                f"A batch must divide into its groups: {groups} equal groups on this replica. "
                f"Received {'an unknown number of' if size is None else size} examples. Batch "
                "with `drop_remainder=True` and a multiple of the number of groups."
            )
        return groups

    def _vectorizes(self):
        if self.group_method == "auto":
            dense = all(
                _vectorizes_well(layer) or not layer.weights
                for layer in flatten_layers(self, include_self=False)
                if not isinstance(layer, keras.Model)
            )
            return dense and self._has_one_output() and not self.non_trainable_variables
        return self.group_method == "vectorized"

    def _has_one_output(self):
        outputs = getattr(self, "outputs", None)
        return len(outputs) == 1 if outputs else not keras.tree.is_nested(self.loss)

    def _add_regularization(self, gradients):
        with tf.GradientTape() as tape:
            loss = regularization_loss(self)
        if loss is None:
            return gradients
        extra = tape.gradient(loss, [v.value for v in self.trainable_weights])
        return [
            more if g is None else g if more is None else g + tf.cast(more, g.dtype)
            for g, more in zip(gradients, extra, strict=True)
        ]

    def _scale(self, gradients, skipped):
        """Return gradients as the optimizer expects them: of the scaled loss.

        Dynamic loss scaling must learn of an overflow, so that it skips the step and lowers
        the scale: it gets a gradient that is not finite where a group was skipped.
        """
        scale = loss_scale(self.optimizer)
        if scale is None:
            return gradients
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            scale = tf.where(skipped, float("nan"), scale)
        return [None if g is None else g * tf.cast(scale, g.dtype) for g in gradients]

    def _track_loss(self, loss, cluster_ids):
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(cluster_ids)[0])
                return


@keras.saving.register_keras_serializable(package="tf_gradvar")
class GraphClusterModel(ClusterModel, Functional):
    """A ClusterModel made of inputs and outputs (a class name that TensorFlow scopes accept)."""


@keras.saving.register_keras_serializable(package="tf_gradvar")
class _WrappedClusterModel(ClusterModel):
    """A ClusterModel around a model that is called as a whole."""

    def __init__(self, model, name=None, **kwargs):
        super().__init__(name=name or model.name, **kwargs)
        self.model = model

    def call(self, inputs, training=None):
        return self.model(inputs, **training_argument(self.model, training))

    def build(self, input_shape):
        if not self.model.built:
            self.model.build(input_shape)
        self.built = True

    def get_config(self):
        return {"name": self.name, "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)


def _overrides(model, name):
    """Return whether a model has an attribute of its own instead of that of `keras.Model`."""
    return name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)


def _vectorizes_well(layer):
    """Whether `tf.vectorized_map` takes the layer at a gain.

    Keras adds a bias such as [3, 1] along an inner axis, whose gradient cannot be vectorised.
    """
    bias = getattr(layer, "bias", None)
    inner = bias is not None and len(bias.shape) > 1 and bias.shape[-1] == 1
    return isinstance(layer, _VECTORIZED) and not inner


def _is_graph(model):
    """Return whether a model is Keras' own functional or sequential class, with its inputs."""
    return type(model).__module__.split(".")[0] == "keras" and bool(getattr(model, "outputs", None))


def _graph_ends(model):
    """Return the symbolic inputs and outputs of a model for which `_is_graph` holds."""
    if isinstance(model, keras.Sequential):  # its `input` exists only once it was called
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def _symbol(tensor):
    return keras.KerasTensor(tensor.shape, tensor.dtype.name)
