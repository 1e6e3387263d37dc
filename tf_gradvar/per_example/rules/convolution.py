"""Rules for convolutions: plain, depthwise, separable and transposed, in one to three dimensions.

All kernels have the form `Patches` of what the kernel slides over and what it leads to:

    Conv, DepthwiseConv     inputs                output gradients
    ConvTranspose           output gradients      inputs: it runs a convolution backwards
    SeparableConv           inputs                output gradients times the pointwise kernel

A low-rank adapter K + s A B of a kernel is two convolutions, one with A and a 1 x 1 one with B:

    g_A = Patches(inputs, s d B^T),     g_B = sum_t (s A * x)_t d_t^T.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Forms, GradientForm
from tf_gradvar.per_example.forms.outer import Outer, as_positions
from tf_gradvar.per_example.forms.patches import Geometry, Patches
from tf_gradvar.per_example.rules.bias import bias_form
from tf_gradvar.per_example.rules.registry import Variable, rule_for


def _known_operation(layer: keras.layers.Layer) -> bool:
    """The convolution is the one that Keras defines, an adapter is not of groups."""
    operation = getattr(type(layer), "convolution_op", None)
    known = (None, getattr(keras.layers.Conv2D, "convolution_op", None))
    adapted = getattr(layer, "lora_enabled", False) and layer.groups != 1
    return operation in known and not adapted


@rule_for(
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    supports=_known_operation,
    before_activation=True,
)
def convolution_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Kernel: `Patches`, or `Outer` for a 1 x 1 kernel; bias: `sum_t d_t`."""
    x, d = _inputs(layer, inputs), _channels_last(layer, output_gradients)
    depthwise = hasattr(layer, "depth_multiplier")
    geometry = _geometry(layer, groups=0 if depthwise else layer.groups)
    if getattr(layer, "lora_enabled", False):
        forms = _adapter_forms(layer, x, d, geometry)
    else:
        forms = [(layer.kernel, _kernel_form(x, d, geometry, layer.kernel))]
    return forms + _bias_forms(layer, output_gradients)


@rule_for(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D, before_activation=True)
def separable_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Depthwise kernel: `Patches`; pointwise kernel: `Outer` of the tensor between the two."""
    x, d = _inputs(layer, inputs), _channels_last(layer, output_gradients)
    middle = keras.ops.depthwise_conv(
        inputs,
        tf.cast(layer.depthwise_kernel.value, inputs.dtype),
        strides=layer.strides,
        padding=layer.padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )
    pointwise = tf.cast(layer.pointwise_kernel.value, d.dtype)
    middle_gradients = _through(tf.reshape(pointwise, pointwise.shape[-2:]), d)
    shape = tuple(layer.depthwise_kernel.shape)
    depthwise = Patches(x, middle_gradients, _geometry(layer, groups=0), shape)
    between = _pointwise_form(_channels_last(layer, middle), d, layer.pointwise_kernel)
    return [
        (layer.depthwise_kernel, depthwise),
        (layer.pointwise_kernel, between),
        *_bias_forms(layer, output_gradients),
    ]


@rule_for(
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    before_activation=True,
)
def transposed_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Kernel: `Patches` with inputs and output gradients exchanged; bias: `sum_t d_t`.

    `output_padding` needs no care: padding follows from the lengths of both.
    """
    x, d = _inputs(layer, inputs), _channels_last(layer, output_gradients)
    form = _kernel_form(d, x, _geometry(layer, groups=1), layer.kernel)
    return [(layer.kernel, form), *_bias_forms(layer, output_gradients)]


def _kernel_form(x: tf.Tensor, d: tf.Tensor, geometry: Geometry, kernel: Variable) -> GradientForm:
    if geometry.groups != 1 or math.prod(geometry.kernel_size) > 1:
        return Patches(x, d, geometry, tuple(kernel.shape))
    seen = (slice(None), *(slice(None, None, stride) for stride in geometry.strides))
    return _pointwise_form(x[seen], d, kernel)


def _pointwise_form(x: tf.Tensor, d: tf.Tensor, kernel: Variable) -> Outer:
    """`sum_t x_t d_t^T` in the shape of a kernel with one place."""
    shape = tuple(kernel.shape)
    return Outer(
        as_positions(x, shape[-2]),
        as_positions(d, shape[-1]),
        lambda gradients: tf.reshape(gradients, [-1, *shape]),
    )


def _adapter_forms(
    layer: keras.layers.Layer, x: tf.Tensor, d: tf.Tensor, geometry: Geometry
) -> Forms:
    """`Patches` of A with `s d B^T`, and `Outer` of B with the inputs convolved with s A."""
    a, b = layer.lora_kernel_a, layer.lora_kernel_b
    scale = getattr(layer, "lora_alpha", layer.lora_rank) / layer.lora_rank
    lowered = scale * _through(tf.cast(b.value, d.dtype), d)
    form = Patches(x, lowered, geometry, tuple(a.shape))
    middle = scale * form.convolved(tf.cast(a.value, x.dtype))
    return [(a, form), (b, _pointwise_form(middle, d, b))]


def _through(matrix: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """`M d` for every position, `[B, *lengths, O]` -> `[B, *lengths, I]`: one large product."""
    return tf.tensordot(d, matrix, [[d.shape.rank - 1], [1]])


def _bias_forms(layer: keras.layers.Layer, output_gradients: tf.Tensor) -> Forms:
    if not layer.use_bias:
        return []
    ones = output_gradients.shape.rank - 2 if layer.data_format == "channels_first" else 0
    shape = (layer.bias.shape[0], *[1] * ones)
    return [(layer.bias, bias_form(layer.bias, output_gradients, shape))]


def _geometry(layer: keras.layers.Layer, groups: int) -> Geometry:
    kernel_size, strides, dilation = (
        tuple(lengths) for lengths in (layer.kernel_size, layer.strides, layer.dilation_rate)
    )
    return Geometry(kernel_size, strides, dilation, layer.padding, groups)


def _inputs(layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
    """`[B, *lengths, C]`, where the graph may not know C, but the layer does."""
    (channels,) = layer.input_spec.axes.values()
    x = _channels_last(layer, inputs)
    return tf.ensure_shape(x, [*([None] * (x.shape.rank - 1)), channels])


def _channels_last(layer: keras.layers.Layer, tensor: tf.Tensor) -> tf.Tensor:
    """`[B, *lengths, C]`."""
    if layer.data_format == "channels_first":
        return tf.transpose(tensor, [0, *range(2, tensor.shape.rank), 1])
    return tensor
